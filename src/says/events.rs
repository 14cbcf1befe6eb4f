//! Sentences on events.

use super::failures::{failure, probe_failure};
use super::names::{Names, actor};
use super::reasons::paused;
use super::scheduling::{chosen, data, unschedulable};
use super::{counted, time};
use kdaemon_events::container::{ContainerExited, MigrationReason, SeenState};
use kdaemon_events::node::ProbeOutcome;
use kdaemon_events::{Envelope, Event};

/// The end of a process: "out of memory, exit code 137".
pub(super) fn ended(e: &ContainerExited) -> String {
    match (e.exit_code, e.out_of_memory) {
        (Some(code), true) => format!("out of memory, exit code {code}"),
        (None, true) => "out of memory".to_owned(),
        (Some(code), false) => format!("exit code {code}"),
        (None, false) => "exit code unknown".to_owned(),
    }
}

/// The reason for a move as a clause; `from` is the name of the node that the container leaves.
fn moved_because(from: &str, reason: MigrationReason) -> String {
    match reason {
        MigrationReason::Unhealthy => format!("{from} is unhealthy"),
        MigrationReason::Drain => format!("{from} is draining"),
        MigrationReason::Balance => "the containers are unevenly distributed".to_owned(),
        MigrationReason::Update => "its application has changed".to_owned(),
    }
}

