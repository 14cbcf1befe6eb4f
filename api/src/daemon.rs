//! The daemon's health, and the results of rebuilds and rebalances.

use kdaemon_events::cluster::Move;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The liveness of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Liveness {
    /// `ok`.
    pub status: String,
    /// Seq of the last event of the log.
    pub seq: u64,
}

/// The readiness of the daemon, and its role among the daemons of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// `ok`.
    pub status: String,
    /// Seq of the last event that this daemon knows.
    pub seq: u64,
    /// Role of this daemon.
    pub role: DaemonRole,
    /// Current leader term.
    pub term: u64,
    /// Name of the leader; null if there is none.
    pub leader: Option<String>,
    /// Number of events of the log that this daemon does not know yet.
    pub lag: u64,
}

/// The role of a daemon among the daemons of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DaemonRole {
    /// Runs the reactors.
    Leader,
    /// Accepts commands; another daemon runs the reactors.
    Follower,
}

/// The result of rebuilding the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RebuiltTables {
    /// Number of rows in the tables.
    pub rows: usize,
    /// Seq of the last event folded into them.
    pub events: u64,
}

/// The moves of a rebalance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rebalance {
    /// Moves that have started.
    #[schema(value_type = Vec<Object>)]
    pub moves: Vec<Move>,
    /// Number of further moves needed.
    pub remaining: u32,
    /// The reasoning of the plan.
    pub why: String,
}
