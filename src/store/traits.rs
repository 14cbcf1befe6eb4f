//! The traits of a store, one per concern. A consumer takes the narrowest trait that it needs; the program takes a
//! [`Store`].

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

/// The event log: appends and reads.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// A description for people: `sqlite:/var/lib/kdaemon/kdaemon.db`.
    fn describe(&self) -> String;

    /// The head of the log after commit `number`, counted from 1; `None` when the log has fewer commits.
    async fn commit_at(&self, number: u64) -> Result<Option<Head>, StoreError>;

    /// The current head of the log.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Appends a commit if the log still ends at `expected`, and returns when it is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the log has another head. After [`StoreError::Unavailable`], [`Self::commit_at`] shows
    /// whether the commit happened. After [`StoreError::Unsettled`] the commit may still happen until another commit has
    /// its number.
    async fn append(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError>;

    /// The events after `after` in order, at most `limit`. Pruned events are skipped.
    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError>;

    /// The log for reading in the calling thread; `None` if it is not on this machine.
    fn local(&self) -> Option<Arc<dyn LocalLog>> {
        None
    }

    /// The log for appending in the calling thread; `None` if an append waits for more than a local disk.
    fn inline(&self) -> Option<&dyn InlineLog> {
        None
    }

    /// The events that match a query, in order.
    async fn query(&self, query: EventQuery) -> Result<Vec<EventText>, StoreError>;

    /// The last event recorded at or before a time; 0 when all were recorded later. The journal keeps times in a log
    /// monotonic, so a binary search finds the event.
    async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError>;

    /// Prunes at most `limit` of the node observations in these ranges (first and last event, both included)
    /// atomically, and returns the number of pruned events. Their headers and content hashes stay
    /// ([`Body::Pruned`](super::Body::Pruned)). Events of another kind are never pruned. An `ObservationsPruned` in the
    /// log must name the ranges. Afterwards [`Self::read`] and [`Self::query`] skip the pruned events, and
    /// [`Self::pruned`] counts them.
    ///
    /// The caller repeats the call until it returns 0, with pauses: each call delays appends by a few milliseconds at
    /// most.
    async fn prune(&self, ranges: &[(Seq, Seq)], limit: usize) -> Result<usize, StoreError>;

    /// The number of pruned events from `first` to `last`.
    async fn pruned(&self, first: Seq, last: Seq) -> Result<u64, StoreError>;

    /// Waits until the log has a commit after `after`, or until `at_most` has passed. Returns the known number of
    /// commits: a caller that has that many need not read the log. May return early.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn wait_for_commit(&self, after: &Head, at_most: Duration) -> Result<u64, StoreError>;

    /// Finishes running operations and closes the store.
    async fn close(&self);
}

/// A log that is appended to in the calling thread.
pub trait InlineLog: Send + Sync {
    /// Appends a commit, like [`EventLog::append`].
    ///
    /// # Errors
    /// As [`EventLog::append`].
    fn append_inline(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError>;
}

/// The log as unvalidated records, with its Merkle tree: for verification, proofs, exports and backups.
#[async_trait]
pub trait RawLog: EventLog {
    /// The commits after a position as the store holds them, with their events and any other records between them. A
    /// page holds complete commits, at least one if there is one, up to about
    /// [`RAW_PAGE_EVENTS`](super::RAW_PAGE_EVENTS) events or [`RAW_PAGE_BYTES`](super::RAW_PAGE_BYTES) bytes, read in
    /// one transaction. Unreadable values are reported in the page rather than as an error: verification evaluates
    /// them.
    ///
    /// # Errors
    /// When the store cannot be reached or reports that it is damaged.
    async fn raw_commits(&self, after: RawPosition) -> Result<RawPage, StoreError>;

    /// The position before the commit that holds an event; `None` when no commit does.
    ///
    /// # Errors
    /// When the store cannot be reached, or the log has a hole.
    async fn position_before(&self, seq: Seq) -> Result<Option<RawPosition>, StoreError>;

    /// The stored roots of complete subtrees, in the order of `places`; `None` for a subtree that is not stored.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn nodes(&self, places: &[NodePlace]) -> Result<Vec<Option<Digest>>, StoreError>;

