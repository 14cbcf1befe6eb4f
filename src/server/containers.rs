//! The routes of containers.

use super::command::{Call, CommandQuery, Created, Progress, settled};
use super::input::{Fields, Input, Known, Query, QueryFields, Which};
use super::lenient::{
    LenientBalance, LenientBool, LenientEnvironment, LenientInteger, LenientTail, LenientText, TimeRef,
    edited_text, filled, nullable, optional_text,
};
use super::problem::{Problem, Sort};
use super::resource::{ContainerResource, ListQuery, PageQuery, ReadQuery, answer, get, json, list};
use super::when::state;
use super::{Api, GENERATION_HEADER, HandlerResult, Routes, SEQ_HEADER};
use crate::engine::{Engine, Identity, LogRequest, Pulling, Stats};
use crate::says::{self, Names};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use kdaemon_api::{ContainerRow, ContainerStats, DryRun, LaunchProgress, LaunchStep};
use kdaemon_control::commands::{Command, CreateContainer, UpdateContainer};
use kdaemon_events::{ContainerId, Seq};
use kdaemon_projections::{Cluster, Desired, PhaseKind};
use serde::Deserialize;
use std::sync::{Arc, LazyLock};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Routes {
    vec![
        routes!(create),
        routes!(launch),
        routes!(launch_one),
        routes!(stop),
        routes!(update),
        routes!(delete),
        routes!(all),
        routes!(one),
        routes!(logs),
        routes!(stats),
        routes!(progress),
    ]
}

/// A container record to create, or the fields of one to update.
#[derive(Debug, Deserialize, ToSchema)]
struct ContainerInput {
    /// Name, unique among containers; derived from the application's if absent.
    name: Option<String>,
    /// Owner, any text.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientText>)]
    user_id: Option<Option<LenientText>>,
    /// Id or name of the application.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    application_id: Option<Option<LenientText>>,
    /// Environment variables in addition to the application's: `A=1,B=2`, `["A=1"]` or `{"A":"1"}`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientEnvironment>)]
    env_variables: Option<Option<LenientEnvironment>>,
    /// `true` if the rebalancer may move the container; `false` pins it to its node. Any number, as sent by clients of 0.0
    /// (`0`, `0.5`), is read as `true`.
    balance: Option<LenientBalance>,
}

impl Fields for ContainerInput {
    fn known() -> &'static Known {
        static KNOWN: LazyLock<Known> = LazyLock::new(Known::of::<ContainerInput, ContainerRow>);
        &KNOWN
    }
}

/// Create a container record
#[utoipa::path(post, path = "/containers/create", tag = "containers", params(CommandQuery), request_body = ContainerInput,
    responses((status = 201, description = "Created", body = ContainerRow), (status = 200, description = "Dry run: events that would be appended", body = DryRun)))]
async fn create(call: Call, input: Input<ContainerInput>) -> HandlerResult {
    let Input { value: body, digest } = input;
    let create = CreateContainer {
        name: filled(body.name),
        user_id: optional_text(body.user_id).flatten(),
        application: optional_text(body.application_id).flatten(),
        env_variables: body.env_variables.flatten().unwrap_or_default().0,
        balance: body.balance.is_none_or(|flag| flag.0),
    };
    call.run(Command::CreateContainer(create), None, Created::<ContainerResource>::new(), Some(digest)).await
}

/// Launch a container
///
/// Places the container on a node, if it is not placed yet, and starts it there. Answers 409 if no node fits. If a node
/// that may fit is yet to be probed for the first time, the container waits for it.
#[utoipa::path(post, path = "/containers/launch/{id}", tag = "containers", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "UP", body = ContainerRow), (status = 202, description = "Launching", body = ContainerRow)))]
async fn launch(call: Call, Which(which): Which) -> HandlerResult {
    call.run_on::<ContainerResource>(&which, Command::LaunchContainer, launched, None).await
}

/// Launch a container (alias of `/containers/launch/{id}`)
#[utoipa::path(post, path = "/container/launch/{id}", tag = "containers", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "UP", body = ContainerRow), (status = 202, description = "Launching", body = ContainerRow)))]
async fn launch_one(call: Call, which: Which) -> HandlerResult {
    launch(call, which).await
}

/// Stop a container
#[utoipa::path(post, path = "/containers/stop/{id}", tag = "containers", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "DOWN", body = ContainerRow), (status = 202, description = "Stopping", body = ContainerRow)))]
async fn stop(call: Call, Which(which): Which) -> HandlerResult {
    call.run_on::<ContainerResource>(&which, Command::StopContainer, stopped, None).await
}

/// Update a container record
#[utoipa::path(patch, path = "/containers/update/{id}", tag = "containers", params(("id" = String, Path, description = "Id or name"), CommandQuery), request_body = ContainerInput,
    responses((status = 200, description = "Updated", body = ContainerRow)))]
