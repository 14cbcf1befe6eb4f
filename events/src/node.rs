//! Events of nodes.

use crate::failure::ProbeFailure;
use crate::{Endpoint, MilliCpus, NodeId, PlacementId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of the node that the daemon mounts by itself, once: the engine of its own machine.
pub const LOCAL_NODE: &str = "local";

/// An engine's description of itself and its machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EngineFacts {
    /// `docker` or `podman`.
    pub kind: String,
    /// The engine's version.
    pub version: String,
    /// The newest API version that the engine supports.
    pub api_version: String,
    /// Processors of the machine.
    pub cpus: MilliCpus,
    /// Memory of the machine, in bytes.
    pub memory_bytes: u64,
    /// Operating system and architecture, as in `linux/amd64`.
    pub platform: String,
    /// The engine's own id; two nodes with the same id are the same engine.
    pub engine_id: String,
}

/// Whether the scheduler may use a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// The node takes containers.
    #[default]
    Active,
    /// The node keeps its containers and takes no new ones.
    Cordoned,
    /// The node takes no new containers, and its containers move away.
    Draining,
}

/// Whether an optional field is absent, which in JSON means "not changed".
pub(crate) fn unchanged<T>(value: &Option<T>) -> bool {
    value.is_none()
}

/// Distinguishes `null` (set to nothing) from an absent field (not changed).
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A node was mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMounted {
    /// The new node.
    pub node_id: NodeId,
    /// The node's name, unique among nodes.
    pub name: String,
    /// The owner, as given by the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The address of the engine.
    pub endpoint: Endpoint,
    /// Labels for constraints.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The most containers that it takes; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
}

/// A node was edited. Only changed fields are present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUpdated {
    /// The node.
    pub node_id: NodeId,
    /// The new name.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub name: Option<String>,
    /// The new owner.
    #[serde(default, skip_serializing_if = "unchanged", deserialize_with = "nullable")]
    pub user_id: Option<Option<String>>,
    /// The new endpoint.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub endpoint: Option<Endpoint>,
    /// The complete new labels.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The new capacity.
    #[serde(default, skip_serializing_if = "unchanged", deserialize_with = "nullable")]
    pub capacity: Option<Option<u32>>,
}

/// How a probe ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase", try_from = "OutcomeFields")]
pub enum ProbeOutcome {
    /// The engine answered.
    Answered {
        /// The number of our running containers, if they were counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        running: Option<u32>,
        /// The number of foreign containers, if they were counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        foreign: Option<u32>,
    },
    /// The engine did not answer.
    Failed {
        /// The failure.
        failure: ProbeFailure,
    },
}

/// The deserialized form of an outcome. Most events have one, and serde would buffer a tagged enum before
/// reading it.
#[derive(Deserialize)]
struct OutcomeFields {
    result: OutcomeResult,
    running: Option<u32>,
    foreign: Option<u32>,
    failure: Option<ProbeFailure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OutcomeResult {
    Answered,
    Failed,
}

impl TryFrom<OutcomeFields> for ProbeOutcome {
    type Error = &'static str;
    fn try_from(fields: OutcomeFields) -> Result<Self, &'static str> {
        let OutcomeFields { result, running, foreign, failure } = fields;
        Ok(match result {
            OutcomeResult::Answered => Self::Answered { running, foreign },
            OutcomeResult::Failed => {
                Self::Failed { failure: failure.ok_or("a failed probe has no failure")? }
            }
        })
    }
}

/// The raw observation of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeObserved {
    /// The node.
    pub node_id: NodeId,
    /// How the probe ended.
    pub outcome: ProbeOutcome,
    /// The duration of the probe, in milliseconds.
    pub latency_ms: u32,
    /// The engine's description, if it is new or has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Box<EngineFacts>>,
    /// Containers of our cluster without a record, which have to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<PlacementId>,
}

/// The conclusion that a node is healthy: enough consecutive probes succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHealthy {
    /// The node.
    pub node_id: NodeId,
    /// Consecutive successful probes.
    pub successes: u32,
}

/// The conclusion that a node is unhealthy: too many consecutive probes failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUnhealthy {
    /// The node.
    pub node_id: NodeId,
    /// Consecutive failed probes.
    pub failures: u32,
    /// Why the last one failed.
    pub failure: ProbeFailure,
}

/// A node was taken out of placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCordoned {
    /// The node.
    pub node_id: NodeId,
}

/// A node was returned to placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUncordoned {
    /// The node.
    pub node_id: NodeId,
}

/// A node's drain was requested: its containers move away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDrainStarted {
    /// The node.
    pub node_id: NodeId,
    /// Whether the node is unmounted once it is empty.
    #[serde(default)]
    pub then_unmount: bool,
}

/// A draining node holds none of our containers any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDrained {
    /// The node.
    pub node_id: NodeId,
}

/// A node was unmounted. Containers and volumes that it still holds are left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUnmounted {
    /// The node.
    pub node_id: NodeId,
    /// Containers that it still held: what is left of them on its engine is not removed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left: u32,
    /// Volumes and paths with data of containers that stay on the machine, at most [`LEFT_VOLUMES_LIMIT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The most volumes that one [`NodeUnmounted`] names.
pub const LEFT_VOLUMES_LIMIT: usize = 100;
