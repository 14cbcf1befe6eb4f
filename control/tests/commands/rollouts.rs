//! Rollouts, and what serving decides in them.

use crate::fixture::*;
use kdaemon_control::commands::{Command, UpdateApplication};
use kdaemon_control::reconcile::{self, Pacing, Task};
use kdaemon_events::SpecChanges;
use kdaemon_events::application::{OnFailure, UpdateOrder, UpdateSettings};
use kdaemon_projections::{PhaseKind, RolloutState, Status};

/// Three replicas that serve, on three nodes.
fn web() -> Given {
    let given = Given::cluster().nodes(["a", "b", "c"]).application("web").rolling();
    given.running(["w1"], "a").running(["w2"], "b").running(["w3"], "c")
}

fn edit(image: &str) -> Command {
    let docker_image = Some(image.to_owned());
    Command::UpdateApplication(Box::new(UpdateApplication {
        spec: SpecChanges { docker_image, ..SpecChanges::default() },
        ..update_application("web")
    }))
}

fn roll() -> Command {
    Command::RollApplication(application("web"))
}

fn health(name: &str, generation: u32, healthy: bool) -> Command {
    Command::RecordHealth(placement_id(name, generation), healthy)
}

#[track_caller]
fn rollout(then: &Then) -> (RolloutState, u32) {
    let application = then.decision().cluster.application(application("web")).unwrap();
    let rollout = application.rollout.as_ref().expect("there is a rollout");
    (rollout.state, rollout.failures)
}

#[track_caller]
fn serving(then: &Then) -> u32 {
    then.decision().cluster.application(application("web")).unwrap().serving
}

#[test]
fn rollout_to_a_command_that_ends_stops_at_the_first_replica() {
    let then = web().when(edit("image:2")).and_when(roll());
    let then = then.and_when(launched("w1", 2)).and_when(exited("w1", 2, 1)).then_kinds(["ContainerExited"]);
    assert_eq!((rollout(&then), serving(&then)), ((RolloutState::Running, 1), 3));
    // It is started again, and ends again before it serves.
    let then = then.and_when(launched("w1", 2)).and_when(exited("w1", 2, 1));
    let then = then.then([
        "ContainerExited container=w1 exit_code=1 generation=2 node=a restart_at=+1000ms",
        "RolloutPaused application=web container=w1 failures=2",
        "ContainerAdopted container=w1 generation=1 node=a",
    ]);
    assert_eq!((rollout(&then), serving(&then)), ((RolloutState::Paused, 2), 3));
    assert_eq!(then.container("w1").status(), Status::Up);
    // It stays like that: nothing is due, and nothing happens.
    let given = then.and_given().seconds_later(86_400);
    let due = reconcile::due(&given.cluster, given.context.now, &Pacing { rebalance_after: None });
    let removal = |task: &Task| matches!(task, Task::Act(reconcile::Act::Remove, ..));
    assert!(due.tasks.iter().all(removal) && due.next.is_none(), "{due:?}");
    given.when(roll()).then_nothing();
}

#[test]
fn replica_that_never_gets_healthy_stops_the_rollout() {
    let given = web().when(edit("image:2")).and_when(roll()).and_given().then_container("w1").started(true);
    let then = given.seconds_later(3_600).when(confirm("w1")).then_nothing();
    assert_eq!(serving(&then), 3, "the predecessor serves");
    let then = then.and_when(health("w1", 2, false)).then_kinds(["ContainerUnhealthy"]);
    let given = then.and_given().started(true);
    let then = given.when(health("w1", 2, false));
    let then = then.then_kinds(["ContainerUnhealthy", "RolloutPaused", "ContainerAdopted"]);
    assert_eq!((rollout(&then).0, serving(&then)), (RolloutState::Paused, 3));
}

#[test]
fn healthy_replica_takes_over_at_once() {
    let given = web().when(edit("image:2")).and_when(roll()).and_given().then_container("w1").started(true);
    let then = given.when(health("w1", 2, true)).then([
        "ContainerHealthy container=w1 generation=2",
        "ContainerMigrated container=w1 generation=2 node=a",
    ]);
    assert!(!then.container("w1").is_served_by_predecessor());
    then.and_when(health("w1", 2, true)).then_nothing();
}

