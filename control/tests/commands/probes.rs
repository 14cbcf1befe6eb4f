//! Probes: the conclusions drawn from them, and their consequences.

use crate::fixture::*;
use kdaemon_control::commands::{Command, Probe, ProbeResult};
use kdaemon_control::observed::ContainerState;
use kdaemon_events::Seq;
use kdaemon_events::container::MigrationReason;
use kdaemon_events::failure::Failure;
use kdaemon_events::node::EngineFacts;

const FAILED: &str = r#"NodeObserved latency_ms=2 node=a outcome={"failure":{"kind":"no_connection","quote":"no route to host"},"result":"failed"}"#;
const ANSWERED: &str = r#"NodeObserved latency_ms=2 node=a outcome={"result":"answered"}"#;

fn listed(running: u32) -> String {
    format!(
        r#"NodeObserved latency_ms=2 node=a outcome={{"foreign":0,"result":"answered","running":{running}}}"#
    )
}

fn web() -> Given {
    Given::cluster().nodes(["a", "b"]).application("web")
}

#[test]
fn node_that_never_answered_is_down_at_once() {
    let then = Given::cluster().node("a").when(failed_probe("a"));
    let then =
        then.then([FAILED, "NodeUnhealthy failure=no_connection{quote=no route to host} failures=1 node=a"]);
    then.because(["nothing", "NodeObserved a"]).and_when(failed_probe("a")).then([FAILED]);
}

#[test]
fn new_node_is_up_with_its_first_answer() {
    Given::cluster()
        .node("a")
        .when(probe("a"))
        .then([ANSWERED, "NodeHealthy node=a successes=1"])
        .because(["nothing", "NodeObserved a"])
        .and_when(probe("a"))
        .then([ANSWERED]);
}

#[test]
fn node_is_down_after_three_failures_in_a_row() {
    let twice = Given::cluster().nodes(["a"]).when(failed_probe("a")).then([FAILED]);
    let twice = twice.and_when(failed_probe("a")).then([FAILED]);
    let then = twice.and_when(probe("a")).then([ANSWERED]);
    // The series was broken and starts over.
    then.and_when(failed_probe("a"))
        .then([FAILED])
        .and_when(failed_probe("a"))
        .then([FAILED])
        .and_when(failed_probe("a"))
        .then([FAILED, "NodeUnhealthy failure=no_connection{quote=no route to host} failures=3 node=a"]);
}

#[test]
fn node_with_another_nodes_engine_is_down_at_once() {
    let given = Given::cluster().nodes(["a", "b"]);
    let engine = Some(facts("b"));
    let result = ProbeResult::Answered { engine, listed: None };
    let latency = std::time::Duration::from_millis(2);
    let probe = Probe { node_id: node("a"), endpoint: endpoint("a"), latency, result };
    given.when(Command::RecordProbe(probe)).then_kinds(["NodeObserved", "NodeUnhealthy"]);
}

#[test]
fn node_is_up_after_two_answers_in_a_row() {
    let down = || {
        Given::cluster()
            .nodes(["a"])
            .when(failed_probe("a"))
            .and_when(failed_probe("a"))
            .and_when(failed_probe("a"))
    };
    let then = down().and_when(probe("a")).then([ANSWERED]).and_when(failed_probe("a")).then([FAILED]);
    then.and_when(probe("a"))
        .then([ANSWERED])
        .and_when(probe("a"))
        .then([ANSWERED, "NodeHealthy node=a successes=2"]);
}

#[test]
fn flap_damping_limits_are_settings() {
    let given = Given::cluster().nodes(["a"]).policy(|policy| {
        policy.unhealthy_after = 1;
        policy.healthy_after = 1;
    });
    given
        .when(failed_probe("a"))
        .then_kinds(["NodeObserved", "NodeUnhealthy"])
        .and_when(probe("a"))
        .then_kinds(["NodeObserved", "NodeHealthy"]);
}

