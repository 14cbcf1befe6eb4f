//! Events and commits for the tests.

use chrono::{DateTime, TimeDelta, Utc};
use kdaemon::store::prelude::*;
use kdaemon::store::{Commit, EventQuery, Head, IdempotencyRecord, StoredEvent};
use kdaemon_events::cluster::TokenCreated;
use kdaemon_events::container::ContainerMigrationCommanded;
use kdaemon_events::container::MigrationReason;
use kdaemon_events::node::{NodeCordoned, NodeObserved, ProbeOutcome};
use kdaemon_events::scheduling::{Evaluation, LabelSpread, Score};
use kdaemon_events::{
    Actor, CommitId, ContainerId, Envelope, Event, EventId, Generation, NodeId, RequestId, Salt, Seq,
};
use uuid::Uuid;

pub fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

/// The time of event `seq`: `seq` seconds after the beginning.
pub fn at(seq: u64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(i64::try_from(seq).unwrap())
}

pub fn stored(seq: Seq, actor: Actor, event: impl Into<Event>) -> StoredEvent {
    let envelope = Envelope {
        seq,
        id: EventId(Uuid::new_v4()),
        at: at(seq.0),
        actor,
        request_id: Some(RequestId("r".into())),
        cause: None,
        event: event.into(),
    };
    StoredEvent::new(&envelope, Salt::derive(Uuid::new_v4(), seq)).unwrap()
}

pub fn token(name: &str) -> Event {
    TokenCreated { name: name.into() }.into()
}

pub fn cordoned(number: u128) -> Event {
    NodeCordoned { node_id: node(number) }.into()
}

pub fn observed(number: u128) -> Event {
    let outcome = ProbeOutcome::Answered { running: None, foreign: None };
    NodeObserved { node_id: node(number), outcome, latency_ms: 1, engine: None, orphans: Vec::new() }.into()
}

/// An event about a container and two nodes, which may be the same one.
pub fn migration(from: u128, to: u128) -> Event {
    let value = Some("it's 'quoted' — \u{1F980}\n".to_owned());
    let score = Score { spread: Some(LabelSpread { value, containers: 0 }), ..Score::default() };
    ContainerMigrationCommanded {
        container_id: ContainerId(Uuid::from_u128(900)),
        from_node_id: node(from),
        from_generation: Generation(1),
        node_id: node(to),
        generation: Generation(2),
        reason: MigrationReason::Update,
        start_first: false,
        evaluation: Some(Box::new(Evaluation { score, ..Evaluation::default() })),
    }
    .into()
}

/// A commit of these events on top of a head.
pub fn commit(head: &Head, events: Vec<Event>) -> Commit {
    let mut seq = head.seq;
    let events = events.into_iter().map(|event| {
        seq = seq.next();
        stored(seq, Actor::Anonymous, event)
    });
    Commit { id: CommitId(Uuid::new_v4()), events: events.collect(), idempotency: Vec::new() }
}

/// The idempotency record of a request with one event, the first of the log.
pub fn record(key: &str, at: DateTime<Utc>, fingerprint: &str) -> IdempotencyRecord {
    let fingerprint = fingerprint.into();
    IdempotencyRecord { key: key.into(), fingerprint, at, before: Seq(0), seq: Seq(1), waited_until: None }
}

/// Appends `commits` commits of one event each.
pub async fn fill(store: &dyn Store, commits: u64) -> Head {
    let mut head = store.head().await.unwrap();
    for number in 0..commits {
        head = store.append(&head, commit(&head, vec![token(&format!("t{number}"))])).await.unwrap();
    }
    head
}

/// The seqs of the events that match a query.
pub async fn seqs(store: &dyn Store, query: EventQuery) -> Vec<u64> {
    store.query(query).await.unwrap().into_iter().map(|text| text.seq.0).collect()
}

pub fn all() -> EventQuery {
    EventQuery { limit: usize::MAX, ..EventQuery::default() }
}
