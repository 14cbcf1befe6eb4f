//! The role of each recorded event in a replay.

use crate::commands::Command;
use kdaemon_events::container::MigrationReason;
use kdaemon_events::node::NodeObserved;
use kdaemon_events::volume::VolumesRemoved;
use kdaemon_events::{Actor, ContainerId, Envelope, Event, NodeId};
use kdaemon_projections::{Cluster, Container, Node, PhaseKind};

/// The role of a recorded event.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // it lives for one step
pub(super) enum Part<'a> {
    /// An action of a person, or an event of the daemon itself: it happens again as recorded.
    Fact,
    /// A requested launch: a fact, unless the container already runs.
    Launch(ContainerId),
    /// A probe: its consequences are decided again.
    Probe(&'a NodeObserved),
    /// A submitted command: it is submitted and decided again.
    Asked(Command),
    /// The evacuation of a node. One such decision made several events.
    Evacuation(NodeId),
    /// An observed outcome on an engine: it happens again where the replay has the same placement.
    Outcome,
    /// A consequence decided together with an earlier event: it follows from that event again, or not.
    Consequence,
}

/// The role of an event, given the recorded state before it.
pub(super) fn part<'a>(before: &Cluster, envelope: &'a Envelope) -> Part<'a> {
    let by_reactor = matches!(envelope.actor, Actor::Reactor { .. });
    match &envelope.event {
        // A rollout that failed was rolled back: decided with the failure.
        Event::RolloutRolledBack(_) | Event::ApplicationUpdated(_) if by_reactor => Part::Consequence,
        // A restart that a person asked for begins its rollout.
        Event::RolloutStarted(_) if !by_reactor => Part::Fact,
        Event::RolloutRolledBack(_) => Part::Fact,
        Event::ClusterCreated(_)
        | Event::LeaderElected(_)
        | Event::NodeMounted(_)
        | Event::NodeUpdated(_)
        | Event::NodeCordoned(_)
        | Event::NodeUncordoned(_)
        | Event::ApplicationCreated(_)
        | Event::ApplicationUpdated(_)
        | Event::ApplicationDeleted(_)
        | Event::ApplicationScaled(_)
        | Event::ApplicationRestarted(_)
        | Event::ContainerCreated(_)
        | Event::ContainerUpdated(_)
        | Event::ObservationsPruned(_)
        | Event::TokenCreated(_)
        | Event::TokenRevoked(_) => Part::Fact,
        // A record without a placement is deleted at once; later events cover the others.
        Event::ContainerStopRequested(e) if e.then_delete => Part::Fact,
        Event::ContainerStopRequested(e) => Part::Asked(Command::StopContainer(e.container_id)),
        Event::ContainerLaunchRequested(e) => {
            let leaving = before.container(e.container_id).and_then(|c| left_node(before, c, envelope));
            match leaving {
                Some(node) => Part::Evacuation(node.id),
                None if by_reactor => Part::Consequence, // of the same rollback
                None => Part::Launch(e.container_id),
            }
        }

        Event::NodeObserved(e) => Part::Probe(e),
        Event::NodeHealthy(_)
        | Event::NodeUnhealthy(_)
        | Event::MigrationsPaused(_)
        | Event::MigrationsResumed(_) => Part::Consequence,

        Event::NodeDrainStarted(e) if e.then_unmount => unmount(e.node_id),
        Event::NodeDrainStarted(e) => Part::Asked(Command::DrainNode(e.node_id)),
        Event::NodeDrained(e) => Part::Asked(Command::FinishDrain(e.node_id)),
        Event::NodeUnmounted(e) => match before.node(e.node_id) {
            Some(node) if node.drained && node.then_unmount => Part::Consequence,
            Some(node) if node.then_unmount && node.drain_seq == envelope.cause => {
                Part::Asked(Command::FinishDrain(e.node_id))
            }
            _ => unmount(e.node_id),
        },

        Event::ContainerPlaced(e) => Part::Asked(Command::PlaceContainer(e.container_id)),
        Event::RebalancePlanned(_) => Part::Asked(Command::Rebalance),
        Event::ContainerMigrationCommanded(e) => match e.reason {
            MigrationReason::Unhealthy | MigrationReason::Drain => Part::Evacuation(e.from_node_id),
            MigrationReason::Balance => Part::Consequence, // of its plan
            MigrationReason::Update => roll(before, e.container_id),
        },
        Event::ContainerUnschedulable(e) => no_node(before, e.container_id, envelope),
        Event::VolumesRemoved(VolumesRemoved { container_id: Some(id), node_id, .. }) => {
            Part::Asked(Command::RecordVolumesRemoved(*id, *node_id))
        }
        Event::VolumesRemoved(_) => Part::Fact,
        Event::ContainerReady(e) => Part::Asked(Command::ConfirmReady(e.container_id)),
        Event::RolloutStarted(e) => Part::Asked(Command::RollApplication(e.application_id)),
        Event::RolloutCompleted(e) => Part::Asked(Command::RollApplication(e.application_id)),
        Event::RolloutPaused(_) => Part::Consequence,
        Event::ContainerDeleted(e) => Part::Asked(Command::FinishDelete(e.container_id)),

        // The predecessor is kept after the last failed attempt: decided with that. Otherwise a probe found
        // it running.
        Event::ContainerAdopted(e) if !is_by_probe(before, e.node_id, envelope) => Part::Consequence,
        // It was stopped without a placement: decided when its stop was requested.
        Event::ContainerStopped(e) if e.generation.is_none() => Part::Consequence,
        Event::ContainerMigrated(_) => Part::Consequence,
        Event::ContainerLaunched(_)
        | Event::ContainerLaunchFailed(_)
        | Event::ContainerLaunchAbandoned(_)
        | Event::ContainerObserved(_)
        | Event::ContainerExited(_)
        | Event::ContainerUnhealthy(_)
        | Event::ContainerHealthy(_)
        | Event::ContainerCompleted(_)
        | Event::ContainerStopped(_)
        | Event::ContainerRemoved(_)
        | Event::ContainerAdopted(_) => Part::Outcome,
    }
}

