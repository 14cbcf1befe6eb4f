//! A model: commands run through the real decisions and through a naive reference, and the results are
//! compared.
//!
//! The reference knows nodes and containers by their number. It determines where each container is, by the
//! simplest form of the rules; other properties cover what it leaves out (ports, resources, preferences).

use crate::cluster::cases;
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_control::commands::{
    Command, Context, CreateApplication, CreateContainer, Decision, Listed, MountNode, Policy, Probe,
    ProbeResult, Refusal, Seen, decide,
};
use kdaemon_control::observed::{ContainerState, Launched};
use kdaemon_events::failure::Failure;
use kdaemon_events::{Actor, ClusterId, ContainerId, Event, NodeId, PlacementId, SpecChanges, UpdatePolicy};
use kdaemon_projections::{Cluster, Desired, PhaseKind, Status};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The applications: `free` runs anywhere, `zoned` in zone a, `apart` at most once on a node.
const APPLICATIONS: [&str; 3] = ["free", "zoned", "apart"];

#[derive(Debug, Clone)]
struct ANode {
    in_zone_a: bool,
    capacity: Option<usize>,
    is_up: bool,
    is_cordoned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Stopped.
    Stopped,
    /// Wanted to run, without a node or on a lost one.
    Waiting,
    /// Runs on this node.
    On(usize),
}

#[derive(Debug, Clone)]
struct AContainer {
    application: usize,
    at: At,
    is_deleted: bool,
    /// The node on which it was lost, until it is replaced.
    lost_on: Option<usize>,
    /// Where its process was stopped, and still is.
    stopped_on: Option<usize>,
}

/// The naive cluster.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    nodes: Vec<ANode>,
    containers: Vec<AContainer>,
}

#[derive(Debug, Clone)]
pub enum Transition {
    Mount { in_zone_a: bool, capacity: Option<usize> },
    Fail(usize),
    Return(usize),
    Cordon(usize),
    Uncordon(usize),
    Create(usize),
    Launch(usize),
    Stop(usize),
    Delete(usize),
}

impl Reference {
    fn count(&self, node: usize) -> usize {
        let counts = |c: &&AContainer| !c.is_deleted && (c.at == At::On(node) || c.lost_on == Some(node));
        self.containers.iter().filter(counts).count()
    }

    fn admits(&self, application: usize, node: usize) -> bool {
        let a_node = &self.nodes[node];
        let has_one = |c: &AContainer| !c.is_deleted && c.application == application && c.at == At::On(node);
        a_node.is_up
            && !a_node.is_cordoned
            && a_node.capacity.is_none_or(|capacity| self.count(node) < capacity)
            && (APPLICATIONS[application] != "zoned" || a_node.in_zone_a)
            && (APPLICATIONS[application] != "apart" || !self.containers.iter().any(has_one))
    }

    fn best(&self, application: usize) -> Option<usize> {
        let fitting = (0..self.nodes.len()).filter(|node| self.admits(application, *node));
        fitting.min_by_key(|node| (self.count(*node), *node))
    }

    /// Waiting containers are placed when there is a node: the ones of the first failed node before the ones
    /// of the next, as nodes are evacuated one after another.
    fn place_waiting(&mut self) {
        let mut order: Vec<_> = (0..self.containers.len()).collect();
        order.sort_by_key(|number| self.containers[*number].lost_on);
        for number in order {
            let c = &self.containers[number];
            if !c.is_deleted
                && c.at == At::Waiting
                && let Some(node) = self.best(c.application)
            {
                self.containers[number].at = At::On(node);
                self.containers[number].lost_on = None;
            }
        }
    }

    fn live(&self, number: usize) -> Option<&AContainer> {
        self.containers.get(number).filter(|c| !c.is_deleted)
    }

