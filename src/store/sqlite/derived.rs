//! Data derived from the log: the tables `nodes`, `applications` and `containers`, the index of events by kind, subject
//! and actor, and snapshots of the state. Kept in a file of its own, `tables.db`, which is rebuilt when it is missing.
//!
//! The file follows the log in batches and without waiting for the disk: writing the index with each commit would cost
//! more than the events themselves, as its pages are spread over the file. A query updates the index first.

use super::{APPLICATION_ID, event_text, explain, number};
use crate::store::{IndexKey, IndexSum, IndexTerm, Indexed, RowChange, Snapshot, StoreError, StoredEvent};
use kdaemon_events::{Envelope, Seq};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The name of the file in the data folder.
const FILE_NAME: &str = "tables.db";
/// The version of [`SCHEMA`]. A file of another version is rebuilt.
const LAYOUT: i32 = 3;
/// The number of unindexed events at which they are indexed in the background.
const BATCH: usize = 8_192;
/// The number of unindexed events at which appends wait for the index.
const BLOCKING_BATCH: usize = 400_000;
/// The number of events that are read at a time when the index is rebuilt.
const PAGE: i64 = 10_000;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS nodes (id TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS applications (id TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS containers (id TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS terms (
        id INTEGER PRIMARY KEY,
        term TEXT NOT NULL UNIQUE -- a kind, `KIND of ID`, or `KIND by ACTOR`
    );
    CREATE TABLE IF NOT EXISTS event_index (
        term INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (term, seq)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS snapshots (seq INTEGER PRIMARY KEY, version INTEGER NOT NULL, bytes BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS reflects (what TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
";
/// The name of the folded tables in `reflects`.
const TABLES: &str = "tables";
/// The name of the index in `reflects`.
const INDEX: &str = "index";

/// The file of derived data.
pub(super) struct Derived {
    pub(super) path: PathBuf,
    /// `None` after the store was closed.
    connection: Mutex<Option<Connection>>,
    unindexed: Mutex<Unindexed>,
    is_indexing: AtomicBool,
    /// Whether the file is known to be damaged. Then events are no longer collected for the index.
    is_damaged: AtomicBool,
}

/// The path of the marker that tells the next start to rebuild the file.
fn marker(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.damaged", path.display()))
}

/// Appended events that are not in the index yet.
#[derive(Default)]
struct Unindexed {
    events: Vec<Indexed>,
    last: Seq,
}

impl Unindexed {
    /// The rows for the index, sorted by term, so that each of its pages is changed once.
    fn rows(&self) -> Vec<(IndexTerm<'_>, Seq)> {
        let rows = self.events.iter().flat_map(|event| event.terms().map(|term| (term, event.seq)));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable();
        rows
    }
}

impl Derived {
    /// Opens the file, creates missing tables, and indexes the events that were appended since. Rebuilds a damaged
    /// file.
    pub(super) fn open(data_dir: &Path, log: &Connection, head: Seq) -> Result<Self, StoreError> {
        let path = data_dir.join(FILE_NAME);
        if !marker(&path).exists() {
            match Self::take(&path, log, head) {
                Ok(Some(derived)) => return Ok(derived),
                Ok(None) => {}
                Err(error @ StoreError::Damaged(_)) => {
                    tracing::warn!(file = %path.display(), %error, "the derived data is damaged; rebuilding it from the log");
                }
                Err(error) => return Err(error),
            }
        }
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display())); // may not exist
        }
        let _ = std::fs::remove_file(marker(&path)); // may not exist
        let made = Self::take(&path, log, head)?;
        made.ok_or_else(|| StoreError::Unavailable(format!("{} cannot be created", path.display())))
    }

    /// Opens the existing file; `None` when it has to be rebuilt.
    fn take(path: &Path, log: &Connection, head: Seq) -> Result<Option<Self>, StoreError> {
        let opened = open(path, head).map_err(|error| explain(path, &error))?;
        let Some(connection) = opened else { return Ok(None) };
        let derived = Self {
            path: path.to_owned(),
            connection: Mutex::new(Some(connection)),
            unindexed: Mutex::default(),
            is_indexing: AtomicBool::new(false),
            is_damaged: AtomicBool::new(false),
        };
        derived.index_rest(log)?;
        derived.last_snapshot()?;
        Ok(Some(derived))
    }

    fn unindexed(&self) -> MutexGuard<'_, Unindexed> {
        self.unindexed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the index and runs `work` in one transaction.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        if self.is_damaged.load(Ordering::Relaxed) {
            return Err(self.suspect(StoreError::Damaged(String::new())));
        }
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection =
            connection.as_mut().ok_or_else(|| StoreError::Unavailable("the store is closed".to_owned()))?;
        let mut batch = std::mem::take(&mut *self.unindexed());
        let in_transaction = || {
            let transaction = connection.transaction()?;
            insert(&transaction, &batch)?;
            let outcome = work(&transaction)?;
            transaction.commit()?;
            Ok(outcome)
        };
        let outcome = in_transaction().map_err(|error| explain(&self.path, &error));
        if let Err(error @ StoreError::Damaged(_)) = outcome {
            return Err(self.suspect(error));
        }
        if outcome.is_err() {
            let mut unindexed = self.unindexed();
            batch.last = batch.last.max(unindexed.last);
            batch.events.append(&mut unindexed.events);
            *unindexed = batch;
        }
        outcome
    }

    /// Translates an error of an operation on this file. On damage it assumes that this file is damaged and marks it
    /// for a rebuild by the next start. (If the log is damaged, the next start or a verification reports it.)
    pub(super) fn suspect(&self, error: StoreError) -> StoreError {
        if !matches!(error, StoreError::Damaged(_)) {
            return error;
        }
        if !self.is_damaged.swap(true, Ordering::Relaxed) {
            tracing::error!(file = %self.path.display(), %error, "the derived data is damaged; the next start rebuilds it");
            let _ = std::fs::write(marker(&self.path), ""); // without the marker the next start detects the damage itself
        }
        StoreError::Damaged(format!(
            "{} is damaged; it is derived from the log: restart the daemon to rebuild it",
            self.path.display()
        ))
    }

    /// Collects appended events for the index.
    pub(super) fn note(&self, events: Vec<StoredEvent>) {
        let Some(last) = events.last().map(|last| last.seq) else { return };
        let there = events.into_iter().filter(|event| event.body.json().is_some());
        self.note_indexed(last, there.map(Indexed::from));
    }

    /// Collects the events up to `last` for the index.
    fn note_indexed(&self, last: Seq, events: impl Iterator<Item = Indexed>) {
        if self.is_damaged.load(Ordering::Relaxed) {
            return;
        }
        let mut unindexed = self.unindexed();
        unindexed.last = last;
        unindexed.events.extend(events);
    }

    /// Indexes collected events when there are many.
    pub(super) fn keep_up(self: &Arc<Self>) {
        let lag = self.unindexed().events.len();
        if lag < BATCH {
            return;
        }
        let index = |derived: &Self| {
            if let Err(error) = derived.index() {
                tracing::warn!(%error, "cannot update the index of the log yet");
            }
        };
        if lag >= BLOCKING_BATCH {
            index(self);
        } else if !self.is_indexing.swap(true, Ordering::Relaxed) {
            let derived = Arc::clone(self);
            tokio::task::spawn_blocking(move || {
                index(&derived);
                derived.is_indexing.store(false, Ordering::Relaxed);
            });
        }
    }

    /// Removes pruned events from the index.
    pub(super) fn forget(&self, events: &[Indexed]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut row = transaction.prepare_cached(
                "DELETE FROM event_index WHERE term = (SELECT id FROM terms WHERE term = ?1) AND seq = ?2",
            )?;
            for event in events {
                for term in event.terms() {
                    row.execute(params![term.to_string(), number(event.seq)])?;
                }
            }
            Ok(())
        })
    }

    /// Adds the collected events to the index.
    pub(super) fn index(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(()))
    }

    /// Indexes the events that the file lacks after a crash or a rebuild.
    fn index_rest(&self, log: &Connection) -> Result<(), StoreError> {
        let mut after = self.write(|transaction| reflects(transaction, INDEX))?;
        loop {
            let page = || -> Result<Vec<_>, rusqlite::Error> {
                log.prepare_cached("SELECT seq, json FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2")?
                    .query_map([number(after), PAGE], event_text)?
                    .collect()
            };
            let page = page().map_err(|error| explain(&self.path, &error))?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.seq;
            // Unreadable events are not indexed; folding the log reports them.
            let events = page.iter().filter_map(|text| Envelope::decode(&text.json).ok());
            self.note_indexed(after, events.map(|event| Indexed::of(&event)));
            self.index()?;
        }
    }

    /// Writes rows of the tables.
    pub(super) fn write_rows(&self, reflected: Seq, changes: &[RowChange]) -> Result<(), StoreError> {
        self.write(|transaction| {
            if reflects(transaction, TABLES)? > reflected {
                return Ok(());
            }
            set_reflects(transaction, TABLES, reflected)?;
            for change in changes {
                let table = change.table.name();
                match &change.json {
                    Some(json) => transaction
                        .prepare_cached(&format!(
                            "INSERT OR REPLACE INTO {table} (id, json) VALUES (?1, ?2)"
                        ))?
                        .execute(params![change.id.to_string(), json])?,
                    None => transaction
                        .prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?
                        .execute(params![change.id.to_string()])?,
                };
            }
            Ok(())
        })
    }

    /// The last event that the tables reflect.
    pub(super) fn tables_reflect(&self) -> Result<Seq, StoreError> {
        self.write(|transaction| reflects(transaction, TABLES))
    }

    /// Deletes all rows of the tables.
    pub(super) fn drop_tables(&self) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction
                .execute_batch("DELETE FROM nodes; DELETE FROM applications; DELETE FROM containers;")?;
            set_reflects(transaction, TABLES, Seq(0))
        })
    }

    /// Stores a snapshot, replacing the one of the same event.
    pub(super) fn write_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO snapshots (seq, version, bytes) VALUES (?1, ?2, ?3)")?
                .execute(params![number(snapshot.seq), snapshot.version, snapshot.bytes])
                .map(drop)
        })
    }

    /// The event of the latest snapshot; 0 when there is none.
    pub(super) fn last_snapshot(&self) -> Result<Seq, StoreError> {
        self.write(last_snapshot)
    }

    /// Removes the snapshot of an event, if there is one.
    pub(super) fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut statement = transaction.prepare_cached("DELETE FROM snapshots WHERE seq = ?1")?;
            statement.execute([number(seq)]).map(drop)
        })
    }

    pub(super) fn close(&self) {
        let _ = self.index(); // the next start indexes missing events
        drop(self.connection.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The latest snapshot at or before `seq`. The connection has the file attached as `derived`.
pub(super) fn snapshot_before(
    connection: &Connection,
    seq: Seq,
) -> Result<Option<Snapshot>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, version, bytes FROM derived.snapshots WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1",
    )?;
    let snapshot = |row: &rusqlite::Row<'_>| {
        Ok(Snapshot {
            seq: Seq(row.get::<_, i64>(0)?.unsigned_abs()),
            version: row.get(1)?,
            bytes: row.get(2)?,
        })
    };
    statement.query_row([number(seq)], snapshot).optional()
}