async fn update(call: Call, Which(which): Which, input: Input<ContainerInput>) -> HandlerResult {
    let Input { value: body, digest } = input;
    let update = |container_id| {
        Command::UpdateContainer(UpdateContainer {
            container_id,
            name: filled(body.name),
            user_id: optional_text(body.user_id),
            application: edited_text(body.application_id),
            env_variables: body.env_variables.map(|variables| variables.unwrap_or_default().0),
            balance: body.balance.map(|flag| flag.0),
        })
    };
    call.run_on::<ContainerResource>(&which, update, settled, Some(digest)).await
}

/// Delete a container
///
/// Removes the container from its node, then deletes its record. Volumes stay, except with `?volumes=true` the anonymous
/// ones.
#[utoipa::path(delete, path = "/containers/delete/{id}", tag = "containers", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "Deleted", body = ContainerRow), (status = 202, description = "Deleting", body = ContainerRow)))]
async fn delete(call: Call, Which(which): Which) -> HandlerResult {
    let volumes = call.deletes_volumes();
    let delete = |container_id| Command::DeleteContainer { container_id, volumes };
    call.run_on::<ContainerResource>(&which, delete, deleted, None).await
}

/// Get a container
#[utoipa::path(get, path = "/containers/{id}", tag = "containers", params(("id" = String, Path, description = "Id or name"), ReadQuery),
    responses((status = 200, description = "The container", body = ContainerRow)))]
async fn one(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    get::<ContainerResource>(&api, &which, &query, &headers).await
}

/// List containers
///
/// Filters are the scalar fields of a container (`?status=UP&node_id=node-1`); references take ids or names.
#[utoipa::path(get, path = "/containers", tag = "containers", params(PageQuery),
    responses((status = 200, description = "The containers, ordered by id", body = [ContainerRow])))]
async fn all(State(api): State<Api>, query: ListQuery) -> HandlerResult {
    list::<ContainerResource>(&api, query).await
}

fn launched(cluster: &Cluster, id: Uuid) -> Progress {
    let Some(container) = cluster.container(ContainerId(id)) else {
        return Progress::Failed("the container was deleted in the meantime".to_owned());
    };
    let reason = |otherwise: &str| {
        says::container_reason(Names::of(&[cluster]), container).unwrap_or_else(|| otherwise.to_owned())
    };
    match container.phase.kind() {
        PhaseKind::Failed => Progress::Failed(reason("the launch failed")),
        PhaseKind::Deleting => Progress::Failed("the container is being deleted".to_owned()),
        PhaseKind::Completed => Progress::Done,
        PhaseKind::Down | PhaseKind::Created => {
            Progress::Failed(reason("the container was stopped in the meantime"))
        }
        PhaseKind::Stopping => Progress::Failed("the container is being stopped".to_owned()),
        _ if container.quick_exits > 1 && !container.is_serving() => {
            Progress::Failed(reason("the container keeps ending"))
        }
        PhaseKind::Up if container.is_serving() && container.migrating.is_none() => Progress::Done,
        PhaseKind::Up | PhaseKind::Waiting | PhaseKind::Placed | PhaseKind::Restarting => Progress::Pending,
    }
}

fn stopped(cluster: &Cluster, id: Uuid) -> Progress {
    match cluster.container(ContainerId(id)) {
        None => Progress::Done,
        Some(container) if container.desired == Desired::Running => {
            Progress::Failed("the container was launched again in the meantime".to_owned())
        }
        Some(container) if container.phase.kind().is_over() => Progress::Done,
        Some(container) if container.phase.kind() == PhaseKind::Created => Progress::Done,
        Some(_) => Progress::Pending,
    }
}

fn deleted(cluster: &Cluster, id: Uuid) -> Progress {
    match cluster.container(ContainerId(id)) {
        None => Progress::Done,
        Some(_) => Progress::Pending,
    }
}

/// Selection from a container's output.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LogQuery {
    /// `true` to keep the response open and send new output as it is written.
    #[param(value_type = Option<bool>)]
    follow: Option<LenientBool>,
    /// Number of last lines; `all` by default.
    #[param(value_type = Option<String>)]
    tail: Option<LenientTail>,
    /// Only output since this time: RFC 3339, a Unix time in seconds, or a duration before now (`10m`).
    #[param(value_type = Option<String>)]
    since: Option<TimeRef>,
    /// Seq of an event to wait for: the state includes it.
    #[param(value_type = Option<u64>)]
    min_seq: Option<LenientInteger>,
}

impl QueryFields for LogQuery {}

impl LogQuery {
    fn request(&self, api: &Api) -> LogRequest {
        LogRequest {
            follow: self.follow == Some(LenientBool(true)),
            tail: self.tail.and_then(|tail| match tail {
                LenientTail::All => None,
                LenientTail::Last(lines) => Some(lines),
            }),
            since: self.since.map(|since| since.moment(api.journal.now())),
        }
    }
}

/// Get a container's output
///
/// Standard output and standard error, in the order in which they were written. The header `X-KDaemon-Generation` has the
/// generation of the container that wrote it: when it is replaced, the output of the next generation is another response.
#[utoipa::path(get, path = "/containers/{id}/logs", tag = "containers", params(("id" = String, Path, description = "Id or name"), LogQuery),
    responses((status = 200, description = "The output", body = String, content_type = "text/plain")))]
