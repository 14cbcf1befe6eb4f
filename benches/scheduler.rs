//! The scheduler alone in a cluster of 10,000 nodes and 1,000,000 containers, and a million containers placed through the
//! journal.

use crate::figures::{Limit, Table, Value, progress};
use crate::scale::{mount, resident, role, submit};
use kdaemon::journal::{Journal, Runtime as _, SystemRuntime};
use kdaemon::store::SqliteStore;
use kdaemon::store::prelude::*;
use kdaemon_control::commands::{Command, CreateApplication, Policy};
use kdaemon_control::scheduler::{Request, evacuate, place, plan};
use kdaemon_events::application::ApplicationCreated;
use kdaemon_events::container::{
    ContainerCreated, ContainerLaunchRequested, ContainerLaunched, ContainerPlaced,
};
use kdaemon_events::failure::Failure;
use kdaemon_events::node::{
    EngineFacts, NodeHealthy, NodeMounted, NodeObserved, NodeUnhealthy, ProbeOutcome,
};
use kdaemon_events::{
    Actor, ApplicationId, ClusterId, ContainerId, Envelope, Event, EventId, Generation, MilliCpus, NodeId,
    Resources, Spec, SpecChanges, Strategy, UpdatePolicy,
};
use kdaemon_projections::{Cluster, Touched};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

const NODES: usize = 10_000;
const CONTAINERS: usize = 1_000_000;
const LOST: usize = 500;
const ZONES: usize = 10;
/// The number of placements over which the duration is averaged.
const PLACEMENTS: u32 = 20_000;

fn node(number: usize) -> NodeId {
    NodeId(Uuid::from_u128(0x1_0000_0000 + number as u128))
}
fn application(number: usize) -> ApplicationId {
    ApplicationId(Uuid::from_u128(0x2_0000_0000 + number as u128))
}
fn container(number: usize) -> ContainerId {
    ContainerId(Uuid::from_u128(0x3_0000_0000 + number as u128))
}

/// A cluster that is built event by event.
struct State {
    cluster: Cluster,
    touched: Touched,
}

impl State {
    fn add(&mut self, event: impl Into<Event>) {
        let seq = self.cluster.seq().next();
        let envelope = Envelope {
            seq,
            id: EventId(Uuid::from_u128(u128::from(seq.0))),
            at: chrono::DateTime::UNIX_EPOCH,
            actor: Actor::Anonymous,
            request_id: None,
            cause: None,
            event: event.into(),
        };
        self.cluster.apply(&envelope, &mut self.touched);
        self.touched = Touched::default();
    }
}

/// A cluster in which every node has 100 containers of 256 MiB, of applications with 250 containers each.
fn cluster() -> State {
    let mut state = State { cluster: Cluster::default(), touched: Touched::default() };
    for number in 0..NODES {
        let node_id = node(number);
        state.add(NodeMounted {
            node_id,
            name: format!("node-{number}"),
            user_id: None,
            endpoint: format!("tcp://node-{number}:2375").parse().expect("an endpoint"),
            labels: BTreeMap::from([("zone".to_owned(), format!("zone-{}", number % ZONES))]),
            capacity: None,
        });
        let engine = EngineFacts {
            kind: "docker".to_owned(),
            version: "29.0.0".to_owned(),
            api_version: "1.52".to_owned(),
            cpus: MilliCpus(64_000),
            memory_bytes: 128 << 30,
            platform: "linux/amd64".to_owned(),
            engine_id: format!("simulated-{number}"),
        };
        let outcome = ProbeOutcome::Answered { running: None, foreign: None };
        state.add(NodeObserved {
            node_id,
            outcome,
            latency_ms: 1,
            engine: Some(Box::new(engine)),
            orphans: Vec::new(),
        });
        state.add(NodeHealthy { node_id, successes: 2 });
    }
    let spec = Spec {
        docker_image: "kdaemon/busybox".to_owned(),
        resources: Resources {
            cpus: Some(MilliCpus(100)),
            memory_bytes: Some(256 << 20),
            ..Resources::default()
        },
        ..Spec::default()
    };
    for number in 0..CONTAINERS / 250 {
        state.add(ApplicationCreated {
            application_id: application(number),
            name: format!("application-{number}"),
            user_id: None,
            spec: Box::new(spec.clone()),
            is_enabled: true,
            dependencies: Vec::new(),
            replicas: Some(250),
            update_policy: UpdatePolicy::Manual,
            update: kdaemon_events::application::UpdateSettings::default(),
        });
    }
    for number in 0..CONTAINERS {
        if number % 100_000 == 0 {
            progress(&format!("scheduler: {number} of {CONTAINERS} containers created"));
        }
        let (container_id, node_id, generation) = (container(number), node(number % NODES), Generation(1));
        state.add(ContainerCreated {
            container_id,
            name: format!("container-{number}"),
            user_id: None,
            application_id: Some(application(number / 250)),
            env_variables: BTreeMap::new(),
            balance: true,
            replica: true,
        });
        state.add(ContainerLaunchRequested { container_id, generation: None });
        state.add(ContainerPlaced { container_id, generation, node_id, evaluation: Box::default() });
        state.add(ContainerLaunched {
            container_id,
            generation,
            node_id,
            engine_id: String::new(),
            image_id: String::new(),
            ports: Vec::new(),
            volumes: Vec::new(),
            health_check: false,
            access_link: None,
        });
    }
    state
}

