//! The file itself, and telling how far it is.

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

/// Stands for standard input or output.
const STANDARD: &str = "-";
const BUFFER: usize = 1 << 20;

/// Exports into a new file, or `-`: standard output. The file has its name only when it is whole.
///
/// # Errors
/// As [`export`], and when there is such a file.
pub async fn export_file(
    store: &dyn Store,
    path: &Path,
    answers_since: DateTime<Utc>,
) -> Result<Head, ArchiveError> {
    let mut bar = Bar::new();
    let mut out = NewFile::at(path)?;
    let progress = &mut |header: &Header, done| bar.show(header, done);
    let head = export(store, &mut out.out, answers_since, progress).await?;
    out.keep()?;
    Ok(head)
}

/// A file in the making, or `-`: standard output. It has its name only when it is whole.
pub struct NewFile {
    out: BufWriter<Box<dyn io::Write + Send>>,
    /// The file, where it is, and where it goes; `None` for standard output.
    file: Option<(File, PathBuf, PathBuf)>,
}

impl NewFile {
    /// Begins it.
    ///
    /// # Errors
    /// When there is such a file, or it cannot be made.
    pub fn at(path: &Path) -> Result<Self, ArchiveError> {
        if path == Path::new(STANDARD) {
            return Ok(Self { out: BufWriter::with_capacity(BUFFER, Box::new(io::stdout())), file: None });
        }
        if path.exists() {
            return Err(ArchiveError::Exists(path.display().to_string()));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        // The log is nobody else's business.
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        let out = BufWriter::with_capacity(BUFFER, Box::new(file.try_clone()?) as Box<dyn io::Write + Send>);
        Ok(Self { out, file: Some((file, part.into(), path.to_owned())) })
    }

    /// What is written into.
    pub fn out(&mut self) -> &mut (dyn io::Write + Send) {
        &mut self.out
    }

    /// It is whole: it gets its name, and is on the disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(mut self) -> Result<(), ArchiveError> {
        self.out.flush()?;
        if let Some((file, part, path)) = self.file {
            file.sync_all()?;
            std::fs::rename(part, path)?;
        }
        Ok(())
    }
}

/// Imports a file, or `-`: standard input.
///
/// # Errors
/// As [`import`].
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

/// How far it is, on standard error. Says nothing where that is no terminal.
pub struct Bar(ProgressBar);

impl Bar {
    /// One that shows nothing yet.
    #[must_use]
    #[allow(clippy::new_without_default)] // it shows something
    pub fn new() -> Self {
        let bar = ProgressBar::new(0);
        let template = "{wide_bar} {human_pos} of {human_len} events, {per_sec:.0}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows how many events are done.
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
