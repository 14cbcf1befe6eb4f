//! Every choice equals the naive one and explains itself.

use crate::cluster::{Draft, a_node, an_application, cases, container, draft, node};
use crate::naive;
use crate::written;
use kdaemon_control::scheduler::{Request, evacuate, explain, place};
use kdaemon_events::scheduling::{VERDICTS_LIMIT, Verdict};
use kdaemon_events::{NodeId, Strategy as Placing};
use kdaemon_projections::Cluster;
use proptest::prelude::*;

/// Places each waiting container, one after another, and checks each choice.
fn place_all(draft: &Draft) -> Result<Cluster, TestCaseError> {
    let mut log = draft.log();
    for number in 0..draft.containers.len() {
        let id = container(number);
        let before = log.cluster.clone();
        let c = before.container(id).unwrap();
        let spec = before.spec_of(c);
        let request = Request::new(&before, c, &spec, None, draft.strategy);
        let expected = naive::place(&before, id, draft.strategy);
        let verdicts = explain(&before, &request);
        prop_assert_eq!(verdicts.len(), before.nodes().len(), "every node has its verdict");
        for verdict in &verdicts {
            let node = before.node(verdict.node_id).unwrap();
            let admits = naive::admits(&before, node, id, &spec);
            prop_assert_eq!(matches!(verdict.verdict, Verdict::Fits(_)), admits, "{:?}", verdict);
        }
        match place(&before, &request) {
            Ok(choice) => {
                prop_assert_eq!(Some(choice.node_id), expected, "{}: {:?}", number, choice);
                prop_assert_eq!(verdicts[0].node_id, choice.node_id, "the best comes first");
                prop_assert_eq!(
                    &Verdict::Fits(choice.evaluation.score.clone()),
                    &verdicts[0].verdict,
                    "the recorded score is that of the chosen node"
                );
                prop_assert!(choice.evaluation.others.len() <= VERDICTS_LIMIT);
                prop_assert!(
                    choice.evaluation.others.iter().all(|other| verdicts.contains(other)),
                    "recorded verdicts are true: {:?}",
                    choice.evaluation
                );
                let again = place(&before, &request).map(|again| again == choice);
                prop_assert_eq!(again, Ok(true), "same state, same decision");
                if c.residence().is_none() {
                    log.place(id, choice.node_id);
                }
            }
            Err(unschedulable) => {
                prop_assert_eq!(expected, None, "{:?}", unschedulable);
                prop_assert_eq!(unschedulable.rejected.len(), before.nodes().len(), "each node is rejected");
                let recorded = unschedulable.bounded();
                let counted = recorded.rejections.values().sum::<u32>() as usize;
                prop_assert!(recorded.rejected.len() <= VERDICTS_LIMIT);
                prop_assert_eq!(recorded.rejected.len() + counted, before.nodes().len());
            }
        }
    }
    Ok(log.cluster)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn each_choice_equals_the_naive_one(draft in draft(1..8, 1..20)) {
        place_all(&draft)?;
    }

    #[test]
    fn choices_among_many_nodes_equal_the_naive_ones(draft in draft(70..90, 1..6)) {
        place_all(&draft)?;
    }

    #[test]
    fn new_node_takes_the_next_containers_and_changes_no_other_choice(
        draft in draft(1..8, 1..12), new in a_node(true), app in an_application(4),
    ) {
        let mut grown = draft.clone();
        grown.applications[0] = app;
        let small = grown.clone();
        grown.nodes.push(new);
        let (small, large) = (small.log(), grown.log());
        let newcomer = node(grown.nodes.len() - 1);
        for number in 0..grown.containers.len() {
            let choose = |cluster: &Cluster| -> Option<NodeId> {
                let c = cluster.container(container(number)).unwrap();
                let spec = cluster.spec_of(c);
                place(cluster, &Request::new(cluster, c, &spec, None, grown.strategy)).ok().map(|choice| choice.node_id)
            };
            let (before, after) = (choose(&small.cluster), choose(&large.cluster));
            prop_assert!(after == before || after == Some(newcomer), "{before:?} {after:?}");
        }
    }

    #[test]
    fn evacuation_places_containers_one_after_another(
        draft in draft(2..8, 1..24), lost in any::<prop::sample::Index>(),
    ) {
        let mut log = draft.log();
        let lost = node(lost.index(draft.nodes.len()));
        log.unhealthy(lost);
        let residents: Vec<_> = log.cluster.node(lost).unwrap().residents.iter().copied().collect();
        let before = log.cluster.clone();
        for (id, choice) in evacuate(&before, residents, draft.strategy) {
            let expected = naive::place(&log.cluster, id, draft.strategy);
            prop_assert_eq!(choice.as_ref().ok().map(|choice| choice.node_id), expected, "{:?}", choice);
            if let Ok(choice) = choice {
                let placement = log.cluster.container(id).unwrap().placement.clone().unwrap();
                log.add(kdaemon_events::container::ContainerMigrationCommanded {
                    container_id: id,
                    from_node_id: lost,
                    from_generation: placement.generation,
                    node_id: choice.node_id,
                    generation: placement.generation.next(),
                    reason: kdaemon_events::container::MigrationReason::Unhealthy,
                    start_first: false,
                    evaluation: Some(Box::new(choice.evaluation)),
                });
            }
        }
    }
}

