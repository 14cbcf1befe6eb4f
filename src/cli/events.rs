//! `kdaemon events`: the latest events of the log, and new ones as they happen.

use super::CliContext;
use super::cells::optional;
use super::client::ApiRequest;
use super::error::CliError;
use super::event::{SentEvent, what};
use super::event_stream::EventFollower;
use super::names::NameCache;
use super::output::{Format, json, print, say, yaml};
use super::table::{TextTable, plain};
use super::when::{TimeText, ago, local, time_of_day};
use kdaemon_api::{EventPage, EventRow};
use kdaemon_events::Kind;
use std::collections::VecDeque;

/// Options that select events.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct EventsArgs {
    /// Continue with new events as they happen, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Number of latest events to show, or `all` [default: 100, or 10 with -f]
    #[arg(short = 'n', long, value_name = "N", value_parser = tail)]
    tail: Option<Tail>,
    /// Only events of this kind, such as ContainerMigrationCommanded; may be repeated or comma-separated
    #[arg(short, long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Only events of this node, application or container (name or id; deleted ones too)
    #[arg(short, long, value_name = "NAME")]
    subject: Option<String>,
    /// Only events by this actor: the name of a token, `anonymous`, or a reactor such as `rebalancer`
    #[arg(short, long, value_name = "NAME", conflicts_with = "follow")]
    actor: Option<String>,
    /// Only events at or after this time
    #[arg(long, value_name = "TIME", value_parser = TimeText::parse)]
    since: Option<TimeText>,
    /// Only events before this time
    #[arg(long, value_name = "TIME", value_parser = TimeText::parse, conflicts_with = "follow")]
    until: Option<TimeText>,
    /// Only events after this one
    #[arg(long, value_name = "SEQ", conflicts_with = "since")]
    after: Option<u64>,
    /// Include raw observations, such as the results of single probes
    #[arg(long)]
    observations: bool,
}

/// Number of latest events.
#[derive(Debug, Clone, Copy)]
enum Tail {
    All,
    Last(usize),
}

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        number => {
            number.parse().map(Tail::Last).map_err(|_| format!("expected a number or `all`, got `{text}`"))
        }
    }
}

/// All kinds but raw observations, comma-separated as the API accepts them.
pub(super) fn facts() -> String {
    let facts = Kind::ALL.iter().filter(|kind| !kind.is_observation());
    facts.map(|kind| kind.as_str()).collect::<Vec<_>>().join(",")
}

/// Number of events per request.
const PAGE: usize = 10_000;

impl EventsArgs {
    /// The kinds to request; `None`: all.
    fn wanted_kinds(&self) -> Option<String> {
        if !self.kinds.is_empty() {
            return Some(self.kinds.join(","));
        }
        if self.observations {
            return None;
        }
        Some(facts())
    }
}

/// The selected events, as the API is asked for them.
struct EventSelection<'a> {
    args: &'a EventsArgs,
    since: Option<String>,
    until: Option<String>,
}

impl EventSelection<'_> {
    fn page(&self, after: u64, limit: usize) -> Result<ApiRequest, CliError> {
        Ok(ApiRequest::get(&["events"])?
            .query("after", after.to_string())
            .query("limit", limit.to_string())
            .maybe("kind", self.args.wanted_kinds())
            .maybe("subject", self.args.subject.as_ref())
            .maybe("actor", self.args.actor.as_ref())
            .maybe("since", self.since.as_ref())
            .maybe("until", self.until.as_ref()))
    }
}

/// Shows the selected events.
pub(super) async fn run(cx: &CliContext, args: &EventsArgs) -> Result<(), CliError> {
    let is_bounded = args.since.is_some() || args.after.is_some();
    let tail = args.tail.unwrap_or(match (is_bounded, args.follow) {
        (true, _) => Tail::All,
        (false, true) => Tail::Last(10),
        (false, false) => Tail::Last(100),
    });
    let since = cx.client.resolve_time(args.since.as_ref()).await?;
    let until = cx.client.resolve_time(args.until.as_ref()).await?;
    let selection = EventSelection { args, since, until };
    let mut printer = EventPrinter { cx, names: NameCache::default(), begun: false };
    let head = match tail {
        Tail::All => all(&selection, &mut printer).await?,
        Tail::Last(count) => {
            let (events, head) = last(cx, &selection, count).await?;
            printer.events(&events, args.follow).await?;
            head
        }
    };
    if !args.follow {
        return printer.end();
    }
    let request = ApiRequest::get(&["events", "stream"])?
        .maybe("kind", args.wanted_kinds())
        .maybe("subject", args.subject.as_ref());
    let mut stream = EventFollower::new(cx.client.clone(), request, head);
    loop {
        let event = stream.next().await?;
        printer.events(std::slice::from_ref(&event), true).await?;
    }
}

/// Shows all selected events page by page, and returns the head of the log.
async fn all(selection: &EventSelection<'_>, printer: &mut EventPrinter<'_>) -> Result<u64, CliError> {
    let mut after = selection.args.after.unwrap_or(0);
    loop {
        let page: EventPage<SentEvent> = printer.cx.client.typed(selection.page(after, PAGE)?).await?;
        printer.events(&page.events, selection.args.follow).await?;
        match page.next {
            Some(next) => after = next,
            None => return Ok(page.head),
        }
    }
}

