//! The routes of nodes.

use super::command::{Call, CommandQuery, Created, Progress, settled};
use super::input::{Fields, Input, Known, Query, Which};
use super::lenient::{
    LenientCount, LenientInteger, LenientText, filled, nullable, optional_text, unless_empty,
};
use super::problem::Problem;
use super::resource::{ListQuery, NodeResource, PageQuery, ReadQuery, get, list, resolve};
use super::{Api, HandlerResult, Routes};
use axum::extract::State;
use axum::http::HeaderMap;
use kdaemon_api::{DryRun, NodeRow};
use kdaemon_control::commands::{Command, MountNode, UpdateNode};
use kdaemon_events::node::Availability;
use kdaemon_events::{Endpoint, NodeId};
use kdaemon_projections::Cluster;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;
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
        routes!(cordon),
        routes!(uncordon),
        routes!(drain),
    ]
}

/// A node to mount, or the fields of a node to update. Mounting requires `endpoint`, or `d_ipaddr` and `d_port`.
#[derive(Debug, Deserialize, ToSchema)]
struct NodeInput {
    /// Name; derived from the address if absent.
    name: Option<String>,
    /// Owner, any text.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientText>)]
    user_id: Option<Option<LenientText>>,
    /// Host of the engine: an IPv4 or IPv6 address, or a name.
    d_ipaddr: Option<String>,
    /// Port of the engine.
    #[serde(default, deserialize_with = "unless_empty")]
    #[schema(value_type = Option<LenientInteger>)]
    d_port: Option<LenientInteger>,
    /// Address of the engine, instead of `d_ipaddr` and `d_port`: `tcp://HOST:PORT` or `unix:///PATH`.
    endpoint: Option<String>,
    /// Not supported in this version: must be null.
    #[schema(value_type = Option<Object>)]
    tls: Option<Value>,
    /// Labels that constraints refer to; null clears them.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: Option<Option<BTreeMap<String, String>>>,
    /// Maximum number of containers; null for no limit.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientCount>)]
    capacity: Option<Option<LenientCount>>,
    /// Availability for placement, as set by the routes `cordon`, `uncordon` and `drain`; `active` for a new node.
    #[schema(value_type = Option<String>)]
    availability: Option<Availability>,
}

impl Fields for NodeInput {
    fn known() -> &'static Known {
        static KNOWN: LazyLock<Known> = LazyLock::new(Known::of::<NodeInput, NodeRow>);
        &KNOWN
    }
}

impl NodeInput {
    /// The endpoint in the input, if it differs from `current`.
    fn endpoint(&self, current: Option<&Endpoint>) -> Result<Option<Endpoint>, Problem> {
        if self.tls.is_some() {
            return Err(Problem::invalid("tls", "tls is not supported in this version; leave it out"));
        }
        let whole = filled(self.endpoint.clone());
        let whole = whole.map(|text| text.parse::<Endpoint>()).transpose();
        let whole = whole.map_err(|error| Problem::invalid("endpoint", error.to_string()))?;
        let parts = self.host_and_port(current)?;
        // A row has both forms: a client that sends it back edits one of them, the other one is the current endpoint.
        let whole = whole.filter(|endpoint| Some(endpoint) != current);
        let parts = parts.filter(|endpoint| Some(endpoint) != current);
        match (whole, parts) {
            (Some(whole), Some(parts)) if whole != parts => Err(Problem::invalid(
                "endpoint",
                format!("endpoint ({whole}) and d_ipaddr with d_port ({parts}) differ; set one of them"),
            )),
            (whole, parts) => Ok(whole.or(parts)),
        }
    }

    fn host_and_port(&self, current: Option<&Endpoint>) -> Result<Option<Endpoint>, Problem> {
        let (old_host, old_port) = match current {
            Some(Endpoint::Tcp { host, port }) => (Some(host.clone()), Some(*port)),
            _ => (None, None),
        };
        let host = filled(self.d_ipaddr.clone());
        let port = self.d_port.map(|LenientInteger(port)| u16::try_from(port).unwrap_or(0));
        if host.is_none() && port.is_none() {
            return Ok(None);
        }
        if port == Some(0) {
            return Err(Problem::invalid("d_port", "a port must be a number from 1 to 65535"));
        }
        let host = host.or(old_host).ok_or_else(|| Problem::invalid("d_ipaddr", "d_ipaddr is missing"))?;
        let port = port.or(old_port).ok_or_else(|| Problem::invalid("d_port", "d_port is missing"))?;
        Endpoint::tcp(&host, port).map(Some).map_err(|error| Problem::invalid("d_ipaddr", error.to_string()))
    }
}

/// Mount a node
#[utoipa::path(post, path = "/nodes/create", tag = "nodes", params(CommandQuery), request_body = NodeInput,
    responses((status = 201, description = "Mounted", body = NodeRow), (status = 200, description = "Dry run: events that would be appended", body = DryRun)))]
