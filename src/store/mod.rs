//! The stores: where the log lives, and the tables folded from it.
//!
//! One trait; all stores pass one contract test suite (`tests/store`). An append is a compare-and-swap on
//! the head of the log: it happens whole and durably, or not at all.

mod commit;
mod index;
mod raw;
mod rethinkdb;
mod sqlite;
mod tree;

pub use commit::{Body, Commit, Head, StoredEvent, Tip};
pub use index::{IndexKey, IndexSum, Indexed, Term, terms};
pub(crate) use raw::Gist;
pub use raw::{
    RAW_PAGE_BYTES, RAW_PAGE_EVENTS, RawColumns, RawCommit, RawEvent, RawNode, RawPage, RawPosition,
};
pub use rethinkdb::{RethinkdbSettings, RethinkdbStore};
pub use sqlite::{LogCopy, SqliteStore, restore_file, verify_file};
pub(crate) use tree::leaves;

use crate::verify::audit;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
pub use kdaemon_events::COMMIT_EVENTS_LIMIT;
use kdaemon_events::{Digest, Kind, NodePlace, Seq};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The most bytes of events that one commit holds, a single larger event excepted.
pub const COMMIT_BYTES_LIMIT: usize = 1_000_000;

/// What a request with an `Idempotency-Key` was answered; becomes durable together with its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The key.
    pub key: String,
    /// A digest of the request: another request with the same key is refused.
    pub fingerprint: String,
    /// When it was answered.
    pub at: DateTime<Utc>,
    /// The HTTP status.
    pub status: u16,
    /// The seq that the answer carried.
    pub seq: Seq,
    /// The body, as JSON text.
    pub body: String,
}

/// Which daemon leads. What is in it, and for how long it holds, is for the daemons to say: a store only makes sure that
/// of two who write at once one is told that it was not first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it: an identity that each daemon draws when it starts.
    pub holder: Uuid,
    /// Its name, for people.
    pub name: String,
    /// The term that it leads in.
    pub term: u64,
    /// Counted up with each write: it shows that the holder lives.
    pub version: u64,
}

/// Which events to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only those after this one.
    pub after: Seq,
    /// At most so many.
    pub limit: usize,
    /// Only these kinds; empty for all.
    pub kinds: Vec<Kind>,
    /// Only those about this thing.
    pub subject: Option<Uuid>,
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Only those recorded then or later.
    pub since: Option<DateTime<Utc>>,
    /// Only those recorded before.
    pub until: Option<DateTime<Utc>>,
}

/// An event's text with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventText {
    /// Its place.
    pub seq: Seq,
    /// Its JSON text.
    pub json: String,
}

/// One of the tables that are folded from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `nodes`.
    Nodes,
    /// `applications`.
    Applications,
    /// `containers`.
    Containers,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nodes, Self::Applications, Self::Containers];

    /// Its name in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Applications => "applications",
            Self::Containers => "containers",
        }
    }
}

/// A change of one row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The table.
    pub table: Table,
    /// The row.
    pub id: Uuid,
    /// What it is now, as JSON text; `None`: it is gone.
    pub json: Option<String>,
}

/// A state as it was after an event, so that it need not be folded from the beginning. Derived from the log: any of them
/// may be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last event in it.
    pub seq: Seq,
    /// How its bytes are to be read.
    pub version: u32,
    /// The state.
    pub bytes: Vec<u8>,
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The log has another head than expected: somebody else appended. Nothing was written.
    #[error("the log has moved on to event {}", actual.seq)]
    Conflict {
        /// Its head.
        actual: Head,
    },
    /// The store cannot be reached or written at present. Whether an append happened may be unknown.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// An append was sent, and what became of it cannot be found out at present: it may still happen.
    #[error("the store does not answer: {0}; whether this was recorded is not known yet")]
    Unsettled(String),
    /// What the store holds cannot be right.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Another daemon has it.
    #[error("{0}")]
    InUse(String),
    /// This kind of store cannot do it; the text says what can.
    #[error("{0}")]
    Unsupported(String),
}

