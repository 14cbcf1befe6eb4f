//! Why a node or a container is as it is: the daemon's own sentences, and the events behind them.

use super::Context;
use super::client::Request;
use super::failure::Failure;
use super::get::{Kind, document, tell};
use super::json::Json;
use super::table::{Table, plain};
use super::when::{ago, local, read};
use std::fmt::Write as _;

/// Tells it.
pub(super) async fn run(cx: &Context, kind: Kind, name: &str) -> Result<(), Failure> {
    let answer = cx.client.read(Request::get(&["why", kind.path(), name])?).await?;
    tell(cx, answer.seq);
    let why = &answer.json;
    document(cx, why, |wide| {
        let mut text = String::new();
        for sentence in why.list("sentences") {
            let _ = writeln!(text, "{}", sentence.plain());
        }
        let mut table = Table::new(&["SEQ", if wide { "AT" } else { "WHEN" }, "WHAT", "ACTOR", "BECAUSE OF"]);
        for step in why.list("steps") {
            let because: Vec<_> = step.list("because").iter().map(Json::plain).collect();
            table.row([
                step.whole("seq").map(|seq| seq.to_string()).unwrap_or_default(),
                step.text("at").and_then(read).map(if wide { local } else { ago }).unwrap_or_default(),
                plain(step.text("says").or(step.text("kind")).unwrap_or_default()),
                step.get("actor").map(super::events::actor).unwrap_or_default(),
                because.join(", "),
            ]);
        }
        if !table.is_empty() {
            let _ = write!(text, "\n{}", table.text());
        }
        text
    })
}
