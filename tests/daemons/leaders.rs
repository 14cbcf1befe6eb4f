//! The leader dies; the store goes away.

use crate::daemons::Fleet;
use crate::support::eventually;
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program `rethinkdb`: scripts/test"]
async fn dead_leader_is_replaced_and_reads_stay_consistent() {
    let mut fleet = Fleet::start(1, 3).await;
    let first = fleet.leader().await;
    let follower = (first + 1) % 3;
    // A follower takes commands, and all daemons see their effect.
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
#[ignore = "needs the program `rethinkdb`: scripts/test"]
async fn absent_store_keeps_reads_and_leaves_no_half_done_command() {
    let mut fleet = Fleet::start(1, 2).await;
    fleet.leader().await;
    let create = |name: &str| json!({"name": name, "docker_image": "nginx"});
    fleet.daemons[0].post("/applications/create", create("before")).await;
    fleet.agree().await;
    fleet.servers[0].kill();
    for daemon in &fleet.daemons {
        let stale = eventually("it says that the store is away", async || {
            let answer = reqwest::get(daemon.url("/applications/before")).await.ok()?;
            assert!(answer.status().is_success(), "reads are still answered");
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
