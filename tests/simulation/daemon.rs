//! A daemon: started as `src/daemon.rs` does, without the HTTP server; killed at any instruction; restarted
//! by its supervisor.

use crate::fence::{Fence, FencedEngines};
use crate::seed::Rng;
use crate::store::{Reached, Way};
use crate::world::World;
use kdaemon::journal::{Journal, Runtime, Submission};
use kdaemon::latest;
use kdaemon::leader::Candidate;
use kdaemon::leadership::Leadership;
use kdaemon::reactors::Reactors;
use kdaemon::store::prelude::*;
use kdaemon_control::commands::Command;
use kdaemon_events::{Actor, ClusterId};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a daemon that is shut down may take to leave before it is killed.
const LEAVE: Duration = Duration::from_secs(10);

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
        let leave = CancellationToken::new();
        let run = run(&world, number, &name, &fence, &leave);
        tokio::pin!(run);
        let not_wanted = async { drop(wanted.wait_for(|wanted| !*wanted).await) };
        let is_leaving = tokio::select! {
            biased;
            () = fence.death() => false,
            () = &mut run => false,
            () = not_wanted => true,
        };
        if is_leaving {
            leave.cancel();
            tokio::select! {
                biased;
                () = fence.death() => {}
                _ = tokio::time::timeout(LEAVE, run) => {} // what has not left by then is killed
            }
        }
        fence.kill();
        *slot.alive.lock().unwrap() = None;
        tokio::time::sleep(Duration::from_millis(rng.within(100..=world.profile.longest_restart_ms))).await;
    }
}

/// Returns when the daemon could not start, or has left: its process ends then.
async fn run(world: &Arc<World>, number: usize, name: &str, fence: &Arc<Fence>, leave: &CancellationToken) {
    let slot = &world.slots[number];
    let mut rng = Rng::new(world.seed, &format!("store of {name}"));
    let is_inline = rng.chance(500);
    let store: Arc<dyn Store> = Arc::new(Reached {
        shared: Arc::clone(&world.shared),
        fence: Arc::clone(fence),
        way: Arc::clone(&slot.way),
        rng: Mutex::new(rng),
        is_inline,
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
    let engines = Arc::new(FencedEngines {
        world: world.engines.clone(),
        fence: Arc::clone(fence),
        shared: Arc::clone(&world.shared),
        daemon: name.to_owned(),
        has_lease: world.profile.lease.is_some(),
    });
    let start = {
        let (journal, settings) = (journal.clone(), world.profile.settings.clone());
        let (shared, name) = (Arc::clone(&world.shared), name.to_owned());
        move |leadership: Leadership| {
            shared.leads(&name, &leadership);
            Reactors::start(journal.clone(), engines.clone(), settings.clone(), leadership)
        }
    };
    let leading = match world.profile.lease {
        Some(duration) => {
            let (follower, dead) = (journal.clone(), Arc::clone(fence));
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = dead.death() => {}
                    () = follower.follow() => {}
                }
            });
            let (candidate, _) = Candidate::new(journal.clone(), runtime.random(), name.to_owned(), duration);
            let shutdown = CancellationToken::new();
            let candidate = tokio::spawn(candidate.run(start, shutdown.clone()));
            Leading::ByLease(shutdown, candidate)
        }
        None => {
            let term = journal.cluster().term().next();
            if submit(Command::BecomeLeader { term, daemon: name.to_owned() }).await.is_err() {
                return;
            }
            Leading::Regardless(Some(start(Leadership::permanent(term))))
        }
    };
    *slot.alive.lock().unwrap() =
        Some(Alive { name: name.to_owned(), fence: Arc::clone(fence), journal: Some(journal.clone()) });
    let mut subscription = journal.subscribe();
    let check = async {
        while let Ok(Some(committed)) = subscription.next().await {
            world.shared.checker().published(name, &committed);
        }
    };
    tokio::select! {
        biased;
        () = check => {}
        () = leave.cancelled() => leading.leave().await,
    }
}

/// How a daemon came to lead. To the world outside it leads no longer once its fence is closed; dropping this ends the
/// tasks.
enum Leading {
    /// By the lease, as `src/daemon.rs` does it.
    ByLease(CancellationToken, tokio::task::JoinHandle<()>),
    /// By a term alone: it keeps believing that it leads, as a process that was suspended does.
    Regardless(Option<Reactors>),
}

impl Leading {
    /// Gives the lead up, as a daemon does that is shut down.
    async fn leave(mut self) {
        if let Self::ByLease(shutdown, candidate) = &mut self {
            shutdown.cancel();
            if let Err(error) = candidate.await {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        match self {
            Self::ByLease(shutdown, _) => shutdown.cancel(),
            Self::Regardless(reactors) => drop(reactors.take().map(|reactors| tokio::spawn(reactors.stop()))),
        }
    }
}