async fn logs(State(api): State<Api>, Which(which): Which, Query(query): Query<LogQuery>) -> HandlerResult {
    let request = query.request(&api);
    let (engine, identity, seq) = serving(&*state(&api, query.min_seq).await?, &api, &which)?;
    let output = engine.logs(identity, request).await?;
    let mut response =
        Response::new(Body::from_stream(output.take_until(api.shutdown.clone().cancelled_owned())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(SEQ_HEADER, HeaderValue::from(seq.0));
    headers.insert(GENERATION_HEADER, HeaderValue::from(identity.generation.0));
    Ok(response)
}

impl From<Stats> for ContainerStats {
    fn from(stats: Stats) -> Self {
        Self {
            cpus: stats.cpus,
            memory_bytes: stats.memory_bytes,
            memory_limit_bytes: stats.memory_limit_bytes,
            network_received_bytes: stats.network_received_bytes,
            network_sent_bytes: stats.network_sent_bytes,
            pids: stats.pids,
        }
    }
}

/// Get a container's resource usage
#[utoipa::path(get, path = "/containers/{id}/stats", tag = "containers", params(("id" = String, Path, description = "Id or name"), NowQuery),
    responses((status = 200, description = "Current usage", body = ContainerStats)))]
async fn stats(State(api): State<Api>, Which(which): Which, Query(query): Query<NowQuery>) -> HandlerResult {
    let (engine, identity, seq) = serving(&*state(&api, query.min_seq).await?, &api, &which)?;
    let stats = engine.stats(identity).await?;
    Ok(answer(StatusCode::OK, seq, json(&ContainerStats::from(stats))))
}

fn launch_progress(step: LaunchStep, pulling: Option<Pulling>) -> LaunchProgress {
    LaunchProgress {
        step,
        percent: pulling.as_ref().and_then(Pulling::percent),
        bytes: pulling.as_ref().map(|pulling| pulling.bytes),
        of: pulling.as_ref().map(|pulling| pulling.of),
        image: pulling.map(|pulling| pulling.image),
    }
}

/// Get the progress of a container's launch
///
/// Includes the share of the image that was pulled. Progress is observed and never recorded, so it has no past. Of several
/// daemons the leader knows it; the others answer the step `unknown`.
#[utoipa::path(get, path = "/containers/{id}/progress", tag = "containers", params(("id" = String, Path, description = "Id or name"), NowQuery),
    responses((status = 200, description = "Current progress", body = LaunchProgress)))]
async fn progress(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<NowQuery>,
) -> HandlerResult {
    let cluster = state(&api, query.min_seq).await?;
    let container = cluster.find_container(&which).ok_or_else(|| Problem::not_found("container", &which))?;
    let progress = match (container.phase.kind(), &container.placement) {
        (PhaseKind::Waiting, _) => launch_progress(LaunchStep::Waiting, None),
        (PhaseKind::Placed | PhaseKind::Restarting, Some(_)) if !api.role.borrow().leads => {
            launch_progress(LaunchStep::Unknown, None)
        }
        (PhaseKind::Placed | PhaseKind::Restarting, Some(placement)) => {
            let engine = cluster.node(placement.node_id).map(|node| api.engines.client(&node.endpoint));
            let identity = cluster.id().map(|cluster| Identity {
                cluster,
                container: container.id,
                generation: placement.generation,
            });
            let pulling = engine.zip(identity).and_then(|(engine, identity)| engine.pulling(identity));
            launch_progress(
                if pulling.is_some() { LaunchStep::Pulling } else { LaunchStep::Starting },
                pulling,
            )
        }
        _ => launch_progress(LaunchStep::None, None),
    };
    Ok(answer(StatusCode::OK, cluster.seq(), json(&progress)))
}

/// Parameters of a read that has no past.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct NowQuery {
    /// Seq of an event to wait for: the state includes it.
    #[param(value_type = Option<u64>)]
    min_seq: Option<LenientInteger>,
}

impl QueryFields for NowQuery {}

/// The engine that runs the container's serving placement, and the identity of the container on it.
fn serving(cluster: &Cluster, api: &Api, which: &str) -> Result<(Arc<dyn Engine>, Identity, Seq), Problem> {
    let container = cluster.find_container(which).ok_or_else(|| Problem::not_found("container", which))?;
    let nowhere = || Problem::conflict(format!("container `{}` is on no node", container.name));
    let placement = container.serving().ok_or_else(nowhere)?;
    let node = cluster.node(placement.node_id).ok_or_else(nowhere)?;
    let cluster_id = cluster.id().ok_or_else(|| Problem::new(Sort::Internal, "the cluster has no id yet"))?;
    let identity =
        Identity { cluster: cluster_id, container: container.id, generation: placement.generation };
    Ok((api.engines.client(&node.endpoint), identity, cluster.seq()))
}
