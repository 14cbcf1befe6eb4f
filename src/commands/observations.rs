//! Decisions about what reactors saw: what it means, and what follows.

use super::draft::{Draft, doubling};
use super::{Instance, LaunchFailure, Refusal, cause_or, containers};
use crate::engine::{Exit, Launched, Running};
use chrono::{DateTime, Utc};
use kdaemon_events::cluster::{MigrationsPaused, MigrationsResumed};
use kdaemon_events::container::{
    ContainerAdopted, ContainerExited, ContainerHealthy, ContainerLaunchFailed, ContainerLaunched,
    ContainerMigrated, ContainerObserved, ContainerRemoved, ContainerStopped, ContainerUnhealthy, SeenState,
};
use kdaemon_events::node::{EngineFacts, NodeHealthy, NodeObserved, NodeUnhealthy, Orphan, ProbeOutcome};
use kdaemon_events::{ContainerId, Endpoint, NodeId, Protocol, RestartPolicy, Seq};
use kdaemon_projections::{Container, Desired, Health, Node, Phase, Retired};
use std::collections::BTreeMap;
use std::time::Duration;

/// A container of ours, as its engine listed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which placement.
    pub instance: Instance,
    /// Whether it runs.
    pub running: Running,
}

/// What runs on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Ours.
    pub own: Vec<Seen>,
    /// How many others.
    pub foreign: u32,
    /// The state that was known when the list was asked for: what changed after that is not judged by it.
    pub as_of: Seq,
}

/// How a probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// The engine answered.
    Answered {
        /// What it is, when that was asked.
        engine: Option<EngineFacts>,
        /// What runs there, when that was asked.
        listed: Option<Listed>,
    },
    /// It did not, or not in time.
    Failed(String),
}

/// One probe of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The node.
    pub node_id: NodeId,
    /// The endpoint that was probed: an answer of an endpoint that the node had before says nothing.
    pub endpoint: Endpoint,
    /// How long it took.
    pub latency: Duration,
    /// How it ended.
    pub result: ProbeResult,
}

/// How the reason begins for which a node whose engine another node has is unhealthy.
const TWIN: &str = "its engine has the same id as that of node";

pub(super) fn probe(draft: &mut Draft<'_>, probe: Probe) -> Result<(), Refusal> {
    let Ok(node) = draft.node(probe.node_id) else { return Ok(()) };
    if node.endpoint != probe.endpoint {
        return Ok(());
    }
    let latency_ms = u32::try_from(probe.latency.as_millis()).unwrap_or(u32::MAX);
    match probe.result {
        ProbeResult::Failed(reason) => {
            let enough = draft.context.policy.unhealthy_after;
            probe_failed(draft, &node, latency_ms, reason, enough);
            Ok(())
        }
        ProbeResult::Answered { engine, listed } => {
            if let Some(other) = engine.as_ref().and_then(|engine| twin(draft, &node, engine)) {
                // Each would take the other's containers for orphans.
                let reason = format!(
                    "{TWIN} `{other}`: it is the same engine under another address (unmount one of them), or a copy of its machine (give it an id of its own: remove /etc/docker/key.json and engine-id below Docker's data root, and restart it)"
                );
                // It will be no other the next time.
                probe_failed(draft, &node, latency_ms, reason, 1);
                return Ok(());
            }
            probe_answered(draft, &node, latency_ms, engine, listed)
        }
    }
}

/// The name of another node that has this engine.
fn twin(draft: &Draft<'_>, node: &Node, engine: &EngineFacts) -> Option<String> {
    let has_it = |other: &&std::sync::Arc<Node>| {
        other.id != node.id
            && !engine.engine_id.is_empty()
            && other.engine.as_ref().is_some_and(|facts| facts.engine_id == engine.engine_id)
    };
    draft.cluster().nodes().find(has_it).map(|other| other.name.clone())
}

/// A probe failed; so many in a row make a node that was UP unhealthy.
fn probe_failed(draft: &mut Draft<'_>, node: &Node, latency_ms: u32, reason: String, enough: u32) {
    let observed = draft.emit(NodeObserved {
        node_id: node.id,
        outcome: ProbeOutcome::Failed { reason: reason.clone() },
        latency_ms,
        engine: None,
        orphans: Vec::new(),
    });
    judge_failing(draft, node, reason, enough, observed);
}

