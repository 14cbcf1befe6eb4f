//! `kdaemon events`: the latest events of the log, and new ones as they happen.

use super::client::Request;
use super::failure::Failure;
use super::json::Json;
use super::names::{Names, ids};
use super::output::{Format, json, print, say, yaml};
use super::sse::Stream;
use super::table::{Table, plain};
use super::when::{ago, local, parse_moment, read, rfc3339, time_of_day};
use super::{Context, when};
use chrono::{DateTime, Utc};
use kdaemon_events::Kind;

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
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<DateTime<Utc>>,
    /// Only events before this time
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "follow")]
    until: Option<DateTime<Utc>>,
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

    fn page(&self, after: u64, limit: usize) -> Result<Request, Failure> {
        Ok(Request::get(&["events"])?
            .query("after", after.to_string())
            .query("limit", limit.to_string())
            .maybe("kind", self.wanted_kinds())
            .maybe("subject", self.subject.as_ref())
            .maybe("actor", self.actor.as_ref())
            .maybe("since", self.since.map(rfc3339))
            .maybe("until", self.until.map(rfc3339)))
    }
}

/// Shows the selected events.
pub(super) async fn run(cx: &Context, args: &EventsArgs) -> Result<(), Failure> {
    let is_bounded = args.since.is_some() || args.after.is_some();
    let tail = args.tail.unwrap_or(match (is_bounded, args.follow) {
        (true, _) => Tail::All,
        (false, true) => Tail::Last(10),
        (false, false) => Tail::Last(100),
    });
    let mut shown = Shown { cx, names: Names::default(), begun: false };
    let head = match tail {
        Tail::All => all(args, &mut shown).await?,
        Tail::Last(count) => {
            let (events, head) = last(cx, args, count).await?;
            shown.events(&events, args.follow).await?;
            head
        }
    };
    if !args.follow {
        return shown.end();
    }
    let request = Request::get(&["events", "stream"])?
        .maybe("kind", args.wanted_kinds())
        .maybe("subject", args.subject.as_ref());
    let mut stream = Stream::new(cx.client.clone(), request, head);
    loop {
        let event = stream.next().await?;
        shown.events(std::slice::from_ref(&event), true).await?;
    }
}

/// Shows all selected events page by page, and returns the head of the log.
async fn all(args: &EventsArgs, shown: &mut Shown<'_>) -> Result<u64, Failure> {
    let mut after = args.after.unwrap_or(0);
    loop {
        let page = shown.cx.client.ask(args.page(after, PAGE)?).await?.json;
        shown.events(page.list("events"), args.follow).await?;
        match page.whole("next") {
            Some(next) => after = next,
            None => return Ok(page.whole("head").unwrap_or(after)),
        }
    }
}

/// The last `count` selected events, and the head of the log. The API pages forwards only, so longer and longer tails of
/// the log are read until one has enough.
async fn last(cx: &Context, args: &EventsArgs, count: usize) -> Result<(Vec<Json>, u64), Failure> {
    let first = args.after.unwrap_or(0);
    let head =
        cx.client.ask(Request::get(&["events"])?.query("limit", "1")).await?.json.whole("head").unwrap_or(0);
    let mut reach = (count as u64).max(100);
    loop {
        let begin = head.saturating_sub(reach).max(first);
        let mut found = std::collections::VecDeque::new();
        let mut after = begin;
        let head = loop {
            let page = cx.client.ask(args.page(after, PAGE)?).await?.json;
            for event in page.list("events") {
                if found.len() == count {
                    found.pop_front();
                }
                found.push_back(event.clone());
            }
            match page.whole("next") {
                Some(next) => after = next,
                None => break page.whole("head").unwrap_or(head),
            }
        };
        if count == 0 || found.len() >= count || begin <= first {
            return Ok((found.into_iter().take(count).collect(), head));
        }
        reach = reach.saturating_mul(16);
    }
}

/// A printer of events, which prints the table's header once.
struct Shown<'a> {
    cx: &'a Context,
    names: Names,
    begun: bool,
}

