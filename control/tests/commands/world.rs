//! A small world around the decisions: machines that run containers, and an executor that does at once what
//! the reactors would do. Every decision in it is checked.

use crate::check;
use crate::fixture::facts;
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_control::commands::{
    Command, Context, CreateApplication, CreateContainer, LaunchFailure, Listed, MountNode, Policy, Probe,
    ProbeResult, Refusal, Seen, UpdateApplication, UpdateContainer, decide,
};
use kdaemon_control::observed::{ContainerState, Exit, Launched};
use kdaemon_control::reconcile::{self, Act, Pacing, Task};
use kdaemon_events::container::AnonymousVolume;
use kdaemon_events::failure::Failure;
use kdaemon_events::{
    Actor, ApplicationId, ClusterId, ContainerId, Envelope, Environment, Event, Generation, MilliCpus,
    NodeId, PlacementId, Protocol, Resources, RestartPolicy, Spec, SpecChanges, UpdatePolicy,
};
use kdaemon_projections::{Cluster, ContainerHealth, Desired, Health, PhaseKind, Status, Touched};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A step of the world. Numbers select among existing items, modulo their count.
#[derive(Debug, Clone)]
pub enum Op {
    Mount {
        capacity: Option<u32>,
        zone: bool,
    },
    Unmount(usize, bool),
    Cordon(usize),
    Uncordon(usize),
    Drain(usize),
    /// A machine stops answering.
    Break(usize),
    Repair(usize),
    RepairAll,
    /// A machine loses everything on its disk.
    Wipe(usize),
    /// A machine fails to launch anything from now on, or works again.
    Flaky(usize, bool),
    CreateApplication {
        port: Option<u16>,
        zone: bool,
        resources: Resources,
        volume: bool,
        replicas: Option<u32>,
        rolling: bool,
    },
    UpdateApplication {
        which: usize,
        image: u8,
        resources: Option<Resources>,
        enabled: bool,
    },
    Scale(usize, u32),
    DeleteApplication(usize),
    CreateContainer(usize),
    UpdateContainer(usize, bool, u8),
    Launch(usize),
    Stop(usize),
    Delete(usize),
    /// A process ends.
    Exit(usize, i64),
    /// Another client removes or starts a container.
    RemoveBehind(usize),
    StartBehind(usize),
    /// A health check succeeds or fails.
    Health(usize, bool),
    /// Another client pauses it, or lets it continue.
    Pause(usize, bool),
    Restart(usize),
    RollBack(usize),
    Probe(usize),
    /// A reactor carries out one of the due tasks.
    Task(usize),
    Rebalance,
    Later(i64),
}

/// A limit and a reservation of processors, in thousandths.
fn resources(limit: Option<u64>, reserved: Option<u64>) -> Resources {
    let (cpus, reserved_cpus) = (limit.map(MilliCpus), reserved.map(MilliCpus));
    Resources { cpus, reserved_cpus, ..Resources::default() }
}

/// The processors that the scheduler has to reserve for a container, in thousandths.
fn reserved(spec: &Spec) -> u64 {
    match (spec.resources.reserved_cpus, spec.resources.cpus) {
        (Some(MilliCpus(reserved)), _) => reserved,
        (None, Some(MilliCpus(limit))) => limit,
        (None, None) => 0,
    }
}

