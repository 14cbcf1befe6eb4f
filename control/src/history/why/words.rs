//! What an event says, in one sentence.

use super::{Inquiry, names};
use chrono::{DateTime, Utc};
use kdaemon_events::container::{ContainerExited, ContainerLaunchFailed, MigrationReason, SeenState};
use kdaemon_events::node::ProbeOutcome;
use kdaemon_events::{Envelope, Event};

/// How many nodes are named before they are only counted.
pub(super) const NAMED: usize = 8;

/// A time, for people.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S (%Y-%m-%d)").to_string()
}

/// "1 container", "2 containers".
pub(super) fn counted(count: impl Into<u64>, what: &str) -> String {
    let count = count.into();
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// How a process ended.
pub(super) fn ended(e: &ContainerExited) -> String {
    match (e.exit_code, e.out_of_memory) {
        (Some(code), true) => format!("out of memory, exit code {code}"),
        (None, true) => "out of memory".to_owned(),
        (Some(code), false) => format!("exit code {code}"),
        (None, false) => "exit code unknown".to_owned(),
    }
}

impl Inquiry {
    /// What an event says, by itself.
    pub(super) fn says(&self, envelope: &Envelope) -> String {
        let by = names::actor(&envelope.actor);
        let node = |id| names::node(&self.cluster, id);
        let application = |id| names::application(&self.cluster, id);
        let container = |id| names::container(&self.cluster, id);
        match &envelope.event {
            Event::NodeMounted(e) => format!("{} was mounted by {by}.", e.name),
            Event::NodeObserved(e) => match &e.outcome {
                ProbeOutcome::Failed { reason } => {
                    format!("A probe of {} failed: {reason}.", node(e.node_id))
                }
                ProbeOutcome::Answered { .. } => {
                    format!("A probe of {} was answered in {} ms.", node(e.node_id), e.latency_ms)
                }
            },
            Event::NodeHealthy(e) => {
                let probes = counted(e.successes, "answered probe");
                format!("{} was judged healthy after {probes} in a row.", node(e.node_id))
            }
            Event::NodeUnhealthy(e) => {
                let probes = counted(e.failures, "failed probe");
                format!("{} was judged unhealthy after {probes} in a row: {}.", node(e.node_id), e.reason)
            }
            Event::NodeCordoned(e) => format!("{} was cordoned by {by}.", node(e.node_id)),
            Event::NodeUncordoned(e) => format!("{} was uncordoned by {by}.", node(e.node_id)),
            Event::NodeDrainStarted(e) => format!("The drain of {} was begun by {by}.", node(e.node_id)),
            Event::NodeUnmounted(e) => format!("{} was unmounted by {by}.", node(e.node_id)),
            Event::ApplicationCreated(e) => format!("Application {} was created by {by}.", e.name),
            Event::ApplicationUpdated(e) => {
                format!("Application {} was edited by {by}.", application(e.application_id))
            }
            Event::ApplicationScaled(e) => {
                let to = e.replicas.map_or_else(|| "no number".into(), |n| counted(n, "container"));
                format!("Application {} was scaled to {to} by {by}.", application(e.application_id))
            }
            Event::ContainerCreated(e) => format!("{} was created by {by}.", e.name),
            Event::ContainerUpdated(e) => format!("{} was edited by {by}.", container(e.container_id)),
            Event::ContainerLaunchRequested(e) => {
                format!("The launch of {} was asked for by {by}.", container(e.container_id))
            }
            Event::ContainerPlaced(e) => {
                format!("{} was placed: {}.", container(e.container_id), e.why)
            }
            Event::ContainerLaunched(e) => format!(
                "{} was launched on {}, generation {}.",
                container(e.container_id),
                node(e.node_id),
                e.generation
            ),
            Event::ContainerLaunchFailed(e) => self.says_launch_failed(e),
            Event::ContainerObserved(e) => {
                let what = match e.state {
                    SeenState::Missing => "was not there any more on",
                    SeenState::Running => "was found running on",
                    SeenState::Stopped => "was found stopped on",
                };
                format!("{} {what} {}.", container(e.container_id), node(e.node_id))
            }
            Event::ContainerExited(e) => format!(
                "The process of {} on {} ended ({}).",
                container(e.container_id),
                node(e.node_id),
                ended(e)
            ),
            Event::ContainerUnhealthy(e) => {
                format!("The health check of {} failed.", container(e.container_id))
            }
            Event::ContainerHealthy(e) => {
                format!("The health check of {} succeeds again.", container(e.container_id))
            }
            Event::ContainerMigrationCommanded(e) => {
                let (from, to) = (node(e.from_node_id), node(e.node_id));
                let why = match e.reason {
                    MigrationReason::Unhealthy => format!("{from} was unhealthy"),
                    MigrationReason::Drain => format!("{from} was drained"),
                    MigrationReason::Balance => "the counts of containers were uneven".to_owned(),
                    MigrationReason::Update => "its application had changed".to_owned(),
                };
                format!("{} was moved from {from} to {to}: {why}.", container(e.container_id))
            }
            Event::ContainerMigrated(e) => {
                format!("{} has moved to {}.", container(e.container_id), node(e.node_id))
            }
            Event::ContainerStopRequested(e) => {
                let what = if e.then_delete { "deletion" } else { "stop" };
                format!("The {what} of {} was asked for by {by}.", container(e.container_id))
            }
            Event::ContainerStopped(e) => format!("{} was stopped.", container(e.container_id)),
            Event::ContainerRemoved(e) => format!(
                "Generation {} of {} was removed from {}.",
                e.generation,
                container(e.container_id),
                node(e.node_id)
            ),
            Event::ContainerAdopted(e) => {
                format!("{} was found running on {} and kept.", container(e.container_id), node(e.node_id))
            }
            Event::RebalancePlanned(e) => {
                let moves = counted(u64::try_from(e.moves.len()).unwrap_or(u64::MAX), "move");
                format!("{moves} were planned, and {} more: {}.", e.remaining, e.why)
            }
            Event::MigrationsPaused(e) => format!("Migrations were paused: {}.", e.reason),
            Event::MigrationsResumed(_) => "Migrations were resumed.".to_owned(),
            Event::ContainerDeleted(_)
            | Event::NodeUpdated(_)
            | Event::NodeDrained(_)
            | Event::ApplicationDeleted(_)
            | Event::ClusterCreated(_)
            | Event::LeaderElected(_)
            | Event::ObservationsPruned(_)
            | Event::TokenCreated(_)
            | Event::TokenRevoked(_) => format!("{} by {by}.", envelope.event.kind()),
        }
    }

    fn says_launch_failed(&self, e: &ContainerLaunchFailed) -> String {
        let name = names::container(&self.cluster, e.container_id);
        if e.attempt == 0 {
            return format!("{name} waits: {}.", e.reason);
        }
        let on = e.node_id.map(|id| format!(" on {}", names::node(&self.cluster, id))).unwrap_or_default();
        let next = match e.retry_at {
            Some(at) => format!("the next is tried at {}", time(at)),
            None => "it was given up".to_owned(),
        };
        format!("Launch {} of {name}{on} failed: {}; {next}.", e.attempt, e.reason)
    }
}
