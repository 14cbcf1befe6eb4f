//! Keeping as many containers of an application as are wanted.

use super::decision::DecisionBuilder;
use super::{Refusal, lifecycle};
use kdaemon_events::{ApplicationId, ContainerId};
use kdaemon_projections::{Application, Container, Desired, PhaseKind, Status};
use std::sync::Arc;

/// The most replicas of one application: as many as one commit can create and launch.
pub const REPLICAS_LIMIT: u32 = 300;

/// Creates, launches and deletes containers until the wanted number of an application's containers is
/// scheduled to run.
///
/// Every container scheduled to run counts, no matter who created it. Stopped records count only if
/// `replicas` created them: they are launched before new ones are created, and removed before running ones.
pub(super) fn keep_replicas(decision: &mut DecisionBuilder<'_>, id: ApplicationId) -> Result<(), Refusal> {
    let Some(application) = decision.cluster().application(id).cloned() else { return Ok(()) };
    // Bounded, so that no log, however odd, makes one decision endless.
    let Some(wanted) = application.replicas.map(|wanted| wanted.min(REPLICAS_LIMIT) as usize) else {
        return Ok(());
    };
    let (running, idle) = members(decision, &application);
    let cause = decision.last().unwrap_or(application.seq);
    if running.len() < wanted && application.is_enabled {
        let again: Vec<_> = idle.iter().take(wanted - running.len()).collect();
        for container in &again {
            lifecycle::launch_again(decision, container.id, cause)?;
        }
        let mut number = 1;
        for _ in running.len() + again.len()..wanted {
            let name = free_name_from(decision, &application, &mut number);
            lifecycle::launch_replica(decision, name, &application, cause)?;
        }
    } else if running.len() >= wanted {
        let count = running.len() - wanted;
        for container in idle.iter().map(|container| container.id).chain(surplus(decision, running, count)) {
            lifecycle::take_away(decision, container, false)?;
        }
    }
    Ok(())
}

/// Replaces a deleted replica while there are too few.
pub(super) fn replace_replica(decision: &mut DecisionBuilder<'_>, id: ApplicationId) -> Result<(), Refusal> {
    let Some(application) = decision.cluster().application(id).cloned() else { return Ok(()) };
    let (running, idle) = members(decision, &application);
    // A stopped replica is not replaced: it exists, and was stopped on purpose.
    let have = running.len() + idle.len();
    let is_lacking = application.replicas.is_some_and(|wanted| have < wanted.min(REPLICAS_LIMIT) as usize);
    if is_lacking && application.is_enabled {
        let cause = decision.last().unwrap_or(application.seq);
        let name = free_name(decision, &application);
        lifecycle::launch_replica(decision, name, &application, cause)?;
    }
    Ok(())
}

/// The containers of an application that are scheduled to run or have completed, and the stopped ones that `replicas` created.
fn members(
    decision: &DecisionBuilder<'_>,
    application: &Application,
) -> (Vec<Arc<Container>>, Vec<Arc<Container>>) {
    let all = application.containers.iter().filter_map(|id| decision.cluster().container(*id)).cloned();
    let alive = all.filter(|container| container.desired != Desired::Deleted);
    // What has done its work is there, and is not started again.
    let counts = |container: &Arc<Container>| {
        container.desired == Desired::Running || container.phase.kind() == PhaseKind::Completed
    };
    let (running, idle): (Vec<_>, Vec<_>) = alive.partition(counts);
    (running, idle.into_iter().filter(|container| container.replica).collect())
}

/// The `count` surplus containers to remove: first the ones that are not up, then the ones that `replicas`
/// created, then the ones on the fullest nodes, then the youngest.
fn surplus(decision: &DecisionBuilder<'_>, running: Vec<Arc<Container>>, count: usize) -> Vec<ContainerId> {
    let mut candidates = running;
    candidates.sort_by_key(|container| {
        let is_up = container.status() == Status::Up;
        let fullness = container
            .residence()
            .and_then(|placement| decision.cluster().node(placement.node_id))
            .map_or(u32::MAX, |node| node.container_count());
        (is_up, !container.replica, std::cmp::Reverse(fullness), std::cmp::Reverse(container.id))
    });
    candidates.into_iter().take(count).map(|container| container.id).collect()
}

/// The first free name of `name-1`, `name-2`, …
pub(super) fn free_name(decision: &DecisionBuilder<'_>, application: &Application) -> String {
    free_name_from(decision, application, &mut 1)
}

/// The first free name from `number` on; advances `number` past it, so that finding many names is one search.
fn free_name_from(decision: &DecisionBuilder<'_>, application: &Application, number: &mut u64) -> String {
    let stem: String = application.name.chars().take(super::NAME_LIMIT - 8).collect();
    loop {
        let name = format!("{stem}-{number}");
        *number += 1;
        if decision.cluster().find_container(&name).is_none() {
            return name;
        }
    }
}
