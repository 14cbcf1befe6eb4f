//! A daemon: started as `src/daemon.rs` does, without the HTTP server; killed at any instruction; restarted
//! by its supervisor.

use crate::fence::{Fence, FencedEngines};
use crate::seed::Rng;
use crate::store::{Reached, Way};
use crate::world::World;
use kdaemon::journal::{Journal, Runtime, Submission};
use kdaemon::latest;
use kdaemon::leadership::Leadership;
use kdaemon::reactors::Reactors;
use kdaemon::store::EventStore;
use kdaemon_control::commands::Command;
use kdaemon_events::{Actor, ClusterId};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// A slot for a daemon, empty or not.
pub struct Slot {
    pub way: Arc<Mutex<Way>>,
    /// Whether a daemon should run here.
    pub wanted: latest::Sender<bool>,
    alive: Mutex<Option<Alive>>,
}

/// A running daemon.
#[derive(Clone)]
pub struct Alive {
    pub name: String,
    pub fence: Arc<Fence>,
    /// Present once it has taken the lead and serves requests.
    pub journal: Option<Journal>,
}

impl Slot {
    pub fn new() -> Self {
        Self { way: Arc::default(), wanted: latest::Sender::new(false), alive: Mutex::default() }
    }

    pub fn alive(&self) -> Option<Alive> {
        self.alive.lock().unwrap().clone()
    }

    /// Kills the daemon, if one runs. Returns whether one did.
    pub fn kill(&self) -> bool {
        self.alive().inspect(|alive| alive.fence.kill()).is_some()
    }
}

/// The daemon's own clock, which is off by some seconds, and its own random numbers.
struct Own {
    began: tokio::time::Instant,
    skew: Duration,
    rng: Mutex<Rng>,
}

impl Runtime for Own {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::DateTime::UNIX_EPOCH + self.began.elapsed() + self.skew + Duration::from_secs(1_767_225_600)
    }
    fn random(&self) -> Uuid {
        self.rng.lock().unwrap().uuid()
    }
}

/// Keeps a daemon running in a slot, indefinitely.
pub async fn supervise(world: Arc<World>, number: usize) {
    let slot = &world.slots[number];
    let mut wanted = slot.wanted.subscribe();
    let mut rng = Rng::new(world.seed, &format!("supervisor of {number}"));
    for start in 1_u32.. {
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        let fence = Fence::new();
        let name = format!("daemon-{number}.{start}");
        *slot.alive.lock().unwrap() =
            Some(Alive { name: name.clone(), fence: Arc::clone(&fence), journal: None });
        tokio::select! {
            biased;
            () = fence.death() => {}
            () = run(&world, number, &name, &fence) => fence.kill(),
            _ = wanted.wait_for(|wanted| !*wanted) => fence.kill(),
        }
        *slot.alive.lock().unwrap() = None;
        tokio::time::sleep(Duration::from_millis(rng.within(100..=world.profile.longest_restart_ms))).await;
    }
}

/// Returns when the daemon could not start: its process ends then.
async fn run(world: &Arc<World>, number: usize, name: &str, fence: &Arc<Fence>) {
    let slot = &world.slots[number];
    let store: Arc<dyn EventStore> = Arc::new(Reached {
        shared: Arc::clone(&world.shared),
        fence: Arc::clone(fence),
        way: Arc::clone(&slot.way),
        rng: Mutex::new(Rng::new(world.seed, &format!("store of {name}"))),
        daemon: name.to_owned(),
    });
    let runtime = Arc::new(Own {
        began: world.began,
        skew: world.profile.skew * u32::try_from(number).unwrap_or(0),
        rng: Mutex::new(Rng::new(world.seed, name)),
    });
    let Ok(journal) = Journal::open(store, runtime.clone(), Arc::clone(&world.profile.policy)).await else {
        return;
    };
    let submit = |command| journal.submit(Submission::new(command, Actor::reactor("daemon")));
    if journal.cluster().id().is_none()
        && submit(Command::CreateCluster(ClusterId(runtime.random()))).await.is_err()
    {
        return;
    }
    let term = journal.cluster().term().next();
    if submit(Command::BecomeLeader { term, daemon: name.to_owned() }).await.is_err() {
        return;
    }
    let engines = FencedEngines {
        inner: Arc::new(world.engines.clone()),
        fence: Arc::clone(fence),
        shared: Arc::clone(&world.shared),
    };
    let settings = world.profile.settings.clone();
    let reactors = Stopped(Some(Reactors::start(
        journal.clone(),
        Arc::new(engines),
        settings,
        Leadership::permanent(term),
    )));
    *slot.alive.lock().unwrap() =
        Some(Alive { name: name.to_owned(), fence: Arc::clone(fence), journal: Some(journal.clone()) });
    let mut subscription = journal.subscribe();
    drop(journal);
    while let Ok(Some(committed)) = subscription.next().await {
        world.shared.checker().published(name, &committed);
    }
    drop(reactors);
}

/// Stops the reactors when dropped. Nothing they do from then on passes the fence: for the outside world they
/// died with the process; this only ends their tasks.
struct Stopped(Option<Reactors>);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(reactors) = self.0.take() {
            tokio::spawn(reactors.stop());
        }
    }
}
