//! Random clusters, made of events.

use kdaemon_events::application::ApplicationCreated;
use kdaemon_events::container::{
    ContainerCreated, ContainerLaunchFailed, ContainerLaunchRequested, ContainerLaunched, ContainerPlaced,
};
use kdaemon_events::failure::Failure;
use kdaemon_events::node::{
    EngineFacts, NodeCordoned, NodeDrainStarted, NodeHealthy, NodeMounted, NodeObserved, NodeUnhealthy,
    ProbeOutcome,
};
use kdaemon_events::{
    Actor, ApplicationId, Constraint, ContainerId, Envelope, Event, EventId, Generation, MilliCpus, NodeId,
    PortSpec, Resources, Spec, Strategy as Placing, UpdatePolicy,
};
use kdaemon_projections::{Cluster, Touched};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A log under construction.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub cluster: Cluster,
}

impl Log {
    pub fn add(&mut self, event: impl Into<Event>) {
        let seq = self.cluster.seq().next();
        let envelope = Envelope {
            seq,
            id: EventId(Uuid::from_u128(u128::from(seq.0))),
            at: chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            actor: Actor::Anonymous,
            request_id: None,
            cause: None,
            event: event.into(),
        };
        self.cluster.apply(&envelope, &mut Touched::default());
    }

    pub fn place(&mut self, container_id: ContainerId, node_id: NodeId) {
        let generation = self.cluster.container(container_id).unwrap().generation.next();
        self.add(ContainerLaunchRequested { container_id, generation: None });
        self.add(ContainerPlaced { container_id, generation, node_id, evaluation: Box::default() });
    }

    pub fn launched(&mut self, container_id: ContainerId) {
        let placement = self.cluster.container(container_id).unwrap().placement.clone().unwrap();
        self.add(ContainerLaunched {
            container_id,
            generation: placement.generation,
            node_id: placement.node_id,
            engine_id: "e".into(),
            image_id: "i".into(),
            ports: Vec::new(),
            volumes: Vec::new(),
            health_check: false,
            access_link: None,
        });
    }

    pub fn unhealthy(&mut self, node_id: NodeId) {
        self.add(NodeUnhealthy { node_id, failures: 3, failure: Failure::refused("no answer").into() });
    }
}

pub fn node(number: usize) -> NodeId {
    NodeId(Uuid::from_u128(0x1_0000 + number as u128))
}
pub fn application(number: usize) -> ApplicationId {
    ApplicationId(Uuid::from_u128(0x2_0000 + number as u128))
}
pub fn container(number: usize) -> ContainerId {
    ContainerId(Uuid::from_u128(0x3_0000 + number as u128))
}

/// The properties of a node.
#[derive(Debug, Clone)]
pub struct ANode {
    pub labels: BTreeMap<String, String>,
    pub capacity: Option<u32>,
    /// Processors in thousandths, and memory in MiB, once reported.
    pub engine: Option<(u64, u64)>,
    /// 0: UP; 1: not probed; 2: DOWN; 3: cordoned; 4: draining; 5: on probation.
    pub state: u8,
}

/// The requirements of an application.
#[derive(Debug, Clone)]
pub struct AnApplication {
    pub spec: Spec,
}

/// A container: its application, its node (`None`: it waits), and whether a launch failed there.
#[derive(Debug, Clone)]
pub struct AContainer {
    pub application: usize,
    pub node: Option<usize>,
    pub failed: bool,
}

/// A cluster in a few words.
#[derive(Debug, Clone)]
pub struct Draft {
    pub nodes: Vec<ANode>,
    pub applications: Vec<AnApplication>,
    pub containers: Vec<AContainer>,
    pub strategy: Placing,
}

pub fn placing() -> impl Strategy<Value = Placing> {
    prop::sample::select(Placing::ALL.to_vec())
}

pub fn a_node(plain: bool) -> impl Strategy<Value = ANode> {
    let zone = option::of(prop::sample::select(vec!["a", "b", "c"]));
    let disk = option::of(prop::sample::select(vec!["ssd", "hdd"]));
    let engine = option::of((1_u64..6, 1_u64..6));
    let state = prop_oneof![8 => Just(0_u8), 2 => 1_u8..6];
    (zone, disk, option::of(0_u32..6), engine, state).prop_map(
        move |(zone, disk, capacity, engine, state)| {
            let mut labels = BTreeMap::new();
            labels.extend(zone.map(|zone| ("zone".to_owned(), zone.to_owned())));
            labels.extend(disk.map(|disk| ("disk".to_owned(), disk.to_owned())));
            ANode {
                labels,
                capacity: capacity.filter(|_| !plain),
                engine: engine.map(|(cpus, memory)| (cpus * 1_000, memory * 1_024)).filter(|_| !plain),
                state: if plain { 0 } else { state },
            }
        },
    )
}

fn constraint() -> impl Strategy<Value = Constraint> {
    let texts = ["zone==a", "zone!=b", "zone", "disk==ssd", "!disk", "zone==c", "disk"];
    prop::sample::select(texts.to_vec()).prop_map(|text| text.parse().unwrap())
}

