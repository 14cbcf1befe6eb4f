#![allow(clippy::unwrap_used)]

use super::*;
use chrono::{DateTime, TimeDelta};
use kdaemon_events::application::{ApplicationCreated, ApplicationScaled};
use kdaemon_events::cluster::{MigrationsPaused, RebalancePlanned};
use kdaemon_events::container::*;
use kdaemon_events::node::*;
use kdaemon_events::{Actor, ApplicationId, ContainerId, Endpoint, EventId, Generation, UpdatePolicy};

/// A log as it is written by hand: an event each second from 03:02:01 on.
#[derive(Default)]
struct Log(Vec<Envelope>);

fn uuid(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
    Uuid::from_bytes(bytes)
}
fn node(name: &str) -> NodeId {
    NodeId(uuid(name))
}
fn container(name: &str) -> ContainerId {
    ContainerId(uuid(name))
}
fn application(name: &str) -> ApplicationId {
    ApplicationId(uuid(name))
}
fn alice() -> Actor {
    Actor::Token { name: "alice".into() }
}

impl Log {
    fn write(&mut self, actor: Actor, cause: u64, event: impl Into<Event>) -> u64 {
        let seq = self.0.len() as u64 + 1;
        let began = DateTime::parse_from_rfc3339("2026-11-22T03:02:00Z").unwrap().to_utc();
        self.0.push(Envelope {
            seq: Seq(seq),
            id: EventId(Uuid::from_u128(seq.into())),
            at: began + TimeDelta::seconds(i64::try_from(seq).unwrap()),
            actor,
            request_id: None,
            cause: (cause > 0).then_some(Seq(cause)),
            event: event.into(),
        });
        seq
    }

    fn reactor(&mut self, name: &str, cause: u64, event: impl Into<Event>) -> u64 {
        self.write(Actor::reactor(name), cause, event)
    }

    /// Nodes that are UP.
    fn nodes(names: &[&str]) -> Self {
        let mut log = Self::default();
        for name in names {
            log.write(
                alice(),
                0,
                NodeMounted {
                    node_id: node(name),
                    name: (*name).into(),
                    user_id: None,
                    endpoint: Endpoint::tcp(name, 2375).unwrap(),
                    labels: BTreeMap::new(),
                    capacity: (*name == "full").then_some(0),
                },
            );
            let seen = log.probe(name, None);
            log.reactor("health", seen, NodeHealthy { node_id: node(name), successes: 1 });
        }
        log
    }

    fn probe(&mut self, name: &str, failure: Option<&str>) -> u64 {
        let outcome = match failure {
            Some(reason) => ProbeOutcome::Failed { reason: reason.into() },
            None => ProbeOutcome::Answered { running: None, foreign: None },
        };
        let node_id = node(name);
        self.reactor(
            "health",
            0,
            NodeObserved { node_id, outcome, latency_ms: 3, engine: None, orphans: Vec::new() },
        )
    }

    fn fail(&mut self, name: &str) -> u64 {
        self.probe(name, Some("connection refused"));
        self.probe(name, None); // that one counts not: it was answered
        self.probe(name, Some("connection refused"));
        self.probe("node-b", None);
        self.probe(name, Some("connection refused"));
        let seen = self.probe(name, Some("no answer in time"));
        let reason = "no answer in time".into();
        self.reactor("health", seen, NodeUnhealthy { node_id: node(name), failures: 3, reason })
    }

    fn cordon(&mut self, name: &str) -> u64 {
        self.write(alice(), 0, NodeCordoned { node_id: node(name) })
    }

    fn application(&mut self, replicas: Option<u32>) -> u64 {
        self.write(
            alice(),
            0,
            ApplicationCreated {
                application_id: application("web"),
                name: "web".into(),
                user_id: None,
                spec: Box::default(),
                is_enabled: true,
                dependencies: Vec::new(),
                replicas,
                update_policy: UpdatePolicy::Manual,
            },
        )
    }

    fn created(&mut self, cause: u64) -> u64 {
        self.write(
            alice(),
            cause,
            ContainerCreated {
                container_id: container("web-1"),
                name: "web-1".into(),
                user_id: None,
                application_id: Some(application("web")),
                env_variables: BTreeMap::new(),
                balance: true,
                replica: cause > 0,
            },
        )
    }

    fn requested(&mut self, cause: u64) -> u64 {
        self.write(alice(), cause, ContainerLaunchRequested { container_id: container("web-1") })
    }

    fn placed(&mut self, cause: u64, on: &str, why: &str) -> u64 {
        let (container_id, node_id) = (container("web-1"), node(on));
        self.write(
            alice(),
            cause,
            ContainerPlaced { container_id, generation: Generation(1), node_id, why: why.into() },
        )
    }

