//! The routes of nodes.

use super::command::{Call, CommandQuery, Created, Progress, settled};
use super::input::{Fields, Input, Known, Query, Which};
use super::lenient::{
    LenientCount, LenientInteger, LenientText, filled, nullable, optional_text, unless_empty,
};
use super::problem::Problem;
use super::resource::{ListQuery, Nodes, PageQuery, ReadQuery, get, list, resolve};
use super::{Answered, Api, Routes};
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

/// A node, as it is mounted or edited. `name`, and one of `d_ipaddr` with `d_port` or `endpoint`.
#[derive(Debug, Deserialize, ToSchema)]
struct NodeInput {
    /// Its name; made from its address when there is none.
    name: Option<String>,
    /// Whom it belongs to.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientText>)]
    user_id: Option<Option<LenientText>>,
    /// The host of its engine: an IPv4 or IPv6 address, or a name.
    d_ipaddr: Option<String>,
    /// The port of its engine.
    #[serde(default, deserialize_with = "unless_empty")]
    #[schema(value_type = Option<LenientInteger>)]
    d_port: Option<LenientInteger>,
    /// Where its engine answers, instead of `d_ipaddr` and `d_port`: `tcp://HOST:PORT` or `unix:///PATH`.
    endpoint: Option<String>,
    /// Not available in this version: only null.
    #[schema(value_type = Option<Object>)]
    tls: Option<Value>,
    /// Labels for constraints; null clears them.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: Option<Option<BTreeMap<String, String>>>,
    /// How many containers it takes at most; null for no such limit.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LenientCount>)]
    capacity: Option<Option<LenientCount>>,
    /// Whether it takes containers, as the routes `cordon`, `uncordon` and `drain` set it; `active` for a new one.
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
    /// The endpoint that it names, if it is another than `current`.
    fn endpoint(&self, current: Option<&Endpoint>) -> Result<Option<Endpoint>, Problem> {
        if self.tls.is_some() {
            return Err(Problem::invalid("tls", "tls is not available in this version"));
        }
        let whole = filled(self.endpoint.clone());
        let whole = whole.map(|text| text.parse::<Endpoint>()).transpose();
        let whole = whole.map_err(|error| Problem::invalid("endpoint", error.to_string()))?;
        let parts = self.host_and_port(current)?;
        // A row has both forms: the one that was not edited says nothing.
        let whole = whole.filter(|endpoint| Some(endpoint) != current);
        let parts = parts.filter(|endpoint| Some(endpoint) != current);
        match (whole, parts) {
            (Some(whole), Some(parts)) if whole != parts => Err(Problem::invalid(
                "endpoint",
                format!("{whole} and d_ipaddr with d_port ({parts}) are different; give one of them"),
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
            return Err(Problem::invalid("d_port", "a port is a number from 1 to 65535"));
        }
        let host = host.or(old_host).ok_or_else(|| Problem::invalid("d_ipaddr", "d_ipaddr is missing"))?;
        let port = port.or(old_port).ok_or_else(|| Problem::invalid("d_port", "d_port is missing"))?;
        Endpoint::tcp(&host, port).map(Some).map_err(|error| Problem::invalid("d_ipaddr", error.to_string()))
    }
}

/// Mounts a node
#[utoipa::path(post, path = "/nodes/create", tag = "nodes", params(CommandQuery), request_body = NodeInput,
    responses((status = 201, description = "It is mounted", body = NodeRow), (status = 200, description = "What a dry run would append", body = DryRun)))]
async fn create(call: Call, input: Input<NodeInput>) -> Answered {
    let Input { value: body, digest } = input;
    let missing = || {
        let detail = "a node needs the address of its engine: d_ipaddr and d_port, or endpoint";
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
    call.run(Command::MountNode(mount), None, Created::<Nodes>::new(), Some(digest)).await
}

/// Edits a node
#[utoipa::path(patch, path = "/nodes/update/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery), request_body = NodeInput,
    responses((status = 200, description = "It is so now", body = NodeRow)))]
