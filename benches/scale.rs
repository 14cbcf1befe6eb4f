//! The whole daemon on simulated engines, with 1,000 nodes and 100,000 containers.
//!
//! Three processes take part: the first writes the log and exits, the second is the daemon on that log together with the
//! simulated engines, and this one sends the requests. So the memory of the second is that of the daemon, and its start
//! includes reading the log.

use crate::figures::{Limit, Table, Value, progress, quantile};
use crate::http::{Connection, get_at_intervals};
use kdaemon::config::Config;
use kdaemon::daemon;
use kdaemon::engine::{Engines as _, Identity, LaunchOrder, Launched};
use kdaemon::journal::{Journal, Outcome, Runtime as _, Submission, SystemRuntime};
use kdaemon::reactors;
use kdaemon::store::SqliteStore;
use kdaemon::store::prelude::*;
use kdaemon_control::commands::{Command, CreateApplication, MountNode, Policy, Probe, ProbeResult};
use kdaemon_events::node::EngineFacts;
use kdaemon_events::{
    Actor, ClusterId, ContainerId, Endpoint, Event, Generation, MilliCpus, NodeId, PlacementId, PortSpec,
    Protocol, PublishedPort, Spec, SpecChanges, UpdatePolicy,
};
use kdaemon_testing::engines::{SimulatedEngines, SimulatedMachine, Timing};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const NODES: u16 = 1_000;
const CONTAINERS: usize = 100_000;
/// Containers per application, which is the most that one may have.
const REPLICAS: usize = 300;
/// The file with the cluster's id, and with the id and the node of each container.
const CLUSTER: &str = "cluster.txt";

/// The readers and the interval of each: 1,000 requests per second in total.
const READERS: u32 = 4;
const READ_INTERVAL: Duration = Duration::from_millis(4);
/// The measured time.
const MEASURED: Duration = Duration::from_secs(15);
/// The time before that, in which every node is listed once.
const SETTLING: Duration = Duration::from_secs(12);
/// The interval of the commands that stop and launch containers meanwhile.
const COMMAND_INTERVAL: Duration = Duration::from_millis(50);

/// Measures and enters the figures.
pub(crate) fn run(table: &mut Table) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    progress(&format!("scale: writing the log of {NODES} nodes and {CONTAINERS} containers"));
    let began = Instant::now();
    let written = role("write", dir.path()).status().expect("this program runs");
    assert!(written.success(), "the log was not written");
    progress(&format!("scale: written in {}", Value::Time(began.elapsed())));

    let mut daemon = Daemon::start(dir.path());
    let cluster = std::fs::read_to_string(dir.path().join(CLUSTER)).expect("the file of placements");
    let ids: Vec<&str> = cluster.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    progress("scale: the daemon is running; waiting until every node was listed");
    std::thread::sleep(SETTLING);

    progress("scale: reading while events flow");
    let is_over = AtomicBool::new(false);
    let commands = AtomicUsize::new(0);
    let address = daemon.address;
    let (latencies, events) = std::thread::scope(|scope| {
        scope.spawn(|| interfere(address, &ids, &is_over, &commands));
        let first = head(address);
        let began = Instant::now();
        let latencies = get_at_intervals(address, READERS, READ_INTERVAL, MEASURED, |reader, number| {
            // A different container each time, so that no cache holds them all.
            let which = (number as usize * READERS as usize + reader as usize) * 7_919 % ids.len();
            format!("/0.0/containers/{}", ids[which])
        });
        let events = head(address) - first;
        #[allow(clippy::cast_precision_loss)] // rounded for display
        let per_second = events as f64 / began.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        (latencies, per_second)
    });
    let memory = resident(daemon.child.id());
    let own = memory.saturating_sub(daemon.world_bytes);
    daemon.stop();

    let what = format!("{NODES} nodes, {CONTAINERS} containers");
    let below = |value| Limit::Below(value);
    table.figure(
        &format!("{what}: start from a log of {} events", daemon.events),
        Value::Time(daemon.started_in),
        below(Value::Time(Duration::from_secs(5))),
    );
    table.figure(
        "GET /0.0/containers/{id} while events flow: p99",
        Value::Time(quantile(&latencies, 990)),
        below(Value::Time(Duration::from_millis(2))),
    );
    table.note("  its p50", Value::Time(quantile(&latencies, 500)));
    table.note("  its p99.9", Value::Time(quantile(&latencies, 999)));
    table.note("  events meanwhile", Value::PerSecond(events));
    #[allow(clippy::cast_precision_loss)] // rounded for display
    let commands = commands.into_inner() as f64 / MEASURED.as_secs_f64();
    table.note("  commands (stop, launch) meanwhile", Value::PerSecond(commands));
    table.figure(
        &format!("{what}: resident memory of the daemon"),
        Value::Bytes(own),
        below(Value::Bytes(600_000_000)),
    );
    table.note("  with the simulated engines", Value::Bytes(memory));
    table.note("  the simulated engines alone", Value::Bytes(daemon.world_bytes));
}

