//! Tests of sentences, and of their independence from names.

#![allow(clippy::unwrap_used)]

mod log;

use super::{Names, event, why};
use kdaemon_control::history::Inquiry;
use kdaemon_events::application::ApplicationScaled;
use kdaemon_events::cluster::{MigrationsPaused, RebalancePlanned};
use kdaemon_events::container::*;
use kdaemon_events::node::NodeDrainStarted;
use kdaemon_events::scheduling::*;
use kdaemon_events::{Generation, Strategy, Subject};
use kdaemon_projections::Cluster;
use log::{LogBuilder, alice, application, container, fewest, fits, node, rejected, score};
use proptest::prelude::{Just, ProptestConfig, prop, prop_assert_eq, prop_oneof, proptest};
use std::sync::Arc;

/// A log in which a container is moved from a failed node.
fn moved_from_a_failed_node() -> LogBuilder {
    let mut log = LogBuilder::nodes(&["node-a", "node-b", "node-c", "node-d"]);
    log.cordon("node-d");
    log.running("node-a");
    let unhealthy = log.fail("node-a");
    let others =
        [fits("node-c", 6), rejected("node-a", Rejection::Down), rejected("node-d", Rejection::Cordoned)];
    let evaluation = Some(fewest(4, others));
    let moved = log.moved(unhealthy, ("node-a", "node-b"), MigrationReason::Unhealthy, evaluation);
    log.launched(moved, "node-b", 2);
    log
}

