//! Replays of recorded history under another policy.

use crate::Moment;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The result of a replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplayReport {
    /// First moment of the replay.
    pub from: Moment,
    /// Last moment of the replay.
    pub to: Moment,
    /// All settings of the policy.
    pub policy: PolicyRow,
    /// Figures of the recorded history.
    pub recorded: ReplayFigures,
    /// Figures under the replayed policy.
    pub replayed: ReplayFigures,
    /// Decisions that differ, at most the first 1,000.
    pub differences: Vec<ReplayDifference>,
    /// Number of decisions that differ.
    pub differences_count: u64,
}

/// The settings of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRow {
    /// Placement strategy: `spread`, `binpack` or `resources`.
    pub strategy: String,
    /// Consecutive failed probes after which a node is unhealthy.
    pub unhealthy_after: u32,
    /// Consecutive successful probes after which a node is healthy again.
    pub healthy_after: u32,
    /// Launch attempts before a container is FAILED.
    pub launch_attempts: u32,
    /// Maximum backoff between restarts, such as `5m`.
    pub restart_pause_max: String,
    /// Maximum number of containers that the rebalancer moves at once.
    pub max_migrations: usize,
}

/// The figures of one side of a replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplayFigures {
    /// Migrations started, for any reason.
    pub migrations: u64,
    /// Downtime of containers that should have run, as known to the daemon: the sum over all containers, in seconds.
    pub down_seconds: f64,
    /// Successful starts, restarts included.
    pub launches: u64,
    /// Failed attempts to start a container.
    pub failed: u64,
    /// Peak number of containers per node, ordered by node name.
    pub peak: Vec<ReplayPeak>,
    /// Imbalance of the nodes at each change; for long replays, the highest and the last value of each of 250 equal
    /// intervals.
    pub imbalance: Vec<ReplaySpread>,
}

/// The peak number of containers of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayPeak {
    /// Name of the node.
    pub node: String,
    /// Number of containers.
    pub containers: u32,
}

/// The imbalance of the nodes from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplaySpread {
    /// The moment.
    pub at: DateTime<Utc>,
    /// Difference between the highest and the lowest number of containers, among the nodes that accept containers.
    pub spread: u32,
}

/// A decision that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayDifference {
    /// Time of the decision.
    pub at: DateTime<Utc>,
    /// Seq of the recorded event; null if nothing was recorded.
    pub seq: Option<u64>,
    /// The difference as a sentence.
    pub says: String,
}