#[test]
fn probe_of_an_unknown_node_or_old_endpoint_is_ignored() {
    Given::cluster().when(probe("a")).then_nothing();
    let old = Command::RecordProbe(Probe {
        node_id: node("a"),
        endpoint: endpoint("elsewhere"),
        latency: std::time::Duration::ZERO,
        result: ProbeResult::Failed(Failure::refused("x").into()),
    });
    Given::cluster().nodes(["a"]).when(old).then_nothing();
}

#[test]
fn engine_facts_are_recorded_when_they_change() {
    let given = || Given::cluster().nodes(["a"]);
    given().when(probe_with_facts("a", facts("a"))).then([ANSWERED]);
    let newer = EngineFacts { version: "29.0".into(), ..facts("a") };
    let then = given().when(probe_with_facts("a", newer.clone())).then_kinds(["NodeObserved"]);
    assert_eq!(then.node("a").engine, Some(newer));
}

#[test]
fn containers_of_a_failed_node_are_lost_and_move() {
    let given = web().running(["c"], "a").policy(|policy| policy.unhealthy_after = 1);
    let then = given.when(failed_probe("a")).then_kinds(["NodeObserved", "NodeUnhealthy"]);
    assert_eq!(then.container("c").status().as_str(), "LOST");
    then.and_when(evacuate("a"))
        .then(["ContainerMigrationCommanded container=c from_generation=1 from_node=a generation=2 node=b \
             reason=unhealthy start_first=false (0; a down)"])
        .because(["NodeUnhealthy a"]);
}

#[test]
fn mass_failure_pauses_moves_until_enough_nodes_return() {
    let given = Given::cluster().nodes(["a", "b", "c"]).application("web").running(["x"], "a");
    let given = given.policy(|policy| policy.unhealthy_after = 1).policy(|policy| policy.healthy_after = 1);
    let one = given.when(failed_probe("a")).then_kinds(["NodeObserved", "NodeUnhealthy"]);
    let two =
        one.and_when(failed_probe("b")).then_kinds(["NodeObserved", "NodeUnhealthy", "MigrationsPaused"]);
    let two = two.because(["nothing", "NodeObserved b", "NodeUnhealthy b"]);
    let paused = two.decision().cluster.paused().unwrap();
    assert_eq!((paused.unhealthy, paused.nodes), (2, 3));
    let paused = two.and_when(evacuate("a")).then_nothing().and_when(Command::Rebalance).then_nothing();
    let three = paused.and_when(failed_probe("c")).then_kinds(["NodeObserved", "NodeUnhealthy"]);
    let two = three.and_when(probe("c")).then_kinds(["NodeObserved", "NodeHealthy"]);
    let one = two.and_when(probe("b")).then_kinds(["NodeObserved", "NodeHealthy", "MigrationsResumed"]);
    one.because(["nothing", "NodeObserved b", "NodeHealthy b"])
        .and_when(evacuate("a"))
        .then_kinds(["ContainerMigrationCommanded"]);
}

#[test]
fn two_failed_nodes_are_not_a_mass_failure() {
    let given = web().running(["x"], "a").policy(|policy| policy.unhealthy_after = 1);
    given.when(failed_probe("a")).and_when(failed_probe("b")).then_kinds(["NodeObserved", "NodeUnhealthy"]);
}

#[test]
fn nodes_that_never_worked_are_not_a_mass_failure() {
    let given = Given::cluster().nodes(["a"]).node("n1").node("n2").node("n3");
    given
        .when(failed_probe("n1"))
        .and_when(failed_probe("n2"))
        .and_when(failed_probe("n3"))
        .then_kinds(["NodeObserved", "NodeUnhealthy"]);
}

#[test]
fn returning_node_keeps_its_unreplaced_containers() {
    let given = web().running(["c"], "a").node_down("a").policy(|policy| policy.healthy_after = 1);
    let then = given.when(probe_finding("a", [("c", 1, ContainerState::Running)])).then([
        listed(1).as_str(),
        "NodeHealthy node=a successes=1",
        "ContainerAdopted container=c generation=1 node=a",
    ]);
    let then = then.because(["nothing", "NodeObserved a", "NodeObserved a"]);
    assert_eq!(then.container("c").status().as_str(), "UP");
}

