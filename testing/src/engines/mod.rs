//! Simulated engines: a world of machines in memory that behave as Docker's engine does, with faults on
//! command.
//!
//! For tests, benches and the simulation. All waiting uses tokio's clock, so with a paused clock an hour
//! passes at once; all randomness comes from one seed, so failures are reproducible. There are no background
//! tasks: a machine is brought up to date whenever it is read, and a request is carried out when its time
//! comes even if its caller is gone (as on a real engine).
//!
//! ```
//! use kdaemon::engine::Engines;
//! use kdaemon_testing::engines::{SimulatedEngines, SimulatedMachine};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engines = SimulatedEngines::new(42);
//! let endpoint = "tcp://node-1:2375".parse()?;
//! let machine = engines.add(&endpoint, SimulatedMachine::default());
//! let client = engines.client(&endpoint);
//! client.ping().await?;
//! machine.crash(kdaemon_testing::engines::Crash::Machine);
//! assert!(client.ping().await.is_err());
//! # Ok(()) }
//! ```
//!
//! A container's behaviour is read from its command, which may be `sleep 3`, `true`, `false`, `echo …`, `sh -c
//! "…; exit 3"` with simple loops and traps, or nothing (a server that runs indefinitely); an executable that
//! busybox lacks is not found, unless its name begins with the image's.
//!
//! Simplifications: restarts are the daemon's, so no engine restarts a container; nothing is written to
//! volumes; a health check is `true` unless its command is `false` or `exit 1`.

mod client;
mod clock;
mod connection;
mod faults;
mod image;
mod machine;
mod program;
mod random;
mod state;
mod streams;
#[cfg(test)]
mod tests;

pub use faults::Crash;
pub use machine::Machine;

use chrono::{DateTime, Utc};
use clock::{WorldClock, date};
use image::normal;
use kdaemon::engine::{ContainerState, Engine, Engines, Exit, Identity};
use kdaemon_events::{ContainerId, Endpoint, MilliCpus, PublishedPort};
use random::mix;
use state::{EngineContainer, ProcessPhase};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an engine's work takes, in milliseconds: each time a random number from the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// A request and its answer on the wire.
    pub answer_ms: RangeInclusive<u64>,
    /// Pulling a missing image.
    pub pull_ms: RangeInclusive<u64>,
    /// Creating a container.
    pub create_ms: RangeInclusive<u64>,
    /// Starting a container.
    pub start_ms: RangeInclusive<u64>,
    /// The end of a process that handles SIGTERM.
    pub stop_ms: RangeInclusive<u64>,
    /// Removing a container.
    pub remove_ms: RangeInclusive<u64>,
    /// Grace period after which a process that ignores SIGTERM is killed.
    pub grace_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer_ms: 1..=5,
            pull_ms: 500..=3_000,
            create_ms: 20..=80,
            start_ms: 100..=300,
            stop_ms: 10..=200,
            remove_ms: 10..=60,
            grace_ms: 10_000,
        }
    }
}

impl Timing {
    /// Everything takes no time: for benches that measure something else.
    #[must_use]
    pub fn instant() -> Self {
        let at_once = || 0..=0;
        Self {
            answer_ms: at_once(),
            pull_ms: at_once(),
            create_ms: at_once(),
            start_ms: at_once(),
            stop_ms: at_once(),
            remove_ms: at_once(),
            grace_ms: 0,
        }
    }
}

/// A client's timeout for each kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For a ping.
    pub ping: Duration,
    /// For a read.
    pub read: Duration,
    /// For creating, starting and removing a container; for stopping one, on top of its grace period.
    pub work: Duration,
    /// For a pull.
    pub pull: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            ping: Duration::from_millis(1_500),
            read: Duration::from_secs(15),
            work: Duration::from_secs(60),
            pull: Duration::from_secs(900),
        }
    }
}

/// The properties of a machine when it is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedMachine {
    /// Processors.
    pub cpus: MilliCpus,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Version of the engine.
    pub version: String,
    /// The newest API version that the engine supports.
    pub api_version: String,
    /// Images that need no pull.
    pub images: Vec<String>,
    /// Durations of its work.
    pub timing: Timing,
}

impl Default for SimulatedMachine {
    fn default() -> Self {
        Self {
            cpus: MilliCpus(4_000),
            memory_bytes: 8 * 1024 * 1024 * 1024,
            version: "29.0.0".into(),
            api_version: "1.52".into(),
            images: vec!["busybox".into()],
            timing: Timing::default(),
        }
    }
}

