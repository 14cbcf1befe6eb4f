//! Copies of a log, made while the daemon appends.

use super::open::harden;
use super::tree::read_head;
use super::{APPLICATION_ID, LAYOUT, explain};
use crate::store::{Head, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// A consistent copy of a log in a temporary file, which is removed on drop.
#[derive(Debug)]
pub struct LogCopy {
    file: tempfile::TempPath,
    head: Head,
}

/// The prefix of the names of temporary copies.
pub(super) const COPY_PREFIX: &str = "kdaemon-copy-";

impl LogCopy {
    /// Copies a log without blocking appends. The copy is in the same folder, whose disk has room for logs.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let connection = open_read_only(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        // Readable by its owner only.
        let file = tempfile::Builder::new().prefix(COPY_PREFIX).suffix(".db").tempfile_in(folder);
        let file = file.map_err(|error| unwritable(folder, &error))?.into_temp_path();
        copy_into(&connection, &file)?;
        let head = read_head(&open_read_only(&file)?).map_err(|error| explain(&file, &error))?;
        Ok(Self { file, head })
    }

    /// The path of the temporary file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// The head of the copied log.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }
}

/// Removes temporary copies that a killed daemon left.
pub(super) fn remove_copies(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(COPY_PREFIX) {
            let _ = std::fs::remove_file(entry.path()); // a copy that cannot be removed only takes space
        }
    }
}

/// Copies a log into an existing empty file.
fn copy_into(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    connection
        .execute("VACUUM INTO ?1", [file.to_string_lossy()])
        .map(drop)
        .map_err(|error| explain(file, &error))
}

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{} cannot be written: {error}", path.display()))
}

/// Opens the file of a log read-only.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let fail = |error: rusqlite::Error| explain(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    harden(&connection).map_err(fail)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(fail)?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(fail);
    if pragma("application_id")? != APPLICATION_ID {
        return Err(StoreError::Damaged(format!("{} is not a kDaemon log", path.display())));
    }
    let layout = pragma("user_version")?;
    if layout > LAYOUT {
        return Err(StoreError::Damaged(format!(
            "{} was written by a newer kDaemon (layout {layout}, this one reads {LAYOUT}); use the newer version",
            path.display()
        )));
    }
    if layout < LAYOUT {
        return Err(StoreError::Damaged(format!(
            "{} has the pre-release layout {layout}, this kDaemon reads {LAYOUT}",
            path.display()
        )));
    }
    Ok(connection)
}
