//! The stores: where the log lives, and the tables folded from it.
//!
//! A trait for each concern; all stores pass one contract test suite (`tests/store`). An append is a compare-and-swap on
//! the head of the log: it happens whole and durably, or not at all.

mod commit;
mod index;
mod raw;
mod rethinkdb;
mod sqlite;
mod traits;
mod tree;

pub use commit::{Body, Commit, Head, StoredEvent, Tip};
pub use index::{IndexKey, IndexSum, Indexed, Term, terms};
pub(crate) use raw::Gist;
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

/// All traits of a store: for whoever holds one by its own type.
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

/// The most bytes of events that one commit holds, a single larger event excepted.
pub const COMMIT_BYTES_LIMIT: usize = 1_000_000;

/// A request with an `Idempotency-Key` that was carried out; becomes durable together with its events.
///
/// A repeat is answered from the log: from the states before and after the request's own events, as the first was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// The key.
    pub key: String,
    /// A digest of the request: another request with the same key is refused.
    pub fingerprint: String,
    /// The time of the decision.
    pub at: DateTime<Utc>,
    /// The last event before those of the request.
    pub before: Seq,
    /// The last event of the request; `before` if it had none.
    pub seq: Seq,
    /// The last event of the state that was shown to a caller who waited for the effect. Kept in memory only: after a
    /// restart a repeat gets the answer of a caller who did not wait.
    #[serde(skip)]
    pub waited_until: Option<Seq>,
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
    /// Hands out the events after one event and up to another one in order, at most `limit`; as [`EventLog::read`], but no
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
