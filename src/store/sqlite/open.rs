//! Opening the log's file: creates the folder, takes the lock, and checks the layout and the density of the log.

use super::tree::read_head;
use super::{APPLICATION_ID, LAYOUT, LOCK_NAME, SCHEMA, explain, number};
use crate::store::StoreError;
use kdaemon_events::Seq;
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, TryLockError};
use std::path::Path;

pub(super) fn make_private_dir(data_dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|error| {
        StoreError::Unavailable(format!(
            "the data folder {} cannot be created ({error}); name another with --data-dir",
            data_dir.display()
        ))
    })
}

pub(super) fn take_lock(data_dir: &Path) -> Result<File, StoreError> {
    let path = data_dir.join(LOCK_NAME);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| {
        StoreError::Unavailable(format!(
            "the data folder {} cannot be written ({error}); make it writable or name another with --data-dir",
            data_dir.display()
        ))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(format!(
            "another kdaemon uses the data folder {}; stop it first, or name another folder with --data-dir",
            data_dir.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(StoreError::Unavailable(format!("{} cannot be locked: {error}", path.display())))
        }
    }
}

pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let fail = |error: rusqlite::Error| explain(path, &error);
    let mut connection = Connection::open(path).map_err(fail)?;
    harden(&connection).map_err(fail)?;
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fail)?;
    let layout: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(fail)?;
    if tables > 0 && application_id != APPLICATION_ID {
        return Err(StoreError::Damaged(format!(
            "{} is a database of another program; move it away, or name another folder with --data-dir",
            path.display()
        )));
    }
    if layout > LAYOUT {
        return Err(StoreError::Damaged(format!(
            "{} was written by a newer kDaemon (layout {layout}, this one reads {LAYOUT}); use the newer version",
            path.display()
        )));
    }
    if tables > 0 && layout < LAYOUT {
        return Err(StoreError::Damaged(format!(
            "{} has the pre-release layout {layout}, this kDaemon reads {LAYOUT}; name another folder with --data-dir",
            path.display()
        )));
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    connection.pragma_update(None, "cache_size", -16_384).map_err(fail)?; // KiB
    connection.pragma_update(None, "wal_autocheckpoint", 4_000).map_err(fail)?; // pages
    if tables == 0 {
        let transaction = connection.transaction().map_err(fail)?;
        make_schema(&transaction).map_err(fail)?;
        transaction.commit().map_err(fail)?;
    }
    Ok(connection)
}

/// Creates the tables of a log in an empty file.
pub(super) fn make_schema(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", LAYOUT)
}

/// Prevents SQLite from running code from a file's schema: triggers, views and functions
/// (<https://sqlite.org/security.html>).
pub(super) fn harden(connection: &Connection) -> Result<(), rusqlite::Error> {
    use rusqlite::config::DbConfig;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    Ok(())
}

/// Checks that no event is missing. A log with holes was truncated or edited, and starting on it could lose what it
/// held. Events before the last snapshot are not folded at start and not counted here: verification reads all of them.
pub(super) fn check_density(connection: &Connection, path: &Path, snapshot: Seq) -> Result<(), StoreError> {
    let of = |sql: &str, seq: i64| -> Result<i64, StoreError> {
        connection.query_row(sql, [seq], |row| row.get(0)).map_err(|error| explain(path, &error))
    };
    // Separate queries: SQLite looks up one end by the key, but reads every row for both at once.
    let end = |which: &str, table: &str| {
        of(&format!("SELECT coalesce({which}(seq), 0) FROM {table} WHERE seq > ?1"), 0)
    };
    let firsts = [end("min", "events")?, end("min", "pruned")?];
    let first = firsts.into_iter().filter(|first| *first > 0).min().unwrap_or(1);
    let last = end("max", "events")?.max(end("max", "pruned")?);
    let count = of("SELECT count(*) FROM events WHERE seq > ?1", number(snapshot))?
        + of("SELECT count(*) FROM pruned WHERE seq > ?1", number(snapshot))?;
    let head = read_head(connection).map_err(|error| explain(path, &error))?;
    if first != 1 || count != last.saturating_sub(number(snapshot)) || head.seq.0 != last.unsigned_abs() {
        return Err(StoreError::Damaged(format!(
            "the log in {} has holes (events from {first} to {last}, {count} of them after event {snapshot}; the last commit ends at {}); restore it from a backup",
            path.display(),
            head.seq
        )));
    }
    Ok(())
}

/// Opens a read-only connection to the log, with the derived data attached as `derived`.
pub(super) fn open_reader(path: &Path, derived: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| explain(path, &error))?;
    harden(&connection).map_err(|error| explain(path, &error))?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(|error| explain(path, &error))?;
    connection
        .execute("ATTACH ?1 AS derived", [derived.to_string_lossy()])
        .map_err(|error| explain(derived, &error))?;
    Ok(connection)
}
