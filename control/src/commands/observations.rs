//! Decisions about engines' reports of containers: their meaning and their consequences.

use super::decision::DecisionBuilder;
use super::{LaunchFailure, Refusal, cause_or, lifecycle};
use crate::backoff::Backoff;
use crate::observed::{Exit, Launched};
use chrono::{DateTime, Utc};
use kdaemon_events::container::{
    ContainerAdopted, ContainerExited, ContainerHealthy, ContainerLaunchAbandoned, ContainerLaunchFailed,
    ContainerLaunched, ContainerMigrated, ContainerObserved, ContainerRemoved, ContainerStopped,
    ContainerUnhealthy, SeenState,
};
use kdaemon_events::{NodeId, PlacementId, Protocol, RestartPolicy, Seq};
use kdaemon_projections::{Container, Desired, PhaseKind, Retired};
use std::time::Duration;

/// The longest pause between two launches of a container.
const LAUNCH_PAUSE_MAX: Duration = Duration::from_secs(60);
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
    if !matches!(container.phase.kind(), PhaseKind::Placed | PhaseKind::Restarting) {
        return Ok(()); // a stop was requested meanwhile: the launcher stops it
    }
    let access_link = access_link(decision, &container, node_id, &launched);
    let cause = cause_or(decision, container.cause);
    let up = decision.emit_because(
        ContainerLaunched {
            container_id: container.id,
            generation: placement_id.generation,
            node_id,
            engine_id: launched.engine_id,
            image_id: launched.image_id,
            ports: launched.ports,
            access_link,
        },
        cause,
    );
    if container.migrating.is_some() {
        decision.emit_because(
            ContainerMigrated { container_id: container.id, generation: placement_id.generation, node_id },
            Some(up),
        );
    }
    Ok(())
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
    let given_up = attempt >= policy.launch_attempts;
    let pause = Backoff::new(policy.launch_pause, LAUNCH_PAUSE_MAX).pause(attempt);
    let cause = cause_or(decision, container.cause);
    let predecessor = container
        .retired
        .iter()
        .find(|retired| retired.held)
        .map(|retired| (retired.placement.generation, retired.placement.node_id));
    let LaunchFailure { failure, node_fault } = failure;
    let PlacementId { container_id, generation } = placement_id;
    if !given_up {
        let retry_at = decision.after(pause);
        let failed = ContainerLaunchFailed {
            container_id,
            generation,
            node_id,
            failure,
            node_fault,
            attempt,
            retry_at,
        };
        decision.emit_because(failed, cause);
        return Ok(());
    }
    let abandoned =
        ContainerLaunchAbandoned { container_id, generation, node_id, failure, node_fault, attempt };
    let abandoned = decision.emit_because(abandoned, cause);
    // The predecessor keeps serving in its place.
    if let Some((generation, node_id)) = predecessor {
        decision.emit_because(ContainerAdopted { container_id, generation, node_id }, Some(abandoned));
    }
    Ok(())
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
    let policy = container.placement.as_ref().map(|p| p.spec.restart_policy).unwrap_or_default();
    let failed = exit.is_none_or(|exit| exit.code != 0);
    let quick_exits =
        if container.is_stable(decision.now) || container.lost { 0 } else { container.quick_exits };
    let again = match policy {
        RestartPolicy::Always => true,
        RestartPolicy::No => container.lost, // its node failed: the process did not exit by itself
        RestartPolicy::OnFailure { max } => {
            failed && max.is_none_or(|max| quick_exits < max || container.lost)
        }
    };
    // The first restart is immediate; a container that keeps exiting backs off.
    let pause = match quick_exits {
        0 => Duration::ZERO,
        n => Backoff::new(RESTART_PAUSE, decision.context.policy.restart_pause_max).pause(n),
    };
    let restart_at = again.then(|| decision.after(pause));
    decision.emit_because(exited_event(placement_id, node_id, exit, restart_at), cause);
}

pub(super) fn missing(decision: &mut DecisionBuilder<'_>, placement_id: PlacementId) -> Result<(), Refusal> {
    let Ok(container) = decision.container(placement_id.container_id) else { return Ok(()) };
    let Some(placement) = container.placement_of(placement_id.generation) else { return Ok(()) };
    let node_id = placement.node_id;
    let is_wanted = container.placement.as_ref().is_some_and(|p| p.generation == placement_id.generation);
    // During a launch or a stop the launcher knows better.
    let settled = matches!(container.phase.kind(), PhaseKind::Up | PhaseKind::Down | PhaseKind::Restarting);
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
    if container.phase.kind() != PhaseKind::Up || container.desired != Desired::Running {
        return Ok(());
    }
    let PlacementId { container_id, generation } = placement_id;
    if healthy {
        decision.emit(ContainerHealthy { container_id, generation });
    } else {
        let pause = match container.restarts {
            0 => Duration::ZERO,
            n => Backoff::new(RESTART_PAUSE, decision.context.policy.restart_pause_max).pause(n),
        };
        let restart_at = decision.after(pause);
        decision.emit(ContainerUnhealthy { container_id, generation, restart_at });
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

/// The container whose wanted placement this is, and its node.
fn current(
    decision: &DecisionBuilder<'_>,
    placement_id: PlacementId,
) -> Option<(std::sync::Arc<Container>, NodeId)> {
    let container = decision.cluster().container(placement_id.container_id)?;
    let placement = container.placement.as_ref().filter(|p| p.generation == placement_id.generation)?;
    Some((container.clone(), placement.node_id))
}
