//! The routes of the application library.

use super::command::{Call, CommandQuery, Created, Progress, settled};
use super::input::{Fields, Input, Known, Query, Which};
use super::lenient::{
    CommaSeparated, HealthCheckInput, LenientBool, LenientCount, LenientDuration, LenientEnvironment,
    LenientHealthCheck, LenientInteger, LenientText, List, ResourcesInput, ShellWords, filled, nullable,
    optional_text,
};
use super::problem::Problem;
use super::resource::{ApplicationResource, ListQuery, PageQuery, ReadQuery, get, list, resolve};
use super::{Api, HandlerResult, Routes};
use crate::says::{self, Names};
use axum::extract::State;
use axum::http::HeaderMap;
use kdaemon_api::{ApplicationRow, DryRun};
use kdaemon_control::commands::{Command, CreateApplication, UpdateApplication};
use kdaemon_events::application::{OnFailure, UpdateOrder, UpdateSettings};
use kdaemon_events::{
    ApplicationId, Constraint, DataPolicy, PortSpec, RestartPolicy, Seq, SpecChanges, Strategy, UpdatePolicy,
    Volume,
};
use kdaemon_projections::{Cluster, Desired, PhaseKind, RolloutState, Status};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Routes {
    vec![
        routes!(create),
        routes!(update),
        routes!(delete),
        routes!(all),
        routes!(one),
        routes!(scale),
        routes!(restart),
        routes!(roll_back),
    ]
}

/// An application to create, or the fields of an application to update. Creating requires `name` and `docker_image`.
///
/// `null` resets a field to its default.
#[derive(Debug, Deserialize, ToSchema)]
struct ApplicationInput {
    /// Name, unique among applications.
    name: Option<String>,
    /// Owner, any text.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientText>)]
    user_id: Option<Option<LenientText>>,
    /// Ports to publish: `2368,53/udp,8080:80`, or a list.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    exposed_ports: Option<Option<CommaSeparated<PortSpec>>>,
    /// Image reference.
    docker_image: Option<String>,
    /// Names or ids of the applications that need a container UP before a container of this one is launched.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    dependencies: Option<Option<CommaSeparated<String>>>,
    /// `true` if containers of the application may be launched.
    is_enabled: Option<LenientBool>,
    /// Environment variables: `A=1,B=2`, `["A=1"]` or `{"A":"1"}`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientEnvironment>)]
    env_variables: Option<Option<LenientEnvironment>>,
    /// Arguments that override the image's: a list, or a string that is split as by a shell.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<ShellWords>)]
    command: Option<Option<ShellWords>>,
    /// Entry point that overrides the image's: a list, or a string that is split as by a shell.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<ShellWords>)]
    entrypoint: Option<Option<ShellWords>>,
    /// Mounts: `name:/path` or `/path/on/node:/path`, with an optional `:ro`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    volumes: Option<Option<CommaSeparated<Volume>>>,
    /// Engine networks to join.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    networks: Option<Option<CommaSeparated<String>>>,
    /// Labels of the containers.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: Option<Option<BTreeMap<String, String>>>,
    /// `no`, `always`, `on-failure` or `on-failure:N`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    restart_policy: Option<Option<EmptyIsDefault<RestartPolicy>>>,
    /// Limits and reservations per container.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<ResourcesInput>)]
    resources: Option<Option<ResourcesInput>>,
    /// Conditions that the labels of a node must satisfy: `zone==a`, `disk!=hdd`, `gpu`, `!gpu`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    constraints: Option<Option<CommaSeparated<Constraint>>>,
    /// Health check that the engine runs in each container; null for the image's own one.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<HealthCheckInput>)]
    health_check: Option<Option<LenientHealthCheck>>,
    /// Number of containers that the daemon maintains; null if containers are created individually.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientCount>)]
    replicas: Option<Option<LenientCount>>,
    /// Effect of a change on running containers: `manual` (none) or `rolling` (rollout).
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    update_policy: Option<Option<UpdatePolicy>>,
    /// How a rollout replaces containers; fields that are not given keep their value.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<UpdateInput>)]
    update: Option<Option<UpdateInput>>,
    /// Name of the registry credentials used for pulls.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    registry_auth: Option<Option<LenientText>>,
    /// Placement strategy: `spread`, `binpack` or `resources`; null for the daemon's setting.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    strategy: Option<Option<Strategy>>,
    /// Conditions on the labels of a node, as in `constraints`; nodes that satisfy more of them are preferred.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    preferences: Option<Option<CommaSeparated<Constraint>>>,
    /// Node label over whose values the containers are spread, such as `zone`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    spread_over: Option<Option<LenientText>>,
    /// `true` if a node runs at most one container of the application.
    #[schema(value_type = Option<bool>)]
    anti_affinity: Option<LenientBool>,
    /// Names or ids of the applications that a node must already run.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    affinity: Option<Option<CommaSeparated<String>>>,
    /// Maximum number of containers that may be moving or down at once: rebalancing and drains wait at this limit. Null for
    /// a quarter of them.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientCount>)]
    disruption_limit: Option<Option<LenientCount>>,
    /// Paths that are the same on every node, such as a mounted network file system: volumes from below them bind no
    /// container to a node.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    shared_paths: Option<Option<CommaSeparated<String>>>,
    /// Fate of a container's data when its node fails or is drained: `keep` (the container waits for the node)
    /// or `discard` (it moves, and begins without the data).
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    data: Option<Option<DataPolicy>>,
}

