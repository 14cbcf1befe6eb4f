//! Launching, stopping and deleting containers, and containers that exit.

use crate::reactors::harness::{World, forever};
use kdaemon::engine::{EngineError, Identity};
use kdaemon_control::commands::Command;
use kdaemon_events::RestartPolicy;
use kdaemon_events::SpecChanges;
use kdaemon_events::failure::Failure;
use kdaemon_events::scheduling::Unschedulable;
use kdaemon_projections::Reason;
use kdaemon_projections::{Cluster, PhaseKind, Status};
use kdaemon_testing::engines::{EngineCall, SimulatedMachine, Timing};
use std::time::Duration;

fn identity(world: &World, id: kdaemon_events::ContainerId) -> Identity {
    let container = world.get(id);
    Identity {
        cluster: world.journal.cluster().id().unwrap(),
        container: id,
        generation: container.placement.as_ref().unwrap().generation,
    }
}

#[tokio::test(start_paused = true)]
async fn containers_are_spread_evenly() {
    let world = World::with_nodes(3).await;
    world.application("web", forever(), Some(9)).await;
    world.until("nine are UP", |c| c.containers().filter(|c| c.status() == Status::Up).count() == 9).await;
    assert_eq!(world.counts(), vec![3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn stopped_container_is_started_again_where_it_is() {
    let world = World::with_nodes(2).await;
    world.application("web", forever(), None).await;
    let id = world.running("web-a", "web").await;
    world.submit(Command::StopContainer(id)).await.unwrap();
    world.until_status(id, Status::Down).await;
    assert_eq!(world.counts().iter().sum::<u32>(), 0);
    world.submit(Command::LaunchContainer(id)).await.unwrap();
    world.until_status(id, Status::Up).await;
    let cluster = world.at_rest().await;
    assert_eq!(cluster.container(id).unwrap().generation.0, 1, "the same container was started again");
    assert_eq!(world.engines.places_of(id).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn deleted_container_is_gone_from_node_and_state() {
    let world = World::with_nodes(2).await;
    world.application("web", forever(), None).await;
    let id = world.running("web-a", "web").await;
    world.submit(Command::DeleteContainer { container_id: id, volumes: false }).await.unwrap();
    world.until("it is gone", |c| c.container(id).is_none()).await;
    assert!(world.engines.places_of(id).is_empty());
}

#[tokio::test(start_paused = true)]
async fn killed_container_is_back_within_two_seconds() {
    let world = World::with_nodes(2).await;
    world.application("web", forever(), None).await;
    let id = world.running("web-a", "web").await;
    let number = if world.get(id).placement.as_ref().unwrap().node_id == world.node(1) { 1 } else { 2 };
    let killed = tokio::time::Instant::now();
    world.machine(number).kill_container(identity(&world, id), 137).unwrap();
    world
        .until("it was started again", |c| {
            c.container(id).is_some_and(|c| c.restarts == 1 && c.phase.kind() == PhaseKind::Up)
        })
        .await;
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    assert_eq!(world.get(id).generation.0, 1, "it was started where it was");
}

#[tokio::test(start_paused = true)]
async fn unhealthy_container_is_stopped_before_it_is_started_again() {
    let world = World::with_nodes(1).await;
    world.application("web", forever(), None).await;
    let id = world.running("web-a", "web").await;
    let identity = identity(&world, id);
    let on_engine =
        || world.machine(1).containers().into_iter().find(|seen| seen.identity == identity).unwrap();
    let before = on_engine();
    world.machine(1).set_health(identity, false).unwrap();
    world
        .until("it was started again", |c| {
            c.container(id).is_some_and(|c| c.restarts == 1 && c.phase.kind() == PhaseKind::Up)
        })
        .await;
    let after = on_engine();
    assert_eq!(world.machine(1).calls(EngineCall::Stop), 1);
    assert!(after.started_at > before.started_at, "its process is another one");
    assert!(after.exit.is_none() && after.healthy.is_none());
    assert_eq!(world.get(id).generation.0, 1, "it was started where it was");
}

#[tokio::test(start_paused = true)]
async fn container_removed_on_the_engine_comes_back() {
    let world = World::with_nodes(2).await;
    world.application("web", forever(), None).await;
    let id = world.running("web-a", "web").await;
    let number = if world.get(id).placement.as_ref().unwrap().node_id == world.node(1) { 1 } else { 2 };
    world.machine(number).remove_container(identity(&world, id)).unwrap();
    world
        .until("a second generation is UP", |c| {
            c.container(id).is_some_and(|c| c.generation.0 == 2 && c.phase.kind() == PhaseKind::Up)
        })
        .await;
    assert_eq!(world.engines.places_of(id).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn exiting_container_restarts_with_backoff() {
    let world = World::with_nodes(1).await;
    let spec = SpecChanges { command: Some(vec!["sh".into(), "-c".into(), "exit 3".into()]), ..forever() };
    world.application("bad", spec, None).await;
    let id = world.container("bad-a", "bad").await;
    world.submit(Command::LaunchContainer(id)).await.unwrap();
    world.until("it was started five times", |c| c.container(id).is_some_and(|c| c.restarts >= 5)).await;
    let exits: Vec<_> = world
        .events()
        .await
        .into_iter()
        .filter_map(|e| match e.event {
            kdaemon_events::Event::ContainerExited(exit) => {
                Some((exit.restart_at.unwrap() - e.at).num_seconds())
            }
            _ => None,
        })
        .take(5)
        .collect();
    assert_eq!(exits, vec![0, 1, 2, 4, 8]);
    assert!(matches!(
        world.get(id).reason,
        Some(Reason::Exited { exit_code: Some(3), restart: Some(_), .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn container_with_restart_policy_no_stays_down_with_the_reason() {
    let world = World::with_nodes(1).await;
    let spec = SpecChanges {
        command: Some(vec!["sh".into(), "-c".into(), "exit 3".into()]),
        restart_policy: Some(RestartPolicy::No),
        ..forever()
    };
    world.application("job", spec, None).await;
    let id = world.container("job-a", "job").await;
    world.submit(Command::LaunchContainer(id)).await.unwrap();
    world.until_status(id, Status::Down).await;
    assert!(matches!(world.get(id).reason, Some(Reason::Exited { exit_code: Some(3), restart: None, .. })));
}

#[tokio::test(start_paused = true)]
async fn failing_launch_is_retried_then_failed_with_the_engines_message() {
    let world = World::with_nodes(2).await;
    world.engines.lacks_image("no/such-image");
    let spec = SpecChanges { docker_image: Some("no/such-image".into()), ..forever() };
    world.application("typo", spec, None).await;
    let id = world.container("typo-a", "typo").await;
    world.submit(Command::LaunchContainer(id)).await.unwrap();
    world.until_status(id, Status::Failed).await;
    assert_eq!(world.count("ContainerLaunchFailed").await, 4);
    assert_eq!(world.count("ContainerLaunchAbandoned").await, 1);
    let Some(Reason::LaunchFailed { failure: Failure::Refused { quote } }) = &world.get(id).reason else {
        panic!("no reason: {:?}", world.get(id).reason)
    };
    assert!(quote.as_str().contains("no/such-image"), "{quote}");
    assert_eq!(world.counts().iter().sum::<u32>(), 0, "a failed container counts on no node");
    // It is tried again, with pauses that grow to five minutes.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let tries = world.count("ContainerLaunchAbandoned").await;
    assert!((12..=25).contains(&tries), "{tries} launches in an hour");
    world.engines.has_image("no/such-image");
    world.until_status(id, Status::Up).await;
}

#[tokio::test(start_paused = true)]
async fn faulty_node_is_avoided() {
    let world = World::with_nodes(2).await;
    world.machine(1).full_disk();
    world.application("web", forever(), None).await;
    for number in 0..4 {
        world.running(&format!("web-{number}"), "web").await;
    }
    let full = world.node(1);
    assert!(world.journal.cluster().containers().all(|c| c.placement.as_ref().unwrap().node_id != full));
}

#[tokio::test(start_paused = true)]
async fn launch_that_times_out_after_success_leaves_one_container() {
    let world = World::with_nodes(1).await;
    world.machine(1).launch_succeeds_but_times_out(1);
    world.application("web", forever(), None).await;
    let id = world.running("web-a", "web").await;
    world.at_rest().await;
    assert_eq!(world.engines.places_of(id).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn application_waits_for_its_dependencies() {
    let world = World::with_nodes(1).await;
    let db = world.application("db", forever(), None).await;
    world.application_depending_on("web", forever(), None, &["db"]).await;
    let web = world.container("web-a", "web").await;
    world.submit(Command::LaunchContainer(web)).await.unwrap();
    assert_eq!(world.get(web).status(), Status::Launching);
    let waits = world.get(web).reason.clone();
    let because = Unschedulable::Dependency { application_id: db };
    assert_eq!(waits, Some(Reason::Unschedulable { moving: None, because }));
    world.running("db-a", "db").await;
    world.until_status(web, Status::Up).await;
}

#[tokio::test(start_paused = true)]
async fn scaling_creates_and_deletes_containers() {
    let world = World::with_nodes(3).await;
    let id = world.application("web", forever(), Some(3)).await;
    world.until("three are UP", |c| c.application(id).unwrap().serving == 3).await;
    world.submit(Command::ScaleApplication { application_id: id, replicas: 7 }).await.unwrap();
    world.until("seven are UP", |c| c.application(id).unwrap().serving == 7).await;
    world.submit(Command::ScaleApplication { application_id: id, replicas: 2 }).await.unwrap();
    world.until("two are left", |c| c.containers().len() == 2).await;
    world.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn absent_store_stops_nothing_permanently() {
    let world = World::with_nodes(2).await;
    world.application("web", forever(), None).await;
    let id = world.running("web-a", "web").await;
    world.store.set_unavailable(Some("the disk is full"));
    let refused = world.submit(Command::StopContainer(id)).await;
    assert!(matches!(refused, Err(kdaemon::journal::SubmitError::Unavailable(_))));
    assert_eq!(world.get(id).status(), Status::Up, "nothing was done");
    world.store.set_unavailable(None);
    world.submit(Command::StopContainer(id)).await.unwrap();
    world.until_status(id, Status::Down).await;
}

#[tokio::test(start_paused = true)]
async fn engine_error_is_quoted() {
    let world = World::with_nodes(1).await;
    world.machine(1).fail_next_launches(9, EngineError::rejected("exec: \"nope\": not found"));
    world.application("web", forever(), None).await;
    let id = world.container("web-a", "web").await;
    world.submit(Command::LaunchContainer(id)).await.unwrap();
    world.until_status(id, Status::Failed).await;
    let failure = Failure::refused("exec: \"nope\": not found");
    assert_eq!(world.get(id).reason, Some(Reason::LaunchFailed { failure }));
}

#[tokio::test(start_paused = true)]
async fn missing_image_affects_no_other_application() {
    let world = World::with_nodes(3).await;
    // Of equally empty nodes the one with the lowest id is chosen first.
    let first = world.journal.cluster().nodes().next().unwrap().name.clone();
    let first = world.machine(first.trim_start_matches("node-").parse().unwrap());
    first.fail_next_launches(1, EngineError::node_fault("no route to its registry"));
    world.application("unlucky", forever(), None).await;
    world.running("unlucky-a", "unlucky").await;
    world.application("web", forever(), Some(5)).await;
    world.until("all are UP", |c| c.containers().all(|c| c.status() == Status::Up)).await;
    assert_eq!(world.counts(), vec![2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn slow_pull_delays_nothing_elsewhere() {
    let world = World::empty().await;
    let pull_ms = 800_000..=800_000;
    let slow =
        SimulatedMachine { timing: Timing { pull_ms, ..Timing::default() }, ..SimulatedMachine::default() };
    world.engines.add(&World::endpoint(1), slow);
    world.mount(1).await;
    world.until("it is UP", |c| c.nodes().all(|node| node.is_eligible())).await;
    let spec = SpecChanges { docker_image: Some("registry/slow:1".into()), ..forever() };
    world.application("slow", spec, Some(290)).await;
    let are_placed =
        |c: &Cluster| c.containers().filter(|c| c.phase.kind() == PhaseKind::Placed).count() == 290;
    world.until("all are being launched", are_placed).await;
    world.add_machine(2);
    world.mount(2).await;
    world.until("the other is UP", |c| c.nodes().all(|node| node.is_eligible())).await;
    world.application("web", forever(), None).await;
    let began = tokio::time::Instant::now();
    let id = world.running("web-a", "web").await;
    world.submit(Command::StopContainer(id)).await.unwrap();
    world.until_status(id, Status::Down).await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(are_placed(&world.journal.cluster()));
}

#[tokio::test(start_paused = true)]
async fn unschedulable_container_backs_off_until_a_node_comes() {
    let world = World::with_nodes(1).await;
    world.submit(Command::CordonNode(world.node(1))).await.unwrap();
    world.application("web", forever(), Some(1)).await;
    let waits = |c: &Cluster| c.containers().any(|container| container.reason.is_some());
    let id = world.until("it waits for a node", waits).await.containers().next().unwrap().id;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let uncordoned = tokio::time::Instant::now();
    world.submit(Command::UncordonNode(world.node(1))).await.unwrap();
    world.until("it is placed", |c| c.container(id).is_some_and(|c| c.placement.is_some())).await;
    assert!(uncordoned.elapsed() < Duration::from_millis(250), "{:?}", uncordoned.elapsed());
}
