//! Decisions about what of the log is kept.

use super::Refusal;
use super::decision::DecisionBuilder;
use kdaemon_events::cluster::{NodeTally, ObservationsPruned};
use kdaemon_events::{NodeId, Seq};
use std::collections::BTreeSet;

/// Raw observations that are old enough to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// The first and the last of each stretch that holds nothing else, in order. None of them says anything of an engine:
    /// such an observation is a fact, and stays.
    pub ranges: Vec<(Seq, Seq)>,
    /// The nodes that they are about.
    pub nodes: BTreeSet<NodeId>,
}

/// What observations leave in a node, apart from what its engine told, is counts and a list: those are written down as they
/// are now, and so the observations are not needed any more.
pub(super) fn prune(decision: &mut DecisionBuilder<'_>, prune: Prune) -> Result<(), Refusal> {
    let in_order = prune.ranges.iter().all(|(first, last)| first <= last && *first > Seq(0))
        && prune.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
    let Some((_, up_to)) = prune.ranges.last().copied() else { return Ok(()) };
    if !in_order || up_to > decision.cluster().seq() {
        return Err(Refusal::invalid(
            "ranges",
            "these are no stretches of the log, one behind the other".to_owned(),
        ));
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
