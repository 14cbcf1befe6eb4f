//! Decisions made again, for those who replay the past: what was seen then is given as it was recorded, and what
//! follows from it is decided by the limits of the [`Context`].

use super::draft::{Context, Decision, Draft};
use super::observations;
use kdaemon_events::Event;
use kdaemon_events::container::ContainerExited;
use kdaemon_events::node::NodeObserved;
use kdaemon_projections::Cluster;

/// What follows from a probe.
pub(crate) fn probe_again(cluster: Cluster, recorded: NodeObserved, context: &Context) -> Decision {
    let mut draft = Draft::new(cluster, context);
    observations::probe_again(&mut draft, recorded);
    draft.finish()
}

/// What follows from the end of a process.
pub(crate) fn exited_again(cluster: Cluster, recorded: &ContainerExited, context: &Context) -> Decision {
    let mut draft = Draft::new(cluster, context);
    observations::exited_again(&mut draft, recorded);
    draft.finish()
}

/// A fact that no policy has a say in.
pub(crate) fn happened(cluster: Cluster, fact: Event, context: &Context) -> Decision {
    let mut draft = Draft::new(cluster, context);
    draft.emit(fact);
    draft.finish()
}