async fn update(call: Call, Which(which): Which, input: Input<NodeInput>) -> Answered {
    let Input { value: body, digest } = input;
    let cluster = call.api.journal.cluster();
    let id = resolve::<Nodes>(&cluster, &which)?;
    let update = UpdateNode {
        node_id: NodeId(id),
        endpoint: body.endpoint(cluster.node(NodeId(id)).map(|node| &node.endpoint))?,
        name: filled(body.name),
        user_id: optional_text(body.user_id),
        labels: body.labels.map(Option::unwrap_or_default),
        capacity: body.capacity.map(|capacity| capacity.map(|capacity| capacity.0)),
        availability: body.availability,
    };
    call.run_on::<Nodes>(id, Command::UpdateNode(update), settled, Some(digest)).await
}

/// Unmounts a node
///
/// Refused with 409 while containers are placed there, unless `force` is true: they migrate.
#[utoipa::path(delete, path = "/nodes/delete/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "It is unmounted", body = NodeRow), (status = 202, description = "It is being emptied", body = NodeRow)))]
async fn delete(call: Call, Which(which): Which) -> Answered {
    let force = call.force();
    run(call, &which, |node_id| Command::UnmountNode { node_id, force }, unmounted).await
}

/// One node
#[utoipa::path(get, path = "/nodes/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), ReadQuery),
    responses((status = 200, description = "The node", body = NodeRow)))]
async fn one(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
) -> Answered {
    get::<Nodes>(&api, &which, &query, &headers).await
}

/// All nodes
///
/// Every scalar field of a node is a filter (`?state=UP`), and so are labels (`?label=zone=a`).
#[utoipa::path(get, path = "/nodes", tag = "nodes", params(PageQuery),
    responses((status = 200, description = "The nodes, by id", body = [NodeRow])))]
async fn all(State(api): State<Api>, query: ListQuery) -> Answered {
    list::<Nodes>(&api, query).await
}

/// Takes a node out of placement
#[utoipa::path(post, path = "/nodes/cordon/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "It takes nothing new", body = NodeRow)))]
async fn cordon(call: Call, Which(which): Which) -> Answered {
    run(call, &which, Command::CordonNode, settled).await
}

/// Takes a node into placement again
#[utoipa::path(post, path = "/nodes/uncordon/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "It takes containers", body = NodeRow)))]
async fn uncordon(call: Call, Which(which): Which) -> Answered {
    run(call, &which, Command::UncordonNode, settled).await
}

/// Empties a node
#[utoipa::path(post, path = "/nodes/drain/{id}", tag = "nodes", params(("id" = String, Path, description = "Id or name"), CommandQuery),
    responses((status = 200, description = "It is empty", body = NodeRow), (status = 202, description = "It is being emptied", body = NodeRow)))]
async fn drain(call: Call, Which(which): Which) -> Answered {
    run(call, &which, Command::DrainNode, drained).await
}

async fn run(
    call: Call,
    which: &str,
    command: impl FnOnce(NodeId) -> Command,
    judge: fn(&Cluster, Uuid) -> Progress,
) -> Answered {
    let id = resolve::<Nodes>(&call.api.journal.cluster(), which)?;
    call.run_on::<Nodes>(id, command(NodeId(id)), judge, None).await
}

fn drained(cluster: &Cluster, id: Uuid) -> Progress {
    match cluster.node(NodeId(id)) {
        None => Progress::Done,
        Some(node) if node.availability != Availability::Draining => {
            Progress::Failed(format!("the drain of node `{}` was ended before it was empty", node.name))
        }
        Some(node) if node.drained => Progress::Done,
        Some(_) => Progress::Going,
    }
}

fn unmounted(cluster: &Cluster, id: Uuid) -> Progress {
    match cluster.node(NodeId(id)) {
        None => Progress::Done,
        Some(node) if !node.then_unmount => {
            Progress::Failed(format!("node `{}` was uncordoned before it was empty and stays", node.name))
        }
        Some(_) => Progress::Going,
    }
}
