//! Decisions about the retention of the log.

use super::Refusal;
use super::decision::DecisionBuilder;
use kdaemon_events::cluster::{NodeTally, ObservationsPruned};
use kdaemon_events::{NodeId, Seq};
use std::collections::BTreeSet;

/// Raw observations to prune.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// Ranges of events, first and last, in order, that hold nothing else. None of them describes an engine:
    /// such an observation is a fact, and stays.
    pub ranges: Vec<(Seq, Seq)>,
    /// Their nodes.
    pub nodes: BTreeSet<NodeId>,
}

/// Apart from the engine's description, observations leave counts and a list in a node's state. Recording
/// these makes the observations themselves dispensable.
pub(super) fn prune(decision: &mut DecisionBuilder<'_>, prune: Prune) -> Result<(), Refusal> {
    let in_order = prune.ranges.iter().all(|(first, last)| first <= last && *first > Seq(0))
        && prune.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
    let Some((_, up_to)) = prune.ranges.last().copied() else { return Ok(()) };
    if !in_order || up_to > decision.cluster().seq() {
        return Err(Refusal::invalid("ranges", "expected ranges of the log in ascending order".to_owned()));
    }
    let nodes = prune.nodes.iter().filter_map(|id| decision.cluster().node(*id));
    let tallies = nodes
        .map(|node| NodeTally {
            node_id: node.id,
            observed: node.observed,
            failures: node.failures,
            successes: node.successes,
            orphans: node.orphans.iter().copied().collect(),
        })
        .collect();
    let count = prune.ranges.iter().map(|(first, last)| last.0 - first.0 + 1).sum();
    decision.emit(ObservationsPruned { up_to, count, ranges: prune.ranges, tallies });
    Ok(())
}
