//! The command line: one program that is the daemon, and a client of it.
//!
//! A file per subject. `client` speaks to the daemon, `failure` is what can go wrong, `change` is how commands are sent
//! and told of, `output` and `table` are what is written; the others are a subcommand each.
//!
//! Architecture Invariant: all but `local` (`serve` and its like, and what reads or writes a log itself) is a client of the public API and of nothing else:
//! it knows no journal, no store and no engine. `tests/tidy.rs` holds it.

mod applications;
mod apply;
mod at;
mod change;
mod client;
mod containers;
mod events;
mod failure;
mod get;
mod history;
mod items;
mod json;
mod local;
mod names;
mod nodes;
mod output;
mod progress;
mod rebalance;
mod replay;
mod sse;
mod status;
mod table;
mod variables;
mod watch;
mod when;
mod why;

use crate::config::ServeArgs;
use clap::{CommandFactory as _, Parser, Subcommand};
use client::Client;
use failure::Failure;
use output::Format;
use std::process::ExitCode;

/// The examples of a command, and the forms that a time can have.
macro_rules! with_times {
    ($examples:literal) => {
        format!("{}\n\n{}", $examples, crate::cli::when::FORMS)
    };
}
use with_times;

/// Manages containers over plain Docker engines, and remembers everything that happened
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120, after_help = HELP)]
pub struct Cli {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    action: Action,
}

const HELP: &str = "\
Examples:
  kdaemon nodes add tcp://10.0.0.5:2375 --name b --label zone=a
  kdaemon apps add web --image nginx:1.27 --port 8080:80 --replicas 3 --wait
  kdaemon containers logs -f web-1
  kdaemon at \"10m ago\" status
  kdaemon apply -f compose.yml

Data is written to stdout, messages to stderr. NO_COLOR turns colours off.

Exit codes:
  0  it is done, or shown
  1  something else: a time was over, an answer could not be understood, the daemon made a mistake
  2  the command line is wrong
  3  refused: it conflicts with the state of the cluster, or a value is not valid
  4  there is no such thing
  5  the daemon, its log or a node does not answer, or is busy: trying again may help";

/// How to speak to the daemon.
#[derive(Debug, Clone, clap::Args)]
struct ClientArgs {
    /// The daemon to speak to
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "KDAEMON_SERVER",
        hide_env_values = true,
        help_heading = "Client options",
        help = "The daemon to speak to [default: http://127.0.0.1:1337]"
    )]
    server: Option<String>,
    /// The form of what is shown
    #[arg(short, long, global = true, value_name = "FORM", help_heading = "Client options")]
    output: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs the daemon.
    ///
    /// Without any configuration it listens on 127.0.0.1:1337, keeps its log in the user's state folder, and
    /// mounts this machine's own Docker engine as the node `local`.
    #[command(after_help = "Examples:\n  kdaemon serve\n  kdaemon serve --config /etc/kdaemon/app.conf")]
    Serve(ServeArgs),
    /// Drops the tables nodes, applications and containers and folds them from the log anew.
    ///
    /// The daemon of that data folder must not run; a running one does it itself with --server.
    #[command(after_help = "\
Examples:
  kdaemon rebuild --data-dir /var/lib/kdaemon
  kdaemon rebuild --server http://127.0.0.1:1337")]
    Rebuild(local::StoreArgs),
    /// Checks that no event of the log was altered, removed or inserted.
    ///
    /// It reads the log itself, whether the daemon runs or not, or asks the daemon with --server. It ends with an error, and
    /// names the first commit that does not fit, when the log is not as it was written.
    #[command(after_help = "\
Examples:
  kdaemon verify --data-dir /var/lib/kdaemon
  kdaemon verify --server http://127.0.0.1:1337 --expect $(cat head-of-yesterday)")]
    Verify(local::VerifyArgs),
    /// Copies the log of a daemon, which works on meanwhile, to a file, and verifies the copy.
    #[command(after_help = "Example:\n  kdaemon backup kdaemon-2026-11-22.db")]
    Backup(local::BackupArgs),
    /// Makes a data folder of a backup. A daemon that is started on it takes over what runs.
    #[command(after_help = "Example:\n  kdaemon restore kdaemon-2026-11-22.db --data-dir /var/lib/kdaemon")]
    Restore(local::RestoreArgs),
    /// Writes the whole log into a file, to move it to another store.
    ///
    /// One line of JSON for each commit, with the exact text of its events. An embedded store's daemon must not run, or is
    /// asked for it with --server.
    #[command(after_help = "\