/// A kind of call to an engine, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // each is the method of `Engine` with its name
pub enum EngineCall {
    Ping,
    Facts,
    List,
    Networks,
    RemoveNetwork,
    Launch,
    Start,
    Stop,
    Remove,
    RemoveVolume,
    Inspect,
    OpenEvents,
    Logs,
    Stats,
}

/// Number of kinds of call.
const CALLS: usize = 14;

/// The true state of a container, whatever a client can see of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenContainer {
    /// From its labels.
    pub identity: Identity,
    /// The name on the engine.
    pub name: String,
    /// The image, as in the spec.
    pub image: String,
    /// The state of the container's process.
    pub state: ContainerState,
    /// How its process exited, if it did.
    pub exit: Option<Exit>,
    /// Published ports, while it runs.
    pub ports: Vec<PublishedPort>,
    /// The last result of its health check.
    pub healthy: Option<bool>,
    /// The time of its last start.
    pub started_at: Option<DateTime<Utc>>,
}

impl SeenContainer {
    fn of(identity: Identity, container: &EngineContainer) -> Self {
        let started_at = match container.phase {
            ProcessPhase::Created => None,
            ProcessPhase::Running { since_ms } | ProcessPhase::Exited { since_ms, .. } => {
                Some(date(since_ms))
            }
        };
        Self {
            identity,
            name: container.name.to_string(),
            image: container.spec.docker_image.clone(),
            state: container.state(),
            exit: container.exit(),
            ports: container.ports.to_vec(),
            healthy: container.healthy,
            started_at,
        }
    }
}

/// Contents of the registries: every image, except the ones listed here.
#[derive(Default)]
struct Registry {
    is_down: bool,
    missing: BTreeSet<String>,
    private: BTreeMap<String, (String, String)>,
}

struct EngineWorld {
    seed: u64,
    clock: WorldClock,
    limits: ClientTimeouts,
    machines: Mutex<BTreeMap<Endpoint, Arc<Machine>>>,
    registry: Mutex<Registry>,
}

impl EngineWorld {
    fn machines(&self) -> MutexGuard<'_, BTreeMap<Endpoint, Arc<Machine>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A world of engines, found by their endpoints. Clones share it.
#[derive(Clone)]
pub struct SimulatedEngines {
    world: Arc<EngineWorld>,
}

impl std::fmt::Debug for SimulatedEngines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedEngines").field("seed", &self.world.seed).finish_non_exhaustive()
    }
}

impl Engines for SimulatedEngines {
    fn client(&self, endpoint: &Endpoint) -> Arc<dyn Engine> {
        Arc::new(client::SimulatedEngine::new(Arc::clone(&self.world), endpoint.clone()))
    }
}

