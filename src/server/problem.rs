//! Problems: what the API answers when it does not do what was asked (RFC 9457).
//!
//! A handler returns a [`Problem`]; [`super::guard`] completes it with the request's path and id and
//! writes it out, so that every error of every layer has the same shape.

use crate::engine::EngineError;
use crate::journal::SubmitError;
use crate::says::{self, Names, Tense};
use crate::store::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kdaemon_api::{NodeRejection, ProblemDetails};
use kdaemon_control::commands::Refusal;
use kdaemon_projections::Cluster;

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The sorts of problem. Each has a stable name (its `type`), a title and a status.
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
            Self::Malformed => (S::BAD_REQUEST, "malformed", "The request is malformed"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "This is not allowed"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "There is no such thing"),
            Self::NoSuchRoute => (S::NOT_FOUND, "no-such-route", "There is no such route"),
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "The route has no such method")
            }
            Self::Gone => (S::GONE, "gone", "It was there, and is not kept any more"),
            Self::NotAcceptable => {
                (S::NOT_ACCEPTABLE, "not-acceptable", "There is no answer of a kind that is accepted")
            }
            Self::Conflict => (S::CONFLICT, "conflict", "It conflicts with the state of the cluster"),
            Self::Changed => (S::PRECONDITION_FAILED, "changed", "It has changed since it was read"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not JSON")
            }
            Self::Invalid => (S::UNPROCESSABLE_ENTITY, "invalid", "A value cannot be so"),
            Self::KeyReused => {
                (S::UNPROCESSABLE_ENTITY, "key-reused", "The Idempotency-Key was used for another request")
            }
            Self::UpgradeRequired => {
                (S::UPGRADE_REQUIRED, "upgrade-required", "This route speaks WebSocket alone")
            }
            Self::Overloaded => (S::TOO_MANY_REQUESTS, "overloaded", "Too much is asked at once"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "The daemon made a mistake"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "The log cannot be reached"),
            Self::Timeout => (S::SERVICE_UNAVAILABLE, "timeout", "It took too long"),
            Self::NodeUnreachable => (S::SERVICE_UNAVAILABLE, "node-unreachable", "The node does not answer"),
            Self::Other(status) => (status, "other", status.canonical_reason().unwrap_or("Not done")),
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

/// What was not done, and why.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    sort: Sort,
    detail: String,
    field: Option<String>,
    reasons: Vec<NodeRejection>,
}

impl Problem {
    pub(super) fn new(sort: Sort, detail: impl Into<String>) -> Self {
        Self { sort, detail: detail.into(), field: None, reasons: Vec::new() }
    }

    /// A field has a value that it cannot have.
    pub(super) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Sort::Invalid, detail) }
    }

    /// A parameter cannot be read.
    pub(super) fn malformed(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Sort::Malformed, detail) }
    }

    pub(super) fn not_found(kind: &str, name: &str) -> Self {
        Self::new(Sort::NotFound, format!("there is no {kind} `{name}`"))
    }

    /// The route has other methods: these, with commas between them.
    pub(super) fn method_not_allowed(methods: &str) -> Self {
        Self::new(Sort::MethodNotAllowed, format!("this route has {methods} alone"))
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Sort::Conflict, detail)
    }

    /// An error that a layer below the handlers answered with a text of its own, or with nothing.
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

    /// It as JSON text.
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
    /// The status and the headers alone; the body is written by [`super::guard`].
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
    /// A command was refused on this state.
    pub(super) fn refused(refusal: Refusal, cluster: &Cluster) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound { .. } => Self::new(Sort::NotFound, detail),
            Refusal::Conflict { detail } => Self::new(Sort::Conflict, detail),
            Refusal::NoNodeFits(nodes) => {
                let states = [cluster];
                let names = Names::of(&states);
                let reason = |node: &kdaemon_events::scheduling::NodeRejection| NodeRejection {
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

    /// A command was not carried out.
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