Examples:
  kdaemon export log.jsonl --data-dir /var/lib/kdaemon
  kdaemon export log.jsonl --server http://127.0.0.1:1337")]
    Export(local::ArchiveArgs),
    /// Fills an empty store with an exported log, and checks it on the way.
    ///
    /// Cut short, the same import goes on where it stopped. No daemon of that store may run.
    #[command(after_help = "Example:\n  kdaemon import log.jsonl --config rethinkdb.conf")]
    Import(local::ImportArgs),
    /// Shows the cluster on one screen
    #[command(after_help = "Examples:\n  kdaemon status\n  kdaemon status -o json | jq .containers")]
    Status,
    /// Shows the cluster on one screen, live, until ctrl-c
    #[command(after_help = "Example:\n  kdaemon watch")]
    Watch,
    /// Works with nodes
    #[command(visible_alias = "node", after_help = "Example:\n  kdaemon nodes ls")]
    Nodes {
        #[command(subcommand)]
        command: nodes::NodesCommand,
    },
    /// Works with the application library
    #[command(visible_aliases = ["app", "applications"], after_help = "Example:\n  kdaemon apps ls")]
    Apps {
        #[command(subcommand)]
        command: applications::ApplicationsCommand,
    },
    /// Works with containers
    #[command(visible_alias = "container", after_help = "Example:\n  kdaemon containers ls")]
    Containers {
        #[command(subcommand)]
        command: containers::ContainersCommand,
    },
    /// Brings the cluster to what a Compose file says
    Apply(apply::ApplyArgs),
    /// Evens the counts of containers on the nodes now
    Rebalance(rebalance::RebalanceArgs),
    /// Shows the log: what happened, who did it, and because of what
    #[command(after_help = "\
Examples:
  kdaemon events
  kdaemon events -f --kind NodeUnhealthy,ContainerMigrationCommanded
  kdaemon events --subject web-1 --since \"1h ago\" -o json | jq .data")]
    Events(events::EventsArgs),
    /// Shows one event, whole
    #[command(after_help = "Example:\n  kdaemon event 812")]
    Event {
        /// Its seq
        seq: u64,
    },
    /// Reads the cluster as it was at another time
    At(at::AtArgs),
    /// Shows what changed between two points of the history
    Diff(history::DiffArgs),
    /// Replays recorded history under another placement policy: what would have been otherwise
    Replay(replay::ReplayArgs),
    /// Prints a script that completes commands and options in your shell
    #[command(after_help = "\
Examples:
  kdaemon completions bash > /etc/bash_completion.d/kdaemon
  kdaemon completions zsh > ~/.zfunc/_kdaemon
  kdaemon completions fish > ~/.config/fish/completions/kdaemon.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What every client command works with.
#[derive(Debug, Clone)]
struct Context {
    client: Client,
    /// The form that was asked for.
    output: Option<Format>,
}

impl Context {
    /// Whether what is shown is read by programs, which want ids.
    fn is_for_scripts(&self) -> bool {
        matches!(self.output, Some(Format::Json | Format::Yaml | Format::Name))
    }
}

impl Cli {
    /// Does what the command line says, and reports what went wrong.
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
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if !failure.is_silent() {
                    output::say(format_args!("kdaemon: {failure}"));
                }
                ExitCode::from(failure.code())
            }
        }
    }
}

async fn client_command(args: ClientArgs, action: Action) -> Result<(), Failure> {
    if let Action::Completions { shell } = action {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "kdaemon", &mut script);
        return output::print_bytes(&script);
    }
    let server = args.server.filter(|server| !server.is_empty());
    let client = Client::new(server.as_deref().unwrap_or(client::DEFAULT_SERVER))?;
    let cx = &Context { client, output: args.output };
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
    fn the_command_line_is_well_formed() {
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
