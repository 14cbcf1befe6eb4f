//! The launcher: it has waiting containers placed, and placed ones started; it starts again what ended, and
//! stops what is to be stopped.

use super::work::{Guard, Work};
use super::{PACE, ReactorContext};
use crate::engine::{Engine, EngineError, Identity, LaunchOrder};
use chrono::{DateTime, Utc};
use kdaemon_control::commands::{Command, LaunchFailure, must_wait_for_removal};
use kdaemon_events::{ContainerId, NodeId, PlacementId};
use kdaemon_projections::{Cluster, Container, Desired, Phase, Placement};
use std::sync::Arc;
use std::time::Duration;

/// How many containers are placed at once, or launched, started or stopped on one node: each by itself, so that an image that
/// takes long to come, or an engine that hangs, holds up nothing else. What of it an engine does at a time has its own, smaller
/// bound.
const TASKS_LIMIT: usize = 256;
/// How long after a vain look for a node the next one is …
const PLACE_AGAIN: Duration = Duration::from_millis(250);
/// … and at most, for the pause doubles; a node that comes into service ends it. To look at every node takes long where there
/// are many.
const PLACE_AGAIN_MAX: Duration = Duration::from_secs(4);
/// How long after a failed stop the next try is.
const STOP_AGAIN: Duration = Duration::from_secs(1);
/// The state is looked at so often even when nothing seems to happen.
const PERIOD: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Task {
    Place(ContainerId),
    Launch(PlacementId),
    Start(PlacementId),
    Stop(PlacementId),
}

/// What tasks of one sort wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Journal,
    Launches(NodeId),
    Starts(NodeId),
    Stops(NodeId),
}

