//! Decisions that a replay of the past repeats: observations are given as recorded, and their consequences
//! are decided by the limits of the [`Context`].

use super::decision::{Context, Decision, DecisionBuilder};
use super::{observations, probes};
use kdaemon_events::Event;
use kdaemon_events::container::ContainerExited;
use kdaemon_events::node::NodeObserved;
use kdaemon_projections::Cluster;

/// Decides the consequences of a recorded probe.
pub fn probe_again(cluster: Cluster, recorded: NodeObserved, context: &Context) -> Decision {
    let mut decision = DecisionBuilder::new(cluster, context);
    probes::probe_again(&mut decision, recorded);
    decision.finish()
}

/// Decides the consequences of a recorded exit.
pub fn exited_again(cluster: Cluster, recorded: &ContainerExited, context: &Context) -> Decision {
    let mut decision = DecisionBuilder::new(cluster, context);
    observations::exited_again(&mut decision, recorded);
    decision.finish()
}

/// Emits a fact that does not depend on any policy.
pub fn happened(cluster: Cluster, fact: Event, context: &Context) -> Decision {
    let mut decision = DecisionBuilder::new(cluster, context);
    decision.emit(fact);
    decision.finish()
}
