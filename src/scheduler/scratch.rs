//! A plan in the making: the state, and what the plan has sent where.

use super::explain::NoFit;
use super::place::{Choice, Request, choose};
use kdaemon_events::{ApplicationId, ContainerId, NodeId, Protocol, Strategy};
use kdaemon_projections::{Cluster, Eligible, Node, Standing};
use std::collections::BTreeMap;

/// What a plan has sent to a node that is not in the state yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    pub(super) count: u32,
    pub(super) millicpus: u64,
    pub(super) memory_bytes: u64,
    pub(super) ports: BTreeMap<(Protocol, u16), ContainerId>,
    pub(super) applications: BTreeMap<ApplicationId, u32>,
    /// What the plan has sent away from there. It frees nothing, for it runs there until it runs elsewhere.
    pub(super) departed: BTreeMap<ApplicationId, u32>,
    left: u32,
}

/// The state, and what a plan has sent where.
#[derive(Clone)]
pub(super) struct Scratch<'a> {
    pub(super) cluster: &'a Cluster,
    /// The eligible nodes, in order with the plan's claims.
    pub(super) eligible: Eligible,
    claims: BTreeMap<NodeId, Claims>,
    /// Where the plan has sent containers of each application.
    claimed: BTreeMap<ApplicationId, BTreeMap<NodeId, u32>>,
}

impl<'a> Scratch<'a> {
    pub(super) fn on(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            eligible: cluster.eligible().clone(),
            claims: BTreeMap::new(),
            claimed: BTreeMap::new(),
        }
    }

    pub(super) fn claims(&self, node: NodeId) -> Option<&Claims> {
        // Most plans are a single placement.
        if self.claims.is_empty() { None } else { self.claims.get(&node) }
    }

    /// Where the plan has sent containers of an application, and how many.
    pub(super) fn claimed_by(&self, application: ApplicationId) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        self.claimed.get(&application).into_iter().flatten().map(|(node, count)| (*node, *count))
    }

    /// Where a node stands with the plan's claims.
    fn planned(&self, node: &Node) -> Standing {
        self.less(node, 0, 0, 0)
    }

    /// Where a node stands with the plan's claims and without something that lives there: its count, cpus and memory.
    fn less(&self, node: &Node, count: u32, millicpus: u64, memory_bytes: u64) -> Standing {
        let none = Claims::default();
        let claims = self.claims(node.id).unwrap_or(&none);
        Standing {
            count: node.container_count().saturating_add(claims.count).saturating_sub(count),
            share: node.share_with(
                node.reserved_millicpus.saturating_add(claims.millicpus).saturating_sub(millicpus),
                node.reserved_memory_bytes.saturating_add(claims.memory_bytes).saturating_sub(memory_bytes),
            ),
        }
    }

    /// How many containers a node has in the plan.
    pub(super) fn count(&self, node: &Node) -> u32 {
        self.planned(node).count.saturating_sub(self.claims(node.id).map_or(0, |claims| claims.left))
    }

    /// Where a node stands for a request: where a container lives already, it does not count against itself.
    pub(super) fn standing(&self, node: &Node, request: &Request<'_>) -> Standing {
        let Some(own) = request.residence.filter(|residence| residence.node_id == node.id) else {
            return self.planned(node);
        };
        let cpus = own.spec.resources.cpus.map_or(0, |cpus| cpus.0);
        self.less(node, 1, cpus, own.spec.resources.memory_bytes.unwrap_or(0))
    }

    /// Sends a container from one node to another.
    pub(super) fn send(&mut self, from: NodeId, to: &Node, request: &Request<'_>) {
        self.claim(to, request);
        self.depart(from, request.application);
    }

    /// Sends a container away from a node.
    pub(super) fn depart(&mut self, node: NodeId, application: Option<ApplicationId>) {
        let claims = self.claims.entry(node).or_default();
        claims.left += 1;
        application.into_iter().for_each(|id| *claims.departed.entry(id).or_default() += 1);
    }

    /// Sends a container to a node.
    pub(super) fn claim(&mut self, node: &Node, request: &Request<'_>) {
        let before = self.planned(node);
        let claims = self.claims.entry(node.id).or_default();
        claims.count += 1;
        claims.millicpus += request.spec.resources.cpus.map_or(0, |cpus| cpus.0);
        claims.memory_bytes += request.spec.resources.memory_bytes.unwrap_or(0);
        claims.ports.extend(request.spec.fixed_ports().map(|port| (port, request.container)));
        if let Some(application) = request.application {
            *claims.applications.entry(application).or_default() += 1;
            *self.claimed.entry(application).or_default().entry(node.id).or_default() += 1;
        }
        let after = self.planned(node);
        if node.is_eligible() {
            self.eligible.replace(node.id, Some(before), Some(after));
        }
    }
}

/// Plans where containers go that have to leave their nodes: one after the other to the best node, with what was sent
/// there before.
pub fn evacuate(
    cluster: &Cluster,
    containers: impl IntoIterator<Item = ContainerId>,
    strategy: Strategy,
) -> impl Iterator<Item = (ContainerId, Result<Choice, NoFit>)> {
    let mut scratch = Scratch::on(cluster);
    containers.into_iter().filter_map(move |id| {
        let container = cluster.container(id)?;
        let spec = cluster.spec_of(container);
        let leaving = container.placement.as_ref().map(|placement| placement.node_id);
        let request = Request::new(container, &spec, leaving, strategy);
        let choice = choose(&scratch, &request);
        if let Ok(choice) = &choice
            && let Some(node) = cluster.node(choice.node_id)
        {
            scratch.claim(node, &request);
            // Nothing is placed where they leave: only the spread over a label counts those that are gone.
            let counted = leaving.filter(|_| spec.spread_over.is_some());
            counted.into_iter().for_each(|from| scratch.depart(from, container.application_id));
        }
        Some((id, choice))
    })
}