    fn launched(&mut self, cause: u64, on: &str, generation: u32) -> u64 {
        self.reactor(
            "launcher",
            cause,
            ContainerLaunched {
                container_id: container("web-1"),
                generation: Generation(generation),
                node_id: node(on),
                engine_id: "e".into(),
                image_id: "i".into(),
                ports: Vec::new(),
                access_link: None,
            },
        )
    }

    fn moved(&mut self, cause: u64, path: (&str, &str), reason: MigrationReason, why: &str) -> u64 {
        self.reactor(
            "rebalancer",
            cause,
            ContainerMigrationCommanded {
                container_id: container("web-1"),
                from_node_id: node(path.0),
                from_generation: Generation(1),
                node_id: node(path.1),
                generation: Generation(2),
                reason,
                start_first: false,
                why: why.into(),
            },
        )
    }

    /// The container runs on `on`, launched by alice.
    fn running(&mut self, on: &str) -> u64 {
        self.application(None);
        let created = self.created(0);
        let requested = self.requested(created);
        let placed = self.placed(requested, on, &format!("{on} has the fewest containers (0)"));
        self.launched(placed, on, 1)
    }

    fn failed_launch(&mut self, cause: u64, attempt: u32, reason: &str) -> u64 {
        let placed = attempt > 0;
        self.reactor(
            "launcher",
            cause,
            ContainerLaunchFailed {
                container_id: container("web-1"),
                generation: placed.then_some(Generation(1)),
                node_id: placed.then_some(node("node-a")),
                reason: reason.into(),
                node_fault: false,
                attempt,
                retry_at: None,
            },
        )
    }

    fn why(&self, subject: Subject) -> Why {
        let cluster = Arc::new(Cluster::default().fold(&self.0));
        let mut inquiry = Inquiry::begin(cluster, subject, Strategy::Spread).unwrap();
        while let Some(want) = inquiry.wants() {
            inquiry.add(want, self.read(want));
        }
        let why = inquiry.tell();
        for step in &why.steps {
            assert!(step.because.iter().all(|seq| *seq < step.seq), "a cause comes after its effect");
            assert!(step.because.iter().all(|seq| why.steps.iter().any(|other| other.seq == *seq)));
        }
        assert!(why.steps.is_sorted_by(|a, b| a.seq > b.seq), "newest first");
        why
    }

    fn read(&self, want: Want) -> Vec<Envelope> {
        let until = |seq: Seq| self.0.iter().filter(move |e| e.seq <= seq).cloned();
        match want {
            Want::Event(seq) => until(seq).filter(|e| e.seq == seq).collect(),
            Want::Latest { kind, node, until: seq } => {
                let about = |e: &Envelope| e.event.kind() == kind && e.event.subjects()[0].uuid() == node.0;
                until(seq).rfind(about).into_iter().collect()
            }
            Want::FailedProbes { node, until: seq, count } => {
                let mut all: Vec<_> = until(seq).filter(|e| is_failed_probe(&e.event, node)).collect();
                all.split_off(all.len().saturating_sub(count as usize))
            }
        }
    }

    #[track_caller]
    fn says(&self, sentences: &[&str]) -> Why {
        let why = self.why(Subject::Container(container("web-1")));
        assert_eq!(why.sentences, sentences);
        why
    }

    #[track_caller]
    fn says_of(&self, name: &str, sentences: &[&str]) {
        assert_eq!(self.why(Subject::Node(node(name))).sentences, sentences);
    }
}

#[test]
fn a_container_that_was_moved_from_a_failed_node() {
    let mut log = Log::nodes(&["node-a", "node-b", "node-c", "node-d"]);
    let cordoned = log.cordon("node-d");
    log.running("node-a");
    let unhealthy = log.fail("node-a");
    let why =
        "node-b has the fewest containers (4); node-c has 6 containers; node-a is DOWN; node-d is cordoned";
    let moved = log.moved(unhealthy, ("node-a", "node-b"), MigrationReason::Unhealthy, why);
    let launched = log.launched(moved, "node-b", 2);
    let why = log.says(&[
        "web-1 is UP on node-b since 03:02:27 (2026-11-22), generation 2.",
        "It was moved by the rebalancer (event 26) because node-a was judged unhealthy (25) after 3 failed probes \
         (21, 23, 24: connection refused; no answer in time).",
        "node-b was chosen with 4 containers; node-c had 6; node-a is DOWN; node-d is cordoned (by alice, event 13).",
    ]);
    assert_eq!((why.kind, why.state, why.seq, &*why.name), ("container", "UP", launched, "web-1"));
    let steps: Vec<_> = why.steps.iter().map(|step| (step.seq, step.kind, step.because.clone())).collect();
    assert_eq!(
        steps,
        [
            (27, "ContainerLaunched", vec![26]),
            (moved, "ContainerMigrationCommanded", vec![unhealthy, cordoned]),
            (unhealthy, "NodeUnhealthy", vec![24, 23, 21]),
            (24, "NodeObserved", vec![]),
            (23, "NodeObserved", vec![]),
            (21, "NodeObserved", vec![]),
            (cordoned, "NodeCordoned", vec![]),
        ]
    );
    let says: Vec<_> = why.steps.iter().map(|step| step.says.as_str()).collect();
    assert_eq!(says[0], "web-1 was launched on node-b, generation 2.");
    assert_eq!(says[1], "web-1 was moved from node-a to node-b: node-a was unhealthy.");
    assert_eq!(says[2], "node-a was judged unhealthy after 3 failed probes in a row: no answer in time.");
    assert_eq!(says[3], "A probe of node-a failed: no answer in time.");
    assert_eq!(says[6], "node-d was cordoned by alice.");
    assert_eq!(why.steps[6].actor, alice());
}