/// What follows from the last of several failed probes.
fn judge_failing(draft: &mut Draft<'_>, node: &Node, reason: String, enough: u32, observed: Seq) {
    let failures = node.failures.saturating_add(1);
    // One that never answered is not given the benefit of the doubt: most likely its address is wrong.
    let enough = match node.health {
        Health::Unknown => true,
        Health::Up => failures >= enough,
        Health::Down => false,
    };
    if !enough {
        return;
    }
    let unhealthy = draft.emit_because(NodeUnhealthy { node_id: node.id, failures, reason }, Some(observed));
    let (down, nodes) = draft.cluster().failed_nodes();
    if down * 2 > nodes && nodes >= 3 && draft.cluster().paused().is_none() {
        let reason = format!(
            "{down} of {nodes} nodes are unhealthy at once: more likely the daemon's own network failed; nothing is moved until at most half of them are"
        );
        draft.emit_because(MigrationsPaused { unhealthy: down, nodes, reason }, Some(unhealthy));
    }
}

fn probe_answered(
    draft: &mut Draft<'_>,
    node: &Node,
    latency_ms: u32,
    engine: Option<EngineFacts>,
    listed: Option<Listed>,
) -> Result<(), Refusal> {
    let running = listed.as_ref().map(|listed| {
        let running = listed.own.iter().filter(|seen| seen.running == Running::Running).count();
        u32::try_from(running).unwrap_or(u32::MAX)
    });
    let orphans = listed.as_ref().map(|listed| orphans(draft, node, listed)).unwrap_or_default();
    let observed = draft.emit(NodeObserved {
        node_id: node.id,
        outcome: ProbeOutcome::Answered { running, foreign: listed.as_ref().map(|listed| listed.foreign) },
        latency_ms,
        engine: engine.filter(|engine| node.engine.as_ref() != Some(engine)).map(Box::new),
        orphans,
    });
    match listed {
        Some(listed) if judge_answering(draft, node, observed) => compare(draft, node.id, &listed, observed),
        Some(_) => Ok(()),
        None => {
            judge_answering(draft, node, observed);
            Ok(())
        }
    }
}

/// What follows from the last of several answered probes; says whether the node is healthy.
fn judge_answering(draft: &mut Draft<'_>, node: &Node, observed: Seq) -> bool {
    let successes = node.successes.saturating_add(1);
    let healthy = match node.health {
        Health::Up | Health::Unknown => true,
        Health::Down => successes >= draft.context.policy.healthy_after,
    };
    if healthy && node.health != Health::Up {
        let returned = draft.emit_because(NodeHealthy { node_id: node.id, successes }, Some(observed));
        resume_migrations(draft, returned);
    }
    healthy
}

/// A probe that was recorded before, judged again by the limits of now.
pub(super) fn probe_again(draft: &mut Draft<'_>, recorded: NodeObserved) {
    let Ok(node) = draft.node(recorded.node_id) else { return };
    let outcome = recorded.outcome.clone();
    let observed = draft.emit(recorded);
    match outcome {
        ProbeOutcome::Answered { .. } => {
            judge_answering(draft, &node, observed);
        }
        ProbeOutcome::Failed { reason } => {
            let enough = if reason.starts_with(TWIN) { 1 } else { draft.context.policy.unhealthy_after };
            judge_failing(draft, &node, reason, enough, observed);
        }
    }
}

/// The end of a process that was recorded before: when it is started again is decided by the limits of now.
pub(super) fn exited_again(draft: &mut Draft<'_>, recorded: &ContainerExited) {
    let instance = Instance { container_id: recorded.container_id, generation: recorded.generation };
    let exit = recorded.exit_code.map(|code| Exit { code, out_of_memory: recorded.out_of_memory });
    match current(draft, instance) {
        None => predecessor_ended(draft, instance, exit, draft.context.cause),
        Some((container, node_id)) if container.desired == Desired::Running => {
            process_ended(draft, &container, instance, node_id, exit, draft.context.cause);
        }
        Some(_) => {}
    }
}

/// Ends the pause of migrations when, after `cause`, at most half of the nodes are unhealthy.
pub(super) fn resume_migrations(draft: &mut Draft<'_>, cause: Seq) {
    let (unhealthy, nodes) = draft.cluster().failed_nodes();
    if unhealthy * 2 <= nodes && draft.cluster().paused().is_some() {
        draft.emit_because(MigrationsResumed { unhealthy, nodes }, Some(cause));
    }
}

