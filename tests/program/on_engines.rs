//! The engine of the daemon's own machine.

use crate::support::Cluster;
use crate::support::daemon::Daemon;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn local_engine_is_mounted_as_local() {
    let cluster = tokio::task::block_in_place(|| Cluster::up(1));
    let socket = cluster.socket(1).to_string();
    let daemon = Daemon::start_with(&[], &[("KDAEMON_LOCAL_ENDPOINT", &socket)]).await;
    let node = daemon.until("/nodes/local", "it is UP", |node| node["state"] == "UP").await;
    assert_eq!(node["endpoint"], socket.as_str());
    assert_eq!(node["engine"]["kind"], "docker");

    // The same engine under another address would have two masters.
    let tcp = cluster.endpoint(1).to_string();
    daemon.post("/nodes/create", json!({"name": "again", "endpoint": tcp})).await;
    let twin = daemon.until("/nodes/again", "it is DOWN", |node| node["state"] == "DOWN").await;
    assert!(twin["reason"].as_str().unwrap().contains("same id as that of node local"), "{twin}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn unmounted_local_engine_stays_unmounted() {
    let cluster = tokio::task::block_in_place(|| Cluster::up(1));
    let socket = cluster.socket(1).to_string();
    let mut daemon = Daemon::start_with(&[], &[("KDAEMON_LOCAL_ENDPOINT", &socket)]).await;
    daemon.until("/nodes/local", "it is UP", |node| node["state"] == "UP").await;
    let (status, node) = daemon.ask(reqwest::Method::DELETE, "/nodes/delete/local", None).await;
    assert!(status.is_success(), "{node}");
    daemon.kill();
    daemon.begin().await;
    assert_eq!(daemon.get("/nodes").await, json!([]));
    let hint = format!("kdaemon nodes add {socket} --name local");
    assert!(daemon.log.lock().unwrap().contains(&hint), "the log says how to mount it again");
}
