//! Recomputes every index of the state from its containers, and compares.

use kdaemon_events::{ContainerId, NodeId, Protocol};
use kdaemon_projections::{Cluster, Container, Desired, PhaseKind};
use std::collections::{BTreeMap, BTreeSet};

/// Panics if an index disagrees with the containers.
#[track_caller]
pub fn indexes(cluster: &Cluster) {
    for node in cluster.nodes() {
        let residents: Vec<&Container> = cluster
            .containers()
            .map(|c| &**c)
            .filter(|c| c.residence().is_some_and(|p| p.node_id == node.id))
            .collect();
        let expected: BTreeSet<ContainerId> = residents.iter().map(|c| c.id).collect();
        let actual: BTreeSet<ContainerId> = node.residents.iter().copied().collect();
        assert_eq!(actual, expected, "residents of {}", node.name);
        let specs = || residents.iter().filter_map(|c| c.residence()).map(|p| &p.spec.resources);
        let millicpus: u64 = specs().filter_map(|r| r.reserved_cpus.or(r.cpus)).map(|cpus| cpus.0).sum();
        assert_eq!(node.reserved_millicpus, millicpus, "processors reserved on {}", node.name);
        let memory: u64 = specs().filter_map(|r| r.reserved_memory_bytes.or(r.memory_bytes)).sum();
        assert_eq!(node.reserved_memory_bytes, memory, "memory reserved on {}", node.name);

        let expected: BTreeSet<ContainerId> =
            cluster.containers().filter(|c| held_nodes(c).contains(&node.id)).map(|c| c.id).collect();
        let actual: BTreeSet<ContainerId> = node.holds.iter().copied().collect();
        assert_eq!(actual, expected, "what {} holds", node.name);

        let actual: BTreeMap<(Protocol, u16), BTreeSet<ContainerId>> =
            node.ports.iter().map(|(port, by)| (*port, by.iter().copied().collect())).collect();
        assert_eq!(actual, claims(cluster, node.id), "ports of {}", node.name);

        assert_eq!(cluster.find_node(&node.name).map(|n| n.id), Some(node.id), "the name of a node");
    }
    for application in cluster.applications() {
        let own: Vec<_> = cluster.containers().filter(|c| c.application_id == Some(application.id)).collect();
        let expected: BTreeSet<ContainerId> = own.iter().map(|c| c.id).collect();
        let actual: BTreeSet<ContainerId> = application.containers.iter().copied().collect();
        assert_eq!(actual, expected, "containers of {}", application.name);
        let serving = own.iter().filter(|c| c.is_serving() || c.phase.kind() == PhaseKind::Completed).count();
        assert_eq!(application.serving as usize, serving, "containers of {} that serve", application.name);
        let outdated =
            own.iter().filter(|c| c.desired == Desired::Running && is_outdated(cluster, c)).count();
        assert_eq!(application.outdated as usize, outdated, "outdated containers of {}", application.name);
        let mut nodes: BTreeMap<NodeId, u32> = BTreeMap::new();
        for residence in own.iter().filter_map(|c| c.residence()) {
            *nodes.entry(residence.node_id).or_default() += 1;
        }
        let actual: BTreeMap<NodeId, u32> =
            application.nodes.iter().map(|(id, count)| (*id, *count)).collect();
        assert_eq!(actual, nodes, "where {} has its containers", application.name);
        let found = cluster.find_application(&application.name).map(|a| a.id);
        assert_eq!(found, Some(application.id), "the name of an application");
    }
    for container in cluster.containers() {
        let found = cluster.find_container(&container.name).map(|c| c.id);
        assert_eq!(found, Some(container.id), "the name of a container");
        let highest = container
            .placement
            .iter()
            .chain(container.retired.iter().map(|retired| &retired.placement))
            .map(|placement| placement.generation)
            .max()
            .unwrap_or_default();
        assert!(highest <= container.generation, "{} has a generation never given", container.name);
    }
    eligible(cluster);
    let unsettled: Vec<_> = cluster.unsettled().map(|c| c.id).collect();
    let expected: Vec<_> = cluster.containers().filter(|c| c.is_unsettled()).map(|c| c.id).collect();
    assert_eq!(unsettled, expected, "unsettled containers");
    let migrating: Vec<_> = cluster.migrating().collect();
    let expected: Vec<_> = cluster.containers().filter(|c| c.migrating.is_some()).map(|c| c.id).collect();
    assert_eq!(migrating, expected, "migrating containers");
    let rolling: Vec<_> = cluster.rolling().map(|a| a.id).collect();
    let expected: Vec<_> = cluster.applications().filter(|a| a.may_roll()).map(|a| a.id).collect();
    assert_eq!(rolling, expected, "applications with a rollout");
}

