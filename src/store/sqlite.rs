//! The embedded store: an SQLite file (<https://sqlite.org/wal.html>) and a lock file in the data folder.
//!
//! WAL mode with `synchronous=FULL`: a commit is on the disk before it is acknowledged. One connection writes, in the
//! calling thread: passing a commit to another thread and back takes as long as the disk does. Reads use read-only
//! connections. An event is a row with its JSON as text, so that an operator can read the history with the `sqlite3`
//! tool. Derived data is in a file of its own ([`derived`]), so that writing it never delays appends.

mod append;
mod copy;
mod derived;
mod file;
mod open;
mod prune;
mod query;
mod raw;
mod tree;

use super::{
    Commit, CursorStore, EventLog, EventQuery, EventText, Head, IdempotencyRecord, IdempotencyStore,
    IndexKey, IndexSum, InlineLog, Lease, LeaseStore, LocalLog, RawLog, RawPage, RawPosition, RowChange,
    Snapshot, SnapshotStore, StoreError, Stretch, Table, TableStore, Tip,
};
use crate::latest;
use append::append;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
pub use copy::LogCopy;
use derived::Derived;
pub use file::{restore_file, verify_file};
use kdaemon_events::{Digest, NodePlace, Seq};
use open::{check_density, make_private_dir, open_reader, open_writer, take_lock};
use raw::raw_commits;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tree::{read_head, read_tip};
use uuid::Uuid;

/// The log's file in the data folder.
const FILE_NAME: &str = "kdaemon.db";
const LOCK_NAME: &str = "kdaemon.lock";
/// The application id in SQLite's file header: "kDae".
const APPLICATION_ID: i32 = 0x6b44_6165;
/// The version of [`SCHEMA`].
const LAYOUT: i32 = 4;
/// The maximum number of idle read connections.
const IDLE_READERS_LIMIT: usize = 4;

