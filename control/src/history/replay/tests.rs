#![allow(clippy::unwrap_used)]

use super::{Decided, Figures, Replay, Replayed};
use crate::commands::{
    Command, Context, CreateApplication, CreateContainer, MountNode, Policy, Probe, ProbeResult, decide,
};
use crate::observed::{Exit, Launched};
use crate::reconcile::Pacing;
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::failure::Failure;
use kdaemon_events::{
    Actor, ClusterId, ContainerId, Endpoint, Envelope, Event, NodeId, PlacementId, Seq, SpecChanges,
    Strategy, Subject, UpdatePolicy,
};
use kdaemon_projections::{Cluster, Health, PhaseKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const PACING: Pacing = Pacing { rebalance_after: Some(Duration::from_secs(1)) };

/// A log under construction, as a daemon with this policy would write it.
struct Log {
    policy: Policy,
    cluster: Cluster,
    events: Vec<Envelope>,
    now: DateTime<Utc>,
}

impl Log {
    /// A log with nodes `node-1`, `node-2`, …, all UP, and the application `web`.
    fn with_nodes(count: usize, policy: Policy) -> Self {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let mut log = Self { policy, cluster: Cluster::default(), events: Vec::new(), now };
        log.tell(Command::CreateCluster(ClusterId(Uuid::from_u128(1))));
        for number in 1..=count {
            log.wait(1_000);
            log.tell(Command::MountNode(MountNode {
                availability: kdaemon_events::node::Availability::Active,
                name: Some(format!("node-{number}")),
                user_id: None,
                endpoint: Endpoint::Tcp { host: format!("node-{number}"), port: 2375 },
                labels: BTreeMap::new(),
                capacity: None,
            }));
            log.probe(number, true);
        }
        log.tell(Command::CreateApplication(CreateApplication {
            name: "web".into(),
            user_id: None,
            spec: SpecChanges { docker_image: Some("web".into()), ..SpecChanges::default() },
            is_enabled: true,
            affinity: Vec::new(),
            dependencies: Vec::new(),
            replicas: None,
            update_policy: UpdatePolicy::Manual,
            update: kdaemon_events::application::UpdateSettings::default(),
        }));
        log
    }

    fn wait(&mut self, millis: i64) {
        self.now += TimeDelta::milliseconds(millis);
    }

    fn tell(&mut self, command: Command) -> Vec<Envelope> {
        let context = Context {
            actor: Actor::Anonymous,
            request_id: None,
            cause: None,
            term: None,
            precondition: None,
            now: self.now,
            seed: Uuid::from_u128(self.events.len() as u128),
            policy: Arc::new(self.policy.clone()),
        };
        let decision = decide(&self.cluster, command, &context).unwrap();
        self.cluster = decision.cluster;
        self.events.extend(decision.events.iter().cloned());
        decision.events
    }

    fn node(&self, number: usize) -> NodeId {
        self.cluster.find_node(&format!("node-{number}")).unwrap().id
    }

    fn probe(&mut self, number: usize, answers: bool) {
        let node_id = self.node(number);
        let endpoint = self.cluster.node(node_id).unwrap().endpoint.clone();
        let result = match answers {
            true => ProbeResult::Answered { engine: None, listed: None },
            false => ProbeResult::Failed(Failure::refused("connection refused").into()),
        };
        let latency = Duration::from_millis(1);
        self.tell(Command::RecordProbe(Probe { node_id, endpoint, latency, result }));
    }

    /// Launches a container, which takes two seconds.
    fn running(&mut self, name: &str) -> ContainerId {
        let created = self.tell(Command::CreateContainer(CreateContainer {
            name: Some(name.into()),
            user_id: None,
            application: Some("web".into()),
            env_variables: BTreeMap::new(),
            balance: true,
        }));
        let Event::ContainerCreated(created) = &created[0].event else { panic!("it is not created") };
        let id = created.container_id;
        self.tell(Command::LaunchContainer(id));
        self.wait(2_000);
        self.launched(id);
        id
    }

    fn launched(&mut self, id: ContainerId) {
        let generation = self.cluster.container(id).unwrap().placement.as_ref().unwrap().generation;
        let launched = Launched {
            engine_id: format!("{id}.{generation}"),
            image_id: "sha256:1".into(),
            volumes: Vec::new(),
            health_check: false,
            ports: Vec::new(),
            started_at: None,
        };
        self.tell(Command::RecordLaunched(PlacementId { container_id: id, generation }, launched));
    }

    fn removed(&mut self, id: ContainerId) {
        let retired = self.cluster.container(id).unwrap().retired[0].placement.clone();
        let placement_id = PlacementId { container_id: id, generation: retired.generation };
        self.tell(Command::RecordRemoved(placement_id, retired.node_id));
    }

    /// The state after an event.
    fn state(&self, seq: u64) -> Cluster {
        Cluster::default().fold(self.events.iter().filter(|envelope| envelope.seq <= Seq(seq)))
    }

    fn replay_from(&self, seq: u64, policy: Policy) -> (Cluster, Replayed) {
        let mut replay = Replay::new(&self.state(seq), policy, PACING);
        for envelope in self.events.iter().filter(|envelope| envelope.seq > Seq(seq)) {
            replay.step(envelope);
        }
        assert_eq!(*replay.recorded(), self.cluster);
        let replayed = replay.replayed().clone();
        (replayed, replay.finish())
    }

    fn replay(&self, policy: Policy) -> (Cluster, Replayed) {
        self.replay_from(0, policy)
    }
}

fn peaks(figures: &Figures) -> Vec<(&str, u32)> {
    figures.peak.iter().map(|peak| (peak.node.as_str(), peak.containers)).collect()
}

/// Each difference as the subject's name and both decisions, with nodes by number.
fn differences(log: &Log, replayed: &Replayed) -> Vec<String> {
    let name = |subject: Subject| match subject {
        Subject::Node(id) => log.cluster.node(id).unwrap().name.clone(),
        Subject::Container(id) => log.cluster.container(id).unwrap().name.clone(),
        Subject::Application(_) => unreachable!("no decision is about an application"),
    };
    let decided = |decided: Option<Decided>| match decided {
        None => "nothing".to_owned(),
        Some(Decided::Placed(node)) => format!("placed on {}", name(Subject::Node(node))),
        Some(Decided::Moved { from, to, reason }) => {
            format!("moved from {} to {} ({reason:?})", name(Subject::Node(from)), name(Subject::Node(to)))
        }
        Some(other) => format!("{other:?}"),
    };
    let each = replayed.differences.iter().map(|difference| {
        let subject = difference.subject.map(name).unwrap_or_default();
        format!("{subject}: {}, replayed {}", decided(difference.recorded), decided(difference.replayed))
    });
    each.collect()
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.001
}

#[test]
fn binpack_instead_of_spread_fills_the_first_node() {
    let mut log = Log::with_nodes(3, Policy::default());
    for name in ["web-1", "web-2", "web-3", "web-4"] {
        log.wait(8_000);
        log.running(name);
    }
    log.wait(60_000);
    log.probe(1, true);
    let (cluster, replayed) = log.replay(Policy { strategy: Strategy::Binpack, ..Policy::default() });

    assert_eq!(peaks(&replayed.recorded), [("node-1", 2), ("node-2", 1), ("node-3", 1)]);
    assert_eq!(peaks(&replayed.replayed), [("node-1", 4), ("node-2", 0), ("node-3", 0)]);
    assert_eq!(cluster.find_node("node-1").unwrap().container_count(), 4);
    for figures in [&replayed.recorded, &replayed.replayed] {
        assert_eq!((figures.migrations, figures.launches, figures.failed), (0, 4, 0));
        // Four launches of two seconds each; the simulated ones take as long as the recorded ones before them.
        assert!(near(figures.down_seconds, 8.0), "{}", figures.down_seconds);
    }
    let most = |figures: &Figures| figures.imbalance.iter().map(|point| point.spread).max();
    assert_eq!((most(&replayed.recorded), most(&replayed.replayed)), (Some(1), Some(4)));
    assert_eq!(
        differences(&log, &replayed),
        [
            "web-2: placed on node-2, replayed placed on node-1",
            "web-3: placed on node-3, replayed placed on node-1"
        ]
    );
    assert_eq!(replayed.differences_count, 2);
    assert!(replayed.differences.iter().all(|difference| difference.seq.is_some()));
}

/// Two nodes; the first does not answer for a second, which makes it unhealthy if three failed probes do.
fn with_outage(policy: Policy) -> (Log, ContainerId) {
    let mut log = Log::with_nodes(2, policy);
    let id = log.running("web-1");
    log.running("web-2");
    assert_eq!(log.cluster.container(id).unwrap().placement.as_ref().unwrap().node_id, log.node(1));
    for _ in 0..4 {
        log.wait(250);
        log.probe(1, false);
        log.probe(2, true);
    }
    (log, id)
}

#[test]
fn patience_with_a_short_outage_moves_nothing() {
    let (mut log, id) = with_outage(Policy::default());
    let node = log.node(1);
    log.wait(100);
    log.tell(Command::EvacuateNode(node));
    log.wait(3_000);
    log.launched(id);
    log.probe(1, true);
    log.wait(2_000);
    log.probe(1, true);
    log.wait(1_000);
    log.removed(id);
    log.wait(60_000);
    log.probe(1, true);
    let (cluster, replayed) = log.replay(Policy { unhealthy_after: 10, ..Policy::default() });

    assert_eq!((replayed.recorded.migrations, replayed.replayed.migrations), (1, 0));
    assert_eq!((replayed.recorded.launches, replayed.replayed.launches), (3, 2));
    // LOST from the third failed probe on, until it was launched elsewhere.
    let down = replayed.recorded.down_seconds - replayed.replayed.down_seconds;
    assert!(near(down, 0.250 + 0.100 + 3.0), "{down}");
    let container = cluster.container(id).unwrap();
    assert_eq!(
        (container.phase.kind(), container.generation.0, container.retired.len()),
        (PhaseKind::Up, 1, 0)
    );
    assert_eq!(
        differences(&log, &replayed),
        [
            "node-1: Unhealthy, replayed nothing",
            "web-1: moved from node-1 to node-2 (Unhealthy), replayed nothing",
            "node-1: Healthy, replayed nothing",
        ]
    );
}

#[test]
fn impatience_moves_what_was_not_moved_and_evens_the_counts_afterwards() {
    let (mut log, id) = with_outage(Policy { unhealthy_after: 10, ..Policy::default() });
    for _ in 0..30 {
        log.wait(2_000);
        log.probe(1, true);
        log.probe(2, true);
    }
    let (cluster, replayed) = log.replay(Policy::default());

    assert_eq!((replayed.recorded.migrations, replayed.recorded.launches), (0, 2));
    // Away and, when the node is back and the counts have been uneven for a second, back again.
    assert_eq!((replayed.replayed.migrations, replayed.replayed.launches), (2, 4));
    assert_eq!(peaks(&replayed.replayed), [("node-1", 1), ("node-2", 2)]);
    assert!(cluster.unsettled().next().is_none(), "nothing is left to do");
    let counts: Vec<_> = cluster.nodes().map(|node| (node.health, node.container_count())).collect();
    assert_eq!(counts, [(Health::Up, 1), (Health::Up, 1)]);
    // LOST from the third failed probe on, until it was launched elsewhere: as fast as others were launched.
    let down = replayed.replayed.down_seconds - replayed.recorded.down_seconds;
    assert!((2.0..2.1).contains(&down), "{down}");
    assert_eq!(differences(&log, &replayed)[0], "node-1: nothing, replayed Unhealthy");
    assert_eq!(cluster.container(id).unwrap().desired, kdaemon_projections::Desired::Running);
}

#[test]
fn lower_restart_pause_max_restarts_sooner() {
    let mut log = Log::with_nodes(1, Policy::default());
    let id = log.running("web-1");
    for _ in 0..6 {
        let placement_id = PlacementId { container_id: id, generation: kdaemon_events::Generation(1) };
        let exited =
            log.tell(Command::RecordExited(placement_id, Some(Exit { code: 1, out_of_memory: false })));
        let Event::ContainerExited(exited) = &exited[0].event else { panic!("it has not ended") };
        log.now = exited.restart_at.unwrap();
        log.wait(100);
        log.launched(id);
        log.wait(1_000);
    }
    let policy = Policy { restart_pause_max: Duration::from_secs(1), ..Policy::default() };
    let (_, replayed) = log.replay(policy);
    assert_eq!(replayed.recorded.launches, 7);
    assert!(
        replayed.replayed.down_seconds + 10.0 < replayed.recorded.down_seconds,
        "{} {}",
        replayed.replayed.down_seconds,
        replayed.recorded.down_seconds
    );
}

#[test]
fn replay_of_a_middle_range_changes_nothing() {
    let (mut log, id) = with_outage(Policy::default());
    let node = log.node(1);
    log.tell(Command::EvacuateNode(node));
    log.wait(2_000);
    log.launched(id);
    for seq in 0..=log.events.len() as u64 {
        let (cluster, replayed) = log.replay_from(seq, Policy::default());
        assert_eq!(cluster, log.cluster, "from {seq}");
        assert_eq!(replayed.recorded, replayed.replayed);
        assert_eq!(replayed.differences, []);
    }
}

#[test]
fn replay_of_forced_unmounts_changes_nothing() {
    let mut log = Log::with_nodes(2, Policy::default());
    let ids = [log.running("web-1"), log.running("web-2")];
    let (first, second) = (log.node(1), log.node(2));
    log.wait(1_000);
    // The containers of the first node are neither moved nor removed.
    log.tell(Command::UnmountNode { node_id: first, force: true });
    log.wait(600_000);
    log.tell(Command::FinishDrain(first));
    log.wait(1_000);
    ids.iter().for_each(|id| drop(log.tell(Command::PlaceContainer(*id))));
    log.wait(2_000);
    ids.iter().for_each(|id| log.launched(*id));
    // The second node is the last one.
    log.wait(1_000);
    log.tell(Command::UnmountNode { node_id: second, force: true });
    for id in ids {
        log.wait(1_000);
        log.tell(Command::EvacuateNode(second));
        log.wait(1_000);
        log.removed(id);
    }
    log.tell(Command::FinishDrain(second));
    assert_eq!(log.cluster.nodes().len(), 0);
    for seq in 0..=log.events.len() as u64 {
        let (cluster, replayed) = log.replay_from(seq, Policy::default());
        assert_eq!(cluster, log.cluster, "from {seq}");
        assert_eq!(replayed.recorded, replayed.replayed);
        assert_eq!(replayed.differences, []);
    }
}