pub fn an_application(applications: usize) -> impl Strategy<Value = AnApplication> {
    let amounts = || (option::of(1_u64..5), option::weighted(0.3, 0_u64..3));
    let hard = (vec(constraint(), 0..2), amounts(), amounts(), option::of(80_u16..83));
    let soft = (vec(constraint(), 0..3), option::of(Just("zone".to_owned())), prop::bool::weighted(0.2));
    let with = option::weighted(0.15, 0..applications);
    (hard, soft, with, option::of(placing())).prop_map(|(hard, soft, with, strategy)| {
        let (constraints, cpus, memory, port) = hard;
        let (preferences, spread_over, anti_affinity) = soft;
        let spec = Spec {
            docker_image: "image".into(),
            constraints,
            resources: Resources {
                cpus: cpus.0.map(|cpus| MilliCpus(cpus * 400)),
                memory_bytes: memory.0.map(|memory| memory * 400 * 1_048_576),
                reserved_cpus: cpus.1.map(|cpus| MilliCpus(cpus * 200)),
                reserved_memory_bytes: memory.1.map(|memory| memory * 200 * 1_048_576),
            },
            exposed_ports: port
                .map(|host| format!("{host}:80").parse::<PortSpec>().unwrap())
                .into_iter()
                .collect(),
            preferences,
            spread_over,
            anti_affinity,
            affinity: with.map(application).into_iter().collect(),
            strategy,
            ..Spec::default()
        };
        AnApplication { spec }
    })
}

/// Applications that require nothing, or one label.
pub fn a_labelled_application() -> impl Strategy<Value = AnApplication> {
    option::of(constraint()).prop_map(|constraint| AnApplication {
        spec: Spec {
            docker_image: "image".into(),
            constraints: constraint.into_iter().collect(),
            ..Spec::default()
        },
    })
}

prop_compose! {
    pub fn draft(nodes: std::ops::Range<usize>, containers: std::ops::Range<usize>)(
        nodes in vec(a_node(false), nodes),
        applications in vec(an_application(4), 4),
        containers in vec((0_usize..4, option::of(any::<prop::sample::Index>()), prop::bool::weighted(0.1)), containers),
        strategy in placing(),
    ) -> Draft {
        let containers = containers
            .into_iter()
            .map(|(application, node, failed)| AContainer {
                application,
                node: node.map(|node| node.index(nodes.len())),
                failed,
            })
            .collect();
        Draft { nodes, applications, containers, strategy }
    }
}

impl Draft {
    /// The cluster.
    pub fn log(&self) -> Log {
        let mut log = Log::default();
        for (number, a_node) in self.nodes.iter().enumerate() {
            let node_id = node(number);
            log.add(NodeMounted {
                node_id,
                name: format!("n{number}"),
                user_id: None,
                endpoint: format!("tcp://n{number}:2375").parse().unwrap(),
                labels: a_node.labels.clone(),
                capacity: a_node.capacity,
            });
            if a_node.state == 1 {
                continue;
            }
            let engine = a_node.engine.map(|(cpus, memory)| EngineFacts {
                kind: "docker".into(),
                version: "28".into(),
                api_version: "1.48".into(),
                cpus: MilliCpus(cpus),
                memory_bytes: memory * 1_048_576,
                platform: "linux/amd64".into(),
                engine_id: format!("engine-{number}"),
            });
            let outcome = ProbeOutcome::Answered { running: None, foreign: None };
            log.add(NodeObserved {
                node_id,
                outcome,
                latency_ms: 1,
                engine: engine.map(Box::new),
                orphans: Vec::new(),
            });
            log.add(NodeHealthy { node_id, successes: 2 });
            if a_node.state == 5 {
                for _ in 0..3 {
                    log.unhealthy(node_id);
                    log.add(NodeHealthy { node_id, successes: 2 });
                }
            }
        }
        for (number, an_application) in self.applications.iter().enumerate() {
            log.add(ApplicationCreated {
                application_id: application(number),
                name: format!("app{number}"),
                user_id: None,
                spec: Box::new(an_application.spec.clone()),
                is_enabled: true,
                dependencies: Vec::new(),
                replicas: None,
                update_policy: UpdatePolicy::Manual,
                update: kdaemon_events::application::UpdateSettings::default(),
            });
        }
        for (number, a_container) in self.containers.iter().enumerate() {
            let container_id = container(number);
            log.add(ContainerCreated {
                container_id,
                name: format!("c{number}"),
                user_id: None,
                application_id: Some(application(a_container.application)),
                env_variables: BTreeMap::new(),
                balance: true,
                replica: false,
            });
            let Some(on) = a_container.node else { continue };
            log.place(container_id, node(on));
            if a_container.failed {
                log.add(ContainerLaunchFailed {
                    container_id,
                    generation: Generation(1),
                    node_id: node(on),
                    failure: Failure::refused("disk full"),
                    node_fault: true,
                    attempt: 1,
                    retry_at: chrono::DateTime::from_timestamp(1_700_000_100, 0).unwrap(),
                });
            } else {
                log.launched(container_id);
            }
        }
        for (number, a_node) in self.nodes.iter().enumerate() {
            let node_id = node(number);
            match a_node.state {
                2 => log.unhealthy(node_id),
                3 => log.add(NodeCordoned { node_id }),
                4 => log.add(NodeDrainStarted { node_id, then_unmount: false }),
                _ => {}
            }
        }
        log
    }
}

/// At least a thousand cases; `PROPTEST_CASES` requests more.
pub fn cases() -> ProptestConfig {
    let asked = ProptestConfig::default();
    // The model rejects transitions that make no sense at that point: often, and by design.
    ProptestConfig { cases: asked.cases.max(1_000), max_local_rejects: u32::MAX, ..asked }
}
