//! Decisions that place and move containers, as submitted by the rebalancer and the launcher.

use super::decision::DecisionBuilder;
use super::{Refusal, cause_or, lifecycle};
use crate::scheduler::{self, DisruptionBudget, Request};
use kdaemon_events::cluster::RebalancePlanned;
use kdaemon_events::container::{ContainerLaunchRequested, ContainerMigrationCommanded, MigrationReason};
use kdaemon_events::node::Availability;
use kdaemon_events::scheduling::{Evaluation, Unschedulable};
use kdaemon_events::{ApplicationId, ContainerId, NodeId, Seq};
use kdaemon_projections::{Application, Cluster, Container, Desired, Health, PhaseKind};
use std::sync::Arc;

/// The most migrations of one commit; the rest follows in the next.
const BATCH: usize = 300;

pub(super) fn place_waiting(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    let due = container.not_before().is_none_or(|not_before| not_before <= decision.now);
    if container.phase.kind() != PhaseKind::Waiting || container.desired != Desired::Running || !due {
        return Ok(());
    }
    let cause = cause_or(decision, container.cause);
    if let Err(reason) = lifecycle::place(decision, &container, cause.unwrap_or_default()) {
        lifecycle::wait(decision, &container, None, reason, cause);
    }
    Ok(())
}

pub(super) fn evacuate(decision: &mut DecisionBuilder<'_>, id: NodeId) -> Result<(), Refusal> {
    let node = decision.node(id)?;
    let reason = match (node.health, node.availability) {
        (Health::Down, _) => MigrationReason::Unhealthy,
        (_, Availability::Draining) => MigrationReason::Drain,
        _ => return Ok(()),
    };
    if reason == MigrationReason::Unhealthy && decision.cluster().paused().is_some() {
        return Ok(());
    }
    // A drain is gentle; containers that are down already gain nothing by waiting.
    let budget = match reason {
        MigrationReason::Drain => free_moves(decision),
        _ => BATCH,
    };
    let cause = if reason == MigrationReason::Unhealthy { node.unhealthy_seq } else { node.drain_seq };
    let cause = cause.or(decision.context.cause);
    // Lost containers are moved at once; running ones leave a few of an application at a time.
    let before = decision.cluster().clone();
    let mut disruption_budget = DisruptionBudget::of(&before);
    let residents = node.residents.iter().filter_map(|id| before.container(*id));
    let leaving = residents
        .filter(|container| can_leave(container))
        .filter(|container| reason == MigrationReason::Unhealthy || disruption_budget.admit(container));
    let leaving: Vec<ContainerId> = leaving.map(|container| container.id).collect();
    let mut moved = 0;
    for (id, choice) in scheduler::evacuate(&before, leaving, decision.context.policy.strategy) {
        if moved == budget {
            break;
        }
        let container = decision.container(id)?;
        match choice {
            Ok(choice) => {
                command(decision, &container, reason, choice.node_id, Some(choice.evaluation), cause);
                moved += 1;
            }
            Err(nodes) if node.then_unmount && !nodes.may_pass() => evict(decision, &container, cause),
            Err(nodes) => {
                lifecycle::wait(decision, &container, Some(reason), Unschedulable::NoNodeFits(nodes), cause);
            }
        }
    }
    Ok(())
}

/// Removes a container from a node that is being unmounted, though no other node fits: it waits for one.
fn evict(decision: &mut DecisionBuilder<'_>, container: &Container, cause: Option<Seq>) {
    decision.emit_because(ContainerLaunchRequested { container_id: container.id }, cause);
    let Some(container) = decision.cluster().container(container.id).cloned() else { return };
    if let Err(reason) = lifecycle::place(decision, &container, cause.unwrap_or_default()) {
        lifecycle::wait(decision, &container, None, reason, cause);
    }
}

fn can_leave(container: &Container) -> bool {
    container.desired == Desired::Running
        && matches!(container.phase.kind(), PhaseKind::Placed | PhaseKind::Up | PhaseKind::Restarting)
}

