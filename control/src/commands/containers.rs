//! Decisions about containers.

use super::decision::DecisionBuilder;
use super::{Refusal, check_name, check_variable, lifecycle, replicas};
use kdaemon_events::container::{
    ContainerCreated, ContainerStopRequested, ContainerStopped, ContainerUpdated,
};
use kdaemon_events::{ApplicationId, ContainerId, Environment};
use kdaemon_projections::{Desired, PhaseKind};

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
        (None, Some(application)) => replicas::free_name(decision, application),
        (None, None) => {
            return Err(Refusal::invalid("name", "a container without an application needs a name".into()));
        }
    };
    check_free(decision, &name, None)?;
    for variable in create.env_variables.keys() {
        check_variable(variable)?;
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

pub(super) fn update(decision: &mut DecisionBuilder<'_>, update: UpdateContainer) -> Result<(), Refusal> {
    let container = decision.container(update.container_id)?;
    lifecycle::refuse_if_deleting(&container)?;
    let name = update.name.filter(|name| *name != container.name);
    if let Some(name) = &name {
        check_free(decision, name, Some(container.id))?;
    }
    for variable in update.env_variables.iter().flat_map(Environment::keys) {
        check_variable(variable)?;
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

pub(super) fn launch(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    lifecycle::start(decision, id, true, decision.context.cause)
}

pub(super) fn stop(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    lifecycle::refuse_if_deleting(&container)?;
    if container.phase.kind().is_over()
        || matches!(container.phase.kind(), PhaseKind::Created | PhaseKind::Stopping)
    {
        return Ok(());
    }
    let requested =
        decision.emit(ContainerStopRequested { container_id: id, then_delete: false, volumes: false });
    if container.placement.is_none() {
        let stopped = ContainerStopped { container_id: id, generation: None, exit_code: None };
        decision.emit_because(stopped, Some(requested));
    }
    Ok(())
}

pub(super) fn delete(
    decision: &mut DecisionBuilder<'_>,
    id: ContainerId,
    volumes: bool,
) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    if container.desired == Desired::Deleted {
        return Ok(());
    }
    lifecycle::take_away(decision, id, volumes)?;
    // A replica that a person deletes is replaced while the application has too few.
    match container.application_id {
        Some(application) if container.replica => replicas::replace_replica(decision, application),
        _ => Ok(()),
    }
}
