//! Reports of the log's verification, and proofs about the log.

use chrono::{DateTime, Utc};
use kdaemon_events::{CommitId, Digest, Seq};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The report of a verification of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditReport {
    /// `true` if the log is intact.
    pub ok: bool,
    /// Number of events verified.
    pub events: u64,
    /// Number of commits verified.
    pub commits: u64,
    /// Head of the verified log. A copy that is kept elsewhere later proves that the log up to it is unchanged.
    pub head: AuditHead,
    /// First commit that failed verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<RejectedCommit>,
    /// Failure that concerns no single commit: the expected head, or data derived from the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A verified point of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditHead {
    /// Seq of the last event of a commit, which is also the size of the Merkle tree.
    #[schema(value_type = u64)]
    pub seq: Seq,
    /// Root of the Merkle tree over all events up to there: 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub root: Digest,
}

/// A commit that failed verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectedCommit {
    /// Number of the commit, counted from 1.
    pub commit: u64,
    /// Seq of its first event, as far as can be determined.
    pub first_seq: u64,
    /// Seq of its last event, as far as can be determined.
    pub last_seq: u64,
    /// Reason of the failure.
    pub detail: String,
}

impl AuditReport {
    /// The failure in one line; `None` if the log is intact.
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

/// Header of an event's leaf: the metadata that is proved with the content, and remains after pruning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeafHeaderReport {
    /// The bytes that are hashed, in Base64: seq (8 bytes, big-endian), commit id (16 bytes), time in microseconds since 1970
    /// (8 bytes, big-endian), prunable (1 byte, 0 or 1), kind and actor, each as UTF-8 after its length (4 bytes, big-endian).
    pub bytes: String,
    /// Identity of the commit that the event is part of.
    #[schema(value_type = String, format = Uuid)]
    pub commit_id: CommitId,
    /// When the event was recorded.
    pub at: DateTime<Utc>,
    /// Kind of the event.
    pub kind: String,
    /// Type and name of the actor: `reactor/health`.
    pub actor: String,
    /// `true` if events of this kind may be pruned.
    pub prunable: bool,
}

/// Inclusion proof of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InclusionReport {
    /// Seq of the event. Its leaf has the index `seq - 1`.
    #[schema(value_type = u64)]
    pub seq: Seq,
    /// Size of the tree.
    pub size: u64,
    /// Header of the leaf.
    pub header: LeafHeaderReport,
    /// Salt of the event, 32 hexadecimal digits; `null` if it was pruned.
    pub salt: Option<String>,
    /// Exact JSON text of the event; `null` if it was pruned.
    pub body: Option<String>,
    /// SHA-256 of salt and body: 64 hexadecimal digits, as all hashes here.
    #[schema(value_type = String)]
    pub content: Digest,
    /// Hash of the leaf: SHA-256 of `0x00`, the header's bytes and the content hash.
    #[schema(value_type = String)]
    pub leaf: Digest,
    /// Roots of the subtrees next to the path from the leaf to the root, the leaf's sibling first.
    #[schema(value_type = Vec<String>)]
    pub path: Vec<Digest>,
    /// Root of the tree.
    #[schema(value_type = String)]
    pub root: Digest,
}

/// Consistency proof of two trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsistencyReport {
    /// Size of the smaller tree.
    pub from: u64,
    /// Size of the larger tree.
    pub to: u64,
    /// Root of the smaller tree: 64 hexadecimal digits, as all hashes here.
    #[schema(value_type = String)]
    pub from_root: Digest,
    /// Root of the larger tree.
    #[schema(value_type = String)]
    pub to_root: Digest,
    /// Roots of the subtrees that both roots are computed from, in the order of RFC 6962.
    #[schema(value_type = Vec<String>)]
    pub path: Vec<Digest>,
}
