//! Events of the cluster as a whole.

use crate::{ClusterId, ContainerId, NodeId, PlacementId, Seq, Term};
use serde::{Deserialize, Serialize};

/// The cluster was created: the first event of every log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCreated {
    /// The cluster's id, which labels everything that kDaemon creates on engines.
    pub cluster_id: ClusterId,
}

/// A daemon became the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderElected {
    /// The term, higher than every earlier one.
    pub term: Term,
    /// The name of the daemon.
    pub daemon: String,
}

/// One move of a rebalance plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The container that moves.
    pub container_id: ContainerId,
    /// The node that it leaves.
    pub from_node_id: NodeId,
    /// The node that it moves to.
    pub node_id: NodeId,
}

/// The counts of containers are uneven; these moves even them out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalancePlanned {
    /// The moves that start now.
    pub moves: Vec<Move>,
    /// The number of further moves needed afterwards.
    pub remaining: u32,
    /// Containers on the fullest eligible node.
    pub most: u32,
    /// Containers on the emptiest eligible node.
    pub fewest: u32,
}

/// Too many nodes failed at once: migrations are paused until enough of them are back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationsPaused {
    /// The number of unhealthy nodes.
    pub unhealthy: u32,
    /// The number of nodes considered.
    pub nodes: u32,
}

/// Enough nodes are back: migrations resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationsResumed {
    /// The number of nodes that are still unhealthy.
    pub unhealthy: u32,
    /// The number of nodes considered.
    pub nodes: u32,
}

/// Raw observations were pruned from the log after their retention; their digests stay. This event carries
/// the aggregates of what it removes, so that the pruned log folds to the same state as the complete one.
///
/// The event is recorded before the observations are removed; a daemon that finds some of them left continues
/// the removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservationsPruned {
    /// The last removed observation.
    pub up_to: Seq,
    /// The number of removed observations.
    pub count: u64,
    /// The removed ranges, first and last event, in order; they contain nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(Seq, Seq)>,
    /// The aggregates of all observations up to this event, removed or not, for each node of which some were
    /// removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tallies: Vec<NodeTally>,
}

/// The aggregates of a node's observations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTally {
    /// The node.
    pub node_id: NodeId,
    /// The last observation, or the mount of the node if there was none.
    pub observed: Seq,
    /// Consecutive failed probes.
    pub failures: u32,
    /// Consecutive successful probes.
    pub successes: u32,
    /// Our containers on the node that have no record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<PlacementId>,
}

/// An access token was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// The token's name. Its value is never recorded.
    pub name: String,
}

/// An access token was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRevoked {
    /// The name.
    pub name: String,
}
