//! The steps of a container's life that commands and observations share: launched, placed, waiting, removed.

use super::decision::DecisionBuilder;
use super::{Refusal, cause_or};
use crate::scheduler::{self, Request};
use kdaemon_events::container::{
    ContainerAdopted, ContainerCreated, ContainerDeleted, ContainerLaunchRequested, ContainerPlaced,
    ContainerStopRequested, ContainerUnschedulable, MigrationReason,
};
use kdaemon_events::scheduling::Unschedulable;
use kdaemon_events::{ContainerId, Environment, Generation, Seq};
use kdaemon_projections::{Application, Container, Desired, Health, PhaseKind, Reason, Retired};

/// Creates and launches a container for an application's `replicas`. It waits if no node fits.
pub(super) fn launch_replica(
    decision: &mut DecisionBuilder<'_>,
    name: String,
    application: &Application,
    cause: Seq,
) -> Result<(), Refusal> {
    let container_id = ContainerId(decision.identity());
    let created = ContainerCreated {
        container_id,
        name,
        user_id: application.user_id.clone(),
        application_id: Some(application.id),
        env_variables: Environment::new(),
        balance: true,
        replica: true,
    };
    let created = decision.emit_because(created, Some(cause));
    start(decision, container_id, false, Some(created))
}

/// Launches a stopped replica. It waits if no node fits.
pub(super) fn launch_again(
    decision: &mut DecisionBuilder<'_>,
    id: ContainerId,
    cause: Seq,
) -> Result<(), Refusal> {
    start(decision, id, false, Some(cause))
}

