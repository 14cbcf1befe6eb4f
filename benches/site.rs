//! A daemon with real engines and one application.

use crate::figures::progress;
use crate::support::Cluster;
use crate::support::daemon::Daemon;
use serde_json::{Value, json};
use std::time::Duration;

/// The number of engines.
pub(crate) const ENGINES: usize = 4;
/// The number of containers on all engines together.
pub(crate) const CONTAINERS: usize = 40;
/// The interval at which the daemon is polled.
const POLL: Duration = Duration::from_millis(10);

/// Engines mounted as `node-1` and so on, and the application `web`.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) daemon: Daemon,
    pub(crate) image: String,
}

impl Site {
    /// Starts engines and daemon; the reason where no real engines can be started.
    pub(crate) async fn up() -> Result<Self, &'static str> {
        Cluster::possible()?;
        progress(&format!("starting {ENGINES} engines and a daemon"));
        let cluster = Cluster::up(ENGINES);
        let image = cluster.image("kdaemon/web");
        let daemon = Daemon::start().await;
        for number in 1..=ENGINES {
            daemon.mount(&format!("node-{number}"), &cluster.endpoint(number).to_string()).await;
        }
        let web = json!({"name": "web", "docker_image": image, "exposed_ports": "80"});
        daemon.post("/applications/create", web).await;
        Ok(Self { cluster, daemon, image })
    }

    /// Sets the number of replicas and waits until all of them are UP, or until none is left.
    pub(crate) async fn scale(&self, replicas: usize) {
        self.daemon.post("/applications/scale/web", json!({"replicas": replicas})).await;
        while !self.containers().await.iter().all(is_up) || self.containers().await.len() != replicas {
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) async fn containers(&self) -> Vec<Value> {
        self.daemon.get("/containers").await.as_array().cloned().unwrap_or_default()
    }

    /// Waits until every node is UP with its even share of containers, all of them UP.
    pub(crate) async fn until_even(&self) {
        let is_even = |node: &Value| node["state"] == "UP" && node["container_count"] == CONTAINERS / ENGINES;
        let all_even = |nodes: &Value| nodes.as_array().is_some_and(|nodes| nodes.iter().all(is_even));
        self.daemon.until("/nodes", "all nodes have the same number of containers", all_even).await;
        self.daemon.until_all_up(CONTAINERS).await;
    }
}

/// Whether a row of the API is a container that is UP.
pub(crate) fn is_up(container: &Value) -> bool {
    container["status"] == "UP"
}
