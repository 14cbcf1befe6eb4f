//! The fixture: a cluster described in a few words, a command, and its events as text.
//!
//! An event is compared as its kind and its data, the keys in order: `ContainerPlaced container=c generation=1
//! node=a (0; b down)`. Ids stand there as the names of what they belong to, times as the distance from now.

use crate::written;
use chrono::{DateTime, TimeDelta};
use kdaemon_control::commands::{
    Command, Context, CreateApplication, CreateContainer, Decision, LaunchFailure, Listed, MountNode, Policy,
    Probe, ProbeResult, Refusal, Seen, UpdateApplication, UpdateContainer, UpdateNode, decide,
};
use kdaemon_control::observed::{ContainerState, Exit, Launched};
use kdaemon_events::application::{
    ApplicationCreated, ApplicationScaled, ApplicationUpdated, UpdateSettings,
};
use kdaemon_events::cluster::{ClusterCreated, MigrationsPaused};
use kdaemon_events::container::{
    ContainerCreated, ContainerExited, ContainerLaunchAbandoned, ContainerLaunchFailed,
    ContainerLaunchRequested, ContainerLaunched, ContainerMigrationCommanded, ContainerPlaced,
    ContainerReady, ContainerStopRequested, ContainerStopped, MigrationReason,
};
use kdaemon_events::failure::{Failure, ProbeFailure};
use kdaemon_events::node::{
    EngineFacts, NodeCordoned, NodeDrainStarted, NodeHealthy, NodeMounted, NodeObserved, NodeUnhealthy,
    NodeUpdated, ProbeOutcome,
};
use kdaemon_events::{
    Actor, ApplicationId, ClusterId, ContainerId, Endpoint, Envelope, Environment, Event, EventId,
    Generation, MilliCpus, NodeId, PlacementId, PortSpec, Seq, Spec, SpecChanges, UpdatePolicy,
};
use kdaemon_projections::{Cluster, Container, Node, Touched};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// An id that sorts as its name does.
fn id(name: &str, kind: u8) -> Uuid {
    assert!(name.len() < 16, "{name} is too long for a name in a test");
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[15] = kind;
    Uuid::from_bytes(bytes)
}

pub fn node(name: &str) -> NodeId {
    NodeId(id(name, 1))
}

pub fn application(name: &str) -> ApplicationId {
    ApplicationId(id(name, 2))
}

pub fn container(name: &str) -> ContainerId {
    ContainerId(id(name, 3))
}

pub fn placement_id(name: &str, generation: u32) -> PlacementId {
    PlacementId { container_id: container(name), generation: Generation(generation) }
}

pub fn endpoint(name: &str) -> Endpoint {
    format!("tcp://{name}:2375").parse().unwrap()
}

/// An engine with 4 processors and 8 GB.
pub fn facts(name: &str) -> EngineFacts {
    EngineFacts {
        kind: "docker".into(),
        version: "28.0".into(),
        api_version: "1.48".into(),
        cpus: MilliCpus(4_000),
        memory_bytes: 8_000_000_000,
        platform: "linux/amd64".into(),
        engine_id: format!("engine-{name}"),
    }
}

/// The given state.
#[derive(Clone)]
pub struct Given {
    pub cluster: Cluster,
    pub log: Vec<Envelope>,
    pub context: Context,
    node: NodeId,
    application: ApplicationId,
    container: ContainerId,
}

impl Given {
    pub fn nothing() -> Self {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        Self {
            cluster: Cluster::default(),
            log: Vec::new(),
            context: Context {
                actor: Actor::Anonymous,
                request_id: None,
                cause: None,
                term: None,
                precondition: None,
                now,
                seed: Uuid::from_u128(1),
                policy: Arc::new(Policy::default()),
            },
            node: node("none"),
            application: application("none"),
            container: container("none"),
        }
    }

    pub fn cluster() -> Self {
        Self::nothing().event(ClusterCreated { cluster_id: ClusterId(Uuid::from_u128(7)) })
    }