/// Launches a container. If no node fits, it is refused with a reason for each node when `now` is set, and
/// waits otherwise. It also waits if a node may fit once it is probed for the first time.
pub(super) fn start(
    decision: &mut DecisionBuilder<'_>,
    id: ContainerId,
    now: bool,
    cause: Option<Seq>,
) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    refuse_if_deleting(&container)?;
    let Some(application) =
        container.application_id.and_then(|id| decision.cluster().application(id)).cloned()
    else {
        return Err(Refusal::conflict(format!(
            "container `{}` has no application; give it one with an update of its application_id",
            container.name
        )));
    };
    if !application.is_enabled {
        return Err(Refusal::conflict(format!(
            "application `{}` is disabled and launches nothing; enable it first (is_enabled = true)",
            application.name
        )));
    }
    let launching_or_up = matches!(
        container.phase.kind(),
        PhaseKind::Waiting | PhaseKind::Placed | PhaseKind::Up | PhaseKind::Restarting
    );
    if launching_or_up && container.desired == Desired::Running {
        return Ok(());
    }
    let generation = kept(decision, &container);
    let cause = decision.emit_because(ContainerLaunchRequested { container_id: id, generation }, cause);
    if generation.is_some() {
        return Ok(());
    }
    let container = decision.container(id)?;
    match place(decision, &container, cause) {
        Err(Unschedulable::NoNodeFits(nodes)) if now && !nodes.may_pass() => Err(Refusal::NoNodeFits(nodes)),
        Err(reason) => {
            wait(decision, &container, None, reason, Some(cause));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Launches a container that does not serve from the start, with its application's present specification.
pub(super) fn launch_present(
    decision: &mut DecisionBuilder<'_>,
    id: ContainerId,
    cause: Seq,
) -> Result<(), Refusal> {
    let requested = ContainerLaunchRequested { container_id: id, generation: None };
    let requested = decision.emit_because(requested, Some(cause));
    let container = decision.container(id)?;
    if let Err(reason) = place(decision, &container, requested) {
        wait(decision, &container, None, reason, Some(requested));
    }
    Ok(())
}

/// Keeps a predecessor that still serves, instead of the placement that was to replace it.
pub(super) fn return_to_predecessor(decision: &mut DecisionBuilder<'_>, container: &Container, cause: Seq) {
    let held = container.retired.iter().find(|retired| retired.held);
    if let Some(Retired { placement, .. }) = held {
        let (container_id, generation, node_id) = (container.id, placement.generation, placement.node_id);
        decision.emit_because(ContainerAdopted { container_id, generation, node_id }, Some(cause));
    }
}

/// The stopped placement that a launch starts again: it was made from the present specification, and its node still
/// takes it.
fn kept(decision: &DecisionBuilder<'_>, container: &Container) -> Option<Generation> {
    let placement = container.placement.as_ref().filter(|_| container.phase.kind().is_over())?;
    let cluster = decision.cluster();
    let spec = cluster.spec_of(container);
    if cluster.is_outdated(container) {
        return None;
    }
    let application = container.application_id.and_then(|id| cluster.application(id))?;
    if cluster.unmet_dependency(application).is_some() {
        return None;
    }
    let request = Request::new(cluster, container, &spec, None, decision.context.policy.strategy);
    scheduler::takes(cluster, placement.node_id, &request).then_some(placement.generation)
}

/// Places a waiting container on the best node.
pub(super) fn place(
    decision: &mut DecisionBuilder<'_>,
    container: &Container,
    cause: Seq,
) -> Result<(), Unschedulable> {
    let application = container.application_id.and_then(|id| decision.cluster().application(id));
    let Some(application) = application.filter(|application| application.is_enabled) else {
        return Err(Unschedulable::ApplicationDisabled);
    };
    if let Some(application_id) = decision.cluster().unmet_dependency(application) {
        return Err(Unschedulable::Dependency { application_id });
    }
    let spec = decision.cluster().spec_of(container);
    let request = Request::new(decision.cluster(), container, &spec, None, decision.context.policy.strategy);
    let choice = scheduler::place(decision.cluster(), &request).map_err(Unschedulable::NoNodeFits)?;
    decision.emit_because(
        ContainerPlaced {
            container_id: container.id,
            generation: container.generation.next(),
            node_id: choice.node_id,
            evaluation: Box::new(choice.evaluation),
        },
        Some(cause),
    );
    Ok(())
}

/// Records why a container cannot be placed, if that is news.
pub(super) fn wait(
    decision: &mut DecisionBuilder<'_>,
    container: &Container,
    moving: Option<MigrationReason>,
    reason: Unschedulable,
    cause: Option<Seq>,
) {
    let reason = match reason {
        Unschedulable::NoNodeFits(nodes) => Unschedulable::NoNodeFits(nodes.bounded()),
        other => other,
    };
    let because = Reason::Unschedulable { moving, because: reason };
    if container.reason.as_ref() == Some(&because) {
        return;
    }
    if let Reason::Unschedulable { moving, because: reason } = because {
        decision.emit_because(ContainerUnschedulable { container_id: container.id, moving, reason }, cause);
    }
}

/// Removes and deletes a container, without checking whether its application then has too few.
pub(super) fn take_away(
    decision: &mut DecisionBuilder<'_>,
    id: ContainerId,
    volumes: bool,
) -> Result<(), Refusal> {
    decision.emit(ContainerStopRequested { container_id: id, then_delete: true, volumes });
    finish_delete(decision, id)
}

/// Deletes the record once no placement is left on a reachable node. Placements on unreachable nodes become
/// orphans, and are removed when their nodes return.
pub(super) fn finish_delete(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    let is_up = |id| decision.cluster().node(id).is_some_and(|node| node.health == Health::Up);
    let blocked = container.retired.iter().any(|retired| is_up(retired.placement.node_id))
        || container.volumes_to_delete().is_some_and(|home| is_up(home.node_id));
    if container.desired == Desired::Deleted && !blocked {
        let cause = cause_or(decision, container.cause);
        decision.emit_because(ContainerDeleted { container_id: id }, cause);
    }
    Ok(())
}

/// Refuses a command on a container that is being deleted.
pub(super) fn refuse_if_deleting(container: &Container) -> Result<(), Refusal> {
    if container.desired == Desired::Deleted {
        return Err(Refusal::conflict(format!("container `{}` is being deleted", container.name)));
    }
    Ok(())
}