/// Any op; `plain` excludes everything that could hinder an even spread.
pub fn op(plain: bool) -> impl Strategy<Value = Op> {
    let i = || 0_usize..64;
    let create = (
        proptest::option::of(8_080_u16..8_082),
        any::<bool>(),
        prop::sample::select(vec![
            resources(None, None),
            resources(Some(1_000), None),
            resources(Some(2_500), None),
            resources(Some(2_500), Some(500)),
            resources(None, Some(1_500)),
            // More than a machine has.
            resources(Some(5_000), Some(0)),
        ]),
        prop::bool::weighted(0.15),
        proptest::option::of(0_u32..5),
        any::<bool>(),
    )
        .prop_map(move |(port, zone, resources, volume, replicas, rolling)| {
            if plain {
                let resources = Resources::default();
                Op::CreateApplication { port: None, zone: false, resources, volume: false, replicas, rolling }
            } else {
                Op::CreateApplication { port, zone, resources, volume, replicas, rolling }
            }
        });
    let mount = (proptest::option::weighted(0.3, 0_u32..4), any::<bool>())
        .prop_map(move |(capacity, zone)| Op::Mount { capacity: capacity.filter(|_| !plain), zone });
    let other =
        vec![resources(Some(500), None), resources(Some(3_000), None), resources(Some(3_000), Some(500))];
    let update = (i(), 0_u8..3, proptest::option::of(prop::sample::select(other)), any::<bool>()).prop_map(
        move |(which, image, resources, enabled)| Op::UpdateApplication {
            which,
            image,
            resources: resources.filter(|_| !plain),
            enabled: enabled || plain,
        },
    );
    prop_oneof![
        4 => mount,
        1 => (i(), any::<bool>()).prop_map(|(n, force)| Op::Unmount(n, force)),
        1 => i().prop_map(Op::Cordon),
        1 => i().prop_map(Op::Uncordon),
        2 => i().prop_map(Op::Drain),
        2 => i().prop_map(Op::Break),
        2 => i().prop_map(Op::Repair),
        1 => Just(Op::RepairAll),
        1 => i().prop_map(Op::Wipe),
        1 => (i(), any::<bool>()).prop_map(|(n, flaky)| Op::Flaky(n, flaky)),
        3 => create,
        1 => update,
        3 => (i(), 0_u32..7).prop_map(|(a, replicas)| Op::Scale(a, replicas)),
        1 => i().prop_map(Op::DeleteApplication),
        4 => i().prop_map(Op::CreateContainer),
        1 => (i(), any::<bool>(), 0_u8..3)
            .prop_map(move |(c, balance, value)| Op::UpdateContainer(c, balance || plain, value)),
        4 => i().prop_map(Op::Launch),
        2 => i().prop_map(Op::Stop),
        2 => i().prop_map(Op::Delete),
        2 => (i(), prop_oneof![Just(0_i64), Just(1)]).prop_map(|(c, code)| Op::Exit(c, code)),
        1 => i().prop_map(Op::RemoveBehind),
        1 => i().prop_map(Op::StartBehind),
        1 => (i(), any::<bool>()).prop_map(|(c, healthy)| Op::Health(c, healthy)),
        1 => (i(), any::<bool>()).prop_map(|(c, paused)| Op::Pause(c, paused)),
        1 => i().prop_map(Op::Restart),
        1 => i().prop_map(Op::RollBack),
        6 => i().prop_map(Op::Probe),
        20 => i().prop_map(Op::Task),
        2 => Just(Op::Rebalance),
        3 => (0_i64..400).prop_map(Op::Later),
    ]
}

#[derive(Debug, Default)]
struct Machine {
    broken: bool,
    flaky: bool,
    has: BTreeMap<PlacementId, ContainerState>,
}

/// How patient the reconciliation of the world is.
pub const PACING: Pacing = Pacing { rebalance_after: Some(Duration::from_secs(1)) };

pub struct World {
    pub cluster: Cluster,
    pub log: Vec<Envelope>,
    machines: BTreeMap<NodeId, Machine>,
    pub now: DateTime<Utc>,
    policy: Arc<Policy>,
    drawn: u128,
}

impl World {
    pub fn new() -> Self {
        let policy = Policy { max_migrations: 2, launch_attempts: 2, ..Policy::default() };
        let mut world = Self {
            cluster: Cluster::default(),
            log: Vec::new(),
            machines: BTreeMap::new(),
            now: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            policy: Arc::new(policy),
            drawn: 0,
        };
        world.submit(Command::CreateCluster(ClusterId(Uuid::from_u128(1)))).unwrap();
        // The initial world.
        for zone in [true, false, true] {
            world.act(&Op::Mount { capacity: None, zone });
        }
        world.act(&Op::CreateApplication {
            port: None,
            zone: false,
            resources: Resources::default(),
            volume: false,
            replicas: Some(4),
            rolling: true,
        });
        world
    }

