//! Reports about single containers: launches, exits, health.

use crate::fixture::*;
use kdaemon_control::commands::Command;
use kdaemon_control::observed::{Exit, Launched};
use kdaemon_events::container::MigrationReason;
use kdaemon_events::{Protocol, PublishedPort};
use kdaemon_projections::Reason;
use std::time::Duration;

fn web() -> Given {
    Given::cluster().nodes(["a", "b"]).application("web")
}
fn policy(text: &str) -> Given {
    web().spec(|spec| spec.restart_policy = text.parse().unwrap())
}
fn missing(name: &str, generation: u32) -> Command {
    Command::RecordMissing(placement_id(name, generation))
}
fn health(name: &str, healthy: bool) -> Command {
    Command::RecordHealth(placement_id(name, 1), healthy)
}

#[test]
fn launched_container_has_an_access_link() {
    let given = web().ports("53/udp,80,443").container("c").placed_on("a");
    let port = |container, host, protocol| PublishedPort { container, host, protocol };
    let launched = Launched {
        engine_id: "e".into(),
        image_id: "i".into(),
        ports: vec![
            port(443, 32_770, Protocol::Tcp),
            port(53, 32_768, Protocol::Udp),
            port(80, 32_769, Protocol::Tcp),
        ],
        volumes: Vec::new(),
        health_check: false,
        started_at: None,
    };
    let then = given.when(Command::RecordLaunched(placement_id("c", 1), launched));
    let then = then.then_kinds(["ContainerLaunched"]).because(["ContainerPlaced c"]);
    let c = then.container("c");
    assert_eq!(c.placement.as_ref().unwrap().access_link.as_deref(), Some("http://a:32769"));
    assert_eq!(c.status().as_str(), "UP");
}

#[test]
fn reports_about_another_generation_are_ignored() {
    let given = || web().container("c").up_on("a").moving_to("b", MigrationReason::Balance, true);
    for command in [
        launched("c", 1),
        launched("c", 3),
        launch_failed("c", 1, true),
        exited("c", 3, 1),
        health("c", false),
        missing("c", 9),
        Command::RecordStopped(placement_id("c", 1), None),
        Command::RecordRemoved(placement_id("c", 1), node("b")),
        Command::RecordRemoved(placement_id("c", 9), node("a")),
    ] {
        given().when(command).then_nothing();
    }
    for command in [
        launched("x", 1),
        launch_failed("x", 1, true),
        exited("x", 1, 1),
        health("x", false),
        missing("x", 1),
        Command::RecordRemoved(placement_id("x", 1), node("a")),
    ] {
        web().when(command).then_nothing();
    }
}

#[test]
fn exited_predecessor_stops_serving() {
    use kdaemon_control::observed::ContainerState;
    let given = || web().container("c").up_on("a").moving_to("b", MigrationReason::Balance, true);
    assert_eq!(given().cluster.container(container("c")).unwrap().status().as_str(), "UP");
    let ended = [
        (exited("c", 1, 7), "ContainerExited container=c exit_code=7 generation=1 node=a"),
        (missing("c", 1), "ContainerObserved container=c generation=1 node=a state=missing"),
    ];
    for (command, event) in ended {
        let then = given().when(command).then([event]);
        assert_eq!(then.container("c").status().as_str(), "LAUNCHING");
        assert_eq!(then.container("c").placement.as_ref().unwrap().generation.0, 2, "the move continues");
    }
    let then = given().when(probe_finding("a", [("c", 1, ContainerState::Exited)]));
    let then = then.then_kinds(["NodeObserved", "ContainerExited"]).because(["nothing", "NodeObserved a"]);
    assert_eq!(then.container("c").status().as_str(), "LAUNCHING");
    // Then there is nothing to go back to.
    let given = given().launch_failed(4, false).when(exited("c", 1, 7)).and_given();
    let then = given.when(launch_failed("c", 2, false)).then_kinds(["ContainerLaunchAbandoned"]);
    assert_eq!(then.container("c").status().as_str(), "FAILED");
}

#[test]
fn launch_report_after_a_stop_is_ignored() {
    let given = || web().container("c").placed_on("a").stopping();
    given().when(launched("c", 1)).then_nothing();
    given().when(launch_failed("c", 1, true)).then_nothing();
}

