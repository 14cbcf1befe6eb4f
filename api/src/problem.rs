//! Problems: what the API answers when a request fails (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request failed: `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDetails {
    /// Stable name of the problem to compare with, such as `/problems/conflict`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What failed this time, and what to do about it.
    pub detail: String,
    /// Path of the request.
    pub instance: String,
    /// Id of the request, as in `X-Request-Id`.
    pub request_id: String,
    /// The invalid field as a path: `health_check.interval_ms`, `volumes[1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Why each node was rejected, if a container cannot be placed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<NodeRejection>,
}

/// Why one node was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NodeReason)]
pub struct NodeRejection {
    /// Name of the node.
    pub node: String,
    /// Why, completing a sentence that begins with the node's name.
    pub reason: String,
}
