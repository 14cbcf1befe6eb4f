//! The contract of all stores. Each test runs against each store.

use crate::store::events::*;
use crate::store::on_rethinkdb;
use crate::support::rethinkdb::{Rethinkdb, forget, settings};
use chrono::TimeDelta;
use kdaemon::store::prelude::*;
use kdaemon::store::{
    Body, Commit, EventQuery, EventText, Head, IdempotencyRecord, RethinkdbStore, RowChange, Snapshot,
    SqliteStore, StoreError, StoredEvent, Stretch, Table, Tip,
};
use kdaemon::verify::VerifyLog as _;
use kdaemon_events::{Actor, CommitId, Digest, Envelope, Kind, Salt, Seq};
use kdaemon_testing::MemoryStore;
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::Arc;
use tokio::runtime::Handle;
use uuid::Uuid;

thread_local! {
    /// Whether [`every_store`] uses RethinkDB, in this thread, instead of the stores that need no server.
    static ON_RETHINKDB: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test against an empty store of each kind that needs no server; [`on_rethinkdb`] repeats the tests.
pub fn every_store<F: Future<Output = ()>>(test: impl Fn(Arc<dyn Store>) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if ON_RETHINKDB.get() {
            let server = Rethinkdb::get();
            let settings = settings(server.address());
            let store = Arc::new(RethinkdbStore::open(settings.clone()).await.unwrap());
            test(Arc::clone(&store) as Arc<dyn Store>).await;
            store.close().await;
            forget(&settings).await;
            return;
        }
        test(Arc::new(MemoryStore::new())).await;
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(folder.path()).unwrap());
        test(Arc::clone(&store) as Arc<dyn Store>).await;
        store.close().await;
    });
}

