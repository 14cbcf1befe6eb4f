//! What people's workloads need: their data, rollouts that stop, jobs that are done once.

use crate::cluster::Site;
use crate::support::eventually;
use serde_json::{Value, json};
use std::time::Duration;

/// Writes a mark where the image declares a volume, unless there is one, and shows it at the root.
const KEEPS_A_MARK: &str = "[ -e /data/mark ] || cat /proc/sys/kernel/random/uuid >/data/mark; \
                            cp /data/mark /www/index.html; exec httpd -f -p 80 -h /www";

impl Site {
    /// An application whose image declares a volume, on engines 1 to `engines`.
    async fn database(&self, engines: usize) {
        let image = tokio::task::block_in_place(|| {
            let mut name = String::new();
            for number in 1..=engines {
                name = self.cluster.image_with("kdaemon/db:latest", number, "VOLUME /data");
            }
            name
        });
        self.daemon
            .post(
                "/applications/create",
                json!({"name": "db", "docker_image": image, "exposed_ports": "80", "update_policy": "rolling",
                    "command": ["sh", "-c", KEEPS_A_MARK]}),
            )
            .await;
        self.daemon.post("/containers/create", json!({"name": "db-1", "application_id": "db"})).await;
        self.daemon.post("/containers/launch/db-1?wait=60s", json!({})).await;
    }

    async fn serving(&self, name: &str, what: &str) -> Value {
        let path = format!("/containers/{name}");
        self.daemon.until(&path, what, |c| c["status"] == "UP" && c["serving"] == true).await
    }

    /// The text at a container's link.
    async fn page(&self, container: &Value) -> String {
        let link = container["access_link"].as_str().expect("a link").to_owned();
        eventually("it answers", async || reqwest::get(&link).await.ok()?.text().await.ok()).await
    }

