//! The state of the whole cluster.

use crate::{ApplicationRow, ContainerRow, NodeRow};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of the whole cluster after one event. The server fills it with iterators, clients read lists of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterState<N = Vec<NodeRow>, A = Vec<ApplicationRow>, C = Vec<ContainerRow>> {
    /// Seq of the event.
    pub seq: u64,
    /// When the event was recorded; null before the first one.
    pub at: Option<DateTime<Utc>>,
    /// Rows of `/nodes`.
    #[schema(value_type = Vec<NodeRow>)]
    pub nodes: N,
    /// Rows of `/applications`.
    #[schema(value_type = Vec<ApplicationRow>)]
    pub applications: A,
    /// Rows of `/containers`.
    #[schema(value_type = Vec<ContainerRow>)]
    pub containers: C,
}

/// A moment in the history of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    /// Seq of the last event up to the moment.
    pub seq: u64,
    /// When that event was recorded; null before the first one.
    pub at: Option<DateTime<Utc>>,
}
