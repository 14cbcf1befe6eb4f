//! Decisions about containers.

use super::draft::Draft;
use super::{Refusal, applications, cause_or, check_name};
use crate::scheduler::{self, Request};
use kdaemon_events::container::{
    ContainerCreated, ContainerDeleted, ContainerLaunchFailed, ContainerLaunchRequested, ContainerPlaced,
    ContainerStopRequested, ContainerStopped, ContainerUpdated,
};
use kdaemon_events::{ApplicationId, ContainerId, Environment, Seq};
use kdaemon_projections::{Application, Container, Desired, Health, Phase};

/// Makes a container record.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateContainer {
    /// Its name; made from its application's when there is none.
    pub name: Option<String>,
    /// Whom it belongs to.
    pub user_id: Option<String>,
    /// The name or id of its application.
    pub application: Option<String>,
    /// Environment variables on top of its application's.
    pub env_variables: Environment,
    /// Whether the rebalancer may move it.
    pub balance: bool,
}

/// Edits a container record; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::option_option, missing_docs)] // the fields are those of CreateContainer
pub struct UpdateContainer {
    pub container_id: ContainerId,
    pub name: Option<String>,
    pub user_id: Option<Option<String>>,
    pub application: Option<Option<String>>,
    pub env_variables: Option<Environment>,
    pub balance: Option<bool>,
}

fn resolve_application(draft: &Draft<'_>, text: &str) -> Result<ApplicationId, Refusal> {
    draft
        .cluster()
        .find_application(text)
        .map(|application| application.id)
        .ok_or_else(|| Refusal::invalid("application_id", format!("there is no application `{text}`")))
}

fn check_free(draft: &Draft<'_>, name: &str, except: Option<ContainerId>) -> Result<(), Refusal> {
    check_name(name)?;
    match draft.cluster().find_container(name) {
        Some(other) if Some(other.id) != except => {
            Err(Refusal::conflict(format!("there is a container `{name}` already")))
        }
        _ => Ok(()),
    }
}

