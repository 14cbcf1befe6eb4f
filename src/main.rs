//! The program: parses its arguments and runs what they say.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use kdaemon::config::{Config, LogFormat, ServeArgs};
use kdaemon::{archive, daemon, reactors};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Half of what the daemon does for a request is small pieces of memory taken and given back (measured by
/// `scripts/bench journal`): the system's allocator takes twice the time for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Manages containers over plain Docker engines, and remembers everything that happened.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Runs the daemon.
    ///
    /// Without any configuration it listens on 127.0.0.1:1337, keeps its log in the user's state folder, and
    /// mounts this machine's own Docker engine as the node `local`.
    Serve(ServeArgs),
    /// Drops the tables nodes, applications and containers and folds them from the log anew.
    ///
    /// The daemon of that data folder must not run.
    Rebuild(StoreArgs),
    /// Checks that no event of the log was altered, removed or inserted.
    ///
    /// The daemon of that data folder must not run.
    Verify(StoreArgs),
    /// Writes the whole log into a file, to move it to another store.
    ///
    /// One line of JSON for each commit, with the exact text of its events. An embedded store's daemon must not run.
    Export(ArchiveArgs),
    /// Fills an empty store with an exported log, and checks it on the way.
    ///
    /// Cut short, the same import goes on where it stopped. No daemon of that store may run.
    Import(ArchiveArgs),
}

/// A log in a file, and the store that it comes from or goes to.
#[derive(clap::Args)]
struct ArchiveArgs {
    /// The file; - for standard input or output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

/// Where the log is.
#[derive(clap::Args)]
struct StoreArgs {
    /// The configuration file of the daemon.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
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

fn main() -> std::process::ExitCode {
    let action = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kdaemon: the runtime could not be started: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(action)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kdaemon: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Serve(args) => serve(&args).await,
        Action::Export(args) => export(args).await,
        Action::Import(args) => import(args).await,
        Action::Rebuild(args) => {
            let store = daemon::open_existing_store(&args.load()?).await?;
            let rows = reactors::rebuild(store.as_ref()).await?;
            let head = store.head().await?;
            store.close().await;
            println!("rebuilt {rows} rows from {} events", head.seq);
            Ok(())
        }
        Action::Verify(args) => {
            let store = daemon::open_existing_store(&args.load()?).await?;
            let head = store.verify().await?;
            store.close().await;
            println!(
                "verified {} events in {} commits; head {}:{}",
                head.seq, head.commits, head.seq, head.digest
            );
            Ok(())
        }
    }
}

async fn export(args: ArchiveArgs) -> anyhow::Result<()> {
    let store = daemon::open_existing_store(&args.store.load()?).await?;
    let since = chrono::Utc::now() - kdaemon::journal::ANSWERS_KEPT;
    let exported = archive::export_file(store.as_ref(), &args.file, since).await;
    store.close().await;
    let head = exported?;
    eprintln!("exported {} events in {} commits; head {}:{}", head.seq, head.commits, head.seq, head.digest);
    Ok(())
}

async fn import(args: ArchiveArgs) -> anyhow::Result<()> {
    let store = daemon::open_store(&args.store.load()?).await?;
    let imported = archive::import_file(store.as_ref(), &args.file).await;
    store.close().await;
    let head = imported?;
    eprintln!("imported {} events in {} commits; head {}:{}", head.seq, head.commits, head.seq, head.digest);
    Ok(())
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let config = Config::load(args, std::env::vars_os())?;
    start_logging(&config)?;
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    let ready = |address| {
        use std::io::Write as _;
        // Nobody may read it; the daemon goes on all the same.
        let _ = writeln!(std::io::stdout(), "kdaemon listens on http://{address}");
    };
    daemon::run(config, shutdown, ready).await?;
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