/// Runs a test of the contract on RethinkDB.
pub(crate) fn with_rethinkdb(test: fn()) {
    let on_rethinkdb = std::thread::spawn(move || {
        ON_RETHINKDB.set(true);
        test();
    });
    if let Err(panic) = on_rethinkdb.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
pub(crate) fn empty_store_has_nothing() {
    every_store(async |store| {
        assert_eq!(store.head().await.unwrap(), Head::default());
        assert_eq!(store.read(Seq(0), 10).await.unwrap(), []);
        assert_eq!(store.verify().await.unwrap(), Head::default());
        assert_eq!(store.idempotency_records(at(0), Seq(0)).await.unwrap(), []);
        assert_eq!(store.tables_reflect().await.unwrap(), Seq(0));
        assert_eq!(store.read_table(Table::Nodes).await.unwrap(), []);
        assert!(!store.describe().is_empty());
    });
}

#[test]
pub(crate) fn commit_is_appended_to_its_expected_head() {
    every_store(async |store| {
        let first = commit(&Head::default(), vec![token("a"), token("b")]);
        let head = store.append(&Head::default(), first.clone()).await.unwrap();
        assert_eq!(head, Tip::default().after(&first).0.head());
        assert_eq!((head.seq, head.commits, head.commit_id), (Seq(2), 1, Some(first.id)));
        assert_eq!(store.head().await.unwrap(), head);
        let second = commit(&head, vec![token("c")]);
        let next = store.append(&head, second.clone()).await.unwrap();
        assert_eq!((next.seq, next.commits, next.commit_id), (Seq(3), 2, Some(second.id)));
        assert_ne!(next.root, head.root);
        assert_eq!(store.verify().await.unwrap(), next);
    });
}

#[test]
pub(crate) fn append_to_another_head_conflicts_and_writes_nothing() {
    every_store(async |store| {
        let old = fill(&*store, 1).await;
        let head = fill(&*store, 1).await;
        let elsewhere = [
            Head::default(),
            old,
            Head { root: Digest([7; 32]), ..head },
            Head { commit_id: Some(CommitId(Uuid::nil())), ..head },
            Head { commits: 9, ..head },
            Head { seq: Seq(9), ..head },
        ];
        for expected in elsewhere {
            let conflict = store.append(&expected, commit(&expected, vec![token("x")])).await;
            assert_eq!(conflict, Err(StoreError::Conflict { actual: head }));
        }
        assert_eq!(store.head().await.unwrap(), head);
        assert_eq!(store.read(Seq(0), 10).await.unwrap().len(), 2);
        assert_eq!(store.verify().await.unwrap(), head);
    });
}

#[test]
pub(crate) fn concurrent_appends_have_one_winner_each() {
    every_store(async |store| {
        let tasks: Vec<_> = (0..8)
            .map(|writer| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let mut won = 0;
                    while won < 10 {
                        let head = store.head().await.unwrap();
                        let next = commit(&head, vec![token(&format!("w{writer}-{won}"))]);
                        match store.append(&head, next).await {
                            Ok(_) => won += 1,
                            Err(StoreError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let head = store.verify().await.unwrap();
        assert_eq!((head.seq, head.commits), (Seq(80), 80));
    });
}

#[test]
pub(crate) fn events_are_read_in_dense_order_page_by_page() {
    every_store(async |store| {
        let mut head = Head::default();
        let mut texts = Vec::new();
        for size in [1, 7, 2, 90, 1] {
            let commit = commit(&head, (0..size).map(|i| token(&format!("t{i}"))).collect());
            texts.extend(commit.events.iter().filter_map(|event| event.body.json()).map(ToOwned::to_owned));
            head = store.append(&head, commit).await.unwrap();
        }
        let mut after = Seq(0);
        let mut read = Vec::new();
        loop {
            let page = store.read(after, 13).await.unwrap();
            assert!(page.len() == 13 || page.last().is_none_or(|last| last.seq == head.seq));
            let Some(last) = page.last() else { break };
            after = last.seq;
            read.extend(page);
        }
        let seqs: Vec<_> = read.iter().map(|text| text.seq.0).collect();
        assert_eq!(seqs, (1..=101).collect::<Vec<_>>());
        assert!(read.iter().map(|text| &text.json).eq(texts.iter()), "texts come back unchanged");
        assert_eq!(store.read(head.seq, 10).await.unwrap(), []);
        assert_eq!(store.read(Seq(u64::MAX), 10).await.unwrap(), []);
        assert_eq!(store.read(Seq(0), 0).await.unwrap(), []);
        assert_eq!(store.read(Seq(0), usize::MAX).await.unwrap().len(), 101);
    });
}

#[test]
pub(crate) fn read_events_decode_to_written_events() {
    every_store(async |store| {
        let events = vec![migration(1, 1), observed(2), token("'; DROP TABLE events; --")];
        store.append(&Head::default(), commit(&Head::default(), events.clone())).await.unwrap();
        let read = store.read(Seq(0), 10).await.unwrap();
        let read: Vec<_> = read.iter().map(|text| Envelope::decode(&text.json).unwrap().event).collect();
        assert_eq!(read, events);
    });
}

/// Writes a log in which each filter selects some events. Event n is recorded n seconds after the beginning.
async fn varied(store: &dyn Store) {
    let alice = || Actor::Token { name: "alice".into() };
    let events = [
        (alice(), token("a")),                      // 1
        (alice(), cordoned(1)),                     // 2
        (Actor::reactor("health"), observed(1)),    // 3
        (Actor::reactor("health"), observed(2)),    // 4
        (Actor::Anonymous, cordoned(2)),            // 5
        (Actor::reactor("mover"), migration(1, 2)), // 6
        (Actor::reactor("mover"), migration(2, 2)), // 7
        (alice(), cordoned(1)),                     // 8
    ];
    let mut seq = Seq(0);
    let events = events.into_iter().map(|(actor, event)| {
        seq = seq.next();
        stored(seq, actor, event)
    });
    let commit = Commit { id: CommitId(Uuid::new_v4()), events: events.collect(), idempotency: Vec::new() };
    store.append(&Head::default(), commit).await.unwrap();
}

#[test]
pub(crate) fn local_and_remote_reads_agree() {
    every_store(async |store| {
        varied(&*store).await;
        store.prune(&[(Seq(3), Seq(3))], 1).await.unwrap();
        let Some(log) = store.local() else { return };
        let (all, far) = (Seq(8), Seq(u64::MAX));
        for (after, limit) in [(0, 100), (0, 2), (2, 3), (5, 1), (8, 10), (0, 0), (900, 1)] {
            for until in [all, far, Seq(3), Seq(4)] {
                let mut texts = Vec::new();
                let each = &mut |seq, json: &str| {
                    texts.push(EventText { seq, json: json.to_owned() });
                    Ok(())
                };
                let stretch = log.read_each((Seq(after), until), limit, each).unwrap();
                let mut wanted = store.read(Seq(after), limit).await.unwrap();
                wanted.retain(|text| text.seq <= until);
                assert_eq!(texts, wanted, "{limit} after {after} until {until}");
                let up_to = match texts.last().filter(|_| texts.len() == limit) {
                    Some(last) => last.seq,
                    None if limit == 0 => Seq(after),
                    None => until.max(Seq(after)),
                };
                let pruned = u64::from((Seq(after).next()..=up_to).contains(&Seq(3)));
                assert_eq!(stretch, Stretch { up_to, there: texts.len(), pruned });
            }
        }
        // An error of `each` stops the read.
        let mut count = 0;
        let stopped = log.read_each((Seq(0), all), 100, &mut |seq, _| {
            count += 1;
            if seq < Seq(4) { Ok(()) } else { Err(StoreError::Unsupported("enough".into())) }
        });
        assert_eq!((stopped, count), (Err(StoreError::Unsupported("enough".into())), 3));
    });
}

#[test]
pub(crate) fn each_filter_finds_its_events() {
    every_store(async |store| {
        varied(&*store).await;
        let find = async |query: EventQuery| seqs(&*store, query).await;
        assert_eq!(find(all()).await, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(find(EventQuery { limit: 3, ..all() }).await, [1, 2, 3]);
        assert_eq!(find(EventQuery { limit: 0, ..all() }).await, [] as [u64; 0]);
        assert_eq!(find(EventQuery { after: Seq(6), ..all() }).await, [7, 8]);
        assert_eq!(find(EventQuery { kinds: vec![Kind::NodeCordoned], ..all() }).await, [2, 5, 8]);
        let kinds = vec![Kind::NodeObserved, Kind::TokenCreated, Kind::TokenRevoked];
        assert_eq!(find(EventQuery { kinds, ..all() }).await, [1, 3, 4]);
        // Includes events with the subject in a second place, and lists an event once that has the subject twice.
        assert_eq!(find(EventQuery { subject: Some(node(1).0), ..all() }).await, [2, 3, 6, 8]);
        assert_eq!(find(EventQuery { subject: Some(node(2).0), ..all() }).await, [4, 5, 6, 7]);
        assert_eq!(find(EventQuery { subject: Some(Uuid::from_u128(900)), ..all() }).await, [6, 7]);
        assert_eq!(find(EventQuery { subject: Some(Uuid::nil()), ..all() }).await, [] as [u64; 0]);
        assert_eq!(find(EventQuery { actor: Some("alice".into()), ..all() }).await, [1, 2, 8]);
        assert_eq!(find(EventQuery { actor: Some("anonymous".into()), ..all() }).await, [5]);
        assert_eq!(find(EventQuery { actor: Some("' OR 1=1 --".into()), ..all() }).await, [] as [u64; 0]);
        assert_eq!(find(EventQuery { since: Some(at(7)), ..all() }).await, [7, 8]);
        assert_eq!(find(EventQuery { until: Some(at(3)), ..all() }).await, [1, 2]);
        assert_eq!(find(EventQuery { since: Some(at(3)), until: Some(at(5)), ..all() }).await, [3, 4]);
    });
}

#[test]
pub(crate) fn times_are_compared_beyond_microseconds() {
    every_store(async |store| {
        varied(&*store).await;
        let just_after = Some(at(3) + TimeDelta::nanoseconds(1));
        assert_eq!(seqs(&*store, EventQuery { until: just_after, ..all() }).await, [1, 2, 3]);
        assert_eq!(seqs(&*store, EventQuery { since: just_after, limit: 1, ..all() }).await, [4]);
    });
}

#[test]
pub(crate) fn filters_combine_alike_in_every_store() {
    let query = || {
        (
            (0_u64..9, 0_usize..9, prop::sample::subsequence(&Kind::ALL[2..8], 0..4)),
            prop::option::of(prop::sample::select(vec![1_u128, 2, 900, 5])),
            prop::option::of(prop::sample::select(vec!["alice", "health", "mover", "unknown"])),
            (prop::option::of(0_u64..9), prop::option::of(0_u64..9)),
        )
            .prop_map(|((after, limit, kinds), subject, actor, (since, until))| EventQuery {
                after: Seq(after),
                limit,
                kinds,
                subject: subject.map(Uuid::from_u128),
                actor: actor.map(ToOwned::to_owned),
                since: since.map(at),
                until: until.map(at),
            })
    };
    every_store(async |store| {
        let memory = MemoryStore::new();
        varied(&memory).await;
        varied(&*store).await;
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) };
        let find = |store: &dyn Store, query| Handle::current().block_on(seqs(store, query));
        let compare = |query: EventQuery| {
            let found = find(&*store, query.clone());
            prop_assert_eq!(&found, &find(&memory, query.clone()));
            // Compared with the log itself.
            prop_assert!(found.is_sorted() && found.len() <= query.limit);
            prop_assert!(found.iter().all(|seq| *seq > query.after.0));
            Ok(())
        };
        tokio::task::block_in_place(|| {
            proptest::test_runner::TestRunner::new(config).run(&query(), compare).unwrap();
        });
    });
}

#[test]
pub(crate) fn idempotency_records_are_durable_with_their_commit_and_only_with_it() {
    every_store(async |store| {
        let with = |head: &Head, idempotency| Commit { idempotency, ..commit(head, vec![token("a")]) };
        let early = record("k1", at(10), "\"'");
        let late = record("k2", at(20), "{}");
        let head = store
            .append(&Head::default(), with(&Head::default(), vec![early.clone(), late.clone()]))
            .await
            .unwrap();
        let lost = with(&Head::default(), vec![record("k3", at(30), "")]);
        assert!(store.append(&Head::default(), lost).await.is_err());
        let kept = async |since| {
            let mut kept = store.idempotency_records(since, Seq(0)).await.unwrap();
            kept.sort_by(|a, b| a.key.cmp(&b.key));
            kept
        };
        assert_eq!(kept(at(0)).await, [early.clone(), late.clone()]);
        assert_eq!(kept(at(10)).await, [early, late.clone()]);
        assert_eq!(kept(at(11)).await, std::slice::from_ref(&late));
        assert_eq!(kept(at(21)).await, []);
        // A key that is used again, long after, returns its last record.
        let again = record("k1", at(90_000), "again");
        store.append(&head, with(&head, vec![again.clone()])).await.unwrap();
        assert_eq!(kept(at(0)).await, [again, late]);
    });
}

#[test]
pub(crate) fn old_idempotency_records_are_pruned_and_the_log_stays_whole() {
    every_store(async |store| {
        let mut head = Head::default();
        for (key, second) in [("k1", 10), ("k2", 20), ("k3", 30), ("k4", 40)] {
            let idempotency = vec![record(key, at(second), "{}")];
            head =
                store.append(&head, Commit { idempotency, ..commit(&head, vec![token("a")]) }).await.unwrap();
        }
        let keys = async || {
            let records = store.idempotency_records(at(0), Seq(0)).await.unwrap();
            records.into_iter().map(|record| record.key).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(store.prune_idempotency(at(10), 10).await.unwrap(), 0);
        assert_eq!(keys().await.len(), 4);
        // The limit bounds each call.
        assert_eq!(store.prune_idempotency(at(40), 2).await.unwrap(), 2);
        assert_eq!(keys().await.len(), 2);
        assert_eq!(store.prune_idempotency(at(40), 2).await.unwrap(), 1);
        assert_eq!(store.prune_idempotency(at(40), 2).await.unwrap(), 0);
        assert_eq!(keys().await, ["k4".to_owned()].into());
        assert_eq!(store.verify().await.unwrap(), head);
    });
}

#[test]
pub(crate) fn last_event_until_a_time_is_found() {
    every_store(async |store| {
        assert_eq!(store.seq_at(at(5)).await.unwrap(), Seq(0));
        let mut head = Head::default();
        // Event n is recorded at second n; in commits of three.
        for _ in 0..11 {
            head = store.append(&head, commit(&head, vec![token("a"); 3])).await.unwrap();
        }
        assert_eq!(store.seq_at(at(0)).await.unwrap(), Seq(0));
        for seq in 1..=33 {
            assert_eq!(store.seq_at(at(seq)).await.unwrap(), Seq(seq));
            assert_eq!(store.seq_at(at(seq) + TimeDelta::milliseconds(999)).await.unwrap(), Seq(seq));
            assert_eq!(store.seq_at(at(seq) - TimeDelta::microseconds(1)).await.unwrap(), Seq(seq - 1));
        }
        assert_eq!(store.seq_at(at(1_000_000)).await.unwrap(), Seq(33));
        assert_eq!(store.seq_at(chrono::DateTime::<chrono::Utc>::MIN_UTC).await.unwrap(), Seq(0));
        assert_eq!(store.seq_at(chrono::DateTime::<chrono::Utc>::MAX_UTC).await.unwrap(), Seq(33));
        // Of several events with one time, the last is returned.
        let same: Vec<_> = (34..40)
            .map(|seq| StoredEvent { seq: Seq(seq), ..stored(Seq(50), Actor::Anonymous, token("b")) })
            .collect();
        let commit = Commit { id: CommitId(Uuid::new_v4()), events: same, idempotency: Vec::new() };
        store.append(&head, commit).await.unwrap();
        assert_eq!(store.seq_at(at(50)).await.unwrap(), Seq(39));
        assert_eq!(store.seq_at(at(49)).await.unwrap(), Seq(33));
    });
}

fn snapshot(seq: u64, bytes: &[u8]) -> Snapshot {
    Snapshot { seq: Seq(seq), version: 7, bytes: bytes.to_vec() }
}

#[test]
pub(crate) fn snapshots_are_stored_found_replaced_and_dropped() {
    every_store(async |store| {
        fill(&*store, 30).await;
        assert_eq!(store.snapshots().await.unwrap(), []);
        assert_eq!(store.snapshot_before(Seq(30)).await.unwrap(), None);
        let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number * 7) as u8).collect();
        for kept in [snapshot(20, b"twenty"), snapshot(10, &large), snapshot(30, b"")] {
            store.write_snapshot(kept).await.unwrap();
        }
        assert_eq!(store.snapshots().await.unwrap(), [Seq(10), Seq(20), Seq(30)]);
        assert_eq!(store.snapshot_before(Seq(9)).await.unwrap(), None);
        assert_eq!(store.snapshot_before(Seq(10)).await.unwrap(), Some(snapshot(10, &large)));
        assert_eq!(store.snapshot_before(Seq(19)).await.unwrap(), Some(snapshot(10, &large)));
        assert_eq!(store.snapshot_before(Seq(29)).await.unwrap(), Some(snapshot(20, b"twenty")));
        assert_eq!(store.snapshot_before(Seq(u64::MAX)).await.unwrap(), Some(snapshot(30, b"")));
        let other = Snapshot { version: 8, ..snapshot(20, b"another") };
        store.write_snapshot(other.clone()).await.unwrap();
        assert_eq!(store.snapshot_before(Seq(29)).await.unwrap(), Some(other));
        store.drop_snapshot(Seq(20)).await.unwrap();
        store.drop_snapshot(Seq(25)).await.unwrap(); // does not exist
        assert_eq!(store.snapshots().await.unwrap(), [Seq(10), Seq(30)]);
        assert_eq!(store.snapshot_before(Seq(29)).await.unwrap(), Some(snapshot(10, &large)));
        store.verify().await.unwrap();
    });
}

#[test]
pub(crate) fn idempotency_records_are_found_by_their_events() {
    every_store(async |store| {
        let mut head = Head::default();
        for key in ["k1", "k2", "k3"] {
            let idempotency = vec![IdempotencyRecord { seq: head.seq.next(), ..record(key, at(10), "") }];
            let commit = Commit { idempotency, ..commit(&head, vec![token("a")]) };
            head = store.append(&head, commit).await.unwrap();
        }
        let keys = async |after| {
            let records = store.idempotency_records(at(0), Seq(after)).await.unwrap();
            let mut keys: Vec<_> = records.into_iter().map(|record| record.key).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(0).await, ["k1", "k2", "k3"]);
        assert_eq!(keys(1).await, ["k2", "k3"]);
        assert_eq!(keys(2).await, ["k3"]);
        assert_eq!(keys(3).await, [] as [String; 0]);
    });
}

/// Texts that a database could misinterpret come back unchanged.
#[test]
pub(crate) fn event_text_comes_back_byte_for_byte() {
    every_store(async |store| {
        let reserved = r#""labels":{"$reql_type$":"TIME","z":1.0,"a":1e3,"big":9007199254740993}"#;
        let odd = ["", "\u{0}", "$reql_type$", "line\nline\r\u{2028}", "\u{1F980}\u{feff}", "\\\"'`${}"];
        let mut first = commit(&Head::default(), odd.iter().map(|name| token(name)).collect());
        // Events of a future version: keys in any order, numbers in any form.
        let mut foreign = token_with(&first, reserved);
        foreign.seq = Seq(odd.len() as u64 + 1);
        first.events.push(foreign);
        let texts: Vec<_> =
            first.events.iter().filter_map(|event| event.body.json()).map(ToOwned::to_owned).collect();
        let head = store.append(&Head::default(), first).await.unwrap();
        let read = store.read(Seq(0), 100).await.unwrap();
        assert_eq!(read.into_iter().map(|text| text.json).collect::<Vec<_>>(), texts);
        assert_eq!(store.head().await.unwrap(), head);
    });
}

/// The last event of a commit with additional JSON fields.
fn token_with(commit: &Commit, more: &str) -> StoredEvent {
    let last = commit.events.last().unwrap();
    let json = format!("{{{more},{}", &last.body.json().unwrap()[1..]);
    StoredEvent { body: Body::Kept { json, salt: Salt::default() }, ..last.clone() }
}

fn row(table: Table, id: u128, json: Option<&str>) -> RowChange {
    RowChange { table, id: Uuid::from_u128(id), json: json.map(ToOwned::to_owned) }
}

#[test]
pub(crate) fn rows_are_written_read_replaced_and_removed() {
    every_store(async |store| {
        let rows = async |table| {
            let rows = store.read_table(table).await.unwrap();
            rows.into_iter().map(|(id, json)| (id.as_u128(), json)).collect::<Vec<_>>()
        };
        let changes = vec![
            row(Table::Nodes, 2, Some("n2")),
            row(Table::Nodes, 1, Some("n1")),
            row(Table::Applications, 1, Some("a1")),
            row(Table::Containers, 1, Some("c1")),
        ];
        store.write_rows(Seq(5), changes).await.unwrap();
        assert_eq!(store.tables_reflect().await.unwrap(), Seq(5));
        assert_eq!(rows(Table::Nodes).await, [(1, "n1".into()), (2, "n2".into())]);
        assert_eq!(rows(Table::Applications).await, [(1, "a1".into())]);
        assert_eq!(rows(Table::Containers).await, [(1, "c1".into())]);
        let changes =
            vec![row(Table::Nodes, 1, Some("n1'")), row(Table::Nodes, 2, None), row(Table::Nodes, 9, None)];
        store.write_rows(Seq(6), changes).await.unwrap();
        assert_eq!(rows(Table::Nodes).await, [(1, "n1'".into())]);
        assert_eq!(rows(Table::Containers).await, [(1, "c1".into())]);
    });
}

#[test]
pub(crate) fn older_tables_never_overwrite_newer_ones() {
    every_store(async |store| {
        store.write_rows(Seq(5), vec![row(Table::Nodes, 1, Some("new"))]).await.unwrap();
        let older = vec![row(Table::Nodes, 1, Some("old")), row(Table::Nodes, 2, Some("old"))];
        store.write_rows(Seq(4), older).await.unwrap();
        assert_eq!(store.tables_reflect().await.unwrap(), Seq(5));
        assert_eq!(store.read_table(Table::Nodes).await.unwrap(), [(Uuid::from_u128(1), "new".into())]);
        // Further rows of the same state are written.
        store.write_rows(Seq(5), vec![row(Table::Nodes, 2, Some("new"))]).await.unwrap();
        assert_eq!(store.read_table(Table::Nodes).await.unwrap().len(), 2);
    });
}

#[test]
pub(crate) fn dropping_tables_keeps_the_log() {
    every_store(async |store| {
        let head = fill(&*store, 3).await;
        for table in Table::ALL {
            store.write_rows(Seq(3), vec![row(table, 1, Some("x"))]).await.unwrap();
        }
        store.drop_tables().await.unwrap();
        assert_eq!(store.tables_reflect().await.unwrap(), Seq(0));
        for table in Table::ALL {
            assert_eq!(store.read_table(table).await.unwrap(), []);
        }
        assert_eq!(store.verify().await.unwrap(), head);
        store.write_rows(Seq(1), vec![row(Table::Nodes, 1, Some("new"))]).await.unwrap();
        assert_eq!(store.tables_reflect().await.unwrap(), Seq(1));
    });
}

#[test]
pub(crate) fn large_commit_is_complete() {
    every_store(async |store| {
        let events = (0..1_000).map(|i| token(&format!("{i}{}", "x".repeat(900)))).collect();
        let head = store.append(&Head::default(), commit(&Head::default(), events)).await.unwrap();
        assert_eq!(head.seq, Seq(1_000));
        assert_eq!(store.verify().await.unwrap(), head);
        assert_eq!(store.read(Seq(0), 2_000).await.unwrap().len(), 1_000);
    });
}

#[test]
pub(crate) fn readers_never_see_part_of_a_commit() {
    every_store(async |store| {
        let writer = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut head = Head::default();
                for _ in 0..60 {
                    head = store.append(&head, commit(&head, vec![token("a"); 7])).await.unwrap();
                }
            })
        };
        while !writer.is_finished() {
            let read = store.read(Seq(0), usize::MAX).await.unwrap();
            assert_eq!(read.len() % 7, 0);
            assert!(read.iter().zip(1..).all(|(text, seq)| text.seq == Seq(seq)));
        }
        writer.await.unwrap();
    });
}