#[test]
fn a_container_that_somebody_launched() {
    let mut log = Log::nodes(&["node-a"]);
    log.running("node-a");
    log.says(&[
        "web-1 is UP on node-a since 03:02:08 (2026-11-22), generation 1.",
        "node-a was chosen (event 7) with 0 containers.",
        "Its launch was asked for by alice (event 6).",
        "It was created by alice (event 5).",
    ]);
}

#[test]
fn a_replica_and_what_was_chosen_by_other_measures() {
    let mut log = Log::nodes(&["node-a", "node-b"]);
    log.application(None);
    let scaled =
        log.write(alice(), 0, ApplicationScaled { application_id: application("web"), replicas: Some(1) });
    let created = log.created(scaled);
    let requested = log.requested(created);
    let why = "node-a is the fullest node with room (40.0 % reserved, 2 containers); node-b has 1 container, 10.0 % reserved";
    log.placed(requested, "node-a", why);
    log.says(&[
        "web-1 is LAUNCHING on node-a since 03:02:11 (2026-11-22), generation 1.",
        "node-a was chosen (event 11): it is the fullest node with room (40.0 % reserved, 2 containers); node-b had \
         1 container, 10.0 % reserved.",
        "Its launch was asked for by alice (event 10).",
        "It was created (event 9) because alice scaled application web to 1 container (8).",
    ]);
}

#[test]
fn a_container_that_was_moved_for_balance_and_for_a_drain() {
    let mut log = Log::nodes(&["node-a", "node-b"]);
    log.running("node-a");
    let planned = log.reactor(
        "rebalancer",
        0,
        RebalancePlanned {
            moves: Vec::new(),
            remaining: 0,
            why: "the fullest node has 6 containers, the emptiest 4".into(),
        },
    );
    let why = "the counts of containers are evened";
    let moved = log.moved(planned, ("node-a", "node-b"), MigrationReason::Balance, why);
    log.launched(moved, "node-b", 2);
    log.says(&[
        "web-1 is UP on node-b since 03:02:14 (2026-11-22), generation 2.",
        "It was moved from node-a to node-b by the rebalancer (event 13) because the counts of containers were uneven \
         (12: the fullest node has 6 containers, the emptiest 4).",
    ]);

    let mut log = Log::nodes(&["node-a", "node-b"]);
    log.running("node-a");
    let drain = log.write(alice(), 0, NodeDrainStarted { node_id: node("node-a"), then_unmount: false });
    let why = "node-b has the fewest containers (1) of 12 nodes in service";
    let moved = log.moved(drain, ("node-a", "node-b"), MigrationReason::Drain, why);
    log.launched(moved, "node-b", 2);
    log.says(&[
        "web-1 is UP on node-b since 03:02:14 (2026-11-22), generation 2.",
        "It was moved by the rebalancer (event 13) because alice had node-a drained (12).",
        "node-b was chosen with 1 container, the fewest of 12 nodes in service.",
    ]);
    log.says_of(
        "node-a",
        &[
            "node-a is UP since 03:02:03 (2026-11-22), and draining.",
            "It was judged healthy (event 3) after 1 answered probe in a row.",
            "Its drain was begun by alice (event 12).",
            "It has 0 containers.",
        ],
    );
}

