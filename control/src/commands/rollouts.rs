//! Rollouts: an application's containers are replaced by ones of its present specification.

use super::decision::DecisionBuilder;
use super::{Refusal, lifecycle, moves};
use crate::scheduler::{self, Request};
use kdaemon_events::application::{
    ApplicationRestarted, ApplicationUpdated, OnFailure, RolloutCompleted, RolloutPaused, RolloutRolledBack,
    RolloutStarted, UpdateOrder,
};
use kdaemon_events::container::MigrationReason;
use kdaemon_events::node::Availability;
use kdaemon_events::scheduling::Unschedulable;
use kdaemon_events::{ApplicationId, ContainerId, Seq, Spec, UpdatePolicy};
use kdaemon_projections::{Application, Cluster, Container, ContainerHealth, Desired, Health, PhaseKind};
use std::sync::Arc;

/// Begins, continues or completes an application's rollout.
pub(super) fn roll(decision: &mut DecisionBuilder<'_>, id: ApplicationId) -> Result<(), Refusal> {
    let application = decision.application(id)?;
    if application.is_paused() || !application.is_enabled {
        return Ok(());
    }
    let cause = decision.context.cause.unwrap_or(application.seq);
    if is_complete(decision.cluster(), &application) {
        if application.is_rolling() {
            decision.emit_because(RolloutCompleted { application_id: id }, Some(cause));
        }
        return Ok(());
    }
    let next = next_to_roll(decision.cluster(), &application);
    let cause = match &application.rollout {
        Some(rollout) if application.is_rolling() => rollout.since,
        _ => {
            let started = RolloutStarted { application_id: id, outdated: application.outdated };
            decision.emit_because(started, Some(cause))
        }
    };
    for id in next {
        replace(decision, id, application.update.order, cause)?;
    }
    Ok(())
}

/// Replaces one container by one of the present specification.
fn replace(
    decision: &mut DecisionBuilder<'_>,
    id: ContainerId,
    order: UpdateOrder,
    cause: Seq,
) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    let spec = decision.cluster().spec_of(&container);
    let request = Request::new(decision.cluster(), &container, &spec, None, decision.context.policy.strategy);
    match scheduler::place(decision.cluster(), &request) {
        Ok(choice) => {
            let order = Some(order);
            let target =
                moves::MoveTarget { node_id: choice.node_id, evaluation: Some(choice.evaluation), order };
            moves::command(decision, &container, MigrationReason::Update, target, Some(cause));
        }
        Err(nodes) => {
            let (moving, reason) = (Some(MigrationReason::Update), Unschedulable::NoNodeFits(nodes));
            lifecycle::wait(decision, &container, moving, reason, Some(cause));
        }
    }
    Ok(())
}

/// Whether every container is of the present specification, and none is on its way to serving with it.
fn is_complete(cluster: &Cluster, application: &Application) -> bool {
    application.outdated == 0 && !members(cluster, application).any(|container| is_under_way(container))
}

/// Whether a container runs, or is about to, and does not serve yet.
fn is_under_way(container: &Container) -> bool {
    let is_on_its_way =
        matches!(container.phase.kind(), PhaseKind::Placed | PhaseKind::Restarting | PhaseKind::Up);
    let is_starting = is_on_its_way && !container.lost && !container.is_serving();
    container.migrating == Some(MigrationReason::Update) || is_starting
}

/// The containers of an application that are wanted.
fn members<'a>(
    cluster: &'a Cluster,
    application: &'a Application,
) -> impl Iterator<Item = &'a Arc<Container>> {
    let all = application.containers.iter().filter_map(|id| cluster.container(*id));
    all.filter(|container| container.desired == Desired::Running)
}

/// Whether an application's rollout can take a step.
#[must_use]
pub fn has_to_roll(cluster: &Cluster, application: &Application) -> bool {
    match is_complete(cluster, application) {
        true => application.is_rolling(),
        false => !application.is_rolling() || !next_to_roll(cluster, application).is_empty(),
    }
}

/// The containers that a rollout replaces now: all that do not serve, and as many serving ones as the application's
/// `parallelism` allows. The others do not wait for a container that is LOST, has failed or waits for a node.
#[must_use]
pub fn next_to_roll(cluster: &Cluster, application: &Application) -> Vec<ContainerId> {
    if application.outdated == 0 {
        return Vec::new();
    }
    // Moving off a drained node replaces a container anyway; rolling it too would make the two alternate in recording
    // what it waits for. What runs on a node that is down cannot be replaced.
    let is_settled = |container: &Container| {
        let node = container.placement.as_ref().and_then(|placement| cluster.node(placement.node_id));
        node.is_some_and(|node| node.availability != Availability::Draining && node.health == Health::Up)
    };
    let mut under_way = 0;
    let (mut broken, mut serving) = (Vec::new(), Vec::new());
    for container in members(cluster, application) {
        let is_outdated = cluster.is_outdated(container);
        if container.migrating.is_some() || (!is_outdated && is_under_way(container)) {
            under_way += 1;
        } else if is_outdated && is_settled(container) {
            let list = if container.is_serving() { &mut serving } else { &mut broken };
            list.push(container.id);
        }
    }
    let free = (application.update.parallelism.max(1) as usize).saturating_sub(under_way);
    broken.extend(serving.into_iter().take(free));
    broken
}

