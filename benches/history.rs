//! A long log: folded, verified, opened by a daemon, searched, and read at any moment.
//!
//! A generator makes the log, `BENCH_EVENTS` events of a cluster with 100 nodes and 1,000 containers. Most events are
//! probes; from time to time a node fails, containers move, and a user edits a container.

use crate::figures::{Limit, Table, Value, median, progress};
use crate::http::Connection;
use crate::scale::{resident, role};
use kdaemon::config::Config;
use kdaemon::daemon;
use kdaemon::journal::{SNAPSHOT_INTERVAL, fold_log, fold_whole_log};
use kdaemon::store::prelude::*;
use kdaemon::store::{Commit, Head, SqliteStore, StoredEvent};
use kdaemon::verify::VerifyLog as _;
use kdaemon_events::application::ApplicationCreated;
use kdaemon_events::cluster::ClusterCreated;
use kdaemon_events::container::{
    ContainerCreated, ContainerLaunchRequested, ContainerLaunched, ContainerMigrated,
    ContainerMigrationCommanded, ContainerPlaced, ContainerRemoved, ContainerUpdated, MigrationReason,
};
use kdaemon_events::failure::Failure;
use kdaemon_events::node::{
    EngineFacts, NodeHealthy, NodeMounted, NodeObserved, NodeUnhealthy, ProbeOutcome,
};
use kdaemon_events::scheduling::{Evaluation, Score};
use kdaemon_events::{
    Actor, ApplicationId, ClusterId, CommitId, ContainerId, Endpoint, Envelope, Event, EventId, Generation,
    MilliCpus, NodeId, RequestId, Salt, Seq, Spec, UpdatePolicy,
};
use kdaemon_projections::{Cluster, Touched};
use kdaemon_testing::engines::SimulatedEngines;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The default length of the log.
const EVENTS: u64 = 10_000_000;
const NODES: u64 = 100;
const CONTAINERS: u64 = 1_000;
/// The number of events that are folded from memory.
const IN_MEMORY: u64 = 1_000_000;
/// The number of moments that are read, and of pages per filter.
const LOOKS: u64 = 40;
/// The number of times that the whole log is folded and verified.
const TIMES: u32 = 3;
/// Events per commit.
const COMMIT: usize = 500;

