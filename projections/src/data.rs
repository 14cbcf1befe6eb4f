//! Where the data of containers is.
//!
//! A volume lives on one machine. It was used there if a container that mounts it was launched there: that is a fact of
//! the log, and outlives the container, its application and the mounting of the node.

use crate::UnmountedNode;
use crate::cluster::{Cluster, Touched};
use imbl::{OrdMap, OrdSet};
use kdaemon_events::node::EngineFacts;
use kdaemon_events::volume::VolumesRemoved;
use kdaemon_events::{NodeId, Spec};
use std::sync::Arc;

impl Cluster {
    /// The nodes on which a named volume or a bound path has been used, also unmounted ones.
    pub fn nodes_with_data(&self, source: &str) -> impl Iterator<Item = NodeId> + '_ {
        self.data.get(source).into_iter().flatten().copied()
    }

    /// A node that was unmounted.
    #[must_use]
    pub fn unmounted(&self, id: NodeId) -> Option<&UnmountedNode> {
        self.unmounted.get(&id)
    }

    /// The named volumes, bound paths and anonymous volumes with data on a node, in the order of their names.
    #[must_use]
    pub fn data_on(&self, id: NodeId) -> Vec<String> {
        let named =
            self.data.iter().filter(|(_, nodes)| nodes.contains(&id)).map(|(source, _)| source.to_string());
        let homes = self.containers.values().filter_map(|container| container.home.as_ref());
        let anonymous = homes.filter(|home| home.node_id == id).flat_map(|home| &home.volumes);
        let mut all: Vec<String> = named.chain(anonymous.map(|volume| volume.name.clone())).collect();
        all.sort();
        all
    }

    /// Notes that containers of a specification use data on a node.
    pub(crate) fn note_data(&mut self, spec: &Spec, node: NodeId) {
        for volume in spec.local_data() {
            let is_known = self.data.get(volume.source.as_str()).is_some_and(|nodes| nodes.contains(&node));
            if !is_known {
                self.data.entry(volume.source.as_str().into()).or_default().insert(node);
            }
        }
    }

    /// Forgets volumes that were deleted from a node.
    pub(crate) fn volumes_removed(&mut self, e: &VolumesRemoved, touched: &mut Touched) {
        for volume in &e.volumes {
            let Some(nodes) = self.data.get_mut(volume.as_str()) else { continue };
            nodes.remove(&e.node_id);
            if nodes.is_empty() {
                self.data.remove(volume.as_str());
            }
        }
        let Some(container) = e.container_id else { return };
        self.change_container(container, touched, |c| {
            if let Some(home) = c.home.as_mut().filter(|home| home.node_id == e.node_id) {
                home.volumes.retain(|volume| !e.volumes.contains(&volume.name));
            }
        });
    }

    /// Recognizes the machine of an unmounted node by its engine: what was on that node is on this one.
    pub(crate) fn recognize(&mut self, id: NodeId, engine: &EngineFacts, touched: &mut Touched) {
        if engine.engine_id.is_empty() {
            return;
        }
        let same = |(_, gone): &(&NodeId, &UnmountedNode)| gone.engine_id == engine.engine_id;
        let former: Vec<NodeId> = self.unmounted.iter().filter(same).map(|(id, _)| *id).collect();
        for old in former {
            self.unmounted.remove(&old);
            self.data = rename(&self.data, old, id);
            let at_home =
                self.containers.values().filter(|c| c.home.as_ref().is_some_and(|home| home.node_id == old));
            let at_home: Vec<_> = at_home.map(|container| container.id).collect();
            for container in at_home {
                self.change_container(container, touched, |c| {
                    if let Some(home) = &mut c.home {
                        home.node_id = id;
                    }
                });
            }
        }
    }
}

fn rename(
    data: &OrdMap<Arc<str>, OrdSet<NodeId>>,
    old: NodeId,
    new: NodeId,
) -> OrdMap<Arc<str>, OrdSet<NodeId>> {
    let renamed = |nodes: &OrdSet<NodeId>| -> OrdSet<NodeId> {
        nodes.iter().map(|id| if *id == old { new } else { *id }).collect()
    };
    data.iter().map(|(source, nodes)| (Arc::clone(source), renamed(nodes))).collect()
}
