//! Pruning: removes observations, keeps their leaves, and cannot remove other events.

use crate::store::contract::every_store;
use crate::store::events::*;
use kdaemon::journal::fold_log;
use kdaemon::store::prelude::*;
use kdaemon::store::{EventQuery, Head, SqliteStore, StoreError};
use kdaemon::verify::{VerifyLog as _, verify_log};
use kdaemon_events::cluster::ObservationsPruned;
use kdaemon_events::{Event, Kind, Seq};
use kdaemon_testing::MemoryStore;
use rusqlite::Connection;
use std::path::Path;

pub fn pruned(ranges: &[(u64, u64)]) -> Event {
    let ranges: Vec<_> = ranges.iter().map(|(first, last)| (Seq(*first), Seq(*last))).collect();
    let count = ranges.iter().map(|(first, last)| last.0 - first.0 + 1).sum();
    ObservationsPruned { up_to: ranges.last().unwrap().1, count, ranges, tallies: Vec::new() }.into()
}

/// Writes a log: token 1, observed 2 3, cordoned 4, observed 5 6 7, pruned 8 (names 2-3 and 5-6), token 9.
pub async fn written(store: &dyn Store) -> Head {
    let head = store
        .append(&Head::default(), commit(&Head::default(), vec![token("a"), observed(1), observed(2)]))
        .await
        .unwrap();
    let more = vec![cordoned(1), observed(1), observed(1), observed(2)];
    let head = store.append(&head, commit(&head, more)).await.unwrap();
    let head = store.append(&head, commit(&head, vec![pruned(&[(2, 3), (5, 6)])])).await.unwrap();
    store.append(&head, commit(&head, vec![token("b")])).await.unwrap()
}

pub const RANGES: [(Seq, Seq); 2] = [(Seq(2), Seq(3)), (Seq(5), Seq(6))];

pub async fn prune_all(store: &dyn Store, ranges: &[(Seq, Seq)]) -> usize {
    let mut count = 0;
    loop {
        match store.prune(ranges, 500).await.unwrap() {
            0 => return count,
            some => count += some,
        }
    }
}

#[test]
pub(crate) fn pruned_events_are_skipped_and_the_log_stays_valid() {
    every_store(async |store| {
        let head = written(&*store).await;
        assert_eq!(store.pruned(Seq(0), Seq(u64::MAX)).await.unwrap(), 0);
        // A log is valid when the daemon was killed between recording and pruning.
        assert_eq!(store.verify().await.unwrap(), head);
        assert_eq!(store.prune(&RANGES, 3).await.unwrap(), 3, "the limit bounds each call");
        assert_eq!(store.verify().await.unwrap(), head);
        assert_eq!(store.prune(&RANGES, 3).await.unwrap(), 1);
        assert_eq!(store.prune(&RANGES, 3).await.unwrap(), 0);
        assert_eq!(store.head().await.unwrap(), head);
        assert_eq!(store.verify().await.unwrap(), head);
        let all: Vec<_> = store.read(Seq(0), 100).await.unwrap().iter().map(|text| text.seq.0).collect();
        assert_eq!(all, [1, 4, 7, 8, 9]);
        assert_eq!(
            seqs(&*store, EventQuery { kinds: vec![Kind::NodeObserved], ..crate::store::events::all() })
                .await,
            [7]
        );
        assert_eq!(
            seqs(&*store, EventQuery { subject: Some(node(1).0), ..crate::store::events::all() }).await,
            [4]
        );
        assert_eq!(
            seqs(&*store, EventQuery { after: Seq(2), limit: 2, ..crate::store::events::all() }).await,
            [4, 7]
        );
        for (first, last, count) in [(1, 9, 4), (2, 2, 1), (4, 4, 0), (3, 5, 2), (9, 1, 0)] {
            assert_eq!(store.pruned(Seq(first), Seq(last)).await.unwrap(), count, "{first} to {last}");
        }
        let (cluster, folded) = fold_log(&*store).await.unwrap();
        assert_eq!((cluster.seq(), folded), (head.seq, head));
        let next = store.append(&head, commit(&head, vec![token("c")])).await.unwrap();
        assert_eq!(store.verify().await.unwrap(), next);
    });
}

#[test]
pub(crate) fn only_node_observations_are_pruned() {
    every_store(async |store| {
        written(&*store).await;
        assert_eq!(prune_all(&*store, &[(Seq(1), Seq(9))]).await, 5);
        let left: Vec<_> = store.read(Seq(0), 100).await.unwrap().iter().map(|text| text.seq.0).collect();
        assert_eq!(left, [1, 4, 8, 9]);
        // The log names one event less: verification finds it.
        let found = verify_log(&*store, None, |_| {}).await.unwrap();
        assert!(
            found
                .trouble()
                .unwrap()
                .contains("events 7 to 7 were removed, and no event of the log names them"),
            "{found:?}"
        );
    });
}

fn damage(folder: &Path, sql: &str) {
    Connection::open(folder.join("kdaemon.db")).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn hole_that_is_not_a_pruned_event_stops_the_fold() {
    let store = MemoryStore::new();
    written(&store).await;
    prune_all(&store, &RANGES).await;
    assert!(fold_log(&store).await.is_ok());
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    written(&store).await;
    prune_all(&store, &RANGES).await;
    damage(folder.path(), "DELETE FROM pruned WHERE seq = 5");
    let error = fold_log(&store).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged(text) if text.contains("missing")), "{error}");
    store.close().await;
    assert!(matches!(SqliteStore::open(folder.path()), Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn space_of_pruned_events_is_reused() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let mut head = Head::default();
    let pages = async || -> i64 {
        let connection = Connection::open(folder.path().join("kdaemon.db")).unwrap();
        connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap()
    };
    let mut sizes = Vec::new();
    for _ in 0..8 {
        let first = head.seq.next();
        for _ in 0..5 {
            head = store.append(&head, commit(&head, vec![observed(1); 500])).await.unwrap();
        }
        let ranges = [(first, head.seq)];
        head = store.append(&head, commit(&head, vec![pruned(&[(first.0, head.seq.0)])])).await.unwrap();
        assert_eq!(prune_all(&store, &ranges).await, 2_500);
        sizes.push(pages().await);
    }
    // The header and hash of a pruned event take about a fifth of the event. Without pruning, the file would grow
    // eightfold.
    assert!(sizes[7] < sizes[0] * 3, "{sizes:?}");
    assert_eq!(store.verify().await.unwrap(), head);
    store.close().await;
    let store = SqliteStore::open(folder.path()).unwrap();
    assert_eq!(store.verify().await.unwrap(), head);
    assert_eq!(store.pruned(Seq(0), head.seq).await.unwrap(), 20_000);
    store.close().await;
}
