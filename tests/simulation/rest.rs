//! Invariants once the faults have stopped: everything that is scheduled to run does, nothing else does, and
//! then nothing happens any more. Checked on the engines themselves.

use crate::faults::heal;
use crate::people::{End, ask, mend, mount_missing};
use crate::rules;
use crate::seed::Rng;
use crate::world::World;
use kdaemon::engine::{ContainerState, Engines as _, Identity, LaunchOrder};
use kdaemon::store::prelude::*;
use kdaemon::store::{EventQuery, Table};
use kdaemon_control::commands::Command;
use kdaemon_events::{
    ClusterId, ContainerId, Endpoint, Envelope, Event, Generation, RestartPolicy, Seq, Spec, Strategy,
};
use kdaemon_projections::{Cluster, Container, Desired, Health, Node, PhaseKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The longest time until everything is well: the longest restart backoff (five minutes), and time to move.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// The time during which nothing may happen afterwards.
const QUIET: Duration = Duration::from_secs(240);
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The cluster that shares the machines with ours.
const OTHERS: ClusterId = ClusterId(Uuid::from_u128(0x0dd));

/// Adds foreign containers to the machines; they must be there at the end.
pub async fn add_strangers(world: &World) {
    for (endpoint, machine) in world.engines.machines() {
        let _ = machine.run_foreign("a-database", &[]);
        let spec = Spec { docker_image: "busybox".into(), ..Spec::default() };
        let identity = Identity {
            cluster: OTHERS,
            container: ContainerId(Uuid::from_u128(1)),
            generation: Generation(1),
        };
        let order = LaunchOrder {
            identity,
            name: "theirs".into(),
            spec: Arc::new(spec),
            volumes: Vec::new(),
            credentials: None,
        };
        if let Err(error) = world.engines.client(&endpoint).launch(&order).await {
            world.findings.add(format!("the simulation itself failed: {error}"));
        }
    }
}

/// Ends all faults, does what people would have to do, and waits until everything is well.
pub async fn check(world: &Arc<World>, rng: &mut Rng) {
    // One daemon is left, or two of which one was deposed.
    if rng.chance(500) {
        world.slots[1].wanted.send_replace(false);
        world.slots[0].kill();
    }
    heal(world);
    tokio::time::sleep(Duration::from_secs(60)).await;
    heal(world); // a daemon may have been killed meanwhile at a step that was set before
    put_in_order(world, rng).await;
    let deadline = Instant::now() + PATIENCE;
    let mut calm_since: Option<(Instant, Seq)> = None;
    let mut relaunched = Instant::now();
    let mut news = String::from("it never comes to rest");
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let cluster = world.shared.checker().cluster().clone();
        let wrong = wrong(world, &cluster);
        if Instant::now() > deadline {
            let what = wrong.first().unwrap_or(&news);
            world.findings.add(format!("event {}: after the faults: {what}", cluster.seq()));
            return;
        }
        if !wrong.is_empty() {
            calm_since = None;
            // A person who checks once a minute, and gives up in the end.
            let failed = cluster
                .containers()
                .any(|container| container.phase.kind() == PhaseKind::Failed || is_stale(container));
            if failed && relaunched.elapsed() > Duration::from_secs(60) && Instant::now() + QUIET < deadline {
                relaunched = Instant::now();
                relaunch(world, rng, &cluster).await;
            }
            continue;
        }
        let (since, seq) = *calm_since.get_or_insert((Instant::now(), cluster.seq()));
        if world.shared.checker().last_change() > seq {
            let event = happened_after(world, seq).await;
            news = format!("it never comes to rest: {event:?}");
            calm_since = None;
        } else if since.elapsed() >= QUIET {
            tables(world, &cluster).await;
            world.shared.checker().indexes();
            return;
        }
    }
}

