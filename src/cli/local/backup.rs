//! `kdaemon backup` and `kdaemon restore`.

use super::daemon::Daemon;
use super::{CliError, progress_bar, tell};
use crate::http_client::chain;
use crate::store::{restore_file, verify_file};
use crate::verify::Expectation;
use anyhow::Context as _;
use http_body_util::BodyExt as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What is backed up, and to where.
#[derive(clap::Args, Debug)]
pub struct BackupArgs {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Overwrites the file if it is there
    #[arg(long)]
    force: bool,
}

/// Writes a daemon's log to a file, verifies it and prints its head.
///
/// The file appears under its name when it is whole, on the disk and verified.
///
/// # Errors
/// When the daemon does not answer, the file is there already or cannot be written, or what was written does not fit.
pub async fn backup(args: BackupArgs, server: Option<String>) -> anyhow::Result<()> {
    let server = server.filter(|server| !server.is_empty());
    let server = server.as_deref().unwrap_or(crate::cli::client::DEFAULT_SERVER);
    let file = args.file;
    if !args.force && file.symlink_metadata().is_ok() {
        return Err(already_there(&file).into());
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let written = |what: &Path| format!("{} cannot be written", what.display());
    // Readable by its owner alone, and gone when something fails.
    let partial = tempfile::Builder::new().prefix(".kdaemon-backup-").tempfile_in(&folder);
    let mut partial = partial.with_context(|| written(&folder))?;
    let daemon = Daemon::at(server)?;
    let mut body = daemon.get("/backup", "*/*").await?;
    let bar = progress_bar("bytes");
    bar.set_message("copying");
    if let Some(length) = hyper::body::Body::size_hint(body.body()).exact() {
        bar.set_length(length);
    }
    while let Some(frame) = body.body_mut().frame().await {
        let broke_off = |error| {
            let why = chain(&error);
            CliError::new(format!(
                "the answer broke off ({why}), nothing was kept; the daemon's log says more"
            ))
        };
        let frame = frame.map_err(broke_off)?;
        let piece = frame.data_ref().map(AsRef::as_ref).unwrap_or_default();
        partial.write_all(piece).with_context(|| written(partial.path()))?;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    partial.as_file().sync_all().with_context(|| written(partial.path()))?;
    let bar = progress_bar("events");
    bar.set_message("verifying");
    let (path, told) = (partial.path().to_owned(), bar.clone());
    let work = move || verify_file(&path, None, |checked, of| tell(&told, checked.0, of.0));
    let found = tokio::task::spawn_blocking(work).await??;
    bar.finish_and_clear();
    if let Some(trouble) = found.trouble() {
        return Err(CliError::new(format!(
            "the daemon's log is not as it was written, nothing was kept: {trouble}"
        ))
        .into());
    }
    let kept = if args.force { partial.persist(&file) } else { partial.persist_noclobber(&file) };
    kept.map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => already_there(&file),
        _ => CliError::new(format!("{}: {}", written(&file), error.error)),
    })?;
    std::fs::File::open(&folder).and_then(|folder| folder.sync_all()).with_context(|| written(&folder))?;
    let head = found.head;
    println!(
        "backed up {} events in {} commits to {}; head {}:{}",
        found.events,
        found.commits,
        file.display(),
        head.seq,
        head.root
    );
    Ok(())
}

fn already_there(file: &Path) -> CliError {
    CliError::new(format!(
        "{} is there already; name another file, or overwrite it with --force",
        file.display()
    ))
}

/// What is restored, and to where.
#[derive(clap::Args, Debug)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data folder to make: it must be empty, or not there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The head that the backup had, kept elsewhere
    #[arg(long, value_name = "SEQ:ROOT")]
    expect: Option<Expectation>,
}

/// Makes a data folder of a backup.
///
/// # Errors
/// When the folder is not empty, or the backup cannot be read or does not fit; nothing was done then.
pub async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let bar = progress_bar("events");
    bar.set_message("restoring");
    let told = bar.clone();
    let (file, data_dir) = (args.file, args.data_dir);
    let into = data_dir.clone();
    let work = move || restore_file(&file, &into, args.expect, |checked, of| tell(&told, checked.0, of.0));
    let found = tokio::task::spawn_blocking(work).await?;
    bar.finish_and_clear();
    let found = found?;
    println!(
        "restored {} events in {} commits to {}; head {}:{}",
        found.events,
        found.commits,
        data_dir.display(),
        found.head.seq,
        found.head.root
    );
    eprintln!(
        "before a daemon is started on it, the one that it was taken from must have ended: both would command the same \
         containers. What was launched after the backup answers to no record, and is removed from its node."
    );
    Ok(())
}
