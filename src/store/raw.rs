//! Unvalidated records of a log as a store holds them, for verification, proofs and backups.

use super::{Body, StoredEvent};
use chrono::{DateTime, Utc};
use kdaemon_events::{Actor, CommitId, Digest, Envelope, LeafHeader, NodePlace, Seq};
use serde::Deserialize;

/// A commit as a store holds it. Every value is what stands there, whether it makes sense or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawCommit {
    /// Its number, counted from 1.
    pub number: i64,
    /// Its identity.
    pub id: String,
    /// Its first event, as the commit says.
    pub first_seq: i64,
    /// Its last event, as the commit says.
    pub last_seq: i64,
    /// The root of the tree up to its last event, as 64 hexadecimal digits.
    pub root: String,
    /// The events that the store has after those of the commit before it, up to its own last one.
    pub events: Vec<RawEvent>,
    /// The complete subtrees that the store has as completed by it, by their end and level; `None` where none are kept.
    pub nodes: Option<Vec<RawNode>>,
    /// What could not even be read of it, in words.
    pub unreadable: Option<String>,
}

/// The root of a complete subtree as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawNode {
    /// Its level.
    pub level: i64,
    /// Which one of that level.
    pub number: i64,
    /// Its root; `None` when what stands there is no digest.
    pub hash: Option<Digest>,
}

impl RawNode {
    /// How many leaves the tree has when this subtree becomes complete; `None` for a place that no subtree has.
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
    /// Its place in the log.
    pub seq: i64,
    /// What there is of it.
    pub body: Body,
    /// Its header: what queries look at next to the text, and what is kept of a pruned event. `None` where a store has no
    /// such copy next to a text.
    pub columns: Option<RawColumns>,
}

/// What stands in the columns next to an event's text, or of a pruned event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawColumns {
    /// Its kind.
    pub kind: String,
    /// When it was recorded, in microseconds since 1970.
    pub at: i64,
    /// Who did it, as [`Actor::label`] has it.
    pub actor: String,
}

impl RawColumns {
    /// The columns that belong to an event.
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

/// The part of an event's text that its header repeats. An event that a newer kDaemon wrote has it too.
#[derive(Deserialize)]
pub(crate) struct Gist {
    pub(crate) seq: Seq,
    pub(crate) at: DateTime<Utc>,
    pub(crate) actor: Actor,
    pub(crate) kind: String,
}

impl Gist {
    /// Reads it from an event's text.
    ///
    /// # Errors
    /// When the text is not that of an event, of any version.
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
    /// Its header: as its text says, or as it was kept when the event was pruned.
    ///
    /// # Errors
    /// When it has neither a readable text nor a header.
    pub fn header(&self) -> Result<RawColumns, String> {
        match (&self.body, &self.columns) {
            (Body::Kept { json, .. }, _) => {
                let gist = Gist::read(json).map_err(|error| format!("event {}: {error}", self.seq))?;
                Ok(RawColumns::of(&gist.kind, gist.at, gist.actor.label()))
            }
            (Body::Pruned { .. }, Some(columns)) => Ok(columns.clone()),
            (Body::Pruned { .. }, None) => Err(format!("event {} was pruned and has no header", self.seq)),
        }
    }

    /// The hash of its leaf as part of a commit.
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

/// The position after which the next raw commits are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPosition {
    /// A commit's number.
    pub number: i64,
    /// Its last event.
    pub seq: i64,
}

impl RawPosition {
    /// Before everything, also before what has a number that nothing should have.
    pub const START: Self = Self { number: i64::MIN, seq: i64::MIN };
}

/// Some raw commits, one after another, read at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawPage {
    /// The commits.
    pub commits: Vec<RawCommit>,
    /// Whether the log ended here when they were read.
    pub is_last: bool,
    /// Of the last page: an event after all commits, which belongs to none.
    pub stray: Option<i64>,
    /// Of the last page, where a store can tell: how many subtrees it has in all.
    pub nodes: Option<u64>,
}

/// So many events, or so many bytes of them, are a page of raw commits; the commit in which that is reached is whole.
pub const RAW_PAGE_EVENTS: usize = 4_096;
/// See [`RAW_PAGE_EVENTS`].
pub const RAW_PAGE_BYTES: usize = 4_000_000;
