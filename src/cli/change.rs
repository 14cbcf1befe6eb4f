//! Commands that change something: how they are sent, and how their outcome is reported.

use super::cells::details;
use super::client::{ApiRequest, ApiResponse};
use super::error::CliError;
use super::exit::ExitStatus;
use super::names::NamedRow;
use super::output::{Format, json, print, say, yaml};
use super::target::ChangeTarget;
use super::{CliContext, events};
use crate::config::parse_duration;
use kdaemon_api::DryRun;
use std::time::Duration;

/// Options of every command that changes something.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ChangeArgs {
    /// Only show the events that the command would append
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Block until the command took effect; fails if it cannot (exit code 3) or times out (exit code 1) [default without
    /// TIME: 1m]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1m",
          value_parser = wait_time)]
    wait: Option<Duration>,
}

/// Parses the duration of `--wait`.
pub(super) fn wait_time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

impl ChangeArgs {
    /// Options that only wait.
    pub(super) fn waiting(wait: Duration) -> Self {
        Self { dry_run: false, wait: Some(wait) }
    }

    /// How long to wait; `None`: not at all.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}

/// Resources to change, and how.
#[derive(Debug, clap::Args)]
pub(super) struct NamedArgs {
    /// Names or ids
    #[arg(required = true)]
    pub(super) names: Vec<String>,
    #[command(flatten)]
    pub(super) change: ChangeArgs,
}

impl CliContext {
    /// Sends a command, waits for it if requested, and reports the outcome. Returns `None` after a dry run.
    pub(super) async fn change(
        &self,
        request: ApiRequest,
        args: &ChangeArgs,
        target: &ChangeTarget,
    ) -> Result<Option<ApiResponse>, CliError> {
        if args.dry_run {
            let reply = self.client.ask(request.query("dry_run", "true")).await?;
            self.show_dry_run(&reply).await?;
            return Ok(None);
        }
        let reply = match args.wait {
            None => self.client.ask(request).await?,
            Some(wait) => {
                let asked = self.client.ask(request.waiting(wait));
                super::progress::while_waiting(&self.client, target, asked).await?
            }
        };
        let ChangeTarget { done, going, .. } = target;
        // Some responses have no row.
        let row = reply.typed::<NamedRow>().ok();
        let title = target.title(row.as_ref().map(|row| row.name.as_str()));
        match (reply.status, args.wait) {
            (202, Some(wait)) => {
                self.show(&reply)?;
                let seconds = wait.as_secs();
                // Optional: the timeout is reported anyway.
                let state = super::progress::look(&self.client, &target.watching).await.ok().flatten();
                let state = state.map(|state| format!(" ({state})")).unwrap_or_default();
                return Err(CliError::Other(format!(
                    "timed out after {seconds}s: still {going} {title}{state}; the daemon continues"
                )));
            }
            (202, None) => {
                let goal = done.trim_start_matches("is ");
                let seq = reply.seq.map(|seq| format!("event {seq}; ")).unwrap_or_default();
                say(format_args!("{going} {title} ({seq}use --wait to block until it is {goal})"));
            }
            _ => {
                let seq = reply.seq.map(|seq| format!(" (event {seq})")).unwrap_or_default();
                say(format_args!("{title} {done}{seq}"));
            }
        }
        self.show(&reply)?;
        Ok(Some(reply))
    }

    /// Prints the row of a response if a format was requested; the message suffices otherwise.
    fn show(&self, reply: &ApiResponse) -> Result<(), CliError> {
        match self.output {
            None => Ok(()),
            Some(format) => super::output::row(reply, format, |row, _| details(row, super::table::plain)),
        }
    }

    async fn show_dry_run(&self, reply: &ApiResponse) -> Result<(), CliError> {
        let format = self.output.unwrap_or(Format::Table);
        match format {
            Format::Json => return print(&json(&reply.json()?)?),
            Format::Yaml => return print(&yaml(&reply.json()?)?),
            Format::Name | Format::Table | Format::Wide => {}
        }
        let DryRun { events, .. }: DryRun = reply.typed()?;
        if format == Format::Name {
            return print(&events.iter().map(|event| format!("{}\n", event.kind)).collect::<String>());
        }
        if events.is_empty() {
            say("dry run: no changes");
            return Ok(());
        }
        say("dry run: these events would be appended");
        print(&events::table(self, &events, format == Format::Wide).await)
    }
}

/// Runs `one` for each name and continues after failures. The exit code is that of the first failure.
pub(super) async fn each(
    names: &[String],
    mut one: impl AsyncFnMut(&str) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut first: Option<ExitStatus> = None;
    for name in names {
        match one(name).await {
            Ok(()) => {}
            Err(failure) if names.len() == 1 || failure.is_silent() => return Err(failure),
            Err(failure) => {
                say(format_args!("kdaemon: {name}: {failure}"));
                first.get_or_insert(failure.exit());
            }
        }
    }
    first.map_or(Ok(()), |exit| Err(CliError::Reported(exit)))
}
