//! `kdaemon verify`: whether the log is as it was written.

use super::{StoreArgs, progress_bar, tell};
use crate::cli::client::{Client, Request};
use crate::cli::failure::Failure;
use crate::config::StoreKind;
use crate::daemon::{DaemonError, open_existing_store};
use crate::store::{SqliteStore, verify_file};
use crate::verify::{Expectation, verify_log};
use indicatif::ProgressBar;
use kdaemon_api::{AuditProgress, AuditReport};
use serde::Deserialize;

/// What is verified, and against what.
#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The head that an earlier verification printed, kept elsewhere; without it a missing end or a replaced log is not
    /// noticed
    #[arg(long, value_name = "SEQ:ROOT")]
    expect: Option<Expectation>,
}

/// Verifies the log, or asks the daemon to, and prints what was found.
///
/// # Errors
/// When it cannot be read, and when it does not fit: with the first commit that does not.
pub async fn verify(args: VerifyArgs, server: Option<String>) -> Result<(), Failure> {
    let bar = progress_bar("events");
    bar.set_message("verifying");
    let found = match args.store.server(server) {
        Some(server) => ask(&Client::new(&server)?, args.expect, &bar).await,
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
        Some(trouble) => Err(Failure::Other(trouble)),
    }
}

/// Reads the log itself.
async fn look(
    store: StoreArgs,
    expect: Option<Expectation>,
    bar: &ProgressBar,
) -> Result<AuditReport, Failure> {
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
enum Line {
    Progress(AuditProgress),
    Found(AuditReport),
}

/// The longest line of an answer.
const LINE_LIMIT: usize = 64 * 1024;

/// Has a daemon verify its own log.
async fn ask(
    client: &Client,
    expect: Option<Expectation>,
    bar: &ProgressBar,
) -> Result<AuditReport, Failure> {
    let expect = expect.map(|expected| format!("{}:{}", expected.seq, expected.root));
    let request = Request::get(&["audit", "verify"])?.maybe("expect", expect).accept("application/x-ndjson");
    let mut body = client.open(request, None).await?;
    let broke_off = |failure: Failure| {
        Failure::Other(format!("the response broke off ({failure}); see the daemon's log"))
    };
    let mut text = Vec::new();
    while let Some(piece) = client.piece(&mut body, None).await.map_err(broke_off)? {
        text.extend_from_slice(&piece);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Line::Progress(AuditProgress { checked, of })) => tell(bar, checked, of),
                Ok(Line::Found(found)) => return Ok(found),
                Err(_) => return Err(client.unreadable()),
            }
        }
        if text.len() > LINE_LIMIT {
            return Err(client.unreadable());
        }
    }
    Err(broke_off(Failure::Other("it ended early".to_owned())))
}
