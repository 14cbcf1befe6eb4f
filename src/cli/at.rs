//! `kdaemon at TIME …`: reading commands at another point in history.

use super::error::CliError;
use super::get::ListArgs;
use super::kind::ResourceKind;
use super::when::PointText;
use super::{CliContext, get, status, why};
use clap::Subcommand;

/// A point in history, and the command that reads it.
#[derive(Debug, clap::Args)]
#[command(after_help = super::with_times!("\
Examples:
  kdaemon at \"10m ago\" status
  kdaemon at \"yesterday 14:00\" containers ls -f status=UP
  kdaemon at 812 nodes get node-b -o yaml
  kdaemon at 03:02 containers why web-1"))]
pub(super) struct AtArgs {
    /// Time, or seq of an event
    #[arg(value_parser = PointText::parse)]
    time: PointText,
    #[command(subcommand)]
    command: ReadCommand,
}

/// Resources that can be read at another time.
#[derive(Debug, Subcommand)]
enum ReadCommand {
    /// Show nodes as they were
    #[command(visible_alias = "node", after_help = "Example:\n  kdaemon at \"10m ago\" nodes ls")]
    Nodes {
        #[command(subcommand)]
        command: ReadOne,
    },
    /// Show applications as they were
    #[command(visible_aliases = ["app", "applications"], after_help = "Example:\n  kdaemon at \"10m ago\" apps ls")]
    Apps {
        #[command(subcommand)]
        command: ReadMany,
    },
    /// Show containers as they were
    #[command(visible_alias = "container", after_help = "Example:\n  kdaemon at \"10m ago\" containers ls")]
    Containers {
        #[command(subcommand)]
        command: ReadOne,
    },
    /// Show the cluster as it was, on one screen
    #[command(after_help = "Example:\n  kdaemon at \"10m ago\" status")]
    Status,
}

/// Reading commands for applications.
#[derive(Debug, Subcommand)]
enum ReadMany {
    /// List them
    #[command(visible_alias = "list", after_help = "Example:\n  kdaemon at 812 apps ls -o wide")]
    Ls(ListArgs),
    /// Show all fields of the named ones
    #[command(visible_alias = "show", after_help = "Example:\n  kdaemon at 812 apps get web")]
    Get {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Reading commands for nodes and containers, which also have a `why`.
#[derive(Debug, Subcommand)]
enum ReadOne {
    /// List them
    #[command(visible_alias = "list", after_help = "Example:\n  kdaemon at 812 containers ls -f status=UP")]
    Ls(ListArgs),
    /// Show all fields of the named ones
    #[command(visible_alias = "show", after_help = "Example:\n  kdaemon at 812 containers get web-1")]
    Get {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Explain the state that one was in
    #[command(after_help = "Example:\n  kdaemon at 812 containers why web-1")]
    Why {
        /// Name or id
        name: String,
    },
}

pub(super) async fn run(cx: &CliContext, args: AtArgs) -> Result<(), CliError> {
    let point = cx.client.resolve(&args.time).await?;
    let cx = &CliContext { client: cx.client.clone().at(point), ..cx.clone() };
    match args.command {
        ReadCommand::Nodes { command } => one(cx, ResourceKind::Nodes, command).await,
        ReadCommand::Containers { command } => one(cx, ResourceKind::Containers, command).await,
        ReadCommand::Apps { command: ReadMany::Ls(args) } => {
            get::list(cx, ResourceKind::Applications, &args).await
        }
        ReadCommand::Apps { command: ReadMany::Get { names } } => {
            get::get(cx, ResourceKind::Applications, &names).await
        }
        ReadCommand::Status => status::run(cx).await,
    }
}

async fn one(cx: &CliContext, kind: ResourceKind, command: ReadOne) -> Result<(), CliError> {
    match command {
        ReadOne::Ls(args) => get::list(cx, kind, &args).await,
        ReadOne::Get { names } => get::get(cx, kind, &names).await,
        ReadOne::Why { name } => why::run(cx, kind, &name).await,
    }
}