#[test]
fn move_from_a_failed_node_cites_probes_and_other_nodes() {
    let log = moved_from_a_failed_node();
    let inquiry = log.says(&[
        "web-1 is UP on node-b since 2026-11-22 03:02:27 UTC (generation 2).",
        "It was moved by the rebalancer (event 26) because node-a was judged unhealthy (event 25) after 3 failed probes \
         (events 21, 23, 24: connection refused; no answer in time).",
        "node-b was chosen with 4 containers; node-c had 6 containers; node-a was DOWN; node-d was cordoned (by alice, \
         event 13).",
    ]);
    let steps: Vec<_> = inquiry
        .steps()
        .map(|(e, because)| {
            (e.seq.0, e.event.kind().as_str(), because.iter().map(|seq| seq.0).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        steps,
        [
            (27, "ContainerLaunched", vec![26]),
            (26, "ContainerMigrationCommanded", vec![13, 25]),
            (25, "NodeUnhealthy", vec![21, 23, 24]),
            (24, "NodeObserved", vec![]),
            (23, "NodeObserved", vec![]),
            (21, "NodeObserved", vec![]),
            (13, "NodeCordoned", vec![]),
        ]
    );
    let states = [inquiry.cluster()];
    let says: Vec<_> = inquiry.steps().map(|(envelope, _)| event(Names::of(&states), envelope)).collect();
    assert_eq!(says[0], "web-1 was launched on node-b (generation 2).");
    assert_eq!(says[1], "web-1 moves from node-a to node-b: node-a is unhealthy.");
    assert_eq!(says[2], "node-a was judged unhealthy after 3 failed probes: no answer in time.");
    assert_eq!(says[3], "A probe of node-a failed: no answer in time.");
    assert_eq!(says[6], "node-d was cordoned by alice.");
}

#[test]
fn launch_cites_its_requester() {
    let mut log = LogBuilder::nodes(&["node-a"]);
    log.running("node-a");
    log.says(&[
        "web-1 is UP on node-a since 2026-11-22 03:02:08 UTC (generation 1).",
        "node-a was chosen (event 7) with 0 containers.",
        "Its launch was requested by alice (event 6).",
        "It was created by alice (event 5).",
    ]);
}

#[test]
fn replica_cites_the_scaling_and_the_scores() {
    let mut log = LogBuilder::nodes(&["node-a", "node-b"]);
    log.application(None);
    let scaled =
        log.write(alice(), 0, ApplicationScaled { application_id: application("web"), replicas: Some(1) });
    let created = log.created(scaled);
    let requested = log.requested(created);
    let reserved = |containers, reserved_ppm| Score { reserved_ppm, ..score(containers) };
    let verdict = Verdict::Fits(reserved(1, 100_000));
    let evaluation = Evaluation {
        strategy: Strategy::Binpack,
        score: reserved(2, 400_000),
        eligible: 2,
        others: vec![NodeVerdict { node_id: node("node-b"), verdict }],
        ..Evaluation::default()
    };
    log.placed(requested, "node-a", evaluation);
    log.says(&[
        "web-1 is LAUNCHING on node-a since 2026-11-22 03:02:11 UTC (generation 1).",
        "node-a was chosen (event 11) with 2 containers, 40.0 % reserved; node-b had 1 container, 10.0 % reserved.",
        "Its launch was requested by alice (event 10).",
        "It was created (event 9) because alice scaled application web to 1 replica (event 8).",
    ]);
}

#[test]
fn balance_and_drain_moves_cite_the_plan_and_the_drain() {
    let mut log = LogBuilder::nodes(&["node-a", "node-b"]);
    log.running("node-a");
    let planned = RebalancePlanned { moves: Vec::new(), remaining: 0, most: 6, fewest: 4 };
    let planned = log.reactor("rebalancer", 0, planned);
    let moved = log.moved(planned, ("node-a", "node-b"), MigrationReason::Balance, None);
    log.launched(moved, "node-b", 2);
    log.says(&[
        "web-1 is UP on node-b since 2026-11-22 03:02:14 UTC (generation 2).",
        "It was moved from node-a to node-b by the rebalancer (event 13) because containers were unevenly distributed \
         (event 12: the fullest node has 6 containers, the emptiest 4).",
    ]);

    let mut log = LogBuilder::nodes(&["node-a", "node-b"]);
    log.running("node-a");
    let drain = log.write(alice(), 0, NodeDrainStarted { node_id: node("node-a"), then_unmount: false });
    let evaluation = Evaluation { eligible: 12, ..fewest(1, []) };
    let moved = log.moved(drain, ("node-a", "node-b"), MigrationReason::Drain, Some(evaluation));
    log.launched(moved, "node-b", 2);
    log.says(&[
        "web-1 is UP on node-b since 2026-11-22 03:02:14 UTC (generation 2).",
        "It was moved by the rebalancer (event 13) because alice drained node-a (event 12).",
        "node-b was chosen with 1 container, the fewest of 12 eligible nodes.",
    ]);
    log.says_of(
        "node-a",
        &[
            "node-a is UP since 2026-11-22 03:02:03 UTC and draining.",
            "It was judged healthy (event 3) after 1 successful probe.",
            "Draining was requested by alice (event 12) and is not finished.",
            "It has 0 containers.",
        ],
    );
}

#[test]
fn rejection_for_cpus_names_both_numbers() {
    let cluster = Cluster::default();
    let says = |rejection| super::rejection(Names::of(&[&cluster]), &rejection, super::Tense::Present);
    assert_eq!(
        says(Rejection::Cpus { wanted_millicpus: 1_500, free_millicpus: 250 }),
        "has 0.25 CPUs left to reserve (1.5 wanted)"
    );
    assert_eq!(
        says(Rejection::CpuLimit { limit_millicpus: 8_000, engine_millicpus: 4_000 }),
        "has 4 CPUs, fewer than the limit of 8"
    );
}

#[test]
fn unschedulable_container_lists_the_rejection_of_each_node() {
    let mut log = LogBuilder::nodes(&["node-a", "node-d", "full"]);
    log.cordon("node-d");
    log.fail("node-a");
    log.application(None);
    let created = log.created(0);
    let requested = log.requested(created);
    let rejected = [
        ("node-a", Rejection::Down),
        ("node-d", Rejection::Cordoned),
        ("full", Rejection::Full { capacity: 0 }),
    ];
    let rejected =
        rejected.map(|(name, rejection)| NodeRejection { node_id: node(name), rejection }).to_vec();
    let nodes = NoNodeFits { nodes: 3, rejected, ..NoNodeFits::default() };
    let reason = Unschedulable::NoNodeFits(nodes);
    let unschedulable = ContainerUnschedulable { container_id: container("web-1"), moving: None, reason };
    log.reactor("launcher", requested, unschedulable);
    log.says(&[
        "web-1 is LAUNCHING since 2026-11-22 03:02:21 UTC.",
        "It waits (event 21): no node fits: node-a is DOWN; node-d is cordoned; full is full (capacity 0).",
        "Its launch was requested by alice (event 20).",
        "It was created by alice (event 19).",
        "full is full (capacity 0).",
        "node-a is DOWN (event 17: no answer in time).",
        "node-d is cordoned (by alice, event 10).",
    ]);
}

#[test]
fn lost_container_cites_the_pause_of_migrations() {
    let mut log = LogBuilder::nodes(&["node-a", "node-b"]);
    log.running("node-b");
    let unhealthy = log.fail("node-b");
    log.reactor("health", unhealthy, MigrationsPaused { unhealthy: 2, nodes: 3 });
    log.says(&[
        "web-1 is LOST on node-b since 2026-11-22 03:02:18 UTC (generation 1).",
        "Migrations are paused (event 19): 2 of 3 nodes are unhealthy at once, so more likely the daemon's own network \
         failed; migrations resume when at most half of the nodes are unhealthy.",
        "node-b was judged unhealthy (event 18) after 3 failed probes (events 14, 16, 17: connection refused; no answer \
         in time).",
    ]);
    log.says_of(
        "node-b",
        &[
            "node-b is DOWN since 2026-11-22 03:02:18 UTC.",
            "It was judged unhealthy (event 18) after 3 failed probes (events 14, 16, 17: connection refused; no answer \
             in time).",
            "It has 1 container.",
        ],
    );
}

#[test]
fn down_and_failed_containers_cite_the_end() {
    let mut log = LogBuilder::nodes(&["node-a"]);
    log.running("node-a");
    let (container_id, generation) = (container("web-1"), Some(Generation(1)));
    let requested =
        log.write(alice(), 0, ContainerStopRequested { container_id, then_delete: false, volumes: false });
    log.reactor("launcher", requested, ContainerStopped { container_id, generation, exit_code: Some(0) });
    let inquiry = log.says(&[
        "web-1 is DOWN since 2026-11-22 03:02:10 UTC.",
        "Its stop was requested by alice (event 9).",
    ]);
    assert_eq!(inquiry.steps().map(|(envelope, _)| envelope.seq.0).collect::<Vec<_>>(), [10, 9]);

    let mut log = LogBuilder::nodes(&["node-a"]);
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
        "web-1 is DOWN since 2026-11-22 03:02:09 UTC.",
        "Its process on node-a ended (event 9: out of memory, exit code 137); its restart policy does not restart it.",
        "It was launched on node-a (event 8).",
        "node-a was chosen (event 7) with 0 containers.",
        "Its launch was requested by alice (event 6).",
        "It was created by alice (event 5).",
    ]);

    let mut log = LogBuilder::nodes(&["node-a"]);
    log.application(None);
    let created = log.created(0);
    log.says(&["web-1 is CREATED since 2026-11-22 03:02:05 UTC.", "It was created by alice (event 5)."]);
    let requested = log.requested(created);
    let placed = log.placed(requested, "node-a", fewest(0, []));
    log.abandoned(placed, 5, "no such image");
    log.says(&[
        "web-1 is FAILED since 2026-11-22 03:02:08 UTC.",
        "Launch attempt 5 on node-a failed (event 8: no such image), so it counts as failed; the next was due at 2026-11-22 03:12:00 UTC.",
        "node-a was chosen (event 7) with 0 containers.",
        "Its launch was requested by alice (event 6).",
        "It was created by alice (event 5).",
    ]);
}

