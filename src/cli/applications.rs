//! `kdaemon apps`: the application library.

use super::change::{About, ChangeArgs, each};
use super::client::Request;
use super::failure::Failure;
use super::get::{Kind, ListArgs, pair};
use super::history::HistoryArgs;
use super::nodes::{clear, merged_labels, nonempty, put};
use super::progress::Watching;
use super::variables::{EnvArgs, of_row};
use super::{Context, get, history};
use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What can be done with applications.
#[derive(Debug, Subcommand)]
pub(super) enum ApplicationsCommand {
    /// Lists the applications
    #[command(
        visible_alias = "list",
        after_help = "\
Examples:
  kdaemon apps ls
  kdaemon apps ls -l tier=web -o name"
    )]
    Ls(ListArgs),
    /// Shows applications, field by field
    #[command(visible_alias = "show", after_help = "Example:\n  kdaemon apps get web -o yaml")]
    Get {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Adds an application to the library
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
        /// Its name
        name: String,
        #[command(flatten)]
        fields: Box<ApplicationFields>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Edits an application: what is not named stays as it is
    ///
    /// Variables and labels are added to those that are there; other lists are replaced as a whole.
    #[command(
        visible_alias = "update",
        after_help = "\
Examples:
  kdaemon apps edit web --image nginx:1.28 --update-policy rolling
  kdaemon apps edit web --env LEVEL=debug --env-rm TRACE
  kdaemon apps edit web --clear health_check,constraints"
    )]
    Edit {
        /// Name or id
        application: String,
        /// Its new name
        #[arg(long = "name", value_name = "NAME")]
        new_name: Option<String>,
        #[command(flatten)]
        fields: Box<ApplicationFields>,
        /// Takes an environment variable away
        #[arg(long = "env-rm", value_name = "NAME")]
        remove_env: Vec<String>,
        /// Takes a label away
        #[arg(long = "label-rm", value_name = "LABEL")]
        remove_labels: Vec<String>,
        /// Sets a field back to its default, as in health_check, volumes, replicas
        #[arg(long = "clear", value_name = "FIELD", value_delimiter = ',')]
        clear: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Removes applications from the library, which have no containers any more
    #[command(
        visible_alias = "delete",
        after_help = "\
Examples:
  kdaemon apps rm web
  kdaemon apps rm web --containers --wait     also deletes its containers"
    )]
    Rm {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
        /// Deletes their containers first, and waits until they are gone
        #[arg(long)]
        containers: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Sets how many containers of an application the daemon keeps
    #[command(after_help = "\
Examples:
  kdaemon apps scale web 5 --wait
  kdaemon apps scale web 0")]
    Scale {
        /// Name or id
        application: String,
        /// How many
        replicas: u32,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Tells what happened to an application, and what each event changed
    #[command(after_help = "Example:\n  kdaemon apps history web")]
    History(HistoryArgs),
}

/// The fields of an application.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ApplicationFields {
    /// The image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// A port to publish: 80, 53/udp, or 8080:80 for a fixed port of the node
    #[arg(short, long = "port", value_name = "[NODE:]PORT[/udp]")]
    ports: Vec<String>,
    #[command(flatten)]
    env: EnvArgs,
    /// A mount: a volume's name or a path of the node, and the path in the container
    #[arg(short, long = "volume", value_name = "NAME|/PATH:/PATH[:ro]")]
    volumes: Vec<String>,
    /// A network of the engine to join
    #[arg(long = "network", value_name = "NAME")]
    networks: Vec<String>,
    /// A label of its containers
    #[arg(short, long = "label", value_name = "LABEL=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// What happens when a container ends: no, always, on-failure, on-failure:N
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// The most processors that a container may use, as in 0.5; the scheduler sets them aside
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// The most memory that a container may use, as in 256MiB; the scheduler sets it aside
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// A condition on the labels of nodes: zone==a, disk!=hdd, gpu, !gpu
    #[arg(long = "constraint", value_name = "CONDITION")]
    constraints: Vec<String>,
    /// A condition that nodes would better satisfy
    #[arg(long = "prefer", value_name = "CONDITION")]
    preferences: Vec<String>,
    /// The label of nodes over whose values the containers are spread, as in zone
    #[arg(long, value_name = "LABEL")]
    spread_over: Option<String>,
    /// Whether no node takes two of its containers
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    anti_affinity: Option<bool>,
    /// An application next to a container of which its containers have to run
    #[arg(long = "affinity", value_name = "APPLICATION")]
    affinity: Vec<String>,
    /// An application of which a container must be UP first
    #[arg(long = "depends-on", value_name = "APPLICATION")]
    dependencies: Vec<String>,
    /// How many containers the daemon keeps of it
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// How nodes are chosen: spread, binpack, resources
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<String>,
    /// What a change does to running containers: manual, rolling
    #[arg(long, value_name = "POLICY")]
    update_policy: Option<String>,
    /// How many of its containers may be moved or down at one time
    #[arg(long, value_name = "N")]
    disruption_limit: Option<u32>,
    /// The name of the registry credentials to pull with
    #[arg(long, value_name = "NAME")]
    registry_auth: Option<String>,
    /// A command that tells inside of the container whether it works
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// The time between two checks
    #[arg(long, value_name = "TIME", requires = "health_cmd")]
    health_interval: Option<String>,
    /// How long a check may take
    #[arg(long, value_name = "TIME", requires = "health_cmd")]
    health_timeout: Option<String>,
    /// So many failed checks in a row make a container unhealthy
    #[arg(long, value_name = "N", requires = "health_cmd")]
    health_retries: Option<u32>,
    /// The time after the start in which failed checks do not count
    #[arg(long, value_name = "TIME", requires = "health_cmd")]
    health_start_period: Option<String>,
    /// The entry point, in place of the image's own; split into words as a shell does
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Whether it may launch containers
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// Whom it belongs to
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    /// Arguments, in place of the image's own
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl ApplicationFields {
    /// All but the variables and the labels.
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        let texts = [
            ("docker_image", &self.image),
            ("restart_policy", &self.restart),
            ("spread_over", &self.spread_over),
            ("strategy", &self.strategy),
            ("update_policy", &self.update_policy),
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
        if let Some(command) = &self.health_cmd {
            let mut check = Map::new();
            put(&mut check, "command", Some(command.as_str()));
            put(&mut check, "interval", self.health_interval.as_deref());
            put(&mut check, "timeout", self.health_timeout.as_deref());
            put(&mut check, "retries", self.health_retries);
            put(&mut check, "start_period", self.health_start_period.as_deref());
            body.insert("health_check".to_owned(), Value::Object(check));
        }
        body
    }

    /// The limits, over those that a row has.
    fn limits(&self, row: Option<&super::json::Json>) -> Option<Value> {
        if self.cpus.is_none() && self.memory.is_none() {
            return None;
        }
        let mut limits = Map::new();
        let before = row.map(|row| row.object("resources")).unwrap_or_default();
        for (field, value) in before {
            put(&mut limits, field, serde_json::to_value(value).ok());
        }
        put(&mut limits, "cpus", self.cpus);
        if let Some(memory) = &self.memory {
            limits.remove("memory_bytes");
            limits.insert("memory".to_owned(), json!(memory));
        }
        Some(Value::Object(limits))
    }
}

fn about(name: &str, done: &'static str, going: &'static str) -> About {
    let watching = Watching::Application(name.to_owned());
    About { thing: "application", name: name.to_owned(), done, going, watching }
}

/// Does it.
pub(super) async fn run(cx: &Context, command: ApplicationsCommand) -> Result<(), Failure> {
    let kind = Kind::Applications;
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
            let mut request = Request::new(Method::PATCH, &["applications", "update", &application])?;
            let sets_env = !fields.env.is_empty() || !remove_env.is_empty();
            let sets_labels = !fields.labels.is_empty() || !remove_labels.is_empty();
            let sets_limits = fields.cpus.is_some() || fields.memory.is_some();
            if sets_env || sets_labels || sets_limits {
                let row = cx.client.ask(Request::get(&["applications", &application])?).await?.json;
                request.if_match = row.whole("seq");
                put(&mut body, "resources", fields.limits(Some(&row)));
                if sets_env {
                    let before = row.text("env_variables").unwrap_or_default();
                    body.insert("env_variables".to_owned(), merged_env(before, &fields.env, &remove_env)?);
                }
                if sets_labels {
                    let labels = merged_labels(&row, fields.labels.clone(), &remove_labels)?;
                    body.insert("labels".to_owned(), labels);
                }
            }
            clear(&mut body, &cleared)?;
            nonempty(&body)?;
            let about = about(&application, "is edited", "being edited");
            cx.change(request.body(Value::Object(body)), &change, &about).await?;
            Ok(())
        }
        ApplicationsCommand::Rm { names, containers, change } => {
            each(&names, async |name| {
                if containers && !change.is_dry_run() {
                    delete_containers(cx, name, std::time::Duration::from_secs(120)).await?;
                }
                let request = Request::new(Method::DELETE, &["applications", "delete", name])?;
                cx.change(request, &change, &about(name, "is removed", "being removed")).await.map(drop)
            })
            .await
        }
        ApplicationsCommand::Scale { application, replicas, change } => {
            let request = Request::new(Method::POST, &["applications", "scale", &application])?;
            let request = request.body(json!({"replicas": replicas}));
            cx.change(request, &change, &about(&application, "is scaled", "being scaled")).await.map(drop)
        }
    }
}

