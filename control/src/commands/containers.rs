//! Decisions about containers.

use super::decision::DecisionBuilder;
use super::{Refusal, applications, cause_or, check_name};
use crate::scheduler::{self, Request};
use kdaemon_events::container::{
    ContainerCreated, ContainerDeleted, ContainerLaunchRequested, ContainerPlaced, ContainerStopRequested,
    ContainerStopped, ContainerUnschedulable, ContainerUpdated, MigrationReason,
};
use kdaemon_events::scheduling::Unschedulable;
use kdaemon_events::{ApplicationId, ContainerId, Environment, Seq};
use kdaemon_projections::{Application, Container, Desired, Health, PhaseKind, Reason};

/// Creates a container record.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateContainer {
    /// The name; derived from the application's if `None`.
    pub name: Option<String>,
    /// The owner, as given by the client.
    pub user_id: Option<String>,
    /// The name or id of the application.
    pub application: Option<String>,
    /// Environment variables on top of its application's.
    pub env_variables: Environment,
    /// Whether the rebalancer may move it.
    pub balance: bool,
}

/// Edits a container record; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::option_option, missing_docs)] // the fields are documented in CreateContainer
pub struct UpdateContainer {
    pub container_id: ContainerId,
    pub name: Option<String>,
    pub user_id: Option<Option<String>>,
    pub application: Option<Option<String>>,
    pub env_variables: Option<Environment>,
    pub balance: Option<bool>,
}

fn resolve_application(decision: &DecisionBuilder<'_>, text: &str) -> Result<ApplicationId, Refusal> {
    decision
        .cluster()
        .find_application(text)
        .map(|application| application.id)
        .ok_or_else(|| Refusal::invalid("application_id", format!("there is no application `{text}`")))
}

fn check_free(
    decision: &DecisionBuilder<'_>,
    name: &str,
    except: Option<ContainerId>,
) -> Result<(), Refusal> {
    check_name(name)?;
    match decision.cluster().find_container(name) {
        Some(other) if Some(other.id) != except => {
            Err(Refusal::conflict(format!("there is a container `{name}` already")))
        }
        _ => Ok(()),
    }
}

pub(super) fn create(decision: &mut DecisionBuilder<'_>, create: CreateContainer) -> Result<(), Refusal> {
    let application_id = create.application.map(|text| resolve_application(decision, &text)).transpose()?;
    let application = application_id.and_then(|id| decision.cluster().application(id));
    let name = match (create.name, application) {
        (Some(name), _) => name,
        (None, Some(application)) => applications::free_name(decision, application),
        (None, None) => {
            return Err(Refusal::invalid("name", "a container without an application needs a name".into()));
        }
    };
    check_free(decision, &name, None)?;
    for variable in create.env_variables.keys() {
        applications::check_variable(variable)?;
    }
    let container_id = ContainerId(decision.identity());
    decision.emit(ContainerCreated {
        container_id,
        name,
        user_id: create.user_id,
        application_id,
        env_variables: create.env_variables,
        balance: create.balance,
        replica: false,
    });
    Ok(())
}

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

pub(super) fn update(decision: &mut DecisionBuilder<'_>, update: UpdateContainer) -> Result<(), Refusal> {
    let container = decision.container(update.container_id)?;
    refuse_if_deleting(&container)?;
    let name = update.name.filter(|name| *name != container.name);
    if let Some(name) = &name {
        check_free(decision, name, Some(container.id))?;
    }
    for variable in update.env_variables.iter().flat_map(Environment::keys) {
        applications::check_variable(variable)?;
    }
    let application_id = match update.application {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => Some(Some(resolve_application(decision, &text)?)),
    };
    let application_id = application_id.filter(|id| *id != container.application_id);
    if application_id.is_some() && container.desired == Desired::Running {
        return Err(Refusal::conflict(format!(
            "container `{}` is scheduled to run; stop it before you change its application",
            container.name
        )));
    }
    let event = ContainerUpdated {
        container_id: container.id,
        name,
        user_id: update.user_id.filter(|user_id| *user_id != container.user_id),
        application_id,
        env_variables: update.env_variables.filter(|variables| *variables != container.env_variables),
        balance: update.balance.filter(|balance| *balance != container.balance),
    };
    let nothing = ContainerUpdated {
        container_id: container.id,
        name: None,
        user_id: None,
        application_id: None,
        env_variables: None,
        balance: None,
    };
    if event != nothing {
        decision.emit(event);
    }
    Ok(())
}

fn refuse_if_deleting(container: &Container) -> Result<(), Refusal> {
    if container.desired == Desired::Deleted {
        return Err(Refusal::conflict(format!("container `{}` is being deleted", container.name)));
    }
    Ok(())
}

pub(super) fn launch(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    start(decision, id, true, decision.context.cause)
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
/// waits otherwise.
fn start(
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
    let cause = decision.emit_because(ContainerLaunchRequested { container_id: id }, cause);
    let container = decision.container(id)?;
    match place(decision, &container, cause) {
        Err(Unschedulable::NoNodeFits(nodes)) if now => Err(Refusal::NoNodeFits(nodes)),
        Err(reason) => {
            wait(decision, &container, None, reason, Some(cause));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
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
    let request = Request::new(container, &spec, None, decision.context.policy.strategy);
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

pub(super) fn stop(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    refuse_if_deleting(&container)?;
    if matches!(container.phase.kind(), PhaseKind::Created | PhaseKind::Down | PhaseKind::Stopping) {
        return Ok(());
    }
    let requested = decision.emit(ContainerStopRequested { container_id: id, then_delete: false });
    if container.placement.is_none() {
        let stopped = ContainerStopped { container_id: id, generation: None, exit_code: None };
        decision.emit_because(stopped, Some(requested));
    }
    Ok(())
}

pub(super) fn delete(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    if container.desired == Desired::Deleted {
        return Ok(());
    }
    take_away(decision, id)?;
    // A replica that a person deletes is replaced while the application has too few.
    match container.application_id {
        Some(application) if container.replica => applications::replace_replica(decision, application),
        _ => Ok(()),
    }
}

/// Removes and deletes a container, without checking whether its application then has too few.
pub(super) fn take_away(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    decision.emit(ContainerStopRequested { container_id: id, then_delete: true });
    finish_delete(decision, id)
}

/// Deletes the record once no placement is left on a reachable node. Placements on unreachable nodes become
/// orphans, and are removed when their nodes return.
pub(super) fn finish_delete(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    let blocked = container.retired.iter().any(|retired| {
        decision.cluster().node(retired.placement.node_id).is_some_and(|node| node.health == Health::Up)
    });
    if container.desired == Desired::Deleted && !blocked {
        let cause = cause_or(decision, container.cause);
        decision.emit_because(ContainerDeleted { container_id: id }, cause);
    }
    Ok(())
}
