//! The leader dies, freezes, or has another clock; the store goes away.

use crate::daemons::{Fleet, libfaketime};
use crate::support::engine_api::EngineApi;
use crate::support::{Cluster, eventually};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_is_replaced_and_what_was_read_on_one_is_there_on_another() {
    let Some(mut fleet) = Fleet::start(1, 3).await else { return };
    let first = fleet.leader().await;
    let follower = (first + 1) % 3;
    // A follower takes commands, and all see what it did.
    let created = fleet.daemons[follower]
        .post("/applications/create", json!({"name": "web", "docker_image": "nginx"}))
        .await;
    let seq = created["seq"].as_u64().unwrap();
    for daemon in &fleet.daemons {
        let read = daemon.get(&format!("/applications/web?min_seq={seq}")).await;
        assert_eq!(read["id"], created["id"]);
    }
    fleet.daemons[first].kill();
    let killed = Instant::now();
    let second = fleet.leader().await;
    eprintln!("another daemon led {:.1} s after the leader was killed", killed.elapsed().as_secs_f64());
    assert_ne!(first, second);
    fleet.daemons[second].post("/applications/scale/web", json!({"replicas": 0})).await;
    fleet.daemons[first].begin().await;
    fleet.agree().await;
    assert_eq!(fleet.leader().await, second, "who comes back does not push the leader out");
    // A daemon that is stopped hands over.
    fleet.signal(second, "-TERM");
    fleet.daemons[second].ended().await;
    let third = fleet.leader().await;
    assert_ne!(second, third);
    fleet.log(third).await;
    let metrics = reqwest::get(fleet.daemons[third].url("//metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("kdaemon_leader 1") && metrics.contains("kdaemon_journal_lag"), "{metrics}");
    fleet.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_froze_does_no_harm_when_it_wakes() {
    let Some(fleet) = Fleet::start(1, 2).await else { return };
    let first = fleet.leader().await;
    let second = 1 - first;
    let Some(engines) = tokio::task::spawn_blocking(|| Cluster::up(2)).await.unwrap() else { return };
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
async fn clocks_that_are_hours_apart_do_not_matter() {
    let Some(library) = libfaketime() else { return };
    let clock = move |number: usize| {
        let library = library.to_string_lossy().into_owned();
        let ahead =
            [("LD_PRELOAD", library), ("FAKETIME", "+5h".into()), ("DONT_FAKE_MONOTONIC", "1".into())];
        if number == 0 { ahead.into_iter().collect() } else { Vec::new() }
    };
    let Some(mut fleet) = Fleet::start_with(1, 2, clock).await else { return };
    assert_eq!(fleet.leader().await, 0, "the first to start leads");
    let Some(engines) = tokio::task::spawn_blocking(|| Cluster::up(1)).await.unwrap() else { return };
    let image = engines.image("kdaemon/web:latest");
    fleet.daemons[1].mount("node-1", &engines.endpoint(1).to_string()).await;
    fleet.daemons[1]
        .post("/applications/create", json!({"name": "web", "docker_image": image, "replicas": 2}))
        .await;
    fleet.daemons[1].until_all_up(2).await;
    fleet.daemons[0].kill();
    assert_eq!(fleet.leader().await, 1);
    // Whose clock is hours behind the log: what dies is back all the same, after its pause and not after hours.
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

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_reads_go_on_and_commands_are_not_half_done() {
    let Some(mut fleet) = Fleet::start(1, 2).await else { return };
    fleet.leader().await;
    let create = |name: &str| json!({"name": name, "docker_image": "nginx"});
    fleet.daemons[0].post("/applications/create", create("before")).await;
    fleet.agree().await;
    fleet.servers[0].kill();
    for daemon in &fleet.daemons {
        let stale = eventually("it says that the store is away", async || {
            let answer = reqwest::get(daemon.url("/applications/before")).await.ok()?;
            assert!(answer.status().is_success(), "reads go on");
            answer.headers().get("x-kdaemon-stale").cloned()
        });
        assert!(!stale.await.is_empty());
        let (status, _) = daemon.ask(Method::GET, "//readyz", None).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let (status, problem) =
        fleet.daemons[0].ask(Method::POST, "/applications/create", Some(create("meanwhile"))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    fleet.servers[0].restart();
    fleet.leader().await;
    for (number, daemon) in fleet.daemons.iter().enumerate() {
        let name = format!("after-{number}");
        eventually("it takes commands again", async || {
            let (status, _) = daemon.ask(Method::POST, "/applications/create", Some(create(&name))).await;
            (status == StatusCode::CREATED || status == StatusCode::CONFLICT).then_some(())
        })
        .await;
    }
    fleet.agree().await;
    let (status, _) = fleet.daemons[1].ask(Method::GET, "/applications/meanwhile", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "what was answered with 503 was not done");
    fleet.log(1).await;
}
