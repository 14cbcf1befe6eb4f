//! `kdaemon verify`: the integrity check of the log.

use super::{StoreArgs, progress_bar, tell};
use crate::cli::client::{ApiClient, ApiRequest};
use crate::cli::error::CliError;
use crate::config::StoreKind;
use crate::daemon::{DaemonError, open_existing_store};
use crate::store::{SqliteStore, verify_file};
use crate::verify::{Expectation, verify_log};
use indicatif::ProgressBar;
use kdaemon_api::{AuditProgress, AuditReport};
use serde::Deserialize;

/// Options of `kdaemon verify`.
#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Head that an earlier verification printed, kept elsewhere; without it a truncated or replaced log is not detected
    #[arg(long, value_name = "SEQ:ROOT")]
    expect: Option<Expectation>,
}

/// Verifies the log, or has the daemon verify it, and prints the result.
///
/// # Errors
/// When the log cannot be read or fails verification; the error names the first commit that does not match.
pub async fn verify(args: VerifyArgs, server: Option<String>) -> Result<(), CliError> {
    let bar = progress_bar("events");
    bar.set_message("verifying");
    let found = match args.store.server(server) {
        Some(server) => ask(&ApiClient::new(&server)?, args.expect, &bar).await,
        None => look(args.store, args.expect, &bar).await,
    };
    bar.finish_and_clear();
    let found = found?;
    match found.trouble() {
        None => {
            let (head, commits) = (found.head, found.commits);
            println!("verified {} events in {commits} commits; head {}:{}", head.seq, head.seq, head.root);
            Ok(())
        }
        Some(trouble) => Err(CliError::Other(trouble)),
    }
}

/// Verifies the log of a store directly.
async fn look(
    store: StoreArgs,
    expect: Option<Expectation>,
    bar: &ProgressBar,
) -> Result<AuditReport, CliError> {
    let config = store.load()?;
    if config.store == StoreKind::Rethinkdb {
        let store = open_existing_store(&config).await?;
        bar.set_length(store.head().await?.seq.0);
        let found = verify_log(store.as_ref(), expect, |seq| bar.set_position(seq.0)).await;
        store.close().await;
        return Ok(found?.into());
    }
    if !SqliteStore::exists(&config.data_dir) {
        return Err(
            DaemonError::NoLog { place: config.data_dir.display().to_string(), hint: "--data-dir" }.into()
        );
    }
    let bar = bar.clone();
    let file = SqliteStore::file_in(&config.data_dir);
    let work = move || verify_file(&file, expect, |seq, of| tell(&bar, seq.0, of.0));
    Ok(tokio::task::spawn_blocking(work).await??.into())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum VerifyLine {
    Progress(AuditProgress),
    Found(AuditReport),
}

/// The longest accepted line of the response, in bytes.
const LINE_LIMIT: usize = 64 * 1024;

/// Has a daemon verify its own log.
async fn ask(
    client: &ApiClient,
    expect: Option<Expectation>,
    bar: &ProgressBar,
) -> Result<AuditReport, CliError> {
    let expect = expect.map(|expected| format!("{}:{}", expected.seq, expected.root));
    let request =
        ApiRequest::get(&["audit", "verify"])?.maybe("expect", expect).accept("application/x-ndjson");
    let mut body = client.open(request, None).await?;
    let broke_off = |failure: CliError| {
        CliError::Other(format!("the response is incomplete ({failure}); see the daemon's log"))
    };
    let mut text = Vec::new();
    while let Some(piece) = client.piece(&mut body, None).await.map_err(broke_off)? {
        text.extend_from_slice(&piece);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(VerifyLine::Progress(AuditProgress { checked, of })) => tell(bar, checked, of),
                Ok(VerifyLine::Found(found)) => return Ok(found),
                Err(_) => return Err(client.unreadable()),
            }
        }
        if text.len() > LINE_LIMIT {
            return Err(client.unreadable());
        }
    }
    Err(broke_off(CliError::Other("it ended early".to_owned())))
}
