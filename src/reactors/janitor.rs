//! The janitor: it removes from nodes what is not wanted there any more: replaced placements, containers of
//! deleted records, orphans, and what a draining node still holds.
//!
//! It removes only what carries this cluster's label and a placement that the log knows as replaced, or
//! does not know at all.

use kdaemon_events::PlacementId;

use super::work::Work;
use super::{PACE, ReactorContext};
use kdaemon_control::commands::Command;
use kdaemon_events::NodeId;
use kdaemon_events::node::Availability;
use kdaemon_projections::{Cluster, Desired, Health, Phase};
use std::sync::Arc;
use std::time::Duration;

/// How many removals run at once on one node: an engine that hangs holds up none on the others.
const TASKS_LIMIT: usize = 128;
/// How long after a failed removal the next try is.
const REMOVE_AGAIN: Duration = Duration::from_secs(2);
/// The state is looked at so often even when nothing seems to happen.
const PERIOD: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Task {
    Remove(PlacementId, NodeId),
    FinishDelete(kdaemon_events::ContainerId),
}

pub(super) async fn run(context: ReactorContext) {
    let work: Arc<Work<Task, Option<NodeId>>> = Arc::new(Work::new(TASKS_LIMIT));
    let mut states = context.journal.watch();
    loop {
        let cluster = Arc::clone(&states.borrow_and_update());
        if context.journal.trouble().is_none() {
            for task in due(&cluster) {
                begin(&context, &work, &cluster, task);
            }
        }
        let period = tokio::time::Instant::now() + PERIOD;
        let wake = work.next_pause_end().map_or(period, |end| period.min(end));
        tokio::select! {
            biased;
            changed = states.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(PACE).await;
            }
            () = work.done.notified() => {}
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

/// Everything that is to be removed from nodes that work.
fn due(cluster: &Cluster) -> Vec<Task> {
    let is_up = |id: NodeId| cluster.node(id).is_some_and(|node| node.health == Health::Up);
    let mut tasks = Vec::new();
    for container in cluster.unsettled() {
        let before = tasks.len();
        for retired in container.retired.iter().filter(|retired| !retired.held) {
            let Some(node_id) = Some(retired.placement.node_id).filter(|id| is_up(*id)) else { continue };
            let placement_id =
                PlacementId { container_id: container.id, generation: retired.placement.generation };
            tasks.push(Task::Remove(placement_id, node_id));
        }
        if container.desired == Desired::Deleted && tasks.len() == before {
            tasks.push(Task::FinishDelete(container.id));
        }
    }
    for node in cluster.unsettled_nodes().filter(|node| node.health == Health::Up) {
        for orphan in &node.orphans {
            let placement_id =
                PlacementId { container_id: orphan.container_id, generation: orphan.generation };
            tasks.push(Task::Remove(placement_id, node.id));
        }
        if node.availability == Availability::Draining {
            let stopped =
                node.holds.iter().filter_map(|id| cluster.container(*id)).filter(|container| {
                    matches!(container.phase, Phase::Down | Phase::Failed | Phase::Waiting)
                });
            for container in stopped {
                let here = container.placement.as_ref().filter(|p| p.node_id == node.id);
                tasks.extend(here.map(|placement| {
                    let placement_id =
                        PlacementId { container_id: container.id, generation: placement.generation };
                    Task::Remove(placement_id, node.id)
                }));
            }
        }
    }
    tasks
}

fn begin(
    context: &ReactorContext,
    work: &Arc<Work<Task, Option<NodeId>>>,
    cluster: &Arc<Cluster>,
    task: Task,
) {
    let lane = match task {
        Task::Remove(_, node) => Some(node),
        Task::FinishDelete(_) => None,
    };
    let Some(mut guard) = work.begin(task, lane) else { return };
    let (context, cluster) = (context.clone(), Arc::clone(cluster));
    context.clone().spawn(async move {
        match task {
            Task::FinishDelete(id) => {
                context.report(Command::FinishDelete(id), None).await;
            }
            Task::Remove(placement_id, node_id) => {
                let Some(engine) = context.engine_of(&cluster, node_id) else { return };
                let Some(identity) = context.identity(&cluster, placement_id.container_id, placement_id.generation)
                else {
                    return;
                };
                match engine.remove(identity).await {
                    Ok(()) => {
                        context.report(Command::RecordRemoved(placement_id, node_id), None).await;
                    }
                    Err(error) => {
                        tracing::warn!(container = %placement_id.container_id, generation = %placement_id.generation,
                            node = %node_id, %error, "could not be removed yet");
                        guard.pause_for(REMOVE_AGAIN, REMOVE_AGAIN);
                    }
                }
            }
        }
    });
}
