//! Containers on real engines.

use crate::cluster::Site;
use crate::support::eventually;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn twelve_containers_spread_over_three_nodes_and_answer() {
    let site = Site::with_engines(3).await;
    site.daemon.post("/applications/scale/web", json!({"replicas": 12})).await;
    let all = site.daemon.until_all_up(12).await;
    for number in 1..=3 {
        let node = site.daemon.get(&format!("/nodes/node-{number}")).await;
        assert_eq!(node["container_count"], 4, "{node}");
        assert_eq!(node["engine"]["kind"], "docker");
        assert!(node["engine"]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    }
    for container in &all {
        let link = container["access_link"].as_str().expect("a link");
        let page = reqwest::get(link).await.expect("it answers").text().await.unwrap();
        assert!(page.contains("kdaemon test page"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn killed_container_restarts_in_place_and_removed_one_comes_back() {
    let site = Site::with_engines(1).await;
    let container = site.launch("web-a").await;
    site.engine(1).kill(container["container_id"].as_str().unwrap()).await;
    let back = site
        .daemon
        .until("/containers/web-a", "it was started again", |c| c["restarts"] == 1 && c["status"] == "UP")
        .await;
    assert_eq!(back["container_id"], container["container_id"]);

    site.engine(1).remove(back["container_id"].as_str().unwrap()).await;
    let anew = site
        .daemon
        .until("/containers/web-a", "another one is UP", |c| c["generation"] == 2 && c["status"] == "UP")
        .await;
    assert_ne!(anew["container_id"], container["container_id"]);
    assert_eq!(site.places(container["id"].as_str().unwrap(), 1..=1).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn stop_launch_and_delete_take_effect_on_the_engine() {
    let site = Site::with_engines(1).await;
    let id = site.launch("web-a").await["id"].as_str().unwrap().to_owned();
    let stopped = site.daemon.post("/containers/stop/web-a?wait=30s", json!({})).await;
    assert_eq!(stopped["status"], "DOWN");
    assert_eq!(site.places(&id, 1..=1).await, (1, 0));
    let launched = site.daemon.post("/containers/launch/web-a?wait=30s", json!({})).await;
    assert_eq!(launched["status"], "UP");
    assert_eq!(site.places(&id, 1..=1).await, (1, 1));
    let (status, _) =
        site.daemon.ask(reqwest::Method::DELETE, "/containers/delete/web-a?wait=30s", None).await;
    assert_eq!(status, 200);
    assert_eq!(site.places(&id, 1..=1).await, (0, 0));
    let (status, _) = site.daemon.ask(reqwest::Method::GET, "/containers/web-a", None).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn foreign_containers_are_never_touched() {
    let site = Site::with_engines(1).await;
    let engine = site.engine(1);
    // One with the name that we want, and one with labels of another cluster.
    let named = engine.run_foreign("web-a", &site.image, json!({})).await;
    let other = json!({"io.kdaemon.cluster": "00000000-0000-0000-0000-000000000001",
        "io.kdaemon.container": "00000000-0000-0000-0000-000000000002", "io.kdaemon.generation": "1"});
    let labelled = engine.run_foreign("theirs", &site.image, other).await;
    site.launch("web-a").await;
    site.daemon.ask(reqwest::Method::DELETE, "/containers/delete/web-a?wait=30s", None).await;
    // Several lists of containers have been compared by then.
    let seq = site.daemon.get("/events?limit=1").await["head"].as_u64().unwrap();
    eventually("another list was compared", async || {
        let events = site.daemon.events(&format!("after={seq}&kind=NodeObserved")).await;
        events.iter().any(|e| e["data"]["outcome"]["running"] == 0).then_some(())
    })
    .await;
    let left: Vec<_> = engine.all().await.into_iter().filter(|c| c["State"] == "running").collect();
    let ids: Vec<_> = left.iter().map(|c| c["Id"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(ids.contains(&named) && ids.contains(&labelled) && ids.len() == 2, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn image_is_pulled_and_a_missing_one_fails_with_the_engines_message() {
    let site = Site::with_engines(2).await;
    let image = tokio::task::block_in_place(|| {
        site.cluster.registry();
        site.cluster.push(1, "kdaemon/web", "latest")
    });
    site.daemon
        .post(
            "/applications/create",
            json!({"name": "pulled", "docker_image": image, "exposed_ports": ["80/tcp"], "constraints": ["side==b"]}),
        )
        .await;
    let (status, _) = site
        .daemon
        .ask(reqwest::Method::PATCH, "/nodes/update/node-2", Some(json!({"labels": {"side": "b"}})))
        .await;
    assert_eq!(status, 200);
    site.daemon.post("/containers/create", json!({"name": "p", "application_id": "pulled"})).await;
    let up = site.daemon.post("/containers/launch/p?wait=60s", json!({})).await;
    assert_eq!(up["status"], "UP", "{up}");
    assert_eq!(up["node_id"].as_str(), Some(site.node_id(2).await.as_str()));

    let registry = image.split('/').next().unwrap();
    site.daemon
        .post(
            "/applications/create",
            json!({"name": "typo", "docker_image": format!("{registry}/no/such:image")}),
        )
        .await;
    site.daemon.post("/containers/create", json!({"name": "t", "application_id": "typo"})).await;
    let (status, problem) =
        site.daemon.ask(reqwest::Method::POST, "/containers/launch/t?wait=60s", Some(json!({}))).await;
    assert_eq!(status, 409, "{problem}");
    let failed = site.daemon.until("/containers/t", "it FAILED", |c| c["status"] == "FAILED").await;
    assert!(failed["reason"].as_str().unwrap().contains("no/such"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn pull_progress_is_reported_during_a_launch() {
    const SIZE: u64 = 64 << 20;
    let site = Site::with_engines(2).await;
    // Random bytes, so that the layer cannot be compressed.
    let command = format!("head -c {SIZE} /dev/urandom >/large");
    site.engine(1).make_image("kdaemon/large", &site.image, &command).await;
    let image = tokio::task::block_in_place(|| {
        site.cluster.registry();
        site.cluster.push(1, "kdaemon/large", "latest")
    });
    let (status, _) = site
        .daemon
        .ask(reqwest::Method::PATCH, "/nodes/update/node-2", Some(json!({"labels": {"side": "b"}})))
        .await;
    assert_eq!(status, 200);
    let application = json!({"name": "large", "docker_image": image, "constraints": ["side==b"], "command": ["sleep", "1000"],
        "entrypoint": []});
    site.daemon.post("/applications/create", application).await;
    site.daemon.post("/containers/create", json!({"name": "l", "application_id": "large"})).await;
    site.daemon.post("/containers/launch/l", json!({})).await;
    // The image has a small layer too, which arrives first: the pull is not complete with that.
    let mut told = Vec::new();
    eventually("all of it has come", async || {
        let progress = site.daemon.get("/containers/l/progress").await;
        if progress["step"] == "pulling" {
            assert_eq!(progress["image"], *image);
            told.extend(progress["percent"].as_u64().map(|percent| (percent, progress)));
        }
        told.last().filter(|(percent, _)| *percent == 100).map(|_| ())
    })
    .await;
    let bytes = |(_, progress): &(u64, serde_json::Value), field: &str| progress[field].as_u64().unwrap();
    assert!(told.iter().all(|one| bytes(one, "bytes") <= bytes(one, "of")), "{told:?}");
    let whole: Vec<_> = told.iter().filter(|(percent, _)| *percent == 100).collect();
    assert!(whole.iter().all(|one| bytes(one, "of") >= SIZE), "{whole:?}");
    let part: Vec<_> = told.iter().filter(|(percent, _)| (1..100).contains(percent)).collect();
    assert!(part.iter().any(|one| bytes(one, "of") >= SIZE), "{told:?}");
    site.daemon.until("/containers/l", "it is UP", |c| c["status"] == "UP").await;
    let after = site.daemon.get("/containers/l/progress").await;
    assert_eq!((&after["step"], &after["percent"]), (&json!("none"), &json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn logs_stream_and_limits_variables_and_ports_arrive() {
    let site = Site::with_engines(1).await;
    let spec = json!({
        "name": "full", "docker_image": site.image,
        "command": ["sh", "-c", "echo hello $WHO; while true; do sleep 1; echo again; done"],
        "env_variables": "WHO=world,OTHER=a\\,b", "exposed_ports": "8085:80,53/udp", "restart_policy": "no",
        "resources": {"cpus": 0.25, "memory": "32MiB"}, "labels": {"team": "blue"}, "volumes": ["data:/data"]
    });
    site.daemon.post("/applications/create", spec).await;
    site.daemon.post("/containers/create", json!({"name": "f", "application_id": "full"})).await;
    let up = site.daemon.post("/containers/launch/f?wait=30s", json!({})).await;
    assert_eq!(up["status"], "UP", "{up}");
    assert!(up["access_link"].as_str().unwrap().ends_with(":8085"));
    assert_eq!(up["ports"].as_array().unwrap().len(), 2);

    let mut stream = reqwest::get(site.daemon.url("/containers/f/logs?follow=true")).await.unwrap();
    let mut seen = String::new();
    eventually("the output followed", async || {
        if let Ok(Some(chunk)) = stream.chunk().await {
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
        (seen.contains("hello world") && seen.contains("again")).then_some(())
    })
    .await;

    let stats = site.daemon.get("/containers/f/stats").await;
    assert_eq!(stats["memory_limit_bytes"], 32 * 1024 * 1024, "{stats}");
}