/// A command that runs this program in another role.
pub(crate) fn role(name: &str, dir: &Path) -> std::process::Command {
    let program = std::env::current_exe().expect("this program");
    let mut command = std::process::Command::new(program);
    command.arg(format!("--role={name}")).arg(dir);
    command
}

/// Runs one of the roles of this bench.
pub(crate) fn play(role: &str, arguments: &[String]) {
    let dir = arguments.first().map(Path::new).expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match role {
        "write" => runtime.block_on(write(dir)),
        "serve" => runtime.block_on(serve(dir)),
        other => panic!("unknown role {other}"),
    }
}

/// The process of the daemon.
struct Daemon {
    child: Child,
    address: SocketAddr,
    /// The memory of the simulated engines.
    world_bytes: u64,
    /// The time from opening the store until the daemon accepts requests.
    started_in: Duration,
    events: u64,
}

impl Daemon {
    fn start(dir: &Path) -> Self {
        progress("scale: starting the daemon");
        let mut child = role("serve", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut line = || lines.next().and_then(Result::ok).expect("the daemon starts");
        let world_bytes = line().parse().expect("bytes");
        let address = line().parse().expect("an address");
        let started_in = Duration::from_micros(line().parse().expect("microseconds"));
        let events = head(address);
        Self { child, address, world_bytes, started_in, events }
    }

    fn stop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The seq of the last event.
fn head(address: SocketAddr) -> u64 {
    let mut connection = Connection::open(address).expect("the daemon accepts");
    let answer = connection.ask("GET", "/0.0/events?limit=1", "").expect("an answer");
    answer.json()["head"].as_u64().expect("a head")
}

/// Stops containers and launches them again until `is_over` is set.
fn interfere(address: SocketAddr, ids: &[&str], is_over: &AtomicBool, commands: &AtomicUsize) {
    let mut connection = Connection::open(address).expect("the daemon accepts");
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        // Each container is stopped, and launched 20 commands later.
        let (what, which) = match number % 40 {
            n if n < 20 => ("stop", number / 40 * 20 + n),
            n => ("launch", number / 40 * 20 + n - 20),
        };
        let id = ids[which * 4_999 % ids.len()];
        let answer = connection.ask("POST", &format!("/0.0/containers/{what}/{id}"), "").expect("an answer");
        assert!(answer.is_success(), "{what}: {}", answer.status);
        commands.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(COMMAND_INTERVAL);
    }
}

/// The resident memory of a process, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1_024
}

// ---- the process that writes the log ---------------------------------------------------------------------------

fn endpoint(number: u16) -> Endpoint {
    Endpoint::Tcp { host: format!("node-{number}"), port: 2375 }
}

fn ports() -> Vec<PortSpec> {
    vec!["80".parse().expect("a port")]
}

/// Writes the log by submitting commands to a journal, and the file of placements.
async fn write(dir: &Path) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(dir).expect("a store"));
    let journal = Journal::open(Arc::clone(&store), Arc::new(SystemRuntime), Arc::new(Policy::default()));
    let journal = journal.await.expect("a journal");
    let cluster_id = ClusterId(SystemRuntime.random());
    submit(&journal, Command::CreateCluster(cluster_id)).await;
    let mut tasks = JoinSet::new();
    for number in 1..=NODES {
        tasks.spawn(mount(journal.clone(), number));
    }
    tasks.join_all().await;
    let mut tasks = JoinSet::new();
    for first in (0..CONTAINERS).step_by(REPLICAS) {
        let create = CreateApplication {
            name: format!("application-{}", first / REPLICAS),
            user_id: Some("bench".to_owned()),
            spec: SpecChanges {
                docker_image: Some("kdaemon/busybox".to_owned()),
                exposed_ports: Some(ports()),
                ..SpecChanges::default()
            },
            is_enabled: true,
            affinity: Vec::new(),
            dependencies: Vec::new(),
            replicas: u32::try_from(REPLICAS.min(CONTAINERS - first)).ok(),
            update_policy: UpdatePolicy::Manual,
            update: kdaemon_events::application::UpdateSettings::default(),
        };
        let created = submit(&journal, Command::CreateApplication(create)).await;
        for envelope in created.events.iter() {
            if let Event::ContainerPlaced(placed) = &envelope.event {
                let placement_id =
                    PlacementId { container_id: placed.container_id, generation: placed.generation };
                let journal = journal.clone();
                tasks.spawn(async move {
                    submit(&journal, Command::RecordLaunched(placement_id, launched(placement_id))).await;
                });
            }
        }
    }
    tasks.join_all().await;
    let cluster = journal.cluster();
    reactors::bring_up_to_date(store.as_ref(), &cluster).await.expect("the tables");
    let mut text = format!("{cluster_id}\n");
    let name_of: BTreeMap<NodeId, &str> = cluster.nodes().map(|node| (node.id, node.name.as_str())).collect();
    for container in cluster.containers() {
        let placement = container.placement.as_ref().expect("the container was placed");
        writeln!(text, "{} {}", container.id, name_of[&placement.node_id]).expect("text");
    }
    std::fs::write(dir.join(CLUSTER), text).expect("room on the disk");
    journal.close().await;
    store.close().await;
}