/// Whether the report about a container came from the last probe of its node.
pub(super) fn is_by_probe(before: &Cluster, node: NodeId, envelope: &Envelope) -> bool {
    envelope.cause.is_some() && before.node(node).map(|node| node.observed) == envelope.cause
}

/// The request already says that its containers have to leave.
fn unmount(node_id: NodeId) -> Part<'static> {
    Part::Asked(Command::UnmountNode { node_id, force: true })
}

fn roll(before: &Cluster, id: ContainerId) -> Part<'static> {
    let application = before.container(id).and_then(|container| container.application_id);
    application.map_or(Part::Consequence, |id| Part::Asked(Command::RollApplication(id)))
}

/// No node was found for a container that waits, has to leave its node, or has to be replaced.
fn no_node(before: &Cluster, id: ContainerId, envelope: &Envelope) -> Part<'static> {
    let Some(container) = before.container(id) else { return Part::Consequence };
    if matches!(container.phase.kind(), PhaseKind::Waiting | PhaseKind::Failed) {
        return Part::Asked(Command::PlaceContainer(id));
    }
    match left_node(before, container, envelope) {
        Some(node) => Part::Evacuation(node.id),
        None => roll(before, id),
    }
}

/// The node of a container, if the event is part of its evacuation.
fn left_node<'a>(before: &'a Cluster, container: &Container, envelope: &Envelope) -> Option<&'a Node> {
    let node = before.node(container.placement.as_ref()?.node_id)?;
    let is_cause = envelope.cause.is_some() && [node.unhealthy_seq, node.drain_seq].contains(&envelope.cause);
    is_cause.then_some(node)
}
