//! Stores of the log and of the tables folded from it.
//!
//! One trait per concern; all stores pass one contract test suite (`tests/store`). An append is a compare-and-swap on
//! the head of the log: it is atomic and durable.

mod commit;
mod index;
mod raw;
mod rethinkdb;
mod sqlite;
mod traits;
mod tree;

pub use commit::{Body, Commit, Head, StoredEvent, Tip};
pub use index::{IndexKey, IndexSum, IndexTerm, Indexed, terms};
pub(crate) use raw::HeaderFields;
pub use raw::{
    RAW_PAGE_BYTES, RAW_PAGE_EVENTS, RawColumns, RawCommit, RawEvent, RawNode, RawPage, RawPosition,
};
pub use rethinkdb::{RethinkdbSettings, RethinkdbStore};
pub use sqlite::{LogCopy, SqliteStore, restore_file, verify_file};
pub use traits::{
    CursorStore, EventLog, FoldStore, IdempotencyStore, InlineLog, LeaseStore, RawLog, SnapshotStore, Store,
    TableStore,
};
pub(crate) use tree::leaves;

/// All traits of a store, for callers that hold a store by its concrete type.
pub mod prelude {
    pub use super::{
        CursorStore, EventLog, FoldStore, IdempotencyStore, InlineLog, LeaseStore, RawLog, SnapshotStore,
        Store, TableStore,
    };
}

use chrono::{DateTime, Utc};
pub use kdaemon_events::COMMIT_EVENTS_LIMIT;
use kdaemon_events::{Kind, Seq};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The maximum size of a commit's events in bytes. A commit of a single event may be larger.
pub const COMMIT_BYTES_LIMIT: usize = 1_000_000;

/// A completed request that had an `Idempotency-Key`. The record becomes durable together with the request's events.
///
/// A repeated request is answered from the log, from the states before and after the original request's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// The value of the header `Idempotency-Key`.
    pub key: String,
    /// A digest of the request. A different request with the same key is refused.
    pub fingerprint: String,
    /// The time of the decision.
    pub at: DateTime<Utc>,
    /// The last event before the request.
    pub before: Seq,
    /// The last event of the request; equal to `before` if the request had no events.
    pub seq: Seq,
    /// The last event of the state that a waiting client received. Kept in memory only: after a restart a repeated
    /// request gets the response of a client that did not wait.
    #[serde(skip)]
    pub waited_until: Option<Seq>,
}

/// The leader's lease. The daemons define its contents and its duration; a store only guarantees that of two concurrent
/// writes one fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The leader: a random id that each daemon generates when it starts.
    pub holder: Uuid,
    /// The leader's display name.
    pub name: String,
    /// The leader's term.
    pub term: u64,
    /// Incremented with each write, as a heartbeat of the holder.
    pub version: u64,
}

/// A filter of events. All conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only events after this one.
    pub after: Seq,
    /// The maximum number of events.
    pub limit: usize,
    /// Only events of these kinds; empty for all kinds.
    pub kinds: Vec<Kind>,
    /// Only events about this node, application or container.
    pub subject: Option<Uuid>,
    /// Only events of the actor with this name.
    pub actor: Option<String>,
    /// Only events recorded at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// Only events recorded before this time.
    pub until: Option<DateTime<Utc>>,
}

/// An event's text and seq.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventText {
    /// The event's seq.
    pub seq: Seq,
    /// The event as JSON.
    pub json: String,
}

/// A table folded from the log.
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
    /// All tables.
    pub const ALL: [Self; 3] = [Self::Nodes, Self::Applications, Self::Containers];

    /// The table's name in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Applications => "applications",
            Self::Containers => "containers",
        }
    }
}

/// A write to, or a deletion of, one table row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The table that holds the row.
    pub table: Table,
    /// The id of the node, application or container.
    pub id: Uuid,
    /// The new row as JSON; `None` deletes the row.
    pub json: Option<String>,
}

/// The state after an event, so that a fold need not begin with the first event. Snapshots are derived from the log:
/// any of them may be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last event folded into the state.
    pub seq: Seq,
    /// The version of the encoding of `bytes`.
    pub version: u32,
    /// The encoded state.
    pub bytes: Vec<u8>,
}

/// A failed operation of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The log has another head than expected, because another writer appended. Nothing was written.
    #[error("the log has moved on to event {}", actual.seq)]
    Conflict {
        /// The head of the log.
        actual: Head,
    },
    /// The store cannot be reached or written at present. The outcome of an append may be unknown.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// An append was sent and its outcome cannot be determined at present: it may still happen.
    #[error("the store does not respond: {0}; it is not known yet whether this was recorded")]
    Unsettled(String),
    /// The store's data is inconsistent.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Another process uses the store.
    #[error("{0}")]
    InUse(String),
    /// This kind of store does not support the operation. The text names an alternative.
    #[error("{0}")]
    Unsupported(String),
}

/// A log on a local disk, read in the calling thread. Call it from threads that may block.
pub trait LocalLog: Send + Sync {
    /// Passes the events after the first bound and up to the second one to `each`, in order, at most `limit`. Like
    /// [`EventLog::read`], but texts are not copied, and events and the count of pruned events come from one
    /// transaction.
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

/// The outcome of [`LocalLog::read_each`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The last event of the range that was read.
    pub up_to: Seq,
    /// The number of events passed on.
    pub there: usize,
    /// The number of pruned events in the range.
    pub pruned: u64,
}
