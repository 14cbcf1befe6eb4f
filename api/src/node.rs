//! Nodes and their engines.

use kdaemon_events::MilliCpus;
use kdaemon_events::node::Availability;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// A node as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeRow {
    /// Id of the node.
    pub id: Uuid,
    /// Name, unique among nodes.
    pub name: String,
    /// Owner, as the client named it.
    pub user_id: Option<String>,
    /// Host of a TCP endpoint.
    pub d_ipaddr: Option<String>,
    /// Port of a TCP endpoint.
    pub d_port: Option<u16>,
    /// Address of the engine: `tcp://HOST:PORT` or `unix:///PATH`.
    pub endpoint: String,
    /// Number of containers placed on the node.
    pub container_count: u32,
    /// Health of the engine, by its probes.
    pub state: NodeState,
    /// Why the node is DOWN.
    pub reason: Option<String>,
    /// Labels that constraints refer to.
    pub labels: BTreeMap<String, String>,
    /// Maximum number of containers; null for no limit.
    pub capacity: Option<u32>,
    /// Availability for placement: only `active` nodes accept containers.
    #[schema(schema_with = availability, example = "active")]
    pub availability: Availability,
    /// Facts that the engine reported about itself.
    pub engine: Option<EngineRow>,
    /// Seq of the last change.
    pub seq: u64,
}

/// The health of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum NodeState {
    /// The engine answers.
    Up,
    /// The engine does not answer.
    Down,
    /// Not probed yet.
    Unknown,
}

/// An engine and its machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EngineRow {
    /// `docker` or `podman`.
    pub kind: String,
    /// Version of the engine.
    pub version: String,
    /// Version of the engine's API.
    pub api_version: String,
    /// Number of processors.
    #[schema(value_type = f64)]
    pub cpus: MilliCpus,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Operating system and architecture, such as `linux/amd64`.
    pub platform: String,
}

fn availability() -> utoipa::openapi::Object {
    crate::schema::one_of(&[Availability::Active, Availability::Cordoned, Availability::Draining])
}
