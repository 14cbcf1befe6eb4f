//! Decisions about nodes.

use super::decision::DecisionBuilder;
use super::{Refusal, check_name, probes};
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::node::{
    Availability, LEFT_VOLUMES_LIMIT, LOCAL_NODE, NodeCordoned, NodeDrainStarted, NodeDrained, NodeMounted,
    NodeUncordoned, NodeUnmounted, NodeUpdated,
};
use kdaemon_events::{Endpoint, NodeId, Seq};
use kdaemon_projections::{Health, Node};
use std::collections::BTreeMap;

/// How long a node that is being unmounted is waited for while none of its containers leaves.
pub const UNMOUNT_PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// Mounts a node.
#[derive(Debug, Clone, PartialEq)]
pub struct MountNode {
    /// The name; derived from the endpoint if `None`.
    pub name: Option<String>,
    /// The owner, as given by the client.
    pub user_id: Option<String>,
    /// Where its engine answers.
    pub endpoint: Endpoint,
    /// Labels for constraints.
    pub labels: BTreeMap<String, String>,
    /// How many containers it takes at most.
    pub capacity: Option<u32>,
    /// Whether it takes containers.
    pub availability: Availability,
}

/// Edits a node; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::option_option, missing_docs)] // the fields are documented in MountNode
pub struct UpdateNode {
    pub node_id: NodeId,
    pub name: Option<String>,
    pub user_id: Option<Option<String>>,
    pub endpoint: Option<Endpoint>,
    pub labels: Option<BTreeMap<String, String>>,
    pub capacity: Option<Option<u32>>,
    /// See [`super::Command::CordonNode`].
    pub availability: Option<Availability>,
}

fn check_free(decision: &DecisionBuilder<'_>, name: &str, except: Option<NodeId>) -> Result<(), Refusal> {
    check_name(name)?;
    match decision.cluster().find_node(name) {
        Some(other) if Some(other.id) != except => {
            Err(Refusal::conflict(format!("there is a node `{name}` already")))
        }
        _ => Ok(()),
    }
}

pub(super) fn mount(decision: &mut DecisionBuilder<'_>, mount: MountNode) -> Result<(), Refusal> {
    let name = mount.name.unwrap_or_else(|| match &mount.endpoint {
        Endpoint::Tcp { host, .. } => host.clone(),
        Endpoint::Unix { .. } => LOCAL_NODE.to_owned(),
    });
    check_free(decision, &name, None)?;
    let node_id = NodeId(decision.identity());
    decision.emit(NodeMounted {
        node_id,
        name,
        user_id: mount.user_id,
        endpoint: mount.endpoint,
        labels: mount.labels,
        capacity: mount.capacity,
    });
    set_availability(decision, node_id, mount.availability)
}

fn set_availability(
    decision: &mut DecisionBuilder<'_>,
    id: NodeId,
    availability: Availability,
) -> Result<(), Refusal> {
    match availability {
        Availability::Active => uncordon(decision, id),
        Availability::Cordoned => cordon(decision, id),
        Availability::Draining => drain(decision, id),
    }
}

pub(super) fn update(decision: &mut DecisionBuilder<'_>, update: UpdateNode) -> Result<(), Refusal> {
    let node = decision.node(update.node_id)?;
    let name = update.name.filter(|name| *name != node.name);
    let endpoint = update.endpoint.filter(|endpoint| *endpoint != node.endpoint);
    if let Some(name) = &name {
        check_free(decision, name, Some(node.id))?;
    }
    let event = NodeUpdated {
        node_id: node.id,
        name,
        user_id: update.user_id.filter(|user_id| *user_id != node.user_id),
        endpoint,
        labels: update.labels.filter(|labels| *labels != node.labels),
        capacity: update.capacity.filter(|capacity| *capacity != node.capacity),
    };
    let nothing = NodeUpdated {
        node_id: node.id,
        name: None,
        user_id: None,
        endpoint: None,
        labels: None,
        capacity: None,
    };
    if event != nothing {
        decision.emit(event);
    }
    update
        .availability
        .map_or(Ok(()), |availability| set_availability(decision, update.node_id, availability))
}

