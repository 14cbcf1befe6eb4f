//! Subscribers: the state, and then every commit after it, once.

use crate::journal::doubles::*;
use kdaemon::journal::{Lagged, SubmitError};
use kdaemon_events::Seq;
use kdaemon_projections::Cluster;

#[tokio::test]
async fn subscriber_sees_every_commit_after_its_state_once() {
    let desk = Desk::open().await;
    desk.submit(mount("before")).await.unwrap();
    let mut feed = desk.journal.subscribe();
    assert_eq!(feed.cluster.seq(), Seq(2));
    for name in ["a", "b", "c"] {
        desk.submit(mount(name)).await.unwrap();
    }
    for seq in 3..6 {
        let committed = feed.next().await.unwrap().unwrap();
        assert_eq!(committed.events[0].seq, Seq(seq));
        assert_eq!(committed.cluster.seq(), Seq(seq));
        assert_eq!(committed.touched.nodes.len(), 1);
        assert_eq!(feed.cluster.seq(), Seq(seq));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn subscribing_during_writes_has_no_gap_and_no_duplicate() {
    let desk = Desk::open().await;
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let journal = desk.journal.clone();
            tokio::spawn(async move {
                for n in 0..400 {
                    let submission = keyed(mount(&format!("w{writer}-{n}")), None);
                    journal.submit(submission).await.unwrap();
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let journal = desk.journal.clone();
            tokio::spawn(async move {
                let mut subscriptions = 0;
                while journal.cluster().seq() < Seq(700) {
                    let mut feed = journal.subscribe();
                    let mut folded = Cluster::clone(&feed.cluster);
                    subscriptions += 1;
                    for _ in 0..5 {
                        if folded.seq() >= Seq(790) {
                            break;
                        }
                        let committed = feed.next().await.unwrap().unwrap();
                        assert_eq!(committed.events[0].seq, folded.seq().next(), "no gap, no duplicate");
                        folded = folded.fold(committed.events.iter());
                        assert!(folded == *committed.cluster);
                    }
                }
                subscriptions
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for reader in readers {
        assert!(reader.await.unwrap() > 1);
    }
    desk.check().await;
}

#[tokio::test]
async fn slow_subscriber_is_notified_and_restarts() {
    let desk = Desk::open().await;
    let mut slow = desk.journal.subscribe();
    let node = desk.submit(mount("a")).await.unwrap().cluster.find_node("a").unwrap().id;
    for n in 0..4_200 {
        desk.submit(label(node, &format!("l{n}"), 1)).await.unwrap();
    }
    assert_eq!(slow.next().await.unwrap_err(), Lagged);
    let mut anew = desk.journal.subscribe();
    assert_eq!(anew.cluster.seq(), desk.journal.cluster().seq());
    desk.submit(mount("b")).await.unwrap();
    assert!(anew.next().await.unwrap().unwrap().cluster.find_node("b").is_some());
}

#[tokio::test]
async fn waiting_for_a_state_returns_it() {
    let desk = Desk::open().await;
    let journal = desk.journal.clone();
    let waits = tokio::spawn(async move { journal.reached(Seq(3)).await.seq() });
    desk.submit(mount("a")).await.unwrap();
    assert!(!waits.is_finished());
    desk.submit(mount("b")).await.unwrap();
    assert!(waits.await.unwrap() >= Seq(3));
    // Closing does not wait for a state that will never come.
    let journal = desk.journal.clone();
    let waits = tokio::spawn(async move { journal.reached(Seq(99)).await.seq() });
    desk.journal.close().await;
    assert_eq!(waits.await.unwrap(), Seq(3));
}

#[tokio::test]
async fn closing_answers_queued_commands_and_ends_the_feed() {
    let desk = Desk::open().await;
    let mut feed = desk.journal.subscribe();
    let (gate, first) = desk.hold(mount("first")).await;
    // More than one commit's worth.
    let waiting: Vec<_> = (0..700).map(|n| desk.send(mount(&format!("n{n}")))).collect();
    until("all wait", || desk.journal.waiting() >= 700).await;
    let closing = {
        let journal = desk.journal.clone();
        tokio::spawn(async move { journal.close().await })
    };
    until("it waits to close", || desk.journal.waiting() >= 701).await;
    drop(gate);
    closing.await.unwrap();
    first.await.unwrap().unwrap();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    let late = desk.submit(mount("late")).await;
    let Err(SubmitError::Unavailable(why)) = late else { panic!("not closed") };
    assert_eq!(why, "the daemon is stopping");
    let mut seen = Seq(1);
    while let Some(committed) = feed.next().await.unwrap() {
        seen = committed.cluster.seq();
    }
    assert_eq!(seen, desk.journal.cluster().seq());
    assert!(desk.journal.subscribe().next().await.unwrap().is_none());
    desk.journal.close().await;
    desk.check().await;
}
