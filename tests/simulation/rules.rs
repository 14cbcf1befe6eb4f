//! The rules of placing and moving, written a second time and naively: each looks at every container, and
//! none uses the scheduler or an index that the scheduler relies on.

use kdaemon_events::container::MigrationReason;
use kdaemon_events::node::Availability;
use kdaemon_events::{ApplicationId, DataPolicy, Event, Generation, NodeId, Protocol, Spec, Strategy};
use kdaemon_projections::{Cluster, Container, Desired, Health, Node, PhaseKind, Placement};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The rules that the event after a state breaks.
pub fn breaches(before: &Cluster, event: &Event, max_migrations: usize) -> Vec<String> {
    let mut breaches = Vec::new();
    match event {
        Event::ContainerPlaced(e) => {
            let Some(container) = before.container(e.container_id) else {
                return vec!["there is no such container".into()];
            };
            let waits = matches!(container.phase.kind(), PhaseKind::Waiting | PhaseKind::Failed);
            if !waits || container.desired != Desired::Running {
                breaches.push("it does not wait for a node".into());
            }
            breaches.extend(not_newer(container, e.generation));
            breaches.extend(why_not_launch(before, container));
            breaches.extend(why_not(before, container, e.node_id));
        }
        Event::ContainerMigrationCommanded(e) => {
            let Some(container) = before.container(e.container_id) else {
                return vec!["there is no such container".into()];
            };
            let here = container.placement.as_ref().map(|p| (p.node_id, p.generation));
            if here != Some((e.from_node_id, e.from_generation)) || container.desired != Desired::Running {
                breaches.push("it is not there, or is not to run".into());
            }
            breaches.extend(not_newer(container, e.generation));
            breaches.extend(why_not(before, container, e.node_id));
            if e.reason != MigrationReason::Update && e.node_id == e.from_node_id {
                breaches.push("it is there already".into());
            }
            let spec = before.spec_of(container);
            let fixed_there = e.node_id == e.from_node_id && !fixed(&spec).is_empty();
            if e.start_first && (fixed_there || has_data(container, &spec)) {
                breaches.push("the new one cannot run next to the old one".into());
            }
            breaches.extend(why_not_now(before, e.reason, max_migrations));
            if matches!(e.reason, MigrationReason::Balance | MigrationReason::Drain) {
                breaches.extend(too_many_disrupted(before, container));
            }
            if e.reason == MigrationReason::Balance {
                if spec.strategy.unwrap_or_default() != Strategy::Spread {
                    breaches.push(format!("its strategy is {:?}", spec.strategy));
                }
                let on_probation = |node: &Arc<Node>| node.is_on_probation(before.at());
                if before.node(e.node_id).is_some_and(on_probation) {
                    breaches.push("the node keeps failing and coming back".into());
                }
            }
        }
        Event::RebalancePlanned(e) => {
            // As a whole: a chain of moves may even out what no single move can.
            let mut counts: BTreeMap<NodeId, i64> = BTreeMap::new();
            let unevenness = |counts: &BTreeMap<NodeId, i64>| counts.values().map(|n| n * n).sum::<i64>();
            for step in &e.moves {
                for id in [step.from_node_id, step.node_id] {
                    counts.entry(id).or_insert_with(|| count(before, id).try_into().unwrap_or(0));
                }
            }
            let uneven = unevenness(&counts);
            for step in &e.moves {
                *counts.entry(step.from_node_id).or_default() -= 1;
                *counts.entry(step.node_id).or_default() += 1;
            }
            // The beginning of a chain that is too long for one round leads from a fuller node to an emptier
            // one.
            let is_begun = e.remaining > 0 && unevenness(&counts) == uneven;
            if unevenness(&counts) >= uneven && !is_begun {
                breaches.push("it evens nothing".into());
            }
        }
        Event::ContainerRemoved(e) => {
            let wanted = before.container(e.container_id).filter(|container| {
                container.desired == Desired::Running
                    && container.phase.kind() != PhaseKind::Waiting
                    && container.placement.as_ref().is_some_and(|p| p.generation == e.generation)
            });
            if wanted.is_some() {
                breaches.push("this generation is wanted".into());
            }
        }
        Event::ContainerLaunched(e) => {
            let container = before.container(e.container_id);
            let wanted = container.and_then(|container| container.placement.as_ref());
            if wanted.map(|p| (p.node_id, p.generation)) != Some((e.node_id, e.generation)) {
                breaches.push("this placement is not wanted".into());
            }
        }
        Event::ContainerDeleted(e) => {
            let left =
                before.container(e.container_id).into_iter().flat_map(|c| &c.retired).find(|retired| {
                    before.node(retired.placement.node_id).is_some_and(|node| node.health == Health::Up)
                });
            if let Some(left) = left {
                breaches.push(format!("generation {} can still be removed", left.placement.generation));
            }
        }
        Event::NodeDrained(e) => {
            let left = before
                .containers()
                .find(|c| placements(c).any(|p| p.node_id == e.node_id))
                .filter(|_| before.node(e.node_id).is_some_and(|node| node.health == Health::Up));
            if let Some(left) = left {
                breaches.push(format!("container {} is still there", left.name));
            }
        }
        _ => {}
    }
    breaches
}