/// Measures and enters the figures.
pub(crate) fn run(table: &mut Table) {
    let events = std::env::var("BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    fold_in_memory(table, events.min(IN_MEMORY));
    // A single thread, for figures per core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(write(dir.path(), events));
    runtime.block_on(fold_and_verify(table, dir.path(), events));
    look(table, dir.path(), events);
}

fn rate(events: u64, took: Duration) -> Value {
    #[allow(clippy::cast_precision_loss)] // rounded for display
    Value::PerSecond(events as f64 / took.as_secs_f64())
}

fn fold_in_memory(table: &mut Table, events: u64) {
    progress(&format!("history: folding {events} events from memory"));
    let log: Vec<Envelope> =
        Generator::default().take(usize::try_from(events).expect("the length fits")).collect();
    let began = Instant::now();
    let (mut cluster, mut touched) = (Cluster::default(), Touched::default());
    for envelope in &log {
        cluster.apply(envelope, &mut touched);
    }
    let took = began.elapsed();
    assert_eq!(black_box(cluster).containers().len() as u64, CONTAINERS);
    let bound = Value::PerSecond(1_000_000.0);
    table.figure("history: events folded from memory, one core", rate(events, took), Limit::AtLeast(bound));
}

/// The processor time of this process so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this process");
    // proc(5): after the name in parentheses, fields 12 and 13 are user and system time, in ticks of 10 ms.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

/// Writes the log like a journal, in commits of 500 events.
pub(crate) async fn write(dir: &Path, events: u64) {
    let store = SqliteStore::open(dir).expect("a store");
    let mut head = Head::default();
    let mut generator = Generator::default();
    let mut bar = Bar::new("history: writing the log", events);
    while head.seq.0 < events {
        let left = usize::try_from(events - head.seq.0).unwrap_or(COMMIT).min(COMMIT);
        let stored = generator
            .by_ref()
            .take(left)
            .map(|event| StoredEvent::new(&event, Salt::default()).expect("an event"));
        let id = CommitId(Uuid::from_u128(u128::from(head.commits) + 1));
        let commit = Commit { id, events: stored.collect(), idempotency: Vec::new() };
        head = store.append(&head, commit).await.expect("room on the disk");
        bar.at(head.seq.0);
    }
    store.close().await;
}

/// Duration and processor time.
struct Best {
    took: Duration,
    by_processor: Duration,
}

/// Runs `work` several times and keeps the best, because other load on the machine only adds time. The store reads a page
/// of the log while the one before it is checked, so the figure per core is the processor time.
async fn best_of<T>(what: &str, mut work: impl AsyncFnMut() -> T) -> (T, Best) {
    let mut best = Best { took: Duration::MAX, by_processor: Duration::MAX };
    let mut time = 1;
    loop {
        progress(&format!("history: {what}: {time} of {TIMES}"));
        let (began, before) = (Instant::now(), processor_time());
        let made = work().await;
        best.took = best.took.min(began.elapsed());
        best.by_processor = best.by_processor.min(processor_time() - before);
        if time == TIMES {
            return (made, best);
        }
        time += 1;
    }
}

async fn fold_and_verify(table: &mut Table, dir: &Path, events: u64) {
    let store = SqliteStore::open(dir).expect("a store");
    let what = "folding from SQLite with snapshots";
    let (whole, best) = best_of(what, async || fold_whole_log(&store).await.expect("a log").0).await;
    table.figure(
        "history: events folded from SQLite, by processor time",
        rate(events, best.by_processor),
        Limit::AtLeast(Value::PerSecond(400_000.0)),
    );
    table.note("  by wall-clock time", rate(events, best.took));
    let kept = store.snapshots().await.expect("snapshots");
    let mut bytes = 0;
    for seq in &kept {
        let snapshot = store.snapshot_before(*seq).await.expect("a snapshot").expect("a snapshot");
        bytes += u64::try_from(snapshot.bytes.len()).expect("a size");
    }
    let log = std::fs::metadata(dir.join("kdaemon.db")).expect("the log").len();
    table.note(&format!("  {} snapshots, total size", kept.len()), Value::Bytes(bytes));
    table.note("  size of the log", Value::Bytes(log));
    let began = Instant::now();
    let (again, _) = fold_log(&store).await.expect("a log");
    table.note("  folded from the last snapshot", Value::Time(began.elapsed()));
    assert!(again == whole, "folding from a snapshot gives the same state");

    let ((), best) = best_of("verifying", async || {
        store.verify().await.expect("nothing was altered");
    })
    .await;
    let bound = Value::PerSecond(500_000.0);
    table.figure("history: events verified", rate(events, best.took), Limit::AtLeast(bound));
    table.note("  by its processor time", rate(events, best.by_processor));
    store.close().await;
}

/// Starts a daemon on the log and reads the past through its API.
fn look(table: &mut Table, dir: &Path, events: u64) {
    progress("history: starting a daemon on the log");
    let mut child = role("history-serve", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut line = || lines.next().and_then(Result::ok).expect("the daemon starts");
    let address: SocketAddr = line().parse().expect("an address");
    let started_in = Duration::from_micros(line().parse().expect("microseconds"));
    let seconds = |seconds| Limit::Below(Value::Time(Duration::from_secs(seconds)));
    let millis = |millis| Limit::Below(Value::Time(Duration::from_millis(millis)));
    table.figure(
        &format!("history: start on {events} events with a snapshot"),
        Value::Time(started_in),
        seconds(3),
    );

    let mut connection = Connection::open(address).expect("the daemon accepts");
    let mut ask = |path: String| {
        let began = Instant::now();
        let answer = connection.ask("GET", &format!("/0.0{path}"), "").expect("an answer");
        let took = began.elapsed();
        assert!(answer.is_success(), "{path}: {}", answer.status);
        took
    };
    progress("history: reading the state at any moment");
    // Far apart from each other.
    let moments: Vec<u64> =
        (1..=LOOKS).map(|n| 50_000.min(events / 2) + n * 7_919_777 % (events / 2)).collect();
    // Moments at the same distance from their snapshot; the best of them counts.
    let alike = |seq: u64| (0..u64::from(TIMES)).map(move |n| seq + n * SNAPSHOT_INTERVAL);
    let any: Vec<_> = moments
        .iter()
        .map(|seq| alike(*seq).map(|seq| ask(format!("/state?seq={seq}"))).min().unwrap_or_default())
        .collect();
    let worst = any.iter().max().copied().unwrap_or_default();
    table.figure("GET /state of any moment, 1,000 containers: the slowest", Value::Time(worst), millis(100));
    table.note("  its median", Value::Time(median(&any)));
    let near: Vec<_> = (1..=LOOKS).map(|n| ask(format!("/state?seq={}", moments[0] + n * 10))).collect();
    table.note("  of a moment near another one: median", Value::Time(median(&near)));
    let diff = ask(format!("/diff?from={}&to={}", events / 2, events / 2 + 100_000.min(events / 4)));
    table.note("GET /diff over 100,000 events", Value::Time(diff));
    let why: Vec<_> = (1..=LOOKS).map(|n| ask(format!("/why/containers/container-{n}"))).collect();
    table.note("GET /why/containers/{id}: median", Value::Time(median(&why)));

    progress("history: reading pages of the log");
    let middle = Generator::time(events / 2).to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let node = Generator::node(7);
    let filters = [
        String::new(),
        "kind=ContainerMigrated".to_owned(),
        "kind=NodeHealthy&kind=ContainerUpdated&kind=NodeUnhealthy".to_owned(),
        "actor=alice".to_owned(),
        "actor=health".to_owned(),
        "actor=no-one".to_owned(),
        format!("subject={node}"),
        format!("subject={node}&kind=NodeUnhealthy"),
        format!("subject={node}&actor=alice"),
        "actor=alice&kind=ContainerUpdated".to_owned(),
        "actor=alice&kind=NodeUnhealthy".to_owned(),
        format!("since={middle}"),
        format!("until={middle}&kind=ContainerMigrated"),
        format!("since={middle}&actor=alice&subject=container-7"),
    ];
    // All pages of all filters, several times; the best time of each page counts.
    let mut pages: BTreeMap<(&str, u64), Duration> = BTreeMap::new();
    for _ in 0..TIMES {
        for (filter, n) in filters.iter().flat_map(|filter| (0..LOOKS).map(move |n| (filter, n))) {
            let took = ask(format!("/events?{filter}&after={}", n * (events / LOOKS)).replace("?&", "?"));
            let best = pages.entry((filter, n)).or_insert(took);
            *best = took.min(*best);
        }
    }
    let slowest = pages.iter().map(|((filter, _), took)| (*took, *filter)).max().unwrap_or_default();
    table.figure("GET /events, 100 of them, by any filter: the slowest", Value::Time(slowest.0), millis(20));
    table.note("  the slowest filter", slowest.1.to_owned());
    table.note("  resident memory of the daemon", Value::Bytes(resident(child.id())));
    drop(child.stdin.take());
    let _ = child.wait();
}

/// The role of the daemon's process. Prints two lines: the address, and the duration of the start in microseconds. Runs until
/// stdin is closed.
pub(crate) fn serve(dir: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let config = Config {
        data_dir: dir.to_owned(),
        api_port: 0,
        local_node: false,
        // The engines of the log do not exist: avoid probes.
        health_interval: Duration::from_secs(3_600),
        probe_retry_interval: Duration::from_secs(3_600),
        ..Config::default()
    };
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
    let engines = Arc::new(SimulatedEngines::new(1));
    runtime.block_on(daemon::run_on(engines, config, shutdown, ready)).expect("the daemon runs");
}

/// A progress bar on stderr.
struct Bar {
    what: &'static str,
    all: u64,
    shown: u64,
    began: Instant,
}

impl Bar {
    fn new(what: &'static str, all: u64) -> Self {
        progress(&format!("{what}, {all} events"));
        Self { what, all, shown: 0, began: Instant::now() }
    }

    fn at(&mut self, now: u64) {
        let percent = now * 100 / self.all;
        if percent == self.shown || !std::io::stderr().is_terminal() && !percent.is_multiple_of(10) {
            return;
        }
        self.shown = percent;
        let filled = usize::try_from(percent / 4).unwrap_or(0);
        let end = if std::io::stderr().is_terminal() && percent < 100 { "\r" } else { "\n" };
        eprint!(
            ".. {} [{}{}] {percent:>3} % after {:.0?}{end}",
            self.what,
            "#".repeat(filled),
            ".".repeat(25 - filled),
            self.began.elapsed()
        );
    }
}

/// Generates the log event by event; deterministic.
#[derive(Default)]
struct Generator {
    seq: u64,
    /// Events that are ready to be returned.
    ready: std::collections::VecDeque<(Actor, Option<u64>, Event)>,
    /// The number of steps since the cluster was built.
    step: u64,
    generations: BTreeMap<u64, (u32, u64)>,
}

impl Generator {
    fn node(number: u64) -> NodeId {
        NodeId(Uuid::from_u128(0x0193_5a5b_7000_7000_8000_0000_0000_0000 + u128::from(number % NODES)))
    }
    fn container(number: u64) -> ContainerId {
        ContainerId(Uuid::from_u128(0x0193_5a5c_7000_7000_8000_0000_0000_0000 + u128::from(number)))
    }
    fn time(seq: u64) -> chrono::DateTime<chrono::Utc> {
        let micros = 1_700_000_000_000_000 + seq * 20_000;
        chrono::DateTime::from_timestamp_micros(i64::try_from(micros).expect("a time")).expect("a time")
    }

    fn push(&mut self, actor: &Actor, cause: Option<u64>, event: impl Into<Event>) {
        self.ready.push_back((actor.clone(), cause, event.into()));
    }

    fn probe(&mut self, number: u64, failure: Option<&str>, engine: Option<EngineFacts>) {
        let outcome = match failure {
            Some(reason) => ProbeOutcome::Failed { failure: Failure::refused(reason).into() },
            None => ProbeOutcome::Answered { running: Some(10), foreign: Some(0) },
        };
        let node_id = Self::node(number);
        let latency_ms = u32::try_from(number % 9).unwrap_or(0) + 1;
        let observed =
            NodeObserved { node_id, outcome, latency_ms, engine: engine.map(Box::new), orphans: Vec::new() };
        self.push(&Actor::reactor("health"), None, observed);
    }

    /// Mounts the nodes and creates the containers.
    fn begin(&mut self) {
        let alice = Actor::Token { name: "alice".to_owned() };
        let application_id = ApplicationId(Uuid::from_u128(0x0193_5a5d_7000_7000_8000_0000_0000_0000));
        self.push(&alice, None, ClusterCreated { cluster_id: ClusterId(Uuid::from_u128(1)) });
        for number in 0..NODES {
            let endpoint = Endpoint::Tcp { host: format!("node-{number}.invalid"), port: 2375 };
            let mounted = NodeMounted {
                node_id: Self::node(number),
                name: format!("node-{number}"),
                user_id: None,
                endpoint,
                labels: BTreeMap::from([("zone".to_owned(), format!("zone-{}", number % 3))]),
                capacity: None,
            };
            self.push(&alice, None, mounted);
            let engine = EngineFacts {
                kind: "docker".to_owned(),
                version: "29.0.0".to_owned(),
                api_version: "1.52".to_owned(),
                cpus: MilliCpus(4_000),
                memory_bytes: 8 << 30,
                platform: "linux/amd64".to_owned(),
                engine_id: format!("engine-{number}"),
            };
            self.probe(number, None, Some(engine));
            self.push(
                &Actor::reactor("health"),
                None,
                NodeHealthy { node_id: Self::node(number), successes: 1 },
            );
        }
        let created = ApplicationCreated {
            application_id,
            name: "web".to_owned(),
            user_id: None,
            spec: Box::new(Spec { docker_image: "registry.invalid/web:1".to_owned(), ..Spec::default() }),
            is_enabled: true,
            dependencies: Vec::new(),
            replicas: None,
            update_policy: UpdatePolicy::Manual,
            update: kdaemon_events::application::UpdateSettings::default(),
        };
        self.push(&alice, None, created);
        for number in 0..CONTAINERS {
            let container_id = Self::container(number);
            let created = ContainerCreated {
                container_id,
                name: format!("container-{number}"),
                user_id: None,
                application_id: Some(application_id),
                env_variables: BTreeMap::new(),
                balance: true,
                replica: false,
            };
            self.push(&alice, None, created);
            self.push(&alice, None, ContainerLaunchRequested { container_id, generation: None });
            let node_id = Self::node(number);
            let evaluation = Box::new(evaluation(u32::try_from(number / NODES).unwrap_or(0)));
            let placed = ContainerPlaced { container_id, generation: Generation(1), node_id, evaluation };
            self.push(&alice, None, placed);
            self.launched(number, 1, number);
            self.generations.insert(number, (1, number % NODES));
        }
    }

    fn launched(&mut self, number: u64, generation: u32, on: u64) {
        let digits = Self::container(number).0.simple();
        let launched = ContainerLaunched {
            container_id: Self::container(number),
            generation: Generation(generation),
            node_id: Self::node(on),
            engine_id: format!("{digits}{digits}"),
            image_id: format!("sha256:{digits}{digits}"),
            ports: Vec::new(),
            volumes: Vec::new(),
            health_check: false,
            access_link: Some(format!("http://node-{on}.invalid:{}", 32_768 + number)),
        };
        self.push(&Actor::reactor("launcher"), None, launched);
    }

    /// The next step, usually a probe.
    fn happen(&mut self) {
        self.step += 1;
        let step = self.step;
        let some = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        match step % 1_000 {
            500 => self.fail(some),
            100 | 300 | 700 | 900 => self.migrate(some % CONTAINERS, None),
            50 => {
                let updated = ContainerUpdated {
                    container_id: Self::container(some % CONTAINERS),
                    name: None,
                    user_id: Some(Some(format!("user-{}", some % 100))),
                    application_id: None,
                    env_variables: None,
                    balance: None,
                };
                self.push(&Actor::Token { name: "alice".to_owned() }, None, updated);
            }
            _ => self.probe(step, None, None),
        }
    }

    /// A node fails, its containers move, and it returns.
    fn fail(&mut self, number: u64) {
        let (number, node_id) = (number % NODES, Self::node(number));
        let health = Actor::reactor("health");
        for _ in 0..3 {
            self.probe(number, Some("connection refused"), None);
        }
        let unhealthy = self.seq + 4;
        let failure = Failure::refused("connection refused").into();
        self.push(&health, Some(unhealthy - 1), NodeUnhealthy { node_id, failures: 3, failure });
        let there: Vec<u64> =
            self.generations.iter().filter(|(_, (_, on))| *on == number).map(|(number, _)| *number).collect();
        for container in there {
            self.migrate(container, Some(unhealthy));
        }
        self.probe(number, None, None);
        self.probe(number, None, None);
        self.push(&health, None, NodeHealthy { node_id, successes: 2 });
    }

    fn migrate(&mut self, number: u64, cause: Option<u64>) {
        let Some((generation, on)) = self.generations.get(&number).copied() else { return };
        let (next, to) = (generation + 1, (on + 1 + self.step % (NODES - 1)) % NODES);
        let container_id = Self::container(number);
        let commanded = ContainerMigrationCommanded {
            container_id,
            from_node_id: Self::node(on),
            from_generation: Generation(generation),
            node_id: Self::node(to),
            generation: Generation(next),
            reason: cause.map_or(MigrationReason::Balance, |_| MigrationReason::Unhealthy),
            start_first: false,
            evaluation: Some(Box::new(evaluation(9))),
        };
        self.push(&Actor::reactor("rebalancer"), cause, commanded);
        self.launched(number, next, to);
        let launcher = Actor::reactor("launcher");
        let generation = Generation(generation);
        let migrated =
            ContainerMigrated { container_id, generation: Generation(next), node_id: Self::node(to) };
        self.push(&launcher, None, migrated);
        let removed = ContainerRemoved { container_id, generation, node_id: Self::node(on) };
        self.push(&Actor::reactor("janitor"), None, removed);
        self.generations.insert(number, (next, to));
    }
}

impl Iterator for Generator {
    type Item = Envelope;

    fn next(&mut self) -> Option<Envelope> {
        if self.seq == 0 && self.ready.is_empty() {
            self.begin();
        }
        while self.ready.is_empty() {
            self.happen();
        }
        let (actor, cause, event) = self.ready.pop_front()?;
        self.seq += 1;
        let request_id = matches!(actor, Actor::Token { .. })
            .then(|| RequestId(Uuid::from_u128(u128::from(self.seq) << 64).to_string()));
        Some(Envelope {
            seq: Seq(self.seq),
            id: EventId(Uuid::from_u128(0x0193_5a5b_7000_7000_8000_0000_0000_0000 | u128::from(self.seq))),
            at: Self::time(self.seq),
            actor,
            request_id,
            cause: cause.map(Seq),
            event,
        })
    }
}

/// The evaluation of a placement among many nodes.
fn evaluation(containers: u32) -> Evaluation {
    let score = Score { containers, ..Score::default() };
    Evaluation { score, eligible: u32::try_from(NODES).unwrap_or(u32::MAX), ..Evaluation::default() }
}
