//! Networks that launches created are removed from engines when nothing needs them.

use crate::reactors::harness::{World, forever};
use kdaemon_control::commands::Command;
use kdaemon_events::SpecChanges;
use kdaemon_projections::Status;
use std::time::Duration;

fn networks(world: &World, number: usize) -> Vec<String> {
    world.machine(number).holdings().1
}

fn in_network(name: &str) -> SpecChanges {
    SpecChanges { networks: Some(vec![name.into()]), ..forever() }
}

#[tokio::test(start_paused = true)]
async fn networks_without_an_application_are_removed() {
    let world = World::with_nodes(1).await;
    world.machine(1).create_network("foreign");
    // More stacks, one after another, than an engine has room for.
    for stack in 1..=3 {
        let name = format!("stack-{stack}");
        let application = world.application(&name, in_network(&name), None).await;
        let container = world.running(&name, &name).await;
        assert_eq!(networks(&world, 1), ["foreign".to_owned(), name.clone()]);
        world.submit(Command::DeleteContainer { container_id: container, volumes: false }).await.unwrap();
        world.until("it is gone", |c| c.container(container).is_none()).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(networks(&world, 1).len(), 2, "the application names it");
        world.submit(Command::DeleteApplication(application)).await.unwrap();
        world.until_engines("the network is removed", |_| networks(&world, 1) == ["foreign"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn network_is_removed_when_its_last_container_is_gone() {
    let world = World::with_nodes(2).await;
    let application = world.application("web", in_network("old"), None).await;
    let container = world.running("web-a", "web").await;
    let update = kdaemon_control::commands::UpdateApplication {
        application_id: application,
        name: None,
        user_id: None,
        spec: in_network("new"),
        is_enabled: None,
        affinity: None,
        dependencies: None,
        replicas: None,
        update_policy: None,
        update: None,
    };
    world.submit(Command::UpdateApplication(Box::new(update))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let has_old = |world: &World| (1..=2).any(|number| networks(world, number).contains(&"old".to_owned()));
    assert!(has_old(&world), "the container still runs in it");
    world.submit(Command::StopContainer(container)).await.unwrap();
    world.until_status(container, Status::Down).await;
    world.submit(Command::LaunchContainer(container)).await.unwrap();
    world.until_status(container, Status::Up).await;
    world.until_engines("the network is removed", |_| !has_old(&world)).await;
}

#[tokio::test(start_paused = true)]
async fn networks_of_a_node_that_was_down_are_removed_when_it_is_back() {
    let world = World::with_nodes(1).await;
    let application = world.application("web", in_network("front"), None).await;
    let container = world.running("web-a", "web").await;
    world.machine(1).cut();
    world.submit(Command::DeleteContainer { container_id: container, volumes: false }).await.unwrap();
    world.until("it is gone", |c| c.container(container).is_none()).await;
    world.submit(Command::DeleteApplication(application)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.machine(1).heal();
    world.until_engines("the network is removed", |_| networks(&world, 1).is_empty()).await;
}