#[test]
fn returning_node_is_not_compared_before_it_is_up() {
    let given = web().running(["c"], "a").node_down("a");
    given.when(probe_finding("a", [])).then([listed(0)].each_ref().map(String::as_str));
}

#[test]
fn replaced_container_on_a_returning_node_is_removed() {
    let given = web().container("c").up_on("a").node_down("a");
    let given = given.moving_to("b", MigrationReason::Unhealthy, false).launched();
    let given = given.policy(|policy| policy.healthy_after = 1);
    let then = given.when(probe_finding("a", [("c", 1, ContainerState::Running)]));
    let then = then.then_kinds(["NodeObserved", "NodeHealthy"]);
    assert_eq!(then.container("c").retired.len(), 1);
}

#[test]
fn replaced_container_without_a_new_place_is_adopted() {
    // Its node failed, the next node failed to start it, and now the first is back with it.
    let given = web().container("c").up_on("a").node_down("a");
    let given = given.moving_to("b", MigrationReason::Unhealthy, false).launch_failed(1, true);
    let given = given.policy(|policy| policy.healthy_after = 1);
    let then = given.when(probe_finding("a", [("c", 1, ContainerState::Running)])).then([
        listed(1).as_str(),
        "NodeHealthy node=a successes=1",
        "ContainerAdopted container=c generation=1 node=a",
    ]);
    assert_eq!(then.container("c").placement.as_ref().unwrap().node_id, node("a"));
    assert_eq!(then.container("c").status().as_str(), "UP");
}

#[test]
fn adopted_container_releases_its_predecessor() {
    // It moved a -> b; b started it and went down before it said so; b returns with it.
    let given = web().container("c").up_on("a").moving_to("b", MigrationReason::Balance, true);
    let given = given.node_down("b").policy(|policy| policy.healthy_after = 1);
    let then = given.when(probe_finding("b", [("c", 2, ContainerState::Running)]));
    let then = then.then_kinds(["NodeObserved", "NodeHealthy", "ContainerAdopted"]);
    assert!(!then.container("c").is_served_by_predecessor(), "the one on a has to go");
}

#[test]
fn lost_container_that_exited_restarts_despite_policy_no() {
    let given = || {
        Given::cluster().nodes(["a"]).application("web").spec(|s| s.restart_policy = "no".parse().unwrap())
    };
    let lost = given().running(["c"], "a").node_down("a").policy(|policy| policy.healthy_after = 1);
    lost.when(probe_finding("a", [("c", 1, ContainerState::Exited)])).then([
        listed(0).as_str(),
        "NodeHealthy node=a successes=1",
        "ContainerExited container=c generation=1 node=a restart_at=+0ms",
    ]);
    // On a node that was healthy all the time it exited by itself.
    given()
        .running(["c"], "a")
        .when(probe_finding("a", [("c", 1, ContainerState::Exited)]))
        .then([listed(0).as_str(), "ContainerExited container=c generation=1 node=a"]);
}

#[test]
fn missing_container_is_launched_again() {
    let then = web().running(["c"], "a").when(probe_finding("a", []));
    let then =
        then.then([listed(0).as_str(), "ContainerObserved container=c generation=1 node=a state=missing"]);
    let then = then.because(["nothing", "NodeObserved a"]);
    assert_eq!(then.container("c").status().as_str(), "LAUNCHING");
    then.and_when(place("c")).then_kinds(["ContainerPlaced"]).because(["ContainerObserved c"]);
}

#[test]
fn stopped_container_may_be_missing_and_must_not_run() {
    let given = || web().container("c").down_on("a");
    given().when(probe_finding("a", [("c", 1, ContainerState::Exited)])).then_kinds(["NodeObserved"]);
    let then = given().when(probe_finding("a", []));
    let then = then.then_kinds(["NodeObserved", "ContainerObserved"]);
    assert_eq!(then.container("c").status().as_str(), "DOWN");
    assert_eq!(then.container("c").placement, None);
    let then = given().when(probe_finding("a", [("c", 1, ContainerState::Running)]));
    let then =
        then.then([listed(1).as_str(), "ContainerObserved container=c generation=1 node=a state=running"]);
    assert_eq!(then.container("c").status().as_str(), "STOPPING", "a started container is stopped again");
}

