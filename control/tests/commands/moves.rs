//! Moves: evacuations, the rebalance plan, rolling updates.

use crate::fixture::*;
use kdaemon_control::commands::{Command, UpdateApplication};
use kdaemon_events::Generation;
use kdaemon_events::SpecChanges;
use kdaemon_events::container::{ContainerRemoved, ContainerUpdated, MigrationReason};

fn roll() -> Command {
    Command::RollApplication(application("web"))
}

#[test]
fn working_node_is_not_evacuated() {
    Given::cluster()
        .nodes(["a", "b"])
        .application("web")
        .running(["c"], "a")
        .when(evacuate("a"))
        .then_nothing();
}

#[test]
fn move_from_a_working_node_starts_the_new_one_first() {
    let given = || Given::cluster().nodes(["a", "b"]).application("web");
    let start_first = |given: Given| {
        let then = given.draining("a").when(evacuate("a")).then_kinds(["ContainerMigrationCommanded"]);
        then.container("c").is_served_by_predecessor()
    };
    assert!(start_first(given().running(["c"], "a")));
    // A container that does not run yet has no predecessor to keep.
    assert!(!start_first(given().container("c").placed_on("a")));
}

#[test]
fn old_placement_serves_until_the_new_one_is_up() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a").draining("a");
    let moving = given.when(evacuate("a"));
    assert_eq!(moving.container("c").status().as_str(), "UP");
    let up = moving
        .and_when(launched("c", 2))
        .then(["ContainerLaunched container=c engine=e-2 generation=2 image=sha256:1 node=b"]);
    assert!(up.container("c").is_served_by_predecessor(), "the new one does not serve yet");
    let moved = up.and_given().seconds_later(4).when(confirm("c")).then_nothing();
    let moved = moved.and_given().seconds_later(1).when(confirm("c")).then([
        "ContainerReady container=c generation=2",
        "ContainerMigrated container=c generation=2 node=b",
    ]);
    let moved = moved.because(["ContainerLaunched c", "ContainerReady c"]);
    assert!(!moved.container("c").is_served_by_predecessor());
    assert_eq!(moved.container("c").migrating, None);
}

#[test]
fn bound_container_stays_on_a_drained_node_with_the_reason() {
    let given = Given::cluster().nodes(["a", "b"]).application("web");
    let given = given.spec(|spec| spec.volumes = vec!["data:/data".parse().unwrap()]).running(["c"], "a");
    let then = given.draining("a").when(evacuate("a")).then([
        "ContainerUnschedulable container=c moving=drain reason=no node fits of 2: a draining; b volumes_elsewhere{node=a,volume=data}",
    ]);
    let then = then.because(["NodeDrainStarted a"]);
    assert_eq!(then.container("c").status().as_str(), "UP");
    then.and_when(evacuate("a")).then_nothing();
}

#[test]
fn unschedulable_container_of_an_unhealthy_node_waits_with_the_reason() {
    let given = Given::cluster().nodes(["a"]).application("web").running(["c"], "a").node_down("a");
    let then = given
        .when(evacuate("a"))
        .then(["ContainerUnschedulable container=c moving=unhealthy reason=no node fits of 1: a down"]);
    assert_eq!(then.container("c").status().as_str(), "LOST");
    then.and_when(evacuate("a")).then_nothing();
}

#[test]
fn only_wanted_containers_are_evacuated() {
    let given = Given::cluster().nodes(["a", "b"]).application("web");
    let given = given.container("c1").up_on("a").stopping().container("c2").down_on("a").draining("a");
    given.when(evacuate("a")).then_nothing();
}

#[test]
fn drain_is_bounded_and_evacuation_of_an_unhealthy_node_is_not() {
    let given = || {
        let given =
            Given::cluster().nodes(["a", "b"]).application("web").spec(|s| s.disruption_limit = Some(9));
        let given = given.running(["c1", "c2", "c3"], "a");
        given.policy(|policy| policy.max_migrations = 2)
    };
    let drained = given().draining("a").when(evacuate("a"));
    let drained = drained.then_kinds(["ContainerMigrationCommanded", "ContainerMigrationCommanded"]);
    drained
        .and_when(evacuate("a"))
        .then_nothing()
        .and_it_serves("c1", 2)
        .and_when(evacuate("a"))
        .then_kinds(["ContainerMigrationCommanded"]);
    given().node_down("a").when(evacuate("a")).then_kinds(["ContainerMigrationCommanded"; 3]);
}