/// Lets containers that do not serve take the specification that their application has just got, at once.
pub(super) fn renew_broken(decision: &mut DecisionBuilder<'_>, id: ApplicationId) -> Result<(), Refusal> {
    let application = decision.application(id)?;
    if !application.is_enabled {
        return Ok(());
    }
    let is_broken = |container: &Container| {
        let is_starting = matches!(
            container.phase.kind(),
            PhaseKind::Placed | PhaseKind::Restarting | PhaseKind::Failed | PhaseKind::Waiting
        );
        // One that was started a moment ago need not be broken.
        let fails = container.quick_exits > 0
            || container.placement.as_ref().is_some_and(|p| p.health == ContainerHealth::Unhealthy);
        let is_unready = container.phase.kind() == PhaseKind::Up
            && !container.is_serving()
            && (fails || application.update_policy == UpdatePolicy::Rolling);
        !container.lost && (is_starting || is_unready) && container.desired == Desired::Running
    };
    let broken = members(decision.cluster(), &application).filter(|container| is_broken(container));
    let broken: Vec<_> = broken.map(|container| container.id).collect();
    let cause = decision.last().unwrap_or(application.seq);
    for id in broken {
        lifecycle::launch_present(decision, id, cause)?;
    }
    Ok(())
}

/// Stops a rollout whose new containers have failed too often, after one more failure.
pub(super) fn judge(
    decision: &mut DecisionBuilder<'_>,
    container_id: ContainerId,
    cause: Seq,
) -> Result<(), Refusal> {
    let Ok(container) = decision.container(container_id) else { return Ok(()) };
    let Some(application) =
        container.application_id.and_then(|id| decision.cluster().application(id)).cloned()
    else {
        return Ok(());
    };
    let Some(rollout) = application.rollout.as_ref().filter(|_| application.is_rolling()) else {
        return Ok(());
    };
    let update = application.update;
    if rollout.failures < update.max_failures.max(1) || update.on_failure == OnFailure::Continue {
        return Ok(());
    }
    let (application_id, failures) = (application.id, rollout.failures);
    let paused = decision.emit_because(RolloutPaused { application_id, container_id, failures }, Some(cause));
    // What serves keeps serving: nothing of the new specification takes its place any more.
    let moving =
        members(decision.cluster(), &application).filter(|c| c.migrating == Some(MigrationReason::Update));
    let moving: Vec<_> = moving.map(Arc::clone).collect();
    for container in moving {
        lifecycle::return_to_predecessor(decision, &container, paused);
    }
    match application.rollback().cloned() {
        Some(spec) if update.on_failure == OnFailure::Rollback => {
            back_to(decision, &application, &spec, None, Some(paused))
        }
        _ => Ok(()),
    }
}

/// Gives an application an earlier specification: the given one, which it had as of `to`, or the last that served.
pub(super) fn roll_back(
    decision: &mut DecisionBuilder<'_>,
    id: ApplicationId,
    to: Option<(Seq, Arc<Spec>)>,
) -> Result<(), Refusal> {
    let application = decision.application(id)?;
    let (to, spec) = match to {
        Some((seq, spec)) => (Some(seq), spec),
        None => match application.rollback() {
            Some(spec) => (None, Arc::clone(spec)),
            None => {
                return Err(Refusal::conflict(format!(
                    "no container of application `{}` has served with another specification; name an event with to_seq",
                    application.name
                )));
            }
        },
    };
    if *spec == *application.spec {
        return Err(Refusal::conflict(format!(
            "application `{}` has this specification already",
            application.name
        )));
    }
    back_to(decision, &application, &spec, to, decision.context.cause)
}

fn back_to(
    decision: &mut DecisionBuilder<'_>,
    application: &Application,
    spec: &Arc<Spec>,
    to: Option<Seq>,
    cause: Option<Seq>,
) -> Result<(), Refusal> {
    let application_id = application.id;
    let back = decision.emit_because(RolloutRolledBack { application_id, to }, cause);
    let updated = ApplicationUpdated {
        application_id,
        name: None,
        user_id: None,
        spec: Some(Box::new((**spec).clone())),
        is_enabled: None,
        dependencies: None,
        update_policy: None,
        update: None,
    };
    decision.emit_because(updated, Some(back));
    renew_broken(decision, application_id)
}

/// Has all containers of an application replaced.
pub(super) fn restart(decision: &mut DecisionBuilder<'_>, id: ApplicationId) -> Result<(), Refusal> {
    let application = decision.application(id)?;
    if !application.is_enabled {
        return Err(Refusal::conflict(format!(
            "application `{}` is disabled and launches nothing; enable it first (is_enabled = true)",
            application.name
        )));
    }
    decision.emit(ApplicationRestarted { application_id: id });
    renew_broken(decision, id)?;
    // A restart is asked for by a person, whatever edits do by themselves.
    if application.update_policy == UpdatePolicy::Manual {
        let application = decision.application(id)?;
        let cause = decision.last();
        if application.outdated > 0 {
            decision
                .emit_because(RolloutStarted { application_id: id, outdated: application.outdated }, cause);
        }
    }
    Ok(())
}
