//! Group commit: queued commands are decided together and become durable together.

use crate::journal::doubles::*;
use kdaemon::journal::{Submission, SubmitError};
use kdaemon::store::prelude::*;
use kdaemon::store::{COMMIT_BYTES_LIMIT, COMMIT_EVENTS_LIMIT};
use kdaemon_control::commands::{Command, CreateApplication};
use kdaemon_events::{Actor, Seq, SpecChanges, UpdatePolicy};

#[tokio::test]
async fn answer_has_the_events_and_a_state_that_includes_them() {
    let desk = Desk::open().await;
    let outcome = desk.submit(mount("a")).await.unwrap();
    assert_eq!((outcome.events.len(), outcome.seq), (1, Seq(2)));
    assert!(outcome.cluster.find_node("a").is_some());
    assert_eq!(desk.journal.cluster().seq(), Seq(2));
    assert_eq!(desk.store.inner.head().await.unwrap().seq, Seq(2));
    // A command without effect makes no commit.
    let node_id = outcome.cluster.find_node("a").unwrap().id;
    let outcome = desk.submit(Command::UncordonNode(node_id)).await.unwrap();
    assert_eq!((outcome.events.len(), outcome.seq), (0, Seq(2)));
    assert_eq!(desk.commits().await, 2);
    desk.check().await;
}

#[tokio::test]
async fn queued_commands_share_one_commit() {
    let desk = Desk::open().await;
    let (gate, first) = desk.hold(mount("first")).await;
    let rest: Vec<_> = (0..400).map(|n| desk.send(mount(&format!("n{n}")))).collect();
    until("all wait", || desk.journal.waiting() >= 399).await;
    assert_eq!(desk.journal.cluster().seq(), Seq(1), "nothing is shown before it is durable");
    drop(gate);
    first.await.unwrap().unwrap();
    for task in rest {
        let outcome = task.await.unwrap().unwrap();
        // Each caller receives its own event alone, in a state that includes it.
        assert_eq!(outcome.events.len(), 1);
        assert_eq!(outcome.events[0].seq, outcome.seq);
        assert!(outcome.cluster.seq() >= outcome.seq);
    }
    assert!(desk.commits().await <= 4, "{} commits for 401 commands", desk.commits().await);
    desk.check().await;
}

#[tokio::test]
async fn refusal_does_not_affect_its_commit() {
    let desk = Desk::open().await;
    let (gate, _first) = desk.hold(mount("first")).await;
    let (a, again, b) = (desk.send(mount("a")), desk.send(mount("a")), desk.send(mount("b")));
    until("all wait", || desk.journal.waiting() >= 3).await;
    drop(gate);
    let (a, again, b) = (a.await.unwrap(), again.await.unwrap(), b.await.unwrap());
    let refused = [&a, &again].into_iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(refused, 1, "one of the two has the name");
    let Err(SubmitError::Refused(refusal)) = a.and(again) else { panic!("not refused") };
    assert_eq!(refusal.to_string(), "there is a node `a` already");
    assert!(b.is_ok());
    assert_eq!(desk.commits().await, 3);
    desk.check().await;
}

#[tokio::test]
async fn commands_of_one_commit_see_each_other() {
    let desk = Desk::open().await;
    let (gate, _first) = desk.hold(mount("first")).await;
    let all: Vec<_> = (0..50).map(|_| desk.send(application(1))).collect();
    until("all wait", || desk.journal.waiting() >= 50).await;
    drop(gate);
    let mut done = 0;
    for task in all {
        done += usize::from(task.await.unwrap().is_ok());
    }
    assert_eq!(done, 1, "the name is given once");
    desk.check().await;
}

/// An application with this many replicas, each of which makes three events.
fn application(replicas: u32) -> Command {
    named_application("web", replicas)
}

fn named_application(name: &str, replicas: u32) -> Command {
    Command::CreateApplication(CreateApplication {
        name: name.to_owned(),
        user_id: None,
        spec: SpecChanges { docker_image: Some("image".into()), ..SpecChanges::default() },
        is_enabled: true,
        affinity: Vec::new(),
        dependencies: Vec::new(),
        replicas: Some(replicas),
        update_policy: UpdatePolicy::Manual,
        update: kdaemon_events::application::UpdateSettings::default(),
    })
}

