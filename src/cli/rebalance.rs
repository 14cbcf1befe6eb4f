//! `kdaemon rebalance`: starts a rebalancing round now.

use super::CliContext;
use super::change::ChangeArgs;
use super::client::ApiRequest;
use super::error::CliError;
use super::names::NameCache;
use super::output::{Format, document, say};
use super::progress::spinner;
use super::table::TextTable;
use super::target::{ChangeTarget, Watching};
use http::Method;
use kdaemon_api::Rebalance;

/// Options of `kdaemon rebalance`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kdaemon rebalance --dry-run\n  kdaemon rebalance --wait=5m")]
pub(super) struct RebalanceArgs {
    #[command(flatten)]
    change: ChangeArgs,
}

/// Starts a rebalancing round, or shows what it would do.
pub(super) async fn run(cx: &CliContext, args: &RebalanceArgs) -> Result<(), CliError> {
    let request = ApiRequest::new(Method::POST, &["rebalance"])?;
    if args.change.is_dry_run() {
        let target = ChangeTarget {
            thing: "cluster",
            name: String::new(),
            done: "rebalanced",
            going: "rebalancing",
            watching: Watching::Nothing,
        };
        return cx.change(request, &args.change, &target).await.map(drop);
    }
    let bar = spinner("rebalancing".to_owned());
    let reply = match args.change.wait() {
        Some(wait) => cx.client.ask(request.waiting(wait)).await,
        None => cx.client.ask(request).await,
    };
    bar.finish_and_clear();
    let reply = reply?;
    let plan: Rebalance = reply.typed()?;
    let mut names = NameCache::default();
    if matches!(cx.output, None | Some(Format::Table | Format::Wide)) {
        for step in &plan.moves {
            for id in [step.container_id.0, step.from_node_id.0, step.node_id.0] {
                names.learn(&cx.client, id).await;
            }
        }
    }
    if !plan.moves.is_empty() || cx.output.is_some() {
        document(cx, &reply, |_| {
            let mut table = TextTable::new(&["CONTAINER", "FROM", "TO"]);
            for step in &plan.moves {
                let ids = [step.container_id.0, step.from_node_id.0, step.node_id.0];
                table.row(ids.map(|id| names.known(id)));
            }
            table.text()
        })?;
    }
    say(&plan.why);
    if plan.remaining > 0 {
        say(format_args!("{} more moves are needed after these", plan.remaining));
    }
    if reply.status == 202
        && let Some(wait) = args.change.wait()
    {
        return Err(CliError::Other(format!(
            "timed out after {}s: containers are still moving; the daemon continues",
            wait.as_secs()
        )));
    }
    Ok(())
}