    pub fn event(mut self, event: impl Into<Event>) -> Self {
        let seq = self.cluster.seq().next();
        let envelope = Envelope {
            seq,
            id: EventId(Uuid::from_u128(u128::from(seq.0))),
            at: self.context.now,
            actor: Actor::Anonymous,
            request_id: None,
            cause: None,
            event: event.into(),
        };
        self.cluster.apply(&envelope, &mut Touched::default());
        self.log.push(envelope);
        self
    }

    pub fn seconds_later(mut self, seconds: i64) -> Self {
        self.context.now += TimeDelta::seconds(seconds);
        self
    }

    pub fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(Arc::make_mut(&mut self.context.policy));
        self
    }

    pub fn context(mut self, change: impl FnOnce(&mut Context)) -> Self {
        change(&mut self.context);
        self
    }

    // Adds nodes: each call after `node` applies to that node.

    pub fn node(mut self, name: &str) -> Self {
        self.node = node(name);
        self.event(NodeMounted {
            node_id: node(name),
            name: name.into(),
            user_id: None,
            endpoint: endpoint(name),
            labels: BTreeMap::new(),
            capacity: None,
        })
    }

    /// Nodes that are UP.
    pub fn nodes<const N: usize>(self, names: [&str; N]) -> Self {
        names.into_iter().fold(self, |given, name| given.node(name).up())
    }

    pub fn up(self) -> Self {
        let node_id = self.node;
        let name = self.cluster.node(node_id).unwrap().name.clone();
        self.event(NodeObserved {
            node_id,
            outcome: ProbeOutcome::Answered { running: None, foreign: None },
            latency_ms: 1,
            engine: Some(Box::new(facts(&name))),
            orphans: Vec::new(),
        })
        .event(NodeHealthy { node_id, successes: 1 })
    }

    /// The node goes down, with everything on it.
    pub fn node_down(mut self, name: &str) -> Self {
        self.node = node(name);
        self.event(NodeObserved {
            node_id: node(name),
            outcome: ProbeOutcome::Failed { failure: no_route() },
            latency_ms: 1,
            engine: None,
            orphans: Vec::new(),
        })
        .event(NodeUnhealthy { node_id: node(name), failures: 3, failure: no_route() })
    }

    pub fn labelled(self, key: &str, value: &str) -> Self {
        let labels = Some([(key.to_owned(), value.to_owned())].into());
        let node_id = self.node;
        self.event(NodeUpdated { labels, ..unchanged_node(node_id) })
    }

    pub fn capacity(self, capacity: u32) -> Self {
        let node_id = self.node;
        self.event(NodeUpdated { capacity: Some(Some(capacity)), ..unchanged_node(node_id) })
    }

    pub fn cordoned(self) -> Self {
        let node_id = self.node;
        self.event(NodeCordoned { node_id })
    }

    pub fn draining(self, name: &str) -> Self {
        self.event(NodeDrainStarted { node_id: node(name), then_unmount: false })
    }

    pub fn unmounting(self, name: &str) -> Self {
        self.event(NodeDrainStarted { node_id: node(name), then_unmount: true })
    }

    pub fn paused(self) -> Self {
        self.event(MigrationsPaused { unhealthy: 2, nodes: 3 })
    }

    // Adds applications: each call after `application` applies to that application.

    pub fn application(mut self, name: &str) -> Self {
        self.application = application(name);
        self.event(ApplicationCreated {
            application_id: application(name),
            name: name.into(),
            user_id: None,
            spec: Box::new(Spec { docker_image: "image:1".into(), ..Spec::default() }),
            is_enabled: true,
            dependencies: Vec::new(),
            replicas: None,
            update_policy: UpdatePolicy::Manual,
            update: kdaemon_events::application::UpdateSettings::default(),
        })
    }

    pub fn spec(self, change: impl FnOnce(&mut Spec)) -> Self {
        let mut spec = (*self.cluster.application(self.application).unwrap().spec).clone();
        change(&mut spec);
        let id = self.application;
        self.event(ApplicationUpdated { spec: Some(Box::new(spec)), ..unchanged_application(id) })
    }

    /// Publishes ports, in the form that people write.
    pub fn ports(self, text: &str) -> Self {
        self.spec(|spec| spec.exposed_ports = ports(text))
    }

    pub fn rolling(self) -> Self {
        let id = self.application;
        let update_policy = Some(UpdatePolicy::Rolling);
        self.event(ApplicationUpdated { update_policy, ..unchanged_application(id) })
    }

    pub fn update(self, settings: UpdateSettings) -> Self {
        let id = self.application;
        self.event(ApplicationUpdated { update: Some(settings), ..unchanged_application(id) })
    }

    pub fn disabled(self) -> Self {
        let id = self.application;
        self.event(ApplicationUpdated { is_enabled: Some(false), ..unchanged_application(id) })
    }

    pub fn needs(self, name: &str) -> Self {
        let id = self.application;
        let dependencies = Some(vec![application(name)]);
        self.event(ApplicationUpdated { dependencies, ..unchanged_application(id) })
    }

    pub fn replicas(self, replicas: u32) -> Self {
        let application_id = self.application;
        self.event(ApplicationScaled { application_id, replicas: Some(replicas) })
    }

    // Adds containers of that application: each call after `container` applies to that container.

    pub fn container(mut self, name: &str) -> Self {
        self.container = container(name);
        let application_id = Some(self.application);
        self.event(ContainerCreated { application_id, ..bare_container(name) })
    }

    pub fn replica(mut self, name: &str) -> Self {
        self.container = container(name);
        let application_id = Some(self.application);
        self.event(ContainerCreated { application_id, replica: true, ..bare_container(name) })
    }

    /// A container without an application.
    pub fn bare(mut self, name: &str) -> Self {
        self.container = container(name);
        self.event(bare_container(name))
    }

    /// The calls that follow apply to this container.
    pub fn then_container(mut self, name: &str) -> Self {
        self.container = container(name);
        self
    }

    pub fn waiting(self) -> Self {
        let container_id = self.container;
        self.event(ContainerLaunchRequested { container_id, generation: None })
    }

    pub fn placed_on(self, name: &str) -> Self {
        let container_id = self.container;
        let generation = self.cluster.container(container_id).unwrap().generation.next();
        self.waiting().event(ContainerPlaced {
            container_id,
            generation,
            node_id: node(name),
            evaluation: Box::default(),
        })
    }

    pub fn up_on(self, name: &str) -> Self {
        self.placed_on(name).launched()
    }

    /// Starts the wanted placement, which serves.
    pub fn launched(self) -> Self {
        let given = self.started(false);
        let (container_id, generation) = (given.container, given.generation());
        given.event(ContainerReady { container_id, generation })
    }

    /// Starts the wanted placement, which does not serve yet.
    pub fn started(self, health_check: bool) -> Self {
        let container_id = self.container;
        let placement = self.cluster.container(container_id).unwrap().placement.clone().unwrap();
        self.event(ContainerLaunched {
            container_id,
            generation: placement.generation,
            node_id: placement.node_id,
            engine_id: format!("engine-{}", placement.generation),
            image_id: "sha256:1".into(),
            ports: Vec::new(),
            volumes: Vec::new(),
            health_check,
            access_link: None,
        })
    }

    /// Containers that are UP.
    pub fn running<'n>(self, names: impl IntoIterator<Item = &'n str>, on: &str) -> Self {
        names.into_iter().fold(self, |given, name| given.container(name).up_on(on))
    }

    pub fn stopping(self) -> Self {
        let container_id = self.container;
        self.event(ContainerStopRequested { container_id, then_delete: false, volumes: false })
    }

    pub fn down_on(self, name: &str) -> Self {
        let container_id = self.container;
        self.up_on(name).stopping().event(ContainerStopped {
            container_id,
            generation: None,
            exit_code: Some(0),
        })
    }

    pub fn deleting(self) -> Self {
        let container_id = self.container;
        self.event(ContainerStopRequested { container_id, then_delete: true, volumes: false })
    }

    pub fn failed(self) -> Self {
        let (container_id, generation) = (self.container, self.generation());
        let node_id = self.current().placement.as_ref().map_or(NodeId(Uuid::nil()), |p| p.node_id);
        let retry_at = self.context.now + TimeDelta::seconds(8);
        self.event(ContainerLaunchAbandoned {
            container_id,
            generation,
            node_id,
            failure: Failure::refused("no such image"),
            node_fault: false,
            attempt: 5,
            retry_at,
        })
    }

    /// This many launches failed, the last just now.
    pub fn launch_failed(self, attempt: u32, node_fault: bool) -> Self {
        let container_id = self.container;
        let (generation, now) = (self.generation(), self.context.now);
        let node_id = self.current().placement.as_ref().map_or(NodeId(Uuid::nil()), |p| p.node_id);
        self.event(ContainerLaunchFailed {
            container_id,
            generation,
            node_id,
            failure: Failure::refused("it did not work"),
            node_fault,
            attempt,
            retry_at: now,
        })
    }

    /// Exits and restarts, this many times in a row.
    pub fn exited_times(self, times: u32) -> Self {
        (0..times).fold(self, |given, _| {
            let (container_id, now, generation) = (given.container, given.context.now, given.generation());
            let node_id = given.current().placement.as_ref().unwrap().node_id;
            given
                .event(ContainerExited {
                    container_id,
                    generation,
                    node_id,
                    exit_code: Some(1),
                    out_of_memory: false,
                    restart_at: Some(now),
                })
                .launched()
        })
    }

    pub fn moving_to(self, name: &str, reason: MigrationReason, start_first: bool) -> Self {
        let container_id = self.container;
        let placement = self.current().placement.clone().unwrap();
        let generation = self.generation().next();
        self.event(ContainerMigrationCommanded {
            container_id,
            from_node_id: placement.node_id,
            from_generation: placement.generation,
            node_id: node(name),
            generation,
            reason,
            start_first,
            evaluation: None,
        })
    }

    fn current(&self) -> &Container {
        self.cluster.container(self.container).unwrap()
    }

    fn generation(&self) -> Generation {
        self.current().generation
    }

    /// Submits the command.
    pub fn when(self, command: Command) -> Then {
        let result = decide(&self.cluster, command, &self.context);
        Then { given: self, result }
    }
}

