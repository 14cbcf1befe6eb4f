//! A cluster of simulated engines under the real journal and reactors.

use kdaemon::journal::{Journal, Outcome, Runtime, Submission, SubmitError};
use kdaemon::leadership::Leadership;
use kdaemon::reactors::{Reactors, Settings};
use kdaemon::store::EventQuery;
use kdaemon::store::prelude::*;
use kdaemon_control::commands::{Command, CreateApplication, CreateContainer, MountNode, Policy};
use kdaemon_events::{
    Actor, ApplicationId, ClusterId, ContainerId, Endpoint, Envelope, Event, NodeId, Seq, SpecChanges,
};
use kdaemon_projections::{Cluster, Container, Status};
use kdaemon_testing::MemoryStore;
use kdaemon_testing::engines::{SimulatedEngines, SimulatedMachine};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Virtual time and numbered randomness.
pub struct Virtual {
    began: tokio::time::Instant,
    next: AtomicU64,
}

impl Runtime for Virtual {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::DateTime::UNIX_EPOCH + self.began.elapsed() + Duration::from_secs(1_700_000_000)
    }
    fn random(&self) -> Uuid {
        Uuid::from_u128(0x1000_0000 + u128::from(self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

pub struct World {
    pub engines: SimulatedEngines,
    pub journal: Journal,
    pub store: Arc<MemoryStore>,
    pub reactors: Option<Reactors>,
    pub settings: Settings,
    runtime: Arc<Virtual>,
}

impl World {
    /// A world with engines `node-1` … `node-N`, all mounted and UP.
    pub async fn with_nodes(count: usize) -> Self {
        let world = Self::empty().await;
        for number in 1..=count {
            world.add_machine(number);
            world.mount(number).await;
        }
        world.until("all nodes are UP", |c| c.nodes().all(|n| n.is_eligible())).await;
        world
    }

    pub async fn empty() -> Self {
        let runtime = Arc::new(Virtual { began: tokio::time::Instant::now(), next: AtomicU64::new(1) });
        let store = Arc::new(MemoryStore::new());
        let journal = open(&store, &runtime).await;
        let cluster_id = ClusterId(runtime.random());
        journal.submit(Submission::new(Command::CreateCluster(cluster_id), Actor::Anonymous)).await.unwrap();
        let engines = SimulatedEngines::new(7);
        let mut world =
            Self { engines, journal, store, reactors: None, settings: Settings::default(), runtime };
        world.start_reactors().await;
        world
    }

    pub async fn start_reactors(&mut self) {
        let term = self.journal.cluster().term().next();
        let lead = Command::BecomeLeader { term, daemon: "test".into() };
        self.submit(lead).await.unwrap();
        let engines = Arc::new(self.engines.clone());
        self.reactors = Some(Reactors::start(
            self.journal.clone(),
            engines,
            self.settings.clone(),
            Leadership::permanent(term),
        ));
    }

    /// As after `kill -9`: nothing of the daemon is left but the store, and another one starts on it.
    pub async fn crash_and_restart(&mut self) {
        if let Some(reactors) = self.reactors.take() {
            reactors.stop().await;
        }
        self.journal.close().await;
        self.journal = open(&self.store, &self.runtime).await;
        self.start_reactors().await;
    }

    pub fn endpoint(number: usize) -> Endpoint {
        format!("tcp://node-{number}:2375").parse().unwrap()
    }

    pub fn add_machine(&self, number: usize) {
        self.engines.add(&Self::endpoint(number), SimulatedMachine::default());
    }

    pub fn machine(&self, number: usize) -> Arc<kdaemon_testing::engines::Machine> {
        self.engines.machine(&Self::endpoint(number)).unwrap()
    }

    pub async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        self.journal.submit(Submission::new(command, Actor::Anonymous)).await
    }

    pub async fn mount(&self, number: usize) -> NodeId {
        let mount = MountNode {
            availability: kdaemon_events::node::Availability::Active,
            name: Some(format!("node-{number}")),
            user_id: None,
            endpoint: Self::endpoint(number),
            labels: BTreeMap::new(),
            capacity: None,
        };
        let outcome = self.submit(Command::MountNode(mount)).await.unwrap();
        let Event::NodeMounted(e) = &outcome.events[0].event else { panic!("not mounted") };
        e.node_id
    }

    pub fn node(&self, number: usize) -> NodeId {
        self.journal.cluster().find_node(&format!("node-{number}")).unwrap().id
    }

    pub async fn application(&self, name: &str, spec: SpecChanges, replicas: Option<u32>) -> ApplicationId {
        self.application_depending_on(name, spec, replicas, &[]).await
    }

    pub async fn application_depending_on(
        &self,
        name: &str,
        spec: SpecChanges,
        replicas: Option<u32>,
        dependencies: &[&str],
    ) -> ApplicationId {
        let create = CreateApplication {
            name: name.into(),
            user_id: None,
            spec,
            is_enabled: true,
            affinity: Vec::new(),
            dependencies: dependencies.iter().map(ToString::to_string).collect(),
            replicas,
            update_policy: kdaemon_events::UpdatePolicy::Manual,
            update: kdaemon_events::application::UpdateSettings::default(),
        };
        let outcome = self.submit(Command::CreateApplication(create)).await.unwrap();
        let Event::ApplicationCreated(e) = &outcome.events[0].event else { panic!("not created") };
        e.application_id
    }

    pub async fn container(&self, name: &str, application: &str) -> ContainerId {
        let create = CreateContainer {
            name: Some(name.into()),
            user_id: None,
            application: Some(application.into()),
            env_variables: BTreeMap::new(),
            balance: true,
        };
        let outcome = self.submit(Command::CreateContainer(create)).await.unwrap();
        let Event::ContainerCreated(e) = &outcome.events[0].event else { panic!("not created") };
        e.container_id
    }

    /// Creates and launches one and waits until it is UP.
    pub async fn running(&self, name: &str, application: &str) -> ContainerId {
        let id = self.container(name, application).await;
        self.submit(Command::LaunchContainer(id)).await.unwrap();
        self.until_status(id, Status::Up).await;
        id
    }

    pub fn get(&self, id: ContainerId) -> Arc<Container> {
        Arc::clone(self.journal.cluster().container(id).expect("the container is there"))
    }

    pub async fn until_status(&self, id: ContainerId, status: Status) {
        self.until(&format!("{id} is {status:?}"), |c| {
            c.container(id).is_some_and(|container| container.status() == status)
        })
        .await;
    }

    /// Waits for a condition of the state, at most ten virtual minutes.
    pub async fn until(&self, what: &str, condition: impl Fn(&Cluster) -> bool) -> Arc<Cluster> {
        let mut states = self.journal.watch();
        let waited = tokio::time::timeout(Duration::from_secs(600), states.wait_for(|c| condition(c))).await;
        match waited {
            Ok(Ok(cluster)) => Arc::clone(&cluster),
            _ => panic!("never came true: {what}\n{}", self.describe().await),
        }
    }

    /// Waits until the engines themselves are as expected.
    pub async fn until_engines(&self, what: &str, condition: impl Fn(&SimulatedEngines) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(600);
        while !condition(&self.engines) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "never came true: {what}\n{}",
                self.describe().await
            );
            tokio::time::advance(Duration::from_millis(50)).await;
            tokio::task::yield_now().await;
        }
    }

    pub async fn at_rest(&self) -> Arc<Cluster> {
        self.until("nothing is left to do", |c| {
            c.unsettled().next().is_none() && c.nodes().all(|n| n.orphans.is_empty())
        })
        .await
    }

    pub async fn events(&self) -> Vec<Envelope> {
        let query = EventQuery { after: Seq(0), limit: 1_000_000, ..EventQuery::default() };
        let texts = self.store.query(query).await.unwrap();
        texts.iter().map(|text| Envelope::decode(&text.json).unwrap()).collect()
    }

    pub async fn count(&self, kind: &str) -> usize {
        self.events().await.iter().filter(|e| e.event.kind().as_str() == kind).count()
    }

    pub fn counts(&self) -> Vec<u32> {
        self.journal.cluster().nodes().map(|node| node.container_count()).collect()
    }

    async fn describe(&self) -> String {
        let cluster = self.journal.cluster();
        let mut text = String::new();
        for node in cluster.nodes() {
            text += &format!(
                "{} {:?} {:?} holds {:?}\n",
                node.name,
                node.health,
                node.availability,
                node.holds.len()
            );
        }
        for c in cluster.containers() {
            text += &format!(
                "{} {:?} {:?} lost={} gen={} retired={} {:?}\n",
                c.name,
                c.phase.kind(),
                c.desired,
                c.lost,
                c.generation,
                c.retired.len(),
                c.reason
            );
        }
        for event in
            self.events().await.iter().rev().filter(|e| e.event.kind().as_str() != "NodeObserved").take(25)
        {
            text += &format!("{}\n", event.encode().unwrap());
        }
        text
    }
}

async fn open(store: &Arc<MemoryStore>, runtime: &Arc<Virtual>) -> Journal {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    let runtime: Arc<dyn Runtime> = Arc::clone(runtime) as _;
    Journal::open(store, runtime, Arc::new(Policy::default())).await.unwrap()
}

/// A specification that runs indefinitely.
pub fn forever() -> SpecChanges {
    SpecChanges {
        docker_image: Some("kdaemon/busybox".into()),
        command: Some(vec!["sleep".into(), "infinity".into()]),
        ..SpecChanges::default()
    }
}
