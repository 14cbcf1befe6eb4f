//! `kdaemon containers`: the containers of the cluster.

use super::change::{ChangeArgs, NamedArgs, each};
use super::client::ApiRequest;
use super::error::CliError;
use super::fields::{clear, merged_env, nonempty, put};
use super::get::ListArgs;
use super::history::HistoryArgs;
use super::kind::ResourceKind;
use super::logs::{self, LogsArgs};
use super::names::NamedRow;
use super::output::{Format, json, no_names, print, yaml};
use super::table::{TextTable, bytes, plain};
use super::target::ChangeTarget;
use super::variables::EnvArgs;
use super::{CliContext, get, history, why};
use clap::Subcommand;
use http::Method;
use kdaemon_api::{ContainerRow, ContainerStats};
use serde::Serialize;
use serde_json::{Map, Value};

/// Subcommands of `kdaemon containers`.
#[derive(Debug, Subcommand)]
pub(super) enum ContainersCommand {
    /// List containers
    #[command(visible_aliases = ["list", "ps"], after_help = "\
Examples:
  kdaemon containers ls
  kdaemon containers ls -f status=FAILED -f status=LOST -o wide
  kdaemon containers ls -f application_id=web -o name | xargs -d '\\n' kdaemon containers stop")]
    Ls(ListArgs),
    /// Show all fields of containers
    #[command(visible_alias = "show", after_help = "Example:\n  kdaemon containers get web-1")]
    Get {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Create a container of an application
    #[command(
        visible_alias = "create",
        after_help = "\
Examples:
  kdaemon containers add --app web --launch --wait
  kdaemon containers add special --app web --env LEVEL=debug --pin"
    )]
    Add {
        /// Name of the container [default: derived from the application]
        name: Option<String>,
        #[command(flatten)]
        fields: ContainerFields,
        /// Launch the container at once
        #[arg(long)]
        launch: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Edit a container; fields that are not given stay as they are
    #[command(
        visible_alias = "update",
        after_help = "\
Examples:
  kdaemon containers edit web-1 --env LEVEL=debug --env-rm TRACE
  kdaemon containers edit web-1 --pin=false"
    )]
    Edit {
        /// Name or id
        container: String,
        /// New name
        #[arg(long = "name", value_name = "NAME")]
        new_name: Option<String>,
        #[command(flatten)]
        fields: ContainerFields,
        /// Remove an environment variable
        #[arg(long = "env-rm", value_name = "NAME")]
        remove_env: Vec<String>,
        /// Reset a field: env_variables, application_id or user_id
        #[arg(long = "clear", value_name = "FIELD", value_delimiter = ',')]
        clear: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove containers from their nodes and delete them
    #[command(visible_alias = "delete", after_help = "Example:\n  kdaemon containers rm web-1 web-2 --wait")]
    Rm {
        #[command(flatten)]
        named: NamedArgs,
        /// Delete their anonymous volumes too: the data is lost
        #[arg(long)]
        volumes: bool,
    },
    /// Place and launch containers
    #[command(
        visible_alias = "start",
        after_help = "\
Examples:
  kdaemon containers launch web-1 --wait
  kdaemon containers launch web-1 --dry-run     # shows where it would run"
    )]
    Launch(NamedArgs),
    /// Stop containers
    #[command(after_help = "Example:\n  kdaemon containers stop web-1 --wait=30s")]
    Stop(NamedArgs),
    /// Show the output of a container
    ///
    /// With --follow, the output of the next generation follows when the container is replaced, and a line on stderr says
    /// so. It ends when the container is stopped or deleted, or its launch failed for good.
    #[command(after_help = "\
Examples:
  kdaemon containers logs web-1
  kdaemon containers logs -f --tail 100 web-1
  kdaemon containers logs --since \"10m ago\" web-1 | grep error")]
    Logs(LogsArgs),
    /// Show the present resource usage of containers
    #[command(after_help = "Example:\n  kdaemon containers stats web-1 web-2")]
    Stats {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Explain the state of a container
    #[command(after_help = "\
Examples:
  kdaemon containers why web-1
  kdaemon at \"yesterday 14:00\" containers why web-1")]
    Why {
        /// Name or id
        name: String,
    },
    /// Show the events of a container, and what each of them changed
    #[command(after_help = "Example:\n  kdaemon containers history web-1")]
    History(HistoryArgs),
}

/// Options for the fields of a container.
#[derive(Debug, clap::Args)]
pub(super) struct ContainerFields {
    /// Application of the container
    #[arg(short, long = "app", value_name = "APPLICATION")]
    application: Option<String>,
    #[command(flatten)]
    env: EnvArgs,
    /// Exclude the container from rebalancing
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pin: Option<bool>,
    /// Owner
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
}

impl ContainerFields {
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        put(&mut body, "application_id", self.application.as_deref());
        put(&mut body, "user_id", self.user_id.as_deref());
        put(&mut body, "balance", self.pin.map(|pin| !pin));
        body
    }
}