#[test]
fn disruption_limit_bounds_moves_of_an_application() {
    let given = |limit: Option<u32>, count: usize| {
        let names: Vec<_> = (1..=count).map(|n| format!("c{n}")).collect();
        let given =
            Given::cluster().nodes(["a", "b"]).application("web").spec(|s| s.disruption_limit = limit);
        given.running(names.iter().map(String::as_str), "a")
    };
    let moves = |given: Given, command: Command| given.when(command).moved();
    for (limit, count, expected) in
        [(Some(1), 8, 1), (Some(3), 8, 3), (None, 8, 2), (None, 2, 1), (None, 1, 1)]
    {
        assert_eq!(moves(given(limit, count).draining("a"), evacuate("a")), expected, "{limit:?} of {count}");
    }
    assert_eq!(moves(given(Some(1), 8), Command::Rebalance), 1);
    // A stopped container needs no consideration, but counts: the others wait for it.
    let given = given(Some(1), 3).container("c9").placed_on("b").draining("a").draining("b").nodes(["c"]);
    assert_eq!(moves(given.clone(), evacuate("a")), 0);
    assert_eq!(moves(given, evacuate("b")), 1);
    // Each of two applications has its own limit.
    let two = Given::cluster().nodes(["a", "b"]).application("one").running(["c1", "c2"], "a");
    let two = two.application("two").running(["d1", "d2"], "a").draining("a");
    assert_eq!(moves(two, evacuate("a")), 2);
}

#[test]
fn drain_continues_while_migrations_are_paused() {
    let given =
        Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a").draining("a").paused();
    given.when(evacuate("a")).then_kinds(["ContainerMigrationCommanded"]);
}

#[test]
fn uneven_counts_are_rebalanced() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").spec(|s| s.disruption_limit = Some(2));
    let given = given.running(["c1", "c2", "c3", "c4"], "a");
    let then = given.when(Command::Rebalance).then([
        "RebalancePlanned fewest=0 most=4 moves=[{\"container_id\":\"c1\",\"from_node_id\":\"a\",\"node_id\":\"b\"},\
         {\"container_id\":\"c2\",\"from_node_id\":\"a\",\"node_id\":\"b\"}] remaining=0",
        "ContainerMigrationCommanded container=c1 from_generation=1 from_node=a generation=2 node=b \
         reason=balance start_first=true",
        "ContainerMigrationCommanded container=c2 from_generation=1 from_node=a generation=2 node=b \
         reason=balance start_first=true",
    ]);
    then.because(["nothing", "RebalancePlanned", "RebalancePlanned"])
        .and_when(Command::Rebalance)
        .then_nothing();
}

#[test]
fn counts_within_one_of_each_other_are_even() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").running(["c1"], "a");
    given.when(Command::Rebalance).then_nothing();
    Given::cluster().when(Command::Rebalance).then_nothing();
}

#[test]
fn plan_is_carried_out_in_bounded_steps() {
    let given = Given::cluster().nodes(["a", "b"]).application("web");
    let given = given.running(["c1", "c2", "c3", "c4", "c5", "c6"], "a");
    let then = given.policy(|policy| policy.max_migrations = 1).when(Command::Rebalance);
    let then = then.then_kinds(["RebalancePlanned", "ContainerMigrationCommanded"]);
    then.and_when(Command::Rebalance)
        .then_nothing()
        .and_it_serves("c1", 2)
        .and_when(Command::Rebalance)
        .then([
            "RebalancePlanned fewest=1 most=5 moves=[{\"container_id\":\"c2\",\"from_node_id\":\"a\",\"node_id\":\"b\"}] \
             remaining=1",
            "ContainerMigrationCommanded container=c2 from_generation=1 from_node=a generation=2 node=b \
             reason=balance start_first=true",
        ]);
}