/// Does what people do after a disaster: mount missing machines, unmount duplicates, launch failed
/// containers.
async fn put_in_order(world: &World, rng: &mut Rng) {
    for _ in 0..200 {
        let cluster = world.shared.checker().cluster().clone();
        // Of two nodes on one machine the daemon lets one be UP.
        let twice = cluster.nodes().find(|node| {
            let is_twin = |other: &&Arc<kdaemon_projections::Node>| {
                other.id != node.id && other.endpoint == node.endpoint
            };
            node.health == Health::Down && cluster.nodes().any(|other| is_twin(&other))
        });
        // An edit that was a mistake: its containers end again and again.
        let mistaken =
            cluster.applications().find(|a| a.spec.command.iter().any(|word| word.ends_with("; exit 1")));
        let command = match twice {
            _ if mistaken.is_some() => {
                let Some(mistaken) = mistaken else { break };
                mend(mistaken.id)
            }
            Some(node) => Command::UnmountNode { node_id: node.id, force: true },
            None => match mount_missing(world, rng, &cluster) {
                Some(mount) => mount,
                None => break,
            },
        };
        let request = format!("order-{:x}", rng.number());
        if ask(world, rng, command, request, None).await != End::Done {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A container that keeps ending: with a specification that its application does not have any more, or with one that a
/// rollout has returned to, because a container had served with it for a moment.
fn is_stale(container: &Container) -> bool {
    container.phase.kind() == PhaseKind::Restarting
}

async fn relaunch(world: &World, rng: &mut Rng, cluster: &Cluster) {
    for id in cluster.containers().filter(|c| is_stale(c)).filter_map(|c| c.application_id) {
        for command in [mend(id), Command::RestartApplication(id)] {
            let request = format!("mend-{:x}", rng.number());
            ask(world, rng, command, request, None).await;
        }
    }
    for container in cluster.containers().filter(|container| container.phase.kind() == PhaseKind::Failed) {
        let request = format!("relaunch-{:x}", rng.number());
        ask(world, rng, Command::LaunchContainer(container.id), request, None).await;
    }
}

async fn events_after(world: &World, seq: Seq) -> Vec<Envelope> {
    let query = EventQuery { after: seq, limit: usize::MAX, ..EventQuery::default() };
    let texts = world.shared.memory.query(query).await.unwrap_or_default();
    texts.iter().filter_map(|text| Envelope::decode(&text.json).ok()).collect()
}

async fn happened_after(world: &World, seq: Seq) -> Option<Event> {
    let mut events = events_after(world, seq).await.into_iter().map(|envelope| envelope.event);
    events.find(|event| !matches!(event, Event::NodeObserved(_)))
}

/// The end of the log, for the analysis of a failure.
pub async fn last_events(world: &World) -> String {
    let events = events_after(world, Seq(0)).await;
    let wanted = std::env::var("SIMULATE_VERBOSE").unwrap_or_default();
    let told = events.iter().rev().filter(|e| {
        if wanted.len() > 1 {
            e.encode().is_ok_and(|text| text.contains(&wanted))
        } else {
            !matches!(e.event, Event::NodeObserved(_))
        }
    });
    let told = told.take(60);
    let mut lines: Vec<String> =
        told.map(|e| format!("    {} {} {} {:?}", e.seq, e.at.format("%T%.3f"), e.actor, e.event)).collect();
    lines.reverse();
    // Our containers on the machines.
    for (endpoint, machine) in world.engines.machines() {
        for seen in machine.containers() {
            let Identity { container, generation, .. } = seen.identity;
            lines.push(format!("    {endpoint} {container} {generation} {:?} {:?}", seen.state, seen.ports));
        }
    }
    let cluster = world.shared.checker().cluster().clone();
    for c in cluster.containers() {
        let at = c.placement.as_ref().map(|p| {
            let ports: Vec<_> = p.spec.exposed_ports.iter().map(ToString::to_string).collect();
            let node = cluster.node(p.node_id).map(|n| n.name.clone());
            format!("{node:?} generation {} {ports:?}", p.generation)
        });
        lines.push(format!("    {} {} {:?} {:?} {at:?}", c.name, c.id, c.desired, c.phase.kind()));
    }
    lines.join("\n")
}

async fn tables(world: &World, cluster: &Cluster) {
    for table in Table::ALL {
        let rows = world.shared.memory.read_table(table).await.unwrap_or_default();
        let rows: BTreeMap<Uuid, String> = rows.into_iter().collect();
        if rows != crate::invariants::rows_of(cluster, table) {
            world.findings.add(format!(
                "event {}: at rest the table {} is not what the log says",
                cluster.seq(),
                table.name()
            ));
        }
    }
}

/// Everything that is wrong at rest.
fn wrong(world: &World, cluster: &Cluster) -> Vec<String> {
    let mut wrong = Vec::new();
    for node in cluster.nodes() {
        if node.health != Health::Up {
            wrong.push(format!("{} is {:?}: {:?}", node.name, node.health, node.failure));
        }
        if !node.orphans.is_empty() {
            wrong.push(format!("{} has orphans: {:?}", node.name, node.orphans));
        }
    }
    if let Some(pause) = cluster.paused() {
        wrong.push(format!("migrations are paused: {pause:?}"));
    }
    let Some(ours) = cluster.id() else { return vec!["there is no cluster".into()] };
    let mut expected: BTreeMap<Endpoint, BTreeMap<Identity, bool>> = BTreeMap::new();
    for container in cluster.containers() {
        wrong.extend(why_not_at_rest(cluster, container));
        if let Some(placement) = &container.placement
            && let Some(node) = cluster.node(placement.node_id)
        {
            let identity =
                Identity { cluster: ours, container: container.id, generation: placement.generation };
            let runs = container.phase.kind() == PhaseKind::Up;
            expected.entry(node.endpoint.clone()).or_default().insert(identity, runs);
        }
    }
    for (endpoint, machine) in world.engines.machines() {
        let wanted = expected.remove(&endpoint).unwrap_or_default();
        let there: BTreeMap<Identity, bool> = machine
            .containers()
            .into_iter()
            .filter(|seen| seen.identity.cluster == ours)
            .map(|seen| (seen.identity, seen.state == ContainerState::Running))
            .collect();
        for (identity, runs) in &there {
            match wanted.get(identity) {
                None => wrong.push(format!("{endpoint} has {identity:?}, which is not wanted there")),
                Some(wanted) if wanted != runs => {
                    wrong.push(format!("{endpoint} runs {identity:?}: {runs}, which should be {wanted}"));
                }
                Some(_) => {}
            }
        }
        for (identity, _) in wanted.iter().filter(|(identity, runs)| **runs && !there.contains_key(identity))
        {
            wrong.push(format!("{endpoint} lacks {identity:?}"));
        }
    }
    wrong.extend(uneven(cluster));
    wrong
}

fn why_not_at_rest(cluster: &Cluster, container: &Container) -> Option<String> {
    let name = &container.name;
    if !container.retired.is_empty() || container.migrating.is_some() || container.lost {
        let held = container.retired.iter().filter(|retired| retired.held).count();
        return Some(format!(
            "{name} is on its way: {:?}, {:?}, {held} of {} retired serve, moves: {:?}, lost: {}",
            container.phase.kind(),
            container.reason,
            container.retired.len(),
            container.migrating,
            container.lost
        ));
    }
    match (container.desired, container.phase.kind()) {
        (Desired::Running, PhaseKind::Up) => {
            let node = container.placement.as_ref().and_then(|p| cluster.node(p.node_id))?;
            let leaves = node.availability == kdaemon_events::node::Availability::Draining;
            let fitting = if leaves { somewhere(cluster, container) } else { None };
            fitting.map(|other| format!("{name} is still on {}, and {other} would take it", node.name))
        }
        // It may wait if no node would take it.
        (Desired::Running, PhaseKind::Waiting | PhaseKind::Failed) => {
            if rules::why_not_launch(cluster, container).is_some() {
                return None;
            }
            somewhere(cluster, container).map(|node| {
                format!(
                    "{name} is {:?} ({:?}), and {node} would take it",
                    container.phase.kind(),
                    container.reason
                )
            })
        }
        (
            Desired::Stopped,
            PhaseKind::Created | PhaseKind::Down | PhaseKind::Completed | PhaseKind::Failed,
        ) => None,
        (desired, phase) => {
            Some(format!("{name} is {phase:?} and to be {desired:?}: {:?}", container.reason))
        }
    }
}

/// Whether a container likes one node at least as well as another, and may be moved for the sake of balance.
fn is_no_worse(cluster: &Cluster, container: &Container, from: &Node, to: &Node) -> bool {
    let spec = cluster.spec_of(container);
    let met = |node: &Node| spec.preferences.iter().filter(|wish| wish.admits(&node.labels)).count();
    let is_even = spec.spread_over.as_ref().is_none_or(|key| {
        let value = |node: &Node| node.labels.get(key).cloned();
        let others = |wanted: &Option<String>| {
            let own = cluster.containers().filter(|c| c.application_id == container.application_id);
            let own = own.filter(|c| c.id != container.id);
            own.filter(|c| {
                let at = c.residence().and_then(|p| cluster.node(p.node_id));
                at.is_some_and(|at| value(at) == *wanted)
            })
            .count()
        };
        let (here, there) = (value(from), value(to));
        here == there || (there.is_some() && (here.is_none() || others(&there) <= others(&here)))
    });
    spec.strategy.unwrap_or_default() == Strategy::Spread && met(to) >= met(from) && is_even
}

/// A node that would take a container.
fn somewhere(cluster: &Cluster, container: &Container) -> Option<String> {
    let fits = |node: &&Arc<kdaemon_projections::Node>| rules::why_not(cluster, container, node.id).is_none();
    cluster.nodes().find(fits).map(|node| node.name.clone())
}

/// Counts that one legal move would even out without making an application's preferences worse.
fn uneven(cluster: &Cluster) -> Option<String> {
    let is_taken = |node: &&Arc<Node>| rules::is_eligible(node) && !node.is_on_probation(cluster.at());
    let nodes: Vec<_> = cluster.nodes().filter(is_taken).collect();
    for from in &nodes {
        for to in &nodes {
            let (high, low) = (rules::count(cluster, from.id), rules::count(cluster, to.id));
            if high < low + 2 {
                continue;
            }
            let movable = cluster.containers().find(|container| {
                container.balance
                    && container.desired == Desired::Running
                    && container.phase.kind() == PhaseKind::Up
                    && container.placement.as_ref().is_some_and(|p| {
                        p.node_id == from.id && p.spec.restart_policy == RestartPolicy::Always
                    })
                    && !rules::has_data(container, &cluster.spec_of(container))
                    && rules::why_not(cluster, container, to.id).is_none()
                    && !to.is_faulty(container.application_id, cluster.at())
                    && is_no_worse(cluster, container, from, to)
                    && rules::too_many_disrupted(cluster, container).is_none()
            });
            if let Some(container) = movable {
                return Some(format!(
                    "{} has {high} containers and {} has {low}, and {} could move",
                    from.name, to.name, container.name
                ));
            }
        }
    }
    None
}
