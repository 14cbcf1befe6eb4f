//! Carries out one task, on an engine or with a command, and reports the outcome.
//!
//! Each step on an engine is idempotent by the three labels, so that a task can be restarted after a crash at
//! any point.

use super::ReactorContext;
use crate::engine::{Engine, EngineError, Identity, LaunchOrder, Launched};
use kdaemon_control::commands::{Command, LaunchFailure};
use kdaemon_control::reconcile::{Act, Task};
use kdaemon_events::{NodeId, PlacementId};
use kdaemon_projections::{Cluster, Desired, PhaseKind};
use std::sync::Arc;

/// Carries out a task that is due in `cluster`. Returns whether it had an effect; a task without effect backs
/// off.
pub(super) async fn execute(context: &ReactorContext, cluster: &Arc<Cluster>, task: Task) -> bool {
    if let Task::Act(act, placement_id, node_id) = task {
        let engine = context.engine_of(cluster, node_id);
        let Some((engine, identity)) = engine.zip(context.identity(cluster, placement_id)) else {
            return false;
        };
        let target = Target { context, engine, identity, placement_id };
        return match act {
            Act::Launch => target.launch(cluster).await,
            Act::Start => target.start(false).await,
            Act::Restart => target.start(true).await,
            Act::Stop => target.stop().await,
            Act::Remove => target.remove(node_id).await,
            Act::RemoveVolumes => target.remove_volumes(cluster, node_id).await,
        };
    }
    let Some(command) = task.command() else { return false };
    let Some(outcome) = context.report(command, None).await else { return false };
    match task {
        // A new reason for waiting is an event too, but not an effect.
        Task::Place(id) => outcome.cluster.container(id).is_some_and(|c| c.phase.kind() == PhaseKind::Placed),
        _ => !outcome.events.is_empty(),
    }
}

/// Acts on one placement on the engine of its node. A failed launch or start has an effect as well: it is
/// recorded, and the state has the time of the next attempt.
struct Target<'a> {
    context: &'a ReactorContext,
    engine: Arc<dyn Engine>,
    identity: Identity,
    placement_id: PlacementId,
}

impl Target<'_> {
    async fn launch(&self, cluster: &Cluster) -> bool {
        let Some(container) = cluster.container(self.placement_id.container_id) else { return false };
        let Some(placement) = &container.placement else { return false };
        let credentials = match &placement.spec.registry_auth {
            None => None,
            Some(name) => match self.context.credentials(name).await {
                Ok(credentials) => Some(credentials),
                Err(failure) => {
                    let failure = LaunchFailure { failure, node_fault: false };
                    self.report(Command::RecordLaunchFailed(self.placement_id, failure)).await;
                    return true;
                }
            },
        };
        let (name, spec) = (container.name.clone(), Arc::clone(&placement.spec));
        let home = container.home.as_ref().filter(|home| home.node_id == placement.node_id);
        let volumes = home.map(|home| home.volumes.clone()).unwrap_or_default();
        let order = LaunchOrder { identity: self.identity, name, spec, volumes, credentials };
        let result = tokio::select! {
            biased;
            result = self.engine.launch(&order) => result,
            () = self.superseded() => return true,
        };
        self.report_launch(result).await;
        true
    }

    async fn start(&self, stop_first: bool) -> bool {
        let start = async {
            if stop_first {
                self.engine.stop(self.identity).await?;
            }
            self.engine.start(self.identity).await
        };
        let result = tokio::select! {
            biased;
            result = start => result,
            () = self.superseded() => return true,
        };
        match result {
            Err(EngineError::NotFound(_)) => self.report(Command::RecordMissing(self.placement_id)).await,
            result => self.report_launch(result).await,
        }
        true
    }

    async fn stop(&self) -> bool {
        match self.engine.stop(self.identity).await {
            Ok(exit) => {
                self.report(Command::RecordStopped(self.placement_id, exit)).await;
                true
            }
            Err(error) => {
                let PlacementId { container_id, generation } = self.placement_id;
                tracing::warn!(container = %container_id, %generation, %error, "container not stopped, retrying");
                false
            }
        }
    }

    async fn remove(&self, node_id: NodeId) -> bool {
        match self.engine.remove(self.identity).await {
            Ok(()) => {
                self.report(Command::RecordRemoved(self.placement_id, node_id)).await;
                true
            }
            Err(error) => {
                let PlacementId { container_id, generation } = self.placement_id;
                tracing::warn!(container = %container_id, %generation, node = %node_id, %error,
                    "container not removed, retrying");
                false
            }
        }
    }

    /// Deletes the anonymous volumes of a container that a person had deleted with them.
    async fn remove_volumes(&self, cluster: &Cluster, node_id: NodeId) -> bool {
        let container_id = self.placement_id.container_id;
        let Some(home) = cluster.container(container_id).and_then(|c| c.volumes_to_delete()) else {
            return false;
        };
        for volume in &home.volumes {
            if let Err(error) = self.engine.remove_volume(&volume.name).await {
                tracing::warn!(container = %container_id, node = %node_id, volume = volume.name, %error,
                    "volume not removed, retrying");
                return false;
            }
        }
        self.report(Command::RecordVolumesRemoved(container_id, node_id)).await;
        true
    }

    async fn report(&self, command: Command) {
        self.context.report(command, None).await;
    }

    async fn report_launch(&self, result: Result<Launched, EngineError>) {
        let command = match result {
            Ok(launched) => Command::RecordLaunched(self.placement_id, launched),
            Err(error) => {
                let node_fault = error.is_node_fault();
                let failure = LaunchFailure { failure: error.failure(), node_fault };
                Command::RecordLaunchFailed(self.placement_id, failure)
            }
        };
        self.report(command).await;
    }

    /// Returns once the placement is no longer wanted, so that a long pull need not be awaited.
    async fn superseded(&self) {
        let PlacementId { container_id, generation } = self.placement_id;
        let mut states = self.context.journal.watch();
        let is_wanted = |cluster: &Arc<Cluster>| {
            cluster.container(container_id).is_some_and(|container| {
                container.desired == Desired::Running
                    && container.placement.as_ref().is_some_and(|p| p.generation == generation)
            })
        };
        if states.wait_for(|cluster| !is_wanted(cluster)).await.is_err() {
            std::future::pending::<()>().await; // the journal is closed: the reactors are about to stop
        }
    }
}
