//! The engine's own API, past the daemon: to check what really runs, and to interfere.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // each test binary uses its own part

use kdaemon_events::Endpoint;
use serde_json::{Value, json};

/// One engine, called directly.
pub(crate) struct EngineApi {
    address: String,
    client: reqwest::Client,
}

impl EngineApi {
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        let address = endpoint.to_string().replace("tcp://", "http://");
        Self { address, client: reqwest::Client::new() }
    }

    /// All containers, running or not.
    pub(crate) async fn all(&self) -> Vec<Value> {
        let url = format!("{}/containers/json?all=true", self.address);
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The containers of one of our records, running or not.
    pub(crate) async fn of_record(&self, id: &str) -> Vec<Value> {
        let all = self.all().await;
        all.into_iter().filter(|c| c["Labels"]["io.kdaemon.container"] == id).collect()
    }

    /// Kills the process of a container.
    pub(crate) async fn kill(&self, engine_id: &str) {
        let url = format!("{}/containers/{engine_id}/kill", self.address);
        assert!(self.client.post(url).send().await.unwrap().status().is_success());
    }

    /// Posts to a path of the API.
    pub(crate) async fn post(&self, path: &str) {
        let answer = self.client.post(format!("{}{path}", self.address)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// The names of all volumes, in order.
    pub(crate) async fn volumes(&self) -> Vec<String> {
        let url = format!("{}/volumes", self.address);
        let listed: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        let volumes = listed["Volumes"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<_> =
            volumes.iter().filter_map(|v| v["Name"].as_str().map(ToOwned::to_owned)).collect();
        names.sort();
        names
    }

    /// Removes a container, running or not.
    pub(crate) async fn remove(&self, engine_id: &str) {
        let url = format!("{}/containers/{engine_id}?force=true", self.address);
        assert!(self.client.delete(url).send().await.unwrap().status().is_success());
    }

    /// Runs a foreign container.
    pub(crate) async fn run_foreign(&self, name: &str, image: &str, labels: Value) -> String {
        let url = format!("{}/containers/create?name={name}", self.address);
        let body = json!({"Image": image, "Labels": labels});
        let made: Value = self.client.post(url).json(&body).send().await.unwrap().json().await.unwrap();
        let id = made["Id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let url = format!("{}/containers/{id}/start", self.address);
        assert!(self.client.post(url).send().await.unwrap().status().is_success());
        id
    }

    /// Makes an image from what a shell command leaves in a container of another image.
    pub(crate) async fn make_image(&self, repo: &str, from: &str, command: &str) {
        let url = format!("{}/containers/create", self.address);
        let body = json!({"Image": from, "Entrypoint": ["sh", "-c", command]});
        let made: Value = self.client.post(url).json(&body).send().await.unwrap().json().await.unwrap();
        let id = made["Id"].as_str().unwrap_or_else(|| panic!("{made}"));
        for step in ["start", "wait"] {
            let url = format!("{}/containers/{id}/{step}", self.address);
            let answer = self.client.post(url).send().await.unwrap();
            assert!(answer.status().is_success());
            answer.bytes().await.unwrap(); // it ends when what is waited for is there
        }
        let url = format!("{}/commit?container={id}&repo={repo}&tag=latest", self.address);
        assert!(self.client.post(url).json(&json!({})).send().await.unwrap().status().is_success());
        self.remove(id).await;
    }
}
