//! Decisions about probes of nodes: whether a node is healthy, and how its containers compare with the wanted
//! ones.

use super::decision::DecisionBuilder;
use super::observations::{health, paused, predecessor_ended, process_ended};
use super::{Refusal, lifecycle};
use crate::observed::{ContainerState, Exit};
use kdaemon_events::cluster::{MigrationsPaused, MigrationsResumed};
use kdaemon_events::container::{ContainerAdopted, ContainerObserved, ContainerRemoved, SeenState};
use kdaemon_events::failure::ProbeFailure;
use kdaemon_events::node::{EngineFacts, NodeHealthy, NodeObserved, NodeUnhealthy, ProbeOutcome};
use kdaemon_events::{ContainerId, Endpoint, NodeId, PlacementId, Seq};
use kdaemon_projections::{Container, Desired, Health, Node, PhaseKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// One of our containers, as listed by its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which placement.
    pub placement_id: PlacementId,
    /// The state of its process.
    pub state: ContainerState,
    /// How the process exited, if that was asked.
    pub exit: Option<Exit>,
    /// The result of its health check, if that was asked.
    pub healthy: Option<bool>,
    /// Whether the process is paused.
    pub paused: bool,
}

impl Seen {
    /// A container of which nothing but its state is known.
    #[must_use]
    pub fn new(placement_id: PlacementId, state: ContainerState) -> Self {
        Self { placement_id, state, exit: None, healthy: None, paused: false }
    }
}

/// The containers on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Our containers.
    pub own: Vec<Seen>,
    /// The number of foreign containers.
    pub foreign: u32,
    /// The last event known when the list was requested: later changes are not judged by the list.
    pub as_of: Seq,
}

/// How a probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// The engine answered.
    Answered {
        /// The engine's description, if it was requested.
        engine: Option<EngineFacts>,
        /// The containers, if they were requested.
        listed: Option<Listed>,
    },
    /// No answer, or not in time.
    Failed(ProbeFailure),
}

/// One probe of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The node.
    pub node_id: NodeId,
    /// The probed endpoint: an answer from a former endpoint of the node is ignored.
    pub endpoint: Endpoint,
    /// The duration.
    pub latency: Duration,
    /// The result.
    pub result: ProbeResult,
}

pub(super) fn probe(decision: &mut DecisionBuilder<'_>, probe: Probe) -> Result<(), Refusal> {
    let Ok(node) = decision.node(probe.node_id) else { return Ok(()) };
    if node.endpoint != probe.endpoint {
        return Ok(());
    }
    let latency_ms = u32::try_from(probe.latency.as_millis()).unwrap_or(u32::MAX);
    match probe.result {
        ProbeResult::Failed(failure) => {
            probe_failed(decision, &node, latency_ms, failure);
            Ok(())
        }
        ProbeResult::Answered { engine, listed } => {
            if let Some(node_id) = engine.as_ref().and_then(|engine| twin(decision, &node, engine)) {
                // Each would take the other's containers for orphans.
                probe_failed(decision, &node, latency_ms, ProbeFailure::DuplicateEngine { node_id });
                return Ok(());
            }
            probe_answered(decision, &node, latency_ms, engine, listed)
        }
    }
}

/// Another node that has this engine.
fn twin(decision: &DecisionBuilder<'_>, node: &Node, engine: &EngineFacts) -> Option<NodeId> {
    let has_it = |other: &&std::sync::Arc<Node>| {
        other.id != node.id
            && !engine.engine_id.is_empty()
            && other.engine.as_ref().is_some_and(|facts| facts.engine_id == engine.engine_id)
    };
    decision.cluster().nodes().find(has_it).map(|other| other.id)
}

/// Handles a failed probe; enough of them in a row make a node unhealthy.
fn probe_failed(decision: &mut DecisionBuilder<'_>, node: &Node, latency_ms: u32, failure: ProbeFailure) {
    let observed = decision.emit(NodeObserved {
        node_id: node.id,
        outcome: ProbeOutcome::Failed { failure: failure.clone() },
        latency_ms,
        engine: None,
        orphans: Vec::new(),
    });
    judge_failing(decision, node, failure, observed);
}

