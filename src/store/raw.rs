//! The log as a store holds it, for those who do not take it on trust: verification and backups.

use super::StoredEvent;
use chrono::{DateTime, Utc};
use kdaemon_events::Digest;

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
    /// Its digest.
    pub digest: String,
    /// The events that the store has behind those of the commit before it, up to its own last one.
    pub events: Vec<RawEvent>,
    /// What could not even be read of it, in words.
    pub unreadable: Option<String>,
}

/// An event as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// Its place in the log.
    pub seq: i64,
    /// What there is of it.
    pub body: RawBody,
    /// What queries look at beside the text; `None` where a store has no such copies.
    pub columns: Option<RawColumns>,
}

/// What a store has of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawBody {
    /// Its JSON text.
    Text(String),
    /// It was pruned: its digest alone.
    Pruned(Digest),
}

impl RawBody {
    /// How much it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Text(json) => json.len(),
            Self::Pruned(digest) => digest.0.len(),
        }
    }
}

/// What stands beside an event's text, for queries to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawColumns {
    /// Its kind.
    pub kind: String,
    /// When it was recorded, in microseconds since 1970.
    pub at: i64,
    /// Who did it, by name.
    pub actor: String,
}

impl RawColumns {
    /// What must stand beside an event.
    #[must_use]
    pub fn of(kind: &str, at: DateTime<Utc>, actor: &str) -> Self {
        Self { kind: kind.to_owned(), at: at.timestamp_micros(), actor: actor.to_owned() }
    }
}

impl From<&StoredEvent> for RawEvent {
    fn from(event: &StoredEvent) -> Self {
        Self {
            seq: i64::try_from(event.seq.0).unwrap_or(i64::MAX),
            body: RawBody::Text(event.json.clone()),
            columns: Some(RawColumns::of(event.kind.as_str(), event.at, &event.actor)),
        }
    }
}

/// Behind what the next raw commits are read.
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
    /// Of the last page: an event behind all commits, which belongs to none.
    pub stray: Option<i64>,
}

/// So many events, or so many bytes of them, are a page of raw commits; the commit in which that is reached is whole.
pub const RAW_PAGE_EVENTS: usize = 4_096;
/// See [`RAW_PAGE_EVENTS`].
pub const RAW_PAGE_BYTES: usize = 4_000_000;