#[tokio::test]
async fn commit_is_bounded_in_events() {
    let desk = Desk::open().await;
    let (gate, _first) = desk.hold(mount("first")).await;
    let all: Vec<_> = (0..10).map(|n| desk.send(named_application(&format!("app{n}"), 130))).collect();
    until("all wait", || desk.journal.waiting() >= 10).await;
    drop(gate);
    for task in all {
        assert_eq!(task.await.unwrap().unwrap().events.len(), 391);
    }
    let sizes: Vec<_> = desk.store.sizes.lock().unwrap().iter().map(|(events, _)| *events).collect();
    assert!(sizes.iter().all(|size| *size <= COMMIT_EVENTS_LIMIT), "{sizes:?}");
    assert!(sizes.contains(&782), "two fit: {sizes:?}");
    desk.check().await;
}

#[tokio::test]
async fn commit_is_bounded_in_bytes_except_for_one_larger_event() {
    let desk = Desk::open().await;
    let node = desk.submit(mount("a")).await.unwrap().cluster.find_node("a").unwrap().id;
    let (gate, _first) = desk.hold(mount("first")).await;
    let sizes = [300_000, 300_000, 300_000, 300_000, 1_500_000, 10, 300_000];
    let all: Vec<_> =
        sizes.iter().enumerate().map(|(n, size)| desk.send(label(node, &format!("l{n}"), *size))).collect();
    until("all wait", || desk.journal.waiting() >= all.len()).await;
    drop(gate);
    for task in all {
        task.await.unwrap().unwrap();
    }
    for (events, bytes) in desk.store.sizes.lock().unwrap().iter() {
        assert!(*bytes <= COMMIT_BYTES_LIMIT || *events == 1, "{bytes} bytes");
    }
    desk.check().await;
}

#[tokio::test]
async fn full_queue_refuses_clients_and_delays_reactors() {
    let desk = Desk::open().await;
    let (gate, _first) = desk.hold(mount("first")).await;
    let node = Command::Rebalance;
    let waiting: Vec<_> = (0..4_096).map(|_| desk.send(node.clone())).collect();
    until("the queue is full", || desk.journal.waiting() == 4_096).await;
    assert!(matches!(desk.submit(mount("late")).await, Err(SubmitError::Overloaded)));
    let patient = {
        let journal = desk.journal.clone();
        tokio::spawn(async move {
            journal.submit_patiently(Submission::new(mount("patient"), Actor::reactor("test"))).await
        })
    };
    drop(gate);
    patient.await.unwrap().unwrap();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert!(desk.has_node("patient") && !desk.has_node("late"));
    desk.submit(mount("later")).await.unwrap();
    desk.check().await;
}

/// The queue's room is given back for each message, also where several are taken together.
#[tokio::test]
async fn queue_permits_are_released_after_each_burst() {
    let desk = Desk::open().await;
    for burst in 0..6 {
        let (gate, _first) = desk.hold(mount(&format!("n{burst}"))).await;
        let all: Vec<_> = (0..1_000).map(|_| desk.send(Command::Rebalance)).collect();
        until("all wait", || desk.journal.waiting() >= 1_000).await;
        assert_eq!(desk.journal.waiting(), 1_000, "in burst {burst}");
        drop(gate);
        for task in all {
            task.await.unwrap().unwrap();
        }
        until("none waits", || desk.journal.waiting() == 0).await;
    }
    for _ in 0..5_000 {
        desk.submit(Command::Rebalance).await.unwrap();
    }
    assert_eq!(desk.journal.waiting(), 0);
}

#[tokio::test]
async fn abandoned_command_is_still_carried_out() {
    let desk = Desk::open().await;
    let (gate, caller) = desk.hold(mount("a")).await;
    let next = desk.send(mount("b"));
    until("the next waits", || desk.journal.waiting() == 1).await;
    caller.abort();
    next.abort();
    drop(gate);
    until("both are done", || desk.has_node("a") && desk.has_node("b")).await;
    desk.check().await;
}

#[tokio::test]
async fn dry_run_returns_events_and_changes_nothing() {
    let desk = Desk::open().await;
    let decision = desk.journal.dry_run(Submission::new(mount("a"), Actor::Anonymous)).unwrap();
    assert_eq!(decision.events.len(), 1);
    assert!(!desk.has_node("a"));
    assert_eq!(desk.commits().await, 1);
    desk.submit(mount("a")).await.unwrap();
    let refusal = desk.journal.dry_run(Submission::new(mount("a"), Actor::Anonymous)).unwrap_err();
    assert_eq!(refusal.to_string(), "there is a node `a` already");
}

#[tokio::test]
async fn recorded_time_never_goes_back() {
    let desk = Desk::open().await;
    desk.submit(mount("a")).await.unwrap();
    let before = desk.journal.cluster().at();
    desk.clock.advance(chrono::TimeDelta::hours(-1));
    desk.submit(mount("b")).await.unwrap();
    assert_eq!(desk.journal.cluster().at(), before);
    desk.check().await;
}