/// The consequences of the last of several failed probes.
fn judge_failing(decision: &mut DecisionBuilder<'_>, node: &Node, failure: ProbeFailure, observed: Seq) {
    let failures = node.failures.saturating_add(1);
    let needed = match failure {
        // The next probe will find the same engine.
        ProbeFailure::DuplicateEngine { .. } => 1,
        ProbeFailure::NotListed { .. } | ProbeFailure::Engine(_) => decision.context.policy.unhealthy_after,
    };
    // A node that never answered gets no second chance: most likely its address is wrong.
    let is_unhealthy = match node.health {
        Health::Unknown => true,
        Health::Up => failures >= needed,
        Health::Down => false,
    };
    if !is_unhealthy {
        return;
    }
    let unhealthy =
        decision.emit_because(NodeUnhealthy { node_id: node.id, failures, failure }, Some(observed));
    let (down, nodes) = decision.cluster().failed_nodes();
    // More likely the daemon's own network failed than most nodes at once.
    if down * 2 > nodes && nodes >= 3 && decision.cluster().paused().is_none() {
        decision.emit_because(MigrationsPaused { unhealthy: down, nodes }, Some(unhealthy));
    }
}

fn probe_answered(
    decision: &mut DecisionBuilder<'_>,
    node: &Node,
    latency_ms: u32,
    engine: Option<EngineFacts>,
    listed: Option<Listed>,
) -> Result<(), Refusal> {
    let running = listed.as_ref().map(|listed| {
        let running = listed.own.iter().filter(|seen| seen.state == ContainerState::Running).count();
        u32::try_from(running).unwrap_or(u32::MAX)
    });
    let orphans = listed.as_ref().map(|listed| orphans(decision, node, listed)).unwrap_or_default();
    let observed = decision.emit(NodeObserved {
        node_id: node.id,
        outcome: ProbeOutcome::Answered { running, foreign: listed.as_ref().map(|listed| listed.foreign) },
        latency_ms,
        engine: engine.filter(|engine| node.engine.as_ref() != Some(engine)).map(Box::new),
        orphans,
    });
    match listed {
        Some(listed) if judge_answering(decision, node, observed) => {
            compare(decision, node.id, &listed, observed)
        }
        Some(_) => Ok(()),
        None => {
            judge_answering(decision, node, observed);
            Ok(())
        }
    }
}

/// The consequences of the last of several successful probes. Returns whether the node is healthy.
fn judge_answering(decision: &mut DecisionBuilder<'_>, node: &Node, observed: Seq) -> bool {
    let successes = node.successes.saturating_add(1);
    let healthy = match node.health {
        Health::Up | Health::Unknown => true,
        Health::Down => successes >= decision.context.policy.healthy_after,
    };
    if healthy && node.health != Health::Up {
        let returned = decision.emit_because(NodeHealthy { node_id: node.id, successes }, Some(observed));
        resume_migrations(decision, returned);
    }
    healthy
}

/// A recorded probe, judged again by the current limits.
pub(super) fn probe_again(decision: &mut DecisionBuilder<'_>, recorded: NodeObserved) {
    let Ok(node) = decision.node(recorded.node_id) else { return };
    let outcome = recorded.outcome.clone();
    let observed = decision.emit(recorded);
    match outcome {
        ProbeOutcome::Answered { .. } => {
            judge_answering(decision, &node, observed);
        }
        ProbeOutcome::Failed { failure } => judge_failing(decision, &node, failure, observed),
    }
}

/// Resumes migrations if at most half of the nodes are unhealthy after `cause`.
pub(super) fn resume_migrations(decision: &mut DecisionBuilder<'_>, cause: Seq) {
    let (unhealthy, nodes) = decision.cluster().failed_nodes();
    if unhealthy * 2 <= nodes && decision.cluster().paused().is_some() {
        decision.emit_because(MigrationsResumed { unhealthy, nodes }, Some(cause));
    }
}

/// Containers with our label on a node that belong to no placement there, wanted or retired.
fn orphans(decision: &DecisionBuilder<'_>, node: &Node, listed: &Listed) -> Vec<PlacementId> {
    // One machine may be mounted twice; until that is noticed, neither node removes the other's containers.
    let is_here = |id: NodeId| {
        id == node.id || decision.cluster().node(id).is_some_and(|other| other.endpoint == node.endpoint)
    };
    let is_known = |placement_id: PlacementId| {
        decision.cluster().container(placement_id.container_id).is_some_and(|container| {
            // Placed after the list was requested: the list may show it already, but the placement is not
            // judged by it.
            container.seq > listed.as_of
                || container.placement_of(placement_id.generation).is_some_and(|p| is_here(p.node_id))
        })
    };
    listed
        .own
        .iter()
        .filter(|seen| !is_known(seen.placement_id))
        .map(|seen| PlacementId {
            container_id: seen.placement_id.container_id,
            generation: seen.placement_id.generation,
        })
        .collect()
}

