//! The health reactor: probes every node, follows its engine's events, and reports what it observed.
//!
//! The meaning of observations is decided elsewhere (`commands/observations.rs`): this module only asks and
//! reports. Consecutive failures are counted in the log, not here.

use super::{PACE, ReactorContext};
use crate::engine::{ContainerState, Engine, EngineError, EngineEvent, Exit, Identity, ListedContainer};
use crate::journal::Lagged;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use kdaemon_control::commands::{Command, Listed, Probe, ProbeResult, Seen};
use kdaemon_events::failure::{Failure, ProbeFailure, limit_ms};
use kdaemon_events::{Endpoint, NodeId, PlacementId};
use kdaemon_projections::{Cluster, ContainerHealth, Desired, Health, PhaseKind, Placement};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Probes between two lists of a node's containers, even while the event stream works.
const LIST_EVERY: u32 = 5;
/// Lists between two queries of the engine's description, even if no connection broke: the machine may have
/// been replaced so quickly that none did.
const FACTS_EVERY: u32 = 6;
/// Timeout of a list or of the engine's description: longer than a ping's, because a busy node is not a dead
/// one.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reported exit waits for its launch to be recorded.
const SETTLE: Duration = Duration::from_secs(60);

/// Runs one follower per mounted node.
pub(super) async fn run(context: ReactorContext) {
    let mut followers = Followers { context: context.clone(), by_node: HashMap::new() };
    loop {
        let mut subscription = context.journal.subscribe();
        followers.follow_all(&subscription.cluster);
        // With many nodes most commits are observations, which change nothing here: only touched nodes are
        // examined.
        loop {
            match subscription.next().await {
                Ok(Some(committed)) => {
                    for id in &committed.touched.nodes {
                        followers.follow(&committed.cluster, *id);
                    }
                    if subscription.waiting() == 0 {
                        tokio::time::sleep(PACE).await;
                    }
                }
                Ok(None) => return,
                Err(Lagged) => break,
            }
        }
    }
}

/// One follower per mounted node.
struct Followers {
    context: ReactorContext,
    by_node: HashMap<NodeId, (Endpoint, CancellationToken)>,
}

impl Followers {
    /// Starts and stops followers to match the state.
    fn follow_all(&mut self, cluster: &Cluster) {
        let followed = self.by_node.keys().copied();
        let all: BTreeSet<NodeId> = followed.chain(cluster.nodes().map(|node| node.id)).collect();
        for id in all {
            self.follow(cluster, id);
        }
    }

    /// Starts or stops the follower of one node, so that it exists with the node and has its endpoint.
    fn follow(&mut self, cluster: &Cluster, id: NodeId) {
        let node = cluster.node(id);
        let is_same = |endpoint: &Endpoint| node.is_some_and(|node| node.endpoint == *endpoint);
        if let Some((endpoint, cancel)) = self.by_node.get(&id)
            && !is_same(endpoint)
        {
            cancel.cancel();
            self.by_node.remove(&id);
        }
        let Some(node) = node else { return };
        self.by_node.entry(id).or_insert_with(|| {
            let cancel = self.context.cancel.child_token();
            let offset = offset(&self.context, id, cluster.nodes().len());
            let follower = NodeFollower::new(self.context.clone(), id, node.endpoint.clone(), offset);
            let token = cancel.clone();
            self.context.tracker.spawn(async move {
                let _ = token.run_until_cancelled_owned(follower.run()).await;
            });
            (node.endpoint.clone(), cancel)
        });
    }
}

/// Spreads the probes of many nodes over the interval.
fn offset(context: &ReactorContext, node: NodeId, nodes: usize) -> Duration {
    if nodes < 32 {
        return Duration::ZERO;
    }
    let share = u32::from(node.0.as_bytes()[15]);
    context.settings.health_interval * share / 256
}

type EventStream = BoxStream<'static, Result<EngineEvent, EngineError>>;

struct NodeFollower {
    context: ReactorContext,
    node_id: NodeId,
    endpoint: Endpoint,
    engine: Arc<dyn Engine>,
    events: Option<EventStream>,
    until_list: u32,
    until_facts: u32,
    offset: Duration,
}

impl NodeFollower {
    fn new(context: ReactorContext, node_id: NodeId, endpoint: Endpoint, offset: Duration) -> Self {
        let engine = context.engines.client(&endpoint);
        Self { context, node_id, endpoint, engine, events: None, until_list: 0, until_facts: 0, offset }
    }

