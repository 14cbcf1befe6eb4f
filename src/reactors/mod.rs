//! The reactors follow the journal, act on engines, and submit their observations as commands.
//!
//! A reactor is a function of the state: woken by a change or by its period, it determines what is due, does
//! it, and reports. It can be killed at any instruction and restarted; what it keeps in memory (tasks in
//! progress, backoffs) only saves work. No reactor calls another.

mod health;
mod networks;
mod projector;
mod reconciler;
mod retention;
mod snapshotter;
mod tasks;
mod webhook;
mod work;

pub use projector::{Rebuilds, Rebuilt, bring_up_to_date, rebuild};
pub use webhook::{Deliveries, Webhook};

use crate::engine::{Credentials, Engine, Engines, Failure, Identity};
use crate::journal::{Journal, Outcome, SNAPSHOT_INTERVAL, Submission, SubmitError};
use crate::leadership::Leadership;
use kdaemon_control::backoff::Backoff;
use kdaemon_control::commands::{Command, Refusal};
use kdaemon_control::reconcile::Pacing;
use kdaemon_events::{Actor, NodeId, PlacementId, Seq};
use kdaemon_projections::{Cluster, Health};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Delay between a wake-up and the look at the state: under load the state changes thousands of times a
/// second, and one look covers many changes.
const PACE: Duration = Duration::from_millis(2);

/// Backoff of reports while the store is away.
const REPORT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Settings of the reactors.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Interval between two probes of a node.
    pub health_interval: Duration,
    /// Timeout of a probe.
    pub probe_timeout: Duration,
    /// The pause before a failed probe is repeated.
    pub probe_retry_interval: Duration,
    /// How long the counts of containers must be uneven and unchanged before a rebalance.
    pub rebalance_after: Duration,
    /// Whether uneven counts are rebalanced automatically.
    pub rebalance: bool,
    /// How many events there are from one snapshot of the state to the next, at least.
    pub snapshot_interval: u64,
    /// The folder of registry credentials: `NAME.json` with `username` and `password`.
    pub registry_auth_dir: Option<PathBuf>,
    /// Retention of raw observations; `None`: kept permanently.
    pub observation_retention: Option<Duration>,
    /// The webhook, if one is configured.
    pub webhook: Option<Webhook>,
    /// Requests to rebuild the tables.
    pub rebuilds: Rebuilds,
}

impl Settings {
    /// The delays and backoffs of the reconciliation.
    #[must_use]
    pub fn pacing(&self) -> Pacing {
        Pacing { rebalance_after: self.rebalance.then_some(self.rebalance_after) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            health_interval: Duration::from_secs(2),
            probe_timeout: Duration::from_millis(1_500),
            probe_retry_interval: Duration::from_millis(250),
            rebalance_after: Duration::from_secs(1),
            rebalance: true,
            snapshot_interval: SNAPSHOT_INTERVAL,
            registry_auth_dir: None,
            observation_retention: None,
            webhook: None,
            rebuilds: Rebuilds::default(),
        }
    }
}

/// The running reactors.
pub struct Reactors {
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl Reactors {
    /// Starts all reactors of a leader.
    #[must_use]
    pub fn start(
        journal: Journal,
        engines: Arc<dyn Engines>,
        settings: Settings,
        leadership: Leadership,
    ) -> Self {
        let cancel = CancellationToken::new();
        let tracker = TaskTracker::new();
        let context = |name: &'static str| ReactorContext {
            name,
            journal: journal.clone(),
            engines: Arc::clone(&engines),
            settings: Arc::new(settings.clone()),
            leadership: leadership.clone(),
            cancel: cancel.clone(),
            tracker: tracker.clone(),
        };
        context("health").spawn(health::run(context("health")));
        context("reconciler").spawn(reconciler::run(context("reconciler")));
        context("networks").spawn(networks::run(context("networks")));
        context("snapshotter").spawn(snapshotter::run(context("snapshotter")));
        if let Some(retention) = settings.observation_retention {
            context("retention").spawn(retention::run(context("retention"), retention));
        }
        // These end by themselves, after their last write.
        context("projector").spawn_to_its_end(projector::run(context("projector")));
        if let Some(webhook) = settings.webhook.clone() {
            context("webhook").spawn_to_its_end(webhook::run(context("webhook"), webhook));
        }
        Self { cancel, tracker }
    }

