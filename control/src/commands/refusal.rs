//! Why a command is not carried out.

use kdaemon_events::scheduling::NoNodeFits;
use kdaemon_events::{Seq, Term};

/// Why a command is not carried out. Nothing has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such resource.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// `node`, `application` or `container`.
        kind: &'static str,
        /// The requested id or name.
        name: String,
    },
    /// The command conflicts with the state of the cluster.
    #[error("{detail}")]
    Conflict {
        /// The conflict, and what to do.
        detail: String,
    },
    /// No node takes the container.
    #[error("no node fits")]
    NoNodeFits(NoNodeFits),
    /// A field has an invalid value.
    #[error("{field}: {detail}")]
    Invalid {
        /// The field.
        field: String,
        /// In words.
        detail: String,
    },
    /// The resource was modified since the client read it (`If-Match`).
    #[error("resource was modified (expected seq {expected}, found {actual}); reload and retry")]
    Changed {
        /// The seq that the client knew.
        expected: Seq,
        /// The current seq.
        actual: Seq,
    },
    /// A reactor of a deposed leader submitted the command.
    #[error("stale leader term {asked} (current: {current})")]
    Deposed {
        /// The term of the command.
        asked: Term,
        /// The current term.
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
        Self::Conflict { detail: detail.into() }
    }

    /// A field has an invalid value.
    #[must_use]
    pub fn invalid(field: &str, detail: String) -> Self {
        Self::Invalid { field: field.to_owned(), detail }
    }
}
