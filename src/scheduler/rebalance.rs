//! The rebalance plan: the fewest moves that bring the counts of containers within one of each other.

use super::filter::check;
use kdaemon_events::cluster::Move;
use kdaemon_events::{ContainerId, NodeId, Resources};
use kdaemon_projections::{Cluster, Container, Desired, Node, Phase};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The moves, in order.
    pub moves: Vec<Move>,
    /// Why, in words.
    pub why: String,
}

/// Whether the rebalancer may move it for the sake of balance.
fn is_movable(container: &Container) -> bool {
    container.balance
        && container.desired == Desired::Running
        && container.phase == Phase::Up
        && !container.lost
        && container.migrating.is_none()
        && container.placement.as_ref().is_some_and(|placement| !placement.spec.is_bound_to_node())
}

/// Plans the moves that even the counts of the eligible nodes.
///
/// Each move goes from a node with the most containers to one with the fewest, while they differ by more
/// than one. Without constraints no plan is shorter: the surplus over the final counts has to leave its
/// nodes, and each move takes one of it to a node that lacks one. Where a constraint forbids the best
/// move, the next best is taken as long as it still evens.
#[must_use]
pub fn plan(cluster: &Cluster) -> Plan {
    let nodes: Vec<&Arc<Node>> = cluster.nodes().filter(|node| node.is_eligible()).collect();
    let mut counts: BTreeMap<NodeId, u32> =
        nodes.iter().map(|node| (node.id, node.container_count())).collect();
    let (Some(fewest), Some(most)) = (counts.values().min().copied(), counts.values().max().copied()) else {
        return Plan::default();
    };
    if most - fewest <= 1 {
        return Plan::default();
    }
    let by_id: BTreeMap<NodeId, &Arc<Node>> = nodes.iter().map(|node| (node.id, *node)).collect();
    // What the plan itself has taken, so that it never sends two claims for one port or the last slot.
    let mut taken: BTreeMap<NodeId, Vec<ContainerId>> = BTreeMap::new();
    let mut moved: BTreeSet<ContainerId> = BTreeSet::new();
    let mut moves = Vec::new();

    while let Some(step) = next_move(cluster, &by_id, &counts, &taken, &moved) {
        if let Some(count) = counts.get_mut(&step.from_node_id) {
            *count -= 1;
        }
        *counts.entry(step.node_id).or_default() += 1;
        taken.entry(step.node_id).or_default().push(step.container_id);
        moved.insert(step.container_id);
        moves.push(step);
    }
    let why = format!("the fullest node has {most} containers, the emptiest {fewest}");
    Plan { moves, why }
}

fn next_move(
    cluster: &Cluster,
    nodes: &BTreeMap<NodeId, &Arc<Node>>,
    counts: &BTreeMap<NodeId, u32>,
    taken: &BTreeMap<NodeId, Vec<ContainerId>>,
    moved: &BTreeSet<ContainerId>,
) -> Option<Move> {
    let mut order: Vec<(u32, NodeId)> = counts.iter().map(|(id, count)| (*count, *id)).collect();
    order.sort_unstable();
    for (high, from) in order.iter().rev() {
        for (low, to) in &order {
            if high.saturating_sub(*low) <= 1 {
                break;
            }
            let (Some(source), Some(target)) = (nodes.get(from), nodes.get(to)) else { continue };
            let candidate = source
                .residents
                .iter()
                .filter(|id| !moved.contains(id))
                .filter_map(|id| cluster.container(*id))
                .find(|container| {
                    is_movable(container) && fits(cluster, container, target, taken.get(to), *low)
                });
            if let Some(container) = candidate {
                return Some(Move { container_id: container.id, from_node_id: *from, node_id: *to });
            }
        }
    }
    None
}

/// Whether `target`, which the plan has brought to `count` containers, takes this one too.
fn fits(
    cluster: &Cluster,
    container: &Container,
    target: &Node,
    taken: Option<&Vec<ContainerId>>,
    count: u32,
) -> bool {
    let spec = cluster.spec_of(container);
    if check(target, container.id, &spec, None, Resources::default()).is_err() {
        return false;
    }
    let Some(taken) = taken else { return true };
    if target.capacity.is_some_and(|capacity| count >= capacity) {
        return false;
    }
    // Reservations and ports of what the plan sends there are not in the state yet.
    let others: Vec<_> =
        taken.iter().filter_map(|id| cluster.container(*id)).map(|c| cluster.spec_of(c)).collect();
    let ports_clash = spec
        .fixed_ports()
        .any(|port| others.iter().any(|other| other.fixed_ports().any(|taken_port| taken_port == port)));
    let all = |amounts: &mut dyn Iterator<Item = u64>| amounts.fold(0, u64::saturating_add);
    let millicpus = all(&mut others.iter().filter_map(|o| o.resources.cpus).map(|cpus| cpus.0));
    let memory = all(&mut others.iter().filter_map(|o| o.resources.memory_bytes));
    let resources_fit = target.engine.as_ref().is_none_or(|engine| {
        spec.resources.cpus.is_none_or(|cpus| {
            cpus.0.saturating_add(millicpus).saturating_add(target.reserved_millicpus) <= engine.cpus.0
        }) && spec.resources.memory_bytes.is_none_or(|bytes| {
            bytes.saturating_add(memory).saturating_add(target.reserved_memory_bytes) <= engine.memory_bytes
        })
    });
    !ports_clash && resources_fit
}
