//! Commands that change something: how they are sent, and how their outcome is reported.

use super::client::{Answer, Request};
use super::failure::Failure;
use super::json::Json;
use super::output::{Format, json, print, say, yaml};
use super::progress::Watching;
use super::table::plain;
use super::{Context, events};
use crate::config::parse_duration;
use std::time::Duration;

/// Options of every command that changes something.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ChangeArgs {
    /// Only show the events that the command would append
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Block until the command took effect; fails if it cannot (exit code 3) or times out (exit code 1) [default without TIME: 1m]
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

/// The subject of a command, for messages and progress.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// Kind of the subject: `node`.
    pub(super) thing: &'static str,
    /// Name of the subject, or what stands for it until the daemon responds.
    pub(super) name: String,
    /// State after the command took effect: `drained`, `is UP`.
    pub(super) done: &'static str,
    /// Activity until then: `draining`.
    pub(super) going: &'static str,
    /// Resource whose progress is shown.
    pub(super) watching: Watching,
}

impl About {
    /// The subject in messages. The name in the response takes precedence over the requested one.
    pub(super) fn title(&self, row: Option<&Json>) -> String {
        let name = row.and_then(|row| row.text("name")).unwrap_or(&self.name);
        format!("{} `{}`", self.thing, plain(name))
    }
}

impl Context {
    /// Sends a command, waits for it if requested, and reports the outcome. Returns `None` after a dry run.
    pub(super) async fn change(
        &self,
        request: Request,
        args: &ChangeArgs,
        about: &About,
    ) -> Result<Option<Answer>, Failure> {
        if args.dry_run {
            let answer = self.client.ask(request.query("dry_run", "true")).await?;
            self.show_dry_run(&answer.json).await?;
            return Ok(None);
        }
        let answer = match args.wait {
            None => self.client.ask(request).await?,
            Some(wait) => {
                let asked = self.client.ask(request.waiting(wait));
                super::progress::while_waiting(&self.client, about, asked).await?
            }
        };
        let About { done, going, .. } = about;
        let name = about.title(Some(&answer.json));
        let seq = answer.seq.map(|seq| format!(" (event {seq})")).unwrap_or_default();
        match (answer.status, args.wait) {
            (202, Some(wait)) => {
                self.show(&answer.json)?;
                let seconds = wait.as_secs();
                return Err(Failure::Other(format!(
                    "timed out after {seconds}s: still {going} {name}; the daemon continues"
                )));
            }
            (202, None) => {
                let goal = done.trim_start_matches("is ");
                let seq = answer.seq.map(|seq| format!("event {seq}; ")).unwrap_or_default();
                say(format_args!("{going} {name} ({seq}use --wait to block until it is {goal})"));
            }
            _ => say(format_args!("{name} {done}{seq}")),
        }
        self.show(&answer.json)?;
        Ok(Some(answer))
    }

    /// Prints the row of a response if a format was requested; the message suffices otherwise.
    fn show(&self, row: &Json) -> Result<(), Failure> {
        match self.output {
            None => Ok(()),
            Some(format) => super::output::thing(row, format, |_| super::get::text(row, &|_| None)),
        }
    }

    async fn show_dry_run(&self, answer: &Json) -> Result<(), Failure> {
        match self.output.unwrap_or(Format::Table) {
            Format::Json => print(&json(answer)?),
            Format::Yaml => print(&yaml(answer)?),
            Format::Name => {
                let kinds = answer.list("events").iter().filter_map(|event| event.text("kind"));
                print(&kinds.map(|kind| format!("{kind}\n")).collect::<String>())
            }
            format => {
                let events = answer.list("events");
                if events.is_empty() {
                    say("dry run: no changes");
                    return Ok(());
                }
                say("dry run: these events would be appended");
                print(&events::table(self, events, format == Format::Wide).await?)
            }
        }
    }
}

/// Runs `one` for each name and continues after failures. The exit code is that of the first failure.
pub(super) async fn each(
    names: &[String],
    mut one: impl AsyncFnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut first = None;
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
    first.map_or(Ok(()), |exit| Err(Failure::Reported(exit)))
}
