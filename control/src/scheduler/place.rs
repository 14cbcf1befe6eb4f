//! The choice of a node: the one with the best score among the nodes that pass every filter.
//!
//! The state's index has the nodes in the order of each strategy, so that the first one that fits is the best
//! and the others need not be examined. Only what the index does not know (preferences, the spread over a
//! label) requires examining every node.

use super::evaluate::{Examined, none_fits};
use super::filter::check;
use super::proposed_plan::ProposedPlan;
use super::request::Request;
use super::score::{Rank, Ranked, score, spread_counts};
use imbl::OrdSet;
use kdaemon_events::scheduling::{Evaluation, NoNodeFits};
use kdaemon_events::{ApplicationId, Constraint, NodeId, Strategy};
use kdaemon_projections::{Cluster, Node};
use std::sync::Arc;

/// With this few candidates each one is examined.
const FEW: usize = 64;

/// A node was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The node.
    pub node_id: NodeId,
    /// The comparison that led to it.
    pub evaluation: Evaluation,
}

/// Chooses the best node that passes every filter, compared in this order: penalties
/// ([`kdaemon_events::scheduling::Penalty`]), satisfied preferences, the spread over a label, the strategy,
/// the id.
///
/// # Errors
/// When no node fits: the nodes with the filters that refused them.
pub fn place(cluster: &Cluster, request: &Request<'_>) -> Result<Choice, NoNodeFits> {
    choose(&ProposedPlan::on(cluster), request).map(|(_, choice)| choice)
}

/// Like [`place`], on top of a plan's moves.
pub(super) fn choose<'a>(
    proposed: &ProposedPlan<'a>,
    request: &Request<'_>,
) -> Result<(&'a Arc<Node>, Choice), NoNodeFits> {
    let mut examined = Examined::default();
    match best(proposed, request, &mut examined) {
        Some((node, ranked)) => {
            let evaluation = examined.chosen(proposed, request, node, ranked);
            Ok((node, Choice { node_id: node.id, evaluation }))
        }
        None => Err(none_fits(proposed, request)),
    }
}

/// The best node that fits, and its score.
fn best<'a>(
    proposed: &ProposedPlan<'a>,
    request: &Request<'_>,
    examined: &mut Examined,
) -> Option<(&'a Arc<Node>, Ranked)> {
    if let Some(data) = &request.data {
        return best_of(proposed, request, examined, data.nodes.iter().copied());
    }
    let candidates = candidates(proposed, request);
    let patience = candidates.as_ref().map_or(usize::MAX, |candidates| candidates.count(proposed));
    if let Some(candidates) = candidates.as_ref().filter(|_| patience <= FEW) {
        return best_of(proposed, request, examined, candidates.nodes(proposed));
    }
    if request.spec.preferences.is_empty() && request.spec.spread_over.is_none() {
        // Nodes that satisfy a constraint may come late in the order: then it is faster to examine only them.
        if let Some(found) = first_in_order(proposed, request, examined, patience) {
            return found;
        }
    }
    match candidates {
        Some(candidates) => best_of(proposed, request, examined, candidates.nodes(proposed)),
        None => best_of(proposed, request, examined, proposed.eligible.by_count().map(|(_, id)| id)),
    }
}

/// Examines every node.
fn best_of<'a>(
    proposed: &ProposedPlan<'a>,
    request: &Request<'_>,
    examined: &mut Examined,
    nodes: impl Iterator<Item = NodeId>,
) -> Option<(&'a Arc<Node>, Ranked)> {
    let spread = spread_counts(proposed, request);
    let mut best: Option<(Rank, &Arc<Node>, Ranked)> = None;
    for node in nodes.filter_map(|id| proposed.cluster.node(id)) {
        if let Err(rejection) = check(proposed, node, request) {
            examined.reject(node.id, rejection);
            continue;
        }
        let score = score(proposed, node, request, spread.as_ref());
        let rank = score.rank(node.id);
        if best.as_ref().is_none_or(|(least, _, _)| rank < *least) {
            best = Some((rank, node, score));
        }
    }
    best.map(|(_, node, score)| (node, score))
}

