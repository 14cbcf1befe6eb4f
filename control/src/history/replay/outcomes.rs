//! Recorded outcomes of engines, applied to the replay where it has the same placement.

use super::Replay;
use super::parts::is_by_probe;
use crate::commands::{Command, LaunchFailure};
use crate::observed::{Exit, Launched};
use kdaemon_events::container::SeenState;
use kdaemon_events::{ContainerId, Envelope, Event, Generation, NodeId, PlacementId, Subject};
use kdaemon_projections::{Container, Desired, PhaseKind, Placement};
use std::sync::Arc;

impl Replay {
    /// Applies a recorded outcome to the replay, if it can have happened there.
    pub(super) fn outcome(&mut self, envelope: &Envelope) {
        let at = envelope.at;
        let by_probe = |node| is_by_probe(&self.recorded.cluster, node, envelope);
        match &envelope.event {
            Event::ContainerLaunched(e) if self.same(e.container_id, e.generation) => {
                let launched = Launched {
                    engine_id: e.engine_id.clone(),
                    image_id: e.image_id.clone(),
                    ports: e.ports.clone(),
                    volumes: e.volumes.clone(),
                    health_check: e.health_check,
                    started_at: None,
                };
                self.ask(Command::RecordLaunched(placement_id(e.container_id, e.generation), launched), at);
            }
            Event::ContainerLaunchFailed(e) if self.same(e.container_id, e.generation) => {
                let failure = LaunchFailure { failure: e.failure.clone(), node_fault: e.node_fault };
                self.ask(
                    Command::RecordLaunchFailed(placement_id(e.container_id, e.generation), failure),
                    at,
                );
            }
            Event::ContainerLaunchAbandoned(e) if self.same(e.container_id, e.generation) => {
                let failure = LaunchFailure { failure: e.failure.clone(), node_fault: e.node_fault };
                self.ask(
                    Command::RecordLaunchFailed(placement_id(e.container_id, e.generation), failure),
                    at,
                );
            }
            Event::ContainerStopped(e) => {
                let Some(generation) = e.generation else { return };
                if self.same(e.container_id, generation) {
                    let exit = e.exit_code.map(|code| Exit { code, out_of_memory: false });
                    self.ask(Command::RecordStopped(placement_id(e.container_id, generation), exit), at);
                }
            }
            Event::ContainerHealthy(e) => self.health(e.container_id, e.generation, true, envelope),
            Event::ContainerUnhealthy(e) => self.health(e.container_id, e.generation, false, envelope),
            Event::ContainerExited(e) => {
                let of_node = by_probe(e.node_id);
                let Some(generation) = self.exits(e.container_id, e.generation, of_node) else { return };
                let mut exited = e.clone();
                exited.generation = generation;
                self.exit(&exited, envelope);
            }
            Event::ContainerCompleted(e) => {
                let exit = Some(Exit { code: 0, out_of_memory: false });
                if self.same(e.container_id, e.generation) {
                    self.ask(Command::RecordExited(placement_id(e.container_id, e.generation), exit), at);
                }
            }
            Event::ContainerObserved(e) => {
                // A late removal belongs to the record's own decisions.
                let is_own = envelope.cause.is_some() && !by_probe(e.node_id);
                let in_step = !self.differing.contains(&Subject::Container(e.container_id));
                let is_wanted = e.state != SeenState::Running
                    || self.container(e.container_id).is_some_and(|c| {
                        c.phase.kind().is_over() || current(c).is_some_and(|placement| placement.paused)
                    });
                if is_wanted && (in_step || !is_own) && self.same(e.container_id, e.generation) {
                    self.copy(envelope);
                }
            }
            Event::ContainerRemoved(e) => {
                let is_given_up = self.container(e.container_id).is_none_or(|container| {
                    container.residence().is_none_or(|placement| placement.generation != e.generation)
                        && (self.in_step(e.container_id) || !is_held(container, e.generation))
                });
                if is_given_up {
                    let placement_id = placement_id(e.container_id, e.generation);
                    self.ask(Command::RecordRemoved(placement_id, e.node_id), at);
                }
            }
            Event::ContainerAdopted(e) => {
                let is_missed = self.container(e.container_id).is_some_and(|container| {
                    let is_current = current(container).is_some_and(|p| p.generation == e.generation);
                    let is_lost = is_current && container.lost;
                    let is_nowhere =
                        container.phase.kind() == PhaseKind::Waiting && container.placement.is_none();
                    container.desired == Desired::Running && (is_lost || is_nowhere)
                });
                if is_missed && self.same(e.container_id, e.generation) {
                    self.copy(envelope);
                }
            }
            _ => {} // not applicable here, or handled as another part
        }
    }

    fn container(&self, id: ContainerId) -> Option<&Arc<Container>> {
        self.replayed.cluster.container(id)
    }

    fn in_step(&self, id: ContainerId) -> bool {
        !self.differing.contains(&Subject::Container(id))
    }

    /// Whether the replay has this placement on the node on which it was recorded.
    fn same(&self, id: ContainerId, generation: Generation) -> bool {
        let node = |container: Option<&Arc<Container>>| -> Option<NodeId> {
            Some(container?.placement_of(generation)?.node_id)
        };
        let recorded = node(self.recorded.cluster.container(id));
        recorded.is_some() && recorded == node(self.container(id))
    }

    /// The placement whose process exits in the replay too: a failing program fails wherever it runs; one
    /// that died with its machine only there.
    fn exits(&self, id: ContainerId, generation: Generation, of_node: bool) -> Option<Generation> {
        if self.same(id, generation) {
            return Some(generation);
        }
        let recorded = current(self.recorded.cluster.container(id)?)?;
        let container = self.container(id)?;
        let replayed = current(container)?;
        let here = replayed.node_id == recorded.node_id || !of_node;
        let runs = container.phase.kind() == PhaseKind::Up && !container.lost;
        (recorded.generation == generation && here && runs).then_some(replayed.generation)
    }

    fn health(&mut self, id: ContainerId, generation: Generation, healthy: bool, envelope: &Envelope) {
        let recorded = self.recorded.cluster.container(id).and_then(|container| current(container));
        if recorded.is_none_or(|placement| placement.generation != generation) {
            return;
        }
        let replayed = self.container(id).and_then(|container| current(container)).map(|p| p.generation);
        if let Some(generation) = replayed {
            self.ask(Command::RecordHealth(placement_id(id, generation), healthy), envelope.at);
        }
    }
}

fn current(container: &Container) -> Option<&Placement> {
    container.placement.as_ref()
}

fn is_held(container: &Container, generation: Generation) -> bool {
    container.retired.iter().any(|retired| retired.held && retired.placement.generation == generation)
}

fn placement_id(container_id: ContainerId, generation: Generation) -> PlacementId {
    PlacementId { container_id, generation }
}
