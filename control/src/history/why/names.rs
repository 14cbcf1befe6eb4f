//! Names of things in sentences.

use kdaemon_events::{Actor, ApplicationId, ContainerId, Kind, NodeId};
use kdaemon_projections::Cluster;

/// The name of a node; its id when it is gone.
pub(super) fn node(cluster: &Cluster, id: NodeId) -> String {
    cluster.node(id).map_or_else(|| format!("node {id}, which is gone,"), |node| node.name.clone())
}

/// The name of an application; its id when it is gone.
pub(super) fn application(cluster: &Cluster, id: ApplicationId) -> String {
    cluster
        .application(id)
        .map_or_else(|| format!("application {id}"), |application| application.name.clone())
}

/// The name of a container; its id when it is gone.
pub(super) fn container(cluster: &Cluster, id: ContainerId) -> String {
    cluster.container(id).map_or_else(|| format!("container {id}"), |container| container.name.clone())
}

/// Who did it.
pub(super) fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Token { name } => name.clone(),
        Actor::Anonymous => "somebody without a token".to_owned(),
        Actor::Reactor { name } => format!("the {name}"),
    }
}

/// The node of a clause like "node-d is cordoned" (the scheduler's words), and the kind of event that made it so.
pub(super) fn out_of_placement(cluster: &Cluster, clause: &str) -> Option<(NodeId, Kind)> {
    let (name, kind) = match clause.strip_suffix(" is cordoned") {
        Some(name) => (name, Kind::NodeCordoned),
        None => (clause.strip_suffix(" is draining")?, Kind::NodeDrainStarted),
    };
    cluster.nodes().find(|node| node.name == name).map(|node| (node.id, kind))
}