const SCHEMA: &str = "
    CREATE TABLE commits (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        root TEXT NOT NULL -- of the Merkle tree over all events up to last_seq, in hexadecimal digits
    );
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        at INTEGER NOT NULL, -- microseconds since 1970
        actor TEXT NOT NULL, -- its type and name, as in reactor/health
        salt BLOB NOT NULL, -- hashed before json
        json TEXT NOT NULL
    );
    -- The remainder of a pruned event: its header, and the hash of its salt and json.
    CREATE TABLE pruned (
        seq INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        content BLOB NOT NULL
    );
    -- The roots of complete subtrees of 256 events (level 8), 512 events (level 9) and so on.
    CREATE TABLE tree (
        level INTEGER NOT NULL,
        number INTEGER NOT NULL, -- counted from 0
        hash BLOB NOT NULL,
        PRIMARY KEY (level, number)
    ) WITHOUT ROWID;
    CREATE TABLE cursors (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE idempotency (key TEXT PRIMARY KEY, at INTEGER NOT NULL, json TEXT NOT NULL) WITHOUT ROWID;
";

/// A store in a data folder.
pub struct SqliteStore {
    path: PathBuf,
    /// `None` after the store was closed.
    writer: Arc<Mutex<Option<LogWriter>>>,
    derived: Arc<Derived>,
    readers: Arc<Readers>,
    /// The number of commits, for callers that wait for the next one.
    commits: latest::Sender<u64>,
    /// Kept in memory only: the lock file ensures that there is a single daemon.
    lease: Mutex<Option<Lease>>,
}

/// The write connection, the log's tip and the lock.
struct LogWriter {
    connection: Connection,
    tip: Tip,
    /// Held while the connection is open.
    _lock: File,
}

impl SqliteStore {
    /// Opens the store in a data folder, and creates both if they are missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another daemon uses the folder; [`StoreError::Damaged`] when the file is truncated or
    /// not kDaemon's; [`StoreError::Unavailable`] when the folder cannot be written.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        make_private_dir(data_dir)?;
        let lock = take_lock(data_dir)?;
        let path = Self::file_in(data_dir);
        let connection = open_writer(&path)?;
        let head = read_head(&connection).map_err(|error| explain(&path, &error))?;
        copy::remove_copies(data_dir);
        let derived = Arc::new(Derived::open(data_dir, &connection, head.seq)?);
        check_density(&connection, &path, derived.last_snapshot()?)?;
        let tip = read_tip(&connection, &path)?;
        let writer = Arc::new(Mutex::new(Some(LogWriter { connection, tip, _lock: lock })));
        let commits = latest::Sender::new(head.commits);
        let idle = Mutex::default();
        let readers = Arc::new(Readers { path: path.clone(), derived: derived.path.clone(), idle });
        Ok(Self { path, writer, derived, readers, commits, lease: Mutex::default() })
    }

    /// Whether a data folder holds a store.
    #[must_use]
    pub fn exists(data_dir: &Path) -> bool {
        Self::file_in(data_dir).exists()
    }

    /// The file in a data folder that holds the log.
    #[must_use]
    pub fn file_in(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE_NAME)
    }

    /// Writes to the log in the calling thread.
    fn write<T>(
        &self,
        work: impl FnOnce(&mut LogWriter) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        write(&self.writer, |writer| work(writer).map_err(|error| explain(&self.path, &error)))
    }

    /// Writes to the log like [`Self::write`] in another thread, so that the caller does not block on the disk or on
    /// another write.
    async fn write_in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut LogWriter) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (writer, path) = (Arc::clone(&self.writer), self.path.clone());
        let work = move |writer: &mut LogWriter| work(writer).map_err(|error| explain(&path, &error));
        let outcome = tokio::task::spawn_blocking(move || write(&writer, work));
        outcome.await.map_err(|error| StoreError::Unavailable(format!("a write was aborted: {error}")))?
    }

    /// Works on the derived data in another thread.
    async fn derive<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Derived) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let derived = Arc::clone(&self.derived);
        let outcome = tokio::task::spawn_blocking(move || work(&derived));
        outcome.await.map_err(|error| StoreError::Unavailable(format!("a write was aborted: {error}")))?
    }

    async fn read_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let outcome = tokio::task::spawn_blocking(move || {
            readers.lend(|connection| work(connection).map_err(|error| explain(&readers.path, &error)))
        });
        outcome.await.map_err(|error| StoreError::Unavailable(format!("a read was aborted: {error}")))?
    }
}

impl LogWriter {
    /// Updates the tip after a write with an unknown outcome, and returns the head.
    fn refresh(&mut self, path: &Path) -> Result<Head, StoreError> {
        let recorded = read_head(&self.connection).map_err(|error| explain(path, &error))?;
        if recorded != self.tip.head() {
            self.tip = read_tip(&self.connection, path)?;
        }
        Ok(recorded)
    }
}

fn write<T>(
    writer: &Mutex<Option<LogWriter>>,
    work: impl FnOnce(&mut LogWriter) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // A panic in another thread has rolled its transaction back.
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    let writer = writer.as_mut().ok_or_else(|| StoreError::Unavailable("it is closed".to_owned()))?;
    work(writer)
}

/// A pool of read connections.
struct Readers {
    path: PathBuf,
    derived: PathBuf,
    /// Idle connections.
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Runs `work` with an idle or a new connection.
    fn lend<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_reader(&self.path, &self.derived)?,
        };
        let result = work(&connection)?;
        let mut idle = self.idle();
        if idle.len() < IDLE_READERS_LIMIT {
            idle.push(connection);
        }
        Ok(result)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalLog for Readers {
    fn read_each(
        &self,
        (after, until): (Seq, Seq),
        limit: usize,
        each: &mut dyn FnMut(Seq, &str) -> Result<(), StoreError>,
    ) -> Result<Stretch, StoreError> {
        let explain = |error: rusqlite::Error| explain(&self.path, &error);
        self.lend(|connection| {
            // In one transaction: an event pruned meanwhile is either read or counted.
            let transaction = connection.unchecked_transaction().map_err(explain)?;
            let sql = "SELECT seq, json FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";
            let mut statement = transaction.prepare_cached(sql).map_err(explain)?;
            let bounds = params![number(after), number(until), i64::try_from(limit).unwrap_or(i64::MAX)];
            let mut rows = statement.query(bounds).map_err(explain)?;
            let (mut last, mut there) = (after, 0);
            while let Some(row) = rows.next().map_err(explain)? {
                last = Seq(row.get::<_, i64>(0).map_err(explain)?.unsigned_abs());
                there += 1;
                let json = row.get_ref(1).map_err(explain)?;
                each(last, json.as_str().map_err(|error| explain(error.into()))?)?;
            }
            let up_to = if there == limit { last } else { until.max(after) };
            let pruned = match up_to.0 - after.0 == there as u64 {
                true => 0,
                false => prune::pruned(&transaction, after.next(), up_to).map_err(explain)?,
            };
            Ok(Stretch { up_to, there, pruned })
        })
    }
}

