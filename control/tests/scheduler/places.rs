//! Every choice is the one that a naive look at every node makes, and explains itself.

use crate::cluster::{Draft, a_node, an_application, cases, container, draft, node};
use crate::naive;
use kdaemon_control::scheduler::{Request, evacuate, explain, place};
use kdaemon_events::{NodeId, Strategy as Placing};
use kdaemon_projections::Cluster;
use proptest::prelude::*;

/// Places each container that waits, one after the other, and checks each choice.
fn place_all(draft: &Draft) -> Result<Cluster, TestCaseError> {
    let mut log = draft.log();
    for number in 0..draft.containers.len() {
        let id = container(number);
        let before = log.cluster.clone();
        let c = before.container(id).unwrap();
        let spec = before.spec_of(c);
        let request = Request::new(c, &spec, None, draft.strategy);
        let expected = naive::place(&before, id, draft.strategy);
        let verdicts = explain(&before, &request);
        prop_assert_eq!(verdicts.len(), before.nodes().len(), "every node has its verdict");
        for verdict in &verdicts {
            let node = before.node(verdict.node_id).unwrap();
            let admits = naive::admits(&before, node, id, &spec);
            prop_assert_eq!(verdict.outcome.is_ok(), admits, "{}", verdict);
        }
        match place(&before, &request) {
            Ok(choice) => {
                prop_assert_eq!(Some(choice.node_id), expected, "{}: {}", number, choice.why);
                prop_assert_eq!(verdicts[0].node_id, choice.node_id, "the best comes first");
                let name = &before.node(choice.node_id).unwrap().name;
                prop_assert!(choice.why.starts_with(name.as_str()), "{}", choice.why);
                let again = place(&before, &request).map(|again| again == choice);
                prop_assert_eq!(again, Ok(true), "same state, same decision");
                if c.residence().is_none() {
                    log.place(id, choice.node_id);
                }
            }
            Err(unschedulable) => {
                prop_assert_eq!(expected, None, "{}", unschedulable);
                prop_assert_eq!(unschedulable.reasons.len(), before.nodes().len(), "each node says why not");
            }
        }
    }
    Ok(log.cluster)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn each_choice_is_that_of_a_naive_look_at_every_node(draft in draft(1..8, 1..20)) {
        place_all(&draft)?;
    }

    #[test]
    fn where_there_are_many_nodes_the_index_finds_the_same(draft in draft(70..90, 1..6)) {
        place_all(&draft)?;
    }

    #[test]
    fn a_new_node_takes_what_comes_and_changes_no_other_choice(
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
                place(cluster, &Request::new(c, &spec, None, grown.strategy)).ok().map(|choice| choice.node_id)
            };
            let (before, after) = (choose(&small.cluster), choose(&large.cluster));
            prop_assert!(after == before || after == Some(newcomer), "{before:?} {after:?}");
        }
    }

    #[test]
    fn an_evacuation_sends_each_where_it_would_be_placed_after_the_others(
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
                    why: choice.why,
                });
            }
        }
    }
}

/// What operators read.
#[test]
fn each_strategy_says_why() {
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
    let resources = Resources { cpus: Some(MilliCpus(1_000)), memory_bytes: None };
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
        let choice = place(&cluster, &Request::new(c, &spec, None, given.strategy));
        let text = choice.map_or_else(|unschedulable| unschedulable.to_string(), |choice| choice.why);
        assert_eq!(text, expected);
    };
    says(&|_| (), "n2 has the fewest containers (0); n1 has 1 container; n0 has 2 containers");
    says(
        &|spec| spec.strategy = Some(Placing::Binpack),
        "n0 is the fullest node with room (50.0 % reserved, 2 containers); n1 has 1 container, 25.0 % reserved; \
         n2 has 0 containers, 0.0 % reserved",
    );
    says(
        &|spec| spec.strategy = Some(Placing::Resources),
        "n2 has the smallest share reserved (0.0 %); n1 has 1 container, 25.0 % reserved; \
         n0 has 2 containers, 50.0 % reserved",
    );
    says(
        &|spec| spec.preferences = vec!["disk==ssd".parse().unwrap()],
        "n1 is the best fit (1 container, 1 of 1 preferences); n2 has 0 containers, 0 of 1 preferences; \
         n0 has 2 containers, 0 of 1 preferences",
    );
    says(
        &|spec| spec.spread_over = Some("zone".into()),
        "n2 is the best fit (0 containers, 0 of its application in b); n1 has 1 container, 3 of its application in a; \
         n0 has 2 containers, 3 of its application in a",
    );
    says(
        &|spec| {
            spec.anti_affinity = true;
            spec.constraints = vec!["zone==a".parse().unwrap()];
        },
        "no node fits: n0 has a container of this application already; \
         n1 has a container of this application already; n2 does not satisfy the constraint zone==a",
    );
}
