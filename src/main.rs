//! The program: parses its arguments and runs what they say.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use kdaemon::cli::{self, BackupArgs, RestoreArgs, StoreArgs, VerifyArgs};
use kdaemon::config::{Config, LogFormat, ServeArgs};
use kdaemon::{daemon, reactors};
use std::io::IsTerminal as _;
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
    /// It reads the log itself, whether the daemon runs or not, or asks the daemon with --server. It ends with an error, and
    /// names the first commit that does not fit, when the log is not as it was written.
    Verify(VerifyArgs),
    /// Copies the log of a daemon, which works on meanwhile, to a file, and verifies the copy.
    Backup(BackupArgs),
    /// Makes a data folder of a backup. A daemon that is started on it takes over what runs.
    Restore(RestoreArgs),
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
        Action::Rebuild(args) => {
            let store = daemon::open_existing_store(&args.load()?)?;
            let rows = reactors::rebuild(store.as_ref()).await?;
            let head = store.head().await?;
            store.close().await;
            println!("rebuilt {rows} rows from {} events", head.seq);
            Ok(())
        }
        Action::Verify(args) => cli::verify(args).await,
        Action::Backup(args) => cli::backup(args).await,
        Action::Restore(args) => cli::restore(args).await,
    }
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
