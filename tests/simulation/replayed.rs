//! Replaying a run under its own policy gives the recorded events one by one; under any other policy the
//! replay completes, and in order.

use crate::check;
use chrono::TimeDelta;
use kdaemon_control::commands::Policy;
use kdaemon_control::history::Replay;
use kdaemon_control::reconcile::Pacing;
use kdaemon_events::{Envelope, Event, Strategy};
use kdaemon_projections::{Cluster, Health};
use std::collections::VecDeque;
use std::time::Duration;

/// How long counts are uneven before they are rebalanced.
const PACING: Pacing = Pacing { rebalance_after: Some(Duration::from_secs(1)) };

/// Unobstructed work must be done after this long.
const PATIENCE: TimeDelta = TimeDelta::minutes(3);

/// The first event in which a replay of a whole log deviates from the record, if any.
pub fn deviation(log: &[Envelope], policy: &Policy) -> Option<String> {
    let mut replay = Replay::new(&Cluster::default(), policy.clone(), PACING);
    // A decision gives all its events when the first of them is reached.
    let mut ahead: VecDeque<Envelope> = VecDeque::new();
    for recorded in log {
        ahead.extend(replay.step(recorded).iter().cloned());
        match ahead.pop_front() {
            Some(again) if (again.at, &again.event) == (recorded.at, &recorded.event) => {}
            again => {
                return Some(format!("replayed, event {} is {again:?} and not {recorded:?}", recorded.seq));
            }
        }
    }
    let replayed = replay.finish();
    (!ahead.is_empty() || replayed.differences_count > 0 || replayed.recorded != replayed.replayed)
        .then(|| format!("a replay gives more: {ahead:?} {replayed:?}"))
}

/// An inconsistency after a replay under other policies, if any.
pub fn unsoundness(log: &[Envelope], policy: &Policy) -> Option<String> {
    let others = [
        Policy { strategy: Strategy::Binpack, max_migrations: 2, ..policy.clone() },
        Policy { strategy: Strategy::Resources, unhealthy_after: 10, healthy_after: 4, ..policy.clone() },
        Policy { unhealthy_after: 1, launch_attempts: 1, max_migrations: 50, ..policy.clone() },
    ];
    others.iter().find_map(|other| {
        let mut replay = Replay::new(&Cluster::default(), other.clone(), PACING);
        let mut seq = replay.replayed().seq();
        for recorded in log {
            for envelope in replay.step(recorded) {
                if envelope.seq != seq.next() || envelope.at > recorded.at {
                    return Some(format!("under {other:?}, after event {seq} came {envelope:?}"));
                }
                seq = envelope.seq;
            }
        }
        if let Some(unfinished) = unfinished(log, &replay) {
            return Some(format!("under {other:?}, {unfinished}"));
        }
        // Not the names: something deleted in the record may still exist in the replay when another gets its
        // name.
        check::eligible(replay.replayed());
        None
    })
}

/// A deletion that finished in the record long ago, and not in the replay although nothing obstructs it
/// there.
fn unfinished(log: &[Envelope], replay: &Replay) -> Option<String> {
    let end = log.last()?.at;
    let cluster = replay.replayed();
    let long_ago = log.iter().filter(|envelope| end - envelope.at > PATIENCE);
    long_ago
        .filter_map(|envelope| match &envelope.event {
            Event::ContainerDeleted(deleted) => {
                cluster.container(deleted.container_id).map(|container| (envelope, container))
            }
            _ => None,
        })
        .find_map(|(envelope, container)| {
            let placements =
                container.placement.iter().chain(container.retired.iter().map(|retired| &retired.placement));
            let mut nodes = placements.filter_map(|placement| cluster.node(placement.node_id));
            let is_free = nodes.all(|node| node.health == Health::Up && node.failures == 0);
            is_free
                .then(|| format!("the deletion that event {} finished is not: {container:?}", envelope.seq))
        })
}
