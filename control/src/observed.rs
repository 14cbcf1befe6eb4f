//! Reports of engines about containers: the vocabulary that decisions and engines share.

use chrono::{DateTime, Utc};
use kdaemon_events::PublishedPort;
use kdaemon_events::container::AnonymousVolume;

/// A container that an engine started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// The engine's id of the container.
    pub engine_id: String,
    /// The image's id (`sha256:…`).
    pub image_id: String,
    /// The ports as published.
    pub ports: Vec<PublishedPort>,
    /// The container's anonymous volumes.
    pub volumes: Vec<AnonymousVolume>,
    /// Whether the engine checks its health.
    pub health_check: bool,
    /// When the engine started it.
    pub started_at: Option<DateTime<Utc>>,
}

/// The state of a container, as reported by its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Created, never started.
    Created,
    /// The process runs, or is paused.
    Running,
    /// The process exited.
    Exited,
}

/// How a container's process exited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The process's exit code; 128 + the signal's number when a signal ended it.
    pub code: i64,
    /// Whether the kernel's out-of-memory killer ended it.
    pub out_of_memory: bool,
}
