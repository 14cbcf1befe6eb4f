//! The `Engine` trait: everything that kDaemon asks of a container engine.
//!
//! Each call is composed from a validated spec; a client's request is never forwarded to an engine. Each call
//! has its own timeout inside the implementation and can be cancelled by dropping its future.

pub mod docker;

use crate::says;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
pub use kdaemon_control::observed::{ContainerState, Exit, Launched};
use kdaemon_events::container::AnonymousVolume;
pub use kdaemon_events::failure::{Failure, Quote};
use kdaemon_events::node::EngineFacts;
use kdaemon_events::{ClusterId, ContainerId, Endpoint, Generation, PublishedPort, Spec};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label with the cluster's id. A container without it, or with another value, is foreign and never
/// touched.
pub const LABEL_CLUSTER: &str = "io.kdaemon.cluster";
/// The label with the container record's id.
pub const LABEL_CONTAINER: &str = "io.kdaemon.container";
/// The label with the placement's generation.
pub const LABEL_GENERATION: &str = "io.kdaemon.generation";
/// The label with the container record's name, for people who look at an engine directly.
pub const LABEL_NAME: &str = "io.kdaemon.name";

/// Creates clients for endpoints. The daemon has one implementation; tests and the simulation bring their
/// own.
pub trait Engines: Send + Sync + 'static {
    /// A client for the engine at `endpoint`. It does not connect yet, so it cannot fail.
    fn client(&self, endpoint: &Endpoint) -> Arc<dyn Engine>;
}

/// The identity of a container on an engine: the three labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The container record.
    pub container: ContainerId,
    /// The placement of that record.
    pub generation: Generation,
}

/// Everything needed to create one container.
#[derive(Debug, Clone)]
pub struct LaunchOrder {
    /// Becomes the container's labels.
    pub identity: Identity,
    /// The record's name. The engine's name is derived from it (see [`engine_name`]).
    pub name: String,
    /// The specification; its `env_variables` are already merged with the container's.
    pub spec: Arc<Spec>,
    /// The anonymous volumes that it had on this engine before: mounted again where the specification mounts nothing.
    pub volumes: Vec<AnonymousVolume>,
    /// Credentials for the registry, if the specification names some.
    pub credentials: Option<Credentials>,
}

/// A registry's user name and password. Never printed.
#[derive(Clone, serde::Deserialize)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Progress of an image pull. Only the client that pulls knows it: it is not part of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulling {
    /// The image.
    pub image: String,
    /// Bytes downloaded, over all layers known so far.
    pub bytes: u64,
    /// Total compressed bytes of these layers; grows until the engine has seen all of them.
    pub of: u64,
    /// Number of these layers.
    pub layers: u32,
    /// Number of further layers whose size is not known yet.
    pub unknown_layers: u32,
}

impl Pulling {
    /// Progress in per cent; `None` while no size is known. The engine reports a layer's size when it begins
    /// to download it; until then the layer counts as the average of the others.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let all = self.of.saturating_mul(u64::from(self.layers.saturating_add(self.unknown_layers)));
        self.bytes.saturating_mul(100).saturating_mul(u64::from(self.layers)).checked_div(all)
    }
}

/// One of our containers, as its engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedContainer {
    /// From the labels.
    pub identity: Identity,
    /// The engine's own id.
    pub engine_id: String,
    /// The state of the container's process.
    pub state: ContainerState,
    /// Whether the process is paused.
    pub paused: bool,
    /// The ports as published.
    pub ports: Vec<PublishedPort>,
}

/// All containers on an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineListing {
    /// Containers with our cluster's label and well-formed identity labels.
    pub own: Vec<ListedContainer>,
    /// Number of other containers.
    pub foreign: u32,
}

/// The result of inspecting one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The same facts as after a launch.
    pub launched: Launched,
    /// The state of the container's process.
    pub state: ContainerState,
    /// How the process exited, if it did.
    pub exit: Option<Exit>,
    /// The result of the health check; `None`: there is none, or it has not decided.
    pub healthy: Option<bool>,
}

/// An entry of an engine's event stream about a container of our cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// The process started.
    Started(Identity),
    /// The process exited.
    Died(Identity, Exit),
    /// The container was removed.
    Removed(Identity),
    /// The engine's health check changed to healthy (true) or unhealthy.
    Health(Identity, bool),
    /// The process was paused (true) or continues.
    Paused(Identity, bool),
}

/// A container's current use of its machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Processors in use; 1.5 is one and a half.
    pub cpus: f64,
    /// Memory in use without the page cache, in bytes.
    pub memory_bytes: u64,
    /// The container's memory limit, or the machine's memory, in bytes.
    pub memory_limit_bytes: u64,
    /// Bytes received since it started.
    pub network_received_bytes: u64,
    /// Bytes sent since it started.
    pub network_sent_bytes: u64,
    /// Number of processes and threads.
    pub pids: u64,
}

/// Which part of a container's output to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Keep streaming new output.
    pub follow: bool,
    /// Only the last N lines.
    pub tail: Option<u32>,
    /// Only output written since this time.
    pub since: Option<DateTime<Utc>>,
}

