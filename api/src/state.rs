//! The whole cluster at one moment.

use crate::{ApplicationRow, ContainerRow, NodeRow};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The whole cluster after one event. The server fills it with iterators, clients read lists of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = State)]
pub struct ClusterState<N = Vec<NodeRow>, A = Vec<ApplicationRow>, C = Vec<ContainerRow>> {
    /// Seq of the event.
    pub seq: u64,
    /// When the event was recorded; null before the first one.
    pub at: Option<DateTime<Utc>>,
    /// Rows as `/nodes` answers them.
    #[schema(value_type = Vec<NodeRow>)]
    pub nodes: N,
    /// Rows as `/applications` answers them.
    #[schema(value_type = Vec<ApplicationRow>)]
    pub applications: A,
    /// Rows as `/containers` answers them.
    #[schema(value_type = Vec<ContainerRow>)]
    pub containers: C,
}

/// A moment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    /// Seq of the last event up to then.
    pub seq: u64,
    /// When that event was recorded; null before the first one.
    pub at: Option<DateTime<Utc>>,
}
