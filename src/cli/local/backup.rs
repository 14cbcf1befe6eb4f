//! `kdaemon backup` and `kdaemon restore`.

use super::{broke_off, progress_bar, tell};
use crate::cli::client::{ApiClient, ApiRequest};
use crate::cli::error::CliError;
use crate::store::{restore_file, verify_file};
use crate::verify::Expectation;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Options of `kdaemon backup`.
#[derive(clap::Args, Debug)]
pub struct BackupArgs {
    /// File to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
}

/// Copies a daemon's log to a file, verifies the copy and prints its head.
///
/// The file appears under its name when it is complete, synced to disk and verified.
///
/// # Errors
/// When the daemon does not answer, the file exists or cannot be written, or the copy fails verification.
pub async fn backup(args: BackupArgs, server: Option<String>) -> Result<(), CliError> {
    let server = server.filter(|server| !server.is_empty());
    let server = server.as_deref().unwrap_or(crate::cli::client::DEFAULT_SERVER);
    let file = args.file;
    if !args.force && file.symlink_metadata().is_ok() {
        return Err(already_there(&file));
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let cannot_write = |what: &Path, error: std::io::Error| {
        CliError::Other(format!("cannot write {}: {error}", what.display()))
    };
    // Only its owner can read it, and it is removed after a failure.
    let partial = tempfile::Builder::new().prefix(".kdaemon-backup-").tempfile_in(&folder);
    let mut partial = partial.map_err(|error| cannot_write(&folder, error))?;
    let client = ApiClient::new(server)?;
    let mut body = client.open(ApiRequest::get(&["backup"])?.accept("*/*"), None).await?;
    let bar = progress_bar("bytes");
    bar.set_message("copying");
    if let Some(length) = hyper::body::Body::size_hint(body.body()).exact() {
        bar.set_length(length);
    }
    while let Some(piece) = client.piece(&mut body, None).await.map_err(broke_off)? {
        partial.write_all(&piece).map_err(|error| cannot_write(partial.path(), error))?;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    partial.as_file().sync_all().map_err(|error| cannot_write(partial.path(), error))?;
    let bar = progress_bar("events");
    bar.set_message("verifying");
    let (path, told) = (partial.path().to_owned(), bar.clone());
    let work = move || verify_file(&path, None, |checked, of| tell(&told, checked.0, of.0));
    let found = tokio::task::spawn_blocking(work).await??;
    bar.finish_and_clear();
    if let Some(trouble) = found.trouble() {
        return Err(CliError::Other(format!(
            "the daemon's log failed verification, and no file was written: {trouble}"
        )));
    }
    let kept = if args.force { partial.persist(&file) } else { partial.persist_noclobber(&file) };
    kept.map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => already_there(&file),
        _ => cannot_write(&file, error.error),
    })?;
    std::fs::File::open(&folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| cannot_write(&folder, error))?;
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
    CliError::Invalid(format!(
        "{} exists; choose another file, or use --force to overwrite it",
        file.display()
    ))
}

/// Options of `kdaemon restore`.
#[derive(clap::Args, Debug)]
pub struct RestoreArgs {
    /// File with the backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Data folder to create, which must be empty or absent
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Head of the backup, kept elsewhere
    #[arg(long, value_name = "SEQ:ROOT")]
    expect: Option<Expectation>,
}

/// Creates a data folder from a backup.
///
/// # Errors
/// When the folder is not empty, or the backup cannot be read or fails verification. The folder is unchanged then.
pub async fn restore(args: RestoreArgs) -> Result<(), CliError> {
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
        "stop the original daemon before you start one on this folder: both would command the same containers. \
         Containers launched after the backup have no record in it and will be removed from their nodes."
    );
    Ok(())
}
