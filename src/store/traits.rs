//! What a store does, by concern: a consumer takes the narrowest of these traits that it needs, the program a [`Store`].

use super::{
    Commit, EventQuery, EventText, Head, IdempotencyRecord, IndexKey, IndexSum, Lease, LocalLog, LogCopy,
    RawPage, RawPosition, RowChange, Snapshot, StoreError, Table,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kdaemon_events::{Digest, NodePlace, Seq};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The log itself: appending to it and reading it.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
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

    /// The events after `after` in order, at most `limit`. Pruned events are skipped.
    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError>;

    /// The log for reading in the caller's thread; `None` if it is not on this machine.
    fn local(&self) -> Option<Arc<dyn LocalLog>> {
        None
    }

    /// The log for appending in the caller's thread; `None` if an append waits for more than a disk of this machine.
    fn inline(&self) -> Option<&dyn InlineLog> {
        None
    }

    /// The events that match a query, in order.
    async fn query(&self, query: EventQuery) -> Result<Vec<EventText>, StoreError>;

    /// The last event recorded at or before a time; 0 when all were recorded later. Times in a log never step back
    /// (the journal sees to that), so a binary search finds it.
    async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError>;

    /// Prunes at most `limit` of the node observations in these ranges (first and last event, both included), atomically, and
    /// returns how many. Their headers and content hashes stay ([`Body::Pruned`](super::Body::Pruned)). Pruned events are
    /// skipped, and events of another kind are never pruned. An `ObservationsPruned` in the log must name them. Afterwards
    /// [`Self::read`] and [`Self::query`] skip them, and [`Self::pruned`] counts them.
    ///
    /// The caller repeats the call until it returns 0, with pauses: each call delays appends by a few milliseconds at most.
    async fn prune(&self, ranges: &[(Seq, Seq)], limit: usize) -> Result<usize, StoreError>;

    /// How many events from `first` to `last` were pruned.
    async fn pruned(&self, first: Seq, last: Seq) -> Result<u64, StoreError>;

    /// Waits until the log has a commit after `after`, or until the time limit. Returns the number of commits as far as it is
    /// known here: a caller that has as many need not read the log. It may return early.
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn wait_for_commit(&self, after: &Head, at_most: Duration) -> Result<u64, StoreError>;

    /// Finishes what is under way and closes the store.
    async fn close(&self);
}

/// A log that is appended to in the caller's thread.
pub trait InlineLog: Send + Sync {
    /// Appends a commit, as [`EventLog::append`].
    ///
    /// # Errors
    /// As [`EventLog::append`].
    fn append_inline(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError>;
}

/// The log as unvalidated records, with its Merkle tree: for verification, proofs, exports and backups.
#[async_trait]
pub trait RawLog: EventLog {
    /// The commits after a position as the store holds them, with their events and whatever else stands between them:
    /// whole commits, about [`RAW_PAGE_EVENTS`](super::RAW_PAGE_EVENTS) or [`RAW_PAGE_BYTES`](super::RAW_PAGE_BYTES) of them, at least one if there is one. A page is of
    /// one moment. Unreadable values are reported in the page and are no error: verification judges them.
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
}

/// States that are kept, so that not every fold begins with the first event. All of them are derived.
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// Stores a snapshot, replacing the one of the same event.
    async fn write_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError>;

    /// The latest snapshot at or before `seq`.
    async fn snapshot_before(&self, seq: Seq) -> Result<Option<Snapshot>, StoreError>;

    /// The events that there are snapshots of, in order.
    async fn snapshots(&self) -> Result<Vec<Seq>, StoreError>;

    /// Removes the snapshot of an event, if there is one.
    async fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError>;
}

/// The tables `nodes`, `applications` and `containers`, folded from the log.
#[async_trait]
pub trait TableStore: Send + Sync + 'static {
    /// Writes rows of the tables, which then reflect the log up to `reflects`. Writing an older state over a
    /// newer one does nothing.
    async fn write_rows(&self, reflects: Seq, changes: Vec<RowChange>) -> Result<(), StoreError>;

    /// Up to where the tables reflect the log.
    async fn tables_reflect(&self) -> Result<Seq, StoreError>;

    /// Empties the tables.
    async fn drop_tables(&self) -> Result<(), StoreError>;

    /// All rows of a table, by id.
    async fn read_table(&self, table: Table) -> Result<Vec<(Uuid, String)>, StoreError>;
}

/// The records of requests with an `Idempotency-Key`. They are written with their commits ([`EventLog::append`]).
#[async_trait]
pub trait IdempotencyStore: Send + Sync + 'static {
    /// The records since a time whose events come after `after`.
    async fn idempotency_records(
        &self,
        since: DateTime<Utc>,
        after: Seq,
    ) -> Result<Vec<IdempotencyRecord>, StoreError>;

    /// Removes at most `limit` records from before a time, and returns how many; 0 when none are left. (RethinkDB keeps them
    /// in their commits, and counts commits.)
    ///
    /// The caller repeats the call until it returns 0, with pauses: each call delays appends by a few milliseconds at most.
    async fn prune_idempotency(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError>;
}

/// How far those who follow the log have come.
#[async_trait]
pub trait CursorStore: Send + Sync + 'static {
    /// The last event that a follower of the log is done with; `None` if no follower of that name has set one. It survives
    /// restarts; when the machine fails, an earlier one may come back.
    async fn cursor(&self, name: &str) -> Result<Option<Seq>, StoreError>;

    /// Sets the last event that a follower of the log is done with.
    async fn set_cursor(&self, name: &str, seq: Seq) -> Result<(), StoreError>;
}

/// The lease by which one of several daemons leads.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// The lease; `None` if no daemon ever held it.
    async fn lease(&self) -> Result<Option<Lease>, StoreError>;

    /// Writes the lease if its version still is `expected_version` (0: there is none yet); `false` if another daemon was
    /// faster. `lease.version` must be greater than the expected one.
    ///
    /// # Errors
    /// After [`StoreError::Unavailable`] it may be written or not: [`Self::lease`] tells.
    async fn write_lease(&self, expected_version: u64, lease: Lease) -> Result<bool, StoreError>;
}

/// The log with the states that are kept of it: what a fold begins with.
pub trait FoldStore: EventLog + SnapshotStore {}
impl<S: EventLog + SnapshotStore> FoldStore for S {}

/// All that a store does.
pub trait Store: FoldStore + RawLog + TableStore + IdempotencyStore + CursorStore + LeaseStore {}
impl<S: FoldStore + RawLog + TableStore + IdempotencyStore + CursorStore + LeaseStore> Store for S {}
