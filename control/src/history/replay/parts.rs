//! The part that each recorded event plays when its stretch is replayed.

use crate::commands::Command;
use kdaemon_events::container::MigrationReason;
use kdaemon_events::node::NodeObserved;
use kdaemon_events::{ContainerId, Envelope, Event, NodeId};
use kdaemon_projections::{Cluster, Phase};

/// The part of a recorded event.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // it lives for one step
pub(super) enum Part<'a> {
    /// What people did, or what concerns the daemon itself: it happens again, as it was recorded.
    Fact,
    /// Somebody wanted a container to run: a fact, unless it does already.
    Launch(ContainerId),
    /// A probe: what follows from it is decided anew.
    Probe(&'a NodeObserved),
    /// A moment at which somebody asked for something: it is asked for again, and decided anew.
    Asked(Command),
    /// A moment at which a node was to be evacuated. One such decision made several events.
    Evacuation(NodeId),
    /// What an engine was seen to do: it does the same where the replay has the same.
    Outcome,
    /// What was decided together with an event before it: it follows, or does not, from what that leads to.
    Consequence,
}

/// The part of an event, by the recorded state before it.
pub(super) fn part<'a>(before: &Cluster, envelope: &'a Envelope) -> Part<'a> {
    match &envelope.event {
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
        | Event::ContainerCreated(_)
        | Event::ContainerUpdated(_)
        | Event::ObservationsPruned(_)
        | Event::TokenCreated(_)
        | Event::TokenRevoked(_) => Part::Fact,
        // A record of which nothing is left on a node goes at once; the rest is said by what follows.
        Event::ContainerStopRequested(e) if e.then_delete => Part::Fact,
        Event::ContainerStopRequested(e) => Part::Asked(Command::StopContainer(e.container_id)),
        Event::ContainerLaunchRequested(e) => Part::Launch(e.container_id),

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
        Event::ContainerDeleted(e) => Part::Asked(Command::FinishDelete(e.container_id)),

        // Its predecessor goes on after its last try: decided with that. Else a probe saw it run.
        Event::ContainerAdopted(e) if !is_by_probe(before, e.node_id, envelope) => Part::Consequence,
        // It was stopped where it was nowhere: decided when its stop was asked for.
        Event::ContainerStopped(e) if e.generation.is_none() => Part::Consequence,
        Event::ContainerMigrated(_) => Part::Consequence,
        Event::ContainerLaunched(_)
        | Event::ContainerLaunchFailed(_)
        | Event::ContainerLaunchAbandoned(_)
        | Event::ContainerObserved(_)
        | Event::ContainerExited(_)
        | Event::ContainerUnhealthy(_)
        | Event::ContainerHealthy(_)
        | Event::ContainerStopped(_)
        | Event::ContainerRemoved(_)
        | Event::ContainerAdopted(_) => Part::Outcome,
    }
}

/// Whether what is told of a container was found by the last probe of a node.
pub(super) fn is_by_probe(before: &Cluster, node: NodeId, envelope: &Envelope) -> bool {
    envelope.cause.is_some() && before.node(node).map(|node| node.observed) == envelope.cause
}

/// Who asks has said already that its containers are to go.
fn unmount(node_id: NodeId) -> Part<'static> {
    Part::Asked(Command::UnmountNode { node_id, force: true })
}

fn roll(before: &Cluster, id: ContainerId) -> Part<'static> {
    let application = before.container(id).and_then(|container| container.application_id);
    application.map_or(Part::Consequence, |id| Part::Asked(Command::RollApplication(id)))
}

/// No node was found for a container: for one that waits, or one that was to leave its node, or to be made anew.
fn no_node(before: &Cluster, id: ContainerId, envelope: &Envelope) -> Part<'static> {
    let Some(container) = before.container(id) else { return Part::Consequence };
    if container.phase == Phase::Waiting {
        return Part::Asked(Command::PlaceContainer(id));
    }
    let node = container.placement.as_ref().and_then(|placement| before.node(placement.node_id));
    match node.filter(|node| {
        envelope.cause.is_some() && [node.unhealthy_seq, node.drain_seq].contains(&envelope.cause)
    }) {
        Some(node) => Part::Evacuation(node.id),
        None => roll(before, id),
    }
}
