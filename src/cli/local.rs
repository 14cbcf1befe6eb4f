//! `serve`, and the commands that open a log directly: the daemon's or a copy.

mod backup;
mod error;
mod verify;

pub(super) use backup::{BackupArgs, RestoreArgs, backup, restore};
pub(super) use verify::{VerifyArgs, verify};

use super::client::{ApiClient, ApiRequest};
use super::error::CliError;
use crate::archive::{Bar, Header, NewFile};
use crate::config::{Config, LogFormat, ServeArgs};
use crate::daemon::{open_existing_store, open_store, run};
use crate::verify::Expectation;
use crate::{archive, reactors};
use http::Method;
use kdaemon_api::RebuiltTables;
use kdaemon_events::Seq;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Options that locate a log.
#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// Configuration file of the daemon
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Data folder of the daemon
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl StoreArgs {
    /// The daemon to ask, unless a log is given here: these options take precedence over KDAEMON_SERVER.
    fn server(&self, server: Option<String>) -> Option<String> {
        let is_named = self.config.is_some() || self.data_dir.is_some();
        server.filter(|server| !is_named && !server.is_empty())
    }

    fn load(self) -> Result<Config, CliError> {
        let args = ServeArgs { config: self.config, data_dir: self.data_dir, ..ServeArgs::default() };
        Ok(Config::load(&args, std::env::vars_os())?)
    }
}

/// Rebuilds the tables, or has the daemon rebuild them.
pub(super) async fn rebuild(args: StoreArgs, server: Option<String>) -> Result<(), CliError> {
    let RebuiltTables { rows, events } = match args.server(server) {
        Some(server) => ask_to_rebuild(&ApiClient::new(&server)?).await?,
        None => {
            let store = open_existing_store(&args.load()?).await?;
            let rebuilt = reactors::rebuild(store.as_ref()).await;
            store.close().await;
            rebuilt?.into()
        }
    };
    println!("rebuilt {rows} rows from {events} events");
    Ok(())
}

/// Timeout for a daemon to rebuild its tables.
const REBUILD_LIMIT: Duration = Duration::from_secs(3_600);

async fn ask_to_rebuild(client: &ApiClient) -> Result<RebuiltTables, CliError> {
    let request = ApiRequest::new(Method::POST, &["rebuild"])?.patience(REBUILD_LIMIT);
    client.typed(request).await
}

/// A file with an exported log, and the store.
#[derive(Debug, clap::Args)]
pub(super) struct ArchiveArgs {
    /// File with the log; - for standard input or output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

/// Writes the log of a store or of a daemon to a file.
pub(super) async fn export(args: ArchiveArgs, server: Option<String>) -> Result<(), CliError> {
    let (seq, commits, root) = match args.store.server(server) {
        Some(server) => {
            let Header { events, commits, root, .. } =
                export_of(&ApiClient::new(&server)?, &args.file).await?;
            (events, commits, root)
        }
        None => {
            let store = open_existing_store(&args.store.load()?).await?;
            let since = chrono::Utc::now() - crate::journal::IDEMPOTENCY_RETENTION;
            let exported = archive::export_file(store.as_ref(), &args.file, since).await;
            store.close().await;
            let head = exported?;
            (head.seq, head.commits, head.root)
        }
    };
    eprintln!("exported {seq} events in {commits} commits; head {seq}:{root}");
    Ok(())
}

/// Downloads the log of a daemon into a file.
async fn export_of(client: &ApiClient, file: &Path) -> Result<Header, CliError> {
    let mut kept = NewFile::at(file)?;
    let request = ApiRequest::get(&["export"])?.accept("application/x-ndjson");
    let mut body = client.open(request, None).await?;
    let (mut first, mut commits, mut header) = (Vec::new(), 0, None::<Header>);
    let mut bar = Bar::new();
    while let Some(piece) = client.piece(&mut body, None).await.map_err(broke_off)? {
        kept.out().write_all(&piece)?;
        commits += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        match &header {
            // Exact enough for a progress bar: commits have similar numbers of events.
            Some(header) => bar.show(header, Seq(header.events.0 * (commits - 1) / header.commits.max(1))),
            None => {
                first.extend_from_slice(&piece);
                if let Some(end) = first.iter().position(|byte| *byte == b'\n') {
                    let no_log = |_| client.unreadable();
                    header = Some(serde_json::from_slice(&first[..end]).map_err(no_log)?);
                }
            }
        }
    }
    match header {
        Some(header) if commits == header.commits + 1 => {
            kept.keep()?;
            Ok(header)
        }
        _ => Err(broke_off(CliError::Other("it ended early".to_owned()))),
    }
}

/// The failure of an incomplete download.
fn broke_off(failure: CliError) -> CliError {
    CliError::Other(format!(
        "the response is incomplete ({failure}) and no file was written; see the daemon's log"
    ))
}

/// A file with an exported log, the store, and the expected head.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Head that was printed when the log was exported or verified; the import fails if the file has another one
    #[arg(long, value_name = "SEQ:ROOT")]
    expect: Option<Expectation>,
}

/// Imports a file into an empty store.
pub(super) async fn import(args: ImportArgs) -> Result<(), CliError> {
    let ImportArgs { archive: ArchiveArgs { file, store }, expect } = args;
    let store = open_store(&store.load()?).await?;
    let imported = archive::import_file(store.as_ref(), &file, expect).await;
    store.close().await;
    let head = imported?;
    eprintln!("imported {} events in {} commits; head {}:{}", head.seq, head.commits, head.seq, head.root);
    Ok(())
}

/// Runs the daemon.
pub(super) async fn serve(args: &ServeArgs) -> Result<(), CliError> {
    let config = Config::load(args, std::env::vars_os())?;
    start_logging(&config)?;
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    let ready = |address| {
        use std::io::Write as _;
        // A closed stdout does not stop the daemon.
        let _ = writeln!(std::io::stdout(), "kdaemon listens on http://{address}");
    };
    run(config, shutdown, ready).await?;
    Ok(())
}

/// Sends log lines to stderr: stdout is for data.
fn start_logging(config: &Config) -> Result<(), CliError> {
    let filter: Targets =
        config.log_level.parse().map_err(|error: tracing_subscriber::filter::ParseError| {
            CliError::Usage(format!("log_level: `{}` is not a valid filter: {error}", config.log_level))
        })?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter);
    match config.log_format {
        LogFormat::Text => registry.with(layer.with_target(false)).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
    Ok(())
}

fn stop_on_signals(shutdown: &CancellationToken) -> Result<(), CliError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        shutdown.cancel();
    });
    Ok(())
}

/// A progress bar on stderr; hidden if stderr is not a terminal.
fn progress_bar(unit: &str) -> indicatif::ProgressBar {
    use std::io::IsTerminal as _;
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::no_length();
    let template = match unit {
        "bytes" => "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {eta} left".to_owned(),
        _ => format!("{{msg}} {{wide_bar}} {{human_pos}} of {{human_len}} {unit}, {{eta}} left"),
    };
    if let Ok(style) = indicatif::ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// Shows the number of checked events; the total may still grow.
fn tell(bar: &indicatif::ProgressBar, checked: u64, of: u64) {
    bar.set_length(of.max(checked));
    bar.set_position(checked);
}
