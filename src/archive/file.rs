//! The file itself, and telling how far it is.

use super::{ArchiveError, Header, export, import};
use crate::store::{EventStore, Head};
use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use kdaemon_events::Seq;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Stands for standard input or output.
const STANDARD: &str = "-";
const BUFFER: usize = 1 << 20;

/// Exports into a new file, or `-`: standard output. The file has its name only when it is whole.
///
/// # Errors
/// As [`export`], and when there is such a file.
pub async fn export_file(
    store: &dyn EventStore,
    path: &Path,
    answers_since: DateTime<Utc>,
) -> Result<Head, ArchiveError> {
    let mut bar = Bar::new();
    let mut progress = |header: &Header, done| bar.show(header, done);
    if path == Path::new(STANDARD) {
        let mut out = BufWriter::with_capacity(BUFFER, io::stdout());
        return export(store, &mut out, answers_since, &mut progress).await;
    }
    if path.exists() {
        return Err(ArchiveError::Exists(path.display().to_string()));
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    // The log is nobody else's business.
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    let mut out = BufWriter::with_capacity(BUFFER, file);
    let head = export(store, &mut out, answers_since, &mut progress).await?;
    out.flush()?;
    out.get_ref().sync_all()?;
    std::fs::rename(&part, path)?;
    Ok(head)
}

/// Imports a file, or `-`: standard input.
///
/// # Errors
/// As [`import`].
pub async fn import_file(store: &dyn EventStore, path: &Path) -> Result<Head, ArchiveError> {
    let mut bar = Bar::new();
    let mut progress = |header: &Header, done| bar.show(header, done);
    if path == Path::new(STANDARD) {
        let mut input = BufReader::with_capacity(BUFFER, io::stdin());
        return import(store, &mut input, &mut progress).await;
    }
    let mut input = BufReader::with_capacity(BUFFER, File::open(path)?);
    import(store, &mut input, &mut progress).await
}

/// How far it is, on standard error. Says nothing where that is no terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        let template = "{wide_bar} {human_pos} of {human_len} events, {per_sec:.0}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn show(&mut self, header: &Header, done: Seq) {
        self.0.set_length(header.events.0);
        self.0.set_position(done.0);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