#[test]
fn pinned_containers_do_not_move_for_balance() {
    let nodes = || Given::cluster().nodes(["a", "b"]).application("web");
    // Volumes.
    let bound = nodes().spec(|s| s.volumes = vec!["data:/data".parse().unwrap()]);
    bound.running(["c1", "c2"], "a").when(Command::Rebalance).then_nothing();
    // Its owner pinned it.
    let mut pinned = nodes().running(["c1", "c2"], "a");
    for name in ["c1", "c2"] {
        pinned = pinned.event(ContainerUpdated {
            container_id: container(name),
            name: None,
            user_id: None,
            application_id: None,
            env_variables: None,
            balance: Some(false),
        });
    }
    pinned.when(Command::Rebalance).then_nothing();
    // Already moving, or not running.
    let starting = nodes().container("c1").placed_on("a").container("c2").up_on("a").stopping();
    starting.when(Command::Rebalance).then_nothing();
    // Constraints.
    let given = Given::cluster().node("a").up().labelled("zone", "x").nodes(["b"]).application("web");
    let given = given.spec(|s| s.constraints = vec!["zone==x".parse().unwrap()]);
    given.running(["c1", "c2"], "a").when(Command::Rebalance).then_nothing();
}

#[test]
fn balance_ignores_nodes_that_take_no_containers() {
    let three = || Given::cluster().nodes(["a"]).application("web").running(["c1", "c2", "c3"], "a");
    three().nodes(["b"]).node_down("b").when(Command::Rebalance).then_nothing();
    three().node("b").up().cordoned().when(Command::Rebalance).then_nothing();
    three().nodes(["b"]).draining("b").when(Command::Rebalance).then_nothing();
    three().node("b").when(Command::Rebalance).then_nothing();
    three()
        .nodes(["b"])
        .when(Command::Rebalance)
        .then_kinds(["RebalancePlanned", "ContainerMigrationCommanded"]);
    three().nodes(["b"]).paused().when(Command::Rebalance).then_nothing();
}

#[test]
fn plan_never_claims_a_port_or_slot_twice() {
    let given = Given::cluster().nodes(["a"]).application("web").ports("8080:80").running(["c1"], "a");
    let given = given.application("two").ports("8080:80").event(kdaemon_events::node::NodeMounted {
        node_id: node("b"),
        name: "b".into(),
        user_id: None,
        endpoint: endpoint("b"),
        labels: [].into(),
        capacity: None,
    });
    let given = given.application("free").running(["x1", "x2", "x3", "x4"], "a");
    let given = given.node("n").up();
    let then = given.when(Command::Rebalance);
    then.then_kinds(["RebalancePlanned", "ContainerMigrationCommanded", "ContainerMigrationCommanded"]);
    let given = Given::cluster().nodes(["a"]).application("web").running(["c1", "c2", "c3", "c4"], "a");
    let then = given.node("b").up().capacity(1).when(Command::Rebalance);
    then.then_kinds(["RebalancePlanned", "ContainerMigrationCommanded"]);
}

#[test]
fn changed_application_rolls_one_container_at_a_time() {
    let change = UpdateApplication {
        spec: SpecChanges { docker_image: Some("image:2".into()), ..SpecChanges::default() },
        ..update_application("web")
    };
    let given =
        Given::cluster().nodes(["a", "b"]).application("web").running(["c1"], "a").running(["c2"], "b");
    given
        .when(roll())
        .then_nothing()
        .and_when(Command::UpdateApplication(Box::new(change)))
        .and_when(roll())
        .then([
            "RolloutStarted application=web outdated=2",
            "ContainerMigrationCommanded container=c1 from_generation=1 from_node=a generation=2 node=a \
             reason=update start_first=true (0; b 1)",
        ])
        .because(["ApplicationUpdated web", "RolloutStarted web"])
        .and_when(roll())
        .then_nothing()
        .and_when(launched("c1", 2))
        .and_when(roll())
        .then_nothing() // it does not serve yet
        .and_given()
        .seconds_later(5)
        .when(confirm("c1"))
        .and_when(roll())
        .then_kinds(["ContainerMigrationCommanded"])
        .and_it_serves("c2", 2)
        .and_when(roll())
        .then(["RolloutCompleted application=web"])
        .and_when(roll())
        .then_nothing();
}

