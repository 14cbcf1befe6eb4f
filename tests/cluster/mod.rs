//! The daemon on real Docker engines, spoken to over HTTP alone.

mod backup;
mod containers;
mod crashes;
mod nodes;
mod workloads;

use crate::support::Cluster;
use crate::support::daemon::Daemon;
use crate::support::engine_api::EngineApi;
use serde_json::json;

/// A daemon with real engines mounted as `node-1` …, and an application `web` that serves HTTP.
struct Site {
    cluster: Cluster,
    daemon: Daemon,
    image: String,
}

impl Site {
    async fn with_engines(count: usize) -> Self {
        let (cluster, image) = tokio::task::spawn_blocking(move || {
            let cluster = Cluster::up(count);
            let image = cluster.image("kdaemon/web:latest");
            (cluster, image)
        })
        .await
        .expect("engines");
        let daemon = Daemon::start().await;
        for number in 1..=count {
            daemon.mount(&format!("node-{number}"), &cluster.endpoint(number).to_string()).await;
        }
        daemon
            .post(
                "/applications/create",
                json!({"name": "web", "docker_image": image, "exposed_ports": "80", "user_id": "u1"}),
            )
            .await;
        Self { cluster, daemon, image }
    }

    fn engine(&self, number: usize) -> EngineApi {
        EngineApi::new(&self.cluster.endpoint(number))
    }

    async fn node_id(&self, number: usize) -> String {
        self.daemon.get(&format!("/nodes/node-{number}")).await["id"].as_str().expect("an id").to_owned()
    }

    /// Creates and launches a container and waits until it is UP.
    async fn launch(&self, name: &str) -> serde_json::Value {
        self.daemon.post("/containers/create", json!({"name": name, "application_id": "web"})).await;
        self.daemon.post(&format!("/containers/launch/{name}?wait=30s"), json!({})).await;
        self.daemon.until(&format!("/containers/{name}"), "it is UP", |c| c["status"] == "UP").await
    }

    /// On which engines a record has a container, running or not, and how many run.
    async fn places(&self, id: &str, engines: std::ops::RangeInclusive<usize>) -> (usize, usize) {
        let mut all = 0;
        let mut running = 0;
        for number in engines {
            for container in self.engine(number).of_record(id).await {
                all += 1;
                running += usize::from(container["State"] == "running");
            }
        }
        (all, running)
    }
}
