//! Exports to and imports from files, with a progress bar.

use super::{ArchiveError, Header, export, import};
use crate::store::{Head, Store};
use crate::verify::Expectation;
use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use kdaemon_events::Seq;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The name of standard input or output.
const STANDARD: &str = "-";
/// The size of the buffer of reads and writes, in bytes.
const BUFFER: usize = 1 << 20;

/// Exports to a new file, or to standard output if the path is `-`. The file gets its name when it is complete.
///
/// # Errors
/// Like [`export`], and when the file already exists.
pub async fn export_file(
    store: &dyn Store,
    path: &Path,
    idempotency_since: DateTime<Utc>,
) -> Result<Head, ArchiveError> {
    let mut bar = Bar::new();
    let mut out = NewFile::at(path)?;
    let progress = &mut |header: &Header, done| bar.show(header, done);
    let head = export(store, &mut out.out, idempotency_since, progress).await?;
    out.keep()?;
    Ok(head)
}

/// A file that is being written, or standard output if the path is `-`. The file gets its name when it is complete.
pub struct NewFile {
    out: BufWriter<Box<dyn io::Write + Send>>,
    /// The file, its temporary path and its final path; `None` for standard output.
    file: Option<(File, PathBuf, PathBuf)>,
}

impl NewFile {
    /// Creates the file under a temporary name.
    ///
    /// # Errors
    /// When the file already exists or cannot be created.
    pub fn at(path: &Path) -> Result<Self, ArchiveError> {
        if path == Path::new(STANDARD) {
            return Ok(Self { out: BufWriter::with_capacity(BUFFER, Box::new(io::stdout())), file: None });
        }
        if path.exists() {
            return Err(ArchiveError::Exists(path.display().to_string()));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        // Only the owner may read the log.
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        let out = BufWriter::with_capacity(BUFFER, Box::new(file.try_clone()?) as Box<dyn io::Write + Send>);
        Ok(Self { out, file: Some((file, part.into(), path.to_owned())) })
    }

    /// The writer of the file's content.
    pub fn out(&mut self) -> &mut (dyn io::Write + Send) {
        &mut self.out
    }

    /// Syncs the complete file to the disk and gives it its name.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(mut self) -> Result<(), ArchiveError> {
        self.out.flush()?;
        if let Some((file, part, path)) = self.file {
            file.sync_all()?;
            std::fs::rename(part, path)?;
        }
        Ok(())
    }
}

/// Imports a file, or standard input if the path is `-`.
///
/// # Errors
/// Like [`import`], and when the file cannot be read.
pub async fn import_file(
    store: &dyn Store,
    path: &Path,
    expectation: Option<Expectation>,
) -> Result<Head, ArchiveError> {
    let mut bar = Bar::new();
    let mut progress = |header: &Header, done| bar.show(header, done);
    if path == Path::new(STANDARD) {
        let mut input = BufReader::with_capacity(BUFFER, io::stdin());
        return import(store, &mut input, expectation, &mut progress).await;
    }
    let named = |error| io::Error::other(format!("{}: {error}", path.display()));
    let mut input = BufReader::with_capacity(BUFFER, File::open(path).map_err(named)?);
    import(store, &mut input, expectation, &mut progress).await
}

/// A progress bar on standard error. Hidden when standard error is not a terminal.
pub struct Bar(ProgressBar);

impl Bar {
    /// Creates an empty bar.
    #[must_use]
    #[allow(clippy::new_without_default)] // creating a bar has an effect on the terminal
    pub fn new() -> Self {
        let bar = ProgressBar::new(0);
        let template = "{wide_bar} {human_pos} of {human_len} events, {per_sec:.0}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows the number of processed events.
    pub fn show(&mut self, header: &Header, done: Seq) {
        self.0.set_length(header.events.0);
        self.0.set_position(done.0);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
