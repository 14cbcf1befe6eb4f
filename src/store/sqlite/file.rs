//! The file of a log: verification without a daemon, and restoring a backup.

use super::copy::{COPY_PREFIX, open_read_only, unwritable};
use super::open::make_schema;
use super::raw::raw_commits;
use super::{FILE_NAME, explain, make_private_dir};
use crate::store::{RawPage, RawPosition, StoreError};
use crate::verify::{Expectation, Verification, Verifier};
use kdaemon_events::Seq;
use rusqlite::Connection;
use rusqlite::types::ToSqlOutput;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

/// The number of pages that are read ahead of verification.
const AHEAD: usize = 2;

/// Verifies the log in a file, which is opened read-only. `progress` receives the last verified event and the last
/// event after each page. Blocks.
///
/// # Errors
/// When the file cannot be read or is not a kDaemon log. A log that fails verification is a result rather than an error.
pub fn verify_file(
    path: &Path,
    expectation: Option<Expectation>,
    mut progress: impl FnMut(Seq, Seq),
) -> Result<Verification, StoreError> {
    let connection = open_read_only(path)?;
    // Unverified, for the progress only.
    let last = "SELECT coalesce(max(seq), 0) FROM events";
    let last: i64 =
        connection.query_row(last, [], |row| row.get(0)).map_err(|error| explain(path, &error))?;
    let last = Seq(u64::try_from(last).unwrap_or(0));
    let (pages, read) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(move || read_pages(&connection, &pages));
        let mut verifier = Verifier::new(expectation);
        for page in read {
            let page = page.map_err(|error| explain(path, &error))?;
            let checked = verifier.check_page(&page);
            progress(verifier.head().seq, last);
            if let Err(bad) = checked {
                return Ok(verifier.verdict(Some(bad)));
            }
        }
        Ok(verifier.verdict(None))
    })
}

/// The tables of a log, each with its columns.
const TABLES: [(&str, &str); 6] = [
    ("commits", "number, id, first_seq, last_seq, root"),
    ("events", "seq, kind, at, actor, salt, json"),
    ("pruned", "seq, kind, at, actor, content"),
    ("tree", "level, number, hash"),
    ("cursors", "name, seq"),
    ("idempotency", "key, at, json"),
];

/// Copies the rows of a log into an empty file with kDaemon's schema. Other objects of the source (triggers, views,
/// indexes, other tables) are not copied.
fn copy_rows(from: &Connection, file: &Path) -> Result<(), StoreError> {
    let copy = || -> Result<(), rusqlite::Error> {
        let mut into = Connection::open(file)?;
        // The file is synced when it is complete, and removed otherwise.
        into.pragma_update(None, "journal_mode", "MEMORY")?;
        into.pragma_update(None, "synchronous", "OFF")?;
        let transaction = into.transaction()?;
        make_schema(&transaction)?;
        let snapshot = from.unchecked_transaction()?;
        for (table, columns) in TABLES {
            let places: Vec<_> = (1..=columns.split(", ").count()).map(|place| format!("?{place}")).collect();
            let insert = format!("INSERT INTO {table} ({columns}) VALUES ({})", places.join(", "));
            let mut insert = transaction.prepare(&insert)?;
            let mut select = snapshot.prepare(&format!("SELECT {columns} FROM {table}"))?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                for place in 0..places.len() {
                    insert.raw_bind_parameter(place + 1, ToSqlOutput::Borrowed(row.get_ref(place)?))?;
                }
                insert.raw_execute()?;
            }
        }
        transaction.commit()
    };
    copy().map_err(|error| explain(file, &error))
}

/// Restores a backup into a data folder: verifies the backup, copies its rows, and verifies the copy. `progress`
/// receives the last verified event and the last event after each page. Blocks.
///
/// # Errors
/// When the folder is not empty, the backup cannot be read, or one of the two fails verification. Then the folder stays
/// empty.
pub fn restore_file(
    backup: &Path,
    data_dir: &Path,
    expectation: Option<Expectation>,
    mut progress: impl FnMut(Seq, Seq),
) -> Result<Verification, StoreError> {
    let is_empty = match std::fs::read_dir(data_dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(unwritable(data_dir, &error)),
    };
    if !is_empty {
        return Err(StoreError::InUse(format!(
            "{} is not empty; restore the backup into an empty folder",
            data_dir.display()
        )));
    }
    let whole = |found: Verification, file: &Path| match found.trouble() {
        None => Ok(found),
        Some(trouble) => Err(StoreError::Damaged(format!("{}: {trouble}", file.display()))),
    };
    whole(verify_file(backup, expectation, &mut progress)?, backup)?;
    make_private_dir(data_dir)?;
    let copy = tempfile::Builder::new().prefix(COPY_PREFIX).suffix(".db").tempfile_in(data_dir);
    let copy = copy.map_err(|error| unwritable(data_dir, &error))?;
    copy_rows(&open_read_only(backup)?, copy.path())?;
    let found = whole(verify_file(copy.path(), expectation, &mut progress)?, copy.path())?;
    let file = data_dir.join(FILE_NAME);
    let keep = || -> std::io::Result<()> {
        copy.as_file().sync_all()?;
        copy.persist_noclobber(&file)?;
        std::fs::File::open(data_dir)?.sync_all()
    };
    keep().map_err(|error| unwritable(&file, &error))?;
    Ok(found)
}

/// Sends page after page until the last one, or until the receiver is dropped.
fn read_pages(connection: &Connection, pages: &SyncSender<Result<RawPage, rusqlite::Error>>) {
    let mut position = RawPosition::START;
    loop {
        let page = raw_commits(connection, position);
        let next = page.as_ref().ok().filter(|page| !page.is_last).and_then(|page| page.commits.last());
        let next = next.map(|last| RawPosition { number: last.number, seq: last.last_seq });
        if pages.send(page).is_err() {
            return;
        }
        match next {
            Some(next) => position = next,
            None => return,
        }
    }
}