/// How a rollout replaces containers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateInput {
    /// `start-first` or `stop-first`.
    #[schema(value_type = Option<String>)]
    order: Option<UpdateOrder>,
    /// Number of containers that are replaced at a time.
    parallelism: Option<LenientCount>,
    /// How long a container without a health check must be UP until it serves, such as `5s`; an hour at most.
    #[schema(value_type = Option<String>)]
    min_ready: Option<LenientDuration>,
    /// Number of failures of new containers that stop the rollout.
    max_failures: Option<LenientCount>,
    /// `pause`, `rollback` or `continue`.
    #[schema(value_type = Option<String>)]
    on_failure: Option<OnFailure>,
}

impl UpdateInput {
    fn on(self, settings: UpdateSettings) -> UpdateSettings {
        let min_ready = self.min_ready.map(|time| time.or_seconds().as_millis());
        UpdateSettings {
            order: self.order.unwrap_or(settings.order),
            parallelism: self.parallelism.map_or(settings.parallelism, |count| count.0),
            min_ready_ms: min_ready.map_or(settings.min_ready_ms, |ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            max_failures: self.max_failures.map_or(settings.max_failures, |count| count.0),
            on_failure: self.on_failure.unwrap_or(settings.on_failure),
        }
    }
}

/// A value that is written as a string; an empty string is the default.
#[derive(Debug, Default)]
struct EmptyIsDefault<T>(T);

impl<'de, T: std::str::FromStr<Err: std::fmt::Display> + Default> Deserialize<'de> for EmptyIsDefault<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Fields for ApplicationInput {
    fn known() -> &'static Known {
        static KNOWN: LazyLock<Known> = LazyLock::new(Known::of::<ApplicationInput, ApplicationRow>);
        &KNOWN
    }
}

impl ApplicationInput {
    fn spec(&mut self) -> SpecChanges {
        SpecChanges {
            docker_image: filled(self.docker_image.take()),
            exposed_ports: self.exposed_ports.take().map(|ports| ports.unwrap_or_default().0),
            env_variables: self.env_variables.take().map(|variables| variables.unwrap_or_default().0),
            command: self.command.take().map(|words| words.unwrap_or_default().0),
            entrypoint: self.entrypoint.take().map(|words| words.unwrap_or_default().0),
            volumes: self.volumes.take().map(|volumes| volumes.unwrap_or_default().0),
            networks: self.networks.take().map(|networks| networks.unwrap_or_default().0),
            labels: self.labels.take().map(Option::unwrap_or_default),
            restart_policy: self.restart_policy.take().map(|policy| policy.unwrap_or_default().0),
            resources: self.resources.take().map(|limits| limits.unwrap_or_default().into()),
            constraints: self.constraints.take().map(|constraints| constraints.unwrap_or_default().0),
            health_check: self
                .health_check
                .take()
                .map(|check| check.map(|check| check.0).unwrap_or_default()),
            registry_auth: optional_text(self.registry_auth.take()),
            strategy: self.strategy.take(),
            preferences: self.preferences.take().map(|preferences| preferences.unwrap_or_default().0),
            spread_over: optional_text(self.spread_over.take()),
            anti_affinity: self.anti_affinity.take().map(|flag| flag.0),
            disruption_limit: self.disruption_limit.take().map(|limit| limit.map(|limit| limit.0)),
            shared_paths: self.shared_paths.take().map(|paths| paths.unwrap_or_default().0),
            data: self.data.take().map(Option::unwrap_or_default),
            affinity: None, // names, which are resolved when the command is decided
        }
    }
}

/// Create an application
#[utoipa::path(post, path = "/applications/create", tag = "applications", params(CommandQuery), request_body = ApplicationInput,
    responses((status = 201, description = "Created", body = ApplicationRow), (status = 200, description = "Dry run: events that would be appended", body = DryRun)))]
