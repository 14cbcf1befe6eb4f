//! The engines: what kDaemon asks of a container engine, and nothing more.
//!
//! Each call here is composed from a validated spec; no request of a client is ever handed on to an engine.
//! Every call has a time limit of its own inside the implementation and can be cancelled by dropping its future.

pub mod docker;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
pub use kdaemon_control::observed::{ContainerState, Exit, Launched};
use kdaemon_events::node::EngineFacts;
use kdaemon_events::{ClusterId, ContainerId, Endpoint, Generation, Spec};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label that carries the cluster's id. What lacks it, or has another value, is foreign and never touched.
pub const LABEL_CLUSTER: &str = "io.kdaemon.cluster";
/// The label that carries the container record's id.
pub const LABEL_CONTAINER: &str = "io.kdaemon.container";
/// The label that carries the placement's generation.
pub const LABEL_GENERATION: &str = "io.kdaemon.generation";
/// The label that carries the container record's name, for people who look at an engine by hand.
pub const LABEL_NAME: &str = "io.kdaemon.name";

/// Makes clients for endpoints. The daemon has one; tests and the simulation bring their own.
pub trait Engines: Send + Sync + 'static {
    /// A client for the engine at `endpoint`. It does not connect yet, so it cannot fail.
    fn client(&self, endpoint: &Endpoint) -> Arc<dyn Engine>;
}

/// Who a container on an engine is: the three identifying labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The container record it stands for.
    pub container: ContainerId,
    /// Which placement of that record.
    pub generation: Generation,
}

/// All that is needed to make one container.
#[derive(Debug, Clone)]
pub struct LaunchOrder {
    /// Its identity; becomes its labels.
    pub identity: Identity,
    /// The record's name. The engine's name is derived from it (see [`engine_name`]).
    pub name: String,
    /// What to run; its `env_variables` are already merged with those of the container.
    pub spec: Arc<Spec>,
    /// Credentials for the registry, when the spec names some.
    pub credentials: Option<Credentials>,
}

/// A registry's user name and password. Never printed.
#[derive(Clone, serde::Deserialize)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How far the pull of an image is. It is known to the client that pulls, and to nobody else: it is no part of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulling {
    /// The image.
    pub image: String,
    /// How many bytes have come, over all layers that are known so far.
    pub bytes: u64,
    /// How many bytes these layers have, as they are sent; it grows until the engine has looked at all of them.
    pub of: u64,
    /// How many layers these are.
    pub layers: u32,
    /// How many more there are, of which it is not known yet how large they are.
    pub unknown_layers: u32,
}

impl Pulling {
    /// How much of the image has come, in per cent; `None` as long as no size is known. The engine says how large a layer is
    /// when it begins to read it: until then it counts as much as the others do on the average.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let all = self.of.saturating_mul(u64::from(self.layers.saturating_add(self.unknown_layers)));
        self.bytes.saturating_mul(100).saturating_mul(u64::from(self.layers)).checked_div(all)
    }
}

/// One of our containers, as listed by its engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// From its labels.
    pub identity: Identity,
    /// The engine's id of it.
    pub engine_id: String,
    /// Whether it runs.
    pub state: ContainerState,
}

/// What runs on an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those that carry our cluster's label and well-formed identity labels.
    pub own: Vec<Listed>,
    /// How many others there are.
    pub foreign: u32,
}

/// Inspection of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// As after a launch.
    pub launched: Launched,
    /// Whether it runs.
    pub state: ContainerState,
    /// How it ended, when it has.
    pub exit: Option<Exit>,
}

/// Something that an engine tells by itself, about a container of our cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// Its process started.
    Started(Identity),
    /// Its process ended.
    Died(Identity, Exit),
    /// It was removed.
    Removed(Identity),
    /// The engine's health check of it changed its mind.
    Health(Identity, bool),
}

/// A container's use of its machine, now.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Processors in use: 1.5 is one and a half of them.
    pub cpus: f64,
    /// Memory in use without the page cache, in bytes.
    pub memory_bytes: u64,
    /// The container's memory limit (or the machine's memory), in bytes.
    pub memory_limit_bytes: u64,
    /// Bytes received since it started.
    pub network_received_bytes: u64,
    /// Bytes sent since it started.
    pub network_sent_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Which part of a container's output to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Go on as new output comes.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u32>,
    /// Only what was written since then.
    pub since: Option<DateTime<Utc>>,
}

/// Why an engine did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine did not answer: no connection, no answer in time, an answer that is none.
    /// Whether it did what was asked is not known.
    #[error("{0}")]
    Unreachable(String),
    /// The engine answered that it cannot, and the node is at fault (no space, a port that is taken, …):
    /// another node may do better.
    #[error("{0}")]
    NodeFault(String),
    /// The engine answered that the order itself is wrong (no such image, no such command, …).
    #[error("{0}")]
    Rejected(String),
    /// There is no such container.
    #[error("{0}")]
    NotFound(String),
}

/// One container engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// A cheap question whether the engine is there.
    async fn ping(&self) -> Result<(), EngineError>;

    /// What the engine is and how much its machine has.
    async fn facts(&self) -> Result<EngineFacts, EngineError>;

    /// All containers of `cluster`, running or not, and the number of foreign ones.
    async fn list(&self, cluster: ClusterId) -> Result<Listing, EngineError>;

    /// Makes the container and starts it, pulling the image and making networks that are missing.
    ///
    /// Idempotent: when the container with this identity is there already it is started if need be, and
    /// reported. A container with the wanted engine name but another identity is never touched: a free
    /// name is derived instead.
    async fn launch(&self, order: &LaunchOrder) -> Result<Launched, EngineError>;

    /// How far the pull is that a launch with this identity waits for; `None` when this client pulls nothing for it.
    fn pulling(&self, identity: Identity) -> Option<Pulling> {
        let _ = identity;
        None
    }

    /// Starts the existing container with this identity again, if it does not run.
    async fn start(&self, identity: Identity) -> Result<Launched, EngineError>;

    /// Stops the container with this identity within its grace time, if it runs. Not being there is success.
    async fn stop(&self, identity: Identity) -> Result<Option<Exit>, EngineError>;

    /// Stops the container with this identity (within its grace time) and removes it with its anonymous
    /// volumes. Not being there is success.
    async fn remove(&self, identity: Identity) -> Result<(), EngineError>;

    /// Inspects the container with this identity. `Ok(None)`: it is not there.
    async fn inspect(&self, identity: Identity) -> Result<Option<Inspected>, EngineError>;

    /// What happens to containers of `cluster`, from now on, until the connection ends. Connects before it
    /// returns, so that nothing that happens afterwards is missed; an item `Err` is the last one.
    async fn events(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError>;

    /// The container's output (stdout and stderr in the order they were written).
    async fn logs(
        &self,
        identity: Identity,
        request: LogRequest,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError>;

    /// The container's use of its machine, now.
    async fn stats(&self, identity: Identity) -> Result<Stats, EngineError>;
}

/// The name of a container on its engine: the record's own name where Docker allows it
/// (`[a-zA-Z0-9][a-zA-Z0-9_.-]+`), else derived from it: other characters become `-`, and the last eight
/// digits of the record's id are added so that two names never meet.
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
    // The id's last digits: the first ones of a UUIDv7 are the time, alike for those made together.
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
