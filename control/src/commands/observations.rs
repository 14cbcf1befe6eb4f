//! Decisions about engines' reports of containers: their meaning and their consequences.

use super::decision::DecisionBuilder;
use super::{LaunchFailure, Refusal, cause_or, lifecycle, rollouts};
use crate::backoff::Backoff;
use crate::observed::{Exit, Launched};
use chrono::{DateTime, Utc};
use kdaemon_events::container::{
    ContainerCompleted, ContainerExited, ContainerHealthy, ContainerLaunchAbandoned, ContainerLaunchFailed,
    ContainerLaunched, ContainerMigrated, ContainerObserved, ContainerReady, ContainerRemoved,
    ContainerStopped, ContainerUnhealthy, SeenState,
};
use kdaemon_events::volume::VolumesRemoved;
use kdaemon_events::{ContainerId, NodeId, PlacementId, Protocol, RestartPolicy, Seq};
use kdaemon_projections::{Container, ContainerHealth, Desired, PhaseKind, Retired};
use std::time::Duration;

/// The longest pause between two launches of a container.
const LAUNCH_PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest pause between two launches of a container that counts as failed.
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(300);
/// The first pause before a container that keeps ending is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A recorded exit, decided again: the current limits determine the restart.
pub(super) fn exited_again(decision: &mut DecisionBuilder<'_>, recorded: &ContainerExited) {
    let placement_id = PlacementId { container_id: recorded.container_id, generation: recorded.generation };
    let exit = recorded.exit_code.map(|code| Exit { code, out_of_memory: recorded.out_of_memory });
    match current(decision, placement_id) {
        None => predecessor_ended(decision, placement_id, exit, decision.context.cause),
        Some((container, node_id)) if container.desired == Desired::Running => {
            process_ended(decision, &container, placement_id, node_id, exit, decision.context.cause);
        }
        Some(_) => {}
    }
}

pub(super) fn launched(
    decision: &mut DecisionBuilder<'_>,
    placement_id: PlacementId,
    launched: Launched,
) -> Result<(), Refusal> {
    let Some((container, node_id)) = current(decision, placement_id) else { return Ok(()) };
    let is_awaited = matches!(container.phase.kind(), PhaseKind::Placed | PhaseKind::Restarting);
    // Another client, or the engine, started it again, and the engine chose other ports.
    let has_other_ports =
        container.runs() && container.placement.as_ref().is_some_and(|p| p.ports != launched.ports);
    if !is_awaited && !has_other_ports {
        return Ok(()); // a stop was requested meanwhile: the launcher stops it
    }
    let access_link = access_link(decision, &container, node_id, &launched);
    let cause = cause_or(decision, container.cause);
    decision.emit_because(
        ContainerLaunched {
            container_id: container.id,
            generation: placement_id.generation,
            node_id,
            engine_id: launched.engine_id,
            image_id: launched.image_id,
            ports: launched.ports,
            access_link,
            volumes: launched.volumes,
            health_check: launched.health_check,
        },
        cause,
    );
    Ok(())
}

/// Records that a container without a health check has been up for long enough: it serves.
pub(super) fn ready(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    let is_due = |at: DateTime<Utc>| at <= decision.now;
    if !decision.cluster().ready_at(&container).is_some_and(is_due) {
        return Ok(());
    }
    let Some(placement) = container.placement.clone() else { return Ok(()) };
    let cause = cause_or(decision, container.cause);
    let ready = ContainerReady { container_id: id, generation: placement.generation };
    let ready = decision.emit_because(ready, cause);
    serves(decision, &container, ready);
    Ok(())
}

/// The consequences of a container that has begun to serve: a move is over.
fn serves(decision: &mut DecisionBuilder<'_>, before: &Container, cause: Seq) {
    if let Some(placement) = before.placement.as_ref().filter(|_| before.migrating.is_some()) {
        let (container_id, generation, node_id) = (before.id, placement.generation, placement.node_id);
        decision.emit_because(ContainerMigrated { container_id, generation, node_id }, Some(cause));
    }
}