fn last_snapshot(transaction: &Transaction<'_>) -> Result<Seq, rusqlite::Error> {
    let last: i64 =
        transaction.query_row("SELECT coalesce(max(seq), 0) FROM snapshots", [], |row| row.get(0))?;
    Ok(Seq(last.unsigned_abs()))
}

/// The events that have snapshots, in order.
pub(super) fn snapshots(connection: &Connection) -> Result<Vec<Seq>, rusqlite::Error> {
    let mut statement = connection.prepare_cached("SELECT seq FROM derived.snapshots ORDER BY seq")?;
    statement.query_map([], |row| Ok(Seq(row.get::<_, i64>(0)?.unsigned_abs())))?.collect()
}

/// Opens the file and creates missing tables; `None` when the file has to be rebuilt.
fn open(path: &Path, head: Seq) -> Result<Option<Connection>, rusqlite::Error> {
    let mut connection = Connection::open(path)?;
    let pragma = |connection: &Connection, name: &str| -> Result<i32, rusqlite::Error> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    let (application, layout) =
        (pragma(&connection, "application_id")?, pragma(&connection, "user_version")?);
    let is_new = (application, layout) == (0, 0);
    if !is_new && (application, layout) != (APPLICATION_ID, LAYOUT) {
        return Ok(None);
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -16_384)?; // KiB
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?; // pages
    let transaction = connection.transaction()?;
    let there: i64 = transaction.query_row(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('nodes', 'applications', 'containers')",
        [],
        |row| row.get(0),
    )?;
    transaction.execute_batch(SCHEMA)?;
    if there < 3 {
        set_reflects(&transaction, TABLES, Seq(0))?; // a table was dropped: all rows are written again
    }
    if is_new {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", LAYOUT)?;
    }
    // The file then belongs to another log: the log was replaced by an older one.
    let is_ahead = reflects(&transaction, TABLES)? > head
        || reflects(&transaction, INDEX)? > head
        || last_snapshot(&transaction)? > head;
    transaction.commit()?;
    Ok((!is_ahead).then_some(connection))
}

