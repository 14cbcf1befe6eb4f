//! Explanations: why a node was chosen and the others were not, in words that an operator understands.

use super::filter::{Rejection, check};
use super::place::Request;
use super::proposed_plan::ProposedPlan;
use super::score::{Percent, Score, score, spread_counts};
use kdaemon_events::{NodeId, Strategy};
use kdaemon_projections::{Cluster, Node};
use std::collections::BTreeMap;
use std::fmt;

/// How many nodes a sentence names before it only counts.
const NAMED: usize = 8;

/// What became of one node in a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Its score, or the filter that refused it.
    pub outcome: Result<Score, Rejection>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(score) => write!(f, "{} has {score}", self.name),
            Err(rejection) => write!(f, "{} {rejection}", self.name),
        }
    }
}

/// What becomes of each node when this is to be placed: its score or the filter that refuses it, the best first.
#[must_use]
pub fn explain(cluster: &Cluster, request: &Request<'_>) -> Vec<Verdict> {
    verdicts(&ProposedPlan::on(cluster), request)
}

pub(super) fn verdicts(proposed: &ProposedPlan<'_>, request: &Request<'_>) -> Vec<Verdict> {
    let spread = spread_counts(proposed, request);
    let verdict = |node: &Node| Verdict {
        node_id: node.id,
        name: node.name.clone(),
        outcome: check(proposed, node, request).map(|()| score(proposed, node, request, spread.as_ref())),
    };
    let mut all: Vec<Verdict> = proposed.cluster.nodes().map(|node| verdict(node)).collect();
    all.sort_by_key(|verdict| match &verdict.outcome {
        Ok(score) => (false, Some(score.rank(verdict.node_id))),
        Err(_) => (true, None),
    });
    all
}

/// Why this node: in a small cluster with what speaks against each of the others.
pub(super) fn why(proposed: &ProposedPlan<'_>, request: &Request<'_>, node: &Node, score: &Score) -> String {
    let name = &node.name;
    let in_service = proposed.eligible.len();
    let mut text = if request.bound_to.is_some() {
        return format!("{name} holds its volumes");
    } else if score.preferences.1 > 0 || score.spread.is_some() {
        format!("{name} is the best fit ({score})")
    } else {
        match request.strategy {
            Strategy::Spread => format!("{name} has the fewest containers ({})", score.count),
            Strategy::Resources => {
                format!("{name} has the smallest share reserved ({})", Percent(score.share))
            }
            Strategy::Binpack => format!(
                "{name} is the fullest node with room ({} reserved, {} containers)",
                Percent(score.share),
                score.count
            ),
        }
    };
    if let Some(penalty) = score.penalty {
        text += &format!(", though {penalty}: no other node fits");
    }
    if in_service > NAMED || proposed.cluster.nodes().len() > NAMED {
        text += &format!(" of {in_service} nodes in service");
        return text;
    }
    for verdict in verdicts(proposed, request).iter().filter(|verdict| verdict.node_id != node.id) {
        text += &format!("; {verdict}");
    }
    text
}

/// No node fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unschedulable {
    /// Each node's name and why it was refused.
    pub reasons: Vec<(String, Rejection)>,
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return f.write_str("no node fits: none is mounted");
        }
        f.write_str("no node fits: ")?;
        if self.reasons.len() <= NAMED {
            let each: Vec<_> =
                self.reasons.iter().map(|(name, rejection)| format!("{name} {rejection}")).collect();
            return f.write_str(&each.join("; "));
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_, rejection) in &self.reasons {
            // Numbers and names differ from node to node: only the sort of refusal is counted.
            let sort = match rejection {
                Rejection::Capacity(_) => "full".to_owned(),
                Rejection::PortTaken(port, protocol, _) => format!("port {port}/{protocol} taken"),
                Rejection::Cpus { .. } => "too few processors left".to_owned(),
                Rejection::Memory { .. } => "too little memory left".to_owned(),
                Rejection::VolumesElsewhere(node) => format!("volumes are on {node}"),
                Rejection::Constraint(constraint) => format!("constraint {constraint} not satisfied"),
                Rejection::AntiAffinity => "with a container of this application".to_owned(),
                Rejection::Affinity(application) => format!("without a container of {application}"),
                Rejection::Left => "is left".to_owned(),
                other => other.to_string().trim_start_matches("is ").to_owned(),
            };
            *counts.entry(sort).or_default() += 1;
        }
        let each: Vec<_> = counts.iter().map(|(sort, count)| format!("{count} {sort}")).collect();
        write!(f, "of {} nodes {}", self.reasons.len(), each.join(", "))
    }
}