/// Compares a node's containers with the wanted ones.
fn compare(
    decision: &mut DecisionBuilder<'_>,
    node_id: NodeId,
    listed: &Listed,
    observed: Seq,
) -> Result<(), Refusal> {
    let seen: BTreeMap<PlacementId, &Seen> =
        listed.own.iter().map(|seen| (seen.placement_id, seen)).collect();
    let node = decision.node(node_id)?;
    for id in &node.holds {
        if decision.is_long() {
            break; // the next list shows the others
        }
        let container = decision.container(*id)?;
        // A LOST container has not changed since its node failed; all others must be older than the list.
        if container.seq > listed.as_of && !container.lost {
            continue;
        }
        let retired_here: Vec<_> = container
            .retired
            .iter()
            .filter(|retired| retired.placement.node_id == node_id)
            .map(|retired| retired.placement.generation)
            .collect();
        for generation in retired_here {
            retired_seen(decision, *id, generation, node_id, &seen, observed)?;
        }
        // The record may just have been deleted, if this was its last placement.
        let Ok(container) = decision.container(*id) else { continue };
        if let Some(placement) = container.placement.as_ref().filter(|p| p.node_id == node_id) {
            let placement_id = PlacementId { container_id: *id, generation: placement.generation };
            let seen = seen.get(&placement_id).copied();
            wanted_seen(decision, &container, placement_id, node_id, seen, observed)?;
        }
    }
    Ok(())
}

fn retired_seen(
    decision: &mut DecisionBuilder<'_>,
    container_id: ContainerId,
    generation: kdaemon_events::Generation,
    node_id: NodeId,
    seen: &BTreeMap<PlacementId, &Seen>,
    observed: Seq,
) -> Result<(), Refusal> {
    let Ok(container) = decision.container(container_id) else { return Ok(()) };
    match seen.get(&PlacementId { container_id, generation }).map(|seen| seen.state) {
        // No successor exists yet: it is adopted.
        Some(ContainerState::Running)
            if container.desired == Desired::Running
                && container.phase.kind() == PhaseKind::Waiting
                && container.placement.is_none() =>
        {
            decision.emit_because(ContainerAdopted { container_id, generation, node_id }, Some(observed));
        }
        Some(ContainerState::Running) => {}
        Some(ContainerState::Exited | ContainerState::Created) => {
            predecessor_ended(decision, PlacementId { container_id, generation }, None, Some(observed));
        }
        None => {
            decision.emit_because(ContainerRemoved { container_id, generation, node_id }, Some(observed));
            lifecycle::finish_delete(decision, container_id)?;
        }
    }
    Ok(())
}

fn wanted_seen(
    decision: &mut DecisionBuilder<'_>,
    container: &Container,
    placement_id: PlacementId,
    node_id: NodeId,
    seen: Option<&Seen>,
    observed: Seq,
) -> Result<(), Refusal> {
    let PlacementId { container_id, generation } = placement_id;
    let note = |state| ContainerObserved { container_id, generation, node_id, state };
    let wanted = container.desired == Desired::Running;
    let kind = container.phase.kind();
    match seen.map(|seen| seen.state) {
        Some(ContainerState::Running) if wanted && container.lost => {
            decision.emit_because(ContainerAdopted { container_id, generation, node_id }, Some(observed));
        }
        Some(ContainerState::Running) if kind.is_over() => {
            decision.emit_because(note(SeenState::Running), Some(observed));
        }
        Some(ContainerState::Exited | ContainerState::Created)
            if wanted && (container.lost || kind == PhaseKind::Up) =>
        {
            let exit = seen.and_then(|seen| seen.exit);
            process_ended(decision, container, placement_id, node_id, exit, Some(observed));
        }
        None if wanted && (container.lost || kind == PhaseKind::Up) => {
            decision.emit_because(note(SeenState::Missing), Some(observed));
        }
        None if kind.is_over() => {
            decision.emit_because(note(SeenState::Missing), Some(observed));
        }
        _ => {}
    }
    // What the event stream may have missed.
    let Some(seen) = seen.filter(|seen| seen.state == ContainerState::Running) else { return Ok(()) };
    paused(decision, placement_id, seen.paused)?;
    seen.healthy.map_or(Ok(()), |healthy| health(decision, placement_id, healthy))
}
