//! The rules of placement a second time, as simply as possible: every node is examined, and everything is
//! counted from scratch.

use kdaemon_events::node::Availability;
use kdaemon_events::{ContainerId, NodeId, Spec, Strategy};
use kdaemon_projections::{Cluster, Container, Health, Node, PhaseKind};
use std::cmp::Reverse;

fn residents(cluster: &Cluster, node: NodeId) -> impl Iterator<Item = &Container> {
    let all = cluster.containers().map(|container| &**container);
    all.filter(move |c| c.residence().is_some_and(|placement| placement.node_id == node))
}

/// The processors to reserve, in thousandths: the reservation, or else the limit.
fn cpus(spec: &Spec) -> u64 {
    spec.resources.reserved_cpus.or(spec.resources.cpus).map_or(0, |cpus| cpus.0)
}

/// The memory to reserve, in bytes: the reservation, or else the limit.
fn memory(spec: &Spec) -> u64 {
    spec.resources.reserved_memory_bytes.or(spec.resources.memory_bytes).unwrap_or(0)
}

/// Whether a node may take a container made from `spec`, by every hard rule.
pub fn admits(cluster: &Cluster, node: &Node, id: ContainerId, spec: &Spec) -> bool {
    let others: Vec<&Container> = residents(cluster, node.id).filter(|c| c.id != id).collect();
    let application = cluster.container(id).unwrap().application_id;
    let taken_cpus: u64 = others.iter().filter_map(|c| Some(cpus(&c.residence()?.spec))).sum();
    let taken_memory: u64 = others.iter().filter_map(|c| Some(memory(&c.residence()?.spec))).sum();
    let has_claim = |port| {
        cluster.containers().filter(|c| c.id != id).any(|c| {
            let wanted = c
                .placement
                .iter()
                .filter(|_| !c.phase.kind().is_over() && c.phase.kind() != PhaseKind::Failed);
            let all = wanted.chain(c.retired.iter().map(|retired| &retired.placement));
            all.filter(|p| p.node_id == node.id).any(|p| p.spec.fixed_ports().any(|other| other == port))
        })
    };
    node.health == Health::Up
        && node.availability == Availability::Active
        && spec.constraints.iter().all(|constraint| constraint.admits(&node.labels))
        && node.capacity.is_none_or(|capacity| others.len() < capacity as usize)
        && !spec.fixed_ports().any(has_claim)
        && !(spec.anti_affinity && others.iter().any(|c| c.application_id == application))
        && spec
            .affinity
            .iter()
            .all(|wanted| residents(cluster, node.id).any(|c| c.application_id == Some(*wanted)))
        && node.engine.as_ref().is_none_or(|engine| {
            let fits = |wanted, taken, all| wanted == 0 || wanted + taken <= all;
            fits(cpus(spec), taken_cpus, engine.cpus.0)
                && fits(memory(spec), taken_memory, engine.memory_bytes)
                && spec.resources.cpus.is_none_or(|limit| limit <= engine.cpus)
        })
}

/// The node to choose.
pub fn place(cluster: &Cluster, id: ContainerId, strategy: Strategy) -> Option<NodeId> {
    let container = cluster.container(id).unwrap();
    let spec = cluster.spec_of(container);
    let fitting = cluster.nodes().filter(|node| admits(cluster, node, id, &spec));
    let rank = |node: &Node| {
        let own = |c: &&Container| c.id != id;
        let count = residents(cluster, node.id).filter(own).count();
        let share = {
            let cpus: u64 = residents(cluster, node.id)
                .filter(own)
                .filter_map(|c| Some(cpus(&c.residence()?.spec)))
                .sum();
            let memory: u64 = residents(cluster, node.id)
                .filter(own)
                .filter_map(|c| Some(memory(&c.residence()?.spec)))
                .sum();
            node.engine.as_ref().map_or(0, |engine| {
                (cpus * 1_000_000 / engine.cpus.0).max(memory * 1_000_000 / engine.memory_bytes)
            })
        };
        let unmet = spec.preferences.iter().filter(|preference| !preference.admits(&node.labels)).count();
        let spread = spec.spread_over.as_ref().map(|key| {
            let value = node.labels.get(key);
            let same = |c: &&Container| {
                let at = c.residence().and_then(|placement| cluster.node(placement.node_id));
                value.is_some() && at.and_then(|at| at.labels.get(key)) == value
            };
            let own_ones = cluster.containers().map(|c| &**c).filter(|c| c.id != id);
            let count =
                own_ones.filter(|c| c.application_id == container.application_id).filter(same).count();
            (value.is_none(), count)
        });
        let penalty = if container.phase.attempts().is_some_and(|attempts| attempts.avoid.contains(&node.id))
            || node.is_faulty(container.application_id, cluster.at())
        {
            2
        } else {
            u8::from(node.is_on_probation(cluster.at()))
        };
        let load = match spec.strategy.unwrap_or(strategy) {
            Strategy::Spread => (count as u64, 0, Reverse((0, 0))),
            Strategy::Resources => (share, count, Reverse((0, 0))),
            Strategy::Binpack => (0, 0, Reverse((share, count))),
        };
        (penalty, unmet, spread, load, node.id)
    };
    fitting.min_by_key(|node| rank(node)).map(|node| node.id)
}
