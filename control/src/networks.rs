//! Networks that launches created on engines: which of them are no longer needed.

use kdaemon_events::NodeId;
use kdaemon_projections::Cluster;
use std::collections::BTreeSet;

/// The networks that applications name.
#[must_use]
pub fn named_networks(cluster: &Cluster) -> BTreeSet<String> {
    cluster.applications().flat_map(|application| application.spec.networks.iter().cloned()).collect()
}

/// The networks of an engine's list that can be removed from this node: no application names them, and no
/// container has a placement there that was made with them. A placement keeps its networks after its application
/// was edited, and a stopped one is started with them again.
///
/// The list has to be older than the state: a network that is not in the state's applications yet may be new.
#[must_use]
pub fn unused_networks<'a>(
    cluster: &Cluster,
    node: NodeId,
    listed: impl IntoIterator<Item = &'a String>,
) -> Vec<&'a String> {
    let mut needed = named_networks(cluster);
    let here = cluster.node(node).into_iter().flat_map(|node| &node.holds);
    for container in here.filter_map(|id| cluster.container(*id)) {
        let retired = container.retired.iter().map(|retired| &retired.placement);
        for placement in
            container.placement.iter().chain(retired).filter(|placement| placement.node_id == node)
        {
            needed.extend(placement.spec.networks.iter().cloned());
        }
    }
    listed.into_iter().filter(|network| !needed.contains(*network)).collect()
}
