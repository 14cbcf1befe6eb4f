//! Snapshots: a start and a read of the past begin at one, and never depend on it.

use crate::journal::doubles::*;
use kdaemon::journal::{Journal, SNAPSHOT_INTERVAL, SystemRuntime, take_snapshot};
use kdaemon::past::Past;
use kdaemon::store::prelude::*;
use kdaemon::store::{Commit, Head, Snapshot, StoredEvent};
use kdaemon_control::commands::Policy;
use kdaemon_events::container::{ContainerCreated, ContainerDeleted, ContainerPlaced};
use kdaemon_events::node::{NodeHealthy, NodeMounted, NodeUpdated};
use kdaemon_events::{
    Actor, CommitId, ContainerId, Endpoint, Envelope, Event, EventId, Generation, NodeId, Salt, Seq,
};
use kdaemon_projections::Cluster;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

fn node(number: u64) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(number % 7) + 1))
}

fn container(number: u64) -> ContainerId {
    ContainerId(Uuid::from_u128(u128::from(number) + 100))
}

/// Event `seq` of a log in which something happens all the time.
fn event(seq: u64) -> Event {
    match seq {
        1..=7 => NodeMounted {
            node_id: node(seq),
            name: format!("n{seq}"),
            user_id: None,
            endpoint: Endpoint::tcp(&format!("n{seq}"), 2375).unwrap(),
            labels: BTreeMap::from([("zone".to_owned(), format!("z{}", seq % 2))]),
            capacity: None,
        }
        .into(),
        8..=14 => NodeHealthy { node_id: node(seq), successes: 1 }.into(),
        // Longer logs need no more items than this.
        _ if seq.is_multiple_of(5) || seq > 2_000 => NodeUpdated {
            node_id: node(seq),
            name: None,
            user_id: Some(Some(format!("user {seq}"))),
            endpoint: None,
            labels: None,
            capacity: None,
        }
        .into(),
        _ if seq % 5 == 1 => ContainerCreated {
            container_id: container(seq),
            name: format!("c{seq}"),
            user_id: None,
            application_id: None,
            env_variables: BTreeMap::new(),
            balance: true,
            replica: false,
        }
        .into(),
        _ if seq % 5 == 2 => ContainerPlaced {
            container_id: container(seq - 1),
            generation: Generation(1),
            node_id: node(seq),
            evaluation: Box::default(),
        }
        .into(),
        _ => ContainerDeleted { container_id: container((seq / 3).saturating_sub(seq / 3 % 5) + 1) }.into(),
    }
}

/// A store with a log, and its events. `salt` makes logs differ in nothing but the ids of their events.
async fn logged(events: u64, salt: u128) -> (Arc<Faulty>, Vec<Envelope>) {
    let store = Arc::new(Faulty::default());
    let envelope = |seq| Envelope {
        seq: Seq(seq),
        id: EventId(Uuid::from_u128(u128::from(seq) + salt)),
        at: chrono::DateTime::from_timestamp(1_700_000_000 + i64::try_from(seq).unwrap(), 0).unwrap(),
        actor: Actor::Anonymous,
        request_id: None,
        cause: None,
        event: event(seq),
    };
    let log: Vec<Envelope> = (1..=events).map(envelope).collect();
    let mut head = Head::default();
    for events in log.chunks(1_000) {
        let events =
            events.iter().map(|envelope| StoredEvent::new(envelope, Salt::default()).unwrap()).collect();
        let commit = Commit { id: CommitId(Uuid::new_v4()), events, idempotency: Vec::new() };
        head = store.append(&head, commit).await.unwrap();
    }
    (store, log)
}

async fn open(store: &Arc<Faulty>) -> Journal {
    store.reads.lock().unwrap().clear();
    Journal::open(Arc::clone(store) as _, Arc::new(SystemRuntime), Arc::new(Policy::default())).await.unwrap()
}

/// The first event that was read since the store was opened, or since the last call.
fn first_read(store: &Faulty) -> u64 {
    std::mem::take(&mut *store.reads.lock().unwrap())
        .iter()
        .map(|after| after.0 + 1)
        .min()
        .unwrap_or(u64::MAX)
}

