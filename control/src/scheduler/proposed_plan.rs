//! A proposed plan: the state, and the plan's moves so far.

use super::request::Request;
use foldhash::fast::FixedState;
use kdaemon_events::{ApplicationId, ContainerId, NodeId, Protocol, Reservation, Spec, Strategy};
use kdaemon_projections::{Cluster, Eligible, Node, Standing};
use std::collections::BTreeMap;

/// A plan's claims on a node, which are not in the state yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    pub(super) count: u32,
    pub(super) reserved: Reservation,
    pub(super) ports: BTreeMap<(Protocol, u16), ContainerId>,
    /// Containers that the plan moves away. They free nothing, because they run there until they run
    /// elsewhere.
    left: u32,
    /// Whether the node's position in the order by share is outdated.
    is_behind: bool,
}

/// A map for lookups of each move, which iterates in the same order in each run, because its hasher has no
/// seed.
type Lookup<K, V> = std::collections::HashMap<K, V, FixedState>;

/// Containers of an application that a plan has sent to some node.
type Counts = Lookup<ApplicationId, BTreeMap<NodeId, u32>>;

/// The state, and a plan's moves so far.
#[derive(Clone)]
pub(super) struct ProposedPlan<'a> {
    pub(super) cluster: &'a Cluster,
    /// The eligible nodes, in order with the plan's claims.
    pub(super) eligible: Eligible,
    /// The nodes whose position in the order by share is outdated: few plans need that order.
    behind: Vec<(NodeId, Standing)>,
    claims: Lookup<NodeId, Claims>,
    came: Counts,
    left: Counts,
}

impl<'a> ProposedPlan<'a> {
    pub(super) fn on(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            eligible: cluster.eligible().clone(),
            behind: Vec::new(),
            claims: Lookup::default(),
            came: Counts::default(),
            left: Counts::default(),
        }
    }

    pub(super) fn claims(&self, node: NodeId) -> Option<&Claims> {
        // Most plans are a single placement.
        if self.claims.is_empty() { None } else { self.claims.get(&node) }
    }

    /// The nodes that receive containers of an application, with their number.
    pub(super) fn came(&self, application: ApplicationId) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        self.came.get(&application).into_iter().flatten().map(|(node, count)| (*node, *count))
    }

    /// How many containers of an application the plan has sent to a node.
    pub(super) fn came_to(&self, application: ApplicationId, node: NodeId) -> u32 {
        self.came.get(&application).and_then(|nodes| nodes.get(&node)).copied().unwrap_or(0)
    }

    /// How many containers of an application the plan has sent away from a node.
    pub(super) fn left(&self, application: ApplicationId, node: NodeId) -> u32 {
        self.left.get(&application).and_then(|nodes| nodes.get(&node)).copied().unwrap_or(0)
    }

    /// How many containers a node has in the plan.
    pub(super) fn count(&self, node: &Node) -> u32 {
        let claims = self.claims(node.id);
        stand(node, claims, None).count.saturating_sub(claims.map_or(0, |claims| claims.left))
    }

    /// A node's standing for a request: on its own node a container does not count against itself.
    pub(super) fn standing(&self, node: &Node, request: &Request<'_>) -> Standing {
        let own = request.residence.filter(|residence| residence.node_id == node.id);
        stand(node, self.claims(node.id), own.map(|residence| residence.spec.as_ref()))
    }

    /// Sends a container from one node to another.
    pub(super) fn send(&mut self, from: NodeId, to: &Node, request: &Request<'_>) {
        self.claim(to, request);
        self.depart(from, request.application);
    }

    /// Sends a container away from a node.
    pub(super) fn depart(&mut self, node: NodeId, application: Option<ApplicationId>) {
        self.claims.entry(node).or_default().left += 1;
        application.into_iter().for_each(|id| count(&mut self.left, id, node));
    }

    /// Sends a container to a node.
    pub(super) fn claim(&mut self, node: &Node, request: &Request<'_>) {
        let claims = self.claims.entry(node.id).or_default();
        let before = stand(node, Some(claims), None);
        claims.count += 1;
        let wanted = request.spec.resources.reservation();
        claims.reserved.millicpus = claims.reserved.millicpus.saturating_add(wanted.millicpus);
        claims.reserved.memory_bytes = claims.reserved.memory_bytes.saturating_add(wanted.memory_bytes);
        claims.ports.extend(request.spec.fixed_ports().map(|port| (port, request.container)));
        if node.is_eligible() {
            self.eligible.replace_by_count(node.id, Some(before), Some(stand(node, Some(claims), None)));
            if !std::mem::replace(&mut claims.is_behind, true) {
                self.behind.push((node.id, before));
            }
        }
        request.application.into_iter().for_each(|id| count(&mut self.came, id, node.id));
    }

    /// Updates the order that a strategy needs.
    pub(super) fn set_in_order(&mut self, strategy: Strategy) {
        if strategy == Strategy::Spread || self.behind.is_empty() {
            return;
        }
        for (id, before) in std::mem::take(&mut self.behind) {
            let (Some(node), Some(claims)) = (self.cluster.node(id), self.claims.get_mut(&id)) else {
                continue;
            };
            claims.is_behind = false;
            self.eligible.replace_by_share(id, Some(before), Some(stand(node, Some(claims), None)));
        }
    }
}

/// Counts one more container of an application.
fn count(counts: &mut Counts, application: ApplicationId, node: NodeId) {
    *counts.entry(application).or_default().entry(node).or_default() += 1;
}

/// A node's standing with the plan's claims, without the requested container.
fn stand(node: &Node, claims: Option<&Claims>, own: Option<&Spec>) -> Standing {
    let (claimed_count, claimed) =
        claims.map_or_else(Default::default, |claims| (claims.count, claims.reserved));
    let (own_count, own) = own.map_or_else(Default::default, |own| (1, own.resources.reservation()));
    if (claimed_count, claimed, own_count, own) == Default::default() {
        return Standing { count: node.container_count(), share: node.reserved_share() };
    }
    Standing {
        count: node.container_count().saturating_add(claimed_count).saturating_sub(own_count),
        share: node.share_with(
            node.reserved_millicpus.saturating_add(claimed.millicpus).saturating_sub(own.millicpus),
            node.reserved_memory_bytes.saturating_add(claimed.memory_bytes).saturating_sub(own.memory_bytes),
        ),
    }
}