    fn down(&self) -> usize {
        self.nodes.iter().filter(|node| !node.is_up).count()
    }
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Transition> {
        let node = || 0..state.nodes.len().max(1);
        let container = || 0..state.containers.len().max(1);
        prop_oneof![
            3 => (any::<bool>(), prop::option::of(0_usize..4))
                .prop_map(|(in_zone_a, capacity)| Transition::Mount { in_zone_a, capacity }),
            3 => node().prop_map(Transition::Fail),
            3 => node().prop_map(Transition::Return),
            1 => node().prop_map(Transition::Cordon),
            1 => node().prop_map(Transition::Uncordon),
            6 => (0..APPLICATIONS.len()).prop_map(Transition::Create),
            8 => container().prop_map(Transition::Launch),
            2 => container().prop_map(Transition::Stop),
            2 => container().prop_map(Transition::Delete),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, transition: &Transition) -> bool {
        match transition {
            Transition::Mount { .. } => state.nodes.len() < 6,
            // More than half down at once counts as a failure of our own network, which other tests cover.
            Transition::Fail(n) => {
                state.nodes.get(*n).is_some_and(|node| node.is_up)
                    && (state.down() + 1) * 2 <= state.nodes.len()
            }
            Transition::Return(n) => state.nodes.get(*n).is_some_and(|node| !node.is_up),
            Transition::Cordon(n) => state.nodes.get(*n).is_some_and(|node| !node.is_cordoned),
            Transition::Uncordon(n) => state.nodes.get(*n).is_some_and(|node| node.is_cordoned),
            Transition::Create(_) => state.containers.len() < 16,
            Transition::Launch(c) => state.live(*c).is_some_and(|c| c.at == At::Stopped),
            // Stopping lost containers of a returning node is covered by other tests, too.
            Transition::Stop(c) => state.live(*c).is_some_and(|c| matches!(c.at, At::On(_))),
            Transition::Delete(c) => state.live(*c).is_some_and(|c| c.lost_on.is_none()),
        }
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        match transition {
            Transition::Mount { in_zone_a, capacity } => {
                let (in_zone_a, capacity) = (*in_zone_a, *capacity);
                state.nodes.push(ANode { in_zone_a, capacity, is_up: true, is_cordoned: false });
            }
            Transition::Fail(node) => {
                state.nodes[*node].is_up = false;
                for c in &mut state.containers {
                    if c.at == At::On(*node) {
                        c.at = At::Waiting;
                        c.lost_on = Some(*node);
                    }
                }
            }
            Transition::Return(node) => {
                state.nodes[*node].is_up = true;
                for c in state.containers.iter_mut().filter(|c| c.lost_on == Some(*node) && !c.is_deleted) {
                    (c.at, c.lost_on) = (At::On(*node), None);
                }
            }
            Transition::Cordon(node) => state.nodes[*node].is_cordoned = true,
            Transition::Uncordon(node) => state.nodes[*node].is_cordoned = false,
            Transition::Create(application) => {
                let application = *application;
                state.containers.push(AContainer {
                    application,
                    at: At::Stopped,
                    is_deleted: false,
                    lost_on: None,
                    stopped_on: None,
                });
            }
            Transition::Launch(c) => {
                let AContainer { application, stopped_on, .. } = state.containers[*c];
                // It is started again where it is, if that node still takes it.
                let kept = stopped_on.filter(|node| state.admits(application, *node));
                if let Some(node) = kept.or_else(|| state.best(application)) {
                    state.containers[*c].at = At::On(node);
                }
            }
            Transition::Stop(c) => {
                let c = &mut state.containers[*c];
                c.stopped_on = if let At::On(node) = c.at { Some(node) } else { None };
                c.at = At::Stopped;
            }
            Transition::Delete(c) => {
                state.containers[*c].is_deleted = true;
                state.containers[*c].at = At::Stopped;
            }
        }
        state.place_waiting();
        state
    }
}

/// The real decisions, with an executor that does at once what the reactors would do.
pub struct Real {
    cluster: Cluster,
    nodes: Vec<NodeId>,
    containers: Vec<ContainerId>,
    /// The containers that each machine runs.
    machines: BTreeMap<NodeId, (bool, Vec<PlacementId>)>,
    /// The stopped containers that the machines have.
    stopped: BTreeSet<PlacementId>,
    now: DateTime<Utc>,
    drawn: u128,
    policy: Arc<Policy>,
}

impl Real {
    fn submit(&mut self, command: Command) -> Result<Vec<Event>, Refusal> {
        self.drawn += 1;
        let context = Context {
            actor: Actor::Anonymous,
            request_id: None,
            cause: None,
            term: None,
            precondition: None,
            now: self.now,
            seed: Uuid::from_u128(self.drawn << 64),
            policy: Arc::clone(&self.policy),
        };
        let Decision { events, cluster, .. } = decide(&self.cluster, command, &context)?;
        let folded = self.cluster.clone().fold(&events);
        assert!(folded == cluster, "the decided state is the fold of its events");
        self.cluster = cluster;
        Ok(events.into_iter().map(|envelope| envelope.event).collect())
    }