pub(super) fn cordon(decision: &mut DecisionBuilder<'_>, id: NodeId) -> Result<(), Refusal> {
    let node = decision.node(id)?;
    match node.availability {
        Availability::Cordoned => {}
        Availability::Active => {
            decision.emit(NodeCordoned { node_id: id });
        }
        Availability::Draining if node.then_unmount => {
            return Err(Refusal::conflict(format!(
                "node `{}` is being unmounted; uncordon it first to keep it",
                node.name
            )));
        }
        // Stops a drain: remaining containers stay.
        Availability::Draining => {
            decision.emit(NodeCordoned { node_id: id });
        }
    }
    Ok(())
}

pub(super) fn uncordon(decision: &mut DecisionBuilder<'_>, id: NodeId) -> Result<(), Refusal> {
    if decision.node(id)?.availability != Availability::Active {
        decision.emit(NodeUncordoned { node_id: id });
    }
    Ok(())
}

pub(super) fn drain(decision: &mut DecisionBuilder<'_>, id: NodeId) -> Result<(), Refusal> {
    if decision.node(id)?.availability != Availability::Draining {
        decision.emit(NodeDrainStarted { node_id: id, then_unmount: false });
        end_drain_if_empty(decision, id)?;
    }
    Ok(())
}

pub(super) fn unmount(decision: &mut DecisionBuilder<'_>, id: NodeId, force: bool) -> Result<(), Refusal> {
    let node = decision.node(id)?;
    if !node.residents.is_empty() && !force {
        let mut names: Vec<_> = node
            .residents
            .iter()
            .filter_map(|id| decision.cluster().container(*id))
            .map(|container| container.name.clone())
            .take(5)
            .collect();
        if node.residents.len() > names.len() {
            names.push(format!("{} more", node.residents.len() - names.len()));
        }
        return Err(Refusal::conflict(format!(
            "node `{}` has containers ({}); drain it first, or unmount it with ?force=true so that they migrate",
            node.name,
            names.join(", ")
        )));
    }
    // Its containers can be moved and cleaned up only while it answers.
    if node.health == Health::Up && !node.holds.is_empty() {
        if !node.then_unmount {
            decision.emit(NodeDrainStarted { node_id: id, then_unmount: true });
        }
    } else {
        unmount_now(decision, &node, decision.context.cause);
    }
    Ok(())
}

/// Unmounts a node with whatever it still holds.
fn unmount_now(decision: &mut DecisionBuilder<'_>, node: &Node, cause: Option<Seq>) {
    let left = u32::try_from(node.holds.len()).unwrap_or(u32::MAX);
    let mut volumes = decision.cluster().data_on(node.id);
    volumes.truncate(LEFT_VOLUMES_LIMIT);
    let unmounted = decision.emit_because(NodeUnmounted { node_id: node.id, left, volumes }, cause);
    probes::resume_migrations(decision, unmounted);
}

pub(super) fn finish_drain(decision: &mut DecisionBuilder<'_>, id: NodeId) -> Result<(), Refusal> {
    let node = decision.node(id)?;
    if node.availability == Availability::Draining && !node.drained {
        end_drain_if_empty(decision, id)?;
    }
    Ok(())
}

/// Whether a draining node has no container left that could be moved or removed.
#[must_use]
pub fn is_cleared(node: &Node) -> bool {
    // Nothing can clean up a node that is being unmounted and does not answer.
    node.holds.is_empty() || (node.then_unmount && node.residents.is_empty() && node.health != Health::Up)
}

/// When a node that is being unmounted is unmounted with whatever it still holds, unless a container leaves it
/// before that; `None` for other nodes. Without this limit, an engine that removes nothing, an application whose
/// containers cannot be launched elsewhere, or a disruption limit could keep the node indefinitely.
#[must_use]
pub fn gives_up_at(node: &Node) -> Option<DateTime<Utc>> {
    let progress = node.drain_progress_at.filter(|_| node.then_unmount)?;
    Some(progress.checked_add_signed(UNMOUNT_PATIENCE).unwrap_or(DateTime::<Utc>::MAX_UTC))
}

fn end_drain_if_empty(decision: &mut DecisionBuilder<'_>, id: NodeId) -> Result<(), Refusal> {
    let node = decision.node(id)?;
    if is_cleared(&node) {
        let drained =
            decision.emit_because(NodeDrained { node_id: id }, node.drain_seq.or(decision.context.cause));
        if node.then_unmount {
            unmount_now(decision, &node, Some(drained));
        }
    } else if gives_up_at(&node).is_some_and(|at| at <= decision.now) {
        unmount_now(decision, &node, node.drain_seq);
    }
    Ok(())
}