/// What carries our label on a node and answers to no placement there, wanted or still to be removed.
fn orphans(draft: &Draft<'_>, node: &Node, listed: &Listed) -> Vec<Orphan> {
    // One machine may be mounted twice; until that is noticed neither node takes away what belongs to the other.
    let is_here = |id: NodeId| {
        id == node.id || draft.cluster().node(id).is_some_and(|other| other.endpoint == node.endpoint)
    };
    let is_known = |instance: Instance| {
        draft.cluster().container(instance.container_id).is_some_and(|container| {
            // Placed since the list was asked for: the list may already show it, the placement is not judged yet.
            container.seq > listed.as_of
                || container.placement_of(instance.generation).is_some_and(|p| is_here(p.node_id))
        })
    };
    listed
        .own
        .iter()
        .filter(|seen| !is_known(seen.instance))
        .map(|seen| Orphan { container_id: seen.instance.container_id, generation: seen.instance.generation })
        .collect()
}

/// Compares what a node has with what it should have.
fn compare(draft: &mut Draft<'_>, node_id: NodeId, listed: &Listed, observed: Seq) -> Result<(), Refusal> {
    let seen: BTreeMap<Instance, Running> =
        listed.own.iter().map(|seen| (seen.instance, seen.running)).collect();
    let node = draft.node(node_id)?;
    for id in &node.holds {
        if draft.is_long() {
            break; // the next list shows the rest
        }
        let container = draft.container(*id)?;
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
            retired_seen(draft, *id, generation, node_id, &seen, observed)?;
        }
        // Deleted just now, if this was the last that was left of it.
        let Ok(container) = draft.container(*id) else { continue };
        if let Some(placement) = container.placement.as_ref().filter(|p| p.node_id == node_id) {
            let instance = Instance { container_id: *id, generation: placement.generation };
            wanted_seen(draft, &container, instance, node_id, seen.get(&instance).copied(), observed);
        }
    }
    Ok(())
}

fn retired_seen(
    draft: &mut Draft<'_>,
    container_id: ContainerId,
    generation: kdaemon_events::Generation,
    node_id: NodeId,
    seen: &BTreeMap<Instance, Running>,
    observed: Seq,
) -> Result<(), Refusal> {
    let Ok(container) = draft.container(container_id) else { return Ok(()) };
    match seen.get(&Instance { container_id, generation }) {
        // Nothing has replaced it yet: it is kept.
        Some(Running::Running)
            if container.desired == Desired::Running
                && container.phase == Phase::Waiting
                && container.placement.is_none() =>
        {
            draft.emit_because(ContainerAdopted { container_id, generation, node_id }, Some(observed));
        }
        Some(Running::Running) => {}
        Some(Running::Exited | Running::Created) => {
            predecessor_ended(draft, Instance { container_id, generation }, None, Some(observed));
        }
        None => {
            draft.emit_because(ContainerRemoved { container_id, generation, node_id }, Some(observed));
            containers::finish_delete(draft, container_id)?;
        }
    }
    Ok(())
}

fn wanted_seen(
    draft: &mut Draft<'_>,
    container: &Container,
    instance: Instance,
    node_id: NodeId,
    running: Option<Running>,
    observed: Seq,
) {
    let Instance { container_id, generation } = instance;
    let note = |state| ContainerObserved { container_id, generation, node_id, state };
    let wanted = container.desired == Desired::Running;
    match running {
        Some(Running::Running) if wanted && container.lost => {
            draft.emit_because(ContainerAdopted { container_id, generation, node_id }, Some(observed));
        }
        Some(Running::Running) if container.phase == Phase::Down => {
            draft.emit_because(note(SeenState::Running), Some(observed));
        }
        Some(Running::Exited | Running::Created)
            if wanted && (container.lost || container.phase == Phase::Up) =>
        {
            process_ended(draft, container, instance, node_id, None, Some(observed));
        }
        None if wanted && (container.lost || container.phase == Phase::Up) => {
            draft.emit_because(note(SeenState::Missing), Some(observed));
        }
        None if container.phase == Phase::Down => {
            draft.emit_because(note(SeenState::Missing), Some(observed));
        }
        _ => {}
    }
}

pub(super) fn launched(draft: &mut Draft<'_>, instance: Instance, launched: Launched) -> Result<(), Refusal> {
    let Some((container, node_id)) = current(draft, instance) else { return Ok(()) };
    if !matches!(container.phase, Phase::Placed | Phase::Restarting) {
        return Ok(()); // stopped meanwhile: the launcher stops it
    }
    let access_link = access_link(draft, &container, node_id, &launched);
    let cause = cause_or(draft, container.cause);
    let up = draft.emit_because(
        ContainerLaunched {
            container_id: container.id,
            generation: instance.generation,
            node_id,
            engine_id: launched.engine_id,
            image_id: launched.image_id,
            ports: launched.ports,
            access_link,
        },
        cause,
    );
    if container.migrating.is_some() {
        draft.emit_because(
            ContainerMigrated { container_id: container.id, generation: instance.generation, node_id },
            Some(up),
        );
    }
    Ok(())
}