#[test]
fn next_edit_heals_a_broken_rollout_at_once() {
    let then = web().when(edit("image:2")).and_when(roll());
    let then = then.and_when(launch_failed("w1", 2, false)).and_when(launch_failed("w1", 2, false));
    let then = then.then_kinds(["ContainerLaunchFailed", "RolloutPaused", "ContainerAdopted"]);
    let then = then.and_when(edit("image:3")).then_kinds(["ApplicationUpdated"]);
    then.and_when(roll()).then_kinds(["RolloutStarted", "ContainerMigrationCommanded"]);
}

#[test]
fn replicas_that_do_not_serve_take_an_edit_at_once() {
    // One keeps ending, one has failed, one waits for a node; whatever the update policy says.
    for rolling in [true, false] {
        let given = Given::cluster().nodes(["a", "b"]).application("web");
        let given = if rolling { given.rolling() } else { given };
        let given = given.container("w1").up_on("a").exited_times(1).when(exited("w1", 1, 1)).and_given();
        let given = given.container("w2").placed_on("b").failed().container("w3").waiting();
        let then = given.when(edit("image:2"));
        let then = then.then_kinds([
            "ApplicationUpdated",
            "ContainerLaunchRequested",
            "ContainerPlaced",
            "ContainerLaunchRequested",
            "ContainerPlaced",
            "ContainerLaunchRequested",
            "ContainerPlaced",
        ]);
        for name in ["w1", "w2", "w3"] {
            let container = then.container(name);
            let spec = &container.placement.as_ref().unwrap().spec;
            assert_eq!((spec.docker_image.as_str(), container.failed_attempts()), ("image:2", 0), "{name}");
        }
    }
}

#[test]
fn rollout_does_not_wait_for_a_replica_that_is_lost() {
    let given = web().then_container("w2").event(kdaemon_events::container::ContainerLaunchRequested {
        container_id: container("w2"),
        generation: None,
    });
    let given = given.placed_on("b").failed();
    // Its failure is older than the edit, which makes it try again; the others are replaced meanwhile.
    let then = given.when(edit("image:2")).and_when(launch_failed("w2", 4, false)).and_when(roll());
    assert_eq!(then.moved(), 0, "one is on its way");
    let given = web().node_down("b");
    let then = given.when(edit("image:2")).and_when(roll());
    assert_eq!(then.moved(), 1, "the others do not wait for the LOST one");
}

#[test]
fn rollout_keeps_to_its_parallelism_and_order() {
    let settings = |order, parallelism| UpdateSettings { order, parallelism, ..UpdateSettings::default() };
    let given = web().update(settings(UpdateOrder::StopFirst, 2));
    let then = given.when(edit("image:2")).and_when(roll());
    assert!(!then.container("w1").is_served_by_predecessor(), "it stops first");
    assert_eq!(then.moved(), 2);
    let then = web().update(settings(UpdateOrder::StartFirst, 3)).when(edit("image:2")).and_when(roll());
    assert!(then.container("w3").is_served_by_predecessor());
    assert_eq!(then.moved(), 3);
}

#[test]
fn rollout_rolls_back_by_itself_if_it_is_to() {
    let settings = UpdateSettings { on_failure: OnFailure::Rollback, ..UpdateSettings::default() };
    let then = web().update(settings).when(edit("image:2")).and_when(roll());
    let then = then.and_when(launch_failed("w1", 2, false)).and_when(launch_failed("w1", 2, false));
    let then = then.then_kinds([
        "ContainerLaunchFailed",
        "RolloutPaused",
        "ContainerAdopted",
        "RolloutRolledBack",
        "ApplicationUpdated",
    ]);
    let image = &then.decision().cluster.application(application("web")).unwrap().spec.docker_image;
    assert_eq!((image.as_str(), serving(&then)), ("image:1", 3));
    assert_eq!(rollout(&then).0, RolloutState::RolledBack);
    then.and_when(roll()).then_nothing();
}

