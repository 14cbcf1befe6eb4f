//! `kdaemon nodes`: the engines that the daemon manages.

use super::change::{ChangeArgs, NamedArgs, each};
use super::client::{ApiRequest, ApiResponse};
use super::error::CliError;
use super::event::recorded;
use super::fields::{clear, merged_labels, nonempty, pair, put};
use super::get::ListArgs;
use super::history::HistoryArgs;
use super::kind::ResourceKind;
use super::names::NamedRow;
use super::output::say;
use super::table::plain;
use super::target::ChangeTarget;
use super::{CliContext, get, history, why};
use clap::Subcommand;
use http::Method;
use kdaemon_api::{EventPage, NodeRow};
use kdaemon_events::node::Availability;
use kdaemon_events::{Event, Kind as EventKind};
use serde_json::{Map, Value, json};

/// Subcommands of `kdaemon nodes`.
#[derive(Debug, Subcommand)]
pub(super) enum NodesCommand {
    /// List nodes
    #[command(
        visible_alias = "list",
        after_help = "\
Examples:
  kdaemon nodes ls
  kdaemon nodes ls -f state=DOWN -l zone=a -o wide
  kdaemon nodes ls -o json | jq -r '.[].endpoint'"
    )]
    Ls(ListArgs),
    /// Show all fields of nodes
    #[command(
        visible_alias = "show",
        after_help = "\
Examples:
  kdaemon nodes get node-b
  kdaemon nodes get node-b -o yaml"
    )]
    Get {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Mount an engine that the daemon can reach as a node
    #[command(
        visible_alias = "mount",
        after_help = "\
Examples:
  kdaemon nodes add tcp://10.0.0.5:2375 --name b --label zone=a
  kdaemon nodes add unix:///var/run/docker.sock --name here --capacity 20
  kdaemon nodes add 10.0.0.5:2375 --dry-run"
    )]
    Add {
        /// Address of the engine: tcp://HOST:PORT (or HOST:PORT) or unix:///PATH (or /PATH)
        endpoint: String,
        #[command(flatten)]
        fields: NodeFields,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Edit a node; fields that are not given stay as they are
    #[command(
        visible_alias = "update",
        after_help = "\
Examples:
  kdaemon nodes edit b --label zone=b --label-rm gpu
  kdaemon nodes edit b --endpoint tcp://10.0.0.6:2375
  kdaemon nodes edit b --clear capacity"
    )]
    Edit {
        /// Name or id
        node: String,
        /// New address of the engine
        #[arg(long, value_name = "ENDPOINT")]
        endpoint: Option<String>,
        #[command(flatten)]
        fields: NodeFields,
        /// Remove a label
        #[arg(long = "label-rm", value_name = "LABEL")]
        remove_labels: Vec<String>,
        /// Reset a field: labels, capacity or user_id
        #[arg(long = "clear", value_name = "FIELD", value_delimiter = ',')]
        clear: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Unmount nodes
    ///
    /// A node with containers is refused, unless --force is given: then the containers move to other nodes first. A
    /// container that fits on no other node is removed and waits for one. The node is unmounted when no container is left,
    /// or when none has left for 10 minutes. A node that is DOWN is unmounted at once.
    ///
    /// Several nodes are all cordoned before the first one is unmounted, so that no container moves from one of them to
    /// another.
    #[command(visible_aliases = ["unmount", "delete"], after_help = "\
Examples:
  kdaemon nodes rm b
  kdaemon nodes rm b --force --wait=5m")]
    Rm {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
        /// Unmount nodes with containers, too: these move to other nodes first
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Cordon nodes: they receive no new containers and keep those they have
    #[command(after_help = "Example:\n  kdaemon nodes cordon b c")]
    Cordon(NamedArgs),
    /// Uncordon nodes: they receive new containers again
    #[command(after_help = "Example:\n  kdaemon nodes uncordon b c")]
    Uncordon(NamedArgs),
    /// Drain nodes: they receive no new containers, and theirs move to other nodes
    ///
    /// Several nodes are all cordoned before the first one is drained, so that no container moves from one of them to
    /// another.
    #[command(
        after_help = "Examples:\n  kdaemon nodes drain b c --wait=5m\n  kdaemon nodes drain b --dry-run"
    )]
    Drain(NamedArgs),
    /// Explain the state of a node
    #[command(after_help = "Examples:\n  kdaemon nodes why b\n  kdaemon at \"10m ago\" nodes why b")]
    Why {
        /// Name or id
        name: String,
    },
    /// Show the events of a node, and what each of them changed
    #[command(after_help = "Example:\n  kdaemon nodes history b")]
    History(HistoryArgs),
}

/// Options for the fields of a node.
#[derive(Debug, clap::Args)]
pub(super) struct NodeFields {
    /// Name of the node [default: derived from the address]
    #[arg(long)]
    name: Option<String>,
    /// Label, for constraints
    #[arg(short, long = "label", value_name = "LABEL=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Maximum number of containers
    #[arg(long, value_name = "N")]
    capacity: Option<u32>,
    /// Owner
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
}

impl NodeFields {
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        put(&mut body, "name", self.name.as_deref());
        put(&mut body, "capacity", self.capacity);
        put(&mut body, "user_id", self.user_id.as_deref());
        body
    }
}

fn endpoint(text: &str) -> String {
    match text {
        text if text.contains("://") => text.to_owned(),
        text if text.starts_with('/') => format!("unix://{text}"),
        text => format!("tcp://{text}"),
    }
}