/// The mean duration of `times` runs.
fn each(times: u32, mut work: impl FnMut(usize)) -> Duration {
    let began = Instant::now();
    (0..times as usize).for_each(&mut work);
    began.elapsed() / times
}

/// Measures and enters the figures of the scheduler.
pub(crate) fn run(table: &mut Table) {
    let mut state = cluster();
    let what = format!("{NODES} nodes, {CONTAINERS} containers");
    // An unplaced container of each of many applications, so that each placement looks up different data.
    let waiting: Vec<_> = (0..1_000)
        .map(|number| {
            let id = container(CONTAINERS + number);
            state.add(ContainerCreated {
                container_id: id,
                name: format!("waiting-{number}"),
                user_id: None,
                application_id: Some(application(number * 4)),
                env_variables: BTreeMap::new(),
                balance: true,
                replica: true,
            });
            id
        })
        .collect();
    let cluster = &state.cluster;
    let time = |change: &dyn Fn(&mut Spec), strategy: Strategy, times: u32| {
        let mut spec = Spec { docker_image: "kdaemon/busybox".to_owned(), ..Spec::default() };
        change(&mut spec);
        each(times, |number| {
            let container = cluster.container(waiting[number % waiting.len()]).expect("the container exists");
            let request = Request::new(cluster, container, &spec, None, strategy);
            black_box(place(cluster, &request).expect("a node fits"));
        })
    };
    let resources =
        Resources { cpus: Some(MilliCpus(100)), memory_bytes: Some(256 << 20), ..Resources::default() };
    let demanding = |spec: &mut Spec| {
        spec.constraints = vec!["zone==zone-7".parse().expect("a constraint")];
        spec.resources = resources;
    };
    progress("scheduler: placements");
    table.figure(
        &format!("{what}: one placement, spread"),
        Value::Time(time(&|_| (), Strategy::Spread, PLACEMENTS)),
        Limit::Below(Value::Time(Duration::from_micros(2))),
    );
    table.figure(
        "  with a constraint and resources, spread",
        Value::Time(time(&demanding, Strategy::Spread, PLACEMENTS)),
        Limit::Below(Value::Time(Duration::from_micros(20))),
    );
    table.figure(
        "  with a constraint and resources, strategy resources",
        Value::Time(time(&demanding, Strategy::Resources, PLACEMENTS)),
        Limit::Below(Value::Time(Duration::from_micros(20))),
    );
    table.figure(
        "  with a constraint and resources, strategy binpack",
        Value::Time(time(&demanding, Strategy::Binpack, PLACEMENTS)),
        Limit::Below(Value::Time(Duration::from_micros(20))),
    );
    table.note(
        "  spread over zones, with a preference (looks at every node)",
        Value::Time(time(
            &|spec| {
                spec.spread_over = Some("zone".to_owned());
                spec.preferences = vec!["zone!=zone-3".parse().expect("a constraint")];
            },
            Strategy::Spread,
            100,
        )),
    );
    progress(&format!("scheduler: losing {LOST} nodes"));
    for number in 0..LOST {
        let node_id = node(number * NODES / LOST);
        state.add(NodeUnhealthy { node_id, failures: 3, failure: Failure::refused("no answer").into() });
    }
    let cluster = &state.cluster;
    let mut best = Duration::MAX;
    // The best of many, because other load on the machine only adds time.
    for _ in 0..40 {
        let lost = cluster.nodes().filter(|node| !node.is_eligible()).flat_map(|node| node.residents.clone());
        let began = Instant::now();
        let moves = evacuate(cluster, lost, Strategy::Spread).filter(|(_, choice)| choice.is_ok()).count();
        let evening = plan(cluster, Strategy::Spread);
        best = best.min(began.elapsed());
        assert_eq!(moves, LOST * CONTAINERS / NODES);
        assert!(evening.chains.is_empty());
    }
    table.figure(
        &format!("  the plan after losing {LOST} nodes: {} moves", LOST * CONTAINERS / NODES),
        Value::Time(best),
        Limit::Below(Value::Time(Duration::from_millis(200))),
    );
}

