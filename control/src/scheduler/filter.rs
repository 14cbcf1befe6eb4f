//! Filters: why a node cannot take a container.

use super::proposed_plan::ProposedPlan;
use super::request::Request;
use kdaemon_events::node::Availability;
use kdaemon_events::scheduling::Rejection;
use kdaemon_projections::{Health, Node};

/// Checks whether `node` may take a container, in addition to what a plan has sent there already. Returns the
/// first rejection.
pub(super) fn check(
    proposed: &ProposedPlan<'_>,
    node: &Node,
    request: &Request<'_>,
) -> Result<(), Rejection> {
    if node.health == Health::Down {
        return Err(Rejection::Down);
    }
    match node.availability {
        Availability::Cordoned => return Err(Rejection::Cordoned),
        Availability::Draining => return Err(Rejection::Draining),
        Availability::Active => {}
    }
    if request.leaving == Some(node.id) {
        return Err(Rejection::Leaving);
    }
    if let Some(data) = &request.data {
        data.check(node.id)?;
    }
    let spec = request.spec;
    if let Some(constraint) = spec.constraints.iter().find(|constraint| !constraint.admits(&node.labels)) {
        return Err(Rejection::Constraint { constraint: constraint.clone() });
    }
    let claims = proposed.claims(node.id);
    // The container's own reservations there are available to it.
    let own = request.residence.filter(|residence| residence.node_id == node.id);
    let count = node.container_count().saturating_sub(u32::from(own.is_some()));
    if let Some(capacity) = node.capacity
        && count.saturating_add(claims.map_or(0, |claims| claims.count)) >= capacity
    {
        return Err(Rejection::Full { capacity });
    }
    for port in spec.fixed_ports() {
        let taken_by = node.ports.get(&port).into_iter().flatten().copied();
        let claimed_by = claims.and_then(|claims| claims.ports.get(&port)).copied();
        if let Some(by) = taken_by.chain(claimed_by).find(|by| *by != request.container) {
            let (protocol, port) = port;
            return Err(Rejection::PortTaken { port, protocol, container_id: by });
        }
    }
    affinities(proposed, node, request)?;
    // After all filters that need no answer of the engine: this rejection passes by itself, the others do not.
    if node.health == Health::Unknown {
        return Err(Rejection::NotProbed);
    }
    let Some(engine) = &node.engine else { return Ok(()) };
    let wanted = spec.resources.reservation();
    let own = own.map(|residence| residence.spec.resources.reservation()).unwrap_or_default();
    let claimed = claims.map(|claims| claims.reserved).unwrap_or_default();
    let reserved = node.reserved_millicpus.saturating_sub(own.millicpus).saturating_add(claimed.millicpus);
    let free_millicpus = engine.cpus.0.saturating_sub(reserved);
    if wanted.millicpus > free_millicpus {
        return Err(Rejection::Cpus { wanted_millicpus: wanted.millicpus, free_millicpus });
    }
    if let Some(limit) = spec.resources.cpus.filter(|limit| *limit > engine.cpus) {
        return Err(Rejection::CpuLimit { limit_millicpus: limit.0, engine_millicpus: engine.cpus.0 });
    }
    let reserved = node.reserved_memory_bytes.saturating_sub(own.memory_bytes);
    let reserved = reserved.saturating_add(claimed.memory_bytes);
    let free_bytes = engine.memory_bytes.saturating_sub(reserved);
    if wanted.memory_bytes > free_bytes {
        return Err(Rejection::Memory { wanted_bytes: wanted.memory_bytes, free_bytes });
    }
    Ok(())
}

/// Checks anti-affinity and affinity.
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
            return Err(Rejection::Affinity { application_id: *id });
        }
    }
    Ok(())
}
