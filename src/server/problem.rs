//! Problems: the error responses of the API (RFC 9457).
//!
//! A handler returns a [`Problem`]; [`super::guard`] adds the request's path and id and writes the body, so that errors of
//! all layers have the same shape.

use crate::engine::EngineError;
use crate::journal::SubmitError;
use crate::says::{self, Names, Tense};
use crate::store::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kdaemon_api::{ProblemDetails, RejectedNode};
use kdaemon_control::commands::Refusal;
use kdaemon_events::scheduling::NodeRejection;
use kdaemon_projections::Cluster;

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The kind of a problem: a stable name (its `type`), a title and a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Malformed,
    Forbidden,
    NotFound,
    NoSuchRoute,
    MethodNotAllowed,
    NotAcceptable,
    Gone,
    Conflict,
    Changed,
    TooLarge,
    UnsupportedMediaType,
    Invalid,
    KeyReused,
    UpgradeRequired,
    Overloaded,
    Internal,
    Unavailable,
    Timeout,
    NodeUnreachable,
    Other(StatusCode),
}

impl Sort {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed => (S::BAD_REQUEST, "malformed", "Malformed request"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "Forbidden"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "Not found"),
            Self::NoSuchRoute => (S::NOT_FOUND, "no-such-route", "No such route"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::Gone => (S::GONE, "gone", "No longer available"),
            Self::NotAcceptable => (S::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable"),
            Self::Conflict => (S::CONFLICT, "conflict", "Conflict with the state of the cluster"),
            Self::Changed => (S::PRECONDITION_FAILED, "changed", "Resource was modified"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
            Self::Invalid => (S::UNPROCESSABLE_ENTITY, "invalid", "Invalid value"),
            Self::KeyReused => {
                (S::UNPROCESSABLE_ENTITY, "key-reused", "Idempotency-Key reused for another request")
            }
            Self::UpgradeRequired => (S::UPGRADE_REQUIRED, "upgrade-required", "WebSocket upgrade required"),
            Self::Overloaded => (S::TOO_MANY_REQUESTS, "overloaded", "Too many requests"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Service unavailable"),
            Self::Timeout => (S::SERVICE_UNAVAILABLE, "timeout", "Timeout"),
            Self::NodeUnreachable => (S::SERVICE_UNAVAILABLE, "node-unreachable", "Node unreachable"),
            Self::Other(status) => (status, "other", status.canonical_reason().unwrap_or("Error")),
        }
    }

    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::Malformed,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NoSuchRoute,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UPGRADE_REQUIRED => Self::UpgradeRequired,
            StatusCode::INTERNAL_SERVER_ERROR => Self::Internal,
            other => Self::Other(other),
        }
    }
}

/// An error response: what failed, and why.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    sort: Sort,
    detail: String,
    field: Option<String>,
    reasons: Vec<RejectedNode>,
}

impl Problem {
    pub(super) fn new(sort: Sort, detail: impl Into<String>) -> Self {
        Self { sort, detail: detail.into(), field: None, reasons: Vec::new() }
    }

    /// Creates the problem of a field with an invalid value (422).
    pub(super) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Sort::Invalid, detail) }
    }

    /// Creates the problem of a parameter that cannot be parsed (400).
    pub(super) fn malformed(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Sort::Malformed, detail) }
    }

    pub(super) fn not_found(kind: &str, name: &str) -> Self {
        Self::new(Sort::NotFound, format!("there is no {kind} `{name}`"))
    }

    /// Creates the problem of a method that the route does not have; `methods` lists the ones it has, comma separated.
    pub(super) fn method_not_allowed(methods: &str) -> Self {
        Self::new(Sort::MethodNotAllowed, format!("this route supports {methods} only"))
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Sort::Conflict, detail)
    }

    /// Creates the problem of an error response by a library below the handlers, which has a plain body or none.
    pub(super) fn from_plain(status: StatusCode, text: String) -> Self {
        let sort = Sort::of_status(status);
        let detail = match sort {
            _ if !text.is_empty() => text,
            sort => sort.parts().2.to_owned(),
        };
        Self::new(sort, detail)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.sort.parts().0
    }

    /// The body as JSON text.
    pub(super) fn json(&self, path: &str, request_id: &str) -> String {
        let (status, name, title) = self.sort.parts();
        let body = ProblemDetails {
            kind: format!("/problems/{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            instance: path.to_owned(),
            request_id: request_id.to_owned(),
            field: self.field.clone(),
            reasons: self.reasons.clone(),
        };
        serde_json::to_string(&body).unwrap_or_default() // text keys and numbers: cannot fail
    }

    fn is_worth_a_retry(&self) -> bool {
        matches!(self.sort, Sort::Overloaded | Sort::Unavailable | Sort::Timeout | Sort::NodeUnreachable)
    }
}

impl IntoResponse for Problem {
    /// Creates a response without a body, which [`super::guard`] writes.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if self.is_worth_a_retry() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl Problem {
    /// Creates the problem of a command that was refused; `cluster` resolves the names in reasons.
    pub(super) fn refused(refusal: Refusal, cluster: &Cluster) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound { .. } => Self::new(Sort::NotFound, detail),
            Refusal::Conflict { detail } => Self::new(Sort::Conflict, detail),
            Refusal::NoNodeFits(nodes) => {
                let states = [cluster];
                let names = Names::of(&states);
                let reason = |node: &NodeRejection| RejectedNode {
                    node: names.node(node.node_id),
                    reason: says::rejection(names, &node.rejection, Tense::Present),
                };
                let reasons = nodes.rejected.iter().map(reason).collect();
                Self { reasons, ..Self::new(Sort::Conflict, says::no_node_fits(names, &nodes)) }
            }
            Refusal::Invalid { field, detail } => Self::invalid(field, detail),
            Refusal::Changed { .. } => Self::new(Sort::Changed, detail),
            Refusal::Deposed { .. } => Self::new(Sort::Unavailable, detail),
        }
    }

    /// Creates the problem of a command that was not committed; `cluster` resolves the names in reasons.
    pub(super) fn not_submitted(error: SubmitError, cluster: &Cluster) -> Self {
        match error {
            SubmitError::Refused(refusal) => Self::refused(refusal, cluster),
            SubmitError::Overloaded => Self::new(Sort::Overloaded, error.to_string()),
            SubmitError::KeyReused => Self {
                field: Some("Idempotency-Key".into()),
                ..Self::new(Sort::KeyReused, error.to_string())
            },
            SubmitError::Unavailable(_) | SubmitError::Repeated(_) => {
                Self::new(Sort::Unavailable, error.to_string())
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let sort = match error {
            StoreError::Damaged(_) => Sort::Internal,
            StoreError::Unsupported(_) => Sort::Conflict,
            StoreError::Unavailable(_)
            | StoreError::Unsettled(_)
            | StoreError::Conflict { .. }
            | StoreError::InUse(_) => Sort::Unavailable,
        };
        Self::new(sort, error.to_string())
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let sort = match error {
            EngineError::Unreachable(_) => Sort::NodeUnreachable,
            EngineError::NodeFault(_) | EngineError::Rejected(_) | EngineError::NotFound(_) => Sort::Conflict,
        };
        Self::new(sort, error.to_string())
    }
}
