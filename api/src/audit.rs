//! Reports of the log's verification.

use kdaemon_events::{Digest, Seq};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The report of a verification of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Audit)]
pub struct AuditReport {
    /// Whether the log is intact.
    pub ok: bool,
    /// Number of events verified.
    pub events: u64,
    /// Number of commits verified.
    pub commits: u64,
    /// The last verified event. Kept elsewhere, it later proves that nothing up to it was altered or cut off.
    pub head: VerifiedHead,
    /// The first commit that failed verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<RejectedCommit>,
    /// What failed, if it is not a single commit: the expected head, or data derived from the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A verified point of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditHead)]
pub struct VerifiedHead {
    /// Seq of the last event of a commit.
    #[schema(value_type = u64)]
    pub seq: Seq,
    /// Digest of the log up to there: 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub digest: Digest,
}

/// A commit that failed verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BadCommit)]
pub struct RejectedCommit {
    /// Number of the commit, counted from 1.
    pub commit: u64,
    /// Seq of its first event, as far as can be determined.
    pub first_seq: u64,
    /// Seq of its last event, as far as can be determined.
    pub last_seq: u64,
    /// What is wrong with it.
    pub detail: String,
}

impl AuditReport {
    /// What failed, in one line; `None` if the log is intact.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match (&self.first_bad, &self.detail) {
            (Some(bad), _) => Some(format!(
                "commit {} (events {} to {}) failed verification: {}",
                bad.commit, bad.first_seq, bad.last_seq, bad.detail
            )),
            (None, Some(detail)) => Some(detail.clone()),
            (None, None) => None,
        }
    }
}

/// Progress of a verification: one line of `application/x-ndjson`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditProgress {
    /// Number of events verified so far.
    pub checked: u64,
    /// Number of events to verify.
    pub of: u64,
}