    /// Returns when they stopped because another daemon leads.
    pub async fn deposed(&self) {
        self.cancel.cancelled().await;
    }

    /// Stops all reactors and waits for them. The next ones find and finish their work on engines.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Stops all reactors when a task panics; this daemon or another one restarts them. A cluster must not be led
/// without one of its reactors.
struct PanicGuard {
    name: &'static str,
    cancel: CancellationToken,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(reactor = self.name, "reactor panicked; restarting all reactors");
            self.cancel.cancel();
        }
    }
}

/// The handles of a reactor.
#[derive(Clone)]
struct ReactorContext {
    name: &'static str,
    journal: Journal,
    engines: Arc<dyn Engines>,
    settings: Arc<Settings>,
    leadership: Leadership,
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl ReactorContext {
    /// The same context for another reactor, which the log then names as the author.
    fn acting_as(&self, name: &'static str) -> Self {
        Self { name, ..self.clone() }
    }

    /// Runs a task until it ends or the reactors stop.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.spawn_to_its_end(async move {
            let _ = cancel.run_until_cancelled_owned(task).await;
        });
    }

    /// Runs a task until it ends.
    fn spawn_to_its_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        let watched = PanicGuard { name: self.name, cancel: self.cancel.clone() };
        self.tracker.spawn(async move {
            let _watched = watched;
            task.await;
        });
    }

    /// Submits a report, and retries while the store is away.
    async fn report(&self, command: Command, cause: Option<Seq>) -> Option<Outcome> {
        let mut failures = 0;
        loop {
            let mut submission = Submission::new(command.clone(), Actor::reactor(self.name));
            submission.term = Some(self.leadership.term);
            submission.cause = cause;
            match self.journal.submit_patiently(submission).await {
                Ok(outcome) => return Some(outcome),
                Err(SubmitError::Refused(refusal @ Refusal::Deposed { .. })) => {
                    // Another daemon leads: anything done here from now on could only undo its work.
                    tracing::warn!(reactor = self.name, %refusal, "deposed; stopping the reactors");
                    self.cancel.cancel();
                    return None;
                }
                Err(SubmitError::Refused(refusal)) => {
                    // The state has changed meanwhile: the report no longer applies.
                    tracing::debug!(reactor = self.name, %refusal, "report refused");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(reactor = self.name, %error, "cannot record a report yet");
                    failures += 1;
                    tokio::time::sleep(REPORT_BACKOFF.pause(failures)).await;
                }
            }
        }
    }

    /// The engine of a healthy node, to act on it. `None` if this daemon no longer leads, which is noticed
    /// here even after the process was suspended.
    fn engine_of(&self, cluster: &Cluster, node: NodeId) -> Option<Arc<dyn Engine>> {
        let node = cluster.node(node).filter(|node| node.health == Health::Up && self.leadership.holds())?;
        Some(self.engines.client(&node.endpoint))
    }

    fn identity(&self, cluster: &Cluster, placement_id: PlacementId) -> Option<Identity> {
        let PlacementId { container_id, generation } = placement_id;
        cluster.id().map(|cluster| Identity { cluster, container: container_id, generation })
    }

    /// Registry credentials by name. Read each time, because the file may have changed.
    async fn credentials(&self, name: &str) -> Result<Credentials, Failure> {
        let Some(dir) = &self.settings.registry_auth_dir else {
            return Err(Failure::CredentialsMissing { name: name.into() });
        };
        let unusable =
            |quote: String| Failure::CredentialsUnusable { name: name.into(), quote: quote.into() };
        let path = dir.join(format!("{name}.json"));
        let text = tokio::fs::read(&path).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::CredentialsMissing { name: name.into() },
            _ => unusable(format!("{} cannot be read: {error}", path.display())),
        })?;
        // The parser's own message could quote the secret.
        serde_json::from_slice(&text)
            .map_err(|_| unusable(format!("{} is not {{\"username\": …, \"password\": …}}", path.display())))
    }
}