    fn probe(&mut self, node: usize) {
        let node_id = self.nodes[node];
        let (is_up, runs) = &self.machines[&node_id];
        let result = if *is_up {
            let own = runs
                .iter()
                .map(|placement_id| {
                    let is_stopped = self.stopped.contains(placement_id);
                    let state = if is_stopped { ContainerState::Exited } else { ContainerState::Running };
                    Seen::new(*placement_id, state)
                })
                .collect();
            let listed = Some(Listed { own, foreign: 0, as_of: self.cluster.seq() });
            ProbeResult::Answered { engine: None, listed }
        } else {
            ProbeResult::Failed(Failure::refused("no answer").into())
        };
        let endpoint = self.cluster.node(node_id).unwrap().endpoint.clone();
        let probe = Probe { node_id, endpoint, latency: Duration::from_millis(1), result };
        self.submit(Command::RecordProbe(probe)).expect("a probe is never refused");
    }

    /// Lets the reactors work until no task is due: in the order of the nodes, then of the containers, as the
    /// reference does.
    fn settle(&mut self) {
        for _ in 0..4 {
            for node in 0..self.nodes.len() {
                if !self.machines[&self.nodes[node]].0 {
                    self.submit(Command::EvacuateNode(self.nodes[node])).unwrap();
                }
            }
            for node in self.nodes.clone() {
                if !self.machines[&node].0 {
                    continue;
                }
                for orphan in self.cluster.node(node).unwrap().orphans.clone() {
                    let placement_id =
                        PlacementId { container_id: orphan.container_id, generation: orphan.generation };
                    self.machines.get_mut(&node).unwrap().1.retain(|other| *other != placement_id);
                    self.submit(Command::RecordRemoved(placement_id, node)).unwrap();
                }
            }
            for id in self.containers.clone() {
                let Some(c) = self.cluster.container(id).cloned() else { continue };
                if c.phase.kind() == PhaseKind::Waiting {
                    self.submit(Command::PlaceContainer(id)).unwrap();
                }
                let Some(c) = self.cluster.container(id).cloned() else { continue };
                if let Some(p) = c.placement.as_ref().filter(|p| self.machines[&p.node_id].0) {
                    let placement_id = PlacementId { container_id: id, generation: p.generation };
                    let machine = &mut self.machines.get_mut(&p.node_id).unwrap().1;
                    if matches!(c.phase.kind(), PhaseKind::Placed | PhaseKind::Restarting) {
                        if !self.stopped.remove(&placement_id) {
                            machine.push(placement_id);
                        }
                        let ports = Vec::new();
                        let (engine_id, image_id) = ("e".into(), "i".into());
                        let launched = Launched {
                            engine_id,
                            image_id,
                            ports,
                            volumes: Vec::new(),
                            health_check: false,
                            started_at: None,
                        };
                        self.submit(Command::RecordLaunched(placement_id, launched)).unwrap();
                    } else if c.phase.kind() == PhaseKind::Stopping {
                        self.stopped.insert(placement_id);
                        self.submit(Command::RecordStopped(placement_id, None)).unwrap();
                    }
                }
                let Some(c) = self.cluster.container(id).cloned() else { continue };
                for retired in &c.retired {
                    let node = retired.placement.node_id;
                    if self.machines[&node].0 && !retired.held {
                        let placement_id =
                            PlacementId { container_id: id, generation: retired.placement.generation };
                        self.machines.get_mut(&node).unwrap().1.retain(|other| *other != placement_id);
                        self.submit(Command::RecordRemoved(placement_id, node)).unwrap();
                    }
                }
                let is_gone = self.cluster.container(id).is_some_and(|c| {
                    c.desired == Desired::Deleted && c.retired.is_empty() && c.placement.is_none()
                });
                if is_gone {
                    self.submit(Command::FinishDelete(id)).unwrap();
                }
            }
        }
    }
}

pub struct Compared;

impl StateMachineTest for Compared {
    type SystemUnderTest = Real;
    type Reference = Reference;

    fn init_test(_: &Reference) -> Real {
        let mut real = Real {
            cluster: Cluster::default(),
            nodes: Vec::new(),
            containers: Vec::new(),
            machines: BTreeMap::new(),
            stopped: BTreeSet::new(),
            now: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            drawn: 0,
            policy: Arc::new(Policy::default()),
        };
        real.submit(Command::CreateCluster(ClusterId(Uuid::from_u128(1)))).unwrap();
        for name in APPLICATIONS {
            let spec = SpecChanges {
                docker_image: Some("image".into()),
                constraints: (name == "zoned").then(|| vec!["zone==a".parse().unwrap()]),
                anti_affinity: Some(name == "apart"),
                ..SpecChanges::default()
            };
            let create = CreateApplication {
                name: name.into(),
                user_id: None,
                spec,
                is_enabled: true,
                affinity: Vec::new(),
                dependencies: Vec::new(),
                replicas: None,
                update_policy: UpdatePolicy::Manual,
                update: kdaemon_events::application::UpdateSettings::default(),
            };
            real.submit(Command::CreateApplication(create)).unwrap();
        }
        real
    }

