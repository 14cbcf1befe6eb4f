//! The commands that are the daemon itself, or work on a log: its own, or a copy.

mod backup;
mod daemon;
mod verify;

pub(super) use backup::{BackupArgs, RestoreArgs, backup, restore};
pub(super) use verify::{VerifyArgs, verify};

use crate::config::{Config, LogFormat, ServeArgs};
use crate::daemon::{open_existing_store, open_store, run};
use crate::{archive, reactors};
use anyhow::Context as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Why a command did not do what it was asked. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct CliError(String);

impl CliError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Where the log is.
#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// The configuration file of the daemon.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The data folder of the daemon.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl StoreArgs {
    fn load(self) -> anyhow::Result<Config> {
        let args = ServeArgs { config: self.config, data_dir: self.data_dir, ..ServeArgs::default() };
        Ok(Config::load(&args, std::env::vars_os())?)
    }
}

/// Folds the tables anew.
pub(super) async fn rebuild(args: StoreArgs) -> anyhow::Result<()> {
    let store = open_existing_store(&args.load()?).await?;
    let rows = reactors::rebuild(store.as_ref()).await?;
    let head = store.head().await?;
    store.close().await;
    println!("rebuilt {rows} rows from {} events", head.seq);
    Ok(())
}

/// A log in a file, and the store that it comes from or goes to.
#[derive(Debug, clap::Args)]
pub(super) struct ArchiveArgs {
    /// The file; - for standard input or output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

/// Writes the log into a file.
pub(super) async fn export(args: ArchiveArgs) -> anyhow::Result<()> {
    let store = open_existing_store(&args.store.load()?).await?;
    let since = chrono::Utc::now() - crate::journal::ANSWERS_KEPT;
    let exported = archive::export_file(store.as_ref(), &args.file, since).await;
    store.close().await;
    let head = exported?;
    eprintln!("exported {} events in {} commits; head {}:{}", head.seq, head.commits, head.seq, head.digest);
    Ok(())
}

/// Fills an empty store from a file.
pub(super) async fn import(args: ArchiveArgs) -> anyhow::Result<()> {
    let store = open_store(&args.store.load()?).await?;
    let imported = archive::import_file(store.as_ref(), &args.file).await;
    store.close().await;
    let head = imported?;
    eprintln!("imported {} events in {} commits; head {}:{}", head.seq, head.commits, head.seq, head.digest);
    Ok(())
}

/// Runs the daemon.
pub(super) async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let config = Config::load(args, std::env::vars_os())?;
    start_logging(&config)?;
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    let ready = |address| {
        use std::io::Write as _;
        // Nobody may read it; the daemon goes on all the same.
        let _ = writeln!(std::io::stdout(), "kdaemon listens on http://{address}");
    };
    run(config, shutdown, ready).await?;
    Ok(())
}

/// Messages go to stderr; stdout is for what was asked for.
fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level)
        .with_context(|| format!("log_level: `{}` is not a filter", config.log_level))?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match config.log_format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn stop_on_signals(shutdown: &CancellationToken) -> anyhow::Result<()> {
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

/// A bar on the terminal, or nothing where there is none.
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

/// Tells how many events were checked, of how many as far as is known.
fn tell(bar: &indicatif::ProgressBar, checked: u64, of: u64) {
    bar.set_length(of.max(checked));
    bar.set_position(checked);
}
