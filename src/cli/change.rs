//! How every command that changes something is sent, and how what became of it is told.

use super::client::{Answer, Request};
use super::failure::Failure;
use super::json::Json;
use super::output::{Format, json, print, say, yaml};
use super::progress::Watching;
use super::table::plain;
use super::{Context, events};
use crate::config::parse_duration;
use std::time::Duration;

/// What every command that changes something takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ChangeArgs {
    /// Shows the events that it would append, and changes nothing.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Waits until it is done, has failed (exit code 3), or the time is over (exit code 1); 1m without a time.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1m",
          value_parser = wait_time)]
    wait: Option<Duration>,
}

/// Reads how long to wait.
pub(super) fn wait_time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

impl ChangeArgs {
    /// Nothing but waiting.
    pub(super) fn waiting(wait: Duration) -> Self {
        Self { dry_run: false, wait: Some(wait) }
    }

    /// How long to wait, if at all.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}

/// What a command is about, in words and for whoever waits.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// What sort of thing it is: `node`.
    pub(super) thing: &'static str,
    /// Its name, as far as it is known before the daemon answers.
    pub(super) name: String,
    /// What happened when it is done: `cordoned`.
    pub(super) done: &'static str,
    /// What goes on when it is not done yet: `being emptied`.
    pub(super) going: &'static str,
    /// Where to look how far it is.
    pub(super) watching: Watching,
}

impl About {
    /// How it is called in messages: a name that the daemon gave goes before what was asked for.
    pub(super) fn title(&self, row: Option<&Json>) -> String {
        let name = row.and_then(|row| row.text("name")).unwrap_or(&self.name);
        format!("{} `{}`", self.thing, plain(name))
    }
}

impl Context {
    /// Sends a command, waits for it if that was asked for, and tells what became of it.
    ///
    /// The answer, unless it was a dry run.
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
                    "{name} is still {going} after {seconds}s; that goes on"
                )));
            }
            (202, None) => say(format_args!("{name} is {going}{seq}; --wait waits for it")),
            _ => say(format_args!("{name} {done}{seq}")),
        }
        self.show(&answer.json)?;
        Ok(Some(answer))
    }

    /// Prints the row of an answer, where a form was asked for: else the message says it all.
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
                    say("nothing would change");
                    return Ok(());
                }
                say("nothing was changed; these events would be appended:");
                print(&events::table(self, events, format == Format::Wide).await?)
            }
        }
    }
}

/// Goes on with the others when one fails; the first failure is the command's.
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
                first.get_or_insert(failure.code());
            }
        }
    }
    first.map_or(Ok(()), |code| Err(Failure::Said(code)))
}