#[test]
fn a_container_that_cannot_be_placed() {
    let mut log = Log::nodes(&["node-a", "node-d", "full"]);
    log.cordon("node-d");
    log.fail("node-a");
    log.application(None);
    let created = log.created(0);
    let requested = log.requested(created);
    log.failed_launch(
        requested,
        0,
        "no node fits: node-a is DOWN; node-d is cordoned; full is full: its capacity is 0",
    );
    log.says(&[
        "web-1 is LAUNCHING since 03:02:21 (2026-11-22).",
        "It waits (event 21): no node fits: node-a is DOWN; node-d is cordoned; full is full: its capacity is 0.",
        "Its launch was asked for by alice (event 20).",
        "It was created by alice (event 19).",
        "full is full: its capacity is 0.",
        "node-a is DOWN (event 17: no answer in time).",
        "node-d is cordoned (by alice, event 10).",
    ]);
}

#[test]
fn a_lost_container_while_nothing_is_moved() {
    let mut log = Log::nodes(&["node-a", "node-b"]);
    log.running("node-b");
    let unhealthy = log.fail("node-b");
    let reason = "2 of 3 nodes are unhealthy at once".into();
    log.reactor("health", unhealthy, MigrationsPaused { unhealthy: 2, nodes: 3, reason });
    log.says(&[
        "web-1 is LOST on node-b since 03:02:18 (2026-11-22), generation 1.",
        "Nothing is moved at present (event 19): 2 of 3 nodes are unhealthy at once.",
        "node-b was judged unhealthy (event 18) after 3 failed probes (14, 16, 17: connection refused; no answer in time).",
    ]);
    log.says_of(
        "node-b",
        &[
            "node-b is DOWN since 03:02:18 (2026-11-22).",
            "It was judged unhealthy (event 18) after 3 failed probes (14, 16, 17: connection refused; no answer in time).",
            "It has 1 container.",
        ],
    );
}

#[test]
fn a_container_that_was_stopped_that_ended_that_failed_and_that_never_ran() {
    let mut log = Log::nodes(&["node-a"]);
    log.running("node-a");
    let (container_id, generation) = (container("web-1"), Some(Generation(1)));
    let requested = log.write(alice(), 0, ContainerStopRequested { container_id, then_delete: false });
    log.reactor("launcher", requested, ContainerStopped { container_id, generation, exit_code: Some(0) });
    let why = log
        .says(&["web-1 is DOWN since 03:02:10 (2026-11-22).", "Its stop was asked for by alice (event 9)."]);
    assert_eq!(why.steps.iter().map(|step| step.seq).collect::<Vec<_>>(), [10, 9]);

    let mut log = Log::nodes(&["node-a"]);
    let launched = log.running("node-a");
    let exited = ContainerExited {
        container_id,
        generation: Generation(1),
        node_id: node("node-a"),
        exit_code: Some(137),
        out_of_memory: true,
        restart_at: None,
    };
    log.reactor("health", launched, exited);
    log.says(&[
        "web-1 is DOWN since 03:02:09 (2026-11-22).",
        "Its process on node-a ended (event 9: out of memory, exit code 137); its restart policy does not have it \
         started again.",
        "It had been launched on node-a (event 8).",
        "node-a was chosen (event 7) with 0 containers.",
        "Its launch was asked for by alice (event 6).",
        "It was created by alice (event 5).",
    ]);

    let mut log = Log::nodes(&["node-a"]);
    log.application(None);
    let created = log.created(0);
    log.says(&["web-1 is CREATED since 03:02:05 (2026-11-22).", "It was created by alice (event 5)."]);
    let requested = log.requested(created);
    let placed = log.placed(requested, "node-a", "node-a has the fewest containers (0)");
    log.failed_launch(placed, 5, "no such image");
    log.says(&[
        "web-1 is FAILED since 03:02:08 (2026-11-22).",
        "Launch 5 on node-a failed (event 8: no such image); it was given up.",
        "node-a was chosen (event 7) with 0 containers.",
        "Its launch was asked for by alice (event 6).",
        "It was created by alice (event 5).",
    ]);
}

#[test]
fn what_was_pruned_is_told_as_far_as_it_is_known() {
    let mut log = Log::nodes(&["node-a", "node-b"]);
    log.running("node-a");
    let unhealthy = log.fail("node-a");
    let moved = log.moved(
        unhealthy,
        ("node-a", "node-b"),
        MigrationReason::Unhealthy,
        "node-b has the fewest containers (0)",
    );
    log.launched(moved, "node-b", 2);
    let whole = Arc::new(Cluster::default().fold(&log.0));
    let mut inquiry =
        Inquiry::begin(whole, Subject::Container(container("web-1")), Strategy::Spread).unwrap();
    while let Some(want) = inquiry.wants() {
        let mut found = log.read(want);
        found.retain(|envelope| !envelope.event.is_observation());
        inquiry.add(want, found);
    }
    assert_eq!(
        inquiry.tell().sentences[1],
        "It was moved by the rebalancer (event 19) because node-a was judged unhealthy (18) after 3 failed probes (no \
         answer in time)."
    );
}
