//! `history` of one resource, and `kdaemon diff` between two points in history.

use super::CliContext;
use super::cells::field;
use super::client::ApiRequest;
use super::error::CliError;
use super::json::Json;
use super::kind::ResourceKind;
use super::names::NameCache;
use super::output::{document, say};
use super::table::{TextTable, plain};
use super::when::{EventOrTime, PointText, ago, local};
use kdaemon_api::{DiffReport, FieldChange, FieldChanges, History, HistoryEvent, KindDiff, Moment};
use std::fmt::Write as _;
use uuid::Uuid;

/// Options that select a history.
#[derive(Debug, clap::Args)]
pub(super) struct HistoryArgs {
    /// Name, present or former, or id
    name: String,
    /// Only events after this one
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Maximum number of events, from 1 to 10,000
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Include raw observations that changed nothing
    #[arg(long)]
    observations: bool,
}

/// Shows the history of one resource.
pub(super) async fn run(cx: &CliContext, kind: ResourceKind, args: &HistoryArgs) -> Result<(), CliError> {
    let request = ApiRequest::get(&["history", kind.path(), &args.name])?
        .maybe("after", args.after.map(|after| after.to_string()))
        .maybe("limit", args.limit.map(|limit| limit.to_string()))
        .maybe("observations", args.observations.then_some("true"));
    let reply = cx.client.ask(request).await?;
    let history: History = reply.typed()?;
    let mut names = NameCache::default();
    names.note(history.id, &history.name);
    if !cx.is_for_scripts() {
        for id in history.events.iter().flat_map(|event| referenced(&event.changes)) {
            names.learn(&cx.client, id).await;
        }
    }
    document(cx, &reply, |wide| {
        let mut table =
            TextTable::new(&["SEQ", if wide { "AT" } else { "WHEN" }, "KIND", "ACTOR", "CAUSE", "CHANGES"]);
        for HistoryEvent { event, changes } in &history.events {
            let changes: Vec<String> = changes
                .iter()
                .filter(|(field, change)| wide || tells(field, change))
                .map(|(field, change)| changed(field, change, &names))
                .collect();
            table.row([
                event.seq.to_string(),
                if wide { local(event.at) } else { ago(event.at) },
                plain(&event.kind),
                plain(event.actor.name()),
                event.cause.map(|cause| cause.to_string()).unwrap_or_default(),
                changes.join("; "),
            ]);
        }
        table.text()
    })?;
    if let Some(next) = history.next {
        say(format_args!("more events follow; continue with --after {next}"));
    }
    Ok(())
}

/// `true` if a change belongs in the short table: creation sets many fields to empty values.
fn tells(field: &str, change: &FieldChange) -> bool {
    let is_detail = matches!(field, "id" | "generation" | "container_id" | "user_id");
    let is_nothing = Json::of(&change.from).is_empty() && Json::of(&change.to).is_empty();
    !is_detail && !is_nothing
}

/// The ids of nodes and applications in changed fields. (The `container_id` of a row is the engine's.)
fn referenced(changes: &FieldChanges) -> impl Iterator<Item = Uuid> {
    changes
        .iter()
        .filter(|(field, _)| matches!(field.as_str(), "node_id" | "application_id"))
        .flat_map(|(_, change)| [&change.from, &change.to])
        .filter_map(|id| id.as_str()?.parse().ok())
}

/// The change of a field, for people.
fn changed(name: &str, change: &FieldChange, names: &NameCache) -> String {
    let side = |value| match Json::of(value) {
        value if value.is_empty() => "-".to_owned(),
        value => field(name, &value, |id| id.parse().map_or_else(|_| plain(id), |id| names.known(id))),
    };
    match (side(&change.from), side(&change.to)) {
        (from, to) if from == "-" => format!("{name} {to}"),
        (from, to) => format!("{name} {from} -> {to}"),
    }
}

/// Two points in history.
#[derive(Debug, clap::Args)]
#[command(after_help = super::with_times!("\
Examples:
  kdaemon diff \"10m ago\"
  kdaemon diff \"yesterday 14:00\" \"yesterday 15:00\"
  kdaemon diff 812 820 -o json"))]
pub(super) struct DiffArgs {
    /// Earlier point
    #[arg(value_parser = PointText::parse)]
    from: PointText,
    /// Later point [default: now]
    #[arg(value_parser = PointText::parse)]
    to: Option<PointText>,
}

/// Shows what was added, removed and changed between two points in history.
pub(super) async fn diff(cx: &CliContext, args: &DiffArgs) -> Result<(), CliError> {
    let from = cx.client.resolve(&args.from).await?;
    let to = match &args.to {
        Some(to) => Some(cx.client.resolve(to).await?),
        None => None,
    };
    let request =
        ApiRequest::get(&["diff"])?.query("from", from.written()).maybe("to", to.map(EventOrTime::written));
    let reply = cx.client.ask(request).await?;
    let diff: DiffReport = reply.typed()?;
    say(format_args!("{} .. {}", end(&diff.from), end(&diff.to)));
    let kinds = [
        (ResourceKind::Nodes, &diff.nodes),
        (ResourceKind::Applications, &diff.applications),
        (ResourceKind::Containers, &diff.containers),
    ];
    let mut names = NameCache::default();
    if !cx.is_for_scripts() {
        let changed = kinds.iter().flat_map(|(_, part)| &part.changed);
        for id in changed.flat_map(|entry| referenced(&entry.fields)) {
            names.learn(&cx.client, id).await;
        }
    }
    let text: String = kinds.iter().map(|(kind, part)| differences(*kind, part, &names)).collect();
    let is_empty = text.is_empty();
    document(cx, &reply, |_| text)?;
    if is_empty && !cx.is_for_scripts() {
        say("no differences");
    }
    Ok(())
}

/// The differences among rows of one kind, one per line.
fn differences(kind: ResourceKind, part: &KindDiff, names: &NameCache) -> String {
    let mut text = String::new();
    let mut line = |sign: char, name: &str, fields: String, events: &[u64]| {
        let events: Vec<_> = events.iter().map(ToString::to_string).collect();
        let events = match events.len() {
            0 => String::new(),
            1 => format!("  (event {})", events[0]),
            _ => format!("  (events {})", events.join(", ")),
        };
        let _ = writeln!(text, "{sign} {} `{}`{fields}{events}", kind.word(), plain(name));
    };
    for entry in &part.added {
        line('+', &entry.name, String::new(), &entry.events);
    }
    for entry in &part.removed {
        line('-', &entry.name, String::new(), &entry.events);
    }
    for entry in &part.changed {
        let fields = entry.fields.iter().filter(|(field, _)| *field != "seq");
        let fields: Vec<_> = fields.map(|(field, change)| changed(field, change, names)).collect();
        let fields = if fields.is_empty() { String::new() } else { format!(": {}", fields.join("; ")) };
        line('~', &entry.name, fields, &entry.events);
    }
    text
}

/// A moment for people: seq and local time.
pub(super) fn end(moment: &Moment) -> String {
    format!("event {} ({})", moment.seq, moment.at.map(local).unwrap_or_default())
}