/// The last event that the index claims to cover.
pub(super) fn indexed(connection: &Connection) -> Result<Seq, rusqlite::Error> {
    reflects(connection, INDEX)
}

/// The checksum of the index up to an event, computed in one transaction.
pub(super) fn index_sum(
    connection: &Connection,
    key: &IndexKey,
    until: Seq,
) -> Result<IndexSum, rusqlite::Error> {
    let transaction = connection.unchecked_transaction()?; // read-only
    // Pruned events leave the index later than the log, or not at all.
    let mut pruned = transaction.prepare_cached("SELECT seq FROM pruned WHERE seq <= ?1 ORDER BY seq")?;
    let mut gone: Vec<(i64, i64)> = Vec::new();
    let mut rows = pruned.query([number(until)])?;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        match gone.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => gone.push((seq, seq)),
        }
    }
    let is_gone = |seq: i64| {
        let index = gone.partition_point(|(first, _)| *first <= seq);
        index.checked_sub(1).is_some_and(|index| seq <= gone[index].1)
    };
    let mut terms = transaction.prepare_cached("SELECT id, term FROM derived.terms")?;
    let mut seqs =
        transaction.prepare_cached("SELECT seq FROM derived.event_index WHERE term = ?1 AND seq <= ?2")?;
    let mut sum = IndexSum::default();
    let mut terms = terms.query([])?;
    while let Some(row) = terms.next()? {
        let term = key.term(row.get_ref(1)?.as_str()?);
        let mut rows = seqs.query(params![row.get::<_, i64>(0)?, number(until)])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            if !is_gone(seq) {
                sum.add(key, term, Seq(seq.unsigned_abs()));
            }
        }
    }
    Ok(sum)
}