/// Runs a subcommand.
pub(super) async fn run(cx: &CliContext, command: ContainersCommand) -> Result<(), CliError> {
    let kind = ResourceKind::Containers;
    match command {
        ContainersCommand::Ls(args) => get::list(cx, kind, &args).await,
        ContainersCommand::Get { names } => get::get(cx, kind, &names).await,
        ContainersCommand::Why { name } => why::run(cx, kind, &name).await,
        ContainersCommand::History(args) => history::run(cx, kind, &args).await,
        ContainersCommand::Add { name, fields, launch, change } => {
            let mut body = fields.body();
            put(&mut body, "name", name.as_deref());
            if !fields.env.is_empty() {
                body.insert("env_variables".to_owned(), serde_json::json!(fields.env.read()?));
            }
            let request = ApiRequest::new(Method::POST, &["containers", "create"])?.body(Value::Object(body));
            let shown = name.or(fields.application).unwrap_or_default();
            let quiet =
                CliContext { output: cx.output.filter(|_| !launch || change.is_dry_run()), ..cx.clone() };
            let made = quiet
                .change(request, &change, &ChangeTarget::container(&shown, "created", "creating"))
                .await?;
            match made {
                Some(made) if launch => {
                    let NamedRow { name, .. } = made.typed()?;
                    let name = name.as_str();
                    post(cx, name, "launch", &change, &ChangeTarget::container(name, "is UP", "launching"))
                        .await
                }
                _ => Ok(()),
            }
        }
        ContainersCommand::Edit { container, new_name, fields, remove_env, clear: cleared, change } => {
            let mut body = fields.body();
            put(&mut body, "name", new_name);
            let mut request = ApiRequest::new(Method::PATCH, &["containers", "update", &container])?;
            if !fields.env.is_empty() || !remove_env.is_empty() {
                let row: ContainerRow =
                    cx.client.typed(ApiRequest::get(&["containers", &container])?).await?;
                request.if_match = Some(row.seq);
                let env = merged_env(&row.env_variables, &fields.env, &remove_env)?;
                body.insert("env_variables".to_owned(), env);
            }
            clear(&mut body, &cleared)?;
            nonempty(&body)?;
            let target = ChangeTarget::container(&container, "edited", "editing");
            cx.change(request.body(Value::Object(body)), &change, &target).await.map(drop)
        }
        ContainersCommand::Rm { named, volumes } => {
            each(&named.names, async |name| {
                let request = ApiRequest::new(Method::DELETE, &["containers", "delete", name])?
                    .maybe("volumes", volumes.then_some("true"));
                cx.change(request, &named.change, &ChangeTarget::container(name, "deleted", "deleting"))
                    .await
                    .map(drop)
            })
            .await
        }
        ContainersCommand::Launch(named) => {
            each(&named.names, async |name| {
                post(cx, name, "launch", &named.change, &ChangeTarget::container(name, "is UP", "launching"))
                    .await
            })
            .await
        }
        ContainersCommand::Stop(named) => {
            each(&named.names, async |name| {
                post(cx, name, "stop", &named.change, &ChangeTarget::container(name, "stopped", "stopping"))
                    .await
            })
            .await
        }
        ContainersCommand::Logs(args) => logs::run(cx, &args).await,
        ContainersCommand::Stats { names } => stats(cx, &names).await,
    }
}

async fn post(
    cx: &CliContext,
    name: &str,
    verb: &str,
    change: &ChangeArgs,
    target: &ChangeTarget,
) -> Result<(), CliError> {
    let request = ApiRequest::new(Method::POST, &["containers", verb, name])?;
    cx.change(request, change, target).await.map(drop)
}

/// The resource usage of a container, with its name.
#[derive(Debug, Serialize)]
struct NamedStats {
    name: String,
    #[serde(flatten)]
    stats: ContainerStats,
}

async fn stats(cx: &CliContext, names: &[String]) -> Result<(), CliError> {
    let format = cx.output.unwrap_or(Format::Table);
    let mut all = Vec::new();
    let result = each(names, async |name| {
        let stats = cx.client.typed(ApiRequest::get(&["containers", name, "stats"])?).await?;
        all.push(NamedStats { name: name.to_owned(), stats });
        Ok(())
    })
    .await;
    match format {
        Format::Json => print(&json(&all)?)?,
        Format::Yaml => print(&yaml(&all)?)?,
        Format::Name => return Err(no_names()),
        Format::Table | Format::Wide if all.is_empty() => {}
        Format::Table | Format::Wide => {
            let mut table = TextTable::new(&["NAME", "CPUS", "MEMORY", "LIMIT", "RECEIVED", "SENT", "PIDS"]);
            for NamedStats { name, stats } in &all {
                table.row([
                    plain(name),
                    format!("{:.2}", stats.cpus),
                    bytes(stats.memory_bytes),
                    bytes(stats.memory_limit_bytes),
                    bytes(stats.network_received_bytes),
                    bytes(stats.network_sent_bytes),
                    stats.pids.to_string(),
                ]);
            }
            print(&table.text())?;
        }
    }
    result
}