    fn apply(mut real: Real, reference: &Reference, transition: Transition) -> Real {
        // Late enough that no return of a node counts as one of a series, and that later ids are higher.
        real.now += TimeDelta::hours(2);
        match transition {
            Transition::Mount { in_zone_a, capacity } => {
                let name = format!("n{}", real.nodes.len());
                let zone = if in_zone_a { "a" } else { "b" };
                let mount = MountNode {
                    availability: kdaemon_events::node::Availability::Active,
                    name: Some(name.clone()),
                    user_id: None,
                    endpoint: format!("tcp://{name}:2375").parse().unwrap(),
                    labels: [("zone".to_owned(), zone.to_owned())].into(),
                    capacity: capacity.map(|capacity| u32::try_from(capacity).unwrap()),
                };
                let events = real.submit(Command::MountNode(mount)).unwrap();
                let Event::NodeMounted(mounted) = &events[0] else { panic!("not mounted") };
                real.nodes.push(mounted.node_id);
                real.machines.insert(mounted.node_id, (true, Vec::new()));
                real.probe(real.nodes.len() - 1);
            }
            Transition::Fail(node) => {
                real.machines.get_mut(&real.nodes[node]).unwrap().0 = false;
                (0..3).for_each(|_| real.probe(node));
            }
            Transition::Return(node) => {
                real.machines.get_mut(&real.nodes[node]).unwrap().0 = true;
                (0..2).for_each(|_| real.probe(node));
            }
            Transition::Cordon(node) => drop(real.submit(Command::CordonNode(real.nodes[node])).unwrap()),
            Transition::Uncordon(node) => drop(real.submit(Command::UncordonNode(real.nodes[node])).unwrap()),
            Transition::Create(application) => {
                let create = CreateContainer {
                    name: None,
                    user_id: None,
                    application: Some(APPLICATIONS[application].into()),
                    env_variables: BTreeMap::new(),
                    balance: true,
                };
                let events = real.submit(Command::CreateContainer(create)).unwrap();
                let Event::ContainerCreated(created) = &events[0] else { panic!("not created") };
                real.containers.push(created.container_id);
            }
            Transition::Launch(c) => {
                let launched = real.submit(Command::LaunchContainer(real.containers[c]));
                // It runs now in the reference, or there was no node.
                let placed = matches!(reference.containers[c].at, At::On(_));
                match launched {
                    Ok(_) => assert!(placed, "launched, though no node fits"),
                    Err(Refusal::NoNodeFits(nodes)) => {
                        assert!(!placed, "refused: {nodes:?}");
                        assert_eq!(
                            nodes.rejected.len(),
                            real.nodes.len(),
                            "each node is rejected with a reason"
                        );
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            Transition::Stop(c) => drop(real.submit(Command::StopContainer(real.containers[c])).unwrap()),
            Transition::Delete(c) => drop(
                real.submit(Command::DeleteContainer { container_id: real.containers[c], volumes: false })
                    .unwrap(),
            ),
        }
        real.settle();
        real
    }

    fn check_invariants(real: &Real, reference: &Reference) {
        for (number, expected) in reference.containers.iter().enumerate() {
            let c = real.cluster.container(real.containers[number]);
            if expected.is_deleted {
                assert!(c.is_none(), "c{number} is deleted");
                continue;
            }
            let c = c.expect("a container that was not deleted");
            let on = c.placement.as_ref().map(|p| p.node_id).filter(|_| c.status() == Status::Up);
            let expected_on = match expected.at {
                At::On(node) => Some(real.nodes[node]),
                At::Stopped | At::Waiting => None,
            };
            assert_eq!(on, expected_on, "c{number} {expected:?}: {c:#?}");
            assert_eq!(c.desired == Desired::Running, expected.at != At::Stopped, "c{number}");
        }
        // Each working machine runs exactly the containers of the reference.
        for (number, id) in real.nodes.iter().enumerate().filter(|(number, _)| reference.nodes[*number].is_up)
        {
            let expected = reference.containers.iter().filter(|c| !c.is_deleted && c.at == At::On(number));
            let runs = real.machines[id].1.iter().filter(|placement_id| !real.stopped.contains(placement_id));
            assert_eq!(runs.count(), expected.count(), "what n{number} runs");
        }
    }
}

prop_state_machine! {
    #![proptest_config(cases())]

    #[test]
    fn decisions_equal_a_naive_cluster(sequential 1..40 => Compared);
}
