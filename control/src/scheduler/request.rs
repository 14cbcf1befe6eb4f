//! A request for a node: what the filters and the scores have to know of a container.

use imbl::OrdSet;
use kdaemon_events::{ApplicationId, ContainerId, NodeId, Spec, Strategy};
use kdaemon_projections::{Container, Placement};

/// A container to place.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The container.
    pub container: ContainerId,
    /// The container's application.
    pub application: Option<ApplicationId>,
    /// The specification that it is made from.
    pub spec: &'a Spec,
    /// The placement strategy.
    pub strategy: Strategy,
    /// The node that it has to leave, if any.
    pub leaving: Option<NodeId>,
    /// Nodes that were at fault before, chosen only if no other fits.
    pub avoid: Option<&'a OrdSet<NodeId>>,
    /// The node that holds its volumes, if any.
    pub bound_to: Option<NodeId>,
    /// The current node, where its own reservations are available to it.
    pub residence: Option<&'a Placement>,
}

impl<'a> Request<'a> {
    /// The request of an existing container, made from `spec`; `strategy` is the cluster's.
    #[must_use]
    pub fn new(
        container: &'a Container,
        spec: &'a Spec,
        leaving: Option<NodeId>,
        strategy: Strategy,
    ) -> Self {
        Self {
            container: container.id,
            application: container.application_id,
            spec,
            strategy: spec.strategy.unwrap_or(strategy),
            leaving,
            avoid: container.phase.attempts().map(|attempts| &attempts.avoid),
            bound_to: container.bound_to.filter(|_| spec.is_bound_to_node()),
            residence: container.residence(),
        }
    }
}
