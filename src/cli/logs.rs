//! `kdaemon containers logs`: the output of a container, followed over its replacements.

use super::CliContext;
use super::client::ApiRequest;
use super::error::CliError;
use super::names::NameCache;
use super::output::{print_bytes, say};
use super::table::{plain, word};
use super::when::{TimeText, rfc3339};
use chrono::{DateTime, Utc};
use http::Response;
use hyper::body::Incoming;
use kdaemon_api::{ContainerRow, ContainerStatus, DesiredState};
use std::time::Duration;

/// How often the container is looked at while it writes nothing because it does not run.
const PERIOD: Duration = Duration::from_millis(500);

/// Options of `kdaemon containers logs`.
#[derive(Debug, clap::Args)]
pub(super) struct LogsArgs {
    /// Name or id
    name: String,
    /// Continue with new output, also of the containers that replace this one, until it is stopped or deleted
    #[arg(short, long)]
    follow: bool,
    /// Number of last lines to show, or `all`
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<String>,
    /// Only output from this time on
    #[arg(long, value_name = "TIME", value_parser = TimeText::parse)]
    since: Option<TimeText>,
}

/// Shows the output of a container.
pub(super) async fn run(cx: &CliContext, args: &LogsArgs) -> Result<(), CliError> {
    let since = cx.client.resolve_time(args.since.as_ref()).await?;
    let first = request(&args.name, args.follow)?.maybe("tail", args.tail.clone()).maybe("since", since);
    let mut output = cx.client.open(first, None).await?;
    if !args.follow {
        return copy(cx, &mut output).await;
    }
    let row: ContainerRow = cx.client.typed(ApiRequest::get(&["containers", &args.name])?).await?;
    let mut follower = LogFollower { cx, generation: generation(&output), row };
    loop {
        let failed = match copy(cx, &mut output).await {
            Ok(()) => None,
            Err(CliError::Closed) => return Err(CliError::Closed),
            Err(failure) => Some(failure),
        };
        let ended = Utc::now();
        output = loop {
            match follower.look(ended).await {
                Ok(Next::Output(next)) => break next,
                Ok(Next::Wait) => tokio::time::sleep(PERIOD).await,
                Ok(Next::End(reason)) => {
                    follower.say(&reason);
                    return Ok(());
                }
                // The daemon itself is gone: what ended the output says it best.
                Err(failure) => return Err(failed.unwrap_or(failure)),
            }
        };
    }
}

fn request(container: &str, follow: bool) -> Result<ApiRequest, CliError> {
    Ok(ApiRequest::get(&["containers", container, "logs"])?.maybe("follow", follow.then_some("true")))
}

/// Copies output to stdout until it ends.
async fn copy(cx: &CliContext, output: &mut Response<Incoming>) -> Result<(), CliError> {
    // No timeout: a container may write nothing for any length of time.
    while let Some(piece) = cx.client.piece(output, None).await? {
        print_bytes(&piece)?;
    }
    Ok(())
}

/// The generation whose output a response has.
fn generation(output: &Response<Incoming>) -> Option<u32> {
    output.headers().get("x-kdaemon-generation")?.to_str().ok()?.parse().ok()
}

/// The continuation after the output of a container ended.
enum Next {
    /// More output.
    Output(Response<Incoming>),
    /// Nothing yet: the container is being restarted or moved.
    Wait,
    /// Nothing more, for this reason.
    End(String),
}

/// Follows a container from one output to the next.
struct LogFollower<'a> {
    cx: &'a CliContext,
    /// The generation that was read last.
    generation: Option<u32>,
    /// The container as it was when its last output began.
    row: ContainerRow,
}

impl LogFollower<'_> {
    fn say(&self, text: &str) {
        say(format_args!("-- {}: {text} --", plain(&self.row.name)));
    }

    /// Determines what follows the output that ended at this time.
    async fn look(&mut self, ended: DateTime<Utc>) -> Result<Next, CliError> {
        let client = &self.cx.client;
        let id = self.row.id.to_string();
        let row: ContainerRow = match client.typed(ApiRequest::get(&["containers", &id])?).await {
            Err(CliError::NotFound(_)) => return Ok(Next::End("deleted".to_owned())),
            row => row?,
        };
        let because = row.reason.as_deref().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
        match (row.status, row.desired) {
            (ContainerStatus::Up, _) => {}
            (ContainerStatus::Down | ContainerStatus::Created, DesiredState::Stopped) => {
                return Ok(Next::End(format!("stopped{because}")));
            }
            (ContainerStatus::Failed, _) => return Ok(Next::End(format!("{}{because}", word(row.status)))),
            _ => return Ok(Next::Wait),
        }
        let output = match client.open(request(&id, true)?, None).await {
            // The container stopped serving, or its engine is not reachable: its row will tell.
            Err(CliError::Refused(_) | CliError::NotFound(_) | CliError::Unreachable(_)) => {
                return Ok(Next::Wait);
            }
            output => output?,
        };
        let node = self.node(&row).await;
        let found = generation(&output);
        let restarts = row.restarts;
        let before = std::mem::replace(&mut self.row, row);
        if found != self.generation {
            self.generation = found;
            let generation = found.map(|generation| format!("generation {generation}"));
            self.say(&format!("{}{node}", generation.unwrap_or_else(|| "replaced".to_owned())));
            return Ok(Next::Output(output));
        }
        // The same container: what it wrote before was shown.
        if restarts != before.restarts {
            self.say(&format!("restarted{node}"));
        }
        drop(output);
        let more = request(&id, true)?.query("since", rfc3339(ended));
        match client.open(more, None).await {
            Err(CliError::Refused(_) | CliError::NotFound(_) | CliError::Unreachable(_)) => Ok(Next::Wait),
            output => output.map(Next::Output),
        }
    }

    /// ` on node-2`, if the container has a node.
    async fn node(&self, row: &ContainerRow) -> String {
        let Some(id) = row.node_id else { return String::new() };
        let mut names = NameCache::default();
        names.learn(&self.cx.client, id).await;
        format!(" on {}", names.known(id))
    }
}