pub(super) fn create(draft: &mut Draft<'_>, create: CreateContainer) -> Result<(), Refusal> {
    let application_id = create.application.map(|text| resolve_application(draft, &text)).transpose()?;
    let application = application_id.and_then(|id| draft.cluster().application(id));
    let name = match (create.name, application) {
        (Some(name), _) => name,
        (None, Some(application)) => applications::free_name(draft, application),
        (None, None) => {
            return Err(Refusal::invalid("name", "a container without an application needs a name".into()));
        }
    };
    check_free(draft, &name, None)?;
    for variable in create.env_variables.keys() {
        applications::check_variable(variable)?;
    }
    let container_id = ContainerId(draft.identity());
    draft.emit(ContainerCreated {
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

/// Makes and launches a container for an application's `replicas`. It waits when no node fits.
pub(super) fn launch_replica(
    draft: &mut Draft<'_>,
    name: String,
    application: &Application,
    cause: Seq,
) -> Result<(), Refusal> {
    let container_id = ContainerId(draft.identity());
    let created = ContainerCreated {
        container_id,
        name,
        user_id: application.user_id.clone(),
        application_id: Some(application.id),
        env_variables: Environment::new(),
        balance: true,
        replica: true,
    };
    let created = draft.emit_because(created, Some(cause));
    start(draft, container_id, false, Some(created))
}

pub(super) fn update(draft: &mut Draft<'_>, update: UpdateContainer) -> Result<(), Refusal> {
    let container = draft.container(update.container_id)?;
    refuse_if_deleting(&container)?;
    let name = update.name.filter(|name| *name != container.name);
    if let Some(name) = &name {
        check_free(draft, name, Some(container.id))?;
    }
    for variable in update.env_variables.iter().flat_map(Environment::keys) {
        applications::check_variable(variable)?;
    }
    let application_id = match update.application {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => Some(Some(resolve_application(draft, &text)?)),
    };
    let application_id = application_id.filter(|id| *id != container.application_id);
    if application_id.is_some() && container.desired == Desired::Running {
        return Err(Refusal::conflict(format!(
            "container `{}` is to run; stop it before it gets another application",
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
        draft.emit(event);
    }
    Ok(())
}

fn refuse_if_deleting(container: &Container) -> Result<(), Refusal> {
    if container.desired == Desired::Deleted {
        return Err(Refusal::conflict(format!("container `{}` is being deleted", container.name)));
    }
    Ok(())
}

pub(super) fn launch(draft: &mut Draft<'_>, id: ContainerId) -> Result<(), Refusal> {
    start(draft, id, true, draft.context.cause)
}

/// Launches a replica that was stopped. It waits when no node fits.
pub(super) fn launch_again(draft: &mut Draft<'_>, id: ContainerId, cause: Seq) -> Result<(), Refusal> {
    start(draft, id, false, Some(cause))
}

/// Launches a container. When `now` is set and no node fits it is refused, with a reason for each node;
/// else it waits for a node.
fn start(draft: &mut Draft<'_>, id: ContainerId, now: bool, cause: Option<Seq>) -> Result<(), Refusal> {
    let container = draft.container(id)?;
    refuse_if_deleting(&container)?;
    let Some(application) = container.application_id.and_then(|id| draft.cluster().application(id)).cloned()
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
    let launching_or_up =
        matches!(container.phase, Phase::Waiting | Phase::Placed | Phase::Up | Phase::Restarting);
    if launching_or_up && container.desired == Desired::Running {
        return Ok(());
    }
    let cause = draft.emit_because(ContainerLaunchRequested { container_id: id }, cause);
    let container = draft.container(id)?;
    match place(draft, &container, cause) {
        Err(Unplaced::NoFit(no_fit)) if now => Err(no_fit.into()),
        Err(unplaced) => {
            wait(draft, &container, &unplaced.to_string(), Some(cause));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Why a container that is to run has no node yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unplaced {
    #[error("its application is disabled")]
    Disabled,
    #[error("it waits for application `{0}`, of which no container is UP")]
    Dependency(String),
    #[error("{0}")]
    NoFit(scheduler::NoFit),
}

/// Places a waiting container on the best node.
pub(super) fn place(draft: &mut Draft<'_>, container: &Container, cause: Seq) -> Result<(), Unplaced> {
    let application = container.application_id.and_then(|id| draft.cluster().application(id));
    let Some(application) = application.filter(|application| application.is_enabled) else {
        return Err(Unplaced::Disabled);
    };
    draft.cluster().dependencies_are_up(application).map_err(Unplaced::Dependency)?;
    let spec = draft.cluster().spec_of(container);
    let request = Request::new(container, &spec, None, draft.context.policy.strategy);
    let choice = scheduler::place(draft.cluster(), &request).map_err(Unplaced::NoFit)?;
    draft.emit_because(
        ContainerPlaced {
            container_id: container.id,
            generation: container.generation.next(),
            node_id: choice.node_id,
            why: choice.why,
        },
        Some(cause),
    );
    Ok(())
}

/// Notes for what a container waits, if that is news.
pub(super) fn wait(draft: &mut Draft<'_>, container: &Container, reason: &str, cause: Option<Seq>) {
    if container.reason.as_deref() != Some(reason) {
        draft.emit_because(
            ContainerLaunchFailed {
                container_id: container.id,
                generation: None,
                node_id: None,
                reason: reason.to_owned(),
                node_fault: false,
                attempt: 0,
                retry_at: None,
            },
            cause,
        );
    }
}

pub(super) fn stop(draft: &mut Draft<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = draft.container(id)?;
    refuse_if_deleting(&container)?;
    if matches!(container.phase, Phase::Created | Phase::Down | Phase::Stopping) {
        return Ok(());
    }
    let requested = draft.emit(ContainerStopRequested { container_id: id, then_delete: false });
    if container.placement.is_none() {
        let stopped = ContainerStopped { container_id: id, generation: None, exit_code: None };
        draft.emit_because(stopped, Some(requested));
    }
    Ok(())
}

pub(super) fn delete(draft: &mut Draft<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = draft.container(id)?;
    if container.desired == Desired::Deleted {
        return Ok(());
    }
    take_away(draft, id)?;
    // What people take away is made anew as long as its application is to have so many.
    match container.application_id {
        Some(application) if container.replica => applications::replace_replica(draft, application),
        _ => Ok(()),
    }
}

/// Has a container removed and deleted, without asking whether its application then has too few.
pub(super) fn take_away(draft: &mut Draft<'_>, id: ContainerId) -> Result<(), Refusal> {
    draft.emit(ContainerStopRequested { container_id: id, then_delete: true });
    finish_delete(draft, id)
}

/// Deletes the record when nothing of it is left on a node that could be cleaned up. What is left on others
/// is an orphan and removed when they return.
pub(super) fn finish_delete(draft: &mut Draft<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = draft.container(id)?;
    let blocked = container.retired.iter().any(|retired| {
        draft.cluster().node(retired.placement.node_id).is_some_and(|node| node.health == Health::Up)
    });
    if container.desired == Desired::Deleted && !blocked {
        let cause = cause_or(draft, container.cause);
        draft.emit_because(ContainerDeleted { container_id: id }, cause);
    }
    Ok(())
}
