//! Commits, and the head and Merkle tree of a log after a commit.

use super::{IdempotencyRecord, StoreError};
use chrono::{DateTime, Utc};
use kdaemon_events::{
    CommitId, Digest, EMPTY_ROOT, Envelope, Frontier, Kind, LeafHeader, Salt, Seq, Subject, TreeNode,
    content_digest,
};
use uuid::Uuid;

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last event. Also the size of the tree.
    pub seq: Seq,
    /// The number of commits.
    pub commits: u64,
    /// The id of the last commit; `None` for an empty log.
    pub commit_id: Option<CommitId>,
    /// The root of the Merkle tree over all events (RFC 6962, section 2.1).
    pub root: Digest,
}

impl Default for Head {
    /// The head of an empty log.
    fn default() -> Self {
        Self { seq: Seq(0), commits: 0, commit_id: None, root: EMPTY_ROOT }
    }
}

/// The part of a stored event that is not in its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The complete event.
    Kept {
        /// The event's JSON text, byte for byte as it was written.
        json: String,
        /// The salt that precedes the text in the hash.
        salt: Salt,
    },
    /// The remainder of a pruned event.
    Pruned {
        /// The hash of salt and text.
        content: Digest,
    },
}

impl Body {
    /// The content hash in the event's leaf, computed from salt and text.
    #[must_use]
    pub fn content(&self) -> Digest {
        match self {
            Self::Kept { json, salt } => content_digest(*salt, json),
            Self::Pruned { content } => *content,
        }
    }

    /// The JSON text; `None` for a pruned event.
    #[must_use]
    pub fn json(&self) -> Option<&str> {
        match self {
            Self::Kept { json, .. } => Some(json),
            Self::Pruned { .. } => None,
        }
    }

    /// The approximate size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Kept { json, salt } => json.len() + salt.0.len(),
            Self::Pruned { content } => content.0.len(),
        }
    }
}

/// An event prepared for appending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event's seq.
    pub seq: Seq,
    /// The event's kind.
    pub kind: Kind,
    /// The time of recording.
    pub at: DateTime<Utc>,
    /// The actor's [label](kdaemon_events::Actor::label).
    pub actor: String,
    /// The ids of the nodes, applications and containers that the event is about; empty for a pruned event.
    pub subjects: Vec<Uuid>,
    /// The text and salt, or the content hash if the event was already pruned in the log that it is imported from.
    pub body: Body,
}

impl StoredEvent {
    /// Encodes an event for a store.
    ///
    /// # Errors
    /// When the event cannot be encoded as JSON, which does not happen for any kind of event.
    pub fn new(envelope: &Envelope, salt: Salt) -> Result<Self, StoreError> {
        let json = envelope.encode().map_err(|error| StoreError::Damaged(error.to_string()))?;
        Ok(Self {
            seq: envelope.seq,
            kind: envelope.event.kind(),
            at: envelope.at,
            actor: envelope.actor.label(),
            subjects: envelope.event.subjects().into_iter().map(Subject::uuid).collect(),
            body: Body::Kept { json, salt },
        })
    }

    /// The hash of the event's leaf as part of a commit.
    #[must_use]
    pub fn leaf(&self, commit: CommitId) -> Digest {
        let at = self.at.timestamp_micros();
        let header = LeafHeader { seq: self.seq, commit, at, kind: self.kind.as_str(), actor: &self.actor };
        header.leaf(self.body.content())
    }
}

/// A group of events that is appended atomically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// A random id. After a failure it shows whether the commit happened.
    pub id: CommitId,
    /// The events; never empty.
    pub events: Vec<StoredEvent>,
    /// The idempotency records of the requests in this commit.
    pub idempotency: Vec<IdempotencyRecord>,
}

/// The head of a log with the right edge of its tree, as needed to compute the head after a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tip {
    head: Head,
    frontier: Frontier,
}

impl Tip {
    /// A tip with a known tree and an unknown last commit.
    pub(super) fn at_edge(frontier: Frontier) -> Self {
        let head = Head { seq: Seq(frontier.size()), root: frontier.root(), ..Head::default() };
        Self { head, frontier }
    }

    /// The tip at a later head, after appending `leaves`; `None` when the resulting tree differs from the head in size
    /// or root.
    pub(super) fn extended(&self, head: Head, leaves: &[Digest]) -> Option<Self> {
        let mut frontier = self.frontier.clone();
        leaves.iter().for_each(|leaf| frontier.push(*leaf, &mut Vec::new()));
        let fits = frontier.size() == head.seq.0 && frontier.root() == head.root;
        fits.then_some(Self { head, frontier })
    }

    /// The head of the log.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The tip after a commit, and the stored subtrees that the commit completes.
    #[must_use]
    pub fn after(&self, commit: &Commit) -> (Self, Vec<TreeNode>) {
        let (mut frontier, mut nodes) = (self.frontier.clone(), Vec::new());
        commit.events.iter().for_each(|event| frontier.push(event.leaf(commit.id), &mut nodes));
        let head = Head {
            seq: commit.events.last().map_or(self.head.seq, |event| event.seq),
            commits: self.head.commits + 1,
            commit_id: Some(commit.id),
            root: frontier.root(),
        };
        (Self { head, frontier }, nodes)
    }
}