/// Renders an event as one sentence.
#[must_use]
#[allow(clippy::too_many_lines)] // one arm per kind of event
pub fn event(names: Names<'_>, envelope: &Envelope) -> String {
    let by = actor(&envelope.actor);
    let node = |id| names.node(id);
    let application = |id| names.application(id);
    let container = |id| names.container(id);
    match &envelope.event {
        Event::ClusterCreated(e) => format!("Cluster {} was created.", e.cluster_id),
        Event::LeaderElected(e) => format!("Daemon {} became the leader (term {}).", e.daemon, e.term),

        Event::NodeMounted(e) => format!("Node {} was mounted by {by}.", e.name),
        Event::NodeUpdated(e) => format!("Node {} was edited by {by}.", node(e.node_id)),
        Event::NodeObserved(e) => match &e.outcome {
            ProbeOutcome::Failed { failure } => {
                format!("A probe of {} failed: {}.", node(e.node_id), probe_failure(names, failure))
            }
            ProbeOutcome::Answered { .. } => {
                format!("{} answered a probe in {} ms.", node(e.node_id), e.latency_ms)
            }
        },
        Event::NodeHealthy(e) => format!(
            "{} was judged healthy after {}.",
            node(e.node_id),
            counted(e.successes, "successful probe")
        ),
        Event::NodeUnhealthy(e) => format!(
            "{} was judged unhealthy after {}: {}.",
            node(e.node_id),
            counted(e.failures, "failed probe"),
            probe_failure(names, &e.failure)
        ),
        Event::NodeCordoned(e) => format!("{} was cordoned by {by}.", node(e.node_id)),
        Event::NodeUncordoned(e) => format!("{} was uncordoned by {by}.", node(e.node_id)),
        Event::NodeDrainStarted(e) if e.then_unmount => {
            format!("Draining {} before unmounting it was requested by {by}.", node(e.node_id))
        }
        Event::NodeDrainStarted(e) => format!("Draining {} was requested by {by}.", node(e.node_id)),
        Event::NodeDrained(e) => format!("{} is drained.", node(e.node_id)),
        Event::NodeUnmounted(e) => {
            let containers = (e.left > 0).then(|| counted(e.left, "container"));
            let left: Vec<_> =
                containers.into_iter().chain(e.volumes.iter().map(|volume| data(volume))).collect();
            let left = if left.is_empty() {
                String::new()
            } else {
                format!(" Left on its engine: {}.", left.join(", "))
            };
            format!("{} was unmounted by {by}.{left}", node(e.node_id))
        }

        Event::ApplicationCreated(e) => format!("Application {} was created by {by}.", e.name),
        Event::ApplicationUpdated(e) => {
            format!("Application {} was edited by {by}.", application(e.application_id))
        }
        Event::ApplicationDeleted(e) => {
            format!("Application {} was deleted by {by}.", application(e.application_id))
        }
        Event::ApplicationScaled(e) => match e.replicas {
            Some(replicas) => format!(
                "Application {} was scaled to {} by {by}.",
                application(e.application_id),
                counted(replicas, "replica")
            ),
            None => format!(
                "The number of replicas of application {} was cleared by {by}.",
                application(e.application_id)
            ),
        },

        Event::ApplicationRestarted(e) => {
            format!("A restart of the containers of {} was requested by {by}.", application(e.application_id))
        }
        Event::RolloutStarted(e) => format!(
            "A rollout of {} began: {} to replace.",
            application(e.application_id),
            counted(e.outdated, "container")
        ),
        Event::RolloutPaused(e) => format!(
            "The rollout of {} was paused after {} of new containers, the last of {}.",
            application(e.application_id),
            counted(e.failures, "failure"),
            container(e.container_id)
        ),
        Event::RolloutCompleted(e) => {
            format!("The rollout of {} is complete.", application(e.application_id))
        }
        Event::RolloutRolledBack(e) => {
            let to = e.to.map_or_else(
                || "its last specification that served".to_owned(),
                |seq| format!("its specification as of event {seq}"),
            );
            format!("{} was rolled back to {to}.", application(e.application_id))
        }

        Event::ContainerCreated(e) => format!("Container {} was created by {by}.", e.name),
        Event::ContainerUpdated(e) => format!("{} was edited by {by}.", container(e.container_id)),
        Event::ContainerLaunchRequested(e) => {
            format!("Launch of {} was requested by {by}.", container(e.container_id))
        }
        Event::ContainerPlaced(e) => format!(
            "{} was placed: {}.",
            container(e.container_id),
            chosen(names, &node(e.node_id), "", &e.evaluation, |_| String::new())
        ),
        Event::ContainerUnschedulable(e) => format!(
            "{} cannot be placed: {}.",
            container(e.container_id),
            unschedulable(names, e.moving, &e.reason)
        ),
        Event::ContainerLaunched(e) => format!(
            "{} was launched on {} (generation {}).",
            container(e.container_id),
            node(e.node_id),
            e.generation
        ),
        Event::ContainerLaunchFailed(e) => format!(
            "Launch attempt {} of {} on {} failed: {}. The next attempt is at {}.",
            e.attempt,
            container(e.container_id),
            node(e.node_id),
            failure(&e.failure),
            time(e.retry_at)
        ),
        Event::ContainerLaunchAbandoned(e) => format!(
            "Launch attempt {} of {} on {} failed: {}. It counts as failed; the next attempt is at {}.",
            e.attempt,
            container(e.container_id),
            node(e.node_id),
            failure(&e.failure),
            time(e.retry_at)
        ),
        Event::ContainerObserved(e) => {
            let what = match e.state {
                SeenState::Missing => "was found missing on",
                SeenState::Running => "was found running on",
                SeenState::Paused => "was found paused on",
                SeenState::Stopped => "was found stopped on",
            };
            format!("{} {what} {}.", container(e.container_id), node(e.node_id))
        }
        Event::ContainerExited(e) => {
            let next = e.restart_at.map(|at| format!("; it restarts at {}", time(at))).unwrap_or_default();
            format!(
                "The process of {} on {} ended ({}){next}.",
                container(e.container_id),
                node(e.node_id),
                ended(e)
            )
        }
        Event::ContainerUnhealthy(e) => {
            let next = e.restart_at.map(|at| format!(" and restarts at {}", time(at))).unwrap_or_default();
            format!("{} failed its health check{next}.", container(e.container_id))
        }
        Event::ContainerReady(e) => format!("{} serves.", container(e.container_id)),
        Event::ContainerCompleted(e) => {
            format!("{} completed on {} (exit code 0).", container(e.container_id), node(e.node_id))
        }
        Event::ContainerHealthy(e) => format!("{} passed its health check.", container(e.container_id)),
        Event::ContainerMigrationCommanded(e) if e.from_node_id == e.node_id => format!(
            "{} is replaced on {}: {}.",
            container(e.container_id),
            node(e.node_id),
            moved_because(&node(e.from_node_id), e.reason)
        ),
        Event::ContainerMigrationCommanded(e) => format!(
            "{} moves from {} to {}: {}.",
            container(e.container_id),
            node(e.from_node_id),
            node(e.node_id),
            moved_because(&node(e.from_node_id), e.reason)
        ),
        Event::ContainerMigrated(e) => {
            format!("{} has moved to {}.", container(e.container_id), node(e.node_id))
        }
        Event::ContainerStopRequested(e) => {
            let what = if e.then_delete { "Deletion" } else { "Stop" };
            format!("{what} of {} was requested by {by}.", container(e.container_id))
        }
        Event::ContainerStopped(e) => {
            let code = e.exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
            format!("{} was stopped{code}.", container(e.container_id))
        }
        Event::ContainerRemoved(e) => format!(
            "Generation {} of {} was removed from {}.",
            e.generation,
            container(e.container_id),
            node(e.node_id)
        ),
        Event::ContainerDeleted(e) => format!("{} was deleted.", container(e.container_id)),
        Event::ContainerAdopted(e) => {
            format!("{} was found running on {} and adopted.", container(e.container_id), node(e.node_id))
        }

        Event::VolumesRemoved(e) => {
            let names: Vec<_> = e.volumes.iter().map(|volume| data(volume)).collect();
            let whose = e.container_id.map(|id| format!(" of {}", container(id))).unwrap_or_default();
            format!("Deleted from {} as requested: {}{whose}.", node(e.node_id), names.join(", "))
        }

        Event::RebalancePlanned(e) => {
            let moves = counted(u64::try_from(e.moves.len()).unwrap_or(u64::MAX), "move");
            let more =
                if e.remaining > 0 { format!(", {} more to follow", e.remaining) } else { String::new() };
            format!("A rebalance of {moves} was planned{more}: {}.", uneven(e.most, e.fewest))
        }
        Event::MigrationsPaused(e) => format!("Migrations were paused: {}.", paused(e.unhealthy, e.nodes)),
        Event::MigrationsResumed(e) => {
            format!("Migrations were resumed: {} of {} nodes are unhealthy.", e.unhealthy, e.nodes)
        }
        Event::ObservationsPruned(e) => {
            format!("{} up to event {} were pruned.", counted(e.count, "raw observation"), e.up_to)
        }
        Event::TokenCreated(e) => format!("Token {} was created by {by}.", e.name),
        Event::TokenRevoked(e) => format!("Token {} was revoked by {by}.", e.name),
    }
}

/// The imbalance as a clause: "the fullest node has 6 containers, the emptiest 4".
#[must_use]
pub fn uneven(most: u32, fewest: u32) -> String {
    format!("the fullest node has {}, the emptiest {fewest}", counted(most, "container"))
}