fn insert(transaction: &Transaction<'_>, batch: &Unindexed) -> Result<(), rusqlite::Error> {
    if batch.events.is_empty() {
        return Ok(());
    }
    let mut known = transaction.prepare_cached("SELECT id FROM terms WHERE term = ?1")?;
    let mut new = transaction.prepare_cached("INSERT INTO terms (term) VALUES (?1)")?;
    let mut row =
        transaction.prepare_cached("INSERT OR IGNORE INTO event_index (term, seq) VALUES (?1, ?2)")?;
    // The rows are sorted by term.
    let mut current: Option<(IndexTerm<'_>, i64)> = None;
    for (term, seq) in batch.rows() {
        let id = match current.filter(|(current, _)| *current == term) {
            Some((_, id)) => id,
            None => {
                let text = term.to_string();
                match known.query_row([&text], |row| row.get(0)).optional()? {
                    Some(id) => id,
                    None => new.insert([&text])?,
                }
            }
        };
        current = Some((term, id));
        row.execute(params![id, number(seq)])?;
    }
    set_reflects(transaction, INDEX, batch.last)
}

/// The last event that `what` reflects. The connection has the file as its main or as an attached database.
fn reflects(connection: &Connection, what: &str) -> Result<Seq, rusqlite::Error> {
    let mut statement = connection.prepare_cached("SELECT seq FROM reflects WHERE what = ?1")?;
    let seq: Option<i64> = statement.query_row([what], |row| row.get(0)).optional()?;
    Ok(Seq(seq.unwrap_or(0).unsigned_abs()))
}

fn set_reflects(transaction: &Transaction<'_>, what: &str, seq: Seq) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO reflects (what, seq) VALUES (?1, ?2)")?
        .execute(params![what, number(seq)])
        .map(drop)
}