impl SimulatedEngines {
    /// An empty world. Its clock starts now: create it inside the runtime whose time counts.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_limits(seed, ClientTimeouts::default())
    }

    /// An empty world whose clients use the timeouts in `limits`.
    #[must_use]
    pub fn with_limits(seed: u64, limits: ClientTimeouts) -> Self {
        Self {
            world: Arc::new(EngineWorld {
                seed,
                clock: WorldClock(tokio::time::Instant::now()),
                limits,
                machines: Mutex::default(),
                registry: Mutex::default(),
            }),
        }
    }

    /// Adds a machine. It replaces an existing one at this endpoint: another engine, with another id and no
    /// containers.
    pub fn add(&self, endpoint: &Endpoint, about: SimulatedMachine) -> Arc<Machine> {
        let mut machines = self.world.machines();
        let which = u64::from(machines.contains_key(endpoint));
        let former = machines.get(endpoint).map_or(0, |machine| machine.key);
        // The endpoint decides, not the order of adding, so that one more machine changes no other's random
        // numbers.
        let name = endpoint.to_string().bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        let machine =
            Arc::new(Machine::new(about, self.world.clock, mix(self.world.seed ^ name ^ former ^ which)));
        if let Some(former) = machines.insert(endpoint.clone(), Arc::clone(&machine)) {
            former.crash(Crash::Machine);
        }
        machine
    }

    /// Adds `count` equal machines at `tcp://node-1:2375`, `tcp://node-2:2375`, and so on.
    pub fn add_fleet(&self, count: u32, about: &SimulatedMachine) -> Vec<Endpoint> {
        let endpoint = |n| Endpoint::Tcp { host: format!("node-{n}"), port: 2375 };
        let endpoints: Vec<Endpoint> = (1..=count).map(endpoint).collect();
        for endpoint in &endpoints {
            self.add(endpoint, about.clone());
        }
        endpoints
    }

    /// The machine at an endpoint.
    #[must_use]
    pub fn machine(&self, endpoint: &Endpoint) -> Option<Arc<Machine>> {
        self.world.machines().get(endpoint).map(Arc::clone)
    }

    /// All machines, in the order of their endpoints.
    #[must_use]
    pub fn machines(&self) -> Vec<(Endpoint, Arc<Machine>)> {
        self.world
            .machines()
            .iter()
            .map(|(endpoint, machine)| (endpoint.clone(), Arc::clone(machine)))
            .collect()
    }

    /// The current simulated date.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        date(self.world.clock.now_ms())
    }

    /// Makes every registry unavailable, or available again. Pulls fail meanwhile.
    pub fn set_registry_down(&self, is_down: bool) {
        self.world.registry().is_down = is_down;
    }

    /// Removes an image from every registry.
    pub fn lacks_image(&self, image: &str) {
        self.world.registry().missing.insert(normal(image));
    }

    /// Adds an image to every registry again.
    pub fn has_image(&self, image: &str) {
        self.world.registry().missing.remove(&normal(image));
    }

    /// Requires these credentials to pull an image.
    pub fn make_private(&self, image: &str, username: &str, password: &str) {
        self.world.registry().private.insert(normal(image), (username.to_owned(), password.to_owned()));
    }

    /// All containers of kDaemon at an endpoint, whether or not the engine can be reached.
    #[must_use]
    pub fn containers(&self, endpoint: &Endpoint) -> Vec<SeenContainer> {
        self.machine(endpoint).map_or_else(Vec::new, |machine| machine.containers())
    }

    /// The running ones among them.
    #[must_use]
    pub fn running(&self, endpoint: &Endpoint) -> Vec<Identity> {
        self.machine(endpoint).map_or_else(Vec::new, |machine| machine.running())
    }

    /// Every container of this record on any engine, running or not.
    #[must_use]
    pub fn places_of(&self, container: ContainerId) -> Vec<(Endpoint, SeenContainer)> {
        let mut places = Vec::new();
        for (endpoint, machine) in self.machines() {
            machine.with(|state, _| {
                let here = state.containers.iter().filter(|(identity, _)| identity.container == container);
                places.extend(here.map(|(id, c)| (endpoint.clone(), SeenContainer::of(*id, c))));
            });
        }
        places
    }

    /// Number of calls of a kind to all engines, answered or not.
    #[must_use]
    pub fn calls(&self, call: EngineCall) -> u64 {
        self.world.machines().values().map(|machine| machine.calls(call)).sum()
    }
}

impl Machine {
    /// All containers of kDaemon here.
    #[must_use]
    pub fn containers(&self) -> Vec<SeenContainer> {
        self.with(|state, _| state.containers.iter().map(|(id, c)| SeenContainer::of(*id, c)).collect())
    }

    /// The running ones among them.
    #[must_use]
    pub fn running(&self) -> Vec<Identity> {
        self.with(|state, _| {
            let all = state.containers.iter();
            all.filter(|(_, c)| c.state() == ContainerState::Running).map(|(identity, _)| *identity).collect()
        })
    }

    /// Names of the foreign containers.
    #[must_use]
    pub fn foreign(&self) -> Vec<String> {
        self.with(|state, _| state.foreign_names())
    }

    /// The images, networks and named volumes on this machine.
    #[must_use]
    pub fn holdings(&self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let texts = |set: &BTreeSet<Box<str>>| set.iter().map(ToString::to_string).collect();
        self.with(|state, _| {
            let networks = state.networks.keys().map(ToString::to_string).collect();
            (texts(&state.images), networks, texts(&state.volumes))
        })
    }

    /// Number of calls of a kind to this engine, answered or not.
    #[must_use]
    pub fn calls(&self, call: EngineCall) -> u64 {
        self.calls[call as usize].load(Ordering::Relaxed)
    }

    /// The largest number of concurrent calls here (a stream counts until it is open).
    #[must_use]
    pub fn most_in_flight(&self) -> u32 {
        self.most_in_flight.load(Ordering::Relaxed)
    }
}