    /// Decides a command, checks it, and folds its events.
    pub fn submit(&mut self, command: Command) -> Result<Vec<Envelope>, Refusal> {
        self.drawn += 1;
        let context = Context {
            actor: Actor::Anonymous,
            request_id: None,
            cause: None,
            term: None,
            precondition: None,
            now: self.now,
            seed: Uuid::from_u128(self.drawn),
            policy: Arc::clone(&self.policy),
        };
        let decision = decide(&self.cluster, command, &context)?;
        for envelope in &decision.events {
            assert_eq!(envelope.seq, self.cluster.seq().next(), "seqs are dense");
            assert!(envelope.cause.is_none_or(|cause| cause < envelope.seq), "a cause comes before");
            self.check_placement(&envelope.event);
            let before = self.cluster.clone();
            self.cluster.apply(envelope, &mut Touched::default());
            check_generations(&before, &self.cluster);
        }
        assert!(self.cluster == decision.cluster, "the decided state is the fold of its events");
        check::indexes(&self.cluster);
        self.log.extend(decision.events.iter().cloned());
        Ok(decision.events)
    }

    /// A placement satisfies every rule.
    fn check_placement(&self, event: &Event) {
        let (container_id, node_id) = match event {
            Event::ContainerPlaced(e) => (e.container_id, e.node_id),
            Event::ContainerMigrationCommanded(e) => (e.container_id, e.node_id),
            _ => return,
        };
        let container = self.cluster.container(container_id).unwrap();
        let spec = self.cluster.spec_of(container);
        let node = self.cluster.node(node_id).expect("placed on a node that is mounted");
        assert!(node.is_eligible(), "placed on {}: {:?}, {:?}", node.name, node.health, node.availability);
        for constraint in &spec.constraints {
            assert!(constraint.admits(&node.labels), "placed against {constraint}");
        }
        let others: Vec<_> = node
            .residents
            .iter()
            .filter(|id| **id != container_id)
            .filter_map(|id| self.cluster.container(*id))
            .collect();
        if let Some(capacity) = node.capacity {
            assert!(others.len() < capacity as usize, "placed beyond the capacity of {}", node.name);
        }
        if let Some(engine) = &node.engine {
            let wanted = reserved(&spec);
            let taken: u64 = others.iter().filter_map(|c| Some(reserved(&c.residence()?.spec))).sum();
            let fits = wanted == 0 || taken + wanted <= engine.cpus.0;
            assert!(fits, "{taken} + {wanted} processors on {}", node.name);
            let limit = spec.resources.cpus;
            assert!(limit.is_none_or(|limit| limit <= engine.cpus), "a limit of {limit:?} on {}", node.name);
        }
        let claimed: BTreeSet<(Protocol, u16)> = self
            .cluster
            .containers()
            .filter(|c| {
                let kind = c.phase.kind();
                c.id != container_id && !kind.is_over() && kind != PhaseKind::Failed
            })
            .filter_map(|c| c.placement.as_ref())
            .filter(|placement| placement.node_id == node_id)
            .flat_map(|placement| placement.spec.fixed_ports())
            .collect();
        for port in spec.fixed_ports() {
            assert!(!claimed.contains(&port), "port {port:?} of {} is given twice", node.name);
        }
    }

