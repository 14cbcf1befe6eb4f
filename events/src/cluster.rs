//! What happens to the cluster as a whole.

use crate::{ClusterId, ContainerId, NodeId, Seq, Term};
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
    /// Why, in words.
    pub why: String,
}

/// Too many nodes failed at once: nothing is moved until it is clear what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationsPaused {
    /// How many nodes are unhealthy.
    pub unhealthy: u32,
    /// Of how many.
    pub nodes: u32,
    /// In words.
    pub reason: String,
}

/// Enough nodes are back: moving goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationsResumed {
    /// How many nodes are still unhealthy.
    pub unhealthy: u32,
    /// Of how many.
    pub nodes: u32,
}

/// Raw observations were removed from the log, as the retention says; their digests stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservationsPruned {
    /// Observations up to this one were removed.
    pub up_to: Seq,
    /// How many.
    pub count: u64,
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