#[test]
fn failed_launch_backs_off_and_is_given_up() {
    let mut given = web().container("c").placed_on("a");
    for (attempt, pause) in [(1, 500), (2, 1_000), (3, 2_000), (4, 4_000)] {
        let then = given.when(launch_failed("c", 1, false));
        let expected = format!(
            "ContainerLaunchFailed attempt={attempt} container=c failure=refused{{quote=it did not work}} \
             generation=1 node=a retry_at=+{pause}ms"
        );
        let then = then.then([expected.as_str()]);
        assert_eq!(then.container("c").status().as_str(), "LAUNCHING");
        given = then.and_given();
    }
    let then = given
        .when(launch_failed("c", 1, false))
        .then(["ContainerLaunchAbandoned attempt=5 container=c failure=refused{quote=it did not work} generation=1 node=a retry_at=+8000ms"]);
    assert_eq!(then.container("c").status().as_str(), "FAILED");
    assert_eq!(then.container("c").retired.len(), 1, "what may be left of it there is removed");
}

#[test]
fn node_fault_retries_the_launch_elsewhere() {
    let then = web().container("c").placed_on("a").when(launch_failed("c", 1, true));
    let then = then.then([
        "ContainerLaunchFailed attempt=1 container=c failure=refused{quote=it did not work} generation=1 node_fault=true \
         node=a retry_at=+500ms",
    ]);
    then.and_given()
        .seconds_later(1)
        .when(place("c"))
        .then(["ContainerPlaced container=c generation=2 node=b (0; a 0 launch_failed)"]);
}

#[test]
fn success_resets_failures() {
    let then = web().container("c").placed_on("a").launch_failed(4, false).when(launched("c", 1));
    assert_eq!(then.container("c").failed_attempts(), 0);
}

#[test]
fn abandoned_move_keeps_the_predecessor() {
    let given = |node_fault| {
        let given = web().container("c").up_on("a").moving_to("b", MigrationReason::Balance, true);
        given.launch_failed(4, node_fault)
    };
    let then = given(false).when(launch_failed("c", 2, false)).then([
        "ContainerLaunchAbandoned attempt=5 container=c failure=refused{quote=it did not work} generation=2 node=b retry_at=+8000ms",
        "ContainerAdopted container=c generation=1 node=a",
    ]);
    let then = then.because(["ContainerLaunchFailed c", "ContainerLaunchAbandoned c"]);
    let c = then.container("c");
    assert_eq!(c.status().as_str(), "UP");
    assert_eq!(c.placement.as_ref().unwrap().generation.0, 1);
    assert_eq!(c.migrating, None);
    assert_eq!(c.retired.len(), 1, "the vain one is removed");
    assert!(!c.is_served_by_predecessor());
}

#[test]
fn kept_predecessor_clears_the_avoided_nodes() {
    let given = web().container("c").up_on("a").moving_to("b", MigrationReason::Balance, true);
    let then = given.launch_failed(4, false).when(launch_failed("c", 2, true));
    let then = then.then_kinds(["ContainerLaunchAbandoned", "ContainerAdopted"]);
    let c = then.container("c");
    // The node remembers the failure for some minutes.
    assert!(c.phase.attempts().is_none_or(|attempts| attempts.avoid.is_empty()));
}

#[test]
fn restart_backoff_grows_from_zero() {
    for (exits, pause) in
        [(0, 0), (1, 1_000), (2, 2_000), (3, 4_000), (8, 128_000), (9, 256_000), (10, 300_000), (60, 300_000)]
    {
        let given = web().container("c").up_on("a").exited_times(exits);
        let expected =
            format!("ContainerExited container=c exit_code=1 generation=1 node=a restart_at=+{pause}ms");
        given.when(exited("c", 1, 1)).then([expected.as_str()]);
    }
    // A minute of running makes it stable, which resets the backoff.
    let given = web().container("c").up_on("a").exited_times(8).seconds_later(60);
    given
        .when(exited("c", 1, 1))
        .then(["ContainerExited container=c exit_code=1 generation=1 node=a restart_at=+0ms"]);
    let given = web().policy(|policy| policy.restart_pause_max = Duration::from_secs(3));
    given
        .container("c")
        .up_on("a")
        .exited_times(8)
        .when(exited("c", 1, 1))
        .then(["ContainerExited container=c exit_code=1 generation=1 node=a restart_at=+3000ms"]);
}

#[test]
fn restart_policy_decides_about_restarts() {
    let again = "ContainerExited container=c exit_code=1 generation=1 node=a restart_at=+0ms";
    let ended = "ContainerExited container=c exit_code=1 generation=1 node=a";
    let well_again = "ContainerExited container=c exit_code=0 generation=1 node=a restart_at=+0ms";
    let well_ended = "ContainerCompleted container=c generation=1 node=a";
    for (text, failed, well) in [
        ("always", again, well_again),
        ("unless-stopped", again, well_again),
        ("on-failure", again, well_ended),
        ("on-failure:3", again, well_ended),
        ("on-failure:0", ended, well_ended),
        ("no", ended, well_ended),
    ] {
        let given = || policy(text).running(["c"], "a");
        given().when(exited("c", 1, 1)).then([failed]);
        let then = given().when(exited("c", 1, 0)).then([well]);
        let status = if well == well_again { "LAUNCHING" } else { "COMPLETED" };
        assert_eq!(then.container("c").status().as_str(), status);
    }
}