/// The nodes of the million containers, and the containers per application.
const C1M_NODES: u16 = 5_000;
const REPLICAS: usize = 300;
/// The number of applications that are created concurrently.
const UNDER_WAY: usize = 8;

/// Measures and enters the figures of a million containers.
pub(crate) fn run_c1m(table: &mut Table) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut child = role("c1m", dir.path()).stdout(Stdio::piped()).spawn().expect("this program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut number =
        || -> u64 { lines.next().and_then(Result::ok).and_then(|l| l.parse().ok()).expect("a number") };
    let (micros, bytes, events, log_bytes) = (number(), number(), number(), number());
    assert!(child.wait().expect("the process ends").success(), "not all containers were placed");
    let took = Duration::from_micros(micros);
    table.figure(
        &format!("C1M: {CONTAINERS} containers placed on {C1M_NODES} nodes, all durable"),
        Value::Time(took),
        Limit::Below(Value::Time(Duration::from_secs(60))),
    );
    #[allow(clippy::cast_precision_loss)] // rounded for display
    table.note("  events made durable", Value::PerSecond(events as f64 / took.as_secs_f64()));
    table.note("  the log on disk", Value::Bytes(log_bytes));
    table.figure("  resident memory", Value::Bytes(bytes), Limit::Below(Value::Bytes(1_500_000_000)));
}

/// The role of the process that places a million containers. Prints four lines: the duration in microseconds, the resident
/// memory in bytes, the number of events, and the size of the log in bytes.
pub(crate) fn place_a_million(arguments: &[String]) {
    let dir = arguments.first().map(Path::new).expect("a folder");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(dir).expect("a store"));
        let journal = Journal::open(Arc::clone(&store), Arc::new(SystemRuntime), Arc::new(Policy::default()));
        let journal = journal.await.expect("a journal");
        submit(&journal, Command::CreateCluster(ClusterId(SystemRuntime.random()))).await;
        let mut mounts = JoinSet::new();
        (1..=C1M_NODES).for_each(|number| drop(mounts.spawn(mount(journal.clone(), number))));
        mounts.join_all().await;
        let before = journal.cluster().seq().0;
        let began = Instant::now();
        let mut shown = Instant::now();
        let mut tasks = JoinSet::new();
        for first in (0..CONTAINERS).step_by(REPLICAS) {
            while tasks.len() >= UNDER_WAY {
                tasks.join_next().await.expect("a task").expect("the task succeeds");
            }
            if shown.elapsed() > Duration::from_secs(2) {
                let (done, seconds) = (journal.cluster().containers().len(), began.elapsed().as_secs());
                let bar = "#".repeat(done * 40 / CONTAINERS);
                progress(&format!("c1m: [{bar:<40}] {done} containers after {seconds} s"));
                shown = Instant::now();
            }
            let create = CreateApplication {
                name: format!("application-{}", first / REPLICAS),
                user_id: None,
                spec: SpecChanges {
                    docker_image: Some("kdaemon/busybox".to_owned()),
                    ..SpecChanges::default()
                },
                is_enabled: true,
                affinity: Vec::new(),
                dependencies: Vec::new(),
                replicas: u32::try_from(REPLICAS.min(CONTAINERS - first)).ok(),
                update_policy: UpdatePolicy::Manual,
                update: kdaemon_events::application::UpdateSettings::default(),
            };
            let journal = journal.clone();
            tasks.spawn(async move {
                drop(submit(&journal, Command::CreateApplication(create)).await);
            });
        }
        tasks.join_all().await;
        let took = began.elapsed();
        let cluster = journal.cluster();
        assert_eq!(
            cluster.containers().filter(|container| container.placement.is_some()).count(),
            CONTAINERS
        );
        let counts = || cluster.nodes().map(|node| node.container_count());
        assert!(counts().max().zip(counts().min()).is_some_and(|(most, least)| most - least <= 1));
        println!("{}\n{}", took.as_micros(), resident(std::process::id()));
        println!("{}", cluster.seq().0 - before);
        drop(cluster);
        journal.close().await;
        store.close().await;
        println!("{}", std::fs::metadata(dir.join("kdaemon.db")).expect("the log").len());
    });
}