/// Translates an error of SQLite into a [`StoreError`] with a remedy.
fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let file = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Unavailable(format!(
            "the disk of {file} is full and nothing was written; free some space"
        )),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StoreError::Unavailable(format!("{file} cannot be written ({error}); check its owner and mode"))
        }
        Some(ErrorCode::CannotOpen) => StoreError::Unavailable(format!("{file} cannot be opened ({error})")),
        Some(ErrorCode::NotADatabase) => StoreError::Damaged(format!(
            "{file} is not a database of kDaemon; move it away, or name another folder with --data-dir"
        )),
        Some(ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged(format!("{file} is damaged or truncated ({error}); restore it from a backup"))
        }
        _ => StoreError::Unavailable(format!("{file}: {error}")),
    }
}

fn parsed<T: FromStr>(row: &rusqlite::Row<'_>, column: usize) -> Result<T, rusqlite::Error>
where
    T::Err: std::fmt::Display,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            error.to_string().into(),
        )
    })
}

fn number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

fn event_text(row: &rusqlite::Row<'_>) -> Result<EventText, rusqlite::Error> {
    Ok(EventText { seq: Seq(row.get::<_, i64>(0)?.unsigned_abs()), json: row.get(1)? })
}

/// The last event recorded at or before a time in microseconds, found by a binary search: times are monotonic.
fn seq_at(connection: &Connection, at: i64) -> Result<Seq, rusqlite::Error> {
    let mut last_until =
        connection.prepare_cached("SELECT seq, at FROM events WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1")?;
    let mut last_until = |seq: i64| -> Result<Option<(i64, i64)>, rusqlite::Error> {
        last_until.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    };
    // Events up to `low` are not later than `at`; events after `high` are.
    let (mut low, mut high) = (0, last_until(i64::MAX)?.map_or(0, |(seq, _)| seq));
    while low < high {
        let middle = high - (high - low) / 2;
        match last_until(middle)? {
            Some((seq, time)) if time > at => high = seq - 1,
            _ => low = middle,
        }
    }
    Ok(Seq(last_until(low)?.map_or(0, |(seq, _)| seq.unsigned_abs())))
}

impl InlineLog for SqliteStore {
    fn append_inline(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        let appended = write(&self.writer, |writer| match append(writer, expected, &commit) {
            Ok(Ok(head)) => {
                self.derived.note(commit.events);
                Ok(Ok(head))
            }
            Ok(Err(actual)) => Ok(Err(actual)),
            Err(error) => {
                // The log shows whether the commit happened.
                let _ = writer.refresh(&self.path); // `head` repeats it after a failure
                Err(explain(&self.path, &error))
            }
        })?;
        self.derived.keep_up();
        if let Ok(head) = &appended {
            self.commits.send_modify(|commits| *commits = head.commits.max(*commits));
        }
        appended.map_err(|actual| StoreError::Conflict { actual })
    }
}

