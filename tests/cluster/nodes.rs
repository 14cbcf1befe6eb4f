//! Nodes that fail, return, are drained and unmounted, on real engines.

use crate::cluster::Site;
use serde_json::{Value, json};

fn all_up_elsewhere(all: &Value, count: usize, failed: &str) -> bool {
    all.as_array().is_some_and(|all| {
        all.len() == count && all.iter().all(|c| c["status"] == "UP" && c["node_id"] != failed)
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn killed_engine_loses_its_containers_and_regains_its_share() {
    let site = Site::with_engines(3).await;
    site.daemon.post("/applications/scale/web", json!({"replicas": 6})).await;
    site.daemon.until_all_up(6).await;
    let failed = site.node_id(2).await;
    tokio::task::block_in_place(|| site.cluster.kill_engine(2));
    site.daemon.until("/containers", "all are UP elsewhere", |all| all_up_elsewhere(all, 6, &failed)).await;

    // It returns with containers that were replaced: they are removed, and it takes new ones.
    tokio::task::block_in_place(|| site.cluster.start(2));
    site.daemon
        .until("/nodes", "two on each", |nodes| {
            nodes
                .as_array()
                .is_some_and(|nodes| nodes.iter().all(|n| n["container_count"] == 2 && n["state"] == "UP"))
        })
        .await;
    for container in site.daemon.until_all_up(6).await {
        let id = container["id"].as_str().unwrap().to_owned();
        crate::support::eventually("it is there once", async || {
            (site.places(&id, 1..=3).await == (1, 1)).then_some(())
        })
        .await;
    }
    let unhealthy = site.daemon.events("kind=NodeUnhealthy").await;
    let moved = site.daemon.events("kind=ContainerMigrationCommanded").await;
    let because: Vec<_> = moved.iter().filter(|e| e["data"]["reason"] == "unhealthy").collect();
    assert_eq!(because.len(), 2);
    assert!(because.iter().all(|e| e["cause"] == unhealthy[0]["seq"]));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn cut_link_heals_without_duplicate_containers() {
    let site = Site::with_engines(3).await;
    site.daemon.post("/applications/scale/web", json!({"replicas": 3})).await;
    site.daemon.until_all_up(3).await;
    let failed = site.node_id(1).await;
    tokio::task::block_in_place(|| site.cluster.cut(1));
    site.daemon.until("/nodes/node-1", "it is DOWN", |n| n["state"] == "DOWN").await;
    site.daemon.until("/containers", "all are UP elsewhere", |all| all_up_elsewhere(all, 3, &failed)).await;
    tokio::task::block_in_place(|| site.cluster.heal(1));
    site.daemon
        .until("/nodes", "one on each", |nodes| {
            nodes.as_array().is_some_and(|nodes| nodes.iter().all(|n| n["container_count"] == 1))
        })
        .await;
    for container in site.daemon.until_all_up(3).await {
        let id = container["id"].as_str().unwrap().to_owned();
        crate::support::eventually("it is there once", async || {
            (site.places(&id, 1..=3).await == (1, 1)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn lone_returning_node_keeps_its_containers() {
    let site = Site::with_engines(1).await;
    let before = site.launch("web-a").await;
    tokio::task::block_in_place(|| site.cluster.cut(1));
    site.daemon.until("/containers/web-a", "it is LOST", |c| c["status"] == "LOST").await;
    tokio::task::block_in_place(|| site.cluster.heal(1));
    let after = site.daemon.until("/containers/web-a", "it is UP", |c| c["status"] == "UP").await;
    assert_eq!(after["container_id"], before["container_id"]);
    assert_eq!(after["generation"], 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn drain_moves_everything_without_an_outage() {
    let site = Site::with_engines(2).await;
    site.daemon.post("/applications/scale/web", json!({"replicas": 4})).await;
    site.daemon.until_all_up(4).await;
    let drained = site.daemon.post("/nodes/drain/node-1?wait=60s", json!({})).await;
    assert_eq!(drained["availability"], "draining");
    assert_eq!(drained["container_count"], 0);
    assert!(site.engine(1).all().await.is_empty());
    site.daemon.until_all_up(4).await;
    let started_first = site.daemon.events("kind=ContainerMigrationCommanded").await;
    assert_eq!(started_first.len(), 2);
    assert!(started_first.iter().all(|e| e["data"]["start_first"] == true));

    let (status, _) = site.daemon.ask(reqwest::Method::DELETE, "/nodes/delete/node-2", None).await;
    assert_eq!(status, 409, "containers are placed there");
    let (status, _) = site.daemon.ask(reqwest::Method::DELETE, "/nodes/delete/node-1?wait=30s", None).await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn forced_unmount_of_the_last_node_ends() {
    let site = Site::with_engines(1).await;
    site.launch("web-a").await;
    let path = "/nodes/delete/node-1?force=true&wait=60s";
    let (status, node) = site.daemon.ask(reqwest::Method::DELETE, path, None).await;
    assert_eq!(status, 200, "{node}");
    assert!(site.engine(1).all().await.is_empty());
    let waiting = site.daemon.get("/containers/web-a").await;
    assert_eq!((&waiting["status"], &waiting["node_id"]), (&json!("LAUNCHING"), &json!(null)), "{waiting}");
    let unmounted = site.daemon.events("kind=NodeUnmounted").await;
    assert_eq!(unmounted[0]["data"].get("left"), None, "{unmounted:?}");
}
