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