    async fn run(mut self) {
        tokio::time::sleep(self.offset).await;
        loop {
            let began = Instant::now();
            let failed = self.probe().await;
            let pause = match failed {
                // A node that is judged already is not probed in quick succession.
                true if self.is_up() => self.context.settings.probe_retry_interval,
                _ => self.context.settings.health_interval.saturating_sub(began.elapsed()),
            };
            self.follow_events(Instant::now() + pause).await;
        }
    }

    fn is_up(&self) -> bool {
        self.context.journal.cluster().node(self.node_id).is_some_and(|node| node.health == Health::Up)
    }

    /// Probes once. Returns whether the probe failed.
    async fn probe(&mut self) -> bool {
        let began = Instant::now();
        let result = self.ask().await;
        let failed = matches!(result, ProbeResult::Failed(_));
        if failed {
            self.events = None;
        }
        let probe = Probe {
            node_id: self.node_id,
            endpoint: self.endpoint.clone(),
            latency: began.elapsed(),
            result,
        };
        self.context.report(Command::RecordProbe(probe), None).await;
        failed
    }

    async fn ask(&mut self) -> ProbeResult {
        let timeout = self.context.settings.probe_timeout;
        match tokio::time::timeout(timeout, self.engine.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return ProbeResult::Failed(error.failure().into()),
            Err(_) => return ProbeResult::Failed(Failure::timeout(timeout).into()),
        }
        self.until_list = self.until_list.saturating_sub(1);
        if self.until_list > 0 && self.events.is_some() && self.is_up() {
            return ProbeResult::Answered { engine: None, listed: None };
        }
        match tokio::time::timeout(LIST_TIMEOUT, self.look_closer()).await {
            Ok(Ok(result)) => {
                self.until_list = LIST_EVERY;
                result
            }
            Ok(Err(error)) => ProbeResult::Failed(error.failure().into()),
            Err(_) => ProbeResult::Failed(ProbeFailure::NotListed { limit_ms: limit_ms(LIST_TIMEOUT) }),
        }
    }

    /// Asks for the engine's description and its containers, and subscribes to its events.
    async fn look_closer(&mut self) -> Result<ProbeResult, EngineError> {
        let cluster = self.context.journal.cluster();
        let Some(cluster_id) = cluster.id() else {
            return Ok(ProbeResult::Answered { engine: None, listed: None });
        };
        self.until_facts = self.until_facts.saturating_sub(1);
        let known = self.events.is_some()
            && self.until_facts > 0
            && cluster
                .node(self.node_id)
                .is_some_and(|node| node.engine.is_some() && node.health == Health::Up);
        // First the stream, then the list: changes in between are in the stream. A new connection may lead to
        // another engine.
        if self.events.is_none() {
            self.events = Some(self.engine.events(cluster_id).await?);
        }
        let engine = if known { None } else { Some(self.engine.facts().await?) };
        if engine.is_some() {
            self.until_facts = FACTS_EVERY;
        }
        let cluster = self.context.journal.cluster();
        let as_of = cluster.seq();
        let listing = self.engine.list(cluster_id).await?;
        let (context, asked) = (self.context.clone(), Arc::clone(&self.engine));
        let mut own = Vec::with_capacity(listing.own.len());
        for listed in listing.own {
            own.push(seen(&context, &*asked, &cluster, listed).await?);
        }
        Ok(ProbeResult::Answered { engine, listed: Some(Listed { own, foreign: listing.foreign, as_of }) })
    }

    /// Handles the engine's events until the next probe is due. The end of the stream is a sign of trouble,
    /// and causes a probe at once.
    async fn follow_events(&mut self, until: Instant) {
        // A stream that ends right after its start is no sign of trouble, and causes no probe.
        let earliest = until.min(Instant::now() + self.context.settings.probe_retry_interval);
        let Some(events) = &mut self.events else {
            tokio::time::sleep_until(until).await;
            return;
        };
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => return,
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        let (context, engine) = (self.context.clone(), Arc::clone(&self.engine));
                        self.context.spawn(async move { react(&context, engine, event).await });
                    }
                    Some(Err(_)) | None => {
                        self.events = None;
                        tokio::time::sleep_until(earliest).await;
                        return;
                    }
                },
            }
        }
    }
}

