//! Filters: why a node cannot take a container.

use super::Request;
use super::proposed_plan::ProposedPlan;
use kdaemon_events::node::Availability;
use kdaemon_events::{ContainerId, MilliCpus, Protocol};
use kdaemon_projections::{Health, Node};
use std::fmt;

/// Why a node cannot take a container. Displayed, it completes the sentence "node-a: …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// It was not probed yet.
    Unprobed,
    /// It does not work.
    Down,
    /// It was taken out of placement.
    Cordoned,
    /// It is being emptied.
    Draining,
    /// A label is not as the application demands.
    Constraint(String),
    /// It has as many containers as it takes.
    Capacity(u32),
    /// A fixed port is taken.
    PortTaken(u16, Protocol, ContainerId),
    /// Too few processors are free.
    Cpus {
        /// Asked for, in thousandths.
        wanted: u64,
        /// Free, in thousandths.
        free: u64,
    },
    /// Too little memory is free.
    Memory {
        /// Asked for, in bytes.
        wanted: u64,
        /// Free, in bytes.
        free: u64,
    },
    /// The container's volumes are on another node.
    VolumesElsewhere(String),
    /// It has a container of the application, which wants no two on one node.
    AntiAffinity,
    /// It has no container of the application that is named, which the container wants to be with.
    Affinity(String),
    /// The container is to leave this node.
    Left,
}

impl fmt::Display for Rejection {
    #[allow(clippy::cast_precision_loss)] // thousandths of processors, shown to people
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unprobed => f.write_str("was not probed yet"),
            Self::Down => f.write_str("is DOWN"),
            Self::Cordoned => f.write_str("is cordoned"),
            Self::Draining => f.write_str("is draining"),
            Self::Constraint(constraint) => write!(f, "does not satisfy the constraint {constraint}"),
            Self::Capacity(capacity) => write!(f, "is full: its capacity is {capacity}"),
            Self::PortTaken(port, protocol, by) => {
                write!(f, "port {port}/{protocol} is taken by container {by}")
            }
            Self::Cpus { wanted, free } => write!(
                f,
                "has {} processors left to reserve, {} are wanted",
                *free as f64 / 1000.0,
                *wanted as f64 / 1000.0
            ),
            Self::Memory { wanted, free } => {
                write!(f, "has {free} bytes of memory left to reserve, {wanted} are wanted")
            }
            Self::VolumesElsewhere(node) => write!(f, "the container's volumes are on node {node}"),
            Self::AntiAffinity => f.write_str("has a container of this application already"),
            Self::Affinity(application) => write!(f, "has no container of {application}"),
            Self::Left => f.write_str("is the node it leaves"),
        }
    }
}

/// Checks whether `node` may take what is requested, with what a plan has sent there already; the first filter that
/// refuses is the answer.
pub(super) fn check(
    proposed: &ProposedPlan<'_>,
    node: &Node,
    request: &Request<'_>,
) -> Result<(), Rejection> {
    match node.health {
        Health::Unknown => return Err(Rejection::Unprobed),
        Health::Down => return Err(Rejection::Down),
        Health::Up => {}
    }
    match node.availability {
        Availability::Cordoned => return Err(Rejection::Cordoned),
        Availability::Draining => return Err(Rejection::Draining),
        Availability::Active => {}
    }
    if request.leaving == Some(node.id) {
        return Err(Rejection::Left);
    }
    if let Some(home) = request.bound_to.filter(|home| *home != node.id)
        && let Some(home) = proposed.cluster.node(home)
    {
        return Err(Rejection::VolumesElsewhere(home.name.clone()));
    }
    let spec = request.spec;
    if let Some(constraint) = spec.constraints.iter().find(|constraint| !constraint.admits(&node.labels)) {
        return Err(Rejection::Constraint(constraint.to_string()));
    }
    let claims = proposed.claims(node.id);
    // What the container itself has there is free for it to use.
    let own = request.residence.filter(|residence| residence.node_id == node.id);
    let count = node.container_count().saturating_sub(u32::from(own.is_some()));
    if let Some(capacity) = node.capacity
        && count.saturating_add(claims.map_or(0, |claims| claims.count)) >= capacity
    {
        return Err(Rejection::Capacity(capacity));
    }
    for port in spec.fixed_ports() {
        let taken_by = node.ports.get(&port).into_iter().flatten().copied();
        let claimed_by = claims.and_then(|claims| claims.ports.get(&port)).copied();
        if let Some(by) = taken_by.chain(claimed_by).find(|by| *by != request.container) {
            return Err(Rejection::PortTaken(port.1, port.0, by));
        }
    }
    affinities(proposed, node, request)?;
    let Some(engine) = &node.engine else { return Ok(()) };
    let own = own.map(|residence| residence.spec.resources).unwrap_or_default();
    if let Some(MilliCpus(wanted)) = spec.resources.cpus {
        let reserved = node.reserved_millicpus.saturating_sub(own.cpus.map_or(0, |cpus| cpus.0));
        let reserved = reserved.saturating_add(claims.map_or(0, |claims| claims.millicpus));
        let free = engine.cpus.0.saturating_sub(reserved);
        if wanted > free {
            return Err(Rejection::Cpus { wanted, free });
        }
    }
    if let Some(wanted) = spec.resources.memory_bytes {
        let reserved = node.reserved_memory_bytes.saturating_sub(own.memory_bytes.unwrap_or(0));
        let reserved = reserved.saturating_add(claims.map_or(0, |claims| claims.memory_bytes));
        let free = engine.memory_bytes.saturating_sub(reserved);
        if wanted > free {
            return Err(Rejection::Memory { wanted, free });
        }
    }
    Ok(())
}

/// Whether the applications whose containers are there let it in, and those that it wants are there.
fn affinities(proposed: &ProposedPlan<'_>, node: &Node, request: &Request<'_>) -> Result<(), Rejection> {
    let there = |application| {
        let nodes = proposed.cluster.application(application).map(|application| &application.nodes);
        nodes.and_then(|nodes| nodes.get(&node.id)).copied().unwrap_or(0)
    };
    if request.spec.anti_affinity
        && let Some(application) = request.application
    {
        let itself = u32::from(request.residence.is_some_and(|residence| residence.node_id == node.id));
        if there(application).saturating_sub(itself) + proposed.came_to(application, node.id) > 0 {
            return Err(Rejection::AntiAffinity);
        }
    }
    for id in &request.spec.affinity {
        let stay = there(*id).saturating_sub(proposed.left(*id, node.id));
        if stay + proposed.came_to(*id, node.id) == 0 {
            let wanted = proposed.cluster.application(*id);
            return Err(Rejection::Affinity(
                wanted.map_or_else(|| id.to_string(), |wanted| wanted.name.clone()),
            ));
        }
    }
    Ok(())
}
