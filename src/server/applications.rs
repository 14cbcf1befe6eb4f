//! The routes of the application library.

use super::command::{Call, CommandQuery, Created, Progress, settled};
use super::input::{Fields, Input, Known, Query, Which};
use super::lenient::{
    CommaSeparated, HealthCheckInput, LenientBool, LenientCount, LenientEnvironment, LenientText, List,
    ResourcesInput, ShellWords, filled, nullable, optional_text,
};
use super::problem::Problem;
use super::resource::{Applications, ListQuery, PageQuery, ReadQuery, get, list, resolve};
use super::{Answered, Api, Routes};
use crate::says::{self, Names};
use axum::extract::State;
use axum::http::HeaderMap;
use kdaemon_api::{ApplicationRow, DryRun};
use kdaemon_control::commands::{Command, CreateApplication, SpecChanges, UpdateApplication};
use kdaemon_events::{ApplicationId, Constraint, PortSpec, RestartPolicy, Strategy, UpdatePolicy, Volume};
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

/// An application, as it is added or edited. `name` and `docker_image` are needed to add one.
///
/// `null` sets a field back to its default.
#[derive(Debug, Deserialize, ToSchema)]
struct ApplicationInput {
    /// Its name.
    name: Option<String>,
    /// Whom it belongs to.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientText>)]
    user_id: Option<Option<LenientText>>,
    /// Ports to publish: `2368,53/udp,8080:80`, or a list.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    exposed_ports: Option<Option<CommaSeparated<PortSpec>>>,
    /// The image.
    docker_image: Option<String>,
    /// Names or ids of the applications of which a container must be UP first.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    dependencies: Option<Option<CommaSeparated<String>>>,
    /// Whether it may launch containers.
    is_enabled: Option<LenientBool>,
    /// Environment variables: `A=1,B=2`, `["A=1"]` or `{"A":"1"}`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientEnvironment>)]
    env_variables: Option<Option<LenientEnvironment>>,
    /// Arguments in place of the image's own: a list, or a text that is split as a shell does.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<ShellWords>)]
    command: Option<Option<ShellWords>>,
    /// Entry point in place of the image's own: a list, or a text that is split as a shell does.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<ShellWords>)]
    entrypoint: Option<Option<ShellWords>>,
    /// Mounts: `name:/path`, `/path/on/node:/path`, either with `:ro` behind it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    volumes: Option<Option<CommaSeparated<Volume>>>,
    /// Networks of the engine to join.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    networks: Option<Option<CommaSeparated<String>>>,
    /// Labels of its containers.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: Option<Option<BTreeMap<String, String>>>,
    /// `no`, `always`, `on-failure` or `on-failure:N`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    restart_policy: Option<Option<EmptyIsDefault<RestartPolicy>>>,
    /// Limits.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<ResourcesInput>)]
    resources: Option<Option<ResourcesInput>>,
    /// Conditions on the labels of nodes: `zone==a`, `disk!=hdd`, `gpu`, `!gpu`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    constraints: Option<Option<CommaSeparated<Constraint>>>,
    /// How its engine finds out whether a container works.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<HealthCheckInput>)]
    health_check: Option<Option<HealthCheckInput>>,
    /// How many containers the daemon keeps of it; null: people create them one by one.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientCount>)]
    replicas: Option<Option<LenientCount>>,
    /// What a change does to running containers: `manual` or `rolling`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    update_policy: Option<Option<UpdatePolicy>>,
    /// The name of the registry credentials to pull with.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    registry_auth: Option<Option<LenientText>>,
    /// How its nodes are chosen among those that fit: `spread`, `binpack` or `resources`; null: as the daemon is set.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    strategy: Option<Option<Strategy>>,
    /// Conditions on the labels of nodes that it would like: nodes that satisfy more of them come first.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    preferences: Option<Option<CommaSeparated<Constraint>>>,
    /// The label of nodes over whose values its containers are spread, such as `zone`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    spread_over: Option<Option<LenientText>>,
    /// Whether no node takes two of its containers.
    #[schema(value_type = Option<bool>)]
    anti_affinity: Option<LenientBool>,
    /// Names or ids of applications of each of which its nodes have to have a container.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<List>)]
    affinity: Option<Option<CommaSeparated<String>>>,
    /// How many of its containers may be moved or be down at one time before more are moved for the sake of balance or
    /// of a drain; null: a quarter of them.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientCount>)]
    disruption_limit: Option<Option<LenientCount>>,
}

/// A value that is written as text; an empty one is the default.
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
            health_check: self.health_check.take().map(|check| check.map(Into::into)),
            registry_auth: optional_text(self.registry_auth.take()),
            strategy: self.strategy.take(),
            preferences: self.preferences.take().map(|preferences| preferences.unwrap_or_default().0),
            spread_over: optional_text(self.spread_over.take()),
            anti_affinity: self.anti_affinity.take().map(|flag| flag.0),
            affinity: self.affinity.take().map(|names| names.unwrap_or_default().0),
            disruption_limit: self.disruption_limit.take().map(|limit| limit.map(|limit| limit.0)),
        }
    }
}

/// Adds an application to the library
#[utoipa::path(post, path = "/applications/create", tag = "applications", params(CommandQuery), request_body = ApplicationInput,
    responses((status = 201, description = "It is in the library", body = ApplicationRow), (status = 200, description = "What a dry run would append", body = DryRun)))]