async fn add(
    cx: &Context,
    name: &str,
    fields: &ApplicationFields,
    change: &ChangeArgs,
) -> Result<(), Failure> {
    let mut body = fields.body();
    body.insert("name".to_owned(), json!(name));
    put(&mut body, "resources", fields.limits(None));
    if !fields.env.is_empty() {
        body.insert("env_variables".to_owned(), json!(fields.env.read()?));
    }
    if !fields.labels.is_empty() {
        let labels: BTreeMap<_, _> = fields.labels.iter().cloned().collect();
        body.insert("labels".to_owned(), json!(labels));
    }
    let request = Request::new(Method::POST, &["applications", "create"])?.body(Value::Object(body));
    let added = cx.change(request, change, &about(name, "is added", "being added")).await?;
    // Adding it is done at once; its containers are what there is to wait for.
    if let (Some(replicas), Some(_), Some(wait)) = (fields.replicas, added, change.wait()) {
        let request = Request::new(Method::POST, &["applications", "scale", name])?;
        let request = request.body(json!({"replicas": replicas}));
        let quiet = Context { output: None, ..cx.clone() };
        quiet.change(request, &ChangeArgs::waiting(wait), &about(name, "is UP", "being launched")).await?;
    }
    Ok(())
}

/// The variables of a row with some set and some taken away.
pub(super) fn merged_env(row: &str, set: &EnvArgs, removed: &[String]) -> Result<Value, Failure> {
    let mut variables = of_row(row);
    for name in removed {
        if variables.remove(name).is_none() {
            return Err(Failure::Invalid(format!("there is no variable `{name}` to take away")));
        }
    }
    variables.extend(set.read()?);
    Ok(json!(variables))
}

/// Deletes all containers of an application, and waits until they are gone.
pub(super) async fn delete_containers(
    cx: &Context,
    application: &str,
    wait: std::time::Duration,
) -> Result<(), Failure> {
    // Those that `replicas` made would be made again.
    let request = Request::new(Method::POST, &["applications", "scale", application])?;
    let request = request.body(json!({"replicas": 0}));
    let quiet = Context { output: None, ..cx.clone() };
    let about = about(application, "has no replicas any more", "being scaled down");
    quiet.change(request, &ChangeArgs::waiting(wait), &about).await?;
    let mut names = Vec::new();
    let request = Request::get(&["containers"])?.query("application_id", application);
    cx.client
        .list(request, |row: super::json::Json, _| {
            names.extend(row.text("name").map(str::to_owned));
            Ok(())
        })
        .await?;
    each(&names, async |name| {
        let request = Request::new(Method::DELETE, &["containers", "delete", name])?;
        let about = super::containers::about(name, "is deleted", "being deleted");
        quiet.change(request, &ChangeArgs::waiting(wait), &about).await.map(drop)
    })
    .await
}
