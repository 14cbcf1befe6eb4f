//! What happens to nodes.

use crate::failure::ProbeFailure;
use crate::{Endpoint, MilliCpus, NodeId, PlacementId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an engine told about itself and its machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EngineFacts {
    /// `docker` or `podman`.
    pub kind: String,
    /// The engine's version.
    pub version: String,
    /// The newest version of the engine's API that it speaks.
    pub api_version: String,
    /// Processors of its machine.
    pub cpus: MilliCpus,
    /// Memory of its machine, in bytes.
    pub memory_bytes: u64,
    /// Operating system and architecture, as in `linux/amd64`.
    pub platform: String,
    /// The identity that the engine gives itself; two nodes with the same one are the same engine.
    pub engine_id: String,
}

/// Whether the scheduler may use a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// It takes containers.
    #[default]
    Active,
    /// It keeps what it has and takes nothing new.
    Cordoned,
    /// It takes nothing new, and what it has moves away.
    Draining,
}

/// Whether a value was changed, and to what. In JSON an absent field is "not changed".
pub(crate) fn unchanged<T>(value: &Option<T>) -> bool {
    value.is_none()
}

/// Keeps `null` (set to nothing) apart from an absent field (not changed).
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
    /// Its name, unique among nodes.
    pub name: String,
    /// Whom it belongs to, as the client said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Where its engine answers.
    pub endpoint: Endpoint,
    /// Labels for constraints.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How many containers it takes at most; `None` for no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
}

/// A node was edited. Only what changed is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUpdated {
    /// The node.
    pub node_id: NodeId,
    /// Its new name.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub name: Option<String>,
    /// Its new owner.
    #[serde(default, skip_serializing_if = "unchanged", deserialize_with = "nullable")]
    pub user_id: Option<Option<String>>,
    /// Its new endpoint.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub endpoint: Option<Endpoint>,
    /// Its new labels, all of them.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Its new capacity.
    #[serde(default, skip_serializing_if = "unchanged", deserialize_with = "nullable")]
    pub capacity: Option<Option<u32>>,
}

/// How a probe ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase", try_from = "OutcomeFields")]
pub enum ProbeOutcome {
    /// The engine answered.
    Answered {
        /// How many of our containers run there, when they were counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        running: Option<u32>,
        /// How many containers there are that are not ours, when they were counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        foreign: Option<u32>,
    },
    /// It did not.
    Failed {
        /// Why.
        failure: ProbeFailure,
    },
}

/// An outcome as it is read: most events have one, and a tagged enum would have it copied before it is looked at.
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
    /// How long the probe took, in milliseconds.
    pub latency_ms: u32,
    /// What the engine is, when that is new or has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Box<EngineFacts>>,
    /// A container of our cluster that nobody knows of (any more), to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<PlacementId>,
}

/// The conclusion that a node works: it answered often enough in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHealthy {
    /// The node.
    pub node_id: NodeId,
    /// How many probes in a row it answered.
    pub successes: u32,
}

/// The conclusion that a node does not work: it failed too often in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUnhealthy {
    /// The node.
    pub node_id: NodeId,
    /// How many probes in a row failed.
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

/// A node was taken into placement again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUncordoned {
    /// The node.
    pub node_id: NodeId,
}

/// A node is to be emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDrainStarted {
    /// The node.
    pub node_id: NodeId,
    /// Whether it is unmounted when it is empty.
    #[serde(default)]
    pub then_unmount: bool,
}

/// A draining node holds nothing of ours any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDrained {
    /// The node.
    pub node_id: NodeId,
}

/// A node was unmounted. What it still holds is left where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUnmounted {
    /// The node.
    pub node_id: NodeId,
}
