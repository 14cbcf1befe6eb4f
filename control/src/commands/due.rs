//! The commands that reactors have to submit for a state.

use super::Command;
use super::moves::is_outdated;
use super::nodes::is_empty;
use kdaemon_events::node::Availability;
use kdaemon_events::{ApplicationId, UpdatePolicy};
use kdaemon_projections::{Cluster, Container, Desired, Health, Node, Phase};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The commands due for a node.
pub fn due_about(cluster: &Cluster, node: &Node) -> Option<Command> {
    let draining = node.availability == Availability::Draining;
    let unhealthy = node.health == Health::Down && cluster.paused().is_none();
    let may_move = |id| cluster.container(id).is_some_and(|c: &Arc<_>| c.desired == Desired::Running);
    if (draining || unhealthy) && node.residents.iter().any(|id| may_move(*id)) {
        return Some(Command::EvacuateNode(node.id));
    }
    (draining && !node.drained && is_empty(node)).then_some(Command::FinishDrain(node.id))
}

/// Applications with update policy `rolling` and outdated containers. Applications whose containers do not
/// all run have to wait.
pub fn outdated_applications(cluster: &Cluster) -> BTreeSet<ApplicationId> {
    let rolling = cluster
        .applications()
        .filter(|application| application.update_policy == UpdatePolicy::Rolling && application.is_enabled);
    rolling
        .filter(|application| {
            let containers: Vec<_> =
                application.containers.iter().filter_map(|id| cluster.container(*id)).collect();
            containers
                .iter()
                .any(|container| container.desired == Desired::Running && is_outdated(cluster, container))
                && containers.iter().all(|container| {
                    container.desired != Desired::Running
                        || (container.phase == Phase::Up && container.migrating.is_none())
                })
        })
        .map(|application| application.id)
        .collect()
}

/// Whether an older placement must be removed first: one that may still run on a reachable node and does not
/// serve until this one is up. Two placements must never run at once.
pub fn must_wait_for_removal(cluster: &Cluster, container: &Container) -> bool {
    let Some(placement) = &container.placement else { return false };
    container.retired.iter().any(|retired| {
        let reachable = cluster.node(retired.placement.node_id).is_some_and(|node| node.health == Health::Up);
        let in_the_way =
            retired.placement.engine_id.is_some() || retired.placement.node_id == placement.node_id;
        !retired.held && reachable && in_the_way
    })
}
