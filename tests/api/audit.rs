//! Verification of the log over HTTP, while the daemon works.

use crate::api::harness::{Answer, DEADLINE, World};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn verification_returns_the_head() {
    let world = World::new().await;
    world.node("n1").await;
    let found = world.get("/audit/verify").await.expect(200);
    let head = world.store_head().await;
    assert_eq!(found["ok"], true);
    assert_eq!((&found["events"], &found["commits"]), (&json!(world.head()), &json!(head.commits)));
    assert_eq!(found["head"], json!({"seq": head.seq, "digest": head.digest.to_string()}));
    assert_eq!(found.get("first_bad"), None);

    let kept = format!("{}:{}", head.seq, head.digest);
    world.node("n2").await;
    assert_eq!(world.get(&format!("/audit/verify?expect={kept}")).await.expect(200)["ok"], true);
    let other = format!("{}:{}", head.seq, "0".repeat(64));
    let found = world.get(&format!("/audit/verify?expect={other}")).await.expect(200);
    assert_eq!(found["ok"], false);
    assert!(found["detail"].as_str().unwrap().contains("the chain's digest is"), "{found}");
    let beyond = format!("99999:{}", "0".repeat(64));
    let found = world.get(&format!("/audit/verify?expect={beyond}")).await.expect(200);
    assert!(found["detail"].as_str().unwrap().contains("its end is missing"), "{found}");
}

#[tokio::test]
async fn malformed_expectation_is_refused() {
    let world = World::new().await;
    let digest = "0".repeat(64);
    for bad in
        ["", "7", "x:y", &format!("0:{digest}"), &format!("-1:{digest}"), "7:abc", &format!("7:{digest}0")]
    {
        let problem = world.get(&format!("/audit/verify?expect={bad}")).await.expect(422);
        assert_eq!(problem["field"], "expect", "{bad}");
    }
    assert_eq!(world.get("/audit/verify?expects=1").await.expect(422)["field"], "expects");
    let csv = world.request("GET", "/audit/verify").header("accept", "text/csv").send().await.unwrap();
    Answer::of(csv).await.problem(406);
    world.store.set_unavailable(Some("it is away"));
    world.get("/audit/verify").await.expect(503);
    let lines = world.request("GET", "/audit/verify").header("accept", "application/x-ndjson").send().await;
    assert!(lines.unwrap().bytes().await.is_err(), "an answer that has begun breaks off");
}

#[tokio::test]
async fn verifications_are_limited_and_end_with_their_client() {
    let world = World::new().await;
    world.store.hold_verification(true);
    let ask = || tokio::spawn(world.request("GET", "/audit/verify").send());
    let running = [ask(), ask()];
    let refused = async || {
        let impatient =
            world.request("GET", "/audit/verify").timeout(Duration::from_millis(200)).send().await;
        impatient.is_ok_and(|answer| answer.status() == 429)
    };
    let deadline = std::time::Instant::now() + DEADLINE;
    while !refused().await {
        assert!(std::time::Instant::now() < deadline, "the third is never refused");
    }
    let problem = world.get("/audit/verify").await.expect(429);
    assert!(problem["detail"].as_str().unwrap().contains("2 verifications are running"), "{problem}");
    running.iter().for_each(tokio::task::JoinHandle::abort);
    while refused().await {
        assert!(std::time::Instant::now() < deadline, "the places are never free again");
    }
    // Verification delays no writer.
    world.post("/containers/create", json!({"name": "c"})).await.expect(201);
    world.store.hold_verification(false);
    assert_eq!(world.get("/audit/verify").await.expect(200)["ok"], true);
}

#[tokio::test]
async fn long_verification_reports_progress() {
    let world = World::new().await;
    world.store.hold_verification(true);
    let asked = world.request("GET", "/audit/verify").header("accept", "application/x-ndjson");
    let mut answer = asked.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let first = answer.chunk().await.unwrap().unwrap();
    let first: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(first, json!({"checked": 0, "of": world.head()}));
    world.store.hold_verification(false);
    let rest = answer.text().await.unwrap();
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((&last["ok"], &last["events"]), (&json!(true), &json!(world.head())));

    // As one JSON text the answer begins with white space meanwhile.
    world.store.hold_verification(true);
    let mut answer = world.request("GET", "/audit/verify").send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "\n");
    world.store.hold_verification(false);
    let found: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(found["ok"], true);
}

#[tokio::test]
async fn backup_of_a_log_without_a_file_says_what_to_do() {
    let world = World::new().await;
    let problem = world.get("/backup").await.expect(409);
    assert!(problem["detail"].as_str().unwrap().contains("kdaemon export FILE"), "{problem}");
}
