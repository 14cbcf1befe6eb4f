//! Plans where containers go that have to leave their nodes.

use super::place::{Choice, choose};
use super::proposed_plan::ProposedPlan;
use super::request::Request;
use kdaemon_events::scheduling::NoNodeFits;
use kdaemon_events::{ContainerId, Strategy};
use kdaemon_projections::Cluster;

/// Plans the targets of containers that have to leave their nodes: one after another, each to the best node
/// given the moves before.
pub fn evacuate(
    cluster: &Cluster,
    containers: impl IntoIterator<Item = ContainerId>,
    strategy: Strategy,
) -> impl Iterator<Item = (ContainerId, Result<Choice, NoNodeFits>)> {
    let mut proposed = ProposedPlan::on(cluster);
    containers.into_iter().filter_map(move |id| {
        let container = cluster.container(id)?;
        let spec = cluster.spec_of(container);
        let leaving = container.placement.as_ref().map(|placement| placement.node_id);
        let request = Request::new(cluster, container, &spec, leaving, strategy);
        proposed.set_in_order(request.strategy);
        let chosen = choose(&proposed, &request);
        if let Ok((node, _)) = &chosen {
            proposed.claim(node, &request);
            // Nothing is placed on the nodes that they leave: only the spread over a label counts departed
            // containers.
            let counted = leaving.filter(|_| spec.spread_over.is_some());
            counted.into_iter().for_each(|from| proposed.depart(from, container.application_id));
        }
        Some((id, chosen.map(|(_, choice)| choice)))
    })
}
