//! Nodes that fail, return and are drained, and their containers.

use crate::reactors::harness::{World, forever};
use kdaemon_control::commands::Command;
use kdaemon_events::node::Availability;
use kdaemon_projections::{Health, Status};
use kdaemon_testing::engines::{Crash, EngineCall};
use std::time::Duration;

async fn with_containers(nodes: usize, containers: u32) -> World {
    let world = World::with_nodes(nodes).await;
    world.application("web", forever(), Some(containers)).await;
    world.until("all are UP", |c| c.applications().all(|a| a.serving == containers)).await;
    world.at_rest().await;
    world
}

fn all_up_elsewhere(cluster: &kdaemon_projections::Cluster, failed: kdaemon_events::NodeId) -> bool {
    cluster
        .containers()
        .all(|c| c.status() == Status::Up && c.placement.as_ref().is_some_and(|p| p.node_id != failed))
}

#[tokio::test(start_paused = true)]
async fn node_with_a_wrong_address_is_down_with_the_reason() {
    let world = World::empty().await;
    let id = world.mount(9).await;
    let cluster = world.until("it is DOWN", |c| c.node(id).is_some_and(|n| n.health == Health::Down)).await;
    assert!(cluster.node(id).unwrap().failure.is_some());
}

#[tokio::test(start_paused = true)]
async fn containers_of_a_crashed_engine_are_up_elsewhere_within_five_seconds() {
    let world = with_containers(4, 12).await;
    let failed = world.node(2);
    let began = tokio::time::Instant::now();
    world.machine(2).crash(Crash::Machine);
    world.until("all are UP elsewhere", |c| all_up_elsewhere(c, failed)).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(world.count("ContainerMigrationCommanded").await, 3);
    // Each migration has the event that judged the node as its cause.
    let events = world.events().await;
    let judged = events.iter().find(|e| e.event.kind().as_str() == "NodeUnhealthy").unwrap().seq;
    for event in events.iter().filter(|e| e.event.kind().as_str() == "ContainerMigrationCommanded") {
        assert_eq!(event.cause, Some(judged));
    }
}

#[tokio::test(start_paused = true)]
async fn cut_link_is_noticed_and_healed_within_twelve_seconds() {
    let world = with_containers(4, 12).await;
    let failed = world.node(3);
    let began = tokio::time::Instant::now();
    world.machine(3).cut();
    world.until("all are UP elsewhere", |c| all_up_elsewhere(c, failed)).await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    world.machine(3).heal();
    world.until("balanced again", |c| c.nodes().all(|n| n.container_count() == 3 && n.is_eligible())).await;
    world.at_rest().await;
    for container in world.journal.cluster().containers() {
        assert_eq!(world.engines.places_of(container.id).len(), 1, "{} runs once", container.name);
    }
}

#[tokio::test(start_paused = true)]
async fn returning_node_keeps_its_unreplaced_containers() {
    // A single node: there is nowhere to move to.
    let world = with_containers(1, 3).await;
    world.machine(1).cut();
    world.until("they are LOST", |c| c.containers().all(|c| c.status() == Status::Lost)).await;
    world.machine(1).heal();
    world.until("they are UP", |c| c.containers().all(|c| c.status() == Status::Up)).await;
    assert_eq!(world.count("ContainerAdopted").await, 3);
    assert!(world.journal.cluster().containers().all(|c| c.generation.0 == 1));
}

#[tokio::test(start_paused = true)]
async fn restarted_machine_gets_its_containers_started_again() {
    let world = with_containers(1, 3).await;
    world.machine(1).crash(Crash::Machine);
    world.until("they are LOST", |c| c.containers().all(|c| c.status() == Status::Lost)).await;
    world.machine(1).start();
    world.until("they are UP", |c| c.containers().all(|c| c.status() == Status::Up)).await;
    assert!(world.journal.cluster().containers().all(|c| c.generation.0 == 1));
}

#[tokio::test(start_paused = true)]
async fn node_that_lost_its_disk_gets_its_containers_launched_again() {
    let world = with_containers(2, 6).await;
    world.machine(1).lose_disk();
    world
        .until("six are UP again", |c| {
            c.containers().all(|c| c.status() == Status::Up)
                && c.containers().filter(|c| c.generation.0 > 1).count() == 3
        })
        .await;
    world.at_rest().await;
    assert_eq!(world.counts(), vec![3, 3]);
}