#[test]
fn removed_predecessor_is_recorded() {
    let given = web().container("c").up_on("a").moving_to("b", MigrationReason::Balance, true).launched();
    given
        .when(probe_finding("a", []))
        .then([listed(0).as_str(), "ContainerRemoved container=c generation=1 node=a"]);
}

#[test]
fn deletion_finishes_when_a_probe_finds_the_container_gone() {
    let given = web().container("c").up_on("a").deleting().running(["d"], "a");
    given.when(probe_finding("a", [])).then([
        listed(0).as_str(),
        "ContainerRemoved container=c generation=1 node=a",
        "ContainerDeleted container=c",
        "ContainerObserved container=d generation=1 node=a state=missing",
    ]);
}

#[test]
fn probe_ignores_what_changed_since_it_was_sent() {
    let given = web().running(["c"], "a");
    let placed_at = given.cluster.container(container("c")).unwrap().seq;
    let before = Seq(placed_at.0 - 1);
    given.clone().when(probe_finding_as_of("a", [], before)).then([listed(0)].each_ref().map(String::as_str));
    given.when(probe_finding_as_of("a", [], placed_at)).then_kinds(["NodeObserved", "ContainerObserved"]);
    // A container placed since is not an orphan either.
    let given = web().container("c").placed_on("a");
    let then = given.when(probe_finding_as_of("a", [("c", 2, ContainerState::Running)], Seq(before.0 - 2)));
    assert!(then.then_kinds(["NodeObserved"]).node("a").orphans.is_empty());
}

#[test]
fn container_without_a_placement_is_an_orphan_until_gone() {
    let given = web().running(["c"], "a");
    let found = [
        ("c", 1, ContainerState::Running),
        ("c", 9, ContainerState::Running),
        ("ghost", 1, ContainerState::Exited),
    ];
    let then = given.when(probe_finding("a", found)).then_kinds(["NodeObserved"]);
    assert_eq!(then.node("a").orphans.len(), 2);
    let then = then
        .and_when(Command::RecordRemoved(placement_id("c", 9), node("a")))
        .then(["ContainerRemoved container=c generation=9 node=a"]);
    assert_eq!(then.container("c").status().as_str(), "UP", "its placement is untouched");
    let then = then.and_when(probe_finding("a", [("c", 1, ContainerState::Running)]));
    assert!(then.then_kinds(["NodeObserved"]).node("a").orphans.is_empty(), "a list is the whole list");
}

#[test]
fn container_on_a_wrong_node_is_an_orphan_there() {
    let then = web().running(["c"], "a").when(probe_finding("b", [("c", 1, ContainerState::Running)]));
    assert_eq!(then.then_kinds(["NodeObserved"]).node("b").orphans.len(), 1);
}

#[test]
fn container_of_another_node_of_the_machine_is_not_an_orphan() {
    let given = web().running(["c"], "a").event(kdaemon_events::node::NodeUpdated {
        node_id: node("b"),
        name: None,
        user_id: None,
        endpoint: Some(endpoint("a")),
        labels: None,
        capacity: None,
    });
    let Command::RecordProbe(found) = probe_finding("b", [("c", 1, ContainerState::Running)]) else {
        unreachable!()
    };
    let then = given.when(Command::RecordProbe(Probe { endpoint: endpoint("a"), ..found }));
    assert!(then.then_kinds(["NodeObserved", "NodeHealthy"]).node("b").orphans.is_empty());
}

#[test]
fn removal_counts_per_node() {
    let given = web().running(["c"], "a");
    let gone = kdaemon_events::container::ContainerRemoved {
        container_id: container("c"),
        generation: given.cluster.container(container("c")).unwrap().generation,
        node_id: node("b"),
    };
    let given = given.event(gone);
    assert!(given.cluster.container(container("c")).unwrap().placement.is_some());
}