#[test]
fn an_evaluation_records_what_its_strategy_compares() {
    let mut given = Draft {
        nodes: Vec::new(),
        applications: Vec::new(),
        containers: Vec::new(),
        strategy: Placing::Spread,
    };
    use crate::cluster::{AContainer, ANode, AnApplication};
    use kdaemon_events::{MilliCpus, Resources, Spec};
    for (zone, disk) in [("a", "hdd"), ("a", "ssd"), ("b", "hdd")] {
        let labels = [("zone".to_owned(), zone.to_owned()), ("disk".to_owned(), disk.to_owned())];
        given.nodes.push(ANode {
            labels: labels.into(),
            capacity: None,
            engine: Some((4_000, 8_192)),
            state: 0,
        });
    }
    let resources = Resources { cpus: Some(MilliCpus(1_000)), ..Resources::default() };
    let spec = Spec { docker_image: "i".into(), resources, ..Spec::default() };
    given.applications.push(AnApplication { spec });
    for node in [Some(0), Some(0), Some(1), None] {
        given.containers.push(AContainer { application: 0, node, failed: false });
    }
    let says = |change: &dyn Fn(&mut Spec), expected: &str| {
        let mut given = given.clone();
        change(&mut given.applications[0].spec);
        let cluster = given.log().cluster;
        let c = cluster.container(container(3)).unwrap();
        let spec = cluster.spec_of(c);
        let choice = place(&cluster, &Request::new(&cluster, c, &spec, None, given.strategy));
        let names: written::Names = cluster.nodes().map(|node| (node.id.0, node.name.clone())).collect();
        let text = match choice {
            Ok(choice) => {
                format!("{} {}", names[&choice.node_id.0], written::evaluation(&choice.evaluation, &names))
            }
            Err(nodes) => written::no_node_fits(&nodes, &names),
        };
        assert_eq!(text, expected);
    };
    says(&|_| (), "n2 0; n1 1 250000ppm; n0 2 500000ppm");
    says(&|spec| spec.strategy = Some(Placing::Binpack), "n0 2 500000ppm; n1 1 250000ppm; n2 0");
    says(&|spec| spec.strategy = Some(Placing::Resources), "n2 0; n1 1 250000ppm; n0 2 500000ppm");
    says(
        &|spec| spec.preferences = vec!["disk==ssd".parse().unwrap()],
        "n1 1 250000ppm 1/1; n2 0 0/1; n0 2 500000ppm 0/1",
    );
    says(&|spec| spec.spread_over = Some("zone".into()), "n2 0 b:0; n1 1 250000ppm a:3; n0 2 500000ppm a:3");
    says(
        &|spec| {
            spec.anti_affinity = true;
            spec.constraints = vec!["zone==a".parse().unwrap()];
        },
        "no node fits of 3: n0 anti_affinity; n1 anti_affinity; n2 constraint{constraint=zone==a}",
    );
}
