//! Unvalidated records of a log as a store holds them, for verification, proofs and backups.

use super::{Body, StoredEvent};
use chrono::{DateTime, Utc};
use kdaemon_events::{Actor, CommitId, Digest, Envelope, LeafHeader, NodePlace, Seq};
use serde::Deserialize;

/// A commit as a store holds it. Values are unvalidated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawCommit {
    /// The commit's number, counted from 1.
    pub number: i64,
    /// The commit's id, a UUID.
    pub id: String,
    /// The first event that the commit claims.
    pub first_seq: i64,
    /// The last event that the commit claims.
    pub last_seq: i64,
    /// The root of the tree up to the commit's last event, as 64 hexadecimal digits.
    pub root: String,
    /// The events that the store holds after the previous commit, up to this commit's last one.
    pub events: Vec<RawEvent>,
    /// The stored roots of the subtrees that this commit completes, sorted by end and level; `None` where the source
    /// has no subtrees.
    pub nodes: Option<Vec<RawNode>>,
    /// A description of values that cannot be read at all.
    pub unreadable: Option<String>,
}

/// The root of a complete subtree as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawNode {
    /// The height of the subtree: a subtree of level `k` has `2^k` leaves.
    pub level: i64,
    /// The subtree's number among those on its level, counted from 0.
    pub number: i64,
    /// The root; `None` when the stored value is not a digest.
    pub hash: Option<Digest>,
}

impl RawNode {
    /// The size of the tree when this subtree becomes complete; `None` when level or number are out of range.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        let (level, number) = (u32::try_from(self.level).ok()?, u64::try_from(self.number).ok()?);
        let fits = level < u64::BITS && number < u64::MAX >> level;
        fits.then(|| NodePlace { level, number }.end())
    }
}

/// An event as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// The event's seq.
    pub seq: i64,
    /// The text and salt, or the content hash of a pruned event.
    pub body: Body,
    /// The header, which queries use and which remains of a pruned event. `None` where the store has no copy of it next
    /// to the text.
    pub columns: Option<RawColumns>,
}

/// The header columns of an event: a copy of fields of its text, or the remainder of a pruned event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawColumns {
    /// The name of the event's kind.
    pub kind: String,
    /// The time of recording, in microseconds since 1970.
    pub at: i64,
    /// The actor's [label](Actor::label).
    pub actor: String,
}

impl RawColumns {
    /// The columns of an event with these attributes.
    #[must_use]
    pub fn of(kind: &str, at: DateTime<Utc>, actor: String) -> Self {
        Self { kind: kind.to_owned(), at: at.timestamp_micros(), actor }
    }

    /// The header of the event's leaf.
    #[must_use]
    pub fn header(&self, seq: Seq, commit: CommitId) -> LeafHeader<'_> {
        LeafHeader { seq, commit, at: self.at, kind: &self.kind, actor: &self.actor }
    }
}

/// The fields of an event's text that its header repeats. Events of a newer kDaemon have them as well.
#[derive(Deserialize)]
pub(crate) struct HeaderFields {
    pub(crate) seq: Seq,
    pub(crate) at: DateTime<Utc>,
    pub(crate) actor: Actor,
    pub(crate) kind: String,
}

impl HeaderFields {
    /// Parses the fields from an event's text.
    ///
    /// # Errors
    /// When the text is not an event of any version.
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        match Envelope::decode(json) {
            Ok(Envelope { seq, at, actor, event, .. }) => {
                Ok(Self { seq, at, actor, kind: event.kind().as_str().to_owned() })
            }
            Err(error) => serde_json::from_str(json).map_err(|_| error.to_string()),
        }
    }
}

impl RawEvent {
    /// The header, from the text or, for a pruned event, from the columns.
    ///
    /// # Errors
    /// When the text cannot be parsed, or a pruned event has no columns.
    pub fn header(&self) -> Result<RawColumns, String> {
        match (&self.body, &self.columns) {
            (Body::Kept { json, .. }, _) => {
                let fields =
                    HeaderFields::read(json).map_err(|error| format!("event {}: {error}", self.seq))?;
                Ok(RawColumns::of(&fields.kind, fields.at, fields.actor.label()))
            }
            (Body::Pruned { .. }, Some(columns)) => Ok(columns.clone()),
            (Body::Pruned { .. }, None) => Err(format!("event {} was pruned and has no header", self.seq)),
        }
    }

    /// The hash of the event's leaf as part of a commit.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub fn leaf(&self, commit: CommitId) -> Result<Digest, String> {
        let seq = Seq(self.seq.unsigned_abs());
        Ok(self.header()?.header(seq, commit).leaf(self.body.content()))
    }
}

impl From<&StoredEvent> for RawEvent {
    fn from(event: &StoredEvent) -> Self {
        Self {
            seq: i64::try_from(event.seq.0).unwrap_or(i64::MAX),
            body: event.body.clone(),
            columns: Some(RawColumns::of(event.kind.as_str(), event.at, event.actor.clone())),
        }
    }
}

/// A position between two commits, after which raw commits are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPosition {
    /// The number of the commit before the position.
    pub number: i64,
    /// The last event of that commit.
    pub seq: i64,
}

impl RawPosition {
    /// The position before all commits, including ones with an invalid number.
    pub const START: Self = Self { number: i64::MIN, seq: i64::MIN };
}

/// Consecutive raw commits, read in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawPage {
    /// The complete commits, in order.
    pub commits: Vec<RawCommit>,
    /// Whether the log ended here when the page was read.
    pub is_last: bool,
    /// On the last page: an event that belongs to no commit.
    pub stray: Option<i64>,
    /// On the last page, where a store knows it: the total number of stored subtrees.
    pub nodes: Option<u64>,
}

/// The target number of events on a page of raw commits. A page ends with the commit that reaches this number or
/// [`RAW_PAGE_BYTES`].
pub const RAW_PAGE_EVENTS: usize = 4_096;
/// The target size of a page of raw commits, in bytes; see [`RAW_PAGE_EVENTS`].
pub const RAW_PAGE_BYTES: usize = 4_000_000;