fn bare_container(name: &str) -> ContainerCreated {
    ContainerCreated {
        container_id: container(name),
        name: name.into(),
        user_id: None,
        application_id: None,
        env_variables: Environment::new(),
        balance: true,
        replica: false,
    }
}

fn unchanged_node(node_id: NodeId) -> NodeUpdated {
    NodeUpdated { node_id, name: None, user_id: None, endpoint: None, labels: None, capacity: None }
}

fn unchanged_application(application_id: ApplicationId) -> ApplicationUpdated {
    ApplicationUpdated {
        application_id,
        name: None,
        user_id: None,
        spec: None,
        is_enabled: None,
        dependencies: None,
        update_policy: None,
        update: None,
    }
}

/// The outcome.
pub struct Then {
    given: Given,
    pub result: Result<Decision, Refusal>,
}

impl Then {
    /// Exactly these events, in this order.
    #[track_caller]
    pub fn then<const N: usize>(self, expected: [&str; N]) -> Self {
        let decision = self.decision();
        let said: Vec<_> = decision.events.iter().map(|e| self.say(e, &decision.cluster)).collect();
        assert_eq!(said, expected, "\nsaid:\n{}\n", said.join("\n"));
        // The decided state equals the fold of the log.
        let folded = self.given.cluster.clone().fold(&decision.events);
        assert!(folded == decision.cluster, "the decided state is not the fold of its events");
        crate::check::indexes(&decision.cluster);
        self
    }

