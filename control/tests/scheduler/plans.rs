//! The rebalance plan compared with every possible plan.

use crate::cluster::{AContainer, Draft, Log, a_labelled_application, a_node, cases, draft, node};
use crate::naive;
use kdaemon_control::scheduler::{Plan, plan};
use kdaemon_events::container::{ContainerMigrationCommanded, ContainerRemoved, MigrationReason};
use kdaemon_events::{ContainerId, NodeId, Strategy as Placing};
use kdaemon_projections::Cluster;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Carries out a whole plan.
fn carry_out(log: &mut Log, plan: &Plan) {
    for step in plan.moves() {
        let placement = log.cluster.container(step.container_id).unwrap().placement.clone().unwrap();
        log.add(ContainerMigrationCommanded {
            container_id: step.container_id,
            from_node_id: step.from_node_id,
            from_generation: placement.generation,
            node_id: step.node_id,
            generation: placement.generation.next(),
            reason: MigrationReason::Balance,
            start_first: true,
            evaluation: None,
        });
        log.launched(step.container_id);
        log.add(ContainerRemoved {
            container_id: step.container_id,
            generation: placement.generation,
            node_id: step.from_node_id,
        });
    }
}

fn counts(cluster: &Cluster) -> Vec<u32> {
    cluster.nodes().filter(|node| node.is_eligible()).map(|node| node.container_count()).collect()
}

/// The unevenness of counts: the sum of their squares, and the difference between the largest and the
/// smallest.
fn unevenness(counts: &[u32]) -> (u32, u32) {
    let spread = counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0);
    (counts.iter().map(|count| count * count).sum(), spread)
}

/// The least sum of squares of any assignment in which each container is on one of its allowed nodes, and the
/// fewest moves that lead to one.
fn best(allowed: &[(usize, Vec<usize>)], nodes: usize) -> (u32, usize) {
    fn go(allowed: &[(usize, Vec<usize>)], counts: &mut Vec<u32>, moves: usize, best: &mut (u32, usize)) {
        let Some(((home, targets), rest)) = allowed.split_first() else {
            *best = (*best).min((unevenness(counts).0, moves));
            return;
        };
        for target in targets {
            counts[*target] += 1;
            go(rest, counts, moves + usize::from(target != home), best);
            counts[*target] -= 1;
        }
    }
    let mut least = (u32::MAX, usize::MAX);
    go(allowed, &mut vec![0; nodes], 0, &mut least);
    least
}

