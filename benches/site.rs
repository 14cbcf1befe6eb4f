//! A daemon with real engines, and an application of which containers are launched on them.

use crate::figures::progress;
use crate::support::Cluster;
use crate::support::daemon::Daemon;
use serde_json::{Value, json};
use std::time::Duration;

/// How many engines there are.
pub(crate) const ENGINES: usize = 4;
/// How many containers are launched on them.
pub(crate) const CONTAINERS: usize = 40;
/// How often the daemon is asked how far it is.
const POLL: Duration = Duration::from_millis(10);

/// The engines, mounted as `node-1` …, and the application `web`.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) daemon: Daemon,
    pub(crate) image: String,
}

impl Site {
    /// `None`, and a line that says why, where there can be no real engines.
    pub(crate) async fn up() -> Option<Self> {
        if let Err(why) = Cluster::possible() {
            eprintln!("left out, what needs Docker engines: {why}");
            return None;
        }
        progress(&format!("starting {ENGINES} engines and a daemon"));
        let cluster = Cluster::up(ENGINES);
        let image = cluster.image("kdaemon/web");
        let daemon = Daemon::start().await;
        for number in 1..=ENGINES {
            daemon.mount(&format!("node-{number}"), &cluster.endpoint(number).to_string()).await;
        }
        let web = json!({"name": "web", "docker_image": image, "exposed_ports": "80"});
        daemon.post("/applications/create", web).await;
        Some(Self { cluster, daemon, image })
    }

    /// Asks for so many containers, and waits until all of them are UP, or until none is left.
    pub(crate) async fn scale(&self, replicas: usize) {
        self.daemon.post("/applications/scale/web", json!({"replicas": replicas})).await;
        while !self.containers().await.iter().all(is_up) || self.containers().await.len() != replicas {
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) async fn containers(&self) -> Vec<Value> {
        self.daemon.get("/containers").await.as_array().cloned().unwrap_or_default()
    }

    /// Waits until every node works and has its even share of containers, all UP.
    pub(crate) async fn until_even(&self) {
        let is_even = |node: &Value| node["state"] == "UP" && node["container_count"] == CONTAINERS / ENGINES;
        let all_even = |nodes: &Value| nodes.as_array().is_some_and(|nodes| nodes.iter().all(is_even));
        self.daemon.until("/nodes", "all nodes have as many containers", all_even).await;
        self.daemon.until_all_up(CONTAINERS).await;
    }
}

/// Whether a container is UP.
pub(crate) fn is_up(container: &Value) -> bool {
    container["status"] == "UP"
}