    #[track_caller]
    pub fn then_nothing(self) -> Self {
        self.then([])
    }

    /// These kinds of events, in this order.
    #[track_caller]
    pub fn then_kinds<const N: usize>(self, expected: [&str; N]) -> Self {
        let kinds: Vec<_> = self.decision().events.iter().map(|e| e.event.kind().as_str()).collect();
        assert_eq!(kinds, expected);
        crate::check::indexes(&self.decision().cluster);
        self
    }

    /// The number of containers that it moves.
    #[track_caller]
    pub fn moved(self) -> usize {
        let kinds = self.decision().events.iter().map(|e| e.event.kind().as_str());
        kinds.filter(|kind| *kind == "ContainerMigrationCommanded").count()
    }

    #[track_caller]
    pub fn then_refused(self, expected: &str) {
        match &self.result {
            Err(Refusal::NoNodeFits(nodes)) => {
                let names = self.names(&self.given.cluster);
                assert_eq!(written::no_node_fits(nodes, &names), expected);
            }
            Err(refusal) => assert_eq!(refusal.to_string(), expected),
            Ok(decision) => panic!("not refused: {:?}", decision.events),
        }
    }

    /// The causes of the events, each as kind and subject, or `nothing`.
    #[track_caller]
    pub fn because<const N: usize>(self, expected: [&str; N]) -> Self {
        let decision = self.decision();
        let all: BTreeMap<Seq, &Envelope> =
            self.given.log.iter().chain(&decision.events).map(|e| (e.seq, e)).collect();
        let names = self.names(&decision.cluster);
        let causes: Vec<_> = decision
            .events
            .iter()
            .map(|envelope| match envelope.cause.map(|cause| all[&cause]) {
                None => "nothing".to_owned(),
                Some(cause) => {
                    let subject = cause.event.subjects().first().map(|s| names[&s.uuid()].clone());
                    format!("{} {}", cause.event.kind(), subject.unwrap_or_default()).trim().to_owned()
                }
            })
            .collect();
        assert_eq!(causes, expected);
        self
    }

