//! Evaluations: the comparison that led to the choice of a node, or to the rejection of all.

use super::filter::check;
use super::proposed_plan::ProposedPlan;
use super::request::Request;
use super::score::{Ranked, score, spread_counts};
use kdaemon_events::NodeId;
use kdaemon_events::scheduling::{
    Evaluation, NoNodeFits, NodeRejection, NodeVerdict, Rejection, RejectionCounts, VERDICTS_LIMIT, Verdict,
};
use kdaemon_projections::{Cluster, Node};

/// The verdict on each node for a request, the best first.
#[must_use]
pub fn explain(cluster: &Cluster, request: &Request<'_>) -> Vec<NodeVerdict> {
    verdicts(&ProposedPlan::on(cluster), request)
}

/// Whether a node can take the container.
#[must_use]
pub fn takes(cluster: &Cluster, node: NodeId, request: &Request<'_>) -> bool {
    cluster.node(node).is_some_and(|node| check(&ProposedPlan::on(cluster), node, request).is_ok())
}

pub(super) fn verdicts(proposed: &ProposedPlan<'_>, request: &Request<'_>) -> Vec<NodeVerdict> {
    let spread = spread_counts(proposed, request);
    let verdict = |node: &Node| match check(proposed, node, request) {
        Ok(()) => {
            let scored = score(proposed, node, request, spread.as_ref());
            (Some(scored.rank(node.id)), Verdict::Fits(scored.into()))
        }
        Err(rejection) => (None, Verdict::Rejected(rejection)),
    };
    let mut all: Vec<_> = proposed.cluster.nodes().map(|node| (node.id, verdict(node))).collect();
    all.sort_by_key(|(_, (rank, _))| (rank.is_none(), *rank));
    all.into_iter().map(|(node_id, (_, verdict))| NodeVerdict { node_id, verdict }).collect()
}

/// The nodes that a search examined, besides the one that it chose.
#[derive(Debug, Default)]
pub(super) struct Examined {
    rejected: Vec<NodeRejection>,
    counts: RejectionCounts,
}

impl Examined {
    /// A filter refused a node.
    pub(super) fn reject(&mut self, node_id: NodeId, rejection: Rejection) {
        if self.rejected.len() < VERDICTS_LIMIT {
            self.rejected.push(NodeRejection { node_id, rejection });
        } else {
            *self.counts.entry(rejection.kind()).or_default() += 1;
        }
    }

    /// The comparison that led to `node`.
    pub(super) fn chosen(
        self,
        proposed: &ProposedPlan<'_>,
        request: &Request<'_>,
        node: &Node,
        ranked: Ranked,
    ) -> Evaluation {
        let holds_volumes = request.data.as_ref().is_some_and(|data| data.nodes.contains(&node.id));
        // In a small cluster every node gets a verdict.
        let (others, rejections) = if holds_volumes {
            (Vec::new(), RejectionCounts::new())
        } else if proposed.cluster.nodes().len() <= VERDICTS_LIMIT {
            let others = verdicts(proposed, request).into_iter().filter(|other| other.node_id != node.id);
            (others.collect(), RejectionCounts::new())
        } else {
            let others = self.rejected.into_iter().map(|NodeRejection { node_id, rejection }| NodeVerdict {
                node_id,
                verdict: Verdict::Rejected(rejection),
            });
            (others.collect(), self.counts)
        };
        Evaluation {
            strategy: request.strategy,
            holds_volumes,
            score: ranked.into(),
            eligible: u32::try_from(proposed.eligible.len()).unwrap_or(u32::MAX),
            others,
            rejections,
        }
    }
}

/// Why no node fits: the rejection of each, by id.
pub(super) fn none_fits(proposed: &ProposedPlan<'_>, request: &Request<'_>) -> NoNodeFits {
    let rejection = |node: &Node| {
        check(proposed, node, request).err().map(|rejection| NodeRejection { node_id: node.id, rejection })
    };
    NoNodeFits {
        nodes: u32::try_from(proposed.cluster.nodes().len()).unwrap_or(u32::MAX),
        rejected: proposed.cluster.nodes().filter_map(|node| rejection(node)).collect(),
        rejections: RejectionCounts::new(),
    }
}
