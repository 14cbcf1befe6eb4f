//! The routes of the application library.

use super::command::{Call, CommandQuery, Created, Progress, settled};
use super::input::{Fields, Input, Known, Query, Which};
use super::lenient::{
    CommaSeparated, HealthCheckInput, LenientBool, LenientCount, LenientEnvironment, LenientHealthCheck,
    LenientText, List, ResourcesInput, ShellWords, filled, nullable, optional_text,
};
use super::problem::Problem;
use super::resource::{ApplicationResource, ListQuery, PageQuery, ReadQuery, get, list};
use super::{Api, HandlerResult, Routes};
use crate::says::{self, Names};
use axum::extract::State;
use axum::http::HeaderMap;
use kdaemon_api::{ApplicationRow, DryRun};
use kdaemon_control::commands::{Command, CreateApplication, UpdateApplication};
use kdaemon_events::{
    ApplicationId, Constraint, PortSpec, RestartPolicy, SpecChanges, Strategy, UpdatePolicy, Volume,
};
use kdaemon_projections::{Cluster, Desired, PhaseKind, Status};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Routes {
    vec![routes!(create), routes!(update), routes!(delete), routes!(all), routes!(one), routes!(scale)]
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
    };
    let command = Command::CreateApplication(create);
    call.run(command, None, Created::<ApplicationResource>::new(), Some(digest)).await
}

/// Update an application
#[utoipa::path(patch, path = "/applications/update/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), CommandQuery), request_body = ApplicationInput,
    responses((status = 200, description = "Updated", body = ApplicationRow)))]
async fn update(call: Call, Which(which): Which, input: Input<ApplicationInput>) -> HandlerResult {
    let Input { value: mut body, digest } = input;
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
        }))
    };
    call.run_on::<ApplicationResource>(&which, update, settled, Some(digest)).await
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
                if container.phase.kind() == PhaseKind::Up && container.migrating.is_none() =>
            {
                up += 1;
            }
            (Desired::Running, Status::Failed) => {
                let reason = reason(cluster, container).unwrap_or_else(|| "its launch failed".to_owned());
                return Progress::Failed(format!("container `{}`: {reason}", container.name));
            }
            (Desired::Running, _) => going = true,
            // A replica that exited under its restart policy will not run again; any other one was stopped before.
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
