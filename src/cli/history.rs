//! `history` of one resource, and `kdaemon diff` between two points in history.

use super::Context;
use super::client::Request;
use super::failure::Failure;
use super::get::{Kind, document};
use super::json::Json;
use super::names::Names;
use super::output::{print, say};
use super::table::{Table, coloured, plain};
use super::when::{Point, ago, local, read};
use kdaemon_api::{DiffReport, Moment};
use std::collections::BTreeSet;
use std::fmt::Write as _;

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
pub(super) async fn run(cx: &Context, kind: Kind, args: &HistoryArgs) -> Result<(), Failure> {
    let request = Request::get(&["history", kind.path(), &args.name])?
        .maybe("after", args.after.map(|after| after.to_string()))
        .maybe("limit", args.limit.map(|limit| limit.to_string()))
        .maybe("observations", args.observations.then_some("true"));
    let history = cx.client.ask(request).await?.json;
    let mut names = Names::default();
    let own = history.text("id").unwrap_or_default();
    names.note(own, history.text("name").unwrap_or_default());
    if !cx.is_for_scripts() {
        for event in history.list("events") {
            for (field, change) in event.object("changes") {
                if is_reference(field) {
                    for id in [change.text("from"), change.text("to")].into_iter().flatten() {
                        names.learn(&cx.client, id).await;
                    }
                }
            }
        }
    }
    document(cx, &history, |wide| {
        let mut table =
            Table::new(&["SEQ", if wide { "AT" } else { "WHEN" }, "KIND", "ACTOR", "CAUSE", "CHANGES"]);
        for event in history.list("events") {
            let changes: Vec<String> = event
                .object("changes")
                .iter()
                .filter(|(field, change)| wide || tells(field, change))
                .map(|(field, change)| changed(field, change, &names))
                .collect();
            table.row([
                event.whole("seq").map(|seq| seq.to_string()).unwrap_or_default(),
                event.text("at").and_then(read).map(if wide { local } else { ago }).unwrap_or_default(),
                plain(event.text("kind").unwrap_or_default()),
                event.get("actor").map(super::events::actor).unwrap_or_default(),
                event.whole("cause").map(|cause| cause.to_string()).unwrap_or_default(),
                changes.join("; "),
            ]);
        }
        table.text()
    })?;
    if let Some(next) = history.whole("next") {
        say(format_args!("more events follow; continue with --after {next}"));
    }
    Ok(())
}

/// Whether a change belongs in the short table: creation sets many fields to empty values.
fn tells(field: &str, change: &Json) -> bool {
    let is_detail = matches!(field, "id" | "generation" | "container_id" | "user_id");
    let is_empty = |side| change.get(side).is_none_or(Json::is_empty);
    let is_nothing = is_empty("from") && is_empty("to");
    !is_detail && !is_nothing
}

/// Whether a field has the id of another resource. (The `container_id` of a row is the engine's.)
fn is_reference(field: &str) -> bool {
    matches!(field, "node_id" | "application_id")
}

/// The change of a field, for people.
fn changed(field: &str, change: &Json, names: &Names) -> String {
    let side = |side| match change.get(side) {
        Some(Json::Text(id)) if is_reference(field) => names.known(id),
        Some(Json::Text(text)) if matches!(field, "status" | "state" | "availability") => coloured(text),
        Some(Json::List(ports)) if field == "ports" && !ports.is_empty() => super::get::ports(ports),
        Some(value) if !value.is_empty() => value.plain(),
        _ => "-".to_owned(),
    };
    match (side("from"), side("to")) {
        (from, to) if from == "-" => format!("{field} {to}"),
        (from, to) => format!("{field} {from} -> {to}"),
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
    #[arg(value_parser = Point::parse)]
    from: Point,
    /// Later point [default: now]
    #[arg(value_parser = Point::parse)]
    to: Option<Point>,
}

/// Shows what was added, removed and changed between two points in history.
pub(super) async fn diff(cx: &Context, args: &DiffArgs) -> Result<(), Failure> {
    let request =
        Request::get(&["diff"])?.query("from", args.from.written()).maybe("to", args.to.map(Point::written));
    let answer = cx.client.ask(request).await?;
    let DiffReport { from, to, .. } = answer.typed()?;
    let diff = answer.json;
    say(format_args!("{} .. {}", end(&from), end(&to)));
    let mut names = Names::default();
    if !cx.is_for_scripts() {
        for id in mentioned(&diff) {
            names.learn(&cx.client, &id).await;
        }
    }
    let mut is_empty = true;
    document(cx, &diff, |_| {
        let mut text = String::new();
        for kind in [Kind::Nodes, Kind::Applications, Kind::Containers] {
            let Some(part) = diff.get(kind.path()) else { continue };
            for (sign, list) in [("+", "added"), ("-", "removed"), ("~", "changed")] {
                for entry in part.list(list) {
                    is_empty = false;
                    let name = plain(entry.text("name").unwrap_or_default());
                    let fields: Vec<_> = entry
                        .object("fields")
                        .iter()
                        .filter(|(field, _)| field != "seq")
                        .map(|(field, change)| changed(field, change, &names))
                        .collect();
                    let fields =
                        if fields.is_empty() { String::new() } else { format!(": {}", fields.join("; ")) };
                    let events: Vec<_> = entry.list("events").iter().map(Json::plain).collect();
                    let events = match events.len() {
                        0 => String::new(),
                        1 => format!("  (event {})", events[0]),
                        _ => format!("  (events {})", events.join(", ")),
                    };
                    let _ = writeln!(text, "{sign} {} `{name}`{fields}{events}", kind.word());
                }
            }
        }
        text
    })?;
    if is_empty && !cx.is_for_scripts() {
        say("no differences");
        print("")?;
    }
    Ok(())
}

/// A moment for people: seq and local time.
pub(super) fn end(moment: &Moment) -> String {
    format!("event {} ({})", moment.seq, moment.at.map(local).unwrap_or_default())
}

/// The ids of other resources in the changed fields.
fn mentioned(diff: &Json) -> BTreeSet<String> {
    let parts = [Kind::Nodes, Kind::Applications, Kind::Containers];
    parts
        .iter()
        .filter_map(|kind| diff.get(kind.path()))
        .flat_map(|part| part.list("changed"))
        .flat_map(|entry| entry.object("fields"))
        .filter(|(field, _)| is_reference(field))
        .flat_map(|(_, change)| [change.text("from"), change.text("to")])
        .flatten()
        .map(str::to_owned)
        .collect()
}