#[test]
fn fixed_port_is_released_before_an_update_on_the_same_node() {
    let given = Given::cluster().nodes(["a"]).application("web").ports("8080:80").running(["c"], "a");
    let given = given.spec(|spec| spec.docker_image = "image:2".into());
    given.when(roll()).then([
        "RolloutStarted application=web outdated=1",
        "ContainerMigrationCommanded container=c from_generation=1 from_node=a generation=2 node=a \
             reason=update start_first=false (0)",
    ]);
}

#[test]
fn stopped_containers_are_not_rolled() {
    let given = Given::cluster().nodes(["a"]).application("web").container("c").down_on("a");
    given.spec(|spec| spec.docker_image = "image:2".into()).when(roll()).then_nothing();
}

#[test]
fn container_whose_target_fails_moves_again() {
    let given = Given::cluster().nodes(["a", "b", "c"]).application("web").running(["x"], "a");
    let given = given.moving_to("b", MigrationReason::Balance, true).node_down("b");
    let then = given
        .when(evacuate("b"))
        .then(["ContainerMigrationCommanded container=x from_generation=2 from_node=b generation=3 node=a \
         reason=unhealthy start_first=false (0; c 0; b down)"]);
    assert!(then.container("x").is_served_by_predecessor(), "the one on a serves on");
}

#[test]
fn leaving_or_lost_containers_are_not_rolled() {
    let given =
        || Given::cluster().nodes(["a", "b"]).application("web").running(["c1"], "a").running(["c2"], "b");
    let changed = |given: Given| given.spec(|spec| spec.docker_image = "image:2".into());
    for given in [given().draining("a"), given().node_down("a")] {
        let then = changed(given).when(roll()).then_kinds(["RolloutStarted", "ContainerMigrationCommanded"]);
        assert!(
            then.container("c2").migrating.is_some(),
            "the one that stays is replaced, and waits for no other"
        );
    }
}

#[test]
fn failed_move_that_waits_takes_no_turn() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a").node_down("a");
    let given = given.moving_to("b", MigrationReason::Unhealthy, false).launch_failed(1, true).node_down("b");
    assert!(given.cluster.migrating().next().is_some());
    let then = given.when(place("c")).then_kinds(["ContainerUnschedulable"]);
    assert_eq!(then.container("c").migrating, None);
}

#[test]
fn failed_move_ends_when_its_origin_stops_serving() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a");
    let given = given.moving_to("b", MigrationReason::Balance, true).launch_failed(1, true);
    assert!(given.cluster.migrating().next().is_some());
    let gone =
        ContainerRemoved { container_id: container("c"), generation: Generation(1), node_id: node("a") };
    assert!(given.event(gone).cluster.migrating().next().is_none());
}

#[test]
fn counts_are_evened_despite_an_affinity_to_a_leaving_container() {
    let given = Given::cluster().nodes(["a", "b", "c"]).application("base").running(["x"], "b");
    let given = given.application("web").spec(|spec| {
        (spec.affinity, spec.disruption_limit) = (vec![application("base")], Some(3));
    });
    let then = given.running(["w1", "w2", "w3"], "a").when(Command::Rebalance).then_kinds([
        "RebalancePlanned",
        "ContainerMigrationCommanded",
        "ContainerMigrationCommanded",
    ]);
    let on = |name: &str| then.container(name).placement.as_ref().map(|placement| placement.node_id);
    assert_eq!((on("w1"), on("x")), (Some(node("b")), Some(node("c"))));
}

#[test]
fn container_that_failed_on_a_down_node_is_not_lost() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").container("c").placed_on("a");
    let given = given.node_down("a").launch_failed(1, true);
    assert!(!given.cluster.container(container("c")).unwrap().lost);
}