/// Where the first published TCP port answers, in the order in which the application names its ports.
fn access_link(
    draft: &Draft<'_>,
    container: &Container,
    node_id: NodeId,
    launched: &Launched,
) -> Option<String> {
    let node = draft.cluster().node(node_id)?;
    let spec = &container.placement.as_ref()?.spec;
    let published =
        spec.exposed_ports.iter().filter(|port| port.protocol == Protocol::Tcp).find_map(|port| {
            launched.ports.iter().find(|p| p.container == port.container && p.protocol == Protocol::Tcp)
        })?;
    let host = node.endpoint.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Some(format!("http://{host}:{}", published.host))
}

pub(super) fn launch_failed(
    draft: &mut Draft<'_>,
    instance: Instance,
    failure: LaunchFailure,
) -> Result<(), Refusal> {
    let Some((container, node_id)) = current(draft, instance) else { return Ok(()) };
    if !matches!(container.phase, Phase::Placed | Phase::Restarting) {
        return Ok(());
    }
    let policy = &draft.context.policy;
    let attempt = container.attempts.saturating_add(1);
    let given_up = attempt >= policy.launch_attempts;
    let pause = doubling(policy.launch_pause, attempt, Duration::from_secs(60));
    let cause = cause_or(draft, container.cause);
    let predecessor = container
        .retired
        .iter()
        .find(|retired| retired.held)
        .map(|retired| (retired.placement.generation, retired.placement.node_id));
    let retry_at = match predecessor {
        _ if !given_up => Some(draft.after(pause)),
        Some(_) => Some(draft.now), // not given up: its predecessor goes on
        None => None,
    };
    let failed = draft.emit_because(
        ContainerLaunchFailed {
            container_id: container.id,
            generation: Some(instance.generation),
            node_id: Some(node_id),
            reason: failure.reason,
            node_fault: failure.node_fault,
            attempt,
            retry_at,
        },
        cause,
    );
    if let Some((generation, node_id)) = predecessor.filter(|_| given_up) {
        let adopted = ContainerAdopted { container_id: container.id, generation, node_id };
        draft.emit_because(adopted, Some(failed));
    }
    Ok(())
}

pub(super) fn exited(draft: &mut Draft<'_>, instance: Instance, exit: Option<Exit>) -> Result<(), Refusal> {
    let Some((container, node_id)) = current(draft, instance) else {
        predecessor_ended(draft, instance, exit, draft.context.cause);
        return Ok(());
    };
    if container.phase == Phase::Up && container.desired == Desired::Running {
        process_ended(draft, &container, instance, node_id, exit, draft.context.cause);
    }
    Ok(())
}

/// A placement that served until its successor is up ended: it serves no longer, and is not started again.
fn predecessor_ended(draft: &mut Draft<'_>, instance: Instance, exit: Option<Exit>, cause: Option<Seq>) {
    let Some(node_id) = serving(draft, instance) else { return };
    draft.emit_because(exited_event(instance, node_id, exit, None), cause);
}

fn exited_event(
    Instance { container_id, generation }: Instance,
    node_id: NodeId,
    exit: Option<Exit>,
    restart_at: Option<DateTime<Utc>>,
) -> ContainerExited {
    let (exit_code, out_of_memory) =
        (exit.map(|exit| exit.code), exit.is_some_and(|exit| exit.out_of_memory));
    ContainerExited { container_id, generation, node_id, exit_code, out_of_memory, restart_at }
}

/// The node of a placement that was replaced and serves until its successor is up.
fn serving(draft: &Draft<'_>, instance: Instance) -> Option<NodeId> {
    let container = draft.cluster().container(instance.container_id)?;
    let serves = |retired: &&Retired| retired.held && retired.placement.generation == instance.generation;
    container.retired.iter().find(serves).map(|retired| retired.placement.node_id)
}