    /// Carries out one op.
    pub fn act(&mut self, op: &Op) {
        match op {
            Op::Mount { capacity, zone } => {
                if self.cluster.nodes().len() < 6 {
                    let name = format!("n{}", self.log.len());
                    let endpoint = crate::fixture::endpoint(&name);
                    let labels = if *zone { [("zone".to_owned(), "x".to_owned())].into() } else { [].into() };
                    let mount = MountNode {
                        name: Some(name),
                        user_id: None,
                        endpoint,
                        labels,
                        capacity: *capacity,
                        availability: kdaemon_events::node::Availability::Active,
                    };
                    let events = self.submit(Command::MountNode(mount)).unwrap();
                    let Event::NodeMounted(mounted) = &events[0].event else { panic!("not mounted") };
                    self.machines.insert(mounted.node_id, Machine::default());
                    self.probe(mounted.node_id);
                }
            }
            Op::Unmount(n, force) => {
                self.on_node(*n, |node_id| Command::UnmountNode { node_id, force: *force });
            }
            Op::Cordon(n) => self.on_node(*n, Command::CordonNode),
            Op::Uncordon(n) => self.on_node(*n, Command::UncordonNode),
            Op::Drain(n) => self.on_node(*n, Command::DrainNode),
            Op::Break(n) => self.on_machine(*n, |machine| machine.broken = true),
            Op::Repair(n) => self.on_machine(*n, |machine| machine.broken = false),
            Op::RepairAll => {
                self.machines.values_mut().for_each(|machine| machine.broken = false);
                (0..6).for_each(|n| {
                    self.node(n).into_iter().for_each(|id| self.probe(id));
                });
            }
            Op::Wipe(n) => self.on_machine(*n, |machine| machine.has.clear()),
            Op::Flaky(n, flaky) => self.on_machine(*n, |machine| machine.flaky = *flaky),
            Op::CreateApplication { port, zone, resources, volume, replicas, rolling } => {
                let spec = SpecChanges {
                    docker_image: Some("image:1".into()),
                    exposed_ports: port.map(|port| crate::fixture::ports(&format!("{port}:80"))),
                    constraints: zone.then(|| vec!["zone==x".parse().unwrap()]),
                    volumes: volume.then(|| vec!["data:/data".parse().unwrap()]),
                    restart_policy: resources
                        .cpus
                        .is_some_and(|cpus| cpus.0 == 1_000)
                        .then_some(RestartPolicy::OnFailure { max: None }),
                    resources: Some(*resources),
                    ..SpecChanges::default()
                };
                let create = CreateApplication {
                    name: format!("app{}", self.log.len()),
                    user_id: None,
                    spec,
                    is_enabled: true,
                    affinity: Vec::new(),
                    dependencies: Vec::new(),
                    replicas: *replicas,
                    update_policy: if *rolling { UpdatePolicy::Rolling } else { UpdatePolicy::Manual },
                    update: kdaemon_events::application::UpdateSettings::default(),
                };
                if self.cluster.applications().len() < 5 {
                    self.submit(Command::CreateApplication(create)).unwrap();
                }
            }
            Op::UpdateApplication { which, image, resources, enabled } => {
                let Some(application_id) = self.application(*which) else { return };
                let spec = SpecChanges {
                    docker_image: Some(format!("image:{image}")),
                    resources: *resources,
                    ..SpecChanges::default()
                };
                let update = UpdateApplication {
                    application_id,
                    name: None,
                    user_id: None,
                    spec,
                    is_enabled: Some(*enabled),
                    affinity: None,
                    dependencies: None,
                    replicas: None,
                    update_policy: None,
                    update: None,
                };
                self.submit(Command::UpdateApplication(Box::new(update))).unwrap();
            }
            Op::Scale(a, replicas) => {
                if let Some(application_id) = self.application(*a) {
                    let _ = self.submit(Command::ScaleApplication { application_id, replicas: *replicas });
                }
            }
            Op::DeleteApplication(a) => {
                if let Some(id) = self.application(*a) {
                    let _ = self.submit(Command::DeleteApplication(id));
                }
            }
            Op::CreateContainer(a) => {
                if let Some(id) = self.application(*a)
                    && self.cluster.containers().len() < 25
                {
                    let create = CreateContainer {
                        name: None,
                        user_id: None,
                        application: Some(id.to_string()),
                        env_variables: Environment::new(),
                        balance: true,
                    };
                    self.submit(Command::CreateContainer(create)).unwrap();
                }
            }
            Op::UpdateContainer(c, balance, value) => self.on_container(*c, |container_id| {
                Command::UpdateContainer(UpdateContainer {
                    container_id,
                    name: None,
                    user_id: None,
                    application: None,
                    env_variables: Some([("V".to_owned(), value.to_string())].into()),
                    balance: Some(*balance),
                })
            }),
            Op::Launch(c) => self.on_container(*c, Command::LaunchContainer),
            Op::Stop(c) => self.on_container(*c, Command::StopContainer),
            Op::Delete(c) => self.on_container(*c, |container_id| Command::DeleteContainer {
                container_id,
                volumes: c % 4 != 0,
            }),
            Op::Exit(c, code) => {
                if let Some((node_id, placement_id)) = self.placement_id(*c, ContainerState::Running) {
                    self.set(node_id, placement_id, Some(ContainerState::Exited));
                    let exit = Some(Exit { code: *code, out_of_memory: false });
                    self.submit(Command::RecordExited(placement_id, exit)).unwrap();
                }
            }
            Op::RemoveBehind(c) => {
                if let Some((node_id, placement_id)) = self.placement_id(*c, ContainerState::Running) {
                    self.set(node_id, placement_id, None);
                    self.submit(Command::RecordMissing(placement_id)).unwrap();
                }
            }
            Op::StartBehind(c) => {
                if let Some((node_id, placement_id)) = self.placement_id(*c, ContainerState::Exited) {
                    self.set(node_id, placement_id, Some(ContainerState::Running));
                }
            }
            Op::Health(c, healthy) => {
                if let Some((_, placement_id)) = self.placement_id(*c, ContainerState::Running) {
                    self.submit(Command::RecordHealth(placement_id, *healthy)).unwrap();
                }
            }
            Op::Pause(c, paused) => {
                if let Some((_, placement_id)) = self.placement_id(*c, ContainerState::Running) {
                    self.submit(Command::RecordPaused(placement_id, *paused)).unwrap();
                }
            }
            Op::Restart(a) => {
                if let Some(id) = self.application(*a) {
                    let _ = self.submit(Command::RestartApplication(id));
                }
            }
            Op::RollBack(a) => {
                if let Some(application_id) = self.application(*a) {
                    let _ = self.submit(Command::RollBackApplication { application_id, to: None });
                }
            }
            Op::Probe(n) => {
                if let Some(id) = self.node(*n) {
                    self.probe(id);
                }
            }
            Op::Task(index) => {
                let tasks = self.tasks();
                if !tasks.is_empty() {
                    self.perform(tasks[index % tasks.len()]);
                }
            }
            Op::Rebalance => {
                self.submit(Command::Rebalance).unwrap();
            }
            Op::Later(seconds) => self.now += TimeDelta::seconds(*seconds),
        }
    }