/// Whether a container would be made from something else now, by comparing all that it is made from.
fn is_outdated(cluster: &Cluster, container: &Container) -> bool {
    let spec = cluster.spec_of(container);
    let round = container.application_id.and_then(|id| cluster.application(id)).map(|a| a.round);
    container.placement.as_ref().is_some_and(|placement| {
        !placement.spec.makes_the_same_as(&spec) || round.is_some_and(|round| round != placement.round)
    })
}

/// Panics if the orders of the eligible nodes disagree with the nodes.
#[track_caller]
pub fn eligible(cluster: &Cluster) {
    let nodes = || cluster.nodes().filter(|node| node.is_eligible());
    let mut by_count: Vec<_> = nodes().map(|n| (n.container_count(), n.id)).collect();
    by_count.sort_unstable();
    assert_eq!(cluster.eligible().by_count().collect::<Vec<_>>(), by_count);
    let mut by_share: Vec<_> = nodes().map(|n| (n.reserved_share(), n.container_count(), n.id)).collect();
    by_share.sort_unstable();
    assert_eq!(cluster.eligible().by_share().collect::<Vec<_>>(), by_share);
    by_share.sort_by_key(|(share, count, id)| (std::cmp::Reverse((*share, *count)), *id));
    let fullest: Vec<_> = by_share.into_iter().map(|(_, _, id)| id).collect();
    assert_eq!(cluster.eligible().by_share_from_the_fullest().collect::<Vec<_>>(), fullest);
    for node in cluster.nodes() {
        for (key, value) in &node.labels {
            let with = cluster.eligible().with_label(key).and_then(|values| values.get(value.as_str()));
            assert!(with.is_some_and(|nodes| nodes.contains(&node.id)), "{key}={value} of {}", node.name);
        }
    }
    let mut labels = BTreeSet::new();
    let all = cluster.nodes().flat_map(|node| node.labels.keys());
    for key in all.filter(|key| labels.insert(*key)) {
        for (value, nodes) in cluster.eligible().with_label(key).into_iter().flatten() {
            for id in nodes {
                let node = cluster.node(*id).expect("an index knows no node that is gone");
                assert_eq!(
                    node.labels.get(key).map(String::as_str),
                    Some(&**value),
                    "{key} of {}",
                    node.name
                );
            }
        }
    }
}

fn held_nodes(container: &Container) -> BTreeSet<NodeId> {
    let retired = container.retired.iter().map(|retired| retired.placement.node_id);
    container.placement.iter().map(|placement| placement.node_id).chain(retired).collect()
}

/// The containers that claim each fixed port of a node.
fn claims(cluster: &Cluster, node: NodeId) -> BTreeMap<(Protocol, u16), BTreeSet<ContainerId>> {
    let mut claims: BTreeMap<(Protocol, u16), BTreeSet<ContainerId>> = BTreeMap::new();
    for container in cluster.containers() {
        let wanted = container
            .placement
            .iter()
            .filter(|_| !container.phase.kind().is_over() && container.phase.kind() != PhaseKind::Failed);
        let retired = container.retired.iter().map(|retired| &retired.placement);
        for placement in wanted.chain(retired).filter(|placement| placement.node_id == node) {
            for port in placement.spec.fixed_ports() {
                claims.entry(port).or_default().insert(container.id);
            }
        }
    }
    claims
}