/// A log on a disk of this machine: it is read in the thread that asks, which nobody else may wait for.
pub trait LocalLog: Send + Sync {
    /// Hands out the events after one event and up to another one in order, at most `limit`; as [`EventStore::read`], but no
    /// text is copied, and what is pruned is told as of the same moment.
    ///
    /// # Errors
    /// When the log cannot be read, or `each` fails.
    fn read_each(
        &self,
        after_and_until: (Seq, Seq),
        limit: usize,
        each: &mut dyn FnMut(Seq, &str) -> Result<(), StoreError>,
    ) -> Result<Stretch, StoreError>;
}

/// A stretch of the log that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its last event.
    pub up_to: Seq,
    /// How many of its events were there.
    pub there: usize,
    /// How many of them were pruned.
    pub pruned: u64,
}

/// Where the log lives.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// What it is, for people: `sqlite:/var/lib/kdaemon/kdaemon.db`.
    fn describe(&self) -> String;

    /// The head that the log had after a commit, by the commit's number, counted from 1; `None` when there are fewer.
    async fn commit_at(&self, number: u64) -> Result<Option<Head>, StoreError>;

    /// The end of the log.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Appends a commit if the log still ends at `expected`, and returns when it is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the log has another head. After [`StoreError::Unavailable`] the caller
    /// finds out from [`Self::commit_at`] whether the commit happened. After [`StoreError::Unsettled`] it may happen as
    /// long as no other commit has its number.
    async fn append(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError>;

    /// The events after `after` in order, at most `limit`. Those that were pruned are passed over.
    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError>;

    /// The log as it can be read in the thread of whoever reads; `None` where it is elsewhere.
    fn local(&self) -> Option<Arc<dyn LocalLog>> {
        None
    }

    /// The events that a query asks for, in order.
    async fn query(&self, query: EventQuery) -> Result<Vec<EventText>, StoreError>;

    /// The last event recorded at or before a time; 0 when all were recorded later. Times in a log never step back
    /// (the journal sees to that), so it is searched for and not read through.
    async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError>;

    /// Keeps a state, in the place of another one of the same event.
    async fn write_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError>;

    /// The latest state that was kept of an event at or before `seq`.
    async fn snapshot_before(&self, seq: Seq) -> Result<Option<Snapshot>, StoreError>;

    /// Of which events the state was kept, in order.
    async fn snapshots(&self) -> Result<Vec<Seq>, StoreError>;

    /// Forgets the state that was kept of an event, if there is one.
    async fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError>;

    /// The answers kept since a time with events after `after`.
    async fn answers(&self, since: DateTime<Utc>, after: Seq) -> Result<Vec<Answer>, StoreError>;

    /// Removes some of the answers that were kept before a time, `limit` at most; answers how many, none when none are
    /// left. (RethinkDB has them in their commits, and counts those.)
    ///
    /// The caller goes on until nothing is left, with pauses: each call holds up appends for a few milliseconds at most.
    async fn forget_answers(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError>;

    /// Writes rows of the tables, which then reflect the log up to `reflects`. Writing an older state over a
    /// newer one does nothing.
    async fn write_rows(&self, reflects: Seq, changes: Vec<RowChange>) -> Result<(), StoreError>;

    /// Up to where the tables reflect the log.
    async fn tables_reflect(&self) -> Result<Seq, StoreError>;

    /// Empties the tables.
    async fn drop_tables(&self) -> Result<(), StoreError>;

    /// Removes at most `limit` of the node observations in these stretches (first and last, both included) and keeps
    /// what their leaves are computed from ([`Body::Pruned`] and the header), whole or not at all; answers how many. Those that are gone already are passed over, and
    /// nothing of another kind is ever removed. An `ObservationsPruned` in the log says that these may go. After it
    /// [`Self::read`] and [`Self::query`] pass them over, and [`Self::pruned`] counts them.
    ///
    /// The caller goes on until nothing is left, with pauses: each call holds up appends for a few milliseconds at most.
    async fn prune(&self, ranges: &[(Seq, Seq)], limit: usize) -> Result<usize, StoreError>;

    /// How many events from `first` to `last` were pruned.
    async fn pruned(&self, first: Seq, last: Seq) -> Result<u64, StoreError>;

    /// Up to where somebody who follows the log came; `None`: nobody of that name ever did. It outlives restarts; what was
    /// set last may be lost when the machine fails, and an earlier one comes back.
    async fn cursor(&self, name: &str) -> Result<Option<Seq>, StoreError>;

    /// Keeps up to where somebody who follows the log came.
    async fn set_cursor(&self, name: &str, seq: Seq) -> Result<(), StoreError>;

    /// All rows of a table, by id.
    async fn read_table(&self, table: Table) -> Result<Vec<(Uuid, String)>, StoreError>;

    /// The commits behind a position as the store holds them, with their events and whatever else stands between them:
    /// whole commits, about [`RAW_PAGE_EVENTS`] or [`RAW_PAGE_BYTES`] of them, at least one if there is one. A page is of
    /// one moment. What cannot be read is told in the page and is no error: it is for the audit to judge.
    ///
    /// # Errors
    /// When the store cannot be reached, or says itself that it is damaged.
    async fn raw_commits(&self, after: RawPosition) -> Result<RawPage, StoreError>;

    /// The position before the commit that holds an event; `None` when no commit does.
    ///
    /// # Errors
    /// When the store cannot be reached, or the log has a hole.
    async fn position_before(&self, seq: Seq) -> Result<Option<RawPosition>, StoreError>;

    /// The roots of complete subtrees as they were stored when they became complete, in the order of `places`; `None`
    /// for one that is not there.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn nodes(&self, places: &[NodePlace]) -> Result<Vec<Option<Digest>>, StoreError>;

    /// Makes a copy of the log as it is at one moment, while others append: a file that is a log by itself.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] where a log is no file.
    async fn copy(&self) -> Result<LogCopy, StoreError> {
        Err(StoreError::Unsupported(format!(
            "the log in {} is no file that could be copied; `kdaemon export FILE` writes all of its events to a file, and \
             `kdaemon import FILE` reads them back",
            self.describe()
        )))
    }

    /// Up to which event the index claims to be whole, once it was brought up to date as far as that goes; 0 where a store
    /// has no index of its own making.
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn indexed(&self) -> Result<Seq, StoreError> {
        Ok(Seq(0))
    }

    /// The sum over the rows of the index up to an event, without those of pruned events.
    ///
    /// # Errors
    /// When the index cannot be read.
    async fn index_sum(&self, _key: &IndexKey, _until: Seq) -> Result<IndexSum, StoreError> {
        Ok(IndexSum::default())
    }

    /// Verifies the whole log: [`crate::verify::audit`] in short.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the first commit that does not fit.
    async fn verify(&self) -> Result<Head, StoreError> {
        let head = self.head().await?;
        let found = audit(self, None, drop).await?;
        match found.trouble() {
            Some(trouble) => Err(StoreError::Damaged(trouble)),
            None => Ok(Head { seq: found.head.seq, commits: found.commits, root: found.head.root, ..head }),
        }
    }

    /// The lease; `None` when nobody ever held it.
    async fn lease(&self) -> Result<Option<Lease>, StoreError>;

    /// Writes the lease if its version still is `expected_version` (0: there is none yet); `false`: somebody else was
    /// faster. `lease.version` is to be greater than the expected one.
    ///
    /// # Errors
    /// After [`StoreError::Unavailable`] it may be written or not: [`Self::lease`] tells.
    async fn write_lease(&self, expected_version: u64, lease: Lease) -> Result<bool, StoreError>;

    /// Waits until the log has a commit after `after`, at most so long. Returns how many commits there are as far as is
    /// known here: who has as many need not look at the log. It may return earlier.
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn wait_for_commit(&self, after: &Head, at_most: Duration) -> Result<u64, StoreError>;

    /// Finishes what is under way and closes the store.
    async fn close(&self);
}