fn free_moves(decision: &DecisionBuilder<'_>) -> usize {
    decision.context.policy.max_migrations.saturating_sub(decision.cluster().migrating().len())
}

pub(super) fn rebalance(decision: &mut DecisionBuilder<'_>) -> Result<(), Refusal> {
    if decision.cluster().paused().is_some() {
        return Ok(());
    }
    let plan = scheduler::plan(decision.cluster(), decision.context.policy.strategy);
    let moves = plan.first_moves(decision.cluster(), decision.context.policy.strategy, free_moves(decision));
    if moves.is_empty() {
        return Ok(());
    }
    let remaining = u32::try_from(plan.moves().count() - moves.len()).unwrap_or(u32::MAX);
    let planned = decision.emit(RebalancePlanned {
        moves: moves.clone(),
        remaining,
        most: plan.most,
        fewest: plan.fewest,
    });
    for step in moves {
        let container = decision.container(step.container_id)?;
        command(decision, &container, MigrationReason::Balance, step.node_id, None, Some(planned));
    }
    Ok(())
}

/// Replaces containers made from an older specification, one at a time: the next only when all others run.
pub(super) fn roll(decision: &mut DecisionBuilder<'_>, id: ApplicationId) -> Result<(), Refusal> {
    let application = decision.application(id)?;
    if let Some(container) = next_to_roll(decision.cluster(), &application).cloned() {
        let spec = decision.cluster().spec_of(&container);
        // The container may stay on its node.
        let request = Request::new(&container, &spec, None, decision.context.policy.strategy);
        match scheduler::place(decision.cluster(), &request) {
            Ok(choice) => {
                let (node, evaluation) = (choice.node_id, Some(choice.evaluation));
                command(
                    decision,
                    &container,
                    MigrationReason::Update,
                    node,
                    evaluation,
                    Some(application.seq),
                );
            }
            Err(nodes) => {
                let (moving, reason) = (Some(MigrationReason::Update), Unschedulable::NoNodeFits(nodes));
                lifecycle::wait(decision, &container, moving, reason, Some(application.seq));
            }
        }
    }
    Ok(())
}

/// The next outdated container of an application to replace; `None` while some of its wanted containers do not run.
#[must_use]
pub fn next_to_roll<'a>(cluster: &'a Cluster, application: &Application) -> Option<&'a Arc<Container>> {
    if application.outdated == 0 {
        return None;
    }
    // Moving off a drained node replaces a container anyway; rolling it too would make the two alternate in
    // recording what it waits for.
    let is_draining = |container: &Container| {
        let node = container.placement.as_ref().and_then(|placement| cluster.node(placement.node_id));
        node.is_some_and(|node| node.availability == Availability::Draining)
    };
    let mut next = None;
    let containers = application.containers.iter().filter_map(|id| cluster.container(*id));
    for container in containers.filter(|container| container.desired == Desired::Running) {
        if container.phase.kind() != PhaseKind::Up || container.lost || container.migrating.is_some() {
            return None;
        }
        if next.is_none() && !is_draining(container) && cluster.is_outdated(container) {
            next = Some(container);
        }
    }
    next
}

/// Commands one migration.
fn command(
    decision: &mut DecisionBuilder<'_>,
    container: &Container,
    reason: MigrationReason,
    node_id: NodeId,
    evaluation: Option<Evaluation>,
    cause: Option<Seq>,
) {
    let Some(placement) = container.placement.clone() else { return };
    let spec = decision.cluster().spec_of(container);
    let source_works =
        decision.cluster().node(placement.node_id).is_some_and(|node| node.health == Health::Up);
    let same_node = placement.node_id == node_id;
    let ports_clash = same_node && spec.fixed_ports().next().is_some();
    let start_first =
        source_works && container.phase.kind() == PhaseKind::Up && !ports_clash && !spec.is_bound_to_node();
    decision.emit_because(
        ContainerMigrationCommanded {
            container_id: container.id,
            from_node_id: placement.node_id,
            from_generation: placement.generation,
            node_id,
            generation: container.generation.next(),
            reason,
            start_first,
            evaluation: evaluation.map(Box::new),
        },
        cause,
    );
}