#[async_trait]
impl EventLog for SqliteStore {
    fn describe(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    async fn commit_at(&self, number: u64) -> Result<Option<Head>, StoreError> {
        // Through the writer: after a failed append, a read connection could show an earlier state.
        self.write(|writer| tree::head_at(&writer.connection, i64::try_from(number).unwrap_or(i64::MAX)))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        let (writer, path) = (Arc::clone(&self.writer), self.path.clone());
        let head = tokio::task::spawn_blocking(move || write(&writer, |writer| writer.refresh(&path)));
        head.await.map_err(|error| StoreError::Unavailable(format!("a read was aborted: {error}")))?
    }

    async fn append(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        self.append_inline(expected, commit)
    }

    fn inline(&self) -> Option<&dyn InlineLog> {
        Some(self)
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError> {
        self.query(EventQuery { after, limit, ..EventQuery::default() }).await
    }

    fn local(&self) -> Option<Arc<dyn LocalLog>> {
        Some(Arc::clone(&self.readers) as _)
    }

    async fn query(&self, query: EventQuery) -> Result<Vec<EventText>, StoreError> {
        let is_looked_up = query.subject.is_some() || query.actor.is_some() || !query.kinds.is_empty();
        if is_looked_up {
            self.derive(Derived::index).await?;
        }
        let found = self.read_with(move |connection| query::find(connection, &query)).await;
        found.map_err(|error| if is_looked_up { self.derived.suspect(error) } else { error })
    }

    async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError> {
        self.read_with(move |connection| seq_at(connection, at.timestamp_micros())).await
    }

    async fn prune(&self, ranges: &[(Seq, Seq)], limit: usize) -> Result<usize, StoreError> {
        let ranges = ranges.to_vec();
        let prune = move |writer: &mut LogWriter| prune::prune(&mut writer.connection, &ranges, limit);
        let (gone, count) = self.write_in_background(prune).await?;
        if count > 0 {
            // Rows that remain in the index are harmless and disappear when it is rebuilt.
            let forgotten = self.derive(move |derived| derived.forget(&gone)).await;
            if let Err(error) = forgotten {
                tracing::warn!(%error, "pruned events were not removed from the index");
            }
        }
        Ok(count)
    }

    async fn pruned(&self, first: Seq, last: Seq) -> Result<u64, StoreError> {
        self.read_with(move |connection| prune::pruned(connection, first, last)).await
    }

    async fn wait_for_commit(&self, after: &Head, at_most: Duration) -> Result<u64, StoreError> {
        let mut commits = self.commits.subscribe();
        let more = commits.wait_for(|commits| *commits > after.commits);
        let _ = tokio::time::timeout(at_most, more).await; // timed out: there is no new commit
        let commits = *commits.borrow();
        Ok(commits)
    }

    async fn close(&self) {
        self.readers.idle().clear();
        let (writer, derived) = (Arc::clone(&self.writer), Arc::clone(&self.derived));
        let close = move || {
            derived.close();
            drop(writer.lock().unwrap_or_else(PoisonError::into_inner).take()); // checkpoints the WAL
        };
        let _ = tokio::task::spawn_blocking(close).await;
    }
}

#[async_trait]
impl RawLog for SqliteStore {
    async fn raw_commits(&self, after: RawPosition) -> Result<RawPage, StoreError> {
        self.read_with(move |connection| raw_commits(connection, after)).await
    }

    async fn position_before(&self, seq: Seq) -> Result<Option<RawPosition>, StoreError> {
        self.read_with(move |connection| tree::position_before(connection, seq)).await
    }

    async fn nodes(&self, places: &[NodePlace]) -> Result<Vec<Option<Digest>>, StoreError> {
        let places = places.to_vec();
        self.read_with(move |connection| tree::nodes(connection, &places)).await
    }

    async fn copy(&self) -> Result<LogCopy, StoreError> {
        let path = self.path.clone();
        let copy = tokio::task::spawn_blocking(move || LogCopy::of(&path));
        copy.await.map_err(|error| StoreError::Unavailable(format!("a copy was aborted: {error}")))?
    }

    async fn indexed(&self) -> Result<Seq, StoreError> {
        let _ = self.derive(Derived::index).await; // lags on a full disk
        self.read_with(derived::indexed).await
    }

    async fn index_sum(&self, key: &IndexKey, until: Seq) -> Result<IndexSum, StoreError> {
        let key = key.clone();
        self.read_with(move |connection| derived::index_sum(connection, &key, until)).await
    }
}

#[async_trait]
impl SnapshotStore for SqliteStore {
    async fn write_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.derive(move |derived| derived.write_snapshot(&snapshot)).await
    }

    async fn snapshot_before(&self, seq: Seq) -> Result<Option<Snapshot>, StoreError> {
        match self.read_with(move |connection| derived::snapshot_before(connection, seq)).await {
            Err(error @ StoreError::Damaged(_)) => {
                drop(self.derived.suspect(error));
                Ok(None) // the log is folded from the first event
            }
            found => found,
        }
    }

    async fn snapshots(&self) -> Result<Vec<Seq>, StoreError> {
        self.read_with(derived::snapshots).await.map_err(|error| self.derived.suspect(error))
    }

    async fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError> {
        self.derive(move |derived| derived.drop_snapshot(seq)).await
    }
}

#[async_trait]
impl TableStore for SqliteStore {
    async fn write_rows(&self, reflects: Seq, changes: Vec<RowChange>) -> Result<(), StoreError> {
        self.derive(move |derived| derived.write_rows(reflects, &changes)).await
    }