    /// Continues from the resulting state.
    #[track_caller]
    pub fn and_when(mut self, command: Command) -> Self {
        let decision = self.decision().clone();
        self.given.cluster = decision.cluster;
        self.given.log.extend(decision.events);
        self.given.when(command)
    }

    /// Continues after the engine has started a placement and it has been up for long enough to serve.
    #[track_caller]
    pub fn and_it_serves(self, name: &str, generation: u32) -> Self {
        self.and_when(launched(name, generation)).and_given().seconds_later(5).when(confirm(name))
    }

    /// Continues with these events.
    #[track_caller]
    pub fn and_given(mut self) -> Given {
        let decision = self.decision().clone();
        self.given.cluster = decision.cluster;
        self.given.log.extend(decision.events);
        self.given
    }

    #[track_caller]
    pub fn decision(&self) -> &Decision {
        match &self.result {
            Ok(decision) => decision,
            Err(refusal) => panic!("refused: {refusal}"),
        }
    }

    #[track_caller]
    pub fn container(&self, name: &str) -> Arc<Container> {
        Arc::clone(self.decision().cluster.container(container(name)).expect("the container is there"))
    }

    #[track_caller]
    pub fn node(&self, name: &str) -> Arc<Node> {
        Arc::clone(self.decision().cluster.node(node(name)).expect("the node is there"))
    }

    fn names(&self, after: &Cluster) -> BTreeMap<Uuid, String> {
        let mut names = BTreeMap::new();
        for envelope in &self.given.log {
            match &envelope.event {
                Event::NodeMounted(e) => names.insert(e.node_id.0, e.name.clone()),
                Event::ApplicationCreated(e) => names.insert(e.application_id.0, e.name.clone()),
                Event::ContainerCreated(e) => names.insert(e.container_id.0, e.name.clone()),
                _ => None,
            };
        }
        for cluster in [after, &self.given.cluster] {
            names.extend(cluster.nodes().map(|n| (n.id.0, n.name.clone())));
            names.extend(cluster.applications().map(|a| (a.id.0, a.name.clone())));
            names.extend(cluster.containers().map(|c| (c.id.0, c.name.clone())));
        }
        names
    }

    fn say(&self, envelope: &Envelope, after: &Cluster) -> String {
        written::event(envelope, self.given.context.now, &self.names(after))
    }
}

fn no_route() -> ProbeFailure {
    Failure::NoConnection { quote: "no route to host".into() }.into()
}

// Short forms of commands.

pub fn mount(name: &str) -> MountNode {
    MountNode {
        availability: kdaemon_events::node::Availability::Active,
        name: Some(name.into()),
        user_id: None,
        endpoint: endpoint(name),
        labels: BTreeMap::new(),
        capacity: None,
    }
}

pub fn update_node(name: &str) -> UpdateNode {
    UpdateNode {
        node_id: node(name),
        name: None,
        user_id: None,
        endpoint: None,
        labels: None,
        capacity: None,
        availability: None,
    }
}

