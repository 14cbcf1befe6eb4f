//! Containers, their resource usage, and the progress of their launches.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A container as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContainerRow {
    /// Id of the container.
    pub id: Uuid,
    /// Node that the container is placed on.
    pub node_id: Option<Uuid>,
    /// Application of the container.
    pub application_id: Option<Uuid>,
    /// Owner, as the client named it.
    pub user_id: Option<String>,
    /// Name, unique among containers.
    pub name: String,
    /// Environment variables in addition to the application's: `A=1,B=2`.
    pub env_variables: String,
    /// The engine's id of the container.
    pub container_id: Option<String>,
    /// `true` if the rebalancer may move the container; `false` pins it to its node.
    pub balance: bool,
    /// Phase of the container's life.
    pub status: ContainerStatus,
    /// Why the container has this status.
    pub reason: Option<String>,
    /// Address of the first published TCP port.
    pub access_link: Option<String>,
    /// Number of placements so far.
    pub generation: u32,
    /// State that was requested for the container.
    pub desired: DesiredState,
    /// Published ports.
    pub ports: Vec<PortRow>,
    /// Number of restarts since the launch.
    pub restarts: u32,
    /// `true` if the container serves: it is healthy or, without a health check, has been UP for `min_ready`; also while
    /// the container that it replaces serves.
    pub serving: bool,
    /// Result of the engine's health check.
    pub health: HealthStatus,
    /// `true` if the container was made from an older specification than its application has now.
    pub outdated: bool,
    /// Time of the next attempt to launch or restart the container.
    pub next_try: Option<DateTime<Utc>>,
    /// Exit code of the process, if it has ended.
    pub exit_code: Option<i64>,
    /// Seq of the last change.
    pub seq: u64,
}

/// The phase of a container's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ContainerStatus {
    /// Recorded, never launched.
    Created,
    /// Waiting for a node, or being pulled, created or started.
    Launching,
    /// Running.
    Up,
    /// Being stopped.
    Stopping,
    /// Stopped.
    Down,
    /// The process has exited with code 0 and is not started again.
    Completed,
    /// The last launches failed; the next one is at `next_try`.
    Failed,
    /// On a node that does not answer.
    Lost,
    /// Paused by another client of the engine.
    Paused,
}

/// The result of an engine's health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// There is no health check.
    None,
    /// The check has neither succeeded nor failed for good.
    Starting,
    /// The check succeeds.
    Healthy,
    /// The check fails.
    Unhealthy,
    /// The node does not answer.
    Unknown,
}

/// The requested state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// The container should run.
    Running,
    /// The container should not run.
    Stopped,
    /// The container should be removed.
    Deleted,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortRow {
    /// Port inside the container.
    pub container: u16,
    /// Port of the node.
    pub host: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// Current resource usage of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContainerStats {
    /// Processors in use, such as 1.5.
    pub cpus: f64,
    /// Memory in use without the page cache, in bytes.
    pub memory_bytes: u64,
    /// Memory limit of the container, or else the memory of the machine, in bytes.
    pub memory_limit_bytes: u64,
    /// Bytes received since the start.
    pub network_received_bytes: u64,
    /// Bytes sent since the start.
    pub network_sent_bytes: u64,
    /// Number of processes and threads.
    pub pids: u64,
}

/// The progress of a container's launch, as observed by the daemon that runs it. It is never recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LaunchProgress {
    /// Current step of the launch.
    pub step: LaunchStep,
    /// Image being pulled.
    pub image: Option<String>,
    /// Bytes of the image received so far.
    pub bytes: Option<u64>,
    /// Total size in bytes of the layers that the engine knows so far.
    pub of: Option<u64>,
    /// Share of the image received, in percent; a layer of unknown size counts as much as an average one. Null while
    /// the size of no layer is known.
    #[schema(maximum = 100)]
    pub percent: Option<u64>,
}

/// A step of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaunchStep {
    /// No launch is in progress.
    None,
    /// No node has been chosen yet.
    Waiting,
    /// The engine is pulling the image.
    Pulling,
    /// The engine is creating or starting the container.
    Starting,
    /// Another daemon runs the launch.
    Unknown,
}