    fn node(&self, index: usize) -> Option<NodeId> {
        let all: Vec<_> = self.cluster.nodes().map(|node| node.id).collect();
        (!all.is_empty()).then(|| all[index % all.len()])
    }

    fn application(&self, index: usize) -> Option<ApplicationId> {
        let all: Vec<_> = self.cluster.applications().map(|application| application.id).collect();
        (!all.is_empty()).then(|| all[index % all.len()])
    }

    /// A container in this state on a working machine.
    fn placement_id(&self, index: usize, running: ContainerState) -> Option<(NodeId, PlacementId)> {
        let all: Vec<_> = self
            .machines
            .iter()
            .filter(|(_, machine)| !machine.broken)
            .flat_map(|(id, machine)| {
                machine.has.iter().map(|(placement_id, state)| (*id, *placement_id, *state))
            })
            .filter(|(_, _, state)| *state == running)
            .collect();
        (!all.is_empty()).then(|| all[index % all.len()]).map(|(id, placement_id, _)| (id, placement_id))
    }

    fn on_node(&mut self, index: usize, command: impl FnOnce(NodeId) -> Command) {
        if let Some(id) = self.node(index) {
            let _ = self.submit(command(id)); // refused or not: both are fine
        }
    }

    fn on_container(&mut self, index: usize, command: impl FnOnce(ContainerId) -> Command) {
        let all: Vec<_> = self.cluster.containers().map(|container| container.id).collect();
        if !all.is_empty() {
            let _ = self.submit(command(all[index % all.len()])); // refused or not: both are fine
        }
    }

    fn on_machine(&mut self, index: usize, change: impl FnOnce(&mut Machine)) {
        if let Some(machine) = self.node(index).and_then(|id| self.machines.get_mut(&id)) {
            change(machine);
        }
    }

    fn set(&mut self, node_id: NodeId, placement_id: PlacementId, state: Option<ContainerState>) {
        let Some(machine) = self.machines.get_mut(&node_id) else { return };
        match state {
            Some(state) => machine.has.insert(placement_id, state),
            None => machine.has.remove(&placement_id),
        };
    }

    fn probe(&mut self, node_id: NodeId) {
        let Some(node) = self.cluster.node(node_id).cloned() else { return };
        let machine = &self.machines[&node_id];
        let result = if machine.broken {
            ProbeResult::Failed(Failure::refused("no answer").into())
        } else {
            let own = machine.has.iter().map(|(placement_id, state)| Seen::new(*placement_id, *state));
            let listed = Listed { own: own.collect(), foreign: 0, as_of: self.cluster.seq() };
            ProbeResult::Answered { engine: Some(facts(&node.name)), listed: Some(listed) }
        };
        let endpoint = node.endpoint.clone();
        let probe = Probe { node_id, endpoint, latency: Duration::from_millis(1), result };
        self.submit(Command::RecordProbe(probe)).expect("a probe is never refused");
    }

