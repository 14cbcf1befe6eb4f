//! What happens to the cluster as a whole.

use crate::{ClusterId, ContainerId, NodeId, PlacementId, Seq, Term};
use serde::{Deserialize, Serialize};

/// The cluster was made: the first event of every log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCreated {
    /// Its identity, which labels all that kDaemon makes on engines.
    pub cluster_id: ClusterId,
}

/// A daemon became the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderElected {
    /// The term, higher than every one before.
    pub term: Term,
    /// The daemon: a name for people.
    pub daemon: String,
}

/// One move of a rebalance plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// What moves.
    pub container_id: ContainerId,
    /// From where.
    pub from_node_id: NodeId,
    /// To where.
    pub node_id: NodeId,
}

/// The counts of containers are uneven; these moves even them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalancePlanned {
    /// The moves that begin now.
    pub moves: Vec<Move>,
    /// How many more are needed afterwards.
    pub remaining: u32,
    /// Containers on the fullest eligible node.
    pub most: u32,
    /// Containers on the emptiest eligible node.
    pub fewest: u32,
}

/// Too many nodes failed at once: nothing is moved until it is clear what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationsPaused {
    /// How many nodes are unhealthy.
    pub unhealthy: u32,
    /// Of how many.
    pub nodes: u32,
}

/// Enough nodes are back: moving goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationsResumed {
    /// How many nodes are still unhealthy.
    pub unhealthy: u32,
    /// Of how many.
    pub nodes: u32,
}

/// Raw observations were removed from the log, as the retention says; their digests stay. What they add up to is in here,
/// so that the log without them leads to the same state as the log with them.
///
/// It is recorded before they go: who finds some of them still there goes on removing them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservationsPruned {
    /// Observations up to this one were removed.
    pub up_to: Seq,
    /// How many.
    pub count: u64,
    /// Which: the first and the last of each stretch in which there is nothing else, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(Seq, Seq)>,
    /// What all observations up to this event add up to, those that were removed and those that were not: of each node that
    /// something was removed of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tallies: Vec<NodeTally>,
}

/// What the observations of a node add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTally {
    /// The node.
    pub node_id: NodeId,
    /// The last observation, or when it was mounted if there was none.
    pub observed: Seq,
    /// Failed probes in a row.
    pub failures: u32,
    /// Answered probes in a row.
    pub successes: u32,
    /// Containers of ours on it that answer to no record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<PlacementId>,
}

/// An access token was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// Its name. Its value is never recorded.
    pub name: String,
}

/// An access token was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRevoked {
    /// Its name.
    pub name: String,
}
