//! One simulated world: machines, daemons, people, and what a seed makes of them.

use crate::daemon::{Slot, supervise};
use crate::faults::{self, Fault};
use crate::invariants::{Checker, Findings};
use crate::people;
use crate::replayed;
use crate::rest;
use crate::seed::Rng;
use crate::store::Shared;
use kdaemon::reactors::Settings;
use kdaemon::store::EventQuery;
use kdaemon::store::prelude::*;
use kdaemon::verify::VerifyLog as _;
use kdaemon_control::commands::Policy;
use kdaemon_events::{Endpoint, Envelope, MilliCpus};
use kdaemon_testing::engines::{SimulatedEngines, SimulatedMachine};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// As configured by default.
const SHORTEST_LEASE: Duration = Duration::from_millis(2_500);

/// The choices of a seed for a whole run.
pub struct Profile {
    pub machines: usize,
    /// Whether nothing may hinder an even spread.
    pub plain: bool,
    pub people: usize,
    /// The probability of each fault; 0 for most of them ("swarm testing": frequent faults hide rare ones).
    pub faults: Vec<(u64, Fault)>,
    /// The factor by which everything is slower than in a busy cluster.
    pub tempo: u32,
    pub fault_every: Duration,
    pub command_every: Duration,
    pub longest_restart_ms: u64,
    /// How far the clock of each further daemon is ahead.
    pub skew: Duration,
    pub settings: Settings,
    pub policy: Arc<Policy>,
    /// How long the lease of a leader holds. `None`: a daemon takes the lead when it starts, and one that was deposed
    /// continues until its commands are refused, as a process that was suspended does.
    pub lease: Option<Duration>,
}

impl Profile {
    fn new(seed: u64, slowest: u32) -> Self {
        let mut rng = Rng::new(seed, "profile");
        let two_daemons = rng.chance(350);
        let faults = Fault::ALL.iter().filter(|fault| two_daemons || **fault != Fault::SecondDaemon);
        let faults: Vec<Fault> = faults.copied().filter(|_| rng.chance(450)).collect();
        let mut faults: Vec<(u64, Fault)> = faults.into_iter().map(|f| (rng.within(1..=6), f)).collect();
        if faults.is_empty() {
            faults.push((1, Fault::KillDaemon));
        }
        // What happens in a minute in a busy cluster takes two hours in a calm one, whose nodes are probed
        // less often.
        let (tempo, health_interval) = rng.weighted(&[(3, (1, 2)), (3, (5, 5)), (5, (120, 60))]);
        let (tempo, health_interval) = (tempo.min(slowest), Duration::from_secs(health_interval));
        let policy = Policy { max_migrations: 1 + rng.below(8), ..Policy::default() };
        Self {
            machines: 3 + rng.below(10),
            plain: rng.chance(300),
            people: 1 + rng.below(3),
            faults,
            tempo,
            fault_every: tempo * Duration::from_millis(rng.within(2_000..=60_000)),
            command_every: tempo * Duration::from_millis(rng.within(500..=20_000)),
            longest_restart_ms: rng.within(200..=20_000),
            skew: Duration::from_millis(*rng.pick(&[0, 3_000, 10_800_000]).unwrap_or(&0)),
            settings: Settings { health_interval, snapshot_interval: 500, ..Settings::default() },
            policy: Arc::new(policy),
            // Of a stream of its own: all else is as it was before there were leases.
            lease: Rng::new(seed, "lease").chance(600).then(|| health_interval.max(SHORTEST_LEASE)),
        }
    }
}

pub struct World {
    pub seed: u64,
    pub began: Instant,
    pub profile: Profile,
    pub engines: SimulatedEngines,
    pub shared: Arc<Shared>,
    pub slots: Vec<Slot>,
    pub findings: Arc<Findings>,
    pub promises: Mutex<people::Promises>,
    /// Cancelled when the faults stop.
    pub peace: Mutex<CancellationToken>,
    pub faults: AtomicU64,
}

/// The result of a run.
pub struct Report {
    pub simulated: Duration,
    pub faults: u64,
    pub events: u64,
    pub violations: Vec<String>,
    /// A digest of the whole log.
    pub digest: String,
}

pub fn endpoint(number: usize) -> Endpoint {
    Endpoint::Tcp { host: format!("node-{number}"), port: 2375 }
}