/// Why an engine did not do what it was asked, by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine did not answer: no connection, no answer in time, or no usable answer.
    /// Whether it did what was asked is not known.
    #[error("{}", says::failure(.0))]
    Unreachable(Failure),
    /// The engine answered that it cannot, and the node is at fault (no space, a port that is taken, …):
    /// another node may do better.
    #[error("{}", says::failure(.0))]
    NodeFault(Failure),
    /// The engine answered that the order itself is wrong (no such image, no such command, …).
    #[error("{}", says::failure(.0))]
    Rejected(Failure),
    /// There is no such container.
    #[error("{}", says::failure(.0))]
    NotFound(Failure),
}

impl EngineError {
    /// The engine refused in its own words, and the node is at fault.
    #[must_use]
    pub fn node_fault(quote: impl Into<Quote>) -> Self {
        Self::NodeFault(Failure::refused(quote))
    }

    /// The engine refused in its own words, and the order is wrong.
    #[must_use]
    pub fn rejected(quote: impl Into<Quote>) -> Self {
        Self::Rejected(Failure::refused(quote))
    }

    /// No connection, in the words of the operating system.
    #[must_use]
    pub fn no_connection(quote: impl Into<Quote>) -> Self {
        Self::Unreachable(Failure::NoConnection { quote: quote.into() })
    }

    /// Whether another node may do better.
    #[must_use]
    pub fn is_node_fault(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::NodeFault(_))
    }

    /// The failure.
    #[must_use]
    pub fn failure(self) -> Failure {
        let (Self::Unreachable(failure)
        | Self::NodeFault(failure)
        | Self::Rejected(failure)
        | Self::NotFound(failure)) = self;
        failure
    }
}

/// One container engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// A cheap check that the engine answers.
    async fn ping(&self) -> Result<(), EngineError>;

    /// Kind and version of the engine, and the size of its machine.
    async fn facts(&self) -> Result<EngineFacts, EngineError>;

    /// All containers of `cluster`, running or not, and the number of foreign ones.
    async fn list(&self, cluster: ClusterId) -> Result<EngineListing, EngineError>;

    /// The names of the networks that launches of `cluster` created here, sorted.
    async fn networks(&self, cluster: ClusterId) -> Result<Vec<String>, EngineError>;

    /// Removes the network with this name that a launch of `cluster` created, unless a container, running or not,
    /// is attached to it. A network of another origin is never touched. Returns whether it is gone; succeeds if it
    /// does not exist.
    async fn remove_network(&self, cluster: ClusterId, name: &str) -> Result<bool, EngineError>;

    /// Creates the container and starts it, after pulling a missing image and creating missing networks.
    ///
    /// Idempotent: an existing container with this identity is started if necessary, and reported. A
    /// container with the wanted engine name but another identity is never touched: a free name is derived
    /// instead.
    async fn launch(&self, order: &LaunchOrder) -> Result<Launched, EngineError>;

    /// Progress of the pull that a launch with this identity waits for; `None` if this client pulls nothing
    /// for it.
    fn pulling(&self, identity: Identity) -> Option<Pulling> {
        let _ = identity;
        None
    }

    /// Starts the existing container with this identity again, unless it runs.
    async fn start(&self, identity: Identity) -> Result<Launched, EngineError>;

    /// Stops the container with this identity within its grace period, if it runs. Succeeds if it does not
    /// exist.
    async fn stop(&self, identity: Identity) -> Result<Option<Exit>, EngineError>;

    /// Stops the container with this identity (within its grace period) and removes it. Its volumes stay, anonymous ones
    /// too. Succeeds if it does not exist.
    async fn remove(&self, identity: Identity) -> Result<(), EngineError>;

    /// Deletes a volume with its data. Succeeds if it does not exist.
    async fn remove_volume(&self, name: &str) -> Result<(), EngineError>;

    /// Inspects the container with this identity. `Ok(None)`: it does not exist.
    async fn inspect(&self, identity: Identity) -> Result<Option<Inspected>, EngineError>;

    /// Follows what happens to containers of `cluster`, from now until the connection ends. Connects before it
    /// returns, so that nothing that happens afterwards is missed; an `Err` is the last item.
    async fn events(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError>;

    /// The container's output: stdout and stderr in the order they were written.
    async fn logs(
        &self,
        identity: Identity,
        request: LogRequest,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError>;

    /// The container's current use of its machine.
    async fn stats(&self, identity: Identity) -> Result<Stats, EngineError>;
}

/// The name of a container on its engine: the record's own name where Docker allows it
/// (`[a-zA-Z0-9][a-zA-Z0-9_.-]+`), otherwise derived from it: other characters become `-`, and the last eight
/// digits of the record's id are appended so that two names never clash.
#[must_use]
pub fn engine_name(name: &str, container: ContainerId) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if name.len() >= 2 && starts_well && name.chars().all(allowed) {
        return name.to_owned();
    }
    let mut derived: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).take(100).collect();
    if !starts_well {
        derived.insert(0, 'k');
    }
    // The last digits of the id: the first ones of a UUIDv7 are the time, and equal for ids made together.
    let id = container.0.simple().to_string();
    format!("{derived}-{}", &id[id.len() - 8..])
}

/// The labels that make a container ours.
#[must_use]
pub fn identity_labels(identity: Identity, name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_CLUSTER.to_owned(), identity.cluster.to_string()),
        (LABEL_CONTAINER.to_owned(), identity.container.to_string()),
        (LABEL_GENERATION.to_owned(), identity.generation.to_string()),
        (LABEL_NAME.to_owned(), name.to_owned()),
    ])
}