/// The URL of the first published TCP port, in the order of the application's ports.
fn access_link(
    decision: &DecisionBuilder<'_>,
    container: &Container,
    node_id: NodeId,
    launched: &Launched,
) -> Option<String> {
    let node = decision.cluster().node(node_id)?;
    let spec = &container.placement.as_ref()?.spec;
    let published =
        spec.exposed_ports.iter().filter(|port| port.protocol == Protocol::Tcp).find_map(|port| {
            launched.ports.iter().find(|p| p.container == port.container && p.protocol == Protocol::Tcp)
        })?;
    let host = node.endpoint.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Some(format!("http://{host}:{}", published.host))
}

pub(super) fn launch_failed(
    decision: &mut DecisionBuilder<'_>,
    placement_id: PlacementId,
    failure: LaunchFailure,
) -> Result<(), Refusal> {
    let Some((container, node_id)) = current(decision, placement_id) else { return Ok(()) };
    if !matches!(container.phase.kind(), PhaseKind::Placed | PhaseKind::Restarting) {
        return Ok(());
    }
    let policy = &decision.context.policy;
    let attempt = container.failed_attempts().saturating_add(1);
    let is_failed = attempt >= policy.launch_attempts;
    let longest = if is_failed { FAILED_PAUSE_MAX } else { LAUNCH_PAUSE_MAX };
    let retry_at = decision.after(Backoff::new(policy.launch_pause, longest).pause(attempt));
    let cause = cause_or(decision, container.cause);
    let LaunchFailure { failure, node_fault } = failure;
    let PlacementId { container_id, generation } = placement_id;
    let failed = if is_failed {
        let abandoned = ContainerLaunchAbandoned {
            container_id,
            generation,
            node_id,
            failure,
            node_fault,
            attempt,
            retry_at,
        };
        decision.emit_because(abandoned, cause)
    } else {
        let failed = ContainerLaunchFailed {
            container_id,
            generation,
            node_id,
            failure,
            node_fault,
            attempt,
            retry_at,
        };
        decision.emit_because(failed, cause)
    };
    // A move that failed is over: the predecessor keeps serving in its place.
    if is_failed {
        lifecycle::return_to_predecessor(decision, &container, failed);
    }
    rollouts::judge(decision, container_id, failed)
}

pub(super) fn exited(
    decision: &mut DecisionBuilder<'_>,
    placement_id: PlacementId,
    exit: Option<Exit>,
) -> Result<(), Refusal> {
    let Some((container, node_id)) = current(decision, placement_id) else {
        predecessor_ended(decision, placement_id, exit, decision.context.cause);
        return Ok(());
    };
    if container.phase.kind() == PhaseKind::Up && container.desired == Desired::Running {
        process_ended(decision, &container, placement_id, node_id, exit, decision.context.cause);
    }
    Ok(())
}

/// Handles the exit of a predecessor: it no longer serves, and is not started again.
pub(super) fn predecessor_ended(
    decision: &mut DecisionBuilder<'_>,
    placement_id: PlacementId,
    exit: Option<Exit>,
    cause: Option<Seq>,
) {
    let Some(node_id) = serving(decision, placement_id) else { return };
    decision.emit_because(exited_event(placement_id, node_id, exit, None), cause);
}

fn exited_event(
    PlacementId { container_id, generation }: PlacementId,
    node_id: NodeId,
    exit: Option<Exit>,
    restart_at: Option<DateTime<Utc>>,
) -> ContainerExited {
    let (exit_code, out_of_memory) =
        (exit.map(|exit| exit.code), exit.is_some_and(|exit| exit.out_of_memory));
    ContainerExited { container_id, generation, node_id, exit_code, out_of_memory, restart_at }
}

/// The node of a replaced placement that serves until its successor is up.
fn serving(decision: &DecisionBuilder<'_>, placement_id: PlacementId) -> Option<NodeId> {
    let container = decision.cluster().container(placement_id.container_id)?;
    let serves = |retired: &&Retired| retired.held && retired.placement.generation == placement_id.generation;
    container.retired.iter().find(serves).map(|retired| retired.placement.node_id)
}

