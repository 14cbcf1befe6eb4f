//! Replaying a run under the policy that it was recorded under gives what was recorded, event by event.

use kdaemon::commands::Policy;
use kdaemon::history::Replay;
use kdaemon_events::Envelope;
use kdaemon_projections::Cluster;
use std::collections::VecDeque;

/// The first event in which a replay of a whole log leaves the record, if there is one.
pub fn deviation(log: &[Envelope], policy: &Policy) -> Option<String> {
    let mut replay =
        Replay::new(&Cluster::default(), policy.clone(), Some(std::time::Duration::from_secs(1)));
    // A decision gives all of its events when the first of them is met.
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
