//! A failing store: nothing is published that may be lost, nothing is lost that was published.

use crate::journal::doubles::*;
use kdaemon::journal::{Journal, SubmitError, SystemRuntime};
use kdaemon::store::prelude::*;
use kdaemon::store::{Body, Commit, Head, StoreError, StoredEvent};
use kdaemon_control::commands::Policy;
use kdaemon_events::cluster::TokenCreated;
use kdaemon_events::{Actor, CommitId, Envelope, EventId, Kind, Salt, Seq};
use kdaemon_testing::MemoryStore;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

#[track_caller]
fn unavailable<T: std::fmt::Debug>(outcome: Result<T, SubmitError>) -> String {
    match outcome {
        Err(SubmitError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn absent_store_stops_commands_and_is_reported() {
    for desk in Desk::inline_and_queued().await {
        let mut feed = desk.journal.subscribe();
        desk.store.inner.set_unavailable(Some("the disk is on fire"));
        let why = unavailable(desk.submit(mount("a")).await);
        assert_eq!(why, "the store is not available: the disk is on fire");
        assert_eq!(desk.journal.trouble(), Some(why));
        assert!(!desk.has_node("a"));
        assert_eq!(desk.journal.cluster().seq(), Seq(1));
        desk.store.inner.set_unavailable(None);
        desk.submit(mount("b")).await.unwrap();
        assert_eq!(desk.journal.trouble(), None);
        // The first commit that subscribers receive is the first that happened.
        let committed = feed.next().await.unwrap().unwrap();
        assert_eq!(committed.events[0].seq, Seq(2));
        assert!(committed.cluster.find_node("b").is_some());
        assert!(!desk.has_node("a"));
        desk.check().await;
    }
}

#[tokio::test]
async fn failed_commit_fails_all_its_commands() {
    let desk = Desk::open().await;
    let (gate, first) = desk.hold(mount("first")).await;
    let all: Vec<_> = (0..20).map(|n| desk.send(mount(&format!("n{n}")))).collect();
    until("all wait", || desk.journal.waiting() >= 20).await;
    // The first commit succeeds, the next one fails.
    desk.store.fail_next_append(Fault::BeforeWriting);
    desk.store.fail_next_append(Fault::BeforeWriting);
    drop(gate);
    unavailable(first.await.unwrap());
    for task in all {
        unavailable(task.await.unwrap());
    }
    assert_eq!(desk.journal.cluster().seq(), Seq(1));
    desk.submit(mount("n0")).await.unwrap();
    desk.check().await;
}

#[tokio::test]
async fn missing_commit_is_sent_again_and_happens_once() {
    for fault in [Fault::OnceBeforeWriting, Fault::Late] {
        for desk in Desk::inline_and_queued().await {
            desk.store.fail_next_append(fault);
            // The late commit is written after it was looked for and before it is sent again.
            let outcome = desk.submit(mount("a")).await.unwrap();
            assert_eq!(outcome.seq, Seq(2), "{fault:?}");
            assert_eq!(desk.store.inner.head().await.unwrap().commits, 2, "{fault:?}");
            desk.submit(mount("b")).await.unwrap();
            desk.check().await;
        }
    }
}

#[tokio::test]
async fn commands_on_top_of_a_failed_commit_fail_with_it() {
    for fails_first in [true, false] {
        two_commits_of_which_one_fails(fails_first).await;
    }
}

async fn two_commits_of_which_one_fails(fails_first: bool) {
    let desk = Desk::open().await;
    let node = desk.submit(mount("a")).await.unwrap().cluster.find_node("a").unwrap().id;
    let (gate, first) = desk.hold(mount("first")).await;
    // Enough for two commits.
    let all: Vec<_> = (0..4).map(|n| desk.send(label(node, &format!("l{n}"), 400_000))).collect();
    until("all wait", || desk.journal.waiting() >= 4).await;
    let settled_at_once = Fault::AfterWriting; // so it succeeds
    desk.store.fail_next_append(settled_at_once);
    if !fails_first {
        desk.store.fail_next_append(settled_at_once);
    }
    desk.store.fail_next_append(Fault::BeforeWriting);
    drop(gate);
    first.await.unwrap().unwrap();
    let mut done = Vec::new();
    for task in all {
        done.push(task.await.unwrap().is_ok());
    }
    assert_eq!(done, if fails_first { [false; 4] } else { [true, true, false, false] });
    desk.check().await;
}

#[tokio::test]
async fn append_with_a_lost_answer_succeeds() {
    for desk in Desk::inline_and_queued().await {
        desk.store.fail_next_append(Fault::AfterWriting);
        let outcome = desk.submit(mount("a")).await.unwrap();
        assert_eq!(outcome.seq, Seq(2));
        assert_eq!(desk.journal.trouble(), None);
        desk.submit(mount("b")).await.unwrap();
        desk.check().await;
    }
}

#[tokio::test]
async fn unknown_append_is_settled_by_reading_back() {
    for desk in Desk::inline_and_queued().await {
        let mut feed = desk.journal.subscribe();
        desk.store.fail_next_append(Fault::AfterWriting);
        desk.store.looks_lost.store(1, Ordering::SeqCst);
        unavailable(desk.submit(mount("a")).await);
        assert!(!desk.has_node("a"), "not known to be durable, so not shown");
        // The append did happen: the next command is decided on top of it.
        desk.submit(mount("b")).await.unwrap();
        assert!(desk.has_node("a") && desk.has_node("b"));
        assert_eq!(desk.journal.trouble(), None);
        // Subscribers receive both, in order and with their events.
        for seq in [2, 3] {
            let committed = feed.next().await.unwrap().unwrap();
            assert_eq!(committed.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [Seq(seq)]);
            assert_eq!(committed.touched.nodes.len(), 1);
        }
        desk.check().await;
    }
}

#[tokio::test]
async fn unknown_append_may_not_have_happened() {
    for desk in Desk::inline_and_queued().await {
        desk.store.fail_next_append(Fault::BeforeWriting);
        desk.store.looks_lost.store(1, Ordering::SeqCst);
        unavailable(desk.submit(mount("a")).await);
        desk.submit(mount("b")).await.unwrap();
        assert!(!desk.has_node("a"));
        desk.check().await;
    }
}

#[tokio::test]
async fn unknown_append_blocks_writes_until_settled() {
    for desk in Desk::inline_and_queued().await {
        desk.store.fail_next_append(Fault::AfterWriting);
        desk.store.looks_lost.store(4, Ordering::SeqCst);
        for name in ["a", "b", "c", "d"] {
            unavailable(desk.submit(mount(name)).await);
            assert_eq!(desk.store.inner.head().await.unwrap().seq, Seq(2));
            assert!(desk.journal.trouble().is_some());
        }
        desk.submit(mount("e")).await.unwrap();
        assert!(desk.has_node("a") && desk.has_node("e") && !desk.has_node("b"));
        desk.check().await;
    }
}

#[tokio::test]
async fn conflicting_commit_is_folded_and_the_command_decided_again() {
    for desk in Desk::inline_and_queued().await {
        let mut feed = desk.journal.subscribe();
        let head = desk.store.inner.head().await.unwrap();
        desk.store.inner.append(&head, token(head.seq.next(), "theirs")).await.unwrap();
        assert_eq!(desk.submit(mount("a")).await.unwrap().seq, Seq(3));
        assert_eq!(desk.journal.trouble(), None);
        for kind in [Kind::TokenCreated, Kind::NodeMounted] {
            assert_eq!(feed.next().await.unwrap().unwrap().events[0].event.kind(), kind);
        }
        desk.check().await;
    }
}

#[tokio::test]
async fn two_daemons_share_one_log() {
    let one = Desk::open().await;
    let other = one.sibling().await;
    let mut sent = Vec::new();
    for number in 0..100 {
        // Each name is requested twice, and created once.
        sent.push((one.send(mount(&format!("n{number}"))), other.send(mount(&format!("n{number}")))));
    }
    for (number, (one, other)) in sent.into_iter().enumerate() {
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert!(one.is_ok() != other.is_ok(), "n{number}: {one:?} {other:?}");
        let refused = one.err().or(other.err());
        assert!(matches!(refused, Some(SubmitError::Refused(_))), "n{number}: {refused:?}");
    }
    // A daemon that writes has seen everything before.
    one.submit(mount("last")).await.unwrap();
    one.check().await;
    other.submit(mount("very-last")).await.unwrap();
    other.check().await;
    assert_eq!(other.journal.cluster().nodes().len(), 102);
}

#[tokio::test]
async fn rolled_back_log_is_not_appended_to() {
    for desk in Desk::inline_and_queued().await {
        desk.submit(mount("a")).await.unwrap();
        desk.store.fail_next_append(Fault::PutBack);
        let why = unavailable(desk.submit(mount("b")).await);
        assert_eq!(why, "the store is damaged: the log had 2 events and now has 0");
        assert!(!desk.has_node("b"));
    }
}

fn token(seq: Seq, name: &str) -> Commit {
    let envelope = Envelope {
        seq,
        id: EventId(Uuid::from_u128(9)),
        at: chrono::DateTime::UNIX_EPOCH,
        actor: Actor::Anonymous,
        request_id: None,
        cause: None,
        event: TokenCreated { name: name.into() }.into(),
    };
    let events = vec![StoredEvent::new(&envelope, Salt::default()).unwrap()];
    Commit { id: CommitId(Uuid::from_u128(u128::MAX - u128::from(seq.0))), events, idempotency: Vec::new() }
}

fn alter(event: &mut StoredEvent, change: impl FnOnce(&str) -> String) {
    let json = change(event.body.json().unwrap());
    event.body = Body::Kept { json, salt: Salt::default() };
}

/// Opens a journal on a log that is impossible.
async fn refused(change: impl FnOnce(&mut StoredEvent)) -> StoreError {
    let store = MemoryStore::new();
    let mut commit = token(Seq(1), "a");
    change(&mut commit.events[0]);
    store.append(&Head::default(), commit).await.unwrap();
    match Journal::open(Arc::new(store), Arc::new(SystemRuntime), Arc::new(Policy::default())).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn impossible_log_is_refused_at_start() {
    let hole = refused(|event| event.seq = Seq(2)).await;
    assert_eq!(hole, StoreError::Damaged("event 1 is missing".into()));
    let nonsense = refused(|event| alter(event, |_| "{".into())).await;
    assert!(nonsense.to_string().contains("event 1: the text is not an event"), "{nonsense}");
    let unknown = refused(|event| alter(event, |json| json.replace("TokenCreated", "TokenForged"))).await;
    assert!(unknown.to_string().contains("use that or a newer one"), "{unknown}");
    let newer = refused(|event| alter(event, |json| json.replace("\"v\":1", "\"v\":2"))).await;
    let text = format!("version 2 of {} is newer than this kDaemon knows (1)", Kind::TokenCreated);
    assert!(newer.to_string().contains(&text), "{newer}");
    let renumbered = refused(|event| alter(event, |json| json.replace("\"seq\":1", "\"seq\":7"))).await;
    assert_eq!(renumbered, StoreError::Damaged("event 1 is missing".into()));
}

#[tokio::test]
async fn published_state_is_the_fold_of_the_log_under_faults() {
    // A sequence of faults, drawn from a seed, with commands and restarts between.
    for seed in 0_u64..40 {
        let mut desk = Desk::open().await;
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut draw = |limit: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % limit
        };
        let mut acknowledged = Vec::new();
        for step in 0..60 {
            match draw(10) {
                8 => desk.store.fail_next_append(Fault::OnceBeforeWriting),
                9 => desk.store.fail_next_append(Fault::Late),
                0 => desk.store.fail_next_append(Fault::BeforeWriting),
                1 => desk.store.fail_next_append(Fault::AfterWriting),
                2 => desk.store.looks_lost.store(draw(3), Ordering::SeqCst),
                3 if draw(4) == 0 => {
                    desk.store.looks_lost.store(0, Ordering::SeqCst);
                    desk.reopen().await;
                }
                _ => {
                    let names: Vec<_> = (0..=draw(4)).map(|n| format!("s{step}-{n}")).collect();
                    let all: Vec<_> = names.iter().map(|name| desk.send(mount(name))).collect();
                    for (name, task) in names.into_iter().zip(all) {
                        if task.await.unwrap().is_ok() {
                            acknowledged.push(name);
                        }
                    }
                }
            }
            for name in &acknowledged {
                assert!(desk.has_node(name), "seed {seed}, step {step}: {name} was acknowledged and is gone");
            }
        }
        desk.store.looks_lost.store(0, Ordering::SeqCst);
        desk.reopen().await;
        desk.check().await;
        assert!(acknowledged.iter().all(|name| desk.has_node(name)), "seed {seed}");
    }
}
