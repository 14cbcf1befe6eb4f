//! `why`: the state of a node or a container as the daemon explains it, with the events that led to it.

use super::CliContext;
use super::client::ApiRequest;
use super::error::CliError;
use super::get::tell;
use super::kind::ResourceKind;
use super::output::document;
use super::table::{TextTable, plain};
use super::when::{ago, local};
use kdaemon_api::WhyReport;
use std::fmt::Write as _;

/// Shows the explanation.
pub(super) async fn run(cx: &CliContext, kind: ResourceKind, name: &str) -> Result<(), CliError> {
    let reply = cx.client.read(ApiRequest::get(&["why", kind.path(), name])?).await?;
    tell(cx, reply.seq);
    let why: WhyReport = reply.typed()?;
    document(cx, &reply, |wide| {
        let mut text = String::new();
        for sentence in &why.sentences {
            let _ = writeln!(text, "{}", plain(sentence));
        }
        let mut table =
            TextTable::new(&["SEQ", if wide { "AT" } else { "WHEN" }, "WHAT", "ACTOR", "BECAUSE OF"]);
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
