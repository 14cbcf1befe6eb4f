//! Commits: what is appended, and what the log's head and its Merkle tree are after it.

use super::{IdempotencyRecord, StoreError};
use chrono::{DateTime, Utc};
use kdaemon_events::{
    CommitId, Digest, EMPTY_ROOT, Envelope, Frontier, Kind, LeafHeader, Node, Salt, Seq, Subject,
    content_digest,
};
use uuid::Uuid;

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last event, which is also the size of the tree.
    pub seq: Seq,
    /// How many commits there are.
    pub commits: u64,
    /// The last commit; `None` for an empty log.
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

/// What a store has of an event besides its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Kept {
        /// The event's JSON text, byte for byte as it was written.
        json: String,
        /// Hashed before the text.
        salt: Salt,
    },
    /// What pruning leaves.
    Pruned {
        /// The hash of salt and text.
        content: Digest,
    },
}

impl Body {
    /// The hash that stands in the leaf for all but the header.
    #[must_use]
    pub fn content(&self) -> Digest {
        match self {
            Self::Kept { json, salt } => content_digest(*salt, json),
            Self::Pruned { content } => *content,
        }
    }

    /// Its JSON text, unless it was pruned.
    #[must_use]
    pub fn json(&self) -> Option<&str> {
        match self {
            Self::Kept { json, .. } => Some(json),
            Self::Pruned { .. } => None,
        }
    }

    /// About how much it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Kept { json, salt } => json.len() + salt.0.len(),
            Self::Pruned { content } => content.0.len(),
        }
    }
}

/// An event on its way into a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the log.
    pub seq: Seq,
    /// Its kind.
    pub kind: Kind,
    /// When it was recorded.
    pub at: DateTime<Utc>,
    /// Who did it, as [`kdaemon_events::Actor::label`] has it.
    pub actor: String,
    /// What it is about; of an event that was pruned it is not known.
    pub subjects: Vec<Uuid>,
    /// Its text, or what is left of it where this log comes from.
    pub body: Body,
}

impl StoredEvent {
    /// Prepares an event for a store.
    ///
    /// # Errors
    /// Never for an event of this vocabulary.
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

    /// The hash of its leaf as part of a commit.
    #[must_use]
    pub fn leaf(&self, commit: CommitId) -> Digest {
        let at = self.at.timestamp_micros();
        let header = LeafHeader { seq: self.seq, commit, at, kind: self.kind.as_str(), actor: &self.actor };
        header.leaf(self.body.content())
    }
}

/// A group of events that becomes durable together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its identity: after a failure it tells whether the commit happened.
    pub id: CommitId,
    /// Its events; never empty.
    pub events: Vec<StoredEvent>,
    /// Answers to keep with it.
    pub idempotency: Vec<IdempotencyRecord>,
}

/// The end of a log with the right edge of its tree: what a commit is appended to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tip {
    head: Head,
    frontier: Frontier,
}

impl Tip {
    /// A tip of which nothing but the tree is known.
    pub(super) fn at_edge(frontier: Frontier) -> Self {
        let head = Head { seq: Seq(frontier.size()), root: frontier.root(), ..Head::default() };
        Self { head, frontier }
    }

    /// The tip at a later head, after more leaves; `None` when the tree does not have the head's size and root then.
    pub(super) fn extended(&self, head: Head, leaves: &[Digest]) -> Option<Self> {
        let mut frontier = self.frontier.clone();
        leaves.iter().for_each(|leaf| frontier.push(*leaf, &mut Vec::new()));
        let fits = frontier.size() == head.seq.0 && frontier.root() == head.root;
        fits.then_some(Self { head, frontier })
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The tip after a commit, and the stored subtrees that the commit completes.
    #[must_use]
    pub fn after(&self, commit: &Commit) -> (Self, Vec<Node>) {
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