/// A process ended by itself: whether and when it is started again is the restart policy's to say.
fn process_ended(
    draft: &mut Draft<'_>,
    container: &Container,
    instance: Instance,
    node_id: NodeId,
    exit: Option<Exit>,
    cause: Option<Seq>,
) {
    let policy = container.placement.as_ref().map(|p| p.spec.restart_policy).unwrap_or_default();
    let failed = exit.is_none_or(|exit| exit.code != 0);
    let quick_exits =
        if container.is_stable(draft.now) || container.lost { 0 } else { container.quick_exits };
    let again = match policy {
        RestartPolicy::Always => true,
        RestartPolicy::No => container.lost, // its node went down under it: it did not end by itself
        RestartPolicy::OnFailure { max } => {
            failed && max.is_none_or(|max| quick_exits < max || container.lost)
        }
    };
    // The first start again is immediate; a container that keeps exiting waits longer each time.
    let pause = match quick_exits {
        0 => Duration::ZERO,
        n => doubling(Duration::from_secs(1), n, draft.context.policy.restart_pause_max),
    };
    let restart_at = again.then(|| draft.after(pause));
    draft.emit_because(exited_event(instance, node_id, exit, restart_at), cause);
}

pub(super) fn missing(draft: &mut Draft<'_>, instance: Instance) -> Result<(), Refusal> {
    let Ok(container) = draft.container(instance.container_id) else { return Ok(()) };
    let Some(placement) = container.placement_of(instance.generation) else { return Ok(()) };
    let node_id = placement.node_id;
    let is_wanted = container.placement.as_ref().is_some_and(|p| p.generation == instance.generation);
    // While it is launched or stopped its launcher knows better.
    let settled = matches!(container.phase, Phase::Up | Phase::Down | Phase::Restarting);
    if (is_wanted && settled) || serving(draft, instance).is_some() {
        draft.emit(ContainerObserved {
            container_id: container.id,
            generation: instance.generation,
            node_id,
            state: SeenState::Missing,
        });
    }
    Ok(())
}

pub(super) fn health(draft: &mut Draft<'_>, instance: Instance, healthy: bool) -> Result<(), Refusal> {
    let Some((container, _)) = current(draft, instance) else { return Ok(()) };
    if container.phase != Phase::Up || container.desired != Desired::Running {
        return Ok(());
    }
    let Instance { container_id, generation } = instance;
    if healthy {
        draft.emit(ContainerHealthy { container_id, generation });
    } else {
        let pause = match container.restarts {
            0 => Duration::ZERO,
            n => doubling(Duration::from_secs(1), n, draft.context.policy.restart_pause_max),
        };
        let restart_at = draft.after(pause);
        draft.emit(ContainerUnhealthy { container_id, generation, restart_at });
    }
    Ok(())
}

pub(super) fn stopped(draft: &mut Draft<'_>, instance: Instance, exit: Option<Exit>) -> Result<(), Refusal> {
    let Some((container, _)) = current(draft, instance) else { return Ok(()) };
    if container.phase == Phase::Stopping {
        let cause = cause_or(draft, container.cause);
        draft.emit_because(
            ContainerStopped {
                container_id: container.id,
                generation: Some(instance.generation),
                exit_code: exit.map(|exit| exit.code),
            },
            cause,
        );
    }
    Ok(())
}

pub(super) fn removed(draft: &mut Draft<'_>, instance: Instance, node_id: NodeId) -> Result<(), Refusal> {
    let Instance { container_id, generation } = instance;
    let container = draft.cluster().container(container_id).cloned();
    let known =
        container.as_ref().and_then(|c| c.placement_of(generation)).is_some_and(|p| p.node_id == node_id);
    let orphan = Orphan { container_id, generation };
    let orphaned = draft.cluster().node(node_id).is_some_and(|node| node.orphans.contains(&orphan));
    if !known && !orphaned {
        return Ok(());
    }
    let cause = container.as_ref().map_or(draft.context.cause, |c| cause_or(draft, c.cause));
    // Its removal began when it was not wanted, and it was adopted while that took its time: it has to come back.
    let wanted =
        container.as_ref().filter(|c| known && c.residence().is_some_and(|p| p.generation == generation));
    match wanted.map(|container| container.phase) {
        Some(Phase::Stopping) => return Ok(()), // whoever stops it finds it gone
        Some(_) => {
            let missing = ContainerObserved { container_id, generation, node_id, state: SeenState::Missing };
            draft.emit_because(missing, cause);
            return Ok(());
        }
        None => {}
    }
    draft.emit_because(ContainerRemoved { container_id, generation, node_id }, cause);
    match container {
        Some(container) if container.desired == Desired::Deleted => {
            containers::finish_delete(draft, container_id)
        }
        _ => Ok(()),
    }
}

/// The container whose wanted placement this is, and its node.
fn current(draft: &Draft<'_>, instance: Instance) -> Option<(std::sync::Arc<Container>, NodeId)> {
    let container = draft.cluster().container(instance.container_id)?;
    let placement = container.placement.as_ref().filter(|p| p.generation == instance.generation)?;
    Some((container.clone(), placement.node_id))
}
