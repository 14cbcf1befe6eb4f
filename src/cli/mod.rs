//! The command line: one program that is both the daemon and its client.
//!
//! Each subject has a file. `client` sends requests, `error` holds the errors, `change` sends commands and reports their
//! outcome, `output` and `table` write the results; each of the other files is a subcommand.
//!
//! Architecture Invariant: everything but `local` (`serve`, and the commands that open a log directly) is a client of the
//! public API and of nothing else: it knows no journal, no store and no engine. `tests/tidy.rs` checks this.

mod applications;
mod apply;
mod at;
mod cells;
mod change;
mod client;
mod columns;
mod containers;
mod error;
mod event;
mod event_stream;
mod events;
mod exit;
mod fields;
mod get;
mod health_check;
mod history;
mod items;
mod json;
mod kind;
mod local;
mod logs;
mod names;
mod nodes;
mod output;
mod progress;
mod rebalance;
mod replay;
mod status;
mod table;
mod target;
mod variables;
mod watch;
mod when;
mod why;

use crate::config::ServeArgs;
use clap::{CommandFactory as _, Parser, Subcommand};
use client::ApiClient;
use error::CliError;
use exit::ExitStatus;
use output::Format;
use std::process::ExitCode;

/// Appends the accepted forms of a time to the examples of a command.
macro_rules! with_times {
    ($examples:literal) => {
        format!("{}\n\n{}", $examples, crate::cli::when::FORMS)
    };
}
use with_times;

/// Manage containers on plain Docker engines, with a complete history of what happened
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120, after_help = help())]
pub struct Cli {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    action: Action,
}

fn help() -> String {
    format!("{EXAMPLES}\n\nExit codes:\n{}", exit::help())
}

const EXAMPLES: &str = "\
Examples:
  kdaemon nodes add tcp://10.0.0.5:2375 --name b --label zone=a
  kdaemon apps add web --image nginx:1.27 --port 8080:80 --replicas 3 --wait
  kdaemon containers logs -f web-1
  kdaemon at \"10m ago\" status
  kdaemon apply -f compose.yml

Data goes to stdout, messages to stderr. Set NO_COLOR to turn colours off.";

/// Options that every client command takes.
#[derive(Debug, Clone, clap::Args)]
struct ClientArgs {
    /// Address of the daemon.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "KDAEMON_SERVER",
        hide_env_values = true,
        help_heading = "Client options",
        help = "Address of the daemon [default: http://127.0.0.1:1337]"
    )]
    server: Option<String>,
    /// Output format
    #[arg(short, long, global = true, value_name = "FORMAT", help_heading = "Client options")]
    output: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the daemon
    ///
    /// Without any configuration it listens on 127.0.0.1:1337, keeps its log in the user's state folder, and
    /// mounts this machine's own Docker engine as the node `local`.
    #[command(after_help = "Examples:\n  kdaemon serve\n  kdaemon serve --config /etc/kdaemon/app.conf")]
    Serve(ServeArgs),
    /// Rebuild the tables of nodes, applications and containers from the log
    ///
    /// The daemon of that data folder must be stopped. To rebuild the tables of a running daemon, use --server.
    #[command(after_help = "\
Examples:
  kdaemon rebuild --data-dir /var/lib/kdaemon
  kdaemon rebuild --server http://127.0.0.1:1337")]
    Rebuild(local::StoreArgs),
    /// Verify that no event of the log was altered, removed or inserted
    ///
    /// Reads the log directly, whether or not the daemon runs; with --server the daemon verifies its own log. If verification
    /// fails, the error names the first commit that does not match.
    #[command(after_help = "\
Examples:
  kdaemon verify --data-dir /var/lib/kdaemon
  kdaemon verify --server http://127.0.0.1:1337 --expect $(cat head-of-yesterday)")]
    Verify(local::VerifyArgs),
    /// Copy the log of a running daemon to a file, and verify the copy
    #[command(after_help = "Example:\n  kdaemon backup kdaemon-2026-11-22.db")]
    Backup(local::BackupArgs),
    /// Create a data folder from a backup
    ///
    /// A daemon started on that folder adopts the containers that run.
    #[command(after_help = "Example:\n  kdaemon restore kdaemon-2026-11-22.db --data-dir /var/lib/kdaemon")]
    Restore(local::RestoreArgs),
    /// Write the whole log to a file, to move it to another store
    ///
    /// The file has one line of JSON per commit, with the exact text of its events. The daemon of an embedded store must be
    /// stopped; to export the log of a running one, use --server.
    #[command(after_help = "\