/// Runs one seed for at least `simulated` in virtual time, multiplied by the cluster's tempo but at most by
/// `slowest`.
pub fn run(seed: u64, simulated: Duration, slowest: u32) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing");
    runtime.block_on(async {
        let world = World::new(seed, slowest);
        let ended = world.findings.stop.clone();
        let faults = {
            let world = Arc::clone(&world);
            async move { world.live(simulated).await }
        };
        let _ = ended.run_until_cancelled(faults).await;
        world.report().await
    })
}

impl World {
    fn new(seed: u64, slowest: u32) -> Arc<Self> {
        let profile = Profile::new(seed, slowest);
        let engines = SimulatedEngines::new(seed);
        let mut rng = Rng::new(seed, "machines");
        for number in 1..=profile.machines {
            engines.add(&endpoint(number), machine(&mut rng, profile.plain));
        }
        let findings = Arc::new(Findings::default());
        let checker = Checker::new(profile.policy.max_migrations, Arc::clone(&findings));
        Arc::new(Self {
            seed,
            began: Instant::now(),
            profile,
            engines,
            shared: Arc::new(Shared::new(checker)),
            slots: vec![Slot::new(), Slot::new()],
            findings,
            promises: Mutex::default(),
            peace: Mutex::default(),
            faults: AtomicU64::new(0),
        })
    }

    async fn live(self: &Arc<Self>, simulated: Duration) {
        rest::add_strangers(self).await;
        for number in 0..self.slots.len() {
            tokio::spawn(supervise(Arc::clone(self), number));
        }
        self.slots[0].wanted.send_replace(true);
        let mut rng = Rng::new(self.seed, "phases");
        while self.began.elapsed() < simulated * self.profile.tempo {
            let peace = CancellationToken::new();
            *self.peace.lock().unwrap() = peace.clone();
            let mut tasks = vec![tokio::spawn(faults::run(Arc::clone(self), peace.clone(), rng.number()))];
            for _ in 0..self.profile.people {
                tasks.push(tokio::spawn(people::run(Arc::clone(self), peace.clone(), rng.number())));
            }
            tokio::time::sleep(self.profile.tempo * Duration::from_secs(rng.within(120..=1_200))).await;
            peace.cancel();
            for task in tasks {
                if let Err(error) = task.await {
                    self.findings.add(format!("the simulation itself failed: {error}"));
                }
            }
            rest::check(self, &mut rng).await;
        }
    }

    pub fn counts_as_fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    async fn report(&self) -> Report {
        let query = EventQuery { limit: usize::MAX, ..EventQuery::default() };
        let memory = &self.shared.memory;
        match memory.query(query).await {
            Ok(texts) => {
                let log: Vec<_> = texts.iter().filter_map(|text| Envelope::decode(&text.json).ok()).collect();
                let policy = &self.profile.policy;
                // Only the tests' own seeds: a replay of a long run takes as long as the run.
                if self.seed < 1_000
                    && let Some(what) =
                        replayed::deviation(&log, policy).or_else(|| replayed::unsoundness(&log, policy))
                {
                    self.findings.add(what);
                }
                self.shared.checker().unchanged(texts.into_iter().map(|text| text.json));
            }
            Err(error) => self.findings.add(error.to_string()),
        }
        self.promises.lock().unwrap().check(&self.shared.checker());
        if !self.findings.all().is_empty() && std::env::var_os("SIMULATE_VERBOSE").is_some() {
            eprintln!("{}", rest::last_events(self).await);
        }
        let digest = match memory.verify().await {
            Ok(head) => format!("{:?} {:?}", head.seq, head.root),
            Err(error) => {
                self.findings.add(error.to_string());
                String::new()
            }
        };
        Report {
            simulated: self.began.elapsed(),
            faults: self.faults.load(Ordering::Relaxed),
            events: self.shared.checker().events(),
            violations: self.findings.all(),
            digest,
        }
    }
}

pub fn machine(rng: &mut Rng, plain: bool) -> SimulatedMachine {
    const GIB: u64 = 1024 * 1024 * 1024;
    let cpus = if plain { 64_000 } else { *rng.pick(&[2_000, 4_000, 8_000]).unwrap_or(&4_000) };
    let memory_bytes = GIB * if plain { 256 } else { *rng.pick(&[2, 8, 16]).unwrap_or(&8) };
    SimulatedMachine { cpus: MilliCpus(cpus), memory_bytes, ..SimulatedMachine::default() }
}
