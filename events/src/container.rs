//! What happens to containers.

use crate::failure::Failure;
use crate::node::{nullable, unchanged};
use crate::scheduling::{Evaluation, Unschedulable};
use crate::{ApplicationId, ContainerId, Environment, Generation, NodeId, PublishedPort};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A container record was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerCreated {
    /// The new record.
    pub container_id: ContainerId,
    /// Its name, unique among containers.
    pub name: String,
    /// Whom it belongs to, as the client said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// What it is made from; may be given later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<ApplicationId>,
    /// Environment variables on top of its application's.
    #[serde(default, skip_serializing_if = "Environment::is_empty")]
    pub env_variables: Environment,
    /// Whether the rebalancer may move it for the sake of balance.
    pub balance: bool,
    /// Whether its application's `replicas` made it, so that scaling down may delete it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replica: bool,
}

/// A container record was edited. Only what changed is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUpdated {
    /// The container.
    pub container_id: ContainerId,
    /// Its new name.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub name: Option<String>,
    /// Its new owner.
    #[serde(default, skip_serializing_if = "unchanged", deserialize_with = "nullable")]
    pub user_id: Option<Option<String>>,
    /// Its new application.
    #[serde(default, skip_serializing_if = "unchanged", deserialize_with = "nullable")]
    pub application_id: Option<Option<ApplicationId>>,
    /// Its new environment variables, all of them.
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
}

/// The scheduler chose a node for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlaced {
    /// The container.
    pub container_id: ContainerId,
    /// The placement's generation.
    pub generation: Generation,
    /// The chosen node.
    pub node_id: NodeId,
    /// What was compared.
    pub evaluation: Box<Evaluation>,
}

/// The container cannot be placed for now. It is recorded once each time the reason changes, and again placed as soon as the
/// cluster allows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUnschedulable {
    /// The container.
    pub container_id: ContainerId,
    /// Why it would move, when it has a placement that it has to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<MigrationReason>,
    /// Why it cannot be placed.
    pub reason: Unschedulable,
}

/// Its engine started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLaunched {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// The engine's id of it.
    pub engine_id: String,
    /// The image's id.
    pub image_id: String,
    /// Its published ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishedPort>,
    /// Where its first published TCP port answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_link: Option<String>,
}

/// The engine could not start the container; it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLaunchFailed {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// Why.
    pub failure: Failure,
    /// Whether the node is at fault, so that another one is tried.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub node_fault: bool,
    /// Failed launches since the last success, this one included.
    pub attempt: u32,
    /// When it is tried again.
    pub retry_at: DateTime<Utc>,
}

/// The engine could not start the container, and the last of its launch attempts is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLaunchAbandoned {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement.
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
}

/// What was seen of a container that is not as the tables have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeenState {
    /// It runs.
    Running,
    /// It is there and does not run.
    Stopped,
    /// It is not there.
    Missing,
}

/// An engine was seen to hold a container otherwise than the tables say: it was removed, started or
/// stopped by somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerObserved {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// What was seen.
    pub state: SeenState,
}

/// Its process ended by itself: that of its placement, or of one that was replaced and still served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExited {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// The exit code, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_memory: bool,
    /// When it is started again, as its restart policy says; `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<DateTime<Utc>>,
}

/// Its health check failed; it is restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUnhealthy {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement.
    pub generation: Generation,
    /// When it is restarted.
    pub restart_at: DateTime<Utc>,
}

/// Its health check succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerHealthy {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement.
    pub generation: Generation,
}

/// Why a container is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationReason {
    /// Its node is unhealthy.
    Unhealthy,
    /// Its node is drained.
    Drain,
    /// For the sake of balance.
    Balance,
    /// Its application changed, and is updated by replacing its containers.
    Update,
}

/// It is to run on another node: the new placement replaces the one that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMigrationCommanded {
    /// The container.
    pub container_id: ContainerId,
    /// Where it was.
    pub from_node_id: NodeId,
    /// The placement that is replaced.
    pub from_generation: Generation,
    /// Where it is to be.
    pub node_id: NodeId,
    /// The new placement.
    pub generation: Generation,
    /// Why it is moved.
    pub reason: MigrationReason,
    /// Whether the old one runs on until the new one is up.
    pub start_first: bool,
    /// What was compared; `None` for a move of a rebalance plan, which the cause describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Box<Evaluation>>,
}

/// The new placement is up and the old one is on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMigrated {
    /// The container.
    pub container_id: ContainerId,
    /// The new placement.
    pub generation: Generation,
    /// Where it is now.
    pub node_id: NodeId,
}

/// Somebody wants it not to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStopRequested {
    /// The container.
    pub container_id: ContainerId,
    /// Whether it is deleted when it is gone from its node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub then_delete: bool,
}

/// It does not run any more, as was wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStopped {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement; `None` when it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The exit code, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
}

/// A placement is gone from its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRemoved {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement.
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

/// A placement that was out of reach, or about to be replaced, runs and is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerAdopted {
    /// The container.
    pub container_id: ContainerId,
    /// Which placement.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
}
