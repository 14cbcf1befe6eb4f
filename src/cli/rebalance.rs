//! `kdaemon rebalance`: evens the counts of containers now.

use super::Context;
use super::change::ChangeArgs;
use super::client::Request;
use super::failure::Failure;
use super::json::Json;
use super::names::{Names, ids};
use super::output::{Format, say};
use super::progress::spinner;
use super::table::Table;
use reqwest::Method;

/// How to rebalance.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kdaemon rebalance --dry-run\n  kdaemon rebalance --wait=5m")]
pub(super) struct RebalanceArgs {
    #[command(flatten)]
    change: ChangeArgs,
}

/// Plans and starts it.
pub(super) async fn run(cx: &Context, args: &RebalanceArgs) -> Result<(), Failure> {
    let request = Request::new(Method::POST, &["rebalance"])?;
    if args.change.is_dry_run() {
        let about = super::change::About {
            thing: "cluster",
            name: String::new(),
            done: "is even",
            going: "being evened",
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
    let plan = &answer.json;
    let moves = plan.list("moves");
    let mut names = Names::default();
    if matches!(cx.output, None | Some(Format::Table | Format::Wide)) {
        for id in moves.iter().flat_map(ids) {
            names.learn(&cx.client, id).await;
        }
    }
    if !moves.is_empty() || cx.output.is_some() {
        super::get::document(cx, plan, |_| {
            let mut table = Table::new(&["CONTAINER", "FROM", "TO"]);
            for step in moves {
                let name = |field| step.text(field).map(|id| names.known(id)).unwrap_or_default();
                table.row([name("container_id"), name("from_node_id"), name("node_id")]);
            }
            table.text()
        })?;
    }
    say(plan.text("why").unwrap_or_default());
    match plan.get("remaining") {
        Some(remaining @ Json::Number(_)) if plan.whole("remaining") != Some(0) => {
            say(format_args!("{} more moves are needed afterwards", remaining.plain()));
        }
        _ => {}
    }
    if answer.status == 202
        && let Some(wait) = args.change.wait()
    {
        return Err(Failure::Other(format!("they still move after {}s; that goes on", wait.as_secs())));
    }
    Ok(())
}