#[test]
pub(crate) fn cursor_is_at_its_last_position() {
    every_store(async |store| {
        assert_eq!(store.cursor("a").await.unwrap(), None);
        store.set_cursor("a", Seq(7)).await.unwrap();
        store.set_cursor("b", Seq(0)).await.unwrap();
        store.set_cursor("a", Seq(9)).await.unwrap();
        store.set_cursor("it's", Seq(3)).await.unwrap();
        assert_eq!(store.cursor("a").await.unwrap(), Some(Seq(9)));
        assert_eq!(store.cursor("b").await.unwrap(), Some(Seq(0)));
        assert_eq!(store.cursor("it's").await.unwrap(), Some(Seq(3)));
        assert_eq!(store.head().await.unwrap(), Head::default(), "cursors are not part of the log");
        store.drop_tables().await.unwrap();
        assert_eq!(store.cursor("a").await.unwrap(), Some(Seq(9)), "cursors are not derived from the log");
    });
}

#[test]
fn every_test_of_the_contract_is_listed_for_rethinkdb() {
    let files = [
        include_str!("contract.rs"),
        include_str!("archive.rs"),
        include_str!("pruning.rs"),
        include_str!("lease.rs"),
    ];
    let tests = files.iter().flat_map(|text| text.split("#[test]\n").skip(1));
    let on_every_store = tests.filter(|test| test.contains(concat!("every_store", "(")));
    let names =
        on_every_store.map(|test| test.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap());
    let missing: Vec<_> = names.filter(|name| !on_rethinkdb::LISTED.contains(name)).collect();
    assert!(missing.is_empty(), "list these in tests/store/on_rethinkdb.rs: {missing:?}");
}
