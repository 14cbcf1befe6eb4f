//! The RethinkDB store: several daemons on one database, and ad-hoc queries of its data.

use crate::store::events::*;
use crate::store::pruning::{RANGES, prune_all, written};
use crate::support::rethinkdb::{Rethinkdb, forget, settings};
use futures_util::StreamExt as _;
use kdaemon::store::prelude::*;
use kdaemon::store::{Body, Head, RethinkdbSettings, RethinkdbStore, RowChange, Snapshot, StoreError, Table};
use kdaemon::verify::VerifyLog as _;
use kdaemon_events::{Salt, Seq};
use reql::{Command, func, r};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Queries the server directly, past the store.
async fn ask(settings: &RethinkdbSettings, query: Command) -> Vec<Value> {
    let (host, port) = &settings.hosts[0];
    let options = reql::cmd::connect::Options::new().db(settings.dbname.clone());
    let session = r.connect(r.args(((host.as_str(), *port), options))).await.unwrap();
    let mut answers = Box::pin(query.run::<_, Value>(&session));
    let mut all = Vec::new();
    while let Some(answer) = answers.next().await {
        all.push(answer.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn concurrent_starts_create_one_database() {
    let server = Rethinkdb::get();
    let settings = settings(server.address());
    let opening: Vec<_> = (0..6).map(|_| tokio::spawn(RethinkdbStore::open(settings.clone()))).collect();
    let mut stores = Vec::new();
    for open in opening {
        stores.push(open.await.unwrap().unwrap());
    }
    let head = fill(&stores[0], 3).await;
    for store in &stores {
        assert_eq!(store.verify().await.unwrap(), head);
    }
    let tables = ask(&settings, r.db(settings.dbname.clone()).table_list()).await;
    assert_eq!(tables, [json!(["applications", "containers", "events", "meta", "nodes", "snapshots"])]);
    forget(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn reopened_store_has_everything() {
    let server = Rethinkdb::get();
    let settings = settings(server.address());
    assert!(!RethinkdbStore::exists(settings.clone()).await.unwrap());
    let store = RethinkdbStore::open(settings.clone()).await.unwrap();
    let head = fill(&store, 150).await;
    store.close().await;
    assert!(store.head().await.is_err(), "the store is closed");
    assert!(RethinkdbStore::exists(settings.clone()).await.unwrap());
    let store = RethinkdbStore::open(settings.clone()).await.unwrap();
    assert_eq!(store.head().await.unwrap(), head);
    let next = store.append(&head, commit(&head, vec![token("x")])).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), next);
    let said = format!(
        "{} {:?}",
        store.describe(),
        RethinkdbSettings { password: "hush".into(), ..settings.clone() }
    );
    assert!(said.contains(&settings.dbname) && !said.contains("hush"), "{said}");
    forget(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn commit_of_another_daemon_is_noticed_at_once() {
    let server = Rethinkdb::get();
    let settings = settings(server.address());
    let ours = RethinkdbStore::open(settings.clone()).await.unwrap();
    let theirs = RethinkdbStore::open(settings.clone()).await.unwrap();
    let ours = Arc::new(ours);
    let mut head = Head::default();
    let mut times = Vec::new();
    for _ in 0..21 {
        let waiting = {
            let ours = Arc::clone(&ours);
            tokio::spawn(async move {
                ours.wait_for_commit(&head, Duration::from_secs(30)).await.unwrap();
                Instant::now()
            })
        };
        head = theirs.append(&head, commit(&head, vec![token("x")])).await.unwrap();
        let appended = Instant::now();
        times.push(waiting.await.unwrap().saturating_duration_since(appended));
        assert_eq!(ours.head().await.unwrap(), head);
    }
    times.sort_unstable();
    // The periodic read would come after half a second.
    assert!(times[10] < Duration::from_millis(300), "{times:?}");
    forget(&settings).await;
}

/// The events of commits, with the query of docs/clustering.md (`concat_map` of `reql` 0.11 takes no
/// function).
fn reads(commits: Command) -> Command {
    commits.map(func!(|commit| commit
        .bracket("texts")
        .filter(func!(|text| text.type_of().eq("STRING")))
        .map(func!(|text| r.json(text)))))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn events_and_rows_can_be_queried_with_reql() {
    let server = Rethinkdb::get();
    let settings = settings(server.address());
    let store = RethinkdbStore::open(settings.clone()).await.unwrap();
    let head = store
        .append(&Head::default(), commit(&Head::default(), vec![token("a"), cordoned(1)]))
        .await
        .unwrap();
    store.append(&head, commit(&head, vec![token("$reql_type$")])).await.unwrap();
    let index = reql::cmd::get_all::Options::new().index("kinds");
    let by_kind = ask(&settings, r.table("events").get_all(r.args(("NodeCordoned", index.clone())))).await;
    assert_eq!(by_kind.len(), 1);
    assert_eq!(by_kind[0]["kinds"], json!(["NodeCordoned", "TokenCreated"]));
    let commits = r.table("events").get_all(r.args(("NodeCordoned", index)));
    let events = ask(&settings, reads(commits)).await;
    assert_eq!(events[0][1]["data"]["node_id"], json!(Uuid::from_u128(1)));
    assert_eq!(
        (&by_kind[0]["id"], &by_kind[0]["first_seq"], &by_kind[0]["last_seq"]),
        (&json!(1), &json!(1), &json!(2))
    );

    let row = json!({"name": "node-a", "state": "UP", "labels": {"z": 1, "a": 2}}).to_string();
    let change = |json: Option<&str>| RowChange {
        table: Table::Nodes,
        id: Uuid::from_u128(1),
        json: json.map(Into::into),
    };
    store.write_rows(Seq(3), vec![change(Some(&row))]).await.unwrap();
    let found = ask(&settings, r.table("nodes").get(Uuid::from_u128(1))).await;
    assert_eq!((&found[0]["row"]["name"], &found[0]["seq"]), (&json!("node-a"), &json!(3)));
    forget(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn pruned_event_is_nowhere_in_its_document_and_the_rest_is_found_with_reql() {
    let server = Rethinkdb::get();
    let settings = settings(server.address());
    let store = RethinkdbStore::open(settings.clone()).await.unwrap();
    let head = written(&store).await;
    let text = store.read(Seq(1), 1).await.unwrap().remove(0).json;
    let has_text = async || {
        let document = ask(&settings, r.table("events").get(1)).await;
        let texts = document[0]["texts"].as_array().unwrap().clone();
        texts.iter().any(|kept| kept.as_str() == Some(&text))
    };
    assert!(has_text().await);
    assert_eq!(prune_all(&store, &RANGES).await, 4);
    assert!(!has_text().await);
    assert_eq!(store.verify().await.unwrap(), head);
    let ids = ask(
        &settings,
        reads(r.table("events").between(r.args((1, 2)))).map(func!(|events| events.bracket("seq"))),
    )
    .await;
    assert_eq!(ids, [json!([1])]);
    forget(&settings).await;
}

/// Two daemons write the tables at the same time, one of them from an older state.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn older_row_never_overwrites_a_newer_one_under_concurrency() {
    let server = Rethinkdb::get();
    let settings = settings(server.address());
    let leader = RethinkdbStore::open(settings.clone()).await.unwrap();
    let frozen = RethinkdbStore::open(settings.clone()).await.unwrap();
    let rows = |text: Option<&str>| -> Vec<RowChange> {
        let row =
            |id| RowChange { table: Table::Containers, id: Uuid::from_u128(id), json: text.map(Into::into) };
        (0..300).map(row).collect()
    };
    leader.write_rows(Seq(1), rows(Some("0"))).await.unwrap();
    for seq in (2..40).step_by(2) {
        let new = if seq % 4 == 0 { Some("1") } else { None };
        let (new_written, old_written) = tokio::join!(
            leader.write_rows(Seq(seq + 1), rows(new)),
            frozen.write_rows(Seq(seq), rows(Some("2")))
        );
        new_written.and(old_written).unwrap();
        let found = leader.read_table(Table::Containers).await.unwrap();
        let expected = if new.is_some() { 300 } else { 0 };
        assert_eq!(found.len(), expected, "seq {seq}");
        assert!(found.iter().all(|(_, text)| text == "1"));
        assert_eq!(leader.tables_reflect().await.unwrap(), Seq(seq + 1));
    }
    forget(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn altered_and_removed_commits_are_found() {
    let server = Rethinkdb::get();
    type Alter = fn() -> Command;
    let alter: [(&str, Alter); 5] = [
        ("the text is not an event", || r.table("events").get(2).update(json!({"texts": ["{}"]}))),
        ("does not have the recorded root", || {
            r.table("events").get(3).update(json!({"root": "0".repeat(64)}))
        }),
        ("`kinds` does not match", || r.table("events").get(2).update(json!({"kinds": []}))),
        ("missing", || r.table("events").get(2).delete(())),
        ("claims events 1 to 1", || r.table("events").get(2).update(json!({"first_seq": 1, "last_seq": 1}))),
    ];
    for (says, alter) in alter {
        let settings = settings(server.address());
        let store = RethinkdbStore::open(settings.clone()).await.unwrap();
        fill(&store, 3).await;
        ask(&settings, alter()).await;
        match store.verify().await {
            Err(StoreError::Damaged(what)) => assert!(what.contains(says), "expected `{says}` in `{what}`"),
            other => panic!("{says}: {other:?}"),
        }
        if says.contains("missing") {
            let opened = RethinkdbStore::open(settings.clone()).await;
            assert!(matches!(opened, Err(StoreError::Damaged(_))), "a log with a hole is not opened");
        }
        forget(&settings).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn snapshot_is_complete_or_absent() {
    let server = Rethinkdb::get();
    let settings = settings(server.address());
    let store = RethinkdbStore::open(settings.clone()).await.unwrap();
    assert_eq!(store.snapshot_before(Seq(9)).await.unwrap(), None);
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let snapshot = |seq, bytes: &[u8]| Snapshot { seq: Seq(seq), version: 7, bytes: bytes.to_vec() };
    for (seq, bytes) in [(5, &bytes[..]), (9, &[]), (7, b"seven")] {
        store.write_snapshot(snapshot(seq, bytes)).await.unwrap();
    }
    assert_eq!(store.snapshots().await.unwrap(), [Seq(5), Seq(7), Seq(9)]);
    assert_eq!(store.snapshot_before(Seq(6)).await.unwrap(), Some(snapshot(5, &bytes)));
    assert_eq!(store.snapshot_before(Seq(4)).await.unwrap(), None);
    assert_eq!(store.snapshot_before(Seq(100)).await.unwrap(), Some(snapshot(9, &[])));
    store.drop_snapshot(Seq(5)).await.unwrap();
    store.write_snapshot(snapshot(7, b"eight")).await.unwrap();
    assert_eq!(store.snapshots().await.unwrap(), [Seq(7), Seq(9)]);
    assert_eq!(store.snapshot_before(Seq(8)).await.unwrap(), Some(snapshot(7, b"eight")));
    forget(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn last_event_before_a_time_is_found_despite_clock_skew() {
    let server = Rethinkdb::get();
    let settings = settings(server.address());
    let store = RethinkdbStore::open(settings.clone()).await.unwrap();
    assert_eq!(store.seq_at(at(100)).await.unwrap(), Seq(0));
    let head = fill(&store, 5).await; // event n in second n
    assert_eq!(store.seq_at(at(0)).await.unwrap(), Seq(0));
    assert_eq!(store.seq_at(at(3)).await.unwrap(), Seq(3));
    // A commit of a daemon with a slow clock.
    let mut late = commit(&head, vec![token("late")]);
    let json = late.events[0].body.json().unwrap().replace(&seconds(6), &seconds(2));
    late.events[0].body = Body::Kept { json, salt: Salt::default() };
    store.append(&head, late).await.unwrap();
    assert_eq!(store.seq_at(at(2)).await.unwrap(), Seq(6));
    assert_eq!(store.seq_at(at(1)).await.unwrap(), Seq(1));
    forget(&settings).await;
}

/// The time of an event as in its text.
fn seconds(seq: u64) -> String {
    serde_json::to_string(&at(seq)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a RethinkDB server: scripts/test"]
async fn wrong_password_and_silent_server_are_reported() {
    let server = Rethinkdb::get();
    let wrong = RethinkdbSettings { password: "hush".into(), ..settings(server.address()) };
    let Err(error) = RethinkdbStore::open(wrong).await else { panic!("the store opened") };
    let said = error.to_string();
    assert!(said.contains("rethinkdb_password_file") && !said.contains("hush"), "{said}");

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings(silent.local_addr().unwrap());
    settings.connect_timeout = Duration::from_millis(200);
    settings.query_timeout = Duration::from_secs(1);
    let Err(error) = RethinkdbStore::open(settings.clone()).await else { panic!("the store opened") };
    assert!(error.to_string().contains("does not answer"), "{error}");
    // A silent server does no harm next to one that responds.
    settings.hosts.push((server.address().ip().to_string(), server.address().port()));
    settings.query_timeout = Duration::from_secs(5);
    let store = RethinkdbStore::open(settings.clone()).await.unwrap();
    fill(&store, 2).await;
    store.close().await;
    settings.hosts.remove(0);
    forget(&settings).await;
}