async fn create(call: Call, input: Input<ApplicationInput>) -> Answered {
    let Input { value: mut body, digest } = input;
    let create = CreateApplication {
        name: filled(body.name.take())
            .ok_or_else(|| Problem::invalid("name", "an application needs a name"))?,
        spec: body.spec(),
        user_id: optional_text(body.user_id).flatten(),
        is_enabled: body.is_enabled.is_none_or(|flag| flag.0),
        dependencies: body.dependencies.flatten().unwrap_or_default().0,
        replicas: body.replicas.flatten().map(|replicas| replicas.0),
        update_policy: body.update_policy.flatten().unwrap_or_default(),
    };
    let command = Command::CreateApplication(create);
    call.run(command, None, Created::<Applications>::new(), Some(digest)).await
}

/// Edits an application
#[utoipa::path(patch, path = "/applications/update/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), CommandQuery), request_body = ApplicationInput,
    responses((status = 200, description = "It is so now", body = ApplicationRow)))]
async fn update(call: Call, Which(which): Which, input: Input<ApplicationInput>) -> Answered {
    let Input { value: mut body, digest } = input;
    let id = resolve::<Applications>(&call.api.journal.cluster(), &which)?;
    let update = UpdateApplication {
        application_id: ApplicationId(id),
        spec: body.spec(),
        name: filled(body.name),
        user_id: optional_text(body.user_id),
        is_enabled: body.is_enabled.map(|flag| flag.0),
        dependencies: body.dependencies.map(|names| names.unwrap_or_default().0),
        replicas: body.replicas.map(|replicas| replicas.map(|replicas| replicas.0)),
        update_policy: body.update_policy.map(Option::unwrap_or_default),
    };
    let command = Command::UpdateApplication(Box::new(update));
    call.run_on::<Applications>(id, command, settled, Some(digest)).await
}

/// Removes an application from the library
#[utoipa::path(delete, path = "/applications/delete/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "It is gone", body = ApplicationRow)))]
async fn delete(call: Call, Which(which): Which) -> Answered {
    let id = resolve::<Applications>(&call.api.journal.cluster(), &which)?;
    call.run_on::<Applications>(id, Command::DeleteApplication(ApplicationId(id)), settled, None).await
}

/// One application
#[utoipa::path(get, path = "/applications/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), ReadQuery),
    responses((status = 200, description = "The application", body = ApplicationRow)))]
async fn one(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
) -> Answered {
    get::<Applications>(&api, &which, &query, &headers).await
}

/// All applications
///
/// Every scalar field of an application is a filter (`?is_enabled=true`), and so are labels (`?label=tier=web`).
#[utoipa::path(get, path = "/applications", tag = "applications", params(PageQuery),
    responses((status = 200, description = "The applications, by id", body = [ApplicationRow])))]
async fn all(State(api): State<Api>, query: ListQuery) -> Answered {
    list::<Applications>(&api, query).await
}

/// The wanted number of an application's containers.
#[derive(Debug, Deserialize, ToSchema)]
struct ScaleInput {
    /// How many containers the daemon keeps of it.
    replicas: LenientCount,
}

impl Fields for ScaleInput {
    fn known() -> &'static Known {
        static KNOWN: LazyLock<Known> = LazyLock::new(Known::of_body::<ScaleInput>);
        &KNOWN
    }
}

/// Sets the number of an application's containers
#[utoipa::path(post, path = "/applications/scale/{id}", tag = "applications", params(("id" = String, Path, description = "Id or name"), CommandQuery), request_body = ScaleInput,
    responses((status = 200, description = "It has so many", body = ApplicationRow), (status = 202, description = "They are being launched or deleted", body = ApplicationRow)))]
async fn scale(call: Call, Which(which): Which, input: Input<ScaleInput>) -> Answered {
    let Input { value: ScaleInput { replicas: LenientCount(replicas) }, digest } = input;
    let id = resolve::<Applications>(&call.api.journal.cluster(), &which)?;
    let command = Command::ScaleApplication { application_id: ApplicationId(id), replicas };
    call.run_on::<Applications>(id, command, scaled, Some(digest)).await
}

/// As many as are wanted are UP, and none is on its way out.
fn scaled(cluster: &Cluster, id: Uuid) -> Progress {
    let Some(application) = cluster.application(ApplicationId(id)) else {
        return Progress::Failed("the application was deleted meanwhile".to_owned());
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
                let reason =
                    reason(cluster, container).unwrap_or_else(|| "it could not be launched".to_owned());
                return Progress::Failed(format!("container `{}`: {reason}", container.name));
            }
            (Desired::Running, _) => going = true,
            // One that ended by itself, as its restart policy allows, will not run; others were stopped before.
            (Desired::Stopped, Status::Down) if container.replica && container.reason.is_some() => {
                let reason = reason(cluster, container).unwrap_or_default();
                return Progress::Failed(format!("container `{}`: {reason}", container.name));
            }
            (Desired::Stopped, _) => {}
        }
    }
    if going || application.replicas.is_some_and(|wanted| up < wanted) {
        return Progress::Going;
    }
    Progress::Done
}

fn reason(cluster: &Cluster, container: &kdaemon_projections::Container) -> Option<String> {
    says::container_reason(Names::of(&[cluster]), container)
}