    async fn patch(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.daemon.ask(reqwest::Method::PATCH, path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn anonymous_volume_outlives_what_happens_to_its_container() {
    let site = Site::with_engines(2).await;
    site.database(2).await;
    let first = site.serving("db-1", "it serves").await;
    let mark = site.page(&first).await;
    assert!(mark.len() > 30, "{mark}");
    // A stop and a launch: the same container.
    site.daemon.post("/containers/stop/db-1?wait=60s", json!({})).await;
    site.daemon.post("/containers/launch/db-1?wait=60s", json!({})).await;
    let again = site.serving("db-1", "it serves again").await;
    assert_eq!((&again["container_id"], site.page(&again).await), (&first["container_id"], mark.clone()));
    // An edit replaces the container, on its node, with its volume.
    site.patch("/applications/update/db", json!({"labels": {"edited": "yes"}})).await;
    let edited = site
        .daemon
        .until("/containers/db-1", "it was replaced", |c| c["generation"] == 2 && c["serving"] == true)
        .await;
    assert_eq!((&edited["node_id"], site.page(&edited).await), (&first["node_id"], mark.clone()));
    // A drain does not move it; the reason names the volume.
    let node = first["node_id"].as_str().unwrap();
    site.daemon.post(&format!("/nodes/drain/{node}"), json!({})).await;
    let waits = site
        .daemon
        .until("/containers/db-1", "it says why it stays", |c| {
            c["reason"].as_str().is_some_and(|reason| reason.contains("anonymous volume"))
        })
        .await;
    assert_eq!((&waits["status"], &waits["node_id"]), (&json!("UP"), &first["node_id"]));
    site.daemon.post(&format!("/nodes/uncordon/{node}"), json!({})).await;
    // Another client removes the container.
    let number = if site.node_id(1).await == node { 1 } else { 2 };
    site.engine(number).remove(edited["container_id"].as_str().unwrap()).await;
    let back = site
        .daemon
        .until("/containers/db-1", "it is back", |c| c["generation"] == 3 && c["serving"] == true)
        .await;
    assert_eq!((&back["node_id"], site.page(&back).await), (&first["node_id"], mark));
    // Deleting the record leaves the volume to a person.
    let volumes = site.engine(number).volumes().await;
    let (status, _) =
        site.daemon.ask(reqwest::Method::DELETE, "/containers/delete/db-1?wait=60s", None).await;
    assert_eq!(status, 200);
    assert_eq!(site.engine(number).volumes().await, volumes);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn anonymous_volumes_are_deleted_with_a_container_on_request() {
    let site = Site::with_engines(1).await;
    site.database(1).await;
    site.serving("db-1", "it serves").await;
    assert_eq!(site.engine(1).volumes().await.len(), 1);
    let (status, _) =
        site.daemon.ask(reqwest::Method::DELETE, "/containers/delete/db-1?volumes=true&wait=60s", None).await;
    assert_eq!(status, 200);
    assert_eq!(site.engine(1).volumes().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn rollout_to_what_ends_is_paused_with_the_old_ones_serving_and_healed_by_an_edit() {
    let site = Site::with_engines(2).await;
    site.patch(
        "/applications/update/web",
        json!({"update_policy": "rolling", "replicas": 3, "update": {"min_ready": "2s"}}),
    )
    .await;
    site.daemon.until("/applications/web", "three are there", |a| a["replicas"] == 3).await;
    let all_serve = async |what: &str| {
        eventually(what, async || {
            let all = site.daemon.get("/containers").await;
            let serve = |c: &Value| c["serving"] == true && c["status"] == "UP";
            let all = all.as_array()?.clone();
            (all.len() == 3 && all.iter().all(serve)).then_some(all)
        })
        .await
    };
    all_serve("all serve").await;
    let before = site.daemon.get("/events?limit=1").await["head"].as_u64().unwrap();
    site.patch("/applications/update/web", json!({"command": ["sh", "-c", "exit 1"]})).await;
    let paused = site
        .daemon
        .until("/applications/web", "the rollout is paused", |a| a["rollout"]["state"] == "paused")
        .await;
    assert!(paused["rollout"]["reason"].as_str().unwrap().contains("2 failures"), "{paused}");
    all_serve("the old ones serve").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let events = site.daemon.events(&format!("after={before}")).await;
    let events: Vec<_> = events.iter().filter(|e| e["kind"] != "NodeObserved").collect();
    eprintln!("a rollout that fails wrote {} events", events.len());
    assert!(events.len() < 25, "{} events: {events:#?}", events.len());
    // The next edit heals it.
    site.patch("/applications/update/web", json!({"command": null, "env_variables": "FIXED=1"})).await;
    site.daemon
        .until("/applications/web", "the rollout is complete", |a| a["rollout"]["state"] == "completed")
        .await;
    let all = all_serve("the new ones serve").await;
    assert!(all.iter().all(|c| c["outdated"] == false), "{all:?}");
    // And back to what served before.
    let (status, answer) =
        site.daemon.ask(reqwest::Method::POST, "/applications/rollback/web?wait=120s", Some(json!({}))).await;
    assert_eq!((status.as_u16(), answer["env_variables"].as_str()), (200, Some("")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn job_is_done_once_also_when_it_ends_while_the_daemon_is_away() {
    let mut site = Site::with_engines(1).await;
    site.daemon
        .post(
            "/applications/create",
            json!({"name": "job", "docker_image": site.image, "restart_policy": "on-failure",
                "command": ["sh", "-c", "sleep 6; echo done"]}),
        )
        .await;
    site.daemon.post("/applications/scale/job", json!({"replicas": 1})).await;
    site.daemon.until("/containers/job-1", "it runs", |c| c["status"] == "UP").await;
    site.daemon.kill();
    tokio::time::sleep(Duration::from_secs(8)).await;
    site.daemon.begin().await;
    let done =
        site.daemon.until("/containers/job-1", "it has completed", |c| c["status"] == "COMPLETED").await;
    assert_eq!((&done["exit_code"], &done["generation"]), (&json!(0), &json!(1)), "{done}");
    site.daemon.post("/applications/scale/job", json!({"replicas": 1})).await;
    tokio::time::sleep(Duration::from_secs(12)).await; // a list of the engine's containers and more
    let still = site.daemon.get("/containers/job-1").await;
    assert_eq!(
        (&still["status"], &still["generation"], &still["restarts"]),
        (&json!("COMPLETED"), &json!(1), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn health_ports_and_pauses_that_others_change_are_followed() {
    let site = Site::with_engines(1).await;
    site.patch(
        "/applications/update/web",
        json!({"health_check": {"command": ["test -e /www/index.html"], "interval_ms": 500, "timeout_ms": 500,
            "retries": 2}}),
    )
    .await;
    site.launch("web-a").await;
    let up = site.daemon.until("/containers/web-a", "it is healthy", |c| c["health"] == "healthy").await;
    assert_eq!(up["serving"], true);
    let id = up["container_id"].as_str().unwrap();
    // `docker restart`: another port, and the link follows.
    site.engine(1).post(&format!("/containers/{id}/restart?t=0")).await;
    eventually("the link answers", async || {
        let row = site.daemon.get("/containers/web-a").await;
        reqwest::get(row["access_link"].as_str()?).await.ok()?.text().await.ok()
    })
    .await;
    site.engine(1).post(&format!("/containers/{id}/pause")).await;
    let paused = site.daemon.until("/containers/web-a", "it is paused", |c| c["status"] == "PAUSED").await;
    assert_eq!(paused["serving"], false);
    site.engine(1).post(&format!("/containers/{id}/unpause")).await;
    site.daemon
        .until("/containers/web-a", "it serves", |c| c["status"] == "UP" && c["serving"] == true)
        .await;
}