/// A container of the list, with what the list does not show and the record has to know: how it exited, what its health
/// check says, other ports than recorded.
async fn seen(
    context: &ReactorContext,
    engine: &dyn Engine,
    cluster: &Cluster,
    listed: ListedContainer,
) -> Result<Seen, EngineError> {
    let placement_id = placement_id(listed.identity);
    let mut seen =
        Seen { placement_id, state: listed.state, exit: None, healthy: None, paused: listed.paused };
    let container = cluster.container(placement_id.container_id);
    let wanted = container.filter(|container| container.desired == Desired::Running).and_then(|container| {
        let is_it = |placement: &&Placement| placement.generation == placement_id.generation;
        Some((container, container.placement.as_ref().filter(is_it)?))
    });
    let Some((container, placement)) = wanted else { return Ok(seen) };
    let is_expected = container.phase.kind() == PhaseKind::Up || container.is_unhealthy() || container.lost;
    let is_checked = matches!(placement.health, ContainerHealth::Starting | ContainerHealth::Unhealthy);
    let is_news = match listed.state {
        ContainerState::Running => container.lost || is_checked || placement.ports != listed.ports,
        ContainerState::Exited => true,
        ContainerState::Created => false,
    };
    if !is_expected || !is_news {
        return Ok(seen);
    }
    let Some(inspected) = engine.inspect(listed.identity).await? else { return Ok(seen) };
    if inspected.state == listed.state {
        (seen.exit, seen.healthy) = (inspected.exit, inspected.healthy);
    }
    if inspected.state == ContainerState::Running && inspected.launched.ports != placement.ports {
        context.report(Command::RecordLaunched(placement_id, inspected.launched), None).await;
    }
    Ok(seen)
}

fn placement_id(identity: Identity) -> PlacementId {
    PlacementId { container_id: identity.container, generation: identity.generation }
}

async fn react(context: &ReactorContext, engine: Arc<dyn Engine>, event: EngineEvent) {
    match event {
        EngineEvent::Started(identity) => started(context, engine, identity).await,
        EngineEvent::Died(identity, exit) => died(context, engine, identity, exit).await,
        EngineEvent::Removed(identity) => {
            context.report(Command::RecordMissing(placement_id(identity)), None).await;
        }
        EngineEvent::Health(identity, healthy) => {
            // A check can decide before the launch is recorded.
            if settled(context, placement_id(identity)).await {
                context.report(Command::RecordHealth(placement_id(identity), healthy), None).await;
            }
        }
        EngineEvent::Paused(identity, paused) => {
            context.report(Command::RecordPaused(placement_id(identity), paused), None).await;
        }
    }
}

/// Handles the exit of a process. Its launch may not be recorded yet, and the event may be older than a start
/// that followed it: so the launch is awaited, and the container inspected.
async fn died(context: &ReactorContext, engine: Arc<dyn Engine>, identity: Identity, exit: Exit) {
    let placement_id = placement_id(identity);
    if !settled(context, placement_id).await {
        return;
    }
    let concerns_us =
        context.journal.cluster().container(placement_id.container_id).is_some_and(|container| {
            container.phase.kind() == PhaseKind::Up && container.desired == Desired::Running
        });
    if !concerns_us {
        return;
    }
    let command = match engine.inspect(identity).await {
        Ok(Some(inspected)) if inspected.state == ContainerState::Running => return,
        Ok(Some(inspected)) => Command::RecordExited(placement_id, Some(inspected.exit.unwrap_or(exit))),
        Ok(None) => Command::RecordMissing(placement_id),
        Err(_) => return, // the next probe finds out
    };
    context.report(command, None).await;
}

/// Handles the start of a process that we may not have started: another client, or the engine itself, may have, and the
/// engine chooses new ports then.
async fn started(context: &ReactorContext, engine: Arc<dyn Engine>, identity: Identity) {
    let placement_id = placement_id(identity);
    let is_ours = is_starting(&context.journal.cluster(), placement_id);
    if is_ours || !settled(context, placement_id).await {
        return;
    }
    if let Ok(Some(inspected)) = engine.inspect(identity).await
        && inspected.state == ContainerState::Running
    {
        context.report(Command::RecordLaunched(placement_id, inspected.launched), None).await;
    }
}

/// Waits until no launch or start of a placement is under way. Returns whether that is so.
async fn settled(context: &ReactorContext, placement_id: PlacementId) -> bool {
    let mut states = context.journal.watch();
    let settled = async { states.wait_for(|cluster| !is_starting(cluster, placement_id)).await.is_ok() };
    tokio::time::timeout(SETTLE, settled).await == Ok(true)
}

fn is_starting(cluster: &Cluster, placement_id: PlacementId) -> bool {
    cluster.container(placement_id.container_id).is_some_and(|container| {
        matches!(container.phase.kind(), PhaseKind::Placed | PhaseKind::Restarting)
            && !container.is_unhealthy()
            && container.placement.as_ref().is_some_and(|p| p.generation == placement_id.generation)
    })
}
