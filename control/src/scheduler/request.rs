//! A request for a node: what the filters and the scores have to know of a container.

use super::data::DataNodes;
use imbl::OrdSet;
use kdaemon_events::{ApplicationId, ContainerId, NodeId, Spec, Strategy};
use kdaemon_projections::{Cluster, Container, Placement};

/// A container to place.
#[derive(Debug, Clone)]
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
    /// The only nodes that hold its data, if it has some.
    pub data: Option<DataNodes>,
    /// The current node, where its own reservations are available to it.
    pub residence: Option<&'a Placement>,
}

impl<'a> Request<'a> {
    /// The request of an existing container, made from `spec`; `strategy` is the cluster's.
    #[must_use]
    pub fn new(
        cluster: &Cluster,
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
            data: DataNodes::of(cluster, container, spec),
            residence: container.residence(),
        }
    }
}
