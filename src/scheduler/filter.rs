//! Filters: why a node cannot take a container.

use kdaemon_events::node::Availability;
use kdaemon_events::{ContainerId, MilliCpus, NodeId, Protocol, Resources, Spec};
use kdaemon_projections::{Health, Node};
use std::fmt;

/// Why a node cannot take a container. Displayed, it completes the sentence "node-a: …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
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
    /// The container is to leave this node.
    Left,
}

impl fmt::Display for Misfit {
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
            Self::Left => f.write_str("is the node it leaves"),
        }
    }
}

/// Checks whether `node` may take a container made from `spec`; the first filter that refuses is the answer.
/// `own` is what the container itself has reserved there already: it is free for it to use.
pub(super) fn check(
    node: &Node,
    container: ContainerId,
    spec: &Spec,
    leaving: Option<NodeId>,
    own: Resources,
) -> Result<(), Misfit> {
    match node.health {
        Health::Unknown => return Err(Misfit::Unprobed),
        Health::Down => return Err(Misfit::Down),
        Health::Up => {}
    }
    match node.availability {
        Availability::Cordoned => return Err(Misfit::Cordoned),
        Availability::Draining => return Err(Misfit::Draining),
        Availability::Active => {}
    }
    if leaving == Some(node.id) {
        return Err(Misfit::Left);
    }
    if let Some(constraint) = spec.constraints.iter().find(|constraint| !constraint.admits(&node.labels)) {
        return Err(Misfit::Constraint(constraint.to_string()));
    }
    // Asked only where it matters: a cluster may have a thousand nodes.
    let is_resident = || node.residents.contains(&container);
    if let Some(capacity) = node.capacity
        && node.container_count() >= capacity
        && !is_resident()
    {
        return Err(Misfit::Capacity(capacity));
    }
    for (protocol, port) in spec.fixed_ports() {
        let taken_by = node.ports.get(&(protocol, port)).into_iter().flatten();
        if let Some(by) = taken_by.copied().find(|by| *by != container) {
            return Err(Misfit::PortTaken(port, protocol, by));
        }
    }
    let Some(engine) = &node.engine else { return Ok(()) };
    if let Some(MilliCpus(wanted)) = spec.resources.cpus {
        let reserved = node.reserved_millicpus.saturating_sub(own.cpus.map_or(0, |cpus| cpus.0));
        let free = engine.cpus.0.saturating_sub(reserved);
        if wanted > free {
            return Err(Misfit::Cpus { wanted, free });
        }
    }
    if let Some(wanted) = spec.resources.memory_bytes {
        let reserved = node.reserved_memory_bytes.saturating_sub(own.memory_bytes.unwrap_or(0));
        let free = engine.memory_bytes.saturating_sub(reserved);
        if wanted > free {
            return Err(Misfit::Memory { wanted, free });
        }
    }
    Ok(())
}