pub(crate) async fn submit(journal: &Journal, command: Command) -> Outcome {
    let submission = Submission::new(command, Actor::reactor("bench"));
    journal.submit_patiently(submission).await.expect("the command succeeds")
}

pub(crate) async fn mount(journal: Journal, number: u16) {
    let mount = MountNode {
        availability: kdaemon_events::node::Availability::Active,
        name: Some(format!("node-{number}")),
        user_id: None,
        endpoint: endpoint(number),
        labels: BTreeMap::from([("zone".to_owned(), format!("zone-{}", number % 3))]),
        capacity: None,
    };
    let mounted = submit(&journal, Command::MountNode(mount)).await;
    let Some(Event::NodeMounted(mounted)) = mounted.events.first().map(|envelope| &envelope.event) else {
        panic!("the node was not mounted");
    };
    let engine = EngineFacts {
        kind: "docker".to_owned(),
        version: "29.0.0".to_owned(),
        api_version: "1.52".to_owned(),
        cpus: MilliCpus(4_000),
        memory_bytes: 8 << 30,
        platform: "linux/amd64".to_owned(),
        engine_id: format!("simulated-{number}"),
    };
    let probe = Probe {
        node_id: mounted.node_id,
        endpoint: endpoint(number),
        latency: Duration::from_millis(3),
        result: ProbeResult::Answered { engine: Some(engine), listed: None },
    };
    submit(&journal, Command::RecordProbe(probe)).await;
}

/// The response of an engine to the launch of a placement.
fn launched(placement_id: PlacementId) -> Launched {
    let digits = placement_id.container_id.0.simple();
    let host = 32_768 + u16::from(placement_id.container_id.0.as_bytes()[15]);
    Launched {
        engine_id: format!("{digits}{digits}"),
        image_id: format!("sha256:{digits}{digits}"),
        ports: vec![PublishedPort { container: 80, host, protocol: Protocol::Tcp }],
        volumes: Vec::new(),
        health_check: false,
        started_at: None,
    }
}

// ---- the process of the daemon ---------------------------------------------------------------------------------

/// Runs the daemon on the log in `dir` until stdin is closed. Prints three lines: the memory of the simulated engines in
/// bytes, the address, and the duration of the start in microseconds.
async fn serve(dir: &Path) {
    let before = resident(std::process::id());
    let engines = SimulatedEngines::new(1);
    populate(&engines, dir).await;
    println!("{}", resident(std::process::id()).saturating_sub(before));

    let config = Config { data_dir: dir.to_owned(), api_port: 0, local_node: false, ..Config::default() };
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new()); // closed when the bench exits
        stop.cancel();
    });
    let began = Instant::now();
    let ready = |address| {
        println!("{address}\n{}", began.elapsed().as_micros());
        let _ = std::io::stdout().flush();
    };
    daemon::run_on(Arc::new(engines), config, shutdown, ready).await.expect("the daemon runs");
}

/// Launches the containers of the log on the simulated engines.
async fn populate(engines: &SimulatedEngines, dir: &Path) {
    let about = SimulatedMachine {
        images: vec!["kdaemon/busybox".to_owned()],
        timing: Timing::instant(),
        ..SimulatedMachine::default()
    };
    engines.add_fleet(NODES.into(), &about);
    let spec = Arc::new(Spec {
        docker_image: "kdaemon/busybox".to_owned(),
        exposed_ports: ports(),
        ..Spec::default()
    });
    let mut lines =
        BufReader::new(std::fs::File::open(dir.join(CLUSTER)).expect("the file of placements")).lines();
    let mut line = || lines.next().and_then(Result::ok);
    let cluster: ClusterId = line().and_then(|id| id.parse().ok()).expect("the cluster's id");
    while let Some(text) = line() {
        let (id, node) = text.split_once(' ').expect("an id and a node");
        let container = ContainerId(id.parse().expect("an id"));
        let order = LaunchOrder {
            identity: Identity { cluster, container, generation: Generation(1) },
            name: format!("container-{id}"),
            spec: Arc::clone(&spec),
            volumes: Vec::new(),
            credentials: None,
        };
        let endpoint = Endpoint::Tcp { host: node.to_owned(), port: 2375 };
        engines.client(&endpoint).launch(&order).await.expect("the engine launches it");
    }
}