pub fn create_application(name: &str) -> CreateApplication {
    CreateApplication {
        name: name.into(),
        user_id: None,
        spec: SpecChanges { docker_image: Some("image:1".into()), ..SpecChanges::default() },
        is_enabled: true,
        affinity: Vec::new(),
        dependencies: Vec::new(),
        replicas: None,
        update_policy: UpdatePolicy::Manual,
        update: kdaemon_events::application::UpdateSettings::default(),
    }
}

pub fn update_application(name: &str) -> UpdateApplication {
    UpdateApplication {
        application_id: application(name),
        name: None,
        user_id: None,
        spec: SpecChanges::default(),
        is_enabled: None,
        affinity: None,
        dependencies: None,
        replicas: None,
        update_policy: None,
        update: None,
    }
}

pub fn create_container(name: &str, application: &str) -> CreateContainer {
    CreateContainer {
        name: Some(name.into()),
        user_id: None,
        application: Some(application.into()),
        env_variables: Environment::new(),
        balance: true,
    }
}

pub fn update_container(name: &str) -> UpdateContainer {
    UpdateContainer {
        container_id: container(name),
        name: None,
        user_id: None,
        application: None,
        env_variables: None,
        balance: None,
    }
}

pub fn scale(name: &str, replicas: u32) -> Command {
    Command::ScaleApplication { application_id: application(name), replicas }
}

pub fn launch(name: &str) -> Command {
    Command::LaunchContainer(container(name))
}

pub fn stop(name: &str) -> Command {
    Command::StopContainer(container(name))
}

pub fn delete(name: &str) -> Command {
    Command::DeleteContainer { container_id: container(name), volumes: false }
}

pub fn place(name: &str) -> Command {
    Command::PlaceContainer(container(name))
}

pub fn confirm(name: &str) -> Command {
    Command::ConfirmReady(container(name))
}

pub fn evacuate(name: &str) -> Command {
    Command::EvacuateNode(node(name))
}

pub fn unmount(name: &str, force: bool) -> Command {
    Command::UnmountNode { node_id: node(name), force }
}

pub fn launched(name: &str, generation: u32) -> Command {
    let launched = Launched {
        engine_id: format!("e-{generation}"),
        image_id: "sha256:1".into(),
        ports: Vec::new(),
        volumes: Vec::new(),
        health_check: false,
        started_at: None,
    };
    Command::RecordLaunched(placement_id(name, generation), launched)
}

pub fn launch_failed(name: &str, generation: u32, node_fault: bool) -> Command {
    let failure = LaunchFailure { failure: Failure::refused("it did not work"), node_fault };
    Command::RecordLaunchFailed(placement_id(name, generation), failure)
}

pub fn exited(name: &str, generation: u32, code: i64) -> Command {
    Command::RecordExited(placement_id(name, generation), Some(Exit { code, out_of_memory: false }))
}

fn a_probe(name: &str, result: ProbeResult) -> Command {
    let latency = Duration::from_millis(2);
    Command::RecordProbe(Probe { node_id: node(name), endpoint: endpoint(name), latency, result })
}

pub fn failed_probe(name: &str) -> Command {
    a_probe(name, ProbeResult::Failed(no_route()))
}

pub fn probe(name: &str) -> Command {
    a_probe(name, ProbeResult::Answered { engine: None, listed: None })
}

pub fn probe_with_facts(name: &str, engine: EngineFacts) -> Command {
    a_probe(name, ProbeResult::Answered { engine: Some(engine), listed: None })
}

/// The node answers and runs exactly these.
pub fn probe_finding<const N: usize>(name: &str, own: [(&str, u32, ContainerState); N]) -> Command {
    probe_finding_as_of(name, own, Seq(u64::MAX))
}

pub fn probe_finding_as_of<const N: usize>(
    name: &str,
    own: [(&str, u32, ContainerState); N],
    as_of: Seq,
) -> Command {
    let own = own
        .into_iter()
        .map(|(name, generation, state)| Seen::new(placement_id(name, generation), state))
        .collect();
    a_probe(name, ProbeResult::Answered { engine: None, listed: Some(Listed { own, foreign: 0, as_of }) })
}

pub fn ports(text: &str) -> Vec<PortSpec> {
    text.split(',').map(|port| port.parse().unwrap()).collect()
}
