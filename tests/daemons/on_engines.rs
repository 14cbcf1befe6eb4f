//! Leaders with containers to manage: one freezes, one has another clock.

use crate::daemons::{Fleet, libfaketime};
use crate::support::engine_api::EngineApi;
use crate::support::{Cluster, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program `rethinkdb` and Docker engines: scripts/test"]
async fn frozen_leader_does_no_harm_when_it_wakes() {
    let fleet = Fleet::start(1, 2).await;
    let first = fleet.leader().await;
    let second = 1 - first;
    let engines = tokio::task::spawn_blocking(|| Cluster::up(2)).await.unwrap();
    let image = engines.image("kdaemon/web:latest");
    for number in 1..=2 {
        let (name, endpoint) = (format!("node-{number}"), engines.endpoint(number).to_string());
        fleet.daemons[second].mount(&name, &endpoint).await;
    }
    let web = json!({"name": "web", "docker_image": image, "replicas": 6});
    fleet.daemons[second].post("/applications/create", web).await;
    // It freezes in the midst of launching.
    fleet.signal(first, "-STOP");
    eventually("the other leads", async || {
        let readiness = fleet.readiness(second).await?;
        (readiness["role"] == "leader").then_some(())
    })
    .await;
    fleet.daemons[second].post("/applications/scale/web", json!({"replicas": 4})).await;
    let all = fleet.daemons[second].until_all_up(4).await;
    fleet.signal(first, "-CONT");
    assert_eq!(fleet.leader().await, second);
    fleet.agree().await;
    eventually("each container runs once and nothing else does", async || {
        let mut running = 0;
        for number in 1..=2 {
            let there = EngineApi::new(&engines.endpoint(number)).all().await;
            running += there.len();
        }
        (running == all.len()).then_some(())
    })
    .await;
    fleet.daemons[first].until_all_up(4).await;
    fleet.log(first).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program `rethinkdb` and Docker engines: scripts/test"]
async fn clocks_hours_apart_do_not_matter() {
    let library = libfaketime();
    let clock = move |number: usize| {
        let library = library.to_string_lossy().into_owned();
        let ahead =
            [("LD_PRELOAD", library), ("FAKETIME", "+5h".into()), ("DONT_FAKE_MONOTONIC", "1".into())];
        if number == 0 { ahead.into_iter().collect() } else { Vec::new() }
    };
    let mut fleet = Fleet::start_with(1, 2, clock).await;
    assert_eq!(fleet.leader().await, 0, "the first to start leads");
    let engines = tokio::task::spawn_blocking(|| Cluster::up(1)).await.unwrap();
    let image = engines.image("kdaemon/web:latest");
    fleet.daemons[1].mount("node-1", &engines.endpoint(1).to_string()).await;
    fleet.daemons[1]
        .post("/applications/create", json!({"name": "web", "docker_image": image, "replicas": 2}))
        .await;
    fleet.daemons[1].until_all_up(2).await;
    fleet.daemons[0].kill();
    assert_eq!(fleet.leader().await, 1);
    // Its clock is hours slower than the log's time: a container that exits is back after its backoff, not after hours.
    let engine = EngineApi::new(&engines.endpoint(1));
    let one = engine.all().await[0]["Id"].as_str().unwrap().to_owned();
    engine.kill(&one).await;
    let restarted = |all: &serde_json::Value| {
        let all = all.as_array().cloned().unwrap_or_default();
        all.iter().any(|c| c["restarts"].as_u64() > Some(0)) && all.iter().all(|c| c["status"] == "UP")
    };
    fleet.daemons[1].until("/containers", "it was started again", restarted).await;
    fleet.log(1).await;
}