/// Whether moving a container voluntarily would exceed its application's disruption limit.
pub fn too_many_disrupted(cluster: &Cluster, container: &Container) -> Option<String> {
    let is_disrupted = |c: &Container| {
        c.lost || c.migrating.is_some() || matches!(c.phase.kind(), PhaseKind::Placed | PhaseKind::Restarting)
    };
    let application = container.application_id.and_then(|id| cluster.application(id))?;
    let wanted: Vec<_> = cluster
        .containers()
        .filter(|c| c.application_id == Some(application.id) && c.desired == Desired::Running)
        .collect();
    let limit = application.spec.disruption_limit.map_or(wanted.len().div_ceil(4), |limit| limit as usize);
    let disrupted = wanted.iter().filter(|c| is_disrupted(c)).count();
    (!is_disrupted(container) && disrupted >= limit.max(1))
        .then(|| format!("{disrupted} of its application are disrupted, {limit} may be"))
}

fn not_newer(container: &Container, generation: Generation) -> Option<String> {
    let highest = placements(container).map(|placement| placement.generation).max().unwrap_or_default();
    (generation <= container.generation.max(highest)).then(|| "its generation is not a new one".into())
}

/// All placements of a container that may exist on any node.
pub fn placements(container: &Container) -> impl Iterator<Item = &Placement> {
    container.placement.iter().chain(container.retired.iter().map(|retired| &retired.placement))
}

fn fixed(spec: &Spec) -> BTreeSet<(Protocol, u16)> {
    spec.exposed_ports.iter().filter_map(|port| port.host.map(|host| (port.protocol, host))).collect()
}

pub fn has_data(container: &Container, spec: &Spec) -> bool {
    container.home.is_some() || spec.volumes.iter().any(|volume| !volume.source.starts_with('/'))
}

/// Why a node may not take a container whose data is elsewhere. In the simulation all mounts are named volumes.
fn without_its_data(
    cluster: &Cluster,
    container: &Container,
    spec: &Spec,
    node_id: NodeId,
) -> Option<String> {
    let works = |id: NodeId| {
        cluster.node(id).is_some_and(|n| n.health == Health::Up && n.availability != Availability::Draining)
    };
    let counts = |id: &NodeId| spec.data == DataPolicy::Keep || works(*id);
    if let Some(home) = &container.home {
        let has_data = !spec.volumes.is_empty() || !home.volumes.is_empty();
        let is_elsewhere = has_data && home.node_id != node_id && counts(&home.node_id);
        return is_elsewhere.then(|| "its data is elsewhere".into());
    }
    let siblings = || {
        let own = cluster
            .containers()
            .filter(|c| c.id != container.id && c.application_id == container.application_id);
        own.filter_map(|c| resident(c)).map(|p| p.node_id)
    };
    let mut is_known = false;
    for volume in &spec.volumes {
        let mut known: Vec<NodeId> = cluster.nodes_with_data(&volume.source).filter(counts).collect();
        if spec.anti_affinity {
            known.retain(|id| siblings().all(|used| used != *id));
        }
        is_known |= !known.is_empty();
        if !known.is_empty() && !known.contains(&node_id) {
            return Some(format!("{} is elsewhere", volume.source));
        }
    }
    // Where none is known yet, the first replica decides.
    let first =
        siblings().find(counts).filter(|_| !is_known && !spec.anti_affinity && !spec.volumes.is_empty());
    if first.is_some_and(|first| first != node_id) {
        return Some("another replica is about to make its volume elsewhere".into());
    }
    None
}

/// The wanted placement.
fn resident(container: &Container) -> Option<&Placement> {
    let runs = matches!(
        container.phase.kind(),
        PhaseKind::Placed | PhaseKind::Up | PhaseKind::Restarting | PhaseKind::Stopping
    );
    container.placement.as_ref().filter(|_| runs)
}

/// The number of containers on a node.
pub fn count(cluster: &Cluster, node: NodeId) -> usize {
    cluster.containers().filter(|c| resident(c).is_some_and(|p| p.node_id == node)).count()
}

pub fn is_eligible(node: &Node) -> bool {
    node.health == Health::Up && node.availability == Availability::Active
}

/// Whether a container serves: its own process does, or the one that it replaces.
fn serves(container: &Container) -> bool {
    let runs =
        container.phase.kind() == PhaseKind::Up && container.desired == Desired::Running && !container.lost;
    let own = container.placement.as_ref().is_some_and(|p| p.ready_at.is_some() && !p.paused);
    container.retired.iter().any(|retired| retired.held) || (runs && own)
}