    async fn tables_reflect(&self) -> Result<Seq, StoreError> {
        self.derive(Derived::tables_reflect).await
    }

    async fn drop_tables(&self) -> Result<(), StoreError> {
        self.derive(Derived::drop_tables).await
    }

    async fn read_table(&self, table: Table) -> Result<Vec<(Uuid, String)>, StoreError> {
        self.read_with(move |connection| {
            let sql = format!("SELECT id, json FROM derived.{} ORDER BY id", table.name());
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], |row| Ok((parsed(row, 0)?, row.get(1)?)))?;
            rows.collect()
        })
        .await
    }
}

#[async_trait]
impl IdempotencyStore for SqliteStore {
    async fn idempotency_records(
        &self,
        since: DateTime<Utc>,
        after: Seq,
    ) -> Result<Vec<IdempotencyRecord>, StoreError> {
        self.read_with(move |connection| {
            let mut statement = connection.prepare_cached("SELECT json FROM idempotency WHERE at >= ?1")?;
            let texts = statement.query_map([since.timestamp_micros()], |row| row.get::<_, String>(0))?;
            let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
            let records =
                texts.iter().filter_map(|text| serde_json::from_str::<IdempotencyRecord>(text).ok());
            Ok(records.filter(|record| record.seq > after).collect())
        })
        .await
    }

    async fn prune_idempotency(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        // Found through a read connection, so that only the deletion delays appends.
        let old = self.read_with(move |connection| prune::old_idempotency(connection, before, limit)).await?;
        if old.is_empty() {
            return Ok(0);
        }
        self.write_in_background(move |writer| prune::prune_idempotency(&mut writer.connection, &old, before))
            .await
    }
}

#[async_trait]
impl CursorStore for SqliteStore {
    async fn cursor(&self, name: &str) -> Result<Option<Seq>, StoreError> {
        let name = name.to_owned();
        self.read_with(move |connection| {
            let mut statement = connection.prepare_cached("SELECT seq FROM cursors WHERE name = ?1")?;
            let seq = statement.query_row([name], |row| row.get::<_, i64>(0)).optional()?;
            Ok(seq.map(|seq| Seq(seq.unsigned_abs())))
        })
        .await
    }

    async fn set_cursor(&self, name: &str, seq: Seq) -> Result<(), StoreError> {
        let name = name.to_owned();
        let set = move |writer: &mut LogWriter| {
            let set = "INSERT OR REPLACE INTO cursors (name, seq) VALUES (?1, ?2)";
            writer.connection.prepare_cached(set)?.execute(params![name, number(seq)]).map(drop)
        };
        self.write_in_background(set).await
    }
}

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn write_lease(&self, expected_version: u64, lease: Lease) -> Result<bool, StoreError> {
        let mut held = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = held.as_ref().map_or(0, |lease| lease.version) == expected_version;
        if is_first {
            *held = Some(lease);
        }
        Ok(is_first)
    }
}