    /// Everything that is due now.
    pub fn tasks(&self) -> Vec<Task> {
        reconcile::due(&self.cluster, self.now, &PACING).tasks
    }

    pub fn perform(&mut self, task: Task) {
        let command = match task {
            Task::Act(act, placement_id, node_id) => self.act_on_engine(act, placement_id, node_id),
            _ => task.command(),
        };
        let Some(command) = command else { return };
        if let Err(refusal) = self.submit(command) {
            // Its subject may have been removed by the task before it.
            assert!(matches!(refusal, Refusal::NotFound { .. }), "{task:?} was refused: {refusal}");
        }
    }

    /// Does something on a machine; returns what is reported of it, if the machine answers.
    fn act_on_engine(&mut self, act: Act, placement_id: PlacementId, node: NodeId) -> Option<Command> {
        let Machine { broken, flaky, ref has } = self.machines[&node];
        let has_it = has.contains_key(&placement_id);
        let failed = || {
            let failure = LaunchFailure { failure: Failure::refused("no answer"), node_fault: true };
            Some(Command::RecordLaunchFailed(placement_id, failure))
        };
        if act == Act::Launch {
            self.check_predecessors(placement_id);
        }
        match act {
            Act::Launch if broken || flaky => failed(),
            Act::Start | Act::Restart if broken => failed(),
            Act::Stop | Act::Remove | Act::RemoveVolumes if broken => None,
            Act::RemoveVolumes => Some(Command::RecordVolumesRemoved(placement_id.container_id, node)),
            Act::Start | Act::Restart if !has_it => Some(Command::RecordMissing(placement_id)),
            Act::Launch | Act::Start | Act::Restart => {
                self.set(node, placement_id, Some(ContainerState::Running));
                Some(Command::RecordLaunched(placement_id, self.started(placement_id)))
            }
            Act::Stop => {
                self.set(node, placement_id, has_it.then_some(ContainerState::Exited));
                let exit = Exit { code: 143, out_of_memory: false };
                Some(Command::RecordStopped(placement_id, has_it.then_some(exit)))
            }
            Act::Remove => {
                self.set(node, placement_id, None);
                Some(Command::RecordRemoved(placement_id, node))
            }
        }
    }

    /// Some images declare a volume (an image of a plain world does not: its applications have no limits), and some a health check.
    fn started(&self, PlacementId { container_id, .. }: PlacementId) -> Launched {
        let kind = container_id.0.as_bytes()[15] % 8;
        let spec = self.cluster.spec_of(self.cluster.container(container_id).unwrap());
        let has_volume = spec.resources.cpus.is_some();
        let volume = AnonymousVolume { name: format!("volume-of-{container_id}"), target: "/data".into() };
        Launched {
            engine_id: "e".into(),
            image_id: "i".into(),
            ports: Vec::new(),
            volumes: if has_volume { vec![volume] } else { Vec::new() },
            health_check: kind > 5,
            started_at: None,
        }
    }

    /// No older generation of a container runs on a node that can be reached, but one that serves until this one is UP.
    fn check_predecessors(&self, placement_id: PlacementId) {
        let container = self.cluster.container(placement_id.container_id).unwrap();
        let holds =
            |generation| container.retired.iter().any(|r| r.held && r.placement.generation == generation);
        for node in self.cluster.nodes().filter(|node| node.health == Health::Up) {
            for (other, state) in &self.machines[&node.id].has {
                let is_older =
                    other.container_id == container.id && other.generation < placement_id.generation;
                // A container that another client started is found by the next probe.
                let is_known = container.placement_of(other.generation).is_some_and(|p| p.node_id == node.id);
                assert!(
                    !(is_older && is_known && *state == ContainerState::Running) || holds(other.generation),
                    "{placement_id:?} is launched next to {other:?} on {}",
                    node.name
                );
            }
        }
    }