/// Why a container may not be launched at all.
pub fn why_not_launch(cluster: &Cluster, container: &Container) -> Option<String> {
    let Some(application) = container.application_id.and_then(|id| cluster.application(id)) else {
        return Some("it has no application".into());
    };
    if !application.is_enabled {
        return Some("its application is disabled".into());
    }
    let is_up = |id| {
        cluster.containers().any(|other| {
            other.application_id == Some(id) && (serves(other) || other.phase.kind() == PhaseKind::Completed)
        })
    };
    application.dependencies.iter().find(|id| !is_up(**id)).map(|id| format!("its dependency {id} is not UP"))
}

/// Why a node may not take a container.
pub fn why_not(cluster: &Cluster, container: &Container, node_id: NodeId) -> Option<String> {
    let Some(node) = cluster.node(node_id) else { return Some("the node is not there".into()) };
    if !is_eligible(node) {
        return Some(format!("{} is {:?} and {:?}", node.name, node.health, node.availability));
    }
    let spec = cluster.spec_of(container);
    if let Some(constraint) = spec.constraints.iter().find(|constraint| !constraint.admits(&node.labels)) {
        return Some(format!("{} does not satisfy {constraint}", node.name));
    }
    if let Some(why) = without_its_data(cluster, container, &spec, node_id) {
        return Some(why);
    }
    let others = || cluster.containers().filter(|other| other.id != container.id);
    let neighbours: Vec<&Placement> =
        others().filter_map(|other| resident(other)).filter(|p| p.node_id == node_id).collect();
    if node.capacity.is_some_and(|capacity| neighbours.len() as u64 >= u64::from(capacity)) {
        return Some(format!("{} is full", node.name));
    }
    let has_one_of = |id: ApplicationId| {
        let mut own = others().filter(|other| other.application_id == Some(id));
        own.any(|other| resident(other).is_some_and(|p| p.node_id == node_id))
    };
    if spec.anti_affinity && container.application_id.is_some_and(has_one_of) {
        return Some(format!("{} has one of its application already", node.name));
    }
    if let Some(missing) = spec.affinity.iter().find(|id| !has_one_of(**id)) {
        return Some(format!("{} has none of {missing}", node.name));
    }
    let ports = fixed(&spec);
    for other in others() {
        let runs_not =
            matches!(other.phase.kind(), PhaseKind::Down | PhaseKind::Completed | PhaseKind::Failed);
        let wanted = other.placement.iter().filter(|_| !runs_not);
        let claims = wanted.chain(other.retired.iter().map(|retired| &retired.placement));
        for claim in claims.filter(|claim| claim.node_id == node_id) {
            if let Some((_, port)) = fixed(&claim.spec).intersection(&ports).next() {
                return Some(format!("{} has port {port} of {}", other.name, node.name));
            }
        }
    }
    let engine = node.engine.as_ref()?;
    // A limit without a reservation is reserved.
    let cpus = |spec: &Spec| spec.resources.reserved_cpus.or(spec.resources.cpus).map_or(0, |cpus| cpus.0);
    let memory =
        |spec: &Spec| spec.resources.reserved_memory_bytes.or(spec.resources.memory_bytes).unwrap_or(0);
    let taken: u64 = neighbours.iter().map(|p| cpus(&p.spec)).sum();
    if cpus(&spec) > 0 && cpus(&spec) + taken > engine.cpus.0 {
        return Some(format!("{} has too few processors", node.name));
    }
    if spec.resources.cpus.is_some_and(|limit| limit > engine.cpus) {
        return Some(format!("{} has fewer processors than the limit", node.name));
    }
    let taken: u64 = neighbours.iter().map(|p| memory(&p.spec)).sum();
    if memory(&spec) > 0 && memory(&spec) + taken > engine.memory_bytes {
        return Some(format!("{} has too little memory", node.name));
    }
    None
}

/// Whether more than half of at least three nodes that worked are down: more likely the daemon's own network
/// failed.
pub fn is_mass_failure(cluster: &Cluster) -> bool {
    let worked = cluster.nodes().filter(|node| node.was_up).count();
    let down = cluster.nodes().filter(|node| node.was_up && node.health == Health::Down).count();
    worked >= 3 && down * 2 > worked
}

/// Why nothing may be moved for this reason at present.
fn why_not_now(cluster: &Cluster, reason: MigrationReason, max_migrations: usize) -> Option<String> {
    if let Some(pause) = cluster.paused()
        && matches!(reason, MigrationReason::Unhealthy | MigrationReason::Balance)
    {
        return Some(format!("migrations are paused ({pause:?})"));
    }
    let moving = cluster.containers().filter(|container| container.migrating.is_some()).count();
    if matches!(reason, MigrationReason::Balance | MigrationReason::Drain) && moving >= max_migrations {
        return Some(format!("{moving} containers are being moved"));
    }
    None
}
