//! `why`: the state of a node or a container as the daemon explains it, with the events that led to it.

use super::Context;
use super::client::Request;
use super::failure::Failure;
use super::get::tell;
use super::kind::Kind;
use super::output::document;
use super::table::{Table, plain};
use super::when::{ago, local};
use kdaemon_api::WhyReport;
use std::fmt::Write as _;

/// Shows the explanation.
pub(super) async fn run(cx: &Context, kind: Kind, name: &str) -> Result<(), Failure> {
    let reply = cx.client.read(Request::get(&["why", kind.path(), name])?).await?;
    tell(cx, reply.seq);
    let why: WhyReport = reply.typed()?;
    document(cx, &reply, |wide| {
        let mut text = String::new();
        for sentence in &why.sentences {
            let _ = writeln!(text, "{}", plain(sentence));
        }
        let mut table = Table::new(&["SEQ", if wide { "AT" } else { "WHEN" }, "WHAT", "ACTOR", "BECAUSE OF"]);
        for step in &why.steps {
            let because: Vec<_> = step.because.iter().map(ToString::to_string).collect();
            table.row([
                step.seq.to_string(),
                if wide { local(step.at) } else { ago(step.at) },
                plain(&step.says),
                plain(step.actor.name()),
                because.join(", "),
            ]);
        }
        if !table.is_empty() {
            let _ = write!(text, "\n{}", table.text());
        }
        text
    })
}
