//! `kdaemon rebalance`: starts a rebalancing round now.

use super::Context;
use super::change::ChangeArgs;
use super::client::Request;
use super::failure::Failure;
use super::names::Names;
use super::output::{Format, say};
use super::progress::spinner;
use super::table::Table;
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
pub(super) async fn run(cx: &Context, args: &RebalanceArgs) -> Result<(), Failure> {
    let request = Request::new(Method::POST, &["rebalance"])?;
    if args.change.is_dry_run() {
        let about = super::change::About {
            thing: "cluster",
            name: String::new(),
            done: "rebalanced",
            going: "rebalancing",
            watching: super::progress::Watching::Nothing,
        };
        return cx.change(request, &args.change, &about).await.map(drop);
    }
    let bar = spinner("rebalancing".to_owned());
    let answer = match args.change.wait() {
        Some(wait) => cx.client.ask(request.waiting(wait)).await,
        None => cx.client.ask(request).await,
    };
    bar.finish_and_clear();
    let answer = answer?;
    let plan: Rebalance = answer.typed()?;
    let mut names = Names::default();
    if matches!(cx.output, None | Some(Format::Table | Format::Wide)) {
        for step in &plan.moves {
            for id in [step.container_id.0, step.from_node_id.0, step.node_id.0] {
                names.learn(&cx.client, &id.to_string()).await;
            }
        }
    }
    if !plan.moves.is_empty() || cx.output.is_some() {
        super::get::document(cx, &answer.json, |_| {
            let mut table = Table::new(&["CONTAINER", "FROM", "TO"]);
            for step in &plan.moves {
                let ids = [step.container_id.0, step.from_node_id.0, step.node_id.0];
                table.row(ids.map(|id| names.known(&id.to_string())));
            }
            table.text()
        })?;
    }
    say(&plan.why);
    if plan.remaining > 0 {
        say(format_args!("{} more moves are needed after these", plan.remaining));
    }
    if answer.status == 202
        && let Some(wait) = args.change.wait()
    {
        return Err(Failure::Other(format!(
            "timed out after {}s: containers are still moving; the daemon continues",
            wait.as_secs()
        )));
    }
    Ok(())
}
