//! Idempotency keys: a repeated request is not carried out again.

use crate::journal::doubles::*;
use chrono::TimeDelta;
use kdaemon::journal::{Outcome, SubmitError};
use kdaemon::store::IdempotencyRecord;
use kdaemon_control::commands::Command;
use kdaemon_events::Seq;

async fn send(desk: &Desk, command: Command, key: &str, request: &str) -> Result<Outcome, SubmitError> {
    desk.send_keyed(command, Some((key, request))).await.unwrap()
}

#[track_caller]
fn repeated(outcome: Result<Outcome, SubmitError>) -> IdempotencyRecord {
    match outcome {
        Err(SubmitError::Repeated(record)) => *record,
        other => panic!("not a repetition: {other:?}"),
    }
}

#[tokio::test]
async fn repeated_request_gets_the_same_events_and_runs_once() {
    let desk = Desk::open().await;
    let first = send(&desk, mount("a"), "k", "mount a").await.unwrap();
    let record = repeated(send(&desk, mount("a"), "k", "mount a").await);
    assert_eq!((record.before, record.seq), (Seq(1), first.seq));
    let around = first.around.unwrap();
    assert_eq!((around.before.seq(), around.after.seq()), (Seq(1), first.seq));
    assert_eq!(desk.commits().await, 2);
    // Another key is another request.
    assert!(matches!(send(&desk, mount("a"), "l", "mount a").await, Err(SubmitError::Refused(_))));
    desk.check().await;
}

#[tokio::test]
async fn key_of_another_request_is_refused() {
    let desk = Desk::open().await;
    send(&desk, mount("a"), "k", "mount a").await.unwrap();
    assert!(matches!(send(&desk, mount("b"), "k", "mount b").await, Err(SubmitError::KeyReused)));
    assert!(!desk.has_node("b"));
}

#[tokio::test]
async fn keys_survive_a_restart() {
    let mut desk = Desk::open().await;
    let first = send(&desk, mount("a"), "k", "mount a").await.unwrap();
    desk.reopen().await;
    assert_eq!(repeated(send(&desk, mount("a"), "k", "mount a").await).seq, first.seq);
    assert!(matches!(send(&desk, mount("b"), "k", "mount b").await, Err(SubmitError::KeyReused)));
    desk.check().await;
}

#[tokio::test]
async fn keys_expire_after_a_day() {
    let mut desk = Desk::open().await;
    send(&desk, mount("a"), "k", "mount a").await.unwrap();
    desk.clock.advance(TimeDelta::hours(24) - TimeDelta::seconds(1));
    repeated(send(&desk, mount("a"), "k", "mount a").await);
    desk.clock.advance(TimeDelta::seconds(1));
    send(&desk, mount("b"), "k", "mount b").await.unwrap();
    // The new record counts, also after a restart.
    assert!(matches!(send(&desk, mount("a"), "k", "mount a").await, Err(SubmitError::KeyReused)));
    desk.reopen().await;
    repeated(send(&desk, mount("b"), "k", "mount b").await);
    desk.check().await;
}

#[tokio::test]
async fn refusals_are_not_recorded_but_empty_decisions_are() {
    let desk = Desk::open().await;
    let node = desk.submit(mount("a")).await.unwrap().cluster.find_node("a").unwrap().id;
    assert!(matches!(send(&desk, mount("a"), "k", "mount a").await, Err(SubmitError::Refused(_))));
    send(&desk, Command::UncordonNode(node), "k", "uncordon").await.unwrap();
    let again = send(&desk, Command::UncordonNode(node), "k", "uncordon").await;
    assert!(matches!(again, Err(SubmitError::Repeated(_))), "{again:?}");
    let other = send(&desk, mount("b"), "k", "mount b").await;
    assert!(matches!(other, Err(SubmitError::KeyReused)), "{other:?}");
    desk.check().await;
}

#[tokio::test]
async fn concurrent_repeats_run_once() {
    let desk = Desk::open().await;
    let (gate, _first) = desk.hold(mount("first")).await;
    let both = [0, 1].map(|_| desk.send_keyed(mount("a"), Some(("k", "mount a"))));
    let other = desk.send_keyed(mount("b"), Some(("k", "mount b")));
    until("all wait", || desk.journal.waiting() >= 3).await;
    drop(gate);
    let [one, two] = both;
    let (one, two, other) = (one.await.unwrap(), two.await.unwrap(), other.await.unwrap());
    let done = [&one, &two, &other].into_iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(done, 1, "{one:?} {two:?} {other:?}");
    desk.check().await;
}

#[tokio::test]
async fn repeat_is_not_answered_before_the_first_commit_is_durable() {
    let desk = Desk::open().await;
    let (gate, first) = desk.hold(mount("first")).await;
    let both = [0, 1].map(|_| desk.send_keyed(mount("a"), Some(("k", "mount a"))));
    until("both wait", || desk.journal.waiting() >= 2).await;
    desk.store.fail_next_append(Fault::BeforeWriting);
    desk.store.fail_next_append(Fault::BeforeWriting);
    drop(gate);
    assert!(first.await.unwrap().is_err());
    for task in both {
        let outcome = task.await.unwrap();
        assert!(matches!(outcome, Err(SubmitError::Unavailable(_))), "nothing was done: {outcome:?}");
    }
    // So the repeated request is carried out.
    send(&desk, mount("a"), "k", "mount a").await.unwrap();
    desk.check().await;
}

#[tokio::test]
async fn request_whose_answer_was_lost_runs_once() {
    use std::sync::atomic::Ordering;
    let desk = Desk::open().await;
    desk.store.fail_next_append(Fault::AfterWriting);
    desk.store.looks_lost.store(1, Ordering::SeqCst);
    assert!(matches!(send(&desk, mount("a"), "k", "mount a").await, Err(SubmitError::Unavailable(_))));
    // The next command finds out that the append had happened.
    desk.submit(mount("b")).await.unwrap();
    let record = repeated(send(&desk, mount("a"), "k", "mount a").await);
    assert_eq!((record.before, record.seq), (Seq(1), Seq(2)));
    desk.check().await;
}
