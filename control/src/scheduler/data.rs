//! Where a container's data lets it run.

use kdaemon_events::node::Availability;
use kdaemon_events::scheduling::Rejection;
use kdaemon_events::{DataPolicy, NodeId, Spec};
use kdaemon_projections::{Cluster, Container, Health};
use std::collections::BTreeSet;

/// The only nodes on which a container finds its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataNodes {
    /// The nodes. Empty if its volumes are on different nodes, so that none has all of them.
    pub nodes: BTreeSet<NodeId>,
    /// A node that has some of the data, for the reason why others do not fit.
    node_id: NodeId,
    /// That data: a volume's name, or a path.
    volume: String,
}

impl DataNodes {
    /// The nodes on which a container made from `spec` finds its data; `None`: it has none yet, and may run anywhere.
    ///
    /// A container that has run returns to its data. A new one uses the volumes that the log knows; the replicas of an
    /// application share a volume, and so its node. With `anti_affinity` they cannot: then each node has its own, and a
    /// new replica prefers one that no other uses.
    #[must_use]
    pub fn of(cluster: &Cluster, container: &Container, spec: &Spec) -> Option<Self> {
        let first = spec.local_data().next().map(|volume| volume.source.as_str());
        if let Some(home) = &container.home {
            let anonymous = home.volumes.first().map(|volume| volume.name.as_str());
            let volume = first.or(anonymous)?;
            return is_waited_for(cluster, spec, home.node_id).then(|| Self::one(home.node_id, volume));
        }
        let mut common: Option<Self> = None;
        for volume in spec.local_data() {
            let known =
                cluster.nodes_with_data(&volume.source).filter(|id| is_waited_for(cluster, spec, *id));
            let nodes: BTreeSet<NodeId> =
                known.filter(|id| !is_used(cluster, container, spec, *id)).collect();
            let Some(node_id) = nodes.first().copied() else { continue };
            common = Some(match common {
                None => Self { nodes, node_id, volume: volume.source.clone() },
                Some(before) => {
                    let nodes: BTreeSet<NodeId> = before.nodes.intersection(&nodes).copied().collect();
                    Self {
                        node_id: nodes.first().copied().unwrap_or(before.node_id),
                        nodes,
                        volume: before.volume,
                    }
                }
            });
        }
        common.or_else(|| {
            let volume = first.filter(|_| !spec.anti_affinity)?;
            Some(Self::one(sibling(cluster, container, spec)?, volume))
        })
    }

    fn one(node_id: NodeId, volume: &str) -> Self {
        Self { nodes: BTreeSet::from([node_id]), node_id, volume: volume.to_owned() }
    }

    /// Why a node without the data cannot take the container.
    pub(super) fn check(&self, node: NodeId) -> Result<(), Rejection> {
        if self.nodes.contains(&node) {
            return Ok(());
        }
        Err(Rejection::VolumesElsewhere { node_id: self.node_id, volume: self.volume.clone() })
    }
}

/// Whether a container waits for the data on a node: always, unless its application discards data when the node fails,
/// is drained or is unmounted.
fn is_waited_for(cluster: &Cluster, spec: &Spec, id: NodeId) -> bool {
    let works = |health, availability| health == Health::Up && availability != Availability::Draining;
    spec.data == DataPolicy::Keep
        || cluster.node(id).is_some_and(|node| works(node.health, node.availability))
}

/// Whether another replica uses the volume of a node that only one may use.
fn is_used(cluster: &Cluster, container: &Container, spec: &Spec, id: NodeId) -> bool {
    let own = container.residence().is_some_and(|residence| residence.node_id == id);
    let application = container.application_id.and_then(|id| cluster.application(id));
    let there = application.and_then(|application| application.nodes.get(&id)).copied().unwrap_or(0);
    spec.anti_affinity && there > u32::from(own)
}

/// The node of another container of the application, which is about to make the volume that they share.
fn sibling(cluster: &Cluster, container: &Container, spec: &Spec) -> Option<NodeId> {
    let application = cluster.application(container.application_id?)?;
    let others = application.containers.iter().filter(|id| **id != container.id);
    let mut nodes = others.filter_map(|id| Some(cluster.container(*id)?.residence()?.node_id));
    nodes.find(|id| is_waited_for(cluster, spec, *id))
}