#[test]
fn on_failure_n_gives_up_after_n_starts_in_a_row() {
    let given = |exits| policy("on-failure:2").container("c").up_on("a").exited_times(exits);
    given(1)
        .when(exited("c", 1, 1))
        .then(["ContainerExited container=c exit_code=1 generation=1 node=a restart_at=+1000ms"]);
    given(2).when(exited("c", 1, 1)).then(["ContainerExited container=c exit_code=1 generation=1 node=a"]);
    // A minute of running ends the series.
    given(2)
        .seconds_later(60)
        .when(exited("c", 1, 1))
        .then(["ContainerExited container=c exit_code=1 generation=1 node=a restart_at=+0ms"]);
}

#[test]
fn exit_records_out_of_memory_and_omits_unknowns() {
    let given = || web().running(["c"], "a");
    let exit = Exit { code: 137, out_of_memory: true };
    let then = given().when(Command::RecordExited(placement_id("c", 1), Some(exit))).then([
        "ContainerExited container=c exit_code=137 generation=1 node=a out_of_memory=true restart_at=+0ms",
    ]);
    assert_eq!(
        then.container("c").reason,
        Some(Reason::Exited { exit_code: Some(137), out_of_memory: true, restart: Some(1) })
    );
    given()
        .when(Command::RecordExited(placement_id("c", 1), None))
        .then(["ContainerExited container=c generation=1 node=a restart_at=+0ms"]);
}

#[test]
fn exit_counts_only_while_running_is_wanted() {
    web().container("c").up_on("a").stopping().when(exited("c", 1, 0)).then_nothing();
    web().container("c").down_on("a").when(exited("c", 1, 0)).then_nothing();
    web().container("c").placed_on("a").when(exited("c", 1, 0)).then_nothing();
    web().running(["c"], "a").when(exited("c", 1, 1)).and_when(exited("c", 1, 1)).then_nothing();
}

#[test]
fn restarted_container_is_up_in_place() {
    let then = web().running(["c"], "a").when(exited("c", 1, 1)).and_when(launched("c", 1));
    let then = then.then_kinds(["ContainerLaunched"]).because(["ContainerExited c"]);
    assert_eq!(then.container("c").restarts, 1);
    assert_eq!(then.container("c").status().as_str(), "UP");
}

#[test]
fn externally_removed_container_is_launched_again_unless_stopped() {
    let observed = "ContainerObserved container=c generation=1 node=a state=missing";
    let then = web().running(["c"], "a").when(missing("c", 1)).then([observed]);
    assert_eq!(then.container("c").status().as_str(), "LAUNCHING");
    let then = web().container("c").down_on("a").when(missing("c", 1)).then([observed]);
    assert_eq!(then.container("c").status().as_str(), "DOWN");
    // During a launch or a stop the launcher knows better.
    web().container("c").placed_on("a").when(missing("c", 1)).then_nothing();
    web().container("c").up_on("a").stopping().when(missing("c", 1)).then_nothing();
}

#[test]
fn failing_health_check_restarts_with_backoff() {
    let given = || web().running(["c"], "a");
    given().when(health("c", true)).then(["ContainerHealthy container=c generation=1"]);
    let then = given()
        .when(health("c", false))
        .then(["ContainerUnhealthy container=c generation=1 restart_at=+0ms"]);
    assert!(then.container("c").is_unhealthy());
    let then = then.and_when(health("c", false)).then_nothing().and_when(launched("c", 1));
    then.and_when(health("c", false))
        .then(["ContainerUnhealthy container=c generation=1 restart_at=+1000ms"]);
    web().container("c").up_on("a").stopping().when(health("c", false)).then_nothing();
}

#[test]
fn container_adopted_during_its_removal_comes_back() {
    let given = || Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a");
    let removed = Command::RecordRemoved(placement_id("c", 1), node("a"));
    let then = given().when(removed.clone());
    let then = then.then(["ContainerObserved container=c generation=1 node=a state=missing"]);
    assert_eq!(then.container("c").phase.kind(), kdaemon_projections::PhaseKind::Waiting);
    given().stopping().when(removed).then_nothing();
}