async fn create(call: Call, input: Input<NodeInput>) -> HandlerResult {
    let Input { value: body, digest } = input;
    let missing = || {
        let detail = "a node requires the address of its engine: d_ipaddr and d_port, or endpoint";
        Problem::invalid("d_ipaddr", detail)
    };
    let mount = MountNode {
        availability: body.availability.unwrap_or_default(),
        endpoint: body.endpoint(None)?.ok_or_else(missing)?,
        name: filled(body.name),
        user_id: optional_text(body.user_id).flatten(),
        labels: body.labels.flatten().unwrap_or_default(),
        capacity: body.capacity.flatten().map(|capacity| capacity.0),
    };
    call.run(Command::MountNode(mount), None, Created::<NodeResource>::new(), Some(digest)).await
}

/// Update a node
#[utoipa::path(patch, path = "/nodes/update/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery), request_body = NodeInput,
    responses((status = 200, description = "Updated", body = NodeRow)))]
async fn update(call: Call, Which(which): Which, input: Input<NodeInput>) -> HandlerResult {
    let Input { value: body, digest } = input;
    let cluster = call.api.journal.cluster();
    let id = resolve::<NodeResource>(&cluster, &which)?;
    let update = UpdateNode {
        node_id: NodeId(id),
        endpoint: body.endpoint(cluster.node(NodeId(id)).map(|node| &node.endpoint))?,
        name: filled(body.name),
        user_id: optional_text(body.user_id),
        labels: body.labels.map(Option::unwrap_or_default),
        capacity: body.capacity.map(|capacity| capacity.map(|capacity| capacity.0)),
        availability: body.availability,
    };
    call.run_on::<NodeResource>(&which, |_| Command::UpdateNode(update), settled, Some(digest)).await
}

/// Unmount a node
///
/// Answers 409 while containers are placed on the node, unless `force` is true: then they migrate to other nodes. A
/// container that fits on no other node is removed and waits for one. The node is unmounted when no container is left, or
/// when none has left for 10 minutes; what is then left on its engine is not removed. A node that is DOWN is unmounted at
/// once.
#[utoipa::path(delete, path = "/nodes/delete/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "Unmounted", body = NodeRow), (status = 202, description = "Draining", body = NodeRow)))]
async fn delete(call: Call, Which(which): Which) -> HandlerResult {
    let force = call.force();
    let unmount = |node_id| Command::UnmountNode { node_id, force };
    call.run_on::<NodeResource>(&which, unmount, unmounted, None).await
}

/// Get a node
#[utoipa::path(get, path = "/nodes/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), ReadQuery),
    responses((status = 200, description = "The node", body = NodeRow)))]
async fn one(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    get::<NodeResource>(&api, &which, &query, &headers).await
}

/// List nodes
///
/// Filters are the scalar fields of a node (`?state=UP`) and labels (`?label=zone=a`).
#[utoipa::path(get, path = "/nodes", tag = "nodes", params(PageQuery),
    responses((status = 200, description = "The nodes, ordered by id", body = [NodeRow])))]
async fn all(State(api): State<Api>, query: ListQuery) -> HandlerResult {
    list::<NodeResource>(&api, query).await
}

/// Cordon a node: place no further containers on it
#[utoipa::path(post, path = "/nodes/cordon/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "Cordoned", body = NodeRow)))]
async fn cordon(call: Call, Which(which): Which) -> HandlerResult {
    call.run_on::<NodeResource>(&which, Command::CordonNode, settled, None).await
}

/// Uncordon a node: place containers on it again
#[utoipa::path(post, path = "/nodes/uncordon/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "Active", body = NodeRow)))]
async fn uncordon(call: Call, Which(which): Which) -> HandlerResult {
    call.run_on::<NodeResource>(&which, Command::UncordonNode, settled, None).await
}

/// Drain a node: move its containers to other nodes
#[utoipa::path(post, path = "/nodes/drain/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "Drained", body = NodeRow), (status = 202, description = "Draining", body = NodeRow)))]
async fn drain(call: Call, Which(which): Which) -> HandlerResult {
    call.run_on::<NodeResource>(&which, Command::DrainNode, drained, None).await
}

fn drained(cluster: &Cluster, id: Uuid) -> Progress {
    match cluster.node(NodeId(id)) {
        None => Progress::Done,
        Some(node) if node.availability != Availability::Draining => Progress::Failed(format!(
            "the drain of node `{}` was cancelled before the node was empty",
            node.name
        )),
        Some(node) if node.drained => Progress::Done,
        Some(_) => Progress::Pending,
    }
}

fn unmounted(cluster: &Cluster, id: Uuid) -> Progress {
    match cluster.node(NodeId(id)) {
        None => Progress::Done,
        Some(node) if !node.then_unmount => Progress::Failed(format!(
            "node `{}` was uncordoned before it was empty and stays mounted",
            node.name
        )),
        Some(_) => Progress::Pending,
    }
}