/// Handles a process that exited by itself: the restart policy decides whether and when it is started again.
pub(super) fn process_ended(
    decision: &mut DecisionBuilder<'_>,
    container: &Container,
    placement_id: PlacementId,
    node_id: NodeId,
    exit: Option<Exit>,
    cause: Option<Seq>,
) {
    let PlacementId { container_id, generation } = placement_id;
    let policy = container.placement.as_ref().map(|p| p.spec.restart_policy).unwrap_or_default();
    if policy != RestartPolicy::Always && exit.is_some_and(|exit| exit.code == 0) {
        decision.emit_because(ContainerCompleted { container_id, generation, node_id }, cause);
        return;
    }
    let quick_exits =
        if container.is_stable(decision.now) || container.lost { 0 } else { container.quick_exits };
    let again = match policy {
        RestartPolicy::Always => true,
        RestartPolicy::No => container.lost, // its node failed: the process did not exit by itself
        RestartPolicy::OnFailure { max } => max.is_none_or(|max| quick_exits < max || container.lost),
    };
    let restart_at = again.then(|| decision.after(restart_pause(decision, quick_exits)));
    let ended = decision.emit_because(exited_event(placement_id, node_id, exit, restart_at), cause);
    if !again {
        lifecycle::return_to_predecessor(decision, container, ended);
    }
    // Judging cannot be refused.
    let _ = rollouts::judge(decision, container_id, ended);
}

/// The first restart is immediate; a container that keeps failing backs off.
fn restart_pause(decision: &DecisionBuilder<'_>, failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => Backoff::new(RESTART_PAUSE, decision.context.policy.restart_pause_max).pause(n),
    }
}

pub(super) fn missing(decision: &mut DecisionBuilder<'_>, placement_id: PlacementId) -> Result<(), Refusal> {
    let Ok(container) = decision.container(placement_id.container_id) else { return Ok(()) };
    let Some(placement) = container.placement_of(placement_id.generation) else { return Ok(()) };
    let node_id = placement.node_id;
    let is_wanted = container.placement.as_ref().is_some_and(|p| p.generation == placement_id.generation);
    // During a launch or a stop the launcher knows better.
    let settled = matches!(container.phase.kind(), PhaseKind::Up | PhaseKind::Restarting)
        || container.phase.kind().is_over();
    if (is_wanted && settled) || serving(decision, placement_id).is_some() {
        decision.emit(ContainerObserved {
            container_id: container.id,
            generation: placement_id.generation,
            node_id,
            state: SeenState::Missing,
        });
    }
    Ok(())
}

pub(super) fn health(
    decision: &mut DecisionBuilder<'_>,
    placement_id: PlacementId,
    healthy: bool,
) -> Result<(), Refusal> {
    let Some((container, _)) = current(decision, placement_id) else { return Ok(()) };
    let is_awaited = container.phase.kind() == PhaseKind::Up || container.is_unhealthy();
    if !is_awaited || container.desired != Desired::Running {
        return Ok(());
    }
    let known = container.placement.as_ref().map(|placement| placement.health);
    let PlacementId { container_id, generation } = placement_id;
    if healthy {
        if known != Some(ContainerHealth::Healthy) {
            let cause = cause_or(decision, container.cause);
            let healthy = decision.emit_because(ContainerHealthy { container_id, generation }, cause);
            serves(decision, &container, healthy);
        }
        return Ok(());
    }
    if known == Some(ContainerHealth::Unhealthy) {
        return Ok(());
    }
    // A restart for bad health follows the restart policy, as an exit does.
    let failures = if container.is_stable(decision.now) { 0 } else { container.quick_exits };
    let policy = container.placement.as_ref().map(|p| p.spec.restart_policy).unwrap_or_default();
    let again = match policy {
        RestartPolicy::Always => true,
        RestartPolicy::No => false,
        RestartPolicy::OnFailure { max } => max.is_none_or(|max| failures < max),
    };
    let restart_at = again.then(|| decision.after(restart_pause(decision, failures)));
    let cause = cause_or(decision, container.cause);
    let unhealthy = decision.emit_because(ContainerUnhealthy { container_id, generation, restart_at }, cause);
    rollouts::judge(decision, container_id, unhealthy)
}

