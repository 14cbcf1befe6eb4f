//! The reconciler looks at each state, asks [`due`] for the tasks, and carries them out, one at a time per
//! key.

use super::tasks::execute;
use super::work::Work;
use super::{PACE, ReactorContext};
use kdaemon_control::reconcile::{Act, Task, due};
use kdaemon_events::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Interval of looking at the state without a change.
const PERIOD: Duration = Duration::from_secs(5);

/// The resource that tasks wait for. A slow pull or a hanging engine delays its own lane and nothing else;
/// each engine has a smaller bound on its concurrent work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Placements,
    Deletions,
    Moves,
    Launches(NodeId),
    Starts(NodeId),
    Stops(NodeId),
    Removals(NodeId),
}

impl Lane {
    fn of(task: Task) -> Self {
        match task {
            Task::Place(_) | Task::Confirm(_) => Self::Placements,
            Task::FinishDelete(_) => Self::Deletions,
            Task::Evacuate(_) | Task::FinishDrain(_) | Task::Roll(_) | Task::Rebalance(_) => Self::Moves,
            Task::Act(Act::Launch, _, node) => Self::Launches(node),
            Task::Act(Act::Start | Act::Restart, _, node) => Self::Starts(node),
            Task::Act(Act::Stop, _, node) => Self::Stops(node),
            Task::Act(Act::Remove | Act::RemoveVolumes, _, node) => Self::Removals(node),
        }
    }

    /// Tasks that run in it at a time.
    fn limit(self) -> usize {
        match self {
            // Each of these commands can move hundreds of containers; commands of people are processed
            // between them.
            Self::Moves => 1,
            Self::Deletions | Self::Removals(_) => 128,
            Self::Placements | Self::Launches(_) | Self::Starts(_) | Self::Stops(_) => 256,
        }
    }
}

pub(super) async fn run(context: ReactorContext) {
    let pacing = context.settings.pacing();
    let work: Work<Task, Lane> = Work::new();
    let mut states = context.journal.watch();
    let mut in_service = 0;
    loop {
        let cluster = Arc::clone(&states.borrow_and_update());
        // Tasks in a backoff may be waiting for a node to come into service.
        let before = std::mem::replace(&mut in_service, cluster.eligible().len());
        if before < in_service {
            work.forget_pauses();
        }
        let mut wake = Instant::now() + PERIOD;
        // Work that cannot be recorded, or that belongs to another leader, is not started.
        if context.journal.trouble().is_none() && context.leadership.holds() {
            let now = context.journal.now();
            let due = due(&cluster, now, &pacing);
            for task in due.tasks {
                let lane = Lane::of(task);
                let Some(mut guard) = work.begin(task.key(), lane, lane.limit()) else { continue };
                let (context, cluster) = (context.acting_as(author(task)), Arc::clone(&cluster));
                context.clone().spawn(async move {
                    if !execute(&context, &cluster, task).await {
                        guard.back_off(pacing.backoff(task));
                    }
                });
            }
            if let Some(next) = due.next {
                wake = wake.min(Instant::now() + (next - now).to_std().unwrap_or_default());
            }
            wake = work.finish_look().map_or(wake, |end| wake.min(end));
        }
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

/// The reactor that the log names as the actor of a task's events.
fn author(task: Task) -> &'static str {
    match task {
        Task::Place(_)
        | Task::Confirm(_)
        | Task::Act(Act::Launch | Act::Start | Act::Restart | Act::Stop, ..) => "launcher",
        Task::FinishDelete(_) | Task::Act(Act::Remove | Act::RemoveVolumes, ..) => "janitor",
        Task::Evacuate(_) | Task::FinishDrain(_) | Task::Roll(_) | Task::Rebalance(_) => "rebalancer",
    }
}
