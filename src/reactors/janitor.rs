//! The janitor: it removes from nodes what is not wanted there any more: replaced placements, containers of
//! deleted records, orphans, and what a draining node still holds.
//!
//! It removes only what carries this cluster's label and a placement that the log knows as replaced, or
//! does not know at all.

use super::work::Work;
use super::{Hub, PACE};
use crate::commands::{Command, Instance};
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
    Remove(Instance, NodeId),
    FinishDelete(kdaemon_events::ContainerId),
}

pub(super) async fn run(hub: Hub) {
    let work: Arc<Work<Task, Option<NodeId>>> = Arc::new(Work::new(TASKS_LIMIT));
    let mut states = hub.journal.watch();
    loop {
        let cluster = Arc::clone(&states.borrow_and_update());
        if hub.journal.trouble().is_none() {
            for task in due(&cluster) {
                begin(&hub, &work, &cluster, task);
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
            let instance = Instance { container_id: container.id, generation: retired.placement.generation };
            tasks.push(Task::Remove(instance, node_id));
        }
        if container.desired == Desired::Deleted && tasks.len() == before {
            tasks.push(Task::FinishDelete(container.id));
        }
    }
    for node in cluster.unsettled_nodes().filter(|node| node.health == Health::Up) {
        for orphan in &node.orphans {
            let instance = Instance { container_id: orphan.container_id, generation: orphan.generation };
            tasks.push(Task::Remove(instance, node.id));
        }
        if node.availability == Availability::Draining {
            let stopped =
                node.holds.iter().filter_map(|id| cluster.container(*id)).filter(|container| {
                    matches!(container.phase, Phase::Down | Phase::Failed | Phase::Waiting)
                });
            for container in stopped {
                let here = container.placement.as_ref().filter(|p| p.node_id == node.id);
                tasks.extend(here.map(|placement| {
                    let instance = Instance { container_id: container.id, generation: placement.generation };
                    Task::Remove(instance, node.id)
                }));
            }
        }
    }
    tasks
}

fn begin(hub: &Hub, work: &Arc<Work<Task, Option<NodeId>>>, cluster: &Arc<Cluster>, task: Task) {
    let lane = match task {
        Task::Remove(_, node) => Some(node),
        Task::FinishDelete(_) => None,
    };
    let Some(mut guard) = work.begin(task, lane) else { return };
    let (hub, cluster) = (hub.clone(), Arc::clone(cluster));
    hub.clone().spawn(async move {
        match task {
            Task::FinishDelete(id) => {
                hub.report(Command::FinishDelete(id), None).await;
            }
            Task::Remove(instance, node_id) => {
                let Some(engine) = hub.engine_of(&cluster, node_id) else { return };
                let Some(identity) = hub.identity(&cluster, instance.container_id, instance.generation)
                else {
                    return;
                };
                match engine.remove(identity).await {
                    Ok(()) => {
                        hub.report(Command::RecordRemoved(instance, node_id), None).await;
                    }
                    Err(error) => {
                        tracing::warn!(container = %instance.container_id, generation = %instance.generation,
                            node = %node_id, %error, "could not be removed yet");
                        guard.pause_for(REMOVE_AGAIN, REMOVE_AGAIN);
                    }
                }
            }
        }
    });
}