    /// The reactors work until nothing is left to do.
    pub fn settle(&mut self) {
        for machine in self.machines.values_mut() {
            machine.flaky = false;
        }
        let mut quiet = 0;
        for _ in 0..300 {
            let before = self.log.len();
            self.now += TimeDelta::seconds(120);
            let nodes: Vec<_> = self.cluster.nodes().map(|node| node.id).collect();
            for id in nodes {
                self.probe(id);
            }
            self.recover();
            for task in self.tasks() {
                self.perform(task);
            }
            let news = self.log[before..].iter().any(|envelope| !envelope.event.is_observation());
            quiet = if news { 0 } else { quiet + 1 };
            if quiet == 4 {
                return;
            }
        }
        let last: Vec<_> = self
            .log
            .iter()
            .rev()
            .filter(|envelope| !envelope.event.is_observation())
            .take(12)
            .map(|envelope| format!("{:?}", envelope.event))
            .collect();
        panic!("it never comes to rest; the last that happened, newest first:\n{}", last.join("\n"));
    }

    /// Every process that runs is healthy in the end, and none stays paused.
    fn recover(&mut self) {
        let running =
            self.machines.values().filter(|machine| !machine.broken).flat_map(|machine| &machine.has);
        let running = running.filter(|(_, state)| **state == ContainerState::Running);
        let running: Vec<_> = running.map(|(placement_id, _)| *placement_id).collect();
        for placement_id in running {
            let container = self.cluster.container(placement_id.container_id);
            let placement = container.and_then(|container| container.placement_of(placement_id.generation));
            let Some((health, paused)) = placement.map(|p| (p.health, p.paused)) else { continue };
            if paused {
                self.submit(Command::RecordPaused(placement_id, false)).unwrap();
            }
            if matches!(health, ContainerHealth::Starting | ContainerHealth::Unhealthy) {
                self.submit(Command::RecordHealth(placement_id, true)).unwrap();
            }
        }
    }

    /// At rest, each machine runs exactly the wanted containers.
    pub fn check_settled(&self) {
        for node in self.cluster.nodes().filter(|node| node.health == Health::Up) {
            let machine = &self.machines[&node.id];
            let mut wanted: BTreeMap<PlacementId, bool> = BTreeMap::new();
            for c in self.cluster.containers() {
                for retired in c.retired.iter().filter(|retired| retired.placement.node_id == node.id) {
                    // It keeps serving while its successor cannot be placed.
                    let serves = retired.held
                        && c.desired == Desired::Running
                        && (c.lost || c.phase.kind() != PhaseKind::Up);
                    assert!(serves, "{} is not cleaned up on {}: {c:#?}", c.name, node.name);
                    let generation = retired.placement.generation;
                    wanted.insert(PlacementId { container_id: c.id, generation }, true);
                }
                if let Some(p) = c.placement.as_ref().filter(|p| p.node_id == node.id) {
                    let placement_id = PlacementId { container_id: c.id, generation: p.generation };
                    wanted.insert(placement_id, c.phase.kind() == PhaseKind::Up);
                    assert!(
                        c.phase.kind() == PhaseKind::Up || c.phase.kind().is_over(),
                        "{} is {:?}",
                        c.name,
                        c.phase.kind()
                    );
                }
            }
            for (placement_id, running) in &machine.has {
                let up = wanted.get(placement_id);
                assert!(up.is_some(), "{placement_id:?} is on {} without being wanted", node.name);
                assert_eq!(
                    up == Some(&true),
                    *running == ContainerState::Running,
                    "{placement_id:?} on {}",
                    node.name
                );
            }
            for (placement_id, up) in wanted {
                assert!(
                    !up || machine.has.contains_key(&placement_id),
                    "{placement_id:?} is not on {}",
                    node.name
                );
            }
        }
        for c in self.cluster.containers() {
            assert!(c.desired != Desired::Deleted, "{} was to be deleted", c.name);
            if c.desired == Desired::Running {
                let explained = c.reason.is_some();
                assert!(c.status() == Status::Up || explained, "{} is {:?}", c.name, c.status());
            }
        }
    }

    /// The counts of the eligible nodes.
    pub fn spread(&self) -> (u32, u32) {
        let counts = || self.cluster.nodes().filter(|n| n.is_eligible()).map(|n| n.container_count());
        (counts().min().unwrap_or(0), counts().max().unwrap_or(0))
    }
}

/// Generations only increase, and a container never returns to a lower one except by adoption.
fn check_generations(before: &Cluster, after: &Cluster) {
    for container in after.containers() {
        let old = before.container(container.id).map_or(Generation(0), |c| c.generation);
        assert!(container.generation >= old, "the generation of {} fell", container.name);
    }
}