/// Records that a process was paused or continues.
pub(super) fn paused(
    decision: &mut DecisionBuilder<'_>,
    placement_id: PlacementId,
    paused: bool,
) -> Result<(), Refusal> {
    let Some((container, node_id)) = current(decision, placement_id) else { return Ok(()) };
    let known = container.placement.as_ref().is_some_and(|placement| placement.paused);
    if container.runs() && known != paused {
        let PlacementId { container_id, generation } = placement_id;
        let state = if paused { SeenState::Paused } else { SeenState::Running };
        decision.emit(ContainerObserved { container_id, generation, node_id, state });
    }
    Ok(())
}

pub(super) fn stopped(
    decision: &mut DecisionBuilder<'_>,
    placement_id: PlacementId,
    exit: Option<Exit>,
) -> Result<(), Refusal> {
    let Some((container, _)) = current(decision, placement_id) else { return Ok(()) };
    if container.phase.kind() == PhaseKind::Stopping {
        let cause = cause_or(decision, container.cause);
        decision.emit_because(
            ContainerStopped {
                container_id: container.id,
                generation: Some(placement_id.generation),
                exit_code: exit.map(|exit| exit.code),
            },
            cause,
        );
    }
    Ok(())
}

pub(super) fn removed(
    decision: &mut DecisionBuilder<'_>,
    placement_id: PlacementId,
    node_id: NodeId,
) -> Result<(), Refusal> {
    let PlacementId { container_id, generation } = placement_id;
    let container = decision.cluster().container(container_id).cloned();
    let known =
        container.as_ref().and_then(|c| c.placement_of(generation)).is_some_and(|p| p.node_id == node_id);
    let orphan = PlacementId { container_id, generation };
    let orphaned = decision.cluster().node(node_id).is_some_and(|node| node.orphans.contains(&orphan));
    if !known && !orphaned {
        return Ok(());
    }
    let cause = container.as_ref().map_or(decision.context.cause, |c| cause_or(decision, c.cause));
    // Its removal began before it was adopted, and finished afterwards: it has to come back.
    let wanted =
        container.as_ref().filter(|c| known && c.residence().is_some_and(|p| p.generation == generation));
    match wanted.map(|container| container.phase.kind()) {
        Some(PhaseKind::Stopping) => return Ok(()), // the stop will find it gone
        Some(_) => {
            let missing = ContainerObserved { container_id, generation, node_id, state: SeenState::Missing };
            decision.emit_because(missing, cause);
            return Ok(());
        }
        None => {}
    }
    decision.emit_because(ContainerRemoved { container_id, generation, node_id }, cause);
    match container {
        Some(container) if container.desired == Desired::Deleted => {
            lifecycle::finish_delete(decision, container_id)
        }
        _ => Ok(()),
    }
}

pub(super) fn volumes_removed(
    decision: &mut DecisionBuilder<'_>,
    container_id: ContainerId,
    node_id: NodeId,
) -> Result<(), Refusal> {
    let Ok(container) = decision.container(container_id) else { return Ok(()) };
    let Some(home) = container.volumes_to_delete().filter(|home| home.node_id == node_id) else {
        return Ok(());
    };
    let volumes = home.volumes.iter().map(|volume| volume.name.clone()).collect();
    let cause = cause_or(decision, container.cause);
    decision.emit_because(VolumesRemoved { node_id, container_id: Some(container_id), volumes }, cause);
    lifecycle::finish_delete(decision, container_id)
}

/// The container whose wanted placement this is, and its node.
fn current(
    decision: &DecisionBuilder<'_>,
    placement_id: PlacementId,
) -> Option<(std::sync::Arc<Container>, NodeId)> {
    let container = decision.cluster().container(placement_id.container_id)?;
    let placement = container.placement.as_ref().filter(|p| p.generation == placement_id.generation)?;
    Some((container.clone(), placement.node_id))
}