pub(super) async fn run(context: ReactorContext) {
    let work: Arc<Work<Task, Lane>> = Arc::new(Work::new(TASKS_LIMIT));
    let mut states = context.journal.watch();
    let mut in_service = 0;
    loop {
        let cluster = Arc::clone(&states.borrow_and_update());
        let before = std::mem::replace(&mut in_service, cluster.eligible().len());
        if before < in_service {
            work.forget_pauses();
        }
        let mut wake = tokio::time::Instant::now() + PERIOD;
        // What cannot be recorded is not begun.
        if context.journal.trouble().is_none() {
            let now = context.journal.now();
            for container in cluster.unsettled() {
                if let Some(not_before) = begin(&context, &work, &cluster, container, now) {
                    let pause = (not_before - now).to_std().unwrap_or_default();
                    wake = wake.min(tokio::time::Instant::now() + pause);
                }
            }
        }
        wake = work.next_pause_end().map_or(wake, |end| wake.min(end));
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

/// Begins what is to be done about a container; if it is too early, says when it is time.
fn begin(
    context: &ReactorContext,
    work: &Arc<Work<Task, Lane>>,
    cluster: &Arc<Cluster>,
    container: &Arc<Container>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let task = match (container.phase, &container.placement) {
        (Phase::Waiting, _) if container.desired == Desired::Running => Task::Place(container.id),
        (Phase::Placed, Some(placement)) => Task::Launch(placement_id(container, placement)),
        (Phase::Restarting, Some(placement)) => Task::Start(placement_id(container, placement)),
        (Phase::Stopping, Some(placement)) => Task::Stop(placement_id(container, placement)),
        _ => return None,
    };
    if let Some(not_before) = container.not_before.filter(|not_before| *not_before > now) {
        return Some(not_before);
    }
    if let Task::Place(id) = task {
        let mut guard = work.begin(task, Lane::Journal)?;
        let context = context.clone();
        context.clone().spawn(async move {
            let outcome = context.report(Command::PlaceContainer(id), None).await;
            let placed = outcome.is_some_and(|outcome| {
                outcome.cluster.container(id).is_some_and(|container| container.phase == Phase::Placed)
            });
            if !placed {
                guard.pause_for(PLACE_AGAIN, PLACE_AGAIN_MAX);
            }
        });
        return None;
    }
    if matches!(task, Task::Launch(_)) && must_wait_for_removal(cluster, container) {
        return None;
    }
    let placement = container.placement.as_ref()?;
    let engine = context.engine_of(cluster, placement.node_id)?;
    let identity = context.identity(cluster, container.id, placement.generation)?;
    let lane = match task {
        Task::Start(_) => Lane::Starts(placement.node_id),
        Task::Stop(_) => Lane::Stops(placement.node_id),
        _ => Lane::Launches(placement.node_id),
    };
    let guard = work.begin(task, lane)?;
    let (context, container) = (context.clone(), Arc::clone(container));
    context.clone().spawn(async move {
        match task {
            Task::Launch(placement_id) => {
                launch(&context, engine, identity, &container, placement_id, guard).await;
            }
            Task::Start(placement_id) => {
                start(&context, engine, identity, &container, placement_id, guard).await;
            }
            Task::Stop(placement_id) => stop(&context, engine, identity, placement_id, guard).await,
            Task::Place(_) => {}
        }
    });
    None
}

fn placement_id(container: &Container, placement: &Placement) -> PlacementId {
    PlacementId { container_id: container.id, generation: placement.generation }
}

async fn launch(
    context: &ReactorContext,
    engine: Arc<dyn Engine>,
    identity: Identity,
    container: &Container,
    placement_id: PlacementId,
    _guard: Guard<Task, Lane>,
) {
    let Some(placement) = &container.placement else { return };
    let credentials = match &placement.spec.registry_auth {
        None => None,
        Some(name) => match context.credentials(name).await {
            Ok(credentials) => Some(credentials),
            Err(failure) => {
                let failure = LaunchFailure { failure, node_fault: false };
                context.report(Command::RecordLaunchFailed(placement_id, failure), None).await;
                return;
            }
        },
    };
    let spec = Arc::clone(&placement.spec);
    let order = LaunchOrder { identity, name: container.name.clone(), spec, credentials };
    let result = tokio::select! {
        biased;
        result = engine.launch(&order) => result,
        () = superseded(context, placement_id) => return,
    };
    report_launch(context, placement_id, result).await;
}

async fn start(
    context: &ReactorContext,
    engine: Arc<dyn Engine>,
    identity: Identity,
    container: &Container,
    placement_id: PlacementId,
    _guard: Guard<Task, Lane>,
) {
    let unhealthy = container.unhealthy;
    let restart = async {
        if unhealthy {
            engine.stop(identity).await?;
        }
        engine.start(identity).await
    };
    let result = tokio::select! {
        biased;
        result = restart => result,
        () = superseded(context, placement_id) => return,
    };
    match result {
        Err(EngineError::NotFound(_)) => {
            context.report(Command::RecordMissing(placement_id), None).await;
        }
        result => report_launch(context, placement_id, result).await,
    }
}

async fn report_launch(
    context: &ReactorContext,
    placement_id: PlacementId,
    result: Result<crate::engine::Launched, EngineError>,
) {
    let command = match result {
        Ok(launched) => Command::RecordLaunched(placement_id, launched),
        Err(error) => {
            let node_fault = error.is_node_fault();
            let failure = LaunchFailure { failure: error.failure(), node_fault };
            Command::RecordLaunchFailed(placement_id, failure)
        }
    };
    context.report(command, None).await;
}

async fn stop(
    context: &ReactorContext,
    engine: Arc<dyn Engine>,
    identity: Identity,
    placement_id: PlacementId,
    mut guard: Guard<Task, Lane>,
) {
    match engine.stop(identity).await {
        Ok(exit) => {
            context.report(Command::RecordStopped(placement_id, exit), None).await;
        }
        Err(error) => {
            tracing::warn!(container = %placement_id.container_id, %error, "could not be stopped yet");
            guard.pause_for(STOP_AGAIN, STOP_AGAIN);
        }
    }
}

/// Returns when the placement is not what is wanted any more: a long pull need not be waited for.
async fn superseded(context: &ReactorContext, placement_id: PlacementId) {
    let mut states = context.journal.watch();
    let is_wanted = |cluster: &Arc<Cluster>| {
        cluster.container(placement_id.container_id).is_some_and(|container| {
            container.desired == Desired::Running
                && container.placement.as_ref().is_some_and(|p| p.generation == placement_id.generation)
        })
    };
    if states.wait_for(|cluster| !is_wanted(cluster)).await.is_err() {
        std::future::pending::<()>().await; // the journal is closed: the reactors are about to stop
    }
}