#[test]
fn judgement_is_explained_without_its_pruned_probes() {
    let log = moved_from_a_failed_node();
    let whole = Arc::new(Cluster::default().fold(&log.0));
    let mut inquiry =
        Inquiry::begin(whole, Subject::Container(container("web-1")), Strategy::Spread).unwrap();
    while let Some(want) = inquiry.wants() {
        let mut found = log.read(want);
        found.retain(|envelope| !envelope.event.is_observation());
        inquiry.add(want, found);
    }
    assert_eq!(
        why(&inquiry)[1],
        "It was moved by the rebalancer (event 26) because node-a was judged unhealthy (event 25) after 3 failed probes \
         (no answer in time)."
    );
}

/// Names that contain separators and phrases of sentences.
fn hostile_name() -> impl proptest::strategy::Strategy<Value = String> {
    prop_oneof![
        Just("x; node-b is cordoned; y".to_owned()),
        Just("node-d was cordoned (by alice, event 13)".to_owned()),
        Just("a has the fewest containers (0)".to_owned()),
        Just("b is DOWN".to_owned()),
        Just("(event 5): no node fits".to_owned()),
        Just("was judged unhealthy".to_owned()),
        "[ -~]{1,40}",
        "\\PC{1,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn renaming_changes_only_the_names_in_explanations(names in prop::collection::vec(hostile_name(), 6)) {
        let log = moved_from_a_failed_node();
        let originals = ["node-a", "node-b", "node-c", "node-d", "web", "web-1"];
        let index = |name: &str| originals.iter().position(|original| *original == name).unwrap();
        let token = |index: usize| format!("\u{27e6}{index}\u{27e7}");
        // The number makes each name unique, like names in a cluster.
        let hostile = |index: usize| format!("{}{index}", names[index]);
        let plain = log.renamed(|name| token(index(name)));
        let odd = log.renamed(|name| hostile(index(name)));
        let in_odd_names = |sentence: &str| {
            (0..originals.len()).fold(sentence.to_owned(), |text, index| text.replace(&token(index), &hostile(index)))
        };
        let nodes = originals[..4].iter().map(|name| Subject::Node(node(name)));
        for subject in nodes.chain([Subject::Container(container("web-1"))]) {
            let (expected, found) = (plain.inquire(subject), odd.inquire(subject));
            let steps = |inquiry: &Inquiry| {
                inquiry.steps().map(|(envelope, because)| (envelope.seq, because)).collect::<Vec<_>>()
            };
            prop_assert_eq!(steps(&expected), steps(&found), "names change no cause");
            let expected: Vec<_> = why(&expected).iter().map(|sentence| in_odd_names(sentence)).collect();
            prop_assert_eq!(expected, why(&found));
        }
        let folded = [plain.0.clone(), odd.0.clone()].map(|events| Cluster::default().fold(&events));
        for (expected, found) in plain.0.iter().zip(&odd.0) {
            let expected = in_odd_names(&event(Names::of(&[&folded[0]]), expected));
            prop_assert_eq!(expected, event(Names::of(&[&folded[1]]), found));
        }
    }
}
