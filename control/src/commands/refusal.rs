//! Why a command is not carried out.

use crate::scheduler::Unschedulable;
use kdaemon_events::{Seq, Term};

/// Why one node cannot take a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReason {
    /// The node's name.
    pub node: String,
    /// Why, completing the sentence that begins with the node's name.
    pub reason: String,
}

/// Why a command is not carried out. Nothing has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// `node`, `application` or `container`.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// It conflicts with the state of the cluster.
    #[error("{detail}")]
    Conflict {
        /// In words.
        detail: String,
        /// What was wrong with each node, when nothing fits.
        reasons: Vec<NodeReason>,
    },
    /// A field has a value that it cannot have.
    #[error("{field}: {detail}")]
    Invalid {
        /// The field.
        field: String,
        /// In words.
        detail: String,
    },
    /// It has changed since the client read it (`If-Match`).
    #[error("it has changed since: its seq is {actual} now, not {expected}; read it again and decide anew")]
    Changed {
        /// What the client knew.
        expected: Seq,
        /// What is.
        actual: Seq,
    },
    /// A deposed leader's reactor asked.
    #[error("the term {asked} is over: {current} is the present one")]
    Deposed {
        /// The term of the command.
        asked: Term,
        /// The present one.
        current: Term,
    },
}

impl Refusal {
    /// No item of this kind has that name or id.
    #[must_use]
    pub fn not_found(kind: &'static str, name: impl ToString) -> Self {
        Self::NotFound { kind, name: name.to_string() }
    }

    /// The state does not allow it.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::Conflict { detail: detail.into(), reasons: Vec::new() }
    }

    /// A field has an invalid value.
    #[must_use]
    pub fn invalid(field: &str, detail: String) -> Self {
        Self::Invalid { field: field.to_owned(), detail }
    }
}

impl From<Unschedulable> for Refusal {
    fn from(unschedulable: Unschedulable) -> Self {
        let detail = unschedulable.to_string();
        let reasons = unschedulable
            .reasons
            .into_iter()
            .map(|(node, rejection)| NodeReason { node, reason: rejection.to_string() })
            .collect();
        Self::Conflict { detail, reasons }
    }
}
