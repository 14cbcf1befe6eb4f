//! Explanations: why a node was chosen and the others were not, in words that an operator understands.

use super::filter::{Misfit, check};
use super::place::Request;
use super::score::{Percent, Score, score, spread_counts};
use super::scratch::Scratch;
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
    pub outcome: Result<Score, Misfit>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(score) => write!(f, "{} has {score}", self.name),
            Err(misfit) => write!(f, "{} {misfit}", self.name),
        }
    }
}

/// What becomes of each node when this is to be placed: its score or the filter that refuses it, the best first.
#[must_use]
pub fn explain(cluster: &Cluster, request: &Request<'_>) -> Vec<Verdict> {
    verdicts(&Scratch::on(cluster), request)
}

pub(super) fn verdicts(scratch: &Scratch<'_>, request: &Request<'_>) -> Vec<Verdict> {
    let spread = spread_counts(scratch, request);
    let verdict = |node: &Node| Verdict {
        node_id: node.id,
        name: node.name.clone(),
        outcome: check(scratch, node, request).map(|()| score(scratch, node, request, spread.as_ref())),
    };
    let mut all: Vec<Verdict> = scratch.cluster.nodes().map(|node| verdict(node)).collect();
    all.sort_by_key(|verdict| match &verdict.outcome {
        Ok(score) => (false, Some(score.rank(verdict.node_id))),
        Err(_) => (true, None),
    });
    all
}

/// Why this node: in a small cluster with what speaks against each of the others.
pub(super) fn why(scratch: &Scratch<'_>, request: &Request<'_>, node: &Node, score: &Score) -> String {
    let name = &node.name;
    let in_service = scratch.eligible.len();
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
    if in_service > NAMED || scratch.cluster.nodes().len() > NAMED {
        text += &format!(" of {in_service} nodes in service");
        return text;
    }
    for verdict in verdicts(scratch, request).iter().filter(|verdict| verdict.node_id != node.id) {
        text += &format!("; {verdict}");
    }
    text
}

/// No node fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoFit {
    /// Each node's name and why it was refused.
    pub reasons: Vec<(String, Misfit)>,
}

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
                Misfit::AntiAffinity => "with a container of this application".to_owned(),
                Misfit::Affinity(application) => format!("without a container of {application}"),
                Misfit::Left => "is left".to_owned(),
                other => other.to_string().trim_start_matches("is ").to_owned(),
            };
            *counts.entry(sort).or_default() += 1;
        }
        let each: Vec<_> = counts.iter().map(|(sort, count)| format!("{count} {sort}")).collect();
        write!(f, "of {} nodes {}", self.reasons.len(), each.join(", "))
    }
}
