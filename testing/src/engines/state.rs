//! The state of one engine, and how it changes over time.
//!
//! Nothing runs in the background. Future happenings (a process exits, a request is finished) wait in
//! `timers`, and every access to a machine first lets happen what is due ([`EngineState::settle`]).

use super::clock::date;
use super::image::{declared_volumes, health_check, normal};
use super::program::Program;
use super::random::mix;
use bytes::Bytes;
use kdaemon::engine::{
    ContainerState, EngineError, EngineEvent, EngineListing, Exit, Failure, Identity, Launched,
    ListedContainer, engine_name,
};
use kdaemon_events::container::AnonymousVolume;
use kdaemon_events::{ClusterId, PortSpec, Protocol, PublishedPort, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The range in which engines choose ports (Linux's default local range).
const CHOSEN_PORTS: RangeInclusive<u16> = 32_768..=60_999;
/// An event stream that lags by more events is disconnected.
const MAX_EVENTS_WAITING: usize = 8_192;
/// The smallest memory limit and reservation that Docker accepts (moby, `daemon/daemon_unix.go`).
const LEAST_MEMORY_BYTES: u64 = 6 * 1024 * 1024;

/// A container of kDaemon (of this cluster or another).
pub(super) struct EngineContainer {
    pub(super) name: Box<str>,
    pub(super) spec: Arc<Spec>,
    pub(super) ports: Box<[PublishedPort]>,
    pub(super) phase: ProcessPhase,
    pub(super) healthy: Option<bool>,
    pub(super) paused: bool,
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessPhase {
    Created,
    Running { since_ms: u64 },
    Exited { since_ms: u64, at_ms: u64, exit: Exit },
}

impl EngineContainer {
    pub(super) fn state(&self) -> ContainerState {
        match self.phase {
            ProcessPhase::Created => ContainerState::Created,
            ProcessPhase::Running { .. } => ContainerState::Running,
            ProcessPhase::Exited { .. } => ContainerState::Exited,
        }
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        if let ProcessPhase::Exited { exit, .. } = self.phase { Some(exit) } else { None }
    }
}

/// A container that kDaemon did not create.
struct Foreign {
    name: Box<str>,
    ports: Vec<(Protocol, u16)>,
}

type DueWork = Box<dyn FnOnce(&mut EngineState, u64) + Send>;

enum Timer {
    Ends {
        identity: Identity,
        since_ms: u64,
        exit: Exit,
    },
    Checked {
        identity: Identity,
        since_ms: u64,
        healthy: bool,
    },
    /// A request is finished.
    DueWork(DueWork),
}

/// Output that the running program cannot reproduce: of former runs, or written by a test.
pub(super) type Kept = Vec<(u64, Bytes)>;

#[derive(Default)]
pub(super) struct EngineState {
    /// Boxed, because a map's nodes are half empty.
    pub(super) containers: BTreeMap<Identity, Box<EngineContainer>>,
    pub(super) images: BTreeSet<Box<str>>,
    /// With the cluster whose launch created each; `None` for a foreign one.
    pub(super) networks: BTreeMap<Box<str>, Option<ClusterId>>,
    pub(super) volumes: BTreeSet<Box<str>>,
    pub(super) disk_is_full: bool,
    pub(super) registry_is_cut: bool,
    pub(super) failing: Option<(u32, EngineError)>,
    pub(super) timing_out: u32,
    foreign: Vec<Foreign>,
    /// The anonymous volumes of the containers that have some.
    anonymous: BTreeMap<Identity, Vec<AnonymousVolume>>,
    kept: BTreeMap<Identity, Kept>,
    ports: BTreeSet<(Protocol, u16)>,
    /// Where the search for a free port continues, for each protocol.
    next_ports: [u16; 2],
    timers: BTreeMap<(u64, u64), Timer>,
    timers_made: u64,
    subscribers: Vec<(ClusterId, mpsc::Sender<EngineEvent>)>,
    made: u64,
    key: u64,
    milli_cpus: u64,
    changed: bool,
}

impl EngineState {
    pub(super) fn new(images: BTreeSet<Box<str>>, key: u64, milli_cpus: u64) -> Self {
        Self { images, key, milli_cpus, ..Self::default() }
    }

    /// Whether anything changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Lets happen what is due, in order.
    pub(super) fn settle(&mut self, now: u64) {
        while let Some(timer) = self.timers.first_entry().filter(|first| first.key().0 <= now) {
            let ((at, _), timer) = timer.remove_entry();
            match timer {
                Timer::Ends { identity, since_ms, exit } if self.runs_since(identity, since_ms) => {
                    self.end(identity, exit, at);
                }
                Timer::Checked { identity, since_ms, healthy } if self.runs_since(identity, since_ms) => {
                    self.set_health(identity, healthy);
                }
                Timer::DueWork(work) => work(self, at),
                Timer::Ends { .. } | Timer::Checked { .. } => {}
            }
        }
    }

    /// When the next thing happens by itself.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    fn runs_since(&self, identity: Identity, since_ms: u64) -> bool {
        self.containers.get(&identity).is_some_and(|c| c.phase == ProcessPhase::Running { since_ms })
    }

    fn at(&mut self, at_ms: u64, timer: Timer) {
        self.timers_made += 1;
        self.timers.insert((at_ms, self.timers_made), timer);
        self.changed = true;
    }

    /// Schedules `work` at `at_ms`, whether or not its caller still waits.
    pub(super) fn work(&mut self, now: u64, at_ms: u64, work: DueWork) {
        if at_ms <= now {
            work(self, now);
        } else {
            self.at(at_ms, Timer::DueWork(work));
        }
    }

    pub(super) fn get(&self, identity: Identity) -> Result<&EngineContainer, EngineError> {
        self.containers.get(&identity).map(|c| &**c).ok_or_else(no_such_container)
    }

    /// Whether a container has this name.
    fn has_name(&self, name: &str) -> bool {
        self.containers.values().any(|c| &*c.name == name) || self.foreign.iter().any(|f| &*f.name == name)
    }

    /// `POST /containers/create`, with the free name that its client looks for.
    pub(super) fn create(
        &mut self,
        identity: Identity,
        name: &str,
        spec: &Arc<Spec>,
        kept: &[AnonymousVolume],
    ) -> Result<(), EngineError> {
        if self.containers.contains_key(&identity) {
            return Ok(());
        }
        if self.disk_is_full {
            return Err(EngineError::node_fault("mkdir /var/lib/docker/overlay2: no space left on device"));
        }
        let image = normal(&spec.docker_image);
        if !self.images.contains(image.as_str()) {
            return Err(EngineError::rejected(format!("No such image: {}", spec.docker_image)));
        }
        if spec.resources.memory_bytes.is_some_and(|bytes| bytes < LEAST_MEMORY_BYTES) {
            return Err(EngineError::rejected("Minimum memory limit allowed is 6MB"));
        }
        let reserved = spec.resources.reserved_memory_bytes.filter(|bytes| *bytes > 0);
        if reserved.is_some_and(|bytes| bytes < LEAST_MEMORY_BYTES) {
            return Err(EngineError::rejected("Minimum memory reservation allowed is 6MB"));
        }
        if matches!((reserved, spec.resources.memory_bytes), (Some(reserved), Some(limit)) if reserved > limit)
        {
            return Err(EngineError::rejected(
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ));
        }
        if spec.resources.cpus.is_some_and(|cpus| cpus.0 > self.milli_cpus) {
            let cpus = self.milli_cpus / 1000;
            return Err(EngineError::node_fault(format!(
                "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
            )));
        }
        let names = names(name, identity);
        let Some(name) = names.iter().find(|name| !self.has_name(name)) else {
            let names = names.join(", ");
            return Err(EngineError::node_fault(format!("the names {names} all belong to other containers")));
        };
        for network in &spec.networks {
            self.networks.entry(network.as_str().into()).or_insert(Some(identity.cluster));
        }
        self.volumes.extend(spec.volumes.iter().filter(|v| v.is_named()).map(|v| v.source.as_str().into()));
        self.made += 1;
        let is_free = |target: &str| spec.volumes.iter().all(|volume| volume.target != target);
        let mut volumes: Vec<_> = kept.iter().filter(|volume| is_free(&volume.target)).cloned().collect();
        for target in declared_volumes(&image).iter().filter(|target| is_free(target)) {
            if volumes.iter().all(|volume| volume.target != *target) {
                let part = |n: u64| mix(self.key ^ mix((self.made << 8) + n));
                let name = format!("{:016x}{:016x}{:016x}{:016x}", part(4), part(5), part(6), part(7));
                volumes.push(AnonymousVolume { name, target: (*target).to_owned() });
            }
        }
        self.volumes.extend(volumes.iter().map(|volume| volume.name.as_str().into()));
        if !volumes.is_empty() {
            self.anonymous.insert(identity, volumes);
        }
        let container = EngineContainer {
            name: name.as_str().into(),
            spec: Arc::clone(spec),
            ports: Box::default(),
            phase: ProcessPhase::Created,
            healthy: None,
            paused: false,
            number: self.made,
        };
        self.containers.insert(identity, Box::new(container));
        Ok(())
    }

    /// `POST /containers/{id}/start`.
    pub(super) fn start(&mut self, identity: Identity, now: u64) -> Result<Launched, EngineError> {
        let container = self.get(identity)?;
        if matches!(container.phase, ProcessPhase::Running { .. }) {
            return Ok(self.launched(identity, container));
        }
        let spec = Arc::clone(&container.spec);
        let program = Program::of(&spec).map_err(|executable| {
            EngineError::rejected(format!(
                "failed to create task for container: OCI runtime create failed: exec: \"{executable}\": \
                 executable file not found in $PATH: unknown"
            ))
        })?;
        let ports = self.claim(&spec.exposed_ports)?;
        let earlier = self.output_of_run(identity, 0, now);
        if !earlier.is_empty() {
            self.kept.entry(identity).or_default().extend(earlier);
        }
        if let Some((after_ms, exit)) = program.end() {
            self.at(now.saturating_add(after_ms), Timer::Ends { identity, since_ms: now, exit });
        }
        if let Some((after_ms, healthy)) = health_check(&spec) {
            self.at(now.saturating_add(after_ms), Timer::Checked { identity, since_ms: now, healthy });
        }
        if let Some(container) = self.containers.get_mut(&identity) {
            container.ports = ports.into();
            container.phase = ProcessPhase::Running { since_ms: now };
            container.healthy = None;
            container.paused = false;
        }
        self.emit(identity, EngineEvent::Started(identity));
        self.get(identity).map(|container| self.launched(identity, container))
    }

    /// Claims the ports of the machine that `wanted` asks for: all of them, or none.
    fn claim(&mut self, wanted: &[PortSpec]) -> Result<Vec<PublishedPort>, EngineError> {
        let mut claimed: Vec<PublishedPort> = Vec::with_capacity(wanted.len());
        for port in wanted {
            let host = match port.host {
                Some(host) if self.ports.contains(&(port.protocol, host)) => {
                    Err(EngineError::node_fault(format!(
                        "failed to set up container networking: driver failed programming external connectivity: \
                     Bind for 0.0.0.0:{host} failed: port is already allocated"
                    )))
                }
                Some(host) => Ok(host),
                None => self.free_port(port.protocol),
            };
            match host {
                Ok(host) => {
                    self.ports.insert((port.protocol, host));
                    claimed.push(PublishedPort { container: port.container, host, protocol: port.protocol });
                }
                Err(error) => {
                    for port in claimed {
                        self.ports.remove(&(port.protocol, port.host));
                    }
                    return Err(error);
                }
            }
        }
        claimed.sort_unstable();
        Ok(claimed)
    }

    /// The next free port after the last chosen one, in the round-robin order of moby's port allocator.
    fn free_port(&mut self, protocol: Protocol) -> Result<u16, EngineError> {
        for _ in CHOSEN_PORTS {
            let port = self.next_ports[protocol as usize].max(*CHOSEN_PORTS.start());
            self.next_ports[protocol as usize] =
                if port >= *CHOSEN_PORTS.end() { *CHOSEN_PORTS.start() } else { port + 1 };
            if !self.ports.contains(&(protocol, port)) {
                return Ok(port);
            }
        }
        Err(EngineError::node_fault("all ports are allocated"))
    }

    /// Ends the process of a container.
    pub(super) fn end(&mut self, identity: Identity, exit: Exit, now: u64) {
        let Some(container) = self.containers.get_mut(&identity) else { return };
        let ProcessPhase::Running { since_ms } = container.phase else { return };
        container.phase = ProcessPhase::Exited { since_ms, at_ms: now, exit };
        container.paused = false;
        for port in std::mem::take(&mut container.ports) {
            self.ports.remove(&(port.protocol, port.host));
        }
        self.emit(identity, EngineEvent::Died(identity, exit));
    }

    /// How long the process takes to exit after SIGTERM, and how it exits.
    pub(super) fn stopping(&self, identity: Identity, heeds_ms: u64, grace_ms: u64) -> Option<(u64, Exit)> {
        let container = self.containers.get(&identity)?;
        matches!(container.phase, ProcessPhase::Running { .. }).then(|| {
            match Program::of(&container.spec).ok().as_ref().and_then(Program::on_terminate) {
                Some((_, code)) => (heeds_ms.min(grace_ms), Exit { code: *code, out_of_memory: false }),
                None => (grace_ms, Exit { code: 137, out_of_memory: false }),
            }
        })
    }

    /// Ends the process on request, with its last output.
    pub(super) fn stop(&mut self, identity: Identity, exit: Exit, now: u64) {
        let Some(container) = self.containers.get(&identity) else { return };
        if matches!(container.phase, ProcessPhase::Running { .. })
            && let Ok(program) = Program::of(&container.spec)
            && let Some((lines, _)) = program.on_terminate()
            && exit.code != 137
        {
            let lines: Kept = lines.iter().map(|line| (now, line.clone())).collect();
            if !lines.is_empty() {
                self.kept.entry(identity).or_default().extend(lines);
            }
        }
        self.end(identity, exit, now);
    }

    /// `DELETE /volumes/{name}`.
    pub(super) fn remove_volume(&mut self, name: &str) -> Result<(), EngineError> {
        let mounts = |c: &EngineContainer| c.spec.volumes.iter().any(|volume| volume.source == name);
        let is_anonymous = self.anonymous.values().flatten().any(|volume| volume.name == name);
        if is_anonymous || self.containers.values().any(|container| mounts(container)) {
            return Err(EngineError::rejected(format!("remove {name}: volume is in use")));
        }
        self.volumes.remove(name);
        Ok(())
    }

    /// `DELETE /containers/{id}?force=true`. Returns whether it was there.
    pub(super) fn remove(&mut self, identity: Identity, now: u64) -> bool {
        self.end(identity, Exit { code: 137, out_of_memory: false }, now);
        let was_there = self.containers.remove(&identity).is_some();
        self.kept.remove(&identity);
        self.anonymous.remove(&identity);
        if was_there {
            self.emit(identity, EngineEvent::Removed(identity));
        }
        was_there
    }

    pub(super) fn set_health(&mut self, identity: Identity, healthy: bool) {
        let Some(container) = self.containers.get_mut(&identity) else { return };
        if container.healthy != Some(healthy) {
            container.healthy = Some(healthy);
            self.emit(identity, EngineEvent::Health(identity, healthy));
        }
    }

    pub(super) fn set_paused(&mut self, identity: Identity, paused: bool) {
        let Some(container) = self.containers.get_mut(&identity) else { return };
        if matches!(container.phase, ProcessPhase::Running { .. }) && container.paused != paused {
            container.paused = paused;
            self.emit(identity, EngineEvent::Paused(identity, paused));
        }
    }

    /// Adds a foreign container, running.
    pub(super) fn add_foreign(&mut self, name: &str, ports: &[(Protocol, u16)]) -> Result<(), EngineError> {
        if self.has_name(name) {
            return Err(EngineError::rejected(format!(
                "Conflict. The container name \"/{name}\" is already in use"
            )));
        }
        let wanted: Vec<PortSpec> = ports
            .iter()
            .map(|(protocol, port)| PortSpec { container: *port, host: Some(*port), protocol: *protocol })
            .collect();
        self.claim(&wanted)?;
        self.foreign.push(Foreign { name: name.into(), ports: ports.to_vec() });
        Ok(())
    }

    pub(super) fn remove_foreign(&mut self, name: &str) -> bool {
        let Some(at) = self.foreign.iter().position(|f| &*f.name == name) else { return false };
        for port in self.foreign.swap_remove(at).ports {
            self.ports.remove(&port);
        }
        true
    }

    pub(super) fn foreign_names(&self) -> Vec<String> {
        self.foreign.iter().map(|f| f.name.to_string()).collect()
    }

    pub(super) fn list(&self, cluster: ClusterId) -> EngineListing {
        let own = self.containers.iter().filter(|(identity, _)| identity.cluster == cluster);
        let own: Vec<ListedContainer> = own
            .map(|(identity, container)| ListedContainer {
                identity: *identity,
                engine_id: self.engine_id(container),
                state: container.state(),
                paused: container.paused,
                ports: container.ports.to_vec(),
            })
            .collect();
        let foreign = self.foreign.len() + self.containers.len() - own.len();
        EngineListing { own, foreign: u32::try_from(foreign).unwrap_or(u32::MAX) }
    }

    pub(super) fn engine_id(&self, container: &EngineContainer) -> String {
        let part = |n: u64| mix(self.key ^ mix(container.number.wrapping_mul(4).wrapping_add(n)));
        format!("{:016x}{:016x}{:016x}{:016x}", part(0), part(1), part(2), part(3))
    }

    pub(super) fn launched(&self, identity: Identity, container: &EngineContainer) -> Launched {
        let started_at = match container.phase {
            ProcessPhase::Created => None,
            ProcessPhase::Running { since_ms } | ProcessPhase::Exited { since_ms, .. } => {
                Some(date(since_ms))
            }
        };
        Launched {
            engine_id: self.engine_id(container),
            image_id: format!(
                "sha256:{}",
                blake3::hash(normal(&container.spec.docker_image).as_bytes()).to_hex()
            ),
            ports: container.ports.to_vec(),
            volumes: self.anonymous.get(&identity).cloned().unwrap_or_default(),
            health_check: health_check(&container.spec).is_some(),
            started_at,
        }
    }

    /// The output of the container's current or last run, up to now.
    fn output_of_run(&self, identity: Identity, from_ms: u64, now: u64) -> Kept {
        let Some(container) = self.containers.get(&identity) else { return Kept::new() };
        let (since_ms, until_ms) = match container.phase {
            ProcessPhase::Created => return Kept::new(),
            ProcessPhase::Running { since_ms } => (since_ms, now),
            ProcessPhase::Exited { since_ms, at_ms, .. } => (since_ms, at_ms),
        };
        let Ok(program) = Program::of(&container.spec) else { return Kept::new() };
        if until_ms < from_ms || program.is_silent() {
            return Kept::new();
        }
        let lines = program.output(from_ms.saturating_sub(since_ms), until_ms - since_ms);
        lines.into_iter().map(|(at, line)| (since_ms + at, line)).collect()
    }

    /// All output from `from_ms` up to now, with its times.
    pub(super) fn output(&self, identity: Identity, from_ms: u64, now: u64) -> Kept {
        let mut lines = self.output_of_run(identity, from_ms, now);
        if let Some(kept) = self.kept.get(&identity) {
            lines.extend(kept.iter().filter(|(at, _)| *at >= from_ms).cloned());
            lines.sort_by_key(|(at, _)| *at);
        }
        lines
    }

    /// The time of the next output, if the program runs.
    pub(super) fn next_output(&self, identity: Identity, now: u64) -> Option<u64> {
        let container = self.containers.get(&identity)?;
        let ProcessPhase::Running { since_ms } = container.phase else { return None };
        let next = Program::of(&container.spec).ok()?.next_output(now - since_ms)?;
        since_ms.checked_add(next)
    }

    pub(super) fn write(&mut self, identity: Identity, text: Bytes, now: u64) {
        self.kept.entry(identity).or_default().push((now, text));
        self.changed = true;
    }

    pub(super) fn subscribe(&mut self, cluster: ClusterId) -> mpsc::Receiver<EngineEvent> {
        let (sender, receiver) = mpsc::channel(MAX_EVENTS_WAITING);
        self.subscribers.retain(|(_, sender)| !sender.is_closed());
        self.subscribers.push((cluster, sender));
        receiver
    }

    fn emit(&mut self, identity: Identity, event: EngineEvent) {
        self.changed = true;
        self.subscribers.retain(|(cluster, sender)| {
            *cluster != identity.cluster || sender.try_send(event.clone()).is_ok()
        });
    }

    /// The engine's process is gone: requests in progress are not finished, and their callers never hear of
    /// them.
    pub(super) fn engine_dies(&mut self) {
        self.timers.retain(|_, timer| !matches!(timer, Timer::DueWork(_)));
        self.subscribers.clear();
        self.changed = true;
    }

    /// The machine lost power: every process ended.
    pub(super) fn machine_dies(&mut self, now: u64) {
        self.engine_dies();
        let identities: Vec<Identity> = self.containers.keys().copied().collect();
        for identity in identities {
            // As Docker reports containers that it finds dead when it starts.
            self.end(identity, Exit { code: 255, out_of_memory: false }, now);
        }
    }

    /// `DELETE /networks/{id}`, if a launch of this cluster created it and no container is attached to it. Returns
    /// whether it is gone.
    pub(super) fn remove_network(&mut self, cluster: ClusterId, name: &str) -> bool {
        if self.networks.get(name) != Some(&Some(cluster)) {
            return true;
        }
        let is_attached = |container: &EngineContainer| container.spec.networks.iter().any(|own| own == name);
        if self.containers.values().any(|container| is_attached(container)) {
            return false;
        }
        self.networks.remove(name);
        true
    }

    /// Erases everything that the engine kept, and the machine's processes.
    pub(super) fn lose_everything(&mut self) {
        self.timers.retain(|_, timer| matches!(timer, Timer::DueWork(_)));
        self.containers.clear();
        self.anonymous.clear();
        self.kept.clear();
        self.foreign.clear();
        self.images.clear();
        self.networks.clear();
        self.volumes.clear();
        self.ports.clear();
        self.changed = true;
    }
}

/// The names tried for a container, in this order.
fn names(name: &str, identity: Identity) -> [String; 3] {
    let name = engine_name(name, identity.container);
    let digits = identity.container.0.as_u64_pair().1 & 0xffff_ffff;
    let generation = identity.generation;
    [name.clone(), format!("{name}-g{generation}"), format!("{name}-{digits:08x}-g{generation}")]
}

pub(super) fn no_such_container() -> EngineError {
    EngineError::NotFound(Failure::NoContainer)
}