#[test]
fn person_rolls_back_to_what_served_or_to_any_moment() {
    let back = Command::RollBackApplication { application_id: application("web"), to: None };
    web().when(back.clone()).then_refused(
        "no container of application `web` has served with another specification; name an event with to_seq",
    );
    let then = web().when(edit("image:2")).and_when(roll()).and_it_serves("w1", 2);
    let then = then.and_when(back.clone()).then_kinds(["RolloutRolledBack", "ApplicationUpdated"]);
    let image = &then.decision().cluster.application(application("web")).unwrap().spec.docker_image;
    assert_eq!(image, "image:1");
    // And forth again.
    let then = then.and_when(roll()).and_it_serves("w1", 3).and_when(back);
    let image = &then.decision().cluster.application(application("web")).unwrap().spec.docker_image;
    assert_eq!(image, "image:2");
    // To the specification of a moment.
    let spec = web().cluster.application(application("web")).unwrap().spec.clone();
    let to = Some((kdaemon_events::Seq(3), spec));
    let command = Command::RollBackApplication { application_id: application("web"), to };
    let then = web().when(edit("image:9")).and_when(command);
    then.then_kinds(["RolloutRolledBack", "ApplicationUpdated"]);
}

#[test]
fn restart_replaces_all_containers_whatever_the_update_policy() {
    for given in [web(), Given::cluster().nodes(["a"]).application("web").running(["w1"], "a")] {
        let then = given.when(Command::RestartApplication(application("web")));
        let then = then.and_when(roll());
        assert_eq!(then.container("w1").generation.0, 2);
        assert!(then.container("w1").is_served_by_predecessor());
    }
}

#[test]
fn without_a_health_check_a_container_serves_after_min_ready() {
    let settings = UpdateSettings { min_ready_ms: 60_000, ..UpdateSettings::default() };
    let given =
        Given::cluster().nodes(["a"]).application("web").update(settings).container("c").placed_on("a");
    let given = given.started(false);
    let at = |seconds| {
        let given = given.clone().seconds_later(seconds);
        let due = reconcile::due(&given.cluster, given.context.now, &Pacing { rebalance_after: None });
        due.tasks == [Task::Confirm(container("c"))]
    };
    assert_eq!([at(0), at(59), at(60), at(6_000)], [false, false, true, true]);
    given.clone().seconds_later(59).when(confirm("c")).then_nothing();
    let then = given.seconds_later(60).when(confirm("c")).then(["ContainerReady container=c generation=1"]);
    assert!(then.container("c").is_serving());
    then.and_when(confirm("c")).then_nothing();
}

#[test]
fn failed_container_is_tried_again_and_at_once_when_a_node_returns() {
    let given =
        || Given::cluster().nodes(["a"]).node("b").application("web").container("c").placed_on("a").failed();
    let due =
        |given: &Given| reconcile::due(&given.cluster, given.context.now, &Pacing { rebalance_after: None });
    let placements =
        |given: &Given| due(given).tasks.iter().filter(|task| matches!(task, Task::Place(_))).count();
    assert_eq!(placements(&given()), 0);
    assert!(due(&given()).next.is_some(), "the next try has a time");
    given().when(place("c")).then_nothing();
    assert_eq!(placements(&given().seconds_later(8)), 1);
    let then = given().seconds_later(8).when(place("c")).then_kinds(["ContainerPlaced"]);
    assert_eq!(then.container("c").status(), Status::Launching);
    let returned = given().seconds_later(1).node("d").up();
    assert_eq!(placements(&returned), 1);
    returned.when(place("c")).then_kinds(["ContainerPlaced"]);
}

#[test]
fn job_that_completed_is_never_started_again() {
    let given = || {
        let given = Given::cluster().nodes(["a", "b"]).application("job").replicas(1);
        let given = given.spec(|spec| spec.restart_policy = "on-failure".parse().unwrap());
        given.replica("j").up_on("a").when(exited("j", 1, 0)).and_given()
    };
    assert_eq!(given().cluster.container(container("j")).unwrap().status(), Status::Completed);
    let due = reconcile::due(&given().cluster, given().context.now, &Pacing { rebalance_after: None });
    assert!(due.tasks.is_empty() && due.next.is_none(), "{due:?}");
    // Neither the same number of replicas, nor a probe, nor the loss of its container begins it again.
    given().when(scale("job", 1)).then_nothing();
    let found =
        given().when(probe_finding("a", [("j", 1, kdaemon_control::observed::ContainerState::Exited)]));
    found.then_kinds(["NodeObserved"]);
    let gone = given().when(Command::RecordMissing(placement_id("j", 1)));
    assert_eq!(gone.container("j").phase.kind(), PhaseKind::Completed);
    gone.and_when(scale("job", 1)).then_nothing();
    // A person can launch it again.
    given().when(launch("j")).then_kinds(["ContainerLaunchRequested"]);
}