/// Runs a subcommand.
pub(super) async fn run(cx: &CliContext, command: NodesCommand) -> Result<(), CliError> {
    let kind = ResourceKind::Nodes;
    match command {
        NodesCommand::Ls(args) => get::list(cx, kind, &args).await,
        NodesCommand::Get { names } => get::get(cx, kind, &names).await,
        NodesCommand::Why { name } => why::run(cx, kind, &name).await,
        NodesCommand::History(args) => history::run(cx, kind, &args).await,
        NodesCommand::Add { endpoint: address, fields, change } => {
            let mut body = fields.body();
            body.insert("endpoint".to_owned(), endpoint(&address).into());
            if !fields.labels.is_empty() {
                body.insert(
                    "labels".to_owned(),
                    fields.labels.into_iter().map(|(k, v)| (k, json!(v))).collect(),
                );
            }
            let request = ApiRequest::new(Method::POST, &["nodes", "create"])?.body(Value::Object(body));
            let name = fields.name.unwrap_or(address);
            cx.change(request, &change, &ChangeTarget::node(&name, "mounted", "mounting")).await?;
            Ok(())
        }
        NodesCommand::Edit { node, endpoint: address, fields, remove_labels, clear: cleared, change } => {
            let mut body = fields.body();
            put(&mut body, "endpoint", address.map(|address| endpoint(&address)));
            let mut request = ApiRequest::new(Method::PATCH, &["nodes", "update", &node])?;
            if !fields.labels.is_empty() || !remove_labels.is_empty() {
                let row: NodeRow = cx.client.typed(ApiRequest::get(&["nodes", &node])?).await?;
                body.insert("labels".to_owned(), merged_labels(row.labels, &fields.labels, &remove_labels)?);
                request.if_match = Some(row.seq);
            }
            clear(&mut body, &cleared)?;
            nonempty(&body)?;
            let target = ChangeTarget::node(&node, "edited", "editing");
            cx.change(request.body(Value::Object(body)), &change, &target).await?;
            Ok(())
        }
        NodesCommand::Rm { names, force, change } => {
            let request = |name: &str| {
                let request = ApiRequest::new(Method::DELETE, &["nodes", "delete", name])?;
                Ok(if force { request.query("force", "true") } else { request })
            };
            let unmounted = ("unmounted", "unmounting");
            empty(cx, &names, &change, request, unmounted, async |reply| tell_left(cx, &reply).await).await
        }
        NodesCommand::Cordon(named) => verb(cx, &named, "cordon", "cordoned", "cordoning").await,
        NodesCommand::Uncordon(named) => verb(cx, &named, "uncordon", "uncordoned", "uncordoning").await,
        NodesCommand::Drain(NamedArgs { names, change }) => {
            let request = |name: &str| ApiRequest::new(Method::POST, &["nodes", "drain", name]);
            empty(cx, &names, &change, request, ("drained", "draining"), async |_| Ok(())).await
        }
    }
}

/// Sends a request that makes containers leave a node, for each node in order, and passes each response to `tell`.
///
/// Cordons all of the nodes before the first request: otherwise the containers of the first node could move to
/// the next one, which they would then have to leave again.
async fn empty(
    cx: &CliContext,
    names: &[String],
    change: &ChangeArgs,
    request: impl Fn(&str) -> Result<ApiRequest, CliError>,
    (done, going): (&'static str, &'static str),
    mut tell: impl AsyncFnMut(ApiResponse) -> Result<(), CliError>,
) -> Result<(), CliError> {
    if names.len() > 1 && !change.is_dry_run() {
        for name in names {
            cordon_for(cx, name, request(name)?).await?;
        }
    }
    each(names, async |name| {
        let target = ChangeTarget::drained_node(name, done, going);
        match cx.change(request(name)?, change, &target).await? {
            Some(reply) => tell(reply).await,
            None => Ok(()),
        }
    })
    .await
}

/// Reports the containers that a node still held when it was unmounted.
async fn tell_left(cx: &CliContext, reply: &ApiResponse) -> Result<(), CliError> {
    let row: NamedRow = reply.typed()?;
    let request = ApiRequest::get(&["events"])?
        .query("subject", row.id.to_string())
        .query("kind", EventKind::NodeUnmounted.as_str());
    let page: EventPage = cx.client.typed(request).await?;
    if let Some(Event::NodeUnmounted(e)) = page.events.last().and_then(recorded)
        && e.left > 0
    {
        let (left, name) = (e.left, plain(&row.name));
        say(format_args!(
            "node `{name}` still held {left} containers; what is left of them on its engine is not removed"
        ));
    }
    Ok(())
}

/// Cordons a node that is about to be emptied. Does nothing if the node receives no containers already, or if
/// the daemon would refuse the request that empties it.
async fn cordon_for(cx: &CliContext, name: &str, request: ApiRequest) -> Result<(), CliError> {
    let cordoned = async {
        let row: NodeRow = cx.client.typed(ApiRequest::get(&["nodes", name])?).await?;
        if row.availability == Availability::Active {
            cx.client.ask(request.query("dry_run", "true")).await?;
            cx.client.ask(ApiRequest::new(Method::POST, &["nodes", "cordon", name])?).await?;
        }
        Ok(())
    };
    match cordoned.await {
        // The request itself reports it.
        Err(CliError::NotFound(_) | CliError::Refused(_)) => Ok(()),
        cordoned => cordoned,
    }
}

async fn verb(
    cx: &CliContext,
    named: &NamedArgs,
    verb: &str,
    done: &'static str,
    going: &'static str,
) -> Result<(), CliError> {
    each(&named.names, async |name| {
        let request = ApiRequest::new(Method::POST, &["nodes", verb, name])?;
        let target = ChangeTarget::drained_node(name, done, going);
        cx.change(request, &named.change, &target).await.map(drop)
    })
    .await
}