#[tokio::test(start_paused = true)]
async fn mounted_node_receives_its_share() {
    let world = with_containers(2, 12).await;
    world.add_machine(3);
    world.mount(3).await;
    world.until("even", |c| c.nodes().all(|n| n.container_count() == 4)).await;
    world.at_rest().await;
    assert_eq!(world.count("ContainerMigrationCommanded").await, 4, "the fewest moves");
    assert!(world.count("RebalancePlanned").await >= 1);
}

#[tokio::test(start_paused = true)]
async fn drain_empties_a_node_without_stopping_service() {
    let world = with_containers(3, 9).await;
    let node = world.node(1);
    let mut subscription = world.journal.subscribe();
    world.submit(Command::DrainNode(node)).await.unwrap();
    loop {
        let committed = subscription.next().await.unwrap().unwrap();
        assert!(
            committed.cluster.containers().all(|c| c.status() == Status::Up),
            "a container was not served"
        );
        if committed.cluster.node(node).is_some_and(|n| n.drained) {
            break;
        }
    }
    let cluster = world.at_rest().await;
    assert_eq!(cluster.node(node).unwrap().availability, Availability::Draining);
    assert_eq!(cluster.node(node).unwrap().container_count(), 0);
    assert!(world.engines.containers(&World::endpoint(1)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn unmount_needs_force_while_containers_are_placed() {
    let world = with_containers(2, 4).await;
    let node = world.node(1);
    assert!(world.submit(Command::UnmountNode { node_id: node, force: false }).await.is_err());
    world.submit(Command::UnmountNode { node_id: node, force: true }).await.unwrap();
    world.until("it is gone", |c| c.node(node).is_none()).await;
    world.until("all are UP", |c| c.containers().all(|c| c.status() == Status::Up)).await;
    assert_eq!(world.counts(), vec![4]);
}

#[tokio::test(start_paused = true)]
async fn mass_failure_pauses_migrations() {
    let world = with_containers(4, 8).await;
    for number in 1..=3 {
        world.machine(number).cut();
    }
    world.until("moving is paused", |c| c.paused().is_some()).await;
    world.until("three are DOWN", |c| c.nodes().filter(|n| n.health == Health::Down).count() == 3).await;
    let moved = world.count("ContainerMigrationCommanded").await;
    for number in 1..=3 {
        world.machine(number).heal();
    }
    world.until("migrations resumed", |c| c.paused().is_none()).await;
    world.until("all are UP", |c| c.containers().all(|c| c.status() == Status::Up)).await;
    world.at_rest().await;
    assert!(moved <= 2, "at most the containers of the node that was judged before the brake: {moved}");
}

#[tokio::test(start_paused = true)]
async fn orphans_are_removed_and_foreign_containers_are_not() {
    let world = with_containers(1, 1).await;
    let id = world.journal.cluster().containers().next().unwrap().id;
    world.machine(1).run_foreign("foreign", &[]).unwrap();
    // Deleted while its node cannot be reached: the record goes at once, the container once it can be
    // reached.
    world.machine(1).cut();
    world.until("LOST", |c| c.containers().all(|c| c.status() == Status::Lost)).await;
    let application = world.journal.cluster().find_application("web").unwrap().id;
    world.submit(Command::ScaleApplication { application_id: application, replicas: 0 }).await.unwrap();
    world.until("the record is gone", |c| c.container(id).is_none()).await;
    assert_eq!(world.engines.places_of(id).len(), 1);
    world.machine(1).heal();
    world.until_engines("the orphan is gone", |engines| engines.places_of(id).is_empty()).await;
    assert_eq!(world.machine(1).foreign().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn killed_daemon_finds_everything_as_it_was() {
    let mut world = with_containers(3, 9).await;
    let before = world.journal.cluster();
    world.crash_and_restart().await;
    world.at_rest().await;
    let after = world.journal.cluster();
    for container in before.containers() {
        let now = after.container(container.id).unwrap();
        assert_eq!(now.generation, container.generation);
        assert_eq!(world.engines.places_of(container.id).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn kill_at_any_moment_of_a_launch_runs_each_container_once() {
    for moment_ms in (0..2_500).step_by(61) {
        let mut world = World::with_nodes(2).await;
        world.application("web", forever(), Some(4)).await;
        tokio::time::sleep(Duration::from_millis(moment_ms)).await;
        world.crash_and_restart().await;
        world.until("all are UP", |c| c.applications().all(|a| a.serving == 4)).await;
        world.at_rest().await;
        for container in world.journal.cluster().containers() {
            assert_eq!(world.engines.places_of(container.id).len(), 1, "killed after {moment_ms} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn kill_at_any_moment_of_a_migration_runs_each_container_once() {
    for moment_ms in (0..4_000).step_by(97) {
        let mut world = with_containers(3, 6).await;
        let drained = world.node(1);
        world.submit(Command::DrainNode(drained)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(moment_ms)).await;
        world.crash_and_restart().await;
        world.until("it is drained", |c| c.node(drained).is_some_and(|n| n.drained)).await;
        world.at_rest().await;
        assert!(all_up_elsewhere(&world.journal.cluster(), drained));
        for container in world.journal.cluster().containers() {
            assert_eq!(world.engines.places_of(container.id).len(), 1, "killed after {moment_ms} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn changed_address_is_another_engine_until_proven_the_same() {
    let world = with_containers(2, 2).await;
    world.add_machine(7);
    let node = world.node(1);
    let update = kdaemon_control::commands::UpdateNode {
        node_id: node,
        name: None,
        user_id: None,
        endpoint: Some(World::endpoint(7)),
        labels: None,
        capacity: None,
        availability: None,
    };
    world.submit(Command::UpdateNode(update)).await.unwrap();
    world
        .until_engines("missing containers are launched again", |engines| {
            engines.running(&World::endpoint(7)).len() == 1
        })
        .await;
    world.until("all are UP", |c| c.containers().all(|c| c.status() == Status::Up)).await;
    assert_eq!(world.counts(), vec![1, 1]);
}

#[tokio::test(start_paused = true)]
async fn replaced_engine_is_noticed_without_a_failed_probe() {
    let world = with_containers(3, 3).await;
    let id_of = |c: &kdaemon_projections::Cluster| {
        c.find_node("node-2").and_then(|node| node.engine.as_ref()).map(|engine| engine.engine_id.clone())
    };
    let former = id_of(&world.journal.cluster());
    world.add_machine(2);
    let cluster = world.until("its own id is known", |c| id_of(c) != former).await;
    assert_eq!(cluster.find_node("node-2").unwrap().health, Health::Up);
    world.until("all are UP", |c| c.applications().all(|a| a.serving == 3)).await;
}

#[tokio::test(start_paused = true)]
async fn deposed_leader_touches_no_engine() {
    let world = with_containers(2, 2).await;
    let term = world.journal.cluster().term().next();
    world.submit(Command::BecomeLeader { term, daemon: "another".into() }).await.unwrap();
    // One more probe finds out.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let pings = world.engines.calls(EngineCall::Ping);
    let id = world.container("one-more", "web").await;
    world.submit(Command::LaunchContainer(id)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.engines.calls(EngineCall::Ping), pings);
    assert_eq!(world.engines.places_of(id), []);
}

/// Without probation each return would cause as many moves as the failure before it.
#[tokio::test(start_paused = true)]
async fn flapping_node_causes_no_storm() {
    let world = with_containers(3, 12).await;
    let flapping = world.node(3);
    let is = |health: Health| {
        move |c: &kdaemon_projections::Cluster| c.node(flapping).is_some_and(|node| node.health == health)
    };
    let mut moves = Vec::new();
    for _ in 0..8 {
        let before = world.count("ContainerMigrationCommanded").await;
        world.machine(3).cut();
        world.until("it is DOWN", is(Health::Down)).await;
        world.until("all are UP elsewhere", |c| all_up_elsewhere(c, flapping)).await;
        world.machine(3).heal();
        world.until("it is UP", is(Health::Up)).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        moves.push(world.count("ContainerMigrationCommanded").await - before);
    }
    // Four leave it, and come back when it returns the first time; four leave again, and that is all.
    assert_eq!(moves, [8, 4, 0, 0, 0, 0, 0, 0]);
    // New launches go elsewhere too, though the node is the emptiest.
    let id = world.running("late", "web").await;
    assert_ne!(world.get(id).placement.as_ref().unwrap().node_id, flapping);
    // After it was quiet for long enough it gets its share.
    let even = |c: &kdaemon_projections::Cluster| c.node(flapping).is_some_and(|n| n.container_count() >= 4);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20 * 60);
    while !even(&world.journal.cluster()) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", world.counts());
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}