async fn create(call: Call, input: Input<ApplicationInput>) -> HandlerResult {
    let Input { value: mut body, digest } = input;
    let create = CreateApplication {
        name: filled(body.name.take())
            .ok_or_else(|| Problem::invalid("name", "an application requires a name"))?,
        spec: body.spec(),
        affinity: body.affinity.flatten().unwrap_or_default().0,
        user_id: optional_text(body.user_id).flatten(),
        is_enabled: body.is_enabled.is_none_or(|flag| flag.0),
        dependencies: body.dependencies.flatten().unwrap_or_default().0,
        replicas: body.replicas.flatten().map(|replicas| replicas.0),
        update_policy: body.update_policy.flatten().unwrap_or_default(),
        update: body
            .update
            .flatten()
            .map_or_else(UpdateSettings::default, |update| update.on(UpdateSettings::default())),
    };
    let command = Command::CreateApplication(create);
    call.run(command, None, Created::<ApplicationResource>::new(), Some(digest)).await
}

/// Update an application
#[utoipa::path(patch, path = "/applications/update/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), CommandQuery), request_body = ApplicationInput,
    responses((status = 200, description = "Updated", body = ApplicationRow)))]
async fn update(call: Call, Which(which): Which, input: Input<ApplicationInput>) -> HandlerResult {
    let Input { value: mut body, digest } = input;
    let present = call.api.journal.cluster();
    let present = present.find_application(&which).map(|application| application.update).unwrap_or_default();
    let update = |application_id| {
        Command::UpdateApplication(Box::new(UpdateApplication {
            application_id,
            spec: body.spec(),
            affinity: body.affinity.map(|names| names.unwrap_or_default().0),
            name: filled(body.name),
            user_id: optional_text(body.user_id),
            is_enabled: body.is_enabled.map(|flag| flag.0),
            dependencies: body.dependencies.map(|names| names.unwrap_or_default().0),
            replicas: body.replicas.map(|replicas| replicas.map(|replicas| replicas.0)),
            update_policy: body.update_policy.map(Option::unwrap_or_default),
            update: body
                .update
                .map(|update| update.map_or_else(UpdateSettings::default, |update| update.on(present))),
        }))
    };
    let judge = if call.waits() { rolled_out } else { settled };
    call.run_on::<ApplicationResource>(&which, update, judge, Some(digest)).await
}

/// Delete an application
#[utoipa::path(delete, path = "/applications/delete/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "Deleted", body = ApplicationRow)))]
async fn delete(call: Call, Which(which): Which) -> HandlerResult {
    call.run_on::<ApplicationResource>(&which, Command::DeleteApplication, settled, None).await
}

/// Get an application
#[utoipa::path(get, path = "/applications/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), ReadQuery),
    responses((status = 200, description = "The application", body = ApplicationRow)))]
async fn one(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    get::<ApplicationResource>(&api, &which, &query, &headers).await
}

/// List applications
///
/// Filters are the scalar fields of an application (`?is_enabled=true`) and labels (`?label=tier=web`).
#[utoipa::path(get, path = "/applications", tag = "applications", params(PageQuery),
    responses((status = 200, description = "The applications, ordered by id", body = [ApplicationRow])))]
async fn all(State(api): State<Api>, query: ListQuery) -> HandlerResult {
    list::<ApplicationResource>(&api, query).await
}

/// The desired number of an application's containers.
#[derive(Debug, Deserialize, ToSchema)]
struct ScaleInput {
    /// Number of containers that the daemon maintains.
    replicas: LenientCount,
}

impl Fields for ScaleInput {
    fn known() -> &'static Known {
        static KNOWN: LazyLock<Known> = LazyLock::new(Known::of_body::<ScaleInput>);
        &KNOWN
    }
}

/// Scale an application
#[utoipa::path(post, path = "/applications/scale/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), CommandQuery), request_body = ScaleInput,
    responses((status = 200, description = "Scaled", body = ApplicationRow), (status = 202, description = "Containers are being launched or deleted", body = ApplicationRow)))]
async fn scale(call: Call, Which(which): Which, input: Input<ScaleInput>) -> HandlerResult {
    let Input { value: ScaleInput { replicas: LenientCount(replicas) }, digest } = input;
    let scale = |application_id| Command::ScaleApplication { application_id, replicas };
    call.run_on::<ApplicationResource>(&which, scale, scaled, Some(digest)).await
}