/// Takes snapshots after these events.
async fn keep(store: &Faulty, log: &[Envelope], after: &[usize]) {
    for seq in after {
        let state = Arc::new(Cluster::default().fold(&log[..*seq]));
        assert!(take_snapshot(store, &state).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn log_is_opened_from_its_newest_snapshot() {
    let (store, log) = logged(1_300, 0).await;
    let whole = Cluster::default().fold(&log);
    let journal = open(&store).await;
    assert!(*journal.cluster() == whole);
    assert_eq!(first_read(&store), 1);
    keep(&store, &log, &[500, 1_000]).await;
    let journal = open(&store).await;
    assert!(*journal.cluster() == whole);
    assert_eq!(first_read(&store), 1_000, "the event that it was taken after");
    // Any snapshot may be dropped.
    store.drop_snapshot(Seq(1_000)).await.unwrap();
    assert!(*open(&store).await.cluster() == whole);
    assert_eq!(first_read(&store), 500);
    store.drop_snapshot(Seq(500)).await.unwrap();
    assert!(*open(&store).await.cluster() == whole);
    assert_eq!(first_read(&store), 1);
}

#[tokio::test]
async fn long_fold_leaves_snapshots() {
    let (store, log) = logged(2 * SNAPSHOT_INTERVAL + 2_000, 0).await;
    let whole = Cluster::default().fold(&log);
    let journal = open(&store).await;
    let kept = store.snapshots().await.unwrap();
    assert_eq!(kept, [Seq(SNAPSHOT_INTERVAL), Seq(2 * SNAPSHOT_INTERVAL)]);
    for seq in kept {
        store.drop_snapshot(seq).await.unwrap();
    }
    let past = Past::new(journal);
    past.state(Seq(SNAPSHOT_INTERVAL + 1)).await.unwrap();
    assert_eq!(store.snapshots().await.unwrap(), [Seq(SNAPSHOT_INTERVAL)]);
    assert!(*open(&store).await.cluster() == whole);
    assert_eq!(first_read(&store), SNAPSHOT_INTERVAL);
    assert_eq!(store.snapshots().await.unwrap().len(), 2);
}

#[tokio::test]
async fn unusable_snapshots_are_ignored() {
    let (store, log) = logged(1_300, 0).await;
    let whole = Cluster::default().fold(&log);
    keep(&store, &log, &[500, 1_000]).await;
    let good = store.snapshot_before(Seq(u64::MAX)).await.unwrap().unwrap();
    let (other, log_of_other) = logged(1_300, 1 << 100).await;
    keep(&other, &log_of_other, &[1_000]).await;
    let foreign = other.snapshot_before(Seq(u64::MAX)).await.unwrap().unwrap();
    assert_eq!(foreign.seq, good.seq);
    let mut flipped = good.clone();
    *flipped.bytes.last_mut().unwrap() ^= 1;
    let mut cut = good.clone();
    cut.bytes.truncate(100);
    for bad in [
        flipped,
        cut,
        Snapshot { bytes: Vec::new(), ..good.clone() },
        Snapshot { version: good.version + 1, ..good.clone() },
        Snapshot { version: good.version - 1, ..good.clone() },
        foreign,
    ] {
        store.write_snapshot(bad).await.unwrap();
        assert!(*open(&store).await.cluster() == whole);
        assert_eq!(first_read(&store), 500, "the one before it was good");
        assert_eq!(store.snapshots().await.unwrap(), [Seq(500)], "the damaged one was dropped");
    }
    // A snapshot under the wrong seq.
    store.write_snapshot(Snapshot { seq: Seq(1_300), ..good }).await.unwrap();
    assert!(*open(&store).await.cluster() == whole);
}

#[tokio::test]
async fn state_after_an_event_is_the_fold_up_to_it() {
    let (store, log) = logged(1_300, 0).await;
    keep(&store, &log, &[400, 800, 1_200]).await;
    let journal = open(&store).await;
    let past = Past::new(journal.clone());
    let folded = |seq: u64| Cluster::default().fold(&log[..usize::try_from(seq).unwrap()]);
    for seq in [1, 900, 899, 901, 1_300, 1_299, 800, 799, 1_200, 1_201, 7] {
        first_read(&store);
        let state = past.state(Seq(seq)).await.unwrap();
        assert!(*state == folded(seq), "after {seq}");
        let snapshot = seq / 400 * 400;
        assert!(first_read(&store) >= snapshot.max(1), "after {seq}: from the snapshot on, or from nearer");
        assert!(Arc::ptr_eq(&past.state(Seq(seq)).await.unwrap(), &state), "it is remembered");
    }
    // A neighbour of a cached state is one event away.
    past.state(Seq(950)).await.unwrap();
    first_read(&store);
    assert!(*past.state(Seq(952)).await.unwrap() == folded(952));
    assert_eq!(first_read(&store), 951);
    // And without any snapshot.
    for seq in store.snapshots().await.unwrap() {
        store.drop_snapshot(seq).await.unwrap();
    }
    assert!(*Past::new(journal).state(Seq(1_100)).await.unwrap() == folded(1_100));
}

#[tokio::test]
async fn reading_the_past_delays_no_command() {
    let desk = Desk::open().await;
    for name in ["a", "b", "c"] {
        desk.submit(mount(name)).await.unwrap();
    }
    let gate = Arc::clone(&desk.store.read_gate).lock_owned().await;
    let past = Arc::new(Past::new(desk.journal.clone()));
    let looks: Vec<_> = (1..4)
        .map(|seq| {
            let past = Arc::clone(&past);
            tokio::spawn(async move { past.state(Seq(seq)).await.unwrap().nodes().len() })
        })
        .collect();
    until("the log is being read", || !desk.store.reads.lock().unwrap().is_empty()).await;
    let outcome = desk.submit(mount("d")).await.unwrap();
    assert_eq!(outcome.cluster.nodes().len(), 4, "and it is published");
    drop(gate);
    let mut counts = Vec::new();
    for look in looks {
        counts.push(look.await.unwrap());
    }
    assert_eq!(counts, [0, 1, 2]);
}