impl Shown<'_> {
    /// Prints events; followed ones one by one, with the time of day.
    async fn events(&mut self, events: &[Json], follow: bool) -> Result<(), Failure> {
        if events.is_empty() {
            return Ok(());
        }
        let format = self.cx.output.unwrap_or(Format::Table);
        let mut text = String::new();
        match format {
            Format::Json => {
                for event in events {
                    let line =
                        serde_json::to_string(event).map_err(|error| Failure::Other(error.to_string()))?;
                    text.push_str(&line);
                    text.push('\n');
                }
            }
            Format::Yaml => {
                for event in events {
                    text.push_str("---\n");
                    text.push_str(&yaml(event)?);
                }
            }
            Format::Name => {
                for event in events {
                    text.push_str(&format!("{}\n", event.whole("seq").unwrap_or_default()));
                }
            }
            Format::Table | Format::Wide if follow => {
                for event in events {
                    self.names.learn_event(&self.cx.client, event).await;
                    text.push_str(&line(event, &self.names));
                }
            }
            Format::Table | Format::Wide => {
                let table = rows(self.cx, events, &mut self.names, format == Format::Wide).await;
                let whole = table.text();
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

    fn end(&self) -> Result<(), Failure> {
        if !self.begun {
            say("no events match");
        }
        Ok(())
    }
}

/// A followed event in one line.
pub(super) fn line(event: &Json, names: &Names) -> String {
    let time = event.text("at").and_then(read).map(time_of_day).unwrap_or_default();
    let kind = plain(event.text("kind").unwrap_or_default());
    let cause = event.whole("cause").map(|cause| format!(" <- {cause}")).unwrap_or_default();
    let actor = event.get("actor").map(actor).unwrap_or_default();
    let about = [subject(event, names), detail(event, names)];
    let about = about.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(": ");
    format!("{:>6}{cause}  {time}  {kind}  {about}  ({actor})\n", event.whole("seq").unwrap_or_default())
}

/// Events as a table, for people.
pub(super) async fn table(cx: &Context, events: &[Json], wide: bool) -> Result<String, Failure> {
    Ok(rows(cx, events, &mut Names::default(), wide).await.text())
}

async fn rows(cx: &Context, events: &[Json], names: &mut Names, wide: bool) -> Table {
    let mut table = if wide {
        Table::new(&["SEQ", "AT", "KIND", "SUBJECT", "ACTOR", "CAUSE", "DETAIL", "REQUEST"])
    } else {
        Table::new(&["SEQ", "WHEN", "KIND", "SUBJECT", "ACTOR", "CAUSE", "DETAIL"])
    };
    for event in events {
        names.note_event(event);
    }
    for event in events {
        names.learn_event(&cx.client, event).await;
        let at = event.text("at").and_then(when::read);
        let mut cells = vec![
            event.whole("seq").map(|seq| seq.to_string()).unwrap_or_default(),
            at.map(if wide { local } else { ago }).unwrap_or_default(),
            plain(event.text("kind").unwrap_or_default()),
            subject(event, names),
            event.get("actor").map(actor).unwrap_or_default(),
            event.whole("cause").map(|cause| cause.to_string()).unwrap_or_default(),
            detail(event, names),
        ];
        if wide {
            cells.push(event.text("request_id").map(plain).unwrap_or_default());
        }
        table.row(cells);
    }
    table
}

/// The name of an actor.
pub(super) fn actor(actor: &Json) -> String {
    plain(actor.text("name").or(actor.text("type")).unwrap_or_default())
}

/// The name of an event's subject.
fn subject(event: &Json, names: &Names) -> String {
    let Some(data) = event.get("data") else { return String::new() };
    ids(data).first().map(|id| names.known(id)).unwrap_or_default()
}

/// The other fields of an event that matter at first sight.
fn detail(event: &Json, names: &Names) -> String {
    let Some(data) = event.get("data") else { return String::new() };
    let node = data.text("node_id").map(|id| names.known(id));
    let from = data.text("from_node_id").map(|id| names.known(id));
    let own = ids(data).first().and_then(|id| names.lookup(id));
    let mut parts = Vec::new();
    match (from, node.filter(|node| Some(node) != own.as_ref())) {
        (Some(from), Some(to)) => parts.push(format!("{from} -> {to}")),
        (None, Some(node)) => parts.push(format!("on {node}")),
        _ => {}
    }
    for field in ["why", "reason", "detail", "endpoint", "access_link"] {
        if let Some(text) = data.text(field) {
            parts.push(plain(text));
        }
    }
    for (field, label) in [("replicas", "replicas"), ("exit_code", "exit code"), ("attempt", "attempt")] {
        if let Some(value @ Json::Number(_)) = data.get(field) {
            parts.push(format!("{label} {}", value.plain()));
        }
    }
    if let Some(image) = data.get("spec").and_then(|spec| spec.text("docker_image")) {
        parts.push(plain(image));
    }
    if let Some(moves) = data.get("moves").map(|_| data.list("moves").len()) {
        parts.push(format!("{moves} moves"));
    }
    parts.join("; ")
}

/// Shows one event with all its fields.
pub(super) async fn one(cx: &Context, seq: u64) -> Result<(), Failure> {
    let event = cx.client.ask(Request::get(&["events", &seq.to_string()])?).await?.json;
    match cx.output.unwrap_or(Format::Yaml) {
        Format::Json => print(&json(&event)?),
        Format::Name => print(&format!("{seq}\n")),
        _ => print(&yaml(&event)?),
    }
}