/// The last `count` selected events, and the head of the log. The API pages forwards only, so longer and longer tails of
/// the log are read until one has enough.
async fn last(
    cx: &CliContext,
    selection: &EventSelection<'_>,
    count: usize,
) -> Result<(Vec<SentEvent>, u64), CliError> {
    let first = selection.args.after.unwrap_or(0);
    let newest: EventPage = cx.client.typed(ApiRequest::get(&["events"])?.query("limit", "1")).await?;
    let mut reach = (count as u64).max(100);
    loop {
        let begin = newest.head.saturating_sub(reach).max(first);
        let mut found = VecDeque::new();
        let mut after = begin;
        let head = loop {
            let page: EventPage<SentEvent> = cx.client.typed(selection.page(after, PAGE)?).await?;
            found.extend(page.events);
            found.drain(..found.len().saturating_sub(count));
            match page.next {
                Some(next) => after = next,
                None => break page.head,
            }
        };
        if found.len() >= count || begin <= first {
            return Ok((found.into(), head));
        }
        reach = reach.saturating_mul(16);
    }
}

/// A printer of events, which prints the table's header once.
struct EventPrinter<'a> {
    cx: &'a CliContext,
    names: NameCache,
    begun: bool,
}

impl EventPrinter<'_> {
    /// Prints events; followed ones one by one, with the time of day.
    async fn events(&mut self, events: &[SentEvent], follow: bool) -> Result<(), CliError> {
        if events.is_empty() {
            return Ok(());
        }
        let format = self.cx.output.unwrap_or(Format::Table);
        let mut text = String::new();
        match format {
            Format::Json => {
                for event in events {
                    text.push_str(event.text());
                    text.push('\n');
                }
            }
            Format::Yaml => {
                for event in events {
                    text.push_str("---\n");
                    text.push_str(&yaml(&event.json()?)?);
                }
            }
            Format::Name => {
                for event in events {
                    text.push_str(&format!("{}\n", event.row.seq));
                }
            }
            Format::Table | Format::Wide if follow => {
                for event in events {
                    text.push_str(&line(self.cx, &event.row, &mut self.names).await);
                }
            }
            Format::Table | Format::Wide => {
                let rows: Vec<_> = events.iter().map(|event| &event.row).collect();
                let whole = rows_of(self.cx, &rows, &mut self.names, format == Format::Wide).await.text();
                // Only the first page has a header.
                text.push_str(if self.begun {
                    whole.split_once('\n').map_or("", |(_, rest)| rest)
                } else {
                    &whole
                });
            }
        }
        self.begun = true;
        print(&text)
    }

    fn end(&self) -> Result<(), CliError> {
        if !self.begun {
            say("no events match");
        }
        Ok(())
    }
}

/// A followed event in one line.
pub(super) async fn line(cx: &CliContext, event: &EventRow, names: &mut NameCache) -> String {
    let time = time_of_day(event.at);
    let cause = event.cause.map(|cause| format!(" <- {cause}")).unwrap_or_default();
    let about = match names.of_subject(&cx.client, event).await {
        subject if subject.is_empty() => what(event),
        subject => format!("{subject}: {}", what(event)),
    };
    let (kind, actor) = (plain(&event.kind), plain(event.actor.name()));
    format!("{:>6}{cause}  {time}  {kind}  {about}  ({actor})\n", event.seq)
}

/// Events as a table, for people.
pub(super) async fn table(cx: &CliContext, events: &[EventRow], wide: bool) -> String {
    let events: Vec<_> = events.iter().collect();
    rows_of(cx, &events, &mut NameCache::default(), wide).await.text()
}

async fn rows_of(cx: &CliContext, events: &[&EventRow], names: &mut NameCache, wide: bool) -> TextTable {
    let mut table = if wide {
        TextTable::new(&["SEQ", "AT", "KIND", "SUBJECT", "ACTOR", "CAUSE", "WHAT", "REQUEST"])
    } else {
        TextTable::new(&["SEQ", "WHEN", "KIND", "SUBJECT", "ACTOR", "CAUSE", "WHAT"])
    };
    for event in events {
        names.note_event(event);
    }
    for event in events {
        let mut cells = vec![
            event.seq.to_string(),
            if wide { local(event.at) } else { ago(event.at) },
            plain(&event.kind),
            names.of_subject(&cx.client, event).await,
            plain(event.actor.name()),
            event.cause.map(|cause| cause.to_string()).unwrap_or_default(),
            what(event),
        ];
        if wide {
            cells.push(optional(event.request_id.as_deref()));
        }
        table.row(cells);
    }
    table
}

/// Shows one event with all its fields.
pub(super) async fn one(cx: &CliContext, seq: u64) -> Result<(), CliError> {
    let reply = cx.client.ask(ApiRequest::get(&["events", &seq.to_string()])?).await?;
    match cx.output.unwrap_or(Format::Yaml) {
        Format::Json => print(&json(&reply.json()?)?),
        Format::Name => print(&format!("{seq}\n")),
        _ => print(&yaml(&reply.json()?)?),
    }
}
