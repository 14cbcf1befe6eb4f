//! `kdaemon apps`: the application library.

use super::change::{ChangeArgs, NamedArgs, each};
use super::client::ApiRequest;
use super::error::CliError;
use super::fields::{clear, merged_env, merged_labels, nonempty, pair, put};
use super::get::ListArgs;
use super::health_check::HealthCheckFields;
use super::history::HistoryArgs;
use super::kind::ResourceKind;
use super::names::NamedRow;
use super::target::ChangeTarget;
use super::variables::EnvArgs;
use super::{CliContext, get, history};
use clap::Subcommand;
use http::Method;
use kdaemon_api::ApplicationRow;
use kdaemon_events::Resources;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Subcommands of `kdaemon apps`.
#[derive(Debug, Subcommand)]
pub(super) enum ApplicationsCommand {
    /// List applications
    #[command(
        visible_alias = "list",
        after_help = "\
Examples:
  kdaemon apps ls
  kdaemon apps ls -l tier=web -o name"
    )]
    Ls(ListArgs),
    /// Show all fields of applications
    #[command(visible_alias = "show", after_help = "Example:\n  kdaemon apps get web -o yaml")]
    Get {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Add an application
    #[command(
        visible_alias = "create",
        after_help = "\
Examples:
  kdaemon apps add web --image nginx:1.27 --port 8080:80 --replicas 3 --wait
  kdaemon apps add db --image postgres:17 --env POSTGRES_PASSWORD --volume data:/var/lib/postgresql/data
  kdaemon apps add job --image busybox --restart on-failure:3 --cpus 0.5 --memory 64MiB -- sh -c 'date; sleep 60'
  kdaemon apps add web --image nginx --constraint 'zone==a' --constraint '!gpu' --spread-over rack --dry-run"
    )]
    Add {
        /// Name of the application
        name: String,
        #[command(flatten)]
        fields: Box<ApplicationFields>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Edit an application; fields that are not given stay as they are
    ///
    /// Environment variables, labels, limits, reservations and the parts of the health check are merged with the present
    /// ones; other lists are replaced.
    #[command(
        visible_alias = "update",
        after_help = "\
Examples:
  kdaemon apps edit web --image nginx:1.28 --update-policy rolling
  kdaemon apps edit web --env LEVEL=debug --env-rm TRACE
  kdaemon apps edit web --health-cmd 'curl -f localhost' --health-interval 10s
  kdaemon apps edit web --clear health_check,constraints"
    )]
    Edit {
        /// Name or id
        application: String,
        /// New name
        #[arg(long = "name", value_name = "NAME")]
        new_name: Option<String>,
        #[command(flatten)]
        fields: Box<ApplicationFields>,
        /// Remove an environment variable
        #[arg(long = "env-rm", value_name = "NAME")]
        remove_env: Vec<String>,
        /// Remove a label
        #[arg(long = "label-rm", value_name = "LABEL")]
        remove_labels: Vec<String>,
        /// Reset a field to its default, such as health_check, volumes or replicas
        #[arg(long = "clear", value_name = "FIELD", value_delimiter = ',')]
        clear: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove applications that have no containers
    ///
    /// Applications that depend on others are removed first.
    #[command(
        visible_alias = "delete",
        after_help = "\
Examples:
  kdaemon apps rm web
  kdaemon apps rm web --containers --wait     # deletes its containers first"
    )]
    Rm {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
        /// Delete their containers first, and wait until they are gone
        #[arg(long)]
        containers: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Set the number of replicas of an application
    #[command(after_help = "\
Examples:
  kdaemon apps scale web 5 --wait
  kdaemon apps scale web 0")]
    Scale {
        /// Name or id
        application: String,
        /// Number of containers that the daemon maintains
        replicas: u32,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Replace all containers of applications, as a rollout does
    #[command(after_help = "Example:\n  kdaemon apps restart web --wait")]
    Restart(NamedArgs),
    /// Return to an earlier specification: by default the last one with which a container served
    #[command(after_help = "\
Examples:
  kdaemon apps rollback web --wait
  kdaemon apps rollback web --to 1234          # as it was after event 1234; `kdaemon apps history web` lists them")]
    Rollback {
        /// Name or id
        application: String,
        /// Seq of an event: the specification that the application had then
        #[arg(long, value_name = "SEQ")]
        to: Option<u64>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Show the events of an application, and what each of them changed
    #[command(after_help = "Example:\n  kdaemon apps history web")]
    History(HistoryArgs),
}

/// Options for the fields of an application.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ApplicationFields {
    /// Image to run
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Port to publish: 80, 53/udp, or 8080:80 for a fixed port on the node
    #[arg(short, long = "port", value_name = "[NODE:]PORT[/udp]")]
    ports: Vec<String>,
    #[command(flatten)]
    env: EnvArgs,
    /// Mount: name of a volume or path on the node, and path in the container
    #[arg(short, long = "volume", value_name = "NAME|/PATH:/PATH[:ro]")]
    volumes: Vec<String>,
    /// Engine network to join
    #[arg(long = "network", value_name = "NAME")]
    networks: Vec<String>,
    /// Label of its containers
    #[arg(short, long = "label", value_name = "LABEL=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Restart policy for containers that exit: no, always, on-failure, on-failure:N
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// CPU limit of a container, such as 0.5
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// Memory limit of a container, such as 256MiB
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// CPUs that the scheduler reserves for a container, at most the limit; the limit by default
    #[arg(long, value_name = "N")]
    reserve_cpus: Option<f64>,
    /// Memory that the scheduler reserves for a container, at most the limit; the limit by default
    #[arg(long, value_name = "SIZE")]
    reserve_memory: Option<String>,
    /// Condition that the labels of a node must satisfy: zone==a, disk!=hdd, gpu, !gpu
    #[arg(long = "constraint", value_name = "CONDITION")]
    constraints: Vec<String>,
    /// Condition on the labels of a node; nodes that satisfy more of them are preferred
    #[arg(long = "prefer", value_name = "CONDITION")]
    preferences: Vec<String>,
    /// Node label, such as zone, over whose values the containers are spread
    #[arg(long, value_name = "LABEL")]
    spread_over: Option<String>,
    /// Run at most one container of the application on a node
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    anti_affinity: Option<bool>,
    /// Require nodes that already run APPLICATION
    #[arg(long = "affinity", value_name = "APPLICATION")]
    affinity: Vec<String>,
    /// Launch only when APPLICATION has a container that is UP
    #[arg(long = "depends-on", value_name = "APPLICATION")]
    dependencies: Vec<String>,
    /// Number of containers that the daemon maintains
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Placement strategy: spread, binpack, resources
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<String>,
    /// How running containers are updated when the application changes: manual, rolling
    #[arg(long, value_name = "POLICY")]
    update_policy: Option<String>,
    /// Which container runs while a rollout replaces one by another: start-first, stop-first
    #[arg(long, value_name = "ORDER")]
    update_order: Option<String>,
    /// Number of containers that a rollout replaces at a time
    #[arg(long, value_name = "N")]
    update_parallelism: Option<u32>,
    /// How long a container without a health check must be UP until it serves, such as 5s
    #[arg(long, value_name = "TIME")]
    update_min_ready: Option<String>,
    /// Number of failures of new containers that stop a rollout
    #[arg(long, value_name = "N")]
    update_max_failures: Option<u32>,
    /// Reaction of a rollout to that number of failures: pause, rollback, continue
    #[arg(long, value_name = "ACTION")]
    update_on_failure: Option<String>,
    /// Path that is the same on every node, such as a network file system: volumes from there bind no container to a node
    #[arg(long = "shared-path", value_name = "PATH")]
    shared_paths: Vec<String>,
    /// Fate of a container's data when its node fails or is drained: keep (wait for the node), discard
    #[arg(long, value_name = "POLICY")]
    data: Option<String>,
    /// Maximum number of containers that may be moving or down at once
    #[arg(long, value_name = "N")]
    disruption_limit: Option<u32>,
    /// Name of the registry credentials used for pulls
    #[arg(long, value_name = "NAME")]
    registry_auth: Option<String>,
    #[command(flatten)]
    health_check: HealthCheckFields,
    /// Entry point that overrides the one of the image; split into words like a shell does
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Allow containers of the application to be launched
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// Owner
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    /// Arguments that override the ones of the image
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl ApplicationFields {
    /// The given fields as a request body, without environment variables, labels, resources and health check.
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        let mut update = Map::new();
        put(&mut update, "order", self.update_order.as_deref());
        put(&mut update, "parallelism", self.update_parallelism);
        put(&mut update, "min_ready", self.update_min_ready.as_deref());
        put(&mut update, "max_failures", self.update_max_failures);
        put(&mut update, "on_failure", self.update_on_failure.as_deref());
        if !update.is_empty() {
            body.insert("update".to_owned(), Value::Object(update));
        }
        let texts = [
            ("docker_image", &self.image),
            ("restart_policy", &self.restart),
            ("spread_over", &self.spread_over),
            ("strategy", &self.strategy),
            ("update_policy", &self.update_policy),
            ("data", &self.data),
            ("registry_auth", &self.registry_auth),
            ("entrypoint", &self.entrypoint),
            ("user_id", &self.user_id),
        ];
        for (field, value) in texts {
            put(&mut body, field, value.as_deref());
        }
        let lists = [
            ("exposed_ports", &self.ports),
            ("volumes", &self.volumes),
            ("networks", &self.networks),
            ("constraints", &self.constraints),
            ("shared_paths", &self.shared_paths),
            ("preferences", &self.preferences),
            ("affinity", &self.affinity),
            ("dependencies", &self.dependencies),
            ("command", &self.command),
        ];
        for (field, values) in lists {
            put(
                &mut body,
                field,
                Some(values).filter(|values| !values.is_empty()).map(|values| json!(values)),
            );
        }
        put(&mut body, "anti_affinity", self.anti_affinity);
        put(&mut body, "is_enabled", self.enabled);
        put(&mut body, "replicas", self.replicas);
        put(&mut body, "disruption_limit", self.disruption_limit);
        body
    }

    /// The given limits and reservations merged into the row's; `None` if none is given.
    fn resources(&self, before: Resources) -> Option<Value> {
        let mut given = Map::new();
        put(&mut given, "cpus", self.cpus);
        put(&mut given, "memory_bytes", self.memory.as_deref());
        put(&mut given, "reserved_cpus", self.reserve_cpus);
        put(&mut given, "reserved_memory_bytes", self.reserve_memory.as_deref());
        if given.is_empty() {
            return None;
        }
        let mut resources = match json!(before) {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        resources.extend(given);
        Some(Value::Object(resources))
    }
}

/// Runs a subcommand.
pub(super) async fn run(cx: &CliContext, command: ApplicationsCommand) -> Result<(), CliError> {
    let kind = ResourceKind::Applications;
    match command {
        ApplicationsCommand::Ls(args) => get::list(cx, kind, &args).await,
        ApplicationsCommand::Get { names } => get::get(cx, kind, &names).await,
        ApplicationsCommand::History(args) => history::run(cx, kind, &args).await,
        ApplicationsCommand::Add { name, fields, change } => add(cx, &name, &fields, &change).await,
        ApplicationsCommand::Edit {
            application,
            new_name,
            fields,
            remove_env,
            remove_labels,
            clear: cleared,
            change,
        } => {
            let mut body = fields.body();
            put(&mut body, "name", new_name);
            let mut request = ApiRequest::new(Method::PATCH, &["applications", "update", &application])?;
            let sets_env = !fields.env.is_empty() || !remove_env.is_empty();
            let sets_labels = !fields.labels.is_empty() || !remove_labels.is_empty();
            let sets_resources = fields.resources(Resources::default()).is_some();
            if sets_env || sets_labels || sets_resources || !fields.health_check.is_empty() {
                let row: ApplicationRow =
                    cx.client.typed(ApiRequest::get(&["applications", &application])?).await?;
                request.if_match = Some(row.seq);
                put(&mut body, "resources", fields.resources(row.resources));
                put(&mut body, "health_check", fields.health_check.merged(row.health_check.as_ref()));
                if sets_env {
                    let env = merged_env(&row.env_variables, &fields.env, &remove_env)?;
                    body.insert("env_variables".to_owned(), env);
                }
                if sets_labels {
                    let labels = merged_labels(row.labels, &fields.labels, &remove_labels)?;
                    body.insert("labels".to_owned(), labels);
                }
            }
            clear(&mut body, &cleared)?;
            nonempty(&body)?;
            let target = ChangeTarget::application(&application, "edited", "editing");
            cx.change(request.body(Value::Object(body)), &change, &target).await?;
            Ok(())
        }
        ApplicationsCommand::Rm { names, containers, change } => {
            let names = removal_order(cx, names).await?;
            each(&names, async |name| {
                if containers && !change.is_dry_run() {
                    delete_containers(cx, name, std::time::Duration::from_secs(120)).await?;
                }
                let request = ApiRequest::new(Method::DELETE, &["applications", "delete", name])?;
                cx.change(request, &change, &ChangeTarget::application(name, "removed", "removing"))
                    .await
                    .map(drop)
            })
            .await
        }
        ApplicationsCommand::Restart(named) => {
            each(&named.names, async |name| {
                let request = ApiRequest::new(Method::POST, &["applications", "restart", name])?;
                cx.change(request, &named.change, &ChangeTarget::application(name, "restarted", "restarting"))
                    .await
                    .map(drop)
            })
            .await
        }
        ApplicationsCommand::Rollback { application, to, change } => {
            let request = ApiRequest::new(Method::POST, &["applications", "rollback", &application])?;
            let request = request.body(to.map_or_else(|| json!({}), |to| json!({"to_seq": to})));
            cx.change(
                request,
                &change,
                &ChangeTarget::application(&application, "rolled back", "rolling back"),
            )
            .await
            .map(drop)
        }
        ApplicationsCommand::Scale { application, replicas, change } => {
            let request = ApiRequest::new(Method::POST, &["applications", "scale", &application])?;
            let request = request.body(json!({"replicas": replicas}));
            cx.change(request, &change, &ChangeTarget::application(&application, "scaled", "scaling"))
                .await
                .map(drop)
        }
    }
}

async fn add(
    cx: &CliContext,
    name: &str,
    fields: &ApplicationFields,
    change: &ChangeArgs,
) -> Result<(), CliError> {
    let mut body = fields.body();
    body.insert("name".to_owned(), json!(name));
    put(&mut body, "resources", fields.resources(Resources::default()));
    put(&mut body, "health_check", fields.health_check.merged(None));
    if !fields.env.is_empty() {
        body.insert("env_variables".to_owned(), json!(fields.env.read()?));
    }
    if !fields.labels.is_empty() {
        let labels: BTreeMap<_, _> = fields.labels.iter().cloned().collect();
        body.insert("labels".to_owned(), json!(labels));
    }
    let request = ApiRequest::new(Method::POST, &["applications", "create"])?.body(Value::Object(body));
    let added = cx.change(request, change, &ChangeTarget::application(name, "added", "adding")).await?;
    // Adding takes effect at once; what takes time are the containers.
    if let (Some(replicas), Some(_), Some(wait)) = (fields.replicas, added, change.wait()) {
        let request = ApiRequest::new(Method::POST, &["applications", "scale", name])?;
        let request = request.body(json!({"replicas": replicas}));
        let quiet = CliContext { output: None, ..cx.clone() };
        quiet
            .change(
                request,
                &ChangeArgs::waiting(wait),
                &ChangeTarget::application(name, "is UP", "launching"),
            )
            .await?;
    }
    Ok(())
}

/// The order in which to remove applications: the daemon refuses to remove one that others refer to.
async fn removal_order(cx: &CliContext, names: Vec<String>) -> Result<Vec<String>, CliError> {
    if names.len() < 2 {
        return Ok(names);
    }
    let mut rows = Vec::new();
    for name in names {
        let row = match cx.client.typed(ApiRequest::get(&["applications", &name])?).await {
            // The removal itself reports it.
            Err(CliError::NotFound(_)) => None,
            row => Some(row?),
        };
        rows.push((name, row));
    }
    Ok(dependents_first(rows))
}

/// Sorts applications so that each comes before its dependencies and the applications that it has an affinity to.
/// Otherwise keeps their order.
pub(super) fn dependents_first(mut left: Vec<(String, Option<ApplicationRow>)>) -> Vec<String> {
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let rows = || left.iter().filter_map(|(_, row)| row.as_ref());
        let needed: BTreeSet<&String> =
            rows().flat_map(|row| row.dependencies.iter().chain(&row.affinity)).collect();
        let is_free = |(_, row): &(String, Option<ApplicationRow>)| {
            row.as_ref().is_none_or(|row| !needed.contains(&row.name))
        };
        // In a cycle of affinities no application is free, and the daemon refuses the first one.
        let next = left.iter().position(is_free).unwrap_or(0);
        ordered.push(left.remove(next).0);
    }
    ordered
}

/// Deletes all containers of an application, and waits until they are gone.
pub(super) async fn delete_containers(
    cx: &CliContext,
    application: &str,
    wait: std::time::Duration,
) -> Result<(), CliError> {
    // Otherwise the daemon would replace the deleted containers.
    let request = ApiRequest::new(Method::POST, &["applications", "scale", application])?;
    let request = request.body(json!({"replicas": 0}));
    let quiet = CliContext { output: None, ..cx.clone() };
    let target = ChangeTarget::application(application, "scaled to 0", "scaling");
    quiet.change(request, &ChangeArgs::waiting(wait), &target).await?;
    let mut names = Vec::new();
    let request = ApiRequest::get(&["containers"])?.query("application_id", application);
    cx.client
        .list(request, |row: NamedRow, _| {
            names.push(row.name);
            Ok(())
        })
        .await?;
    each(&names, async |name| {
        let request = ApiRequest::new(Method::DELETE, &["containers", "delete", name])?;
        let target = ChangeTarget::container(name, "deleted", "deleting");
        quiet.change(request, &ChangeArgs::waiting(wait), &target).await.map(drop)
    })
    .await
}
