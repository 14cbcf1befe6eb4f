//! `kdaemon replay`: recorded history under another placement policy.

use super::CliContext;
use super::client::ApiRequest;
use super::error::CliError;
use super::fields::{pair, put};
use super::history::end;
use super::output::{document, say};
use super::progress::spinner;
use super::table::{TextTable, plain};
use super::when::{EventOrTime, PointText, local};
use http::Method;
use kdaemon_api::{ReplayFigures, ReplayReport};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The period to replay, and the policy.
#[derive(Debug, clap::Args)]
#[command(after_help = super::with_times!("\
Examples:
  kdaemon replay --strategy binpack
  kdaemon replay --from \"2d ago\" --set unhealthy_after=5 --set max_migrations=2
  kdaemon replay --from 1 --to 5000 --strategy resources -o json"))]
pub(super) struct ReplayArgs {
    /// Begin of the period [default: the beginning of the log]
    #[arg(long, value_name = "TIME", value_parser = PointText::parse)]
    from: Option<PointText>,
    /// End of the period [default: now]
    #[arg(long, value_name = "TIME", value_parser = PointText::parse)]
    to: Option<PointText>,
    /// Placement strategy: spread, binpack, resources
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<String>,
    /// Another setting of the policy, by its name in the configuration file
    #[arg(long = "set", value_name = "SETTING=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

/// A point in history as the request body has it: a number or a text.
fn point(point: EventOrTime) -> Value {
    match point {
        EventOrTime::Seq(seq) => json!(seq),
        moment @ EventOrTime::Moment(_) => json!(moment.written()),
    }
}

/// Replays the period and compares the outcomes.
pub(super) async fn run(cx: &CliContext, args: &ReplayArgs) -> Result<(), CliError> {
    let mut policy = Map::new();
    for (name, value) in &args.set {
        // Numbers are sent as numbers, other values as text.
        let value = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
        policy.insert(name.replace('-', "_"), value);
    }
    put(&mut policy, "strategy", args.strategy.as_deref());
    let mut body = Map::new();
    for (field, text) in [("from", &args.from), ("to", &args.to)] {
        if let Some(text) = text {
            body.insert(field.to_owned(), point(cx.client.resolve(text).await?));
        }
    }
    body.insert("policy".to_owned(), Value::Object(policy));
    let request = ApiRequest::new(Method::POST, &["replay"])?.body(Value::Object(body));
    let bar = spinner("replaying".to_owned());
    let reply = cx.client.ask(request).await;
    bar.finish_and_clear();
    let reply = reply?;
    let replay: ReplayReport = reply.typed()?;
    say(format_args!("{} .. {}", end(&replay.from), end(&replay.to)));
    document(cx, &reply, |wide| table(&replay, wide))
}

/// How many differences are shown without `-o wide`.
const DIFFERENCES: usize = 20;

fn table(replay: &ReplayReport, wide: bool) -> String {
    let sides = [&replay.recorded, &replay.replayed];
    let mut table = TextTable::new(&["", "RECORDED", "REPLAYED"]);
    let mut row = |label: &str, value: &dyn Fn(&ReplayFigures) -> String| {
        table.row([label.to_owned(), value(sides[0]), value(sides[1])]);
    };
    row("migrations", &|side| side.migrations.to_string());
    row("launches", &|side| side.launches.to_string());
    row("failed launches", &|side| side.failed.to_string());
    row("seconds down", &|side| side.down_seconds.to_string());
    row("largest imbalance", &|side| {
        let largest = side.imbalance.iter().map(|point| point.spread).max();
        largest.map(|spread| spread.to_string()).unwrap_or_default()
    });
    let mut peaks: BTreeMap<String, [String; 2]> = BTreeMap::new();
    for (number, side) in sides.iter().enumerate() {
        for peak in &side.peak {
            peaks.entry(plain(&peak.node)).or_default()[number] = peak.containers.to_string();
        }
    }
    for (node, [recorded, replayed]) in peaks {
        table.row([format!("most on {node}"), recorded, replayed]);
    }
    let mut text = table.text();
    let differences = &replay.differences;
    let shown = if wide { differences.len() } else { DIFFERENCES };
    if !differences.is_empty() {
        text.push('\n');
    }
    for difference in differences.iter().take(shown) {
        let seq = difference.seq.map(|seq| format!(" (event {seq})")).unwrap_or_default();
        let _ = writeln!(text, "{}  {}{seq}", local(difference.at), plain(&difference.says));
    }
    let more = replay.differences_count.saturating_sub(differences.len().min(shown) as u64);
    if more > 0 {
        let _ = writeln!(
            text,
            "… and {more} more differences{}",
            if wide { "" } else { " (-o wide shows more)" }
        );
    }
    text
}
