//! Scores: the order among the nodes that fit.

use super::proposed_plan::ProposedPlan;
use super::request::Request;
use kdaemon_events::scheduling::{LabelSpread, Penalty, Preferences, Score};
use kdaemon_events::{NodeId, Strategy};
use kdaemon_projections::{Cluster, Node, Standing};
use std::collections::BTreeMap;

/// The sort key of scores, least is best: the penalty, unsatisfied preferences, the spread over a label, the
/// load by the strategy, the id.
pub(super) type Rank = (Option<Penalty>, usize, (bool, u32), (u32, u32), NodeId);

/// The score of a node, with the strategy that it is ranked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranked {
    pub(super) penalty: Option<Penalty>,
    /// Satisfied preferences, and their total.
    pub(super) preferences: (usize, usize),
    /// The value of the label that the application is spread over, and the number of its containers with that
    /// value.
    pub(super) spread: Option<(Option<String>, u32)>,
    /// Containers on the node, without the one that is placed.
    count: u32,
    /// The node's reserved share in millionths, without the one that is placed.
    share: u32,
    strategy: Strategy,
}

impl Ranked {
    pub(super) fn is_penalized(&self) -> bool {
        self.penalty.is_some()
    }

    pub(super) fn rank(&self, node: NodeId) -> Rank {
        let load = match self.strategy {
            Strategy::Spread => (self.count, 0),
            Strategy::Resources => (self.share, self.count),
            Strategy::Binpack => (u32::MAX - self.share, u32::MAX - self.count),
        };
        let spread = self.spread.as_ref().map_or((false, 0), |(value, count)| (value.is_none(), *count));
        (self.penalty, self.preferences.1 - self.preferences.0, spread, load, node)
    }
}

impl From<Ranked> for Score {
    fn from(ranked: Ranked) -> Self {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (satisfied, of) = ranked.preferences;
        Self {
            penalty: ranked.penalty,
            preferences: (of > 0).then(|| Preferences { satisfied: count(satisfied), of: count(of) }),
            spread: ranked.spread.map(|(value, containers)| LabelSpread { value, containers }),
            containers: ranked.count,
            reserved_ppm: ranked.share,
        }
    }
}

/// The application's containers per value of the label that it is spread over, without the one that is
/// placed. `None` if it is spread over none.
pub(super) fn spread_counts<'a>(
    proposed: &ProposedPlan<'a>,
    request: &Request<'_>,
) -> Option<BTreeMap<&'a str, u32>> {
    let key = request.spec.spread_over.as_deref()?;
    let cluster = proposed.cluster;
    let value = |node: NodeId| Some(cluster.node(node)?.labels.get(key)?.as_str());
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let application = request.application?;
    let there = cluster.application(application).into_iter().flat_map(|application| &application.nodes);
    let there = there.map(|(node, count)| (*node, count.saturating_sub(proposed.left(application, *node))));
    for (node, count) in there.chain(proposed.came(application)) {
        if let Some(value) = value(node) {
            *counts.entry(value).or_default() += count;
        }
    }
    if let Some(value) = request.residence.and_then(|residence| value(residence.node_id))
        && let Some(count) = counts.get_mut(value)
    {
        *count = count.saturating_sub(1);
    }
    Some(counts)
}

/// The score of a node that fits.
pub(super) fn score(
    proposed: &ProposedPlan<'_>,
    node: &Node,
    request: &Request<'_>,
    spread: Option<&BTreeMap<&str, u32>>,
) -> Ranked {
    let Standing { count, share } = proposed.standing(node, request);
    let preferences = &request.spec.preferences;
    Ranked {
        penalty: penalty(proposed.cluster, node, request),
        preferences: (preferences.iter().filter(|p| p.admits(&node.labels)).count(), preferences.len()),
        spread: spread.map(|counts| {
            let value = request.spec.spread_over.as_ref().and_then(|key| node.labels.get(key));
            let count = value.and_then(|value| counts.get(value.as_str())).copied();
            (value.cloned(), count.unwrap_or(0))
        }),
        count,
        share,
        strategy: request.strategy,
    }
}

fn penalty(cluster: &Cluster, node: &Node, request: &Request<'_>) -> Option<Penalty> {
    if request.avoid.is_some_and(|avoid| avoid.contains(&node.id))
        || node.is_faulty(request.application, cluster.at())
    {
        return Some(Penalty::LaunchFailed);
    }
    node.is_on_probation(cluster.at()).then_some(Penalty::Probation)
}