Examples:
  kdaemon export log.jsonl --data-dir /var/lib/kdaemon
  kdaemon export log.jsonl --server http://127.0.0.1:1337")]
    Export(local::ArchiveArgs),
    /// Import an exported log into an empty store, and verify it
    ///
    /// Repeat an interrupted import to resume it. All daemons of that store must be stopped.
    #[command(after_help = "Example:\n  kdaemon import log.jsonl --config rethinkdb.conf")]
    Import(local::ImportArgs),
    /// Show the cluster on one screen
    #[command(after_help = "Examples:\n  kdaemon status\n  kdaemon status -o json | jq .containers")]
    Status,
    /// Show the cluster on one screen, live, until Ctrl-C
    #[command(after_help = "Example:\n  kdaemon watch")]
    Watch,
    /// Manage nodes
    #[command(visible_alias = "node", after_help = "Example:\n  kdaemon nodes ls")]
    Nodes {
        #[command(subcommand)]
        command: nodes::NodesCommand,
    },
    /// Manage applications
    #[command(visible_aliases = ["app", "applications"], after_help = "Example:\n  kdaemon apps ls")]
    Apps {
        #[command(subcommand)]
        command: applications::ApplicationsCommand,
    },
    /// Manage containers
    #[command(visible_alias = "container", after_help = "Example:\n  kdaemon containers ls")]
    Containers {
        #[command(subcommand)]
        command: containers::ContainersCommand,
    },
    /// Apply a Compose file to the cluster
    Apply(apply::ApplyArgs),
    /// Rebalance the containers across the nodes now
    Rebalance(rebalance::RebalanceArgs),
    /// Show the log: what happened, who did it, and its cause
    #[command(after_help = "\
Examples:
  kdaemon events
  kdaemon events -f --kind NodeUnhealthy,ContainerMigrationCommanded
  kdaemon events --subject web-1 --since \"1h ago\" -o json | jq .data")]
    Events(events::EventsArgs),
    /// Show one event with all its fields
    #[command(after_help = "Example:\n  kdaemon event 812")]
    Event {
        /// Seq of the event
        seq: u64,
    },
    /// Show the cluster as it was at another time
    At(at::AtArgs),
    /// Show what changed between two points in history
    Diff(history::DiffArgs),
    /// Replay recorded history under another placement policy
    Replay(replay::ReplayArgs),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  kdaemon completions bash > /etc/bash_completion.d/kdaemon
  kdaemon completions zsh > ~/.zfunc/_kdaemon
  kdaemon completions fish > ~/.config/fish/completions/kdaemon.fish")]
    Completions {
        /// Shell to complete in
        shell: clap_complete::Shell,
    },
}

/// The client and the options of a client command.
#[derive(Debug, Clone)]
struct CliContext {
    client: ApiClient,
    /// The requested format; `None`: a table, or a message for a command that changes something.
    output: Option<Format>,
}

impl CliContext {
    /// `true` if a program reads the output, and needs ids rather than names.
    fn is_for_scripts(&self) -> bool {
        matches!(self.output, Some(Format::Json | Format::Yaml | Format::Name))
    }
}

impl Cli {
    /// Runs the subcommand; a failure is reported on stderr and by the exit code.
    pub async fn run(self) -> ExitCode {
        let result = match self.action {
            Action::Serve(args) => local::serve(&args).await,
            Action::Rebuild(args) => local::rebuild(args, self.client.server).await,
            Action::Verify(args) => local::verify(args, self.client.server).await,
            Action::Backup(args) => local::backup(args, self.client.server).await,
            Action::Restore(args) => local::restore(args).await,
            Action::Export(args) => local::export(args, self.client.server).await,
            Action::Import(args) => local::import(args).await,
            action => client_command(self.client, action).await,
        };
        match result {
            Ok(()) => ExitStatus::Success.into(),
            Err(failure) => {
                if !failure.is_silent() {
                    output::say(format_args!("kdaemon: {failure}"));
                }
                failure.exit().into()
            }
        }
    }
}

async fn client_command(args: ClientArgs, action: Action) -> Result<(), CliError> {
    if let Action::Completions { shell } = action {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "kdaemon", &mut script);
        return output::print_bytes(&script);
    }
    let server = args.server.filter(|server| !server.is_empty());
    let client = ApiClient::new(server.as_deref().unwrap_or(client::DEFAULT_SERVER))?;
    let cx = &CliContext { client, output: args.output };
    match action {
        Action::Status => status::run(cx).await,
        Action::Watch => watch::run(cx).await,
        Action::Nodes { command } => nodes::run(cx, command).await,
        Action::Apps { command } => applications::run(cx, command).await,
        Action::Containers { command } => containers::run(cx, command).await,
        Action::Apply(args) => apply::run(cx, &args).await,
        Action::Rebalance(args) => rebalance::run(cx, &args).await,
        Action::Events(args) => events::run(cx, &args).await,
        Action::Event { seq } => events::one(cx, seq).await,
        Action::At(args) => at::run(cx, args).await,
        Action::Diff(args) => history::diff(cx, &args).await,
        Action::Replay(args) => replay::run(cx, &args).await,
        Action::Serve(_)
        | Action::Rebuild(_)
        | Action::Verify(_)
        | Action::Backup(_)
        | Action::Restore(_)
        | Action::Export(_)
        | Action::Import(_)
        | Action::Completions { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn clap_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{path} has no examples");
            for example in help.lines().filter(|line| line.trim_start().starts_with("kdaemon ")) {
                let words = example.trim().split([' ', '|', '>']).take(2).collect::<Vec<_>>();
                assert!(Cli::command().find_subcommand(words[1]).is_some(), "{path}: {example}");
            }
            for command in command.get_subcommands() {
                check(command, &path);
            }
        }
        check(&Cli::command(), "");
    }
}
