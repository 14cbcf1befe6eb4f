//! The launcher: it has waiting containers placed, and placed ones started; it starts again what ended, and
//! stops what is to be stopped.

use super::work::{Guard, Work};
use super::{Hub, PACE};
use crate::commands::{Command, Instance, LaunchFailure, must_wait_for_removal};
use crate::engine::{Engine, EngineError, Identity, LaunchOrder};
use chrono::{DateTime, Utc};
use kdaemon_events::{ContainerId, NodeId};
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
    Launch(Instance),
    Start(Instance),
    Stop(Instance),
}

/// What tasks of one sort wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Journal,
    Launches(NodeId),
    Starts(NodeId),
    Stops(NodeId),
}

pub(super) async fn run(hub: Hub) {
    let work: Arc<Work<Task, Lane>> = Arc::new(Work::new(TASKS_LIMIT));
    let mut states = hub.journal.watch();
    let mut in_service = 0;
    loop {
        let cluster = Arc::clone(&states.borrow_and_update());
        let before = std::mem::replace(&mut in_service, cluster.eligible().len());
        if before < in_service {
            work.forget_pauses();
        }
        let mut wake = tokio::time::Instant::now() + PERIOD;
        // What cannot be recorded is not begun.
        if hub.journal.trouble().is_none() {
            let now = hub.journal.now();
            for container in cluster.unsettled() {
                if let Some(not_before) = begin(&hub, &work, &cluster, container, now) {
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
    hub: &Hub,
    work: &Arc<Work<Task, Lane>>,
    cluster: &Arc<Cluster>,
    container: &Arc<Container>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let task = match (container.phase, &container.placement) {
        (Phase::Waiting, _) if container.desired == Desired::Running => Task::Place(container.id),
        (Phase::Placed, Some(placement)) => Task::Launch(instance(container, placement)),
        (Phase::Restarting, Some(placement)) => Task::Start(instance(container, placement)),
        (Phase::Stopping, Some(placement)) => Task::Stop(instance(container, placement)),
        _ => return None,
    };
    if let Some(not_before) = container.not_before.filter(|not_before| *not_before > now) {
        return Some(not_before);
    }
    if let Task::Place(id) = task {
        let mut guard = work.begin(task, Lane::Journal)?;
        let hub = hub.clone();
        hub.clone().spawn(async move {
            let outcome = hub.report(Command::PlaceContainer(id), None).await;
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
    let engine = hub.engine_of(cluster, placement.node_id)?;
    let identity = hub.identity(cluster, container.id, placement.generation)?;
    let lane = match task {
        Task::Start(_) => Lane::Starts(placement.node_id),
        Task::Stop(_) => Lane::Stops(placement.node_id),
        _ => Lane::Launches(placement.node_id),
    };
    let guard = work.begin(task, lane)?;
    let (hub, container) = (hub.clone(), Arc::clone(container));
    hub.clone().spawn(async move {
        match task {
            Task::Launch(instance) => launch(&hub, engine, identity, &container, instance, guard).await,
            Task::Start(instance) => start(&hub, engine, identity, &container, instance, guard).await,
            Task::Stop(instance) => stop(&hub, engine, identity, instance, guard).await,
            Task::Place(_) => {}
        }
    });
    None
}

fn instance(container: &Container, placement: &Placement) -> Instance {
    Instance { container_id: container.id, generation: placement.generation }
}

async fn launch(
    hub: &Hub,
    engine: Arc<dyn Engine>,
    identity: Identity,
    container: &Container,
    instance: Instance,
    _guard: Guard<Task, Lane>,
) {
    let Some(placement) = &container.placement else { return };
    let credentials = match &placement.spec.registry_auth {
        None => None,
        Some(name) => match hub.credentials(name).await {
            Ok(credentials) => Some(credentials),
            Err(reason) => {
                let failure = LaunchFailure { reason, node_fault: false };
                hub.report(Command::RecordLaunchFailed(instance, failure), None).await;
                return;
            }
        },
    };
    let spec = Arc::clone(&placement.spec);
    let order = LaunchOrder { identity, name: container.name.clone(), spec, credentials };
    let result = tokio::select! {
        biased;
        result = engine.launch(&order) => result,
        () = superseded(hub, instance) => return,
    };
    report_launch(hub, instance, result).await;
}

async fn start(
    hub: &Hub,
    engine: Arc<dyn Engine>,
    identity: Identity,
    container: &Container,
    instance: Instance,
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
        () = superseded(hub, instance) => return,
    };
    match result {
        Err(EngineError::NotFound(_)) => {
            hub.report(Command::RecordMissing(instance), None).await;
        }
        result => report_launch(hub, instance, result).await,
    }
}

async fn report_launch(hub: &Hub, instance: Instance, result: Result<crate::engine::Launched, EngineError>) {
    let command = match result {
        Ok(launched) => Command::RecordLaunched(instance, launched),
        Err(error) => {
            let node_fault = matches!(error, EngineError::Unreachable(_) | EngineError::NodeFault(_));
            let failure = LaunchFailure { reason: error.to_string(), node_fault };
            Command::RecordLaunchFailed(instance, failure)
        }
    };
    hub.report(command, None).await;
}

async fn stop(
    hub: &Hub,
    engine: Arc<dyn Engine>,
    identity: Identity,
    instance: Instance,
    mut guard: Guard<Task, Lane>,
) {
    match engine.stop(identity).await {
        Ok(exit) => {
            hub.report(Command::RecordStopped(instance, exit), None).await;
        }
        Err(error) => {
            tracing::warn!(container = %instance.container_id, %error, "could not be stopped yet");
            guard.pause_for(STOP_AGAIN, STOP_AGAIN);
        }
    }
}

/// Returns when the placement is not what is wanted any more: a long pull need not be waited for.
async fn superseded(hub: &Hub, instance: Instance) {
    let mut states = hub.journal.watch();
    let is_wanted = |cluster: &Arc<Cluster>| {
        cluster.container(instance.container_id).is_some_and(|container| {
            container.desired == Desired::Running
                && container.placement.as_ref().is_some_and(|p| p.generation == instance.generation)
        })
    };
    if states.wait_for(|cluster| !is_wanted(cluster)).await.is_err() {
        std::future::pending::<()>().await; // the journal is closed: the reactors are about to stop
    }
}
