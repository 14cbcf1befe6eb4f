//! The real router on a real socket, over an in-memory journal. No reactor runs: the tests themselves report to the
//! journal what engines would do.

use kdaemon::config::Config;
use kdaemon::engine::{Engines as _, Exit, Identity, LaunchOrder, Launched};
use kdaemon::journal::{Journal, Outcome, Submission, SystemRuntime};
use kdaemon::leader::Role;
use kdaemon::reactors::Rebuilds;
use kdaemon::server::Api;
use kdaemon::store::Head;
use kdaemon::store::prelude::*;
use kdaemon_control::commands::{Command, LaunchFailure, Policy, Probe, ProbeResult};
use kdaemon_events::failure::Failure;
use kdaemon_events::{Actor, ClusterId, ContainerId, Endpoint, Generation, NodeId, PlacementId};
use kdaemon_testing::MemoryStore;
use kdaemon_testing::engines::{
    ClientTimeouts, Machine as Engine, SimulatedEngines, SimulatedMachine, Timing,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Nothing here takes longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct World {
    pub address: SocketAddr,
    pub client: reqwest::Client,
    pub journal: Journal,
    pub store: Arc<MemoryStore>,
    pub engines: SimulatedEngines,
    pub leading: kdaemon::latest::Sender<Role>,
    pub shutdown: CancellationToken,
    pub server: JoinHandle<std::io::Result<()>>,
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let status = response.status();
        let headers = response.headers().clone();
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    pub fn seq(&self) -> u64 {
        self.header("x-kdaemon-seq").parse().unwrap()
    }

    /// The body of an answer that has this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert!(self.headers.contains_key("x-kdaemon-seq") && self.headers.contains_key("x-request-id"));
        if status >= 400 {
            return self.problem(status);
        }
        self.json()
    }

    /// The body of a problem, which is whole.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        for field in ["type", "title", "detail", "instance", "request_id"] {
            let text = problem[field].as_str().unwrap_or_else(|| panic!("no {field}: {problem}"));
            assert!(!text.is_empty(), "{field} is empty: {problem}");
        }
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        problem
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        configure(&mut config);
        let store = Arc::new(MemoryStore::new());
        let policy = Arc::new(Policy { launch_attempts: 1, ..Policy::default() });
        let journal = Journal::open(Arc::clone(&store) as _, Arc::new(SystemRuntime), policy).await.unwrap();
        let create = Command::CreateCluster(ClusterId(Uuid::new_v4()));
        journal.submit(Submission::new(create, Actor::Anonymous)).await.unwrap();
        let impatient = ClientTimeouts { read: Duration::from_millis(100), ..ClientTimeouts::default() };
        let engines = SimulatedEngines::with_limits(7, impatient);
        let shutdown = CancellationToken::new();
        let (leading, role) = kdaemon::latest::channel(Role { leads: true, leader: Some("this".to_owned()) });
        let engines_of_api = Arc::new(engines.clone());
        let api = Api::new(
            journal.clone(),
            engines_of_api,
            Arc::new(config),
            shutdown.clone(),
            role,
            Rebuilds::default(),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(kdaemon::server::serve(listener, api));
        let client = reqwest::Client::builder().timeout(DEADLINE).build().unwrap();
        Self { address, client, journal, store, engines, leading, shutdown, server }
    }

    /// A request to a path below the version prefix.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.request_raw(method, &format!("/0.0{path}"))
    }

    pub fn request_raw(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path).send().await.unwrap()).await
    }

    pub async fn get_raw(&self, path: &str) -> Answer {
        Answer::of(self.request_raw("GET", path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request("POST", path).json(&body).send().await.unwrap()).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request("PATCH", path).json(&body).send().await.unwrap()).await
    }

    /// A command without a body.
    pub async fn command(&self, method: &str, path: &str) -> Answer {
        Answer::of(self.request(method, path).send().await.unwrap()).await
    }

    /// Submits a command as a reactor would.
    pub async fn tell(&self, command: Command) -> Outcome {
        self.journal.submit_patiently(Submission::new(command, Actor::reactor("test"))).await.unwrap()
    }

    /// Mounts a node and has it probed: it is UP. Its engine is there.
    pub async fn node(&self, name: &str) -> NodeId {
        let about = SimulatedMachine { timing: Timing::instant(), ..SimulatedMachine::default() };
        self.node_with(name, about).await
    }

    /// A node with such an engine.
    pub async fn node_with(&self, name: &str, about: SimulatedMachine) -> NodeId {
        let body = json!({"name": name, "d_ipaddr": name, "d_port": 2375});
        let created = self.post("/nodes/create", body).await.expect(201);
        let endpoint = Endpoint::tcp(name, 2375).unwrap();
        self.engines.add(&endpoint, about);
        let id = NodeId(created["id"].as_str().unwrap().parse().unwrap());
        self.probe(id, true).await;
        id
    }

    /// Has a node probed.
    pub async fn probe(&self, node_id: NodeId, answers: bool) -> Outcome {
        let endpoint = self.journal.cluster().node(node_id).unwrap().endpoint.clone();
        let result = match answers {
            true => {
                let engine = Some(self.engines.client(&endpoint).facts().await.unwrap());
                ProbeResult::Answered { engine, listed: None }
            }
            false => ProbeResult::Failed(Failure::refused("no answer").into()),
        };
        let probe = Probe { node_id, endpoint, latency: Duration::from_millis(3), result };
        self.tell(Command::RecordProbe(probe)).await
    }

    /// Has a node fail until it is DOWN.
    pub async fn fail(&self, node_id: NodeId) {
        for _ in 0..3 {
            self.probe(node_id, false).await;
        }
    }

    /// An application that can be launched.
    pub async fn application(&self, name: &str) -> String {
        let body = json!({"name": name, "docker_image": "busybox", "exposed_ports": "80"});
        self.post("/applications/create", body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// A container record of an application.
    pub async fn container(&self, name: &str, application: &str) -> ContainerId {
        let body = json!({"name": name, "application_id": application});
        let created = self.post("/containers/create", body).await.expect(201);
        ContainerId(created["id"].as_str().unwrap().parse().unwrap())
    }

    fn placement(&self, id: ContainerId) -> (NodeId, Generation, Endpoint) {
        let cluster = self.journal.cluster();
        let placement = cluster.container(id).unwrap().placement.clone().expect("it is placed");
        let endpoint = cluster.node(placement.node_id).unwrap().endpoint.clone();
        (placement.node_id, placement.generation, endpoint)
    }

    pub fn placement_id(&self, id: ContainerId) -> PlacementId {
        PlacementId { container_id: id, generation: self.placement(id).1 }
    }

    pub fn engine_of(&self, id: ContainerId) -> (Arc<Engine>, Identity) {
        let (_, generation, endpoint) = self.placement(id);
        let cluster = self.journal.cluster().id().unwrap();
        (self.engines.machine(&endpoint).unwrap(), Identity { cluster, container: id, generation })
    }

    /// Does what the launcher does: has the engine start a container that is placed.
    pub async fn launch_placed(&self, id: ContainerId) -> Outcome {
        let (_, identity) = self.engine_of(id);
        let cluster = self.journal.cluster();
        let container = cluster.container(id).unwrap();
        let order = LaunchOrder {
            identity,
            name: container.name.clone(),
            spec: cluster.spec_of(container),
            volumes: Vec::new(),
            credentials: None,
        };
        let (_, _, endpoint) = self.placement(id);
        let launched: Launched = self.engines.client(&endpoint).launch(&order).await.unwrap();
        self.tell(Command::RecordLaunched(self.placement_id(id), launched)).await;
        // It serves at once: no reactor waits until it has been up for long enough.
        self.tell(Command::RecordHealth(self.placement_id(id), true)).await
    }

    pub async fn fail_launch(&self, id: ContainerId, reason: &str) {
        let failure = LaunchFailure { failure: Failure::refused(reason), node_fault: false };
        self.tell(Command::RecordLaunchFailed(self.placement_id(id), failure)).await;
    }

    pub async fn record_stopped(&self, id: ContainerId) {
        let exit = Exit { code: 0, out_of_memory: false };
        self.tell(Command::RecordStopped(self.placement_id(id), Some(exit))).await;
    }

    /// Has every placement that was given up be removed from its node.
    pub async fn remove_retired(&self, id: ContainerId) {
        let retired = self.journal.cluster().container(id).map(|c| c.retired.clone()).unwrap_or_default();
        for retired in retired {
            let generation = retired.placement.generation;
            let placement_id = PlacementId { container_id: id, generation };
            self.tell(Command::RecordRemoved(placement_id, retired.placement.node_id)).await;
        }
    }

    /// A container that is UP.
    pub async fn running(&self, name: &str, application: &str) -> ContainerId {
        let id = self.container(name, application).await;
        self.command("POST", &format!("/containers/launch/{id}")).await.expect(202);
        self.launch_placed(id).await;
        id
    }

    /// Waits for a condition of the state.
    pub async fn until(&self, condition: impl Fn(&kdaemon_projections::Cluster) -> bool) {
        let mut states = self.journal.watch();
        tokio::time::timeout(DEADLINE, states.wait_for(|cluster| condition(cluster))).await.unwrap().unwrap();
    }

    pub async fn store_head(&self) -> Head {
        self.store.head().await.unwrap()
    }

    pub fn head(&self) -> u64 {
        self.journal.cluster().seq().0
    }
}