    /// Copies the log to a file of its own, consistently and without blocking appends.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] where the log is not a file.
    async fn copy(&self) -> Result<LogCopy, StoreError> {
        Err(StoreError::Unsupported(format!(
            "cannot copy the log in {}: it is not a file; use `kdaemon export FILE` to write all of its events to a file, \
             and `kdaemon import FILE` to read them back",
            self.describe()
        )))
    }

    /// Updates the index if possible, and returns the last event that it claims to cover; 0 where the store has no
    /// index of its own.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn indexed(&self) -> Result<Seq, StoreError> {
        Ok(Seq(0))
    }

    /// The checksum of the rows of the index up to an event, without the rows of pruned events.
    ///
    /// # Errors
    /// When the index cannot be read.
    async fn index_sum(&self, _key: &IndexKey, _until: Seq) -> Result<IndexSum, StoreError> {
        Ok(IndexSum::default())
    }
}

/// Snapshots of the state, so that a fold need not begin with the first event. All of them are derived from the log.
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// Stores a snapshot, replacing the one of the same event.
    async fn write_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError>;

    /// The latest snapshot at or before `seq`.
    async fn snapshot_before(&self, seq: Seq) -> Result<Option<Snapshot>, StoreError>;

    /// The events that have snapshots, in order.
    async fn snapshots(&self) -> Result<Vec<Seq>, StoreError>;

    /// Removes the snapshot of an event, if there is one.
    async fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError>;
}

/// The tables `nodes`, `applications` and `containers`, folded from the log.
#[async_trait]
pub trait TableStore: Send + Sync + 'static {
    /// Writes rows of the tables, which then reflect the log up to `reflects`. Has no effect when the tables already
    /// reflect a later event.
    async fn write_rows(&self, reflects: Seq, changes: Vec<RowChange>) -> Result<(), StoreError>;

    /// The last event that the tables reflect.
    async fn tables_reflect(&self) -> Result<Seq, StoreError>;

    /// Deletes all rows of the tables.
    async fn drop_tables(&self) -> Result<(), StoreError>;

    /// All rows of a table, by id.
    async fn read_table(&self, table: Table) -> Result<Vec<(Uuid, String)>, StoreError>;
}

/// The records of requests with an `Idempotency-Key`, which are written with their commits ([`EventLog::append`]).
#[async_trait]
pub trait IdempotencyStore: Send + Sync + 'static {
    /// The records since a time whose events come after `after`.
    async fn idempotency_records(
        &self,
        since: DateTime<Utc>,
        after: Seq,
    ) -> Result<Vec<IdempotencyRecord>, StoreError>;

    /// Removes at most `limit` records from before a time, and returns the number of removed records; 0 when none are
    /// left. (RethinkDB stores the records in their commits, and counts commits.)
    ///
    /// The caller repeats the call until it returns 0, with pauses: each call delays appends by a few milliseconds at
    /// most.
    async fn prune_idempotency(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError>;
}

/// The positions of the log's followers, such as webhooks.
#[async_trait]
pub trait CursorStore: Send + Sync + 'static {
    /// The last event that a follower has processed; `None` if no follower of that name has set one. Survives restarts
    /// of the daemon; a crash of the machine may restore an earlier position.
    async fn cursor(&self, name: &str) -> Result<Option<Seq>, StoreError>;

    /// Sets the last event that a follower has processed.
    async fn set_cursor(&self, name: &str, seq: Seq) -> Result<(), StoreError>;
}

/// The leader's lease, by which one of several daemons leads.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// The lease; `None` if no daemon ever held it.
    async fn lease(&self) -> Result<Option<Lease>, StoreError>;

    /// Writes the lease if its version still is `expected_version` (0: there is no lease yet); `false` if another
    /// daemon was faster. `lease.version` must be greater than the expected version.
    ///
    /// # Errors
    /// After [`StoreError::Unavailable`] the outcome is unknown: [`Self::lease`] shows it.
    async fn write_lease(&self, expected_version: u64, lease: Lease) -> Result<bool, StoreError>;
}

/// The log and its snapshots, as needed for a fold.
pub trait FoldStore: EventLog + SnapshotStore {}
impl<S: EventLog + SnapshotStore> FoldStore for S {}

/// All traits of a store.
pub trait Store: FoldStore + RawLog + TableStore + IdempotencyStore + CursorStore + LeaseStore {}
impl<S: FoldStore + RawLog + TableStore + IdempotencyStore + CursorStore + LeaseStore> Store for S {}
