//! Problems: the responses to failed requests (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of a response to a failed request: `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDetails {
    /// Stable identifier of the kind of problem, such as `/problems/conflict`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the kind of problem.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// The failure, and how to resolve it.
    pub detail: String,
    /// Path of the request.
    pub instance: String,
    /// Id of the request, as in `X-Request-Id`.
    pub request_id: String,
    /// Path of the invalid field or parameter: `health_check.interval_ms`, `volumes[1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Rejections per node, if a container cannot be placed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<RejectedNode>,
}

/// A node that the scheduler rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectedNode {
    /// Name of the node.
    pub node: String,
    /// Reason, a clause that follows the node's name: `is cordoned`.
    pub reason: String,
}
