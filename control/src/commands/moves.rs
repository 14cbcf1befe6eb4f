//! Decisions that place and move containers, as submitted by the rebalancer and the launcher.

use super::decision::DecisionBuilder;
use super::{Refusal, cause_or, lifecycle};
use crate::scheduler::{self, DisruptionBudget};
use kdaemon_events::application::UpdateOrder;
use kdaemon_events::cluster::RebalancePlanned;
use kdaemon_events::container::{ContainerLaunchRequested, ContainerMigrationCommanded, MigrationReason};
use kdaemon_events::node::Availability;
use kdaemon_events::scheduling::{Evaluation, Unschedulable};
use kdaemon_events::{ContainerId, NodeId, Seq};
use kdaemon_projections::{Container, Desired, Health, PhaseKind};

/// The most migrations of one commit; the rest follows in the next.
const BATCH: usize = 300;

pub(super) fn place_waiting(decision: &mut DecisionBuilder<'_>, id: ContainerId) -> Result<(), Refusal> {
    let container = decision.container(id)?;
    let due = decision.cluster().next_try(&container).is_none_or(|not_before| not_before <= decision.now);
    let waits = matches!(container.phase.kind(), PhaseKind::Waiting | PhaseKind::Failed);
    if !waits || container.desired != Desired::Running || !due {
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
                let (node_id, evaluation) = (choice.node_id, Some(choice.evaluation));
                command(decision, &container, reason, MoveTarget { node_id, evaluation, order: None }, cause);
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
    decision.emit_because(ContainerLaunchRequested { container_id: container.id, generation: None }, cause);
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
    let moves = plan.first_moves(
        decision.cluster(),
        decision.context.policy.strategy,
        scheduler::MoveLimit { now: free_moves(decision), most: decision.context.policy.max_migrations },
    );
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
        let target = MoveTarget { node_id: step.node_id, evaluation: None, order: None };
        command(decision, &container, MigrationReason::Balance, target, Some(planned));
    }
    Ok(())
}

/// Where a container moves to.
pub(super) struct MoveTarget {
    /// The node.
    pub(super) node_id: NodeId,
    /// The comparison that led to it; `None` for a step of a plan.
    pub(super) evaluation: Option<Evaluation>,
    /// The order of a rollout; `None` for other moves.
    pub(super) order: Option<UpdateOrder>,
}

/// Commands one migration.
pub(super) fn command(
    decision: &mut DecisionBuilder<'_>,
    container: &Container,
    reason: MigrationReason,
    MoveTarget { node_id, evaluation, order }: MoveTarget,
    cause: Option<Seq>,
) {
    let Some(placement) = container.placement.clone() else { return };
    let spec = decision.cluster().spec_of(container);
    let source_works =
        decision.cluster().node(placement.node_id).is_some_and(|node| node.health == Health::Up);
    let same_node = placement.node_id == node_id;
    let ports_clash = same_node && spec.fixed_ports().next().is_some();
    let start_first = source_works
        && container.runs()
        && !container.is_served_by_predecessor()
        && (placement.is_ready() || reason != MigrationReason::Update) // a broken one need not stay
        && !ports_clash
        && order != Some(UpdateOrder::StopFirst)
        && !spec.has_local_data()
        && !container.has_data();
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
