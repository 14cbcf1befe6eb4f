//! The choice of a node: filter, then the fewest containers; ties go to the lowest node id.

use super::filter::{Misfit, check};
use kdaemon_events::{ApplicationId, ContainerId, NodeId, Spec};
use kdaemon_projections::{Cluster, Container, Node, Placement};
use std::collections::BTreeMap;
use std::fmt;

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Which container.
    pub container: ContainerId,
    /// Its application.
    pub application: Option<ApplicationId>,
    /// What it is made from.
    pub spec: &'a Spec,
    /// The node that it is to leave, if any.
    pub leaving: Option<NodeId>,
    /// Nodes that were at fault before: taken only when no other fits.
    pub avoid: &'a imbl::OrdSet<NodeId>,
    /// The node that holds its volumes, once there is one.
    pub bound_to: Option<NodeId>,
    /// Where it is now: what it has reserved there is free for it.
    pub residence: Option<&'a Placement>,
}

impl<'a> Request<'a> {
    /// A request for a container as it stands, made from `spec`.
    #[must_use]
    pub fn new(container: &'a Container, spec: &'a Spec, leaving: Option<NodeId>) -> Self {
        Self {
            container: container.id,
            application: container.application_id,
            spec,
            leaving,
            avoid: &container.avoid,
            bound_to: container.bound_to.filter(|_| spec.is_bound_to_node()),
            residence: container.residence(),
        }
    }
}

/// A node was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The node.
    pub node_id: NodeId,
    /// Why, in words.
    pub why: String,
}

/// No node fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoFit {
    /// Each node's name and why it was refused.
    pub reasons: Vec<(String, Misfit)>,
}

/// How many nodes a sentence names before it only counts.
const NAMED: usize = 5;

impl fmt::Display for NoFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return f.write_str("no node fits: none is mounted");
        }
        f.write_str("no node fits: ")?;
        if self.reasons.len() <= NAMED {
            let each: Vec<_> = self.reasons.iter().map(|(name, misfit)| format!("{name} {misfit}")).collect();
            return f.write_str(&each.join("; "));
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_, misfit) in &self.reasons {
            // Numbers and names differ from node to node: only the sort of refusal is counted.
            let sort = match misfit {
                Misfit::Capacity(_) => "full".to_owned(),
                Misfit::PortTaken(port, protocol, _) => format!("port {port}/{protocol} taken"),
                Misfit::Cpus { .. } => "too few processors left".to_owned(),
                Misfit::Memory { .. } => "too little memory left".to_owned(),
                Misfit::VolumesElsewhere(node) => format!("volumes are on {node}"),
                Misfit::Constraint(constraint) => format!("constraint {constraint} not satisfied"),
                Misfit::Left => "is left".to_owned(),
                other => other.to_string().trim_start_matches("is ").to_owned(),
            };
            *counts.entry(sort).or_default() += 1;
        }
        let each: Vec<_> = counts.iter().map(|(sort, count)| format!("{count} {sort}")).collect();
        write!(f, "of {} nodes {}", self.reasons.len(), each.join(", "))
    }
}

/// Chooses a node under the strategy `spread`: of the nodes that pass every filter, the one with the fewest
/// containers; of equals, the one with the lowest id. Where a launch failed lately through the node's fault
/// comes last.
///
/// # Errors
/// When no node fits: each node with the filter that refused it.
pub fn place(cluster: &Cluster, request: Request<'_>) -> Result<Choice, NoFit> {
    let bound_to = request.bound_to.and_then(|id| cluster.node(id));
    let lives_on = cluster.container(request.container).and_then(|c| c.residence()).map(|p| p.node_id);
    let mut reasons = Vec::new();
    let mut best: Option<(bool, u32, &Node)> = None;
    let mut fitting = 0_usize;
    let mut faulty_ones = 0_usize;
    for node in cluster.nodes() {
        let checked = match bound_to {
            Some(home) if home.id != node.id => Err(Misfit::VolumesElsewhere(home.name.clone())),
            _ => {
                let own = request.residence.filter(|residence| residence.node_id == node.id);
                let own = own.map(|residence| residence.spec.resources).unwrap_or_default();
                check(node, request.container, request.spec, request.leaving, own)
            }
        };
        if let Err(misfit) = checked {
            reasons.push((node.name.clone(), misfit));
            continue;
        }
        fitting += 1;
        // Where it already lives it does not count against itself.
        let count = node.container_count().saturating_sub(u32::from(lives_on == Some(node.id)));
        let faulty = request.avoid.contains(&node.id) || node.is_faulty(request.application, cluster.at());
        faulty_ones += usize::from(faulty);
        let rank = (faulty, count);
        if best.is_none_or(|(avoided, fewest, _)| rank < (avoided, fewest)) {
            best = Some((rank.0, rank.1, node));
        }
    }
    let Some((avoided, count, node)) = best else { return Err(NoFit { reasons }) };
    let why = if bound_to.is_some() {
        format!("{} holds its volumes", node.name)
    } else if avoided {
        format!(
            "{} with {count} containers, though a launch failed there lately: no other node fits",
            node.name
        )
    } else {
        let nodes = match fitting - faulty_ones {
            1 => "1 node that fits".to_owned(),
            several => format!("{several} nodes that fit"),
        };
        let passed_over = match faulty_ones {
            0 => String::new(),
            some => format!(" (passed over: {some}, where a launch failed lately)"),
        };
        format!("{} has the fewest containers ({count}) of {nodes}{passed_over}", node.name)
    };
    Ok(Choice { node_id: node.id, why })
}
