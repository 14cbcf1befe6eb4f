//! Scores: which of the nodes that fit is the best.

use super::Request;
use super::proposed_plan::ProposedPlan;
use kdaemon_events::{NodeId, Strategy};
use kdaemon_projections::{Cluster, Node, Standing};
use std::collections::BTreeMap;
use std::fmt;

/// Why a node comes after all that have no such mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Penalty {
    /// It keeps failing and coming back.
    Probation,
    /// A launch failed there lately through its fault.
    LaunchFailed,
}

impl fmt::Display for Penalty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probation => "it keeps failing and coming back",
            Self::LaunchFailed => "a launch failed there lately",
        })
    }
}

/// What speaks for and against a node. Displayed, it is its parts: "4 containers, 1 of 2 preferences".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// Why it comes last.
    pub penalty: Option<Penalty>,
    /// How many preferences it satisfies, of how many.
    pub preferences: (usize, usize),
    /// The value of the label that the application is spread over, and how many of its containers run under that.
    pub spread: Option<(Option<String>, u32)>,
    /// How many containers it has, without the one that is placed.
    pub count: u32,
    /// Its reserved share in millionths, without the one that is placed.
    pub share: u32,
    pub(super) strategy: Strategy,
}

/// What scores are compared by: the least is the best.
pub(super) type Rank = (Option<Penalty>, usize, (bool, u32), (u32, u32), NodeId);

impl Score {
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

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.count == 1 { "" } else { "s" };
        write!(f, "{} container{s}", self.count)?;
        if self.strategy != Strategy::Spread {
            write!(f, ", {} reserved", Percent(self.share))?;
        }
        if self.preferences.1 > 0 {
            write!(f, ", {} of {} preferences", self.preferences.0, self.preferences.1)?;
        }
        match &self.spread {
            Some((Some(value), count)) => write!(f, ", {count} of its application in {value}")?,
            Some((None, _)) => f.write_str(", not labelled")?,
            None => {}
        }
        self.penalty.map_or(Ok(()), |penalty| write!(f, ", {penalty}"))
    }
}

/// Millionths, as people read them.
pub(super) struct Percent(pub(super) u32);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} %", self.0 / 10_000, self.0 / 1_000 % 10)
    }
}

/// How many containers of the application run under each value of the label that it is spread over, without the one
/// that is placed. `None` when it is spread over none.
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
) -> Score {
    let Standing { count, share } = proposed.standing(node, request);
    let preferences = &request.spec.preferences;
    Score {
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
    if request.avoid.contains(&node.id) || node.is_faulty(request.application, cluster.at()) {
        return Some(Penalty::LaunchFailed);
    }
    node.is_on_probation(cluster.at()).then_some(Penalty::Probation)
}
