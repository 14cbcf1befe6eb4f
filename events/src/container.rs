//! Events of containers.

use crate::failure::Failure;
use crate::node::{nullable, unchanged};
use crate::scheduling::{Evaluation, Unschedulable};
use crate::{ApplicationId, ContainerId, Environment, Generation, NodeId, PublishedPort};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A container record was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerCreated {
    /// The new record.
    pub container_id: ContainerId,
    /// The container's name, unique among containers.
    pub name: String,
    /// The owner, as given by the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The application that it is made from; may be set later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<ApplicationId>,
    /// Environment variables on top of its application's.
    #[serde(default, skip_serializing_if = "Environment::is_empty")]
    pub env_variables: Environment,
    /// Whether the rebalancer may move it for the sake of balance.
    pub balance: bool,
    /// Whether the application's `replicas` created it, so that scaling down may delete it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replica: bool,
}

/// A container record was edited. Only changed fields are present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUpdated {
    /// The container.
    pub container_id: ContainerId,
    /// The new name.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub name: Option<String>,
    /// The new owner.
    #[serde(default, skip_serializing_if = "unchanged", deserialize_with = "nullable")]
    pub user_id: Option<Option<String>>,
    /// The new application.
    #[serde(default, skip_serializing_if = "unchanged", deserialize_with = "nullable")]
    pub application_id: Option<Option<ApplicationId>>,
    /// The complete new environment variables.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub env_variables: Option<Environment>,
    /// Whether the rebalancer may move it.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub balance: Option<bool>,
}

/// A launch of the container was requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLaunchRequested {
    /// The container.
    pub container_id: ContainerId,
    /// The stopped placement that is started again; `None`: a new one is placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
}

/// The scheduler chose a node for the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlaced {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The chosen node.
    pub node_id: NodeId,
    /// The evaluation that led to this node.
    pub evaluation: Box<Evaluation>,
}

/// The container cannot be placed at present. Recorded once each time the reason changes; the container is
/// placed as soon as the cluster allows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUnschedulable {
    /// The container.
    pub container_id: ContainerId,
    /// Why the container would move, if it has a placement that it has to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<MigrationReason>,
    /// Why it cannot be placed.
    pub reason: Unschedulable,
}

/// A volume that the engine made for one container, because the image declares it and the specification mounts
/// nothing there. Only its engine knows it by this name, and nothing but the container's record refers to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AnonymousVolume {
    /// The engine's name of the volume, usually 64 hexadecimal digits.
    pub name: String,
    /// The path in the container.
    pub target: String,
}

/// The engine started the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLaunched {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// The engine's own id of the container.
    pub engine_id: String,
    /// The image's id.
    pub image_id: String,
    /// Published ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishedPort>,
    /// The URL of the first published TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_link: Option<String>,
    /// The container's anonymous volumes: from now on its data is on this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<AnonymousVolume>,
    /// Whether the engine checks its health, by the specification's health check or the image's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub health_check: bool,
}

/// The engine could not start the container; it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLaunchFailed {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// The failure.
    pub failure: Failure,
    /// Whether the node is at fault, so that another one is tried.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub node_fault: bool,
    /// Failed launches since the last success, this one included.
    pub attempt: u32,
    /// The time of the next attempt.
    pub retry_at: DateTime<Utc>,
}

/// The engine could not start the container, and its quick launch attempts are used up: it counts as failed. It is tried
/// again all the same, with pauses that grow to five minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLaunchAbandoned {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// Why the last attempt failed.
    pub failure: Failure,
    /// Whether the node is at fault.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub node_fault: bool,
    /// Failed launches since the last success, this one included.
    pub attempt: u32,
    /// The time of the next attempt.
    pub retry_at: DateTime<Utc>,
}

/// The observed state of a container, where it contradicts the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeenState {
    /// The container runs.
    Running,
    /// The container exists, and its process is paused.
    Paused,
    /// The container exists and does not run.
    Stopped,
    /// The container does not exist.
    Missing,
}

/// An engine reported a container in another state than recorded: another client removed, started or stopped
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerObserved {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// The observed state.
    pub state: SeenState,
}

/// The container's process exited by itself: that of the wanted placement, or of a replaced one that still
/// served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExited {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// The exit code, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether the kernel's out-of-memory killer ended the process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_memory: bool,
    /// The time of the restart that the restart policy demands; `None`: no restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<DateTime<Utc>>,
}

/// The container's process has done its work: it exited with code 0, and its restart policy starts it only after failures,
/// or never. It is not started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerCompleted {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
}

/// The container's health check failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUnhealthy {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The time of the restart that the restart policy demands; `None`: no restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<DateTime<Utc>>,
}

/// The container without a health check has been up for its application's `min_ready` time: it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReady {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
}

/// The container's health check succeeds: it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerHealthy {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
}

/// Why a container is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationReason {
    /// The node is unhealthy.
    Unhealthy,
    /// The node is being drained.
    Drain,
    /// For the sake of balance.
    Balance,
    /// The application changed, and its containers are replaced.
    Update,
}

/// The container is moved to another node: a new placement replaces the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMigrationCommanded {
    /// The container.
    pub container_id: ContainerId,
    /// The node of the replaced placement.
    pub from_node_id: NodeId,
    /// The replaced placement.
    pub from_generation: Generation,
    /// The target node.
    pub node_id: NodeId,
    /// The new placement.
    pub generation: Generation,
    /// Why the container is moved.
    pub reason: MigrationReason,
    /// Whether the old container keeps running until the new one is up.
    pub start_first: bool,
    /// The evaluation that led to this node; `None` for a move of a rebalance plan, which the cause
    /// describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Box<Evaluation>>,
}

/// The new placement is up, and the old one may be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMigrated {
    /// The container.
    pub container_id: ContainerId,
    /// The new placement.
    pub generation: Generation,
    /// The node of the new placement.
    pub node_id: NodeId,
}

/// A stop of the container was requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStopRequested {
    /// The container.
    pub container_id: ContainerId,
    /// Whether the record is deleted once the container is gone from its node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub then_delete: bool,
    /// Whether the anonymous volumes are deleted with the record. Nothing else ever deletes one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub volumes: bool,
}

/// The container was stopped as requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStopped {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation; `None` if the container had no placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The exit code, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
}

/// A placement was removed from its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRemoved {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
}

/// The record was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerDeleted {
    /// The container.
    pub container_id: ContainerId,
}

/// A placement that was unreachable, or about to be replaced, runs and is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerAdopted {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
}