prop_compose! {
    /// Up to 4 nodes and 7 containers, each with at most one required label.
    fn small()(
        nodes in vec(a_node(true), 1..5),
        applications in vec(a_labelled_application(), 3),
        containers in vec((0_usize..3, any::<prop::sample::Index>()), 0..8),
    ) -> Draft {
        let mut draft = Draft { nodes, applications, containers: Vec::new(), strategy: Placing::Spread };
        for (application, on) in containers {
            let constraints = &draft.applications[application].spec.constraints;
            let admitted = |node: &usize| constraints.iter().all(|c| c.admits(&draft.nodes[*node].labels));
            let admitted: Vec<usize> = (0..draft.nodes.len()).filter(admitted).collect();
            if !admitted.is_empty() {
                let node = Some(admitted[on.index(admitted.len())]);
                draft.containers.push(AContainer { application, node, failed: false });
            }
        }
        draft
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn plan_is_as_even_as_possible_and_shortest_without_constraints(draft in small()) {
        let mut log = draft.log();
        let first = plan(&log.cluster, Placing::Spread);
        let allowed: Vec<(usize, Vec<usize>)> = draft.containers.iter().map(|c| {
            let constraints = &draft.applications[c.application].spec.constraints;
            let admits = |n: &usize| constraints.iter().all(|c| c.admits(&draft.nodes[*n].labels));
            (c.node.unwrap(), (0..draft.nodes.len()).filter(admits).collect())
        }).collect();
        let (least, fewest) = best(&allowed, draft.nodes.len());
        let before = counts(&log.cluster);
        carry_out(&mut log, &first);
        let after = counts(&log.cluster);
        prop_assert_eq!(unevenness(&after).0, least, "{:?} -> {:?}", before, after);
        let is_free = allowed.iter().all(|(_, targets)| targets.len() == draft.nodes.len());
        if is_free {
            prop_assert!(unevenness(&after).1 <= 1, "{after:?}");
            prop_assert_eq!(first.moves().count(), fewest, "{:?} -> {:?}", before, after);
        }
        prop_assert!(first.moves().count() <= draft.containers.len(), "no container moves twice");
        prop_assert_eq!(plan(&log.cluster, Placing::Spread).chains, [] as [Vec<_>; 0], "a second plan right after it is empty");
    }

    #[test]
    fn plan_breaks_no_rule_and_leaves_nothing_to_plan(draft in draft(1..7, 0..24)) {
        let mut log = draft.log();
        let first = plan(&log.cluster, draft.strategy);
        prop_assert_eq!(&plan(&log.cluster, draft.strategy), &first, "same state, same plan");
        let before = counts(&log.cluster);
        let mut targets: BTreeMap<ContainerId, NodeId> = BTreeMap::new();
        for step in first.moves() {
            prop_assert!(targets.insert(step.container_id, step.node_id).is_none(), "no container moves twice");
            let target = log.cluster.node(step.node_id).unwrap();
            prop_assert!(!target.is_on_probation(log.cluster.at()));
            let spec = log.cluster.spec_of(log.cluster.container(step.container_id).unwrap());
            prop_assert_eq!(spec.strategy.unwrap_or(draft.strategy), Placing::Spread);
            // In the order of the plan, every step keeps every rule.
            prop_assert!(
                naive::admits(&log.cluster, target, step.container_id, &spec),
                "{:?} {:?}", step, first
            );
            carry_out(&mut log, &Plan { chains: vec![vec![*step]], ..Plan::default() });
        }
        let after = counts(&log.cluster);
        prop_assert!(first.chains.is_empty() || unevenness(&after) < unevenness(&before), "{before:?} -> {after:?}");
    }

    #[test]
    fn new_node_is_filled_without_moves_between_old_ones(
        containers in vec(0_usize..6, 0..40), nodes in 1_usize..6,
    ) {
        let plain = || crate::cluster::ANode { labels: BTreeMap::new(), capacity: None, engine: None, state: 0 };
        let mut draft = Draft {
            nodes: std::iter::repeat_with(plain).take(nodes).collect(),
            applications: vec![crate::cluster::AnApplication {
                spec: kdaemon_events::Spec { docker_image: "i".into(), ..Default::default() },
            }],
            containers: Vec::new(),
            strategy: Placing::Spread,
        };
        for (number, _) in containers.iter().enumerate() {
            // Starts even, as a cluster at rest.
            let node = Some(number % nodes);
            draft.containers.push(AContainer { application: 0, node, failed: false });
        }
        draft.nodes.push(plain());
        let newcomer = node(nodes);
        for step in plan(&draft.log().cluster, Placing::Spread).moves() {
            prop_assert_eq!(step.node_id, newcomer);
        }
    }
}

/// A chain of moves evens out what no single move can.
#[test]
fn node_is_relieved_through_another() {
    use crate::cluster::{ANode, AnApplication};
    use kdaemon_events::Spec;
    let labelled = |zone: &str| ANode {
        labels: [("zone".to_owned(), zone.to_owned())].into(),
        capacity: None,
        engine: None,
        state: 0,
    };
    let wants = |constraints: &str| AnApplication {
        spec: Spec {
            docker_image: "i".into(),
            constraints: vec![constraints.parse().unwrap()],
            ..Spec::default()
        },
    };
    // Containers of the full node may not move to the empty one, but to a third, whose containers may.
    let draft = Draft {
        nodes: vec![labelled("a"), labelled("b"), labelled("c")],
        applications: vec![wants("zone!=c"), wants("zone!=a")],
        containers: [(0, 0), (0, 0), (0, 0), (1, 1), (1, 1)]
            .map(|(application, node)| AContainer { application, node: Some(node), failed: false })
            .into(),
        strategy: Placing::Spread,
    };
    let mut log = draft.log();
    assert_eq!(counts(&log.cluster), [3, 2, 0]);
    let plan = plan(&log.cluster, Placing::Spread);
    carry_out(&mut log, &plan);
    assert_eq!(counts(&log.cluster), [2, 2, 1], "{plan:?}");
}
