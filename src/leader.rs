//! Leader election: of all daemons on one log, one runs the reactors.
//!
//! The leader holds a lease in the store and renews it. A daemon that sees the lease unchanged for its whole
//! duration takes it over. Each daemon measures that with its own monotonic clock: clocks of two machines are
//! never compared. (As in Martin Kleppmann, "How to do distributed locking", 2016, the lease alone makes
//! nothing safe: it says who tries.) The term keeps a deposed leader from doing harm: the log has a
//! `LeaderElected` for each term, every command of a reactor carries its term, and `decide` refuses an
//! earlier one. In addition, the lease ends sooner for its holder than for the others, and no work on an
//! engine is started after that.
//!
//! Architecture Invariant: only this module starts the reactors.

use crate::journal::{Journal, Submission, SubmitError};
use crate::latest as watch;
use crate::leadership::Leadership;
use crate::reactors::Reactors;
use crate::store::{Lease, LeaseStore, StoreError};
use kdaemon_control::commands::{Command, Refusal};
use kdaemon_events::Actor;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The lease is checked and renewed this many times per duration.
const LOOKS: u32 = 5;

/// The daemon's current role, as shown by `/readyz` and `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    /// Whether this daemon leads.
    pub leads: bool,
    /// The name of the leader, as far as this daemon knows.
    pub leader: Option<String>,
}

/// A daemon that leads whenever no other does.
pub struct Candidate {
    journal: Journal,
    store: Arc<dyn LeaseStore>,
    /// Identifies this process: a new random id for each start.
    id: Uuid,
    name: String,
    duration: Duration,
    role: watch::Sender<Role>,
    /// The last version of the lease that was seen, and since when.
    seen: Option<(u64, Instant)>,
}

/// A lease that this daemon holds, and its version.
struct Held {
    leadership: Leadership,
    version: u64,
}

impl Candidate {
    /// A candidate, and a receiver of its role. `duration` is how long an unrenewed lease holds.
    #[must_use]
    pub fn new(
        journal: Journal,
        id: Uuid,
        name: String,
        duration: Duration,
    ) -> (Self, watch::Receiver<Role>) {
        let (role, roles) = watch::channel(Role::default());
        let store = Arc::clone(journal.store());
        (Self { journal, store, id, name, duration, role, seen: None }, roles)
    }

    fn pause(&self) -> Duration {
        self.duration / LOOKS
    }

    /// Leads whenever no other daemon does, until `shutdown` is cancelled; then releases the lease.
    pub async fn run(mut self, start: impl Fn(Leadership) -> Reactors, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let campaign = self.campaign();
            if let Some(Some(mut held)) = shutdown.run_until_cancelled(campaign).await {
                tracing::info!(term = %held.leadership.term, "became leader");
                self.role.send_replace(Role { leads: true, leader: Some(self.name.clone()) });
                let reactors = start(held.leadership.clone());
                self.hold(&mut held, &reactors, &shutdown).await;
                self.role.send_modify(|role| role.leads = false);
                held.leadership.extend(Instant::now());
                reactors.stop().await;
                self.resign(&held).await;
                tracing::info!(term = %held.leadership.term, "no longer leader");
            }
            let _ = shutdown.run_until_cancelled(sleep(self.pause())).await; // cancelled: the loop ends
        }
    }

    /// Takes the lease if it is free, and starts a new term.
    async fn campaign(&mut self) -> Option<Held> {
        let lease = match timeout(self.duration, self.store.lease()).await {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot read the lease");
                return None;
            }
            Err(_) => return None,
        };
        let version = lease.as_ref().map_or(0, |lease| lease.version);
        self.show_leader(lease.as_ref());
        if !self.is_free(lease.as_ref(), version) {
            return None;
        }
        let began = Instant::now();
        if !self.write(version, lease.map_or(0, |lease| lease.term), self.id).await.ok()? {
            return None; // another daemon was faster
        }
        // From here on the others wait for this daemon. The log decides the term.
        let term = self.journal.cluster().term().next();
        let elect = Command::BecomeLeader { term, daemon: self.name.clone() };
        match self.journal.submit_patiently(Submission::new(elect, Actor::reactor("daemon"))).await {
            Ok(_) => {}
            Err(SubmitError::Refused(Refusal::Deposed { .. })) => return None, // the next check shows the new leader
            Err(error) => {
                tracing::warn!(%error, "cannot record the election");
                return None;
            }
        }
        let leadership = Leadership::until(term, began + self.own_duration());
        Some(Held { leadership, version: version + 1 })
    }

    /// The lease duration as the holder counts it: one fifth shorter than for the others.
    fn own_duration(&self) -> Duration {
        self.duration * (LOOKS - 1) / LOOKS
    }

    fn show_leader(&self, lease: Option<&Lease>) {
        let leader = lease.filter(|lease| !lease.holder.is_nil()).map(|lease| lease.name.clone());
        self.role.send_if_modified(|role| {
            let changed = role.leader != leader;
            role.leader = leader;
            changed
        });
    }

    /// Whether the lease may be taken: it was released, or not renewed for its whole duration.
    fn is_free(&mut self, lease: Option<&Lease>, version: u64) -> bool {
        let Some(lease) = lease.filter(|lease| !lease.holder.is_nil() && lease.holder != self.id) else {
            return true;
        };
        match self.seen {
            Some((seen, since)) if seen == version => since.elapsed() >= self.duration,
            _ => {
                tracing::debug!(leader = lease.name, version, "another daemon leads");
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    async fn write(&self, expected: u64, term: u64, holder: Uuid) -> Result<bool, StoreError> {
        let lease = Lease { holder, name: self.name.clone(), term, version: expected + 1 };
        match timeout(self.duration, self.store.write_lease(expected, lease)).await {
            Ok(written) => written,
            Err(_) => Err(StoreError::Unavailable("timed out".to_owned())),
        }
    }

    /// Renews the lease until renewal fails for too long, another daemon holds it, or the reactors or the
    /// daemon stop.
    async fn hold(&mut self, held: &mut Held, reactors: &Reactors, shutdown: &CancellationToken) {
        let term = held.leadership.term.0;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = reactors.deposed() => return,
                () = sleep(self.pause()) => {}
            }
            let began = Instant::now();
            match self.write(held.version, term, self.id).await {
                Ok(true) => {
                    held.version += 1;
                    held.leadership.extend(began + self.own_duration());
                }
                // A renewal whose answer was lost has incremented the version, too.
                Ok(false) => match self.store.lease().await {
                    Ok(Some(lease)) if lease.holder == self.id => held.version = lease.version,
                    Ok(_) => {
                        tracing::warn!("another daemon took the lease");
                        return;
                    }
                    Err(error) => tracing::warn!(%error, "cannot read the lease"),
                },
                Err(error) => tracing::warn!(%error, "cannot renew the lease"),
            }
            if !held.leadership.holds() {
                tracing::warn!("the lease expired; reactors stop until the store can be written again");
                return;
            }
        }
    }

    /// Releases the lease, so that another daemon need not wait until it ends.
    async fn resign(&mut self, held: &Held) {
        if let Err(error) = self.write(held.version, held.leadership.term.0, Uuid::nil()).await {
            tracing::debug!(%error, "cannot release the lease; it will expire");
        }
    }
}