/// The first node that fits, in the order of the strategy; `None` if it is not among the first `patience`.
#[allow(clippy::type_complexity)] // the outer `None`: not decided
fn first_in_order<'a>(
    proposed: &ProposedPlan<'a>,
    request: &Request<'_>,
    examined: &mut Examined,
    patience: usize,
) -> Option<Option<(&'a Arc<Node>, Ranked)>> {
    // On its own node the container does not count against itself, which the order does not know.
    let home =
        request.residence.map(|residence| residence.node_id).filter(|home| request.leaving != Some(*home));
    let at_home = best_of(proposed, request, examined, home.into_iter());
    let mut elsewhere: Option<(&Arc<Node>, Ranked)> = None;
    let nodes = in_order(proposed, request.strategy).filter(|id| Some(*id) != home);
    for (looked_at, id) in nodes.enumerate() {
        if looked_at == patience {
            *examined = Examined::default(); // the candidates are examined from the start
            return None;
        }
        let Some(node) = proposed.cluster.node(id) else { continue };
        if let Err(rejection) = check(proposed, node, request) {
            examined.reject(node.id, rejection);
            continue;
        }
        let score = score(proposed, node, request, None);
        let is_last_resort = score.is_penalized();
        if elsewhere.as_ref().is_none_or(|(best, least)| score.rank(id) < least.rank(best.id)) {
            elsewhere = Some((node, score));
        }
        if !is_last_resort {
            break;
        }
    }
    let both = at_home.into_iter().chain(elsewhere);
    Some(both.min_by_key(|(node, score)| score.rank(node.id)))
}

/// The eligible nodes in the order of a strategy; ties by lowest id.
fn in_order<'a>(proposed: &'a ProposedPlan<'_>, strategy: Strategy) -> Box<dyn Iterator<Item = NodeId> + 'a> {
    match strategy {
        Strategy::Spread => Box::new(proposed.eligible.by_count().map(|(_, id)| id)),
        Strategy::Resources => Box::new(proposed.eligible.by_share().map(|(_, _, id)| id)),
        Strategy::Binpack => Box::new(proposed.eligible.by_share_from_the_fullest()),
    }
}

/// The nodes that satisfy one of the hard conditions.
enum Candidates<'a> {
    Labelled(Vec<&'a OrdSet<NodeId>>),
    With(ApplicationId),
}

impl<'a> Candidates<'a> {
    fn count(&self, proposed: &ProposedPlan<'a>) -> usize {
        match self {
            Self::Labelled(sets) => sets.iter().map(|nodes| nodes.len()).sum(),
            Self::With(id) => {
                let there =
                    proposed.cluster.application(*id).map_or(0, |application| application.nodes.len());
                there + proposed.came(*id).count()
            }
        }
    }

    fn nodes(&self, proposed: &ProposedPlan<'a>) -> Box<dyn Iterator<Item = NodeId> + '_> {
        match self {
            Self::Labelled(sets) => Box::new(sets.iter().flat_map(|nodes| nodes.iter().copied())),
            Self::With(id) => {
                let there = proposed.cluster.application(*id).into_iter();
                let there = there.flat_map(|application| application.nodes.keys().copied());
                let came: Vec<_> = proposed.came(*id).map(|(node, _)| node).collect();
                Box::new(there.chain(came))
            }
        }
    }
}

/// The most selective condition; `None` if no index knows any.
fn candidates<'a>(proposed: &ProposedPlan<'a>, request: &Request<'_>) -> Option<Candidates<'a>> {
    let labels = proposed.cluster.eligible();
    let labelled = request.spec.constraints.iter().filter_map(|constraint| {
        let sets = match constraint {
            Constraint::Equals(key, value) => {
                labels.with_label(key).and_then(|values| values.get(value.as_str())).into_iter().collect()
            }
            Constraint::Has(key) => labels.with_label(key).into_iter().flat_map(|v| v.values()).collect(),
            Constraint::Differs(..) | Constraint::Lacks(_) => return None,
        };
        Some(Candidates::Labelled(sets))
    });
    let with = request.spec.affinity.iter().map(|id| Candidates::With(*id));
    labelled.chain(with).min_by_key(|candidates| candidates.count(proposed))
}
