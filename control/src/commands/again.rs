//! Decisions made again, for those who replay the past: what was seen then is given as it was recorded, and what
//! follows from it is decided by the limits of the [`Context`].

use super::decision::{Context, Decision, DecisionBuilder};
use super::{observations, probes};
use kdaemon_events::Event;
use kdaemon_events::container::ContainerExited;
use kdaemon_events::node::NodeObserved;
use kdaemon_projections::Cluster;

/// What follows from a probe.
pub fn probe_again(cluster: Cluster, recorded: NodeObserved, context: &Context) -> Decision {
    let mut decision = DecisionBuilder::new(cluster, context);
    probes::probe_again(&mut decision, recorded);
    decision.finish()
}

/// What follows from the end of a process.
pub fn exited_again(cluster: Cluster, recorded: &ContainerExited, context: &Context) -> Decision {
    let mut decision = DecisionBuilder::new(cluster, context);
    observations::exited_again(&mut decision, recorded);
    decision.finish()
}

/// A fact that no policy has a say in.
pub fn happened(cluster: Cluster, fact: Event, context: &Context) -> Decision {
    let mut decision = DecisionBuilder::new(cluster, context);
    decision.emit(fact);
    decision.finish()
}