/// Restart an application
///
/// Replaces all containers by ones of the present specification, as a rollout does.
#[utoipa::path(post, path = "/applications/restart/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "Restarted", body = ApplicationRow), (status = 202, description = "Containers are being replaced", body = ApplicationRow)))]
async fn restart(call: Call, Which(which): Which) -> HandlerResult {
    call.run_on::<ApplicationResource>(&which, Command::RestartApplication, rolled_out, None).await
}

/// The specification to return to.
#[derive(Debug, Deserialize, ToSchema)]
struct RollbackInput {
    /// Seq of an event: the specification that the application had then. By default the last specification with which a
    /// container served, other than the present one.
    #[schema(value_type = Option<u64>)]
    to_seq: Option<LenientInteger>,
}

impl Fields for RollbackInput {
    fn known() -> &'static Known {
        static KNOWN: LazyLock<Known> = LazyLock::new(Known::of_body::<RollbackInput>);
        &KNOWN
    }
}

/// Roll an application back
///
/// Gives it an earlier specification, as a new event.
#[utoipa::path(post, path = "/applications/rollback/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), CommandQuery), request_body = RollbackInput,
    responses((status = 200, description = "Rolled back", body = ApplicationRow), (status = 202, description = "Containers are being replaced", body = ApplicationRow)))]
async fn roll_back(call: Call, Which(which): Which, input: Input<RollbackInput>) -> HandlerResult {
    let Input { value: RollbackInput { to_seq }, digest } = input;
    let to = match to_seq {
        None => None,
        Some(seq) => {
            let seq = Seq(seq.0);
            let present = call.api.journal.cluster();
            let id = resolve::<ApplicationResource>(&present, &which)?;
            let past = call.api.past.state(seq).await?;
            let Some(then) = past.application(ApplicationId(id)) else {
                return Err(Problem::invalid(
                    "to_seq",
                    format!("application `{which}` does not exist as of event {seq}"),
                ));
            };
            Some((seq, Arc::clone(&then.spec)))
        }
    };
    let roll_back = |application_id| Command::RollBackApplication { application_id, to };
    call.run_on::<ApplicationResource>(&which, roll_back, rolled_out, Some(digest)).await
}

/// Done when the rollout is complete, or there is none to do.
fn rolled_out(cluster: &Cluster, id: Uuid) -> Progress {
    let Some(application) = cluster.application(ApplicationId(id)) else {
        return Progress::Failed("the application was deleted in the meantime".to_owned());
    };
    match &application.rollout {
        Some(rollout) if rollout.state == RolloutState::Paused => {
            let reason = says::rollout_reason(Names::of(&[cluster]), rollout).unwrap_or_default();
            Progress::Failed(format!("the rollout was paused: {reason}"))
        }
        _ if application.is_rolling() || application.may_roll() => Progress::Pending,
        _ => scaled(cluster, id),
    }
}

/// Done when the desired number of containers is UP and none is being deleted.
fn scaled(cluster: &Cluster, id: Uuid) -> Progress {
    let Some(application) = cluster.application(ApplicationId(id)) else {
        return Progress::Failed("the application was deleted in the meantime".to_owned());
    };
    let mut up = 0;
    let mut going = false;
    for container in application.containers.iter().filter_map(|id| cluster.container(*id)) {
        match (container.desired, container.status()) {
            (Desired::Deleted, _) => going = true,
            (Desired::Running, Status::Up)
                if container.phase.kind() == PhaseKind::Up
                    && container.is_serving()
                    && container.migrating.is_none() =>
            {
                up += 1;
            }
            (Desired::Running, Status::Failed) => {
                let reason = reason(cluster, container).unwrap_or_else(|| "its launch failed".to_owned());
                return Progress::Failed(format!("container `{}`: {reason}", container.name));
            }
            // It keeps ending.
            (Desired::Running, _) if container.quick_exits > 1 && !container.is_serving() => {
                let reason = reason(cluster, container).unwrap_or_else(|| "it keeps ending".to_owned());
                return Progress::Failed(format!("container `{}`: {reason}", container.name));
            }
            (Desired::Running, _) => going = true,
            // A replica that exited under its restart policy will not run again; any other one was stopped before.
            (Desired::Stopped, Status::Completed) => up += 1,
            (Desired::Stopped, Status::Down) if container.replica && container.reason.is_some() => {
                let reason = reason(cluster, container).unwrap_or_default();
                return Progress::Failed(format!("container `{}`: {reason}", container.name));
            }
            (Desired::Stopped, _) => {}
        }
    }
    if going || application.replicas.is_some_and(|wanted| up < wanted) {
        return Progress::Pending;
    }
    Progress::Done
}

fn reason(cluster: &Cluster, container: &kdaemon_projections::Container) -> Option<String> {
    says::container_reason(Names::of(&[cluster]), container)
}
