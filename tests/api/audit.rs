//! Verification of the log over HTTP, while the daemon works.

use crate::api::harness::{Answer, DEADLINE, World};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdaemon_events::{Digest, interior};
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
    assert_eq!(found["head"], json!({"seq": head.seq, "root": head.root.to_string()}));
    assert_eq!(found.get("first_bad"), None);

    let kept = format!("{}:{}", head.seq, head.root);
    world.node("n2").await;
    assert_eq!(world.get(&format!("/audit/verify?expect={kept}")).await.expect(200)["ok"], true);
    let other = format!("{}:{}", head.seq, "0".repeat(64));
    let found = world.get(&format!("/audit/verify?expect={other}")).await.expect(200);
    assert_eq!(found["ok"], false);
    assert!(found["detail"].as_str().unwrap().contains("the root of the tree is"), "{found}");
    let beyond = format!("99999:{}", "0".repeat(64));
    let found = world.get(&format!("/audit/verify?expect={beyond}")).await.expect(200);
    assert!(found["detail"].as_str().unwrap().contains("its end was cut off"), "{found}");
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

/// The digest in a field, as 64 hexadecimal digits.
fn digest(value: &Value) -> Digest {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn inclusion_proof_leads_from_salt_and_text_to_the_checkpoint() {
    let world = World::new().await;
    world.node("n1").await;
    world.node("n2").await;
    let head = world.store_head().await;
    let checkpoint = world.get("/checkpoint").await;
    assert_eq!(checkpoint.header("content-type"), "text/plain; charset=utf-8");
    let text = checkpoint.text;
    let lines: Vec<_> = text.lines().collect();
    let created = world.get("/events/1").await.expect(200)["data"]["cluster_id"].clone();
    assert_eq!(lines[0], format!("kdaemon/{}", created.as_str().unwrap()));
    assert_eq!(lines[1], head.seq.to_string());
    assert_eq!(STANDARD.decode(lines[2]).unwrap(), head.root.0);
    assert_eq!((lines.len(), text.ends_with('\n')), (3, true));

    for seq in 1..=head.seq.0 {
        let proof = world.get(&format!("/audit/proof?seq={seq}")).await.expect(200);
        assert_eq!((&proof["seq"], &proof["size"]), (&json!(seq), &json!(head.seq)));
        // As a client does it, with SHA-256 alone.
        let hex = proof["salt"].as_str().unwrap();
        let byte = |place: usize| u8::from_str_radix(&hex[place..place + 2], 16).unwrap();
        let mut salted: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        salted.extend(proof["body"].as_str().unwrap().as_bytes());
        assert_eq!(Digest::of(&salted), digest(&proof["content"]));
        let mut entry = vec![0];
        entry.extend(STANDARD.decode(proof["header"]["bytes"].as_str().unwrap()).unwrap());
        entry.extend(Digest::of(&salted).0);
        assert_eq!(Digest::of(&entry), digest(&proof["leaf"]));
        assert_eq!(digest(&proof["root"]), head.root);
        let path = proof["path"].as_array().unwrap();
        let (mut hash, mut index, mut last) = (digest(&proof["leaf"]), seq - 1, head.seq.0 - 1);
        for sibling in path.iter().map(digest) {
            // RFC 9162, section 2.1.3.2.
            if index % 2 == 1 || index == last {
                hash = interior(sibling, hash);
                while index % 2 == 0 && index != 0 {
                    (index, last) = (index >> 1, last >> 1);
                }
            } else {
                hash = interior(hash, sibling);
            }
            (index, last) = (index >> 1, last >> 1);
        }
        assert_eq!((hash, last), (head.root, 0), "event {seq}");
        let is_observation = proof["header"]["kind"] == "NodeObserved";
        assert_eq!(proof["header"]["prunable"], is_observation);
    }
}

#[tokio::test]
async fn consistency_proof_leads_from_an_earlier_head_to_a_later_one() {
    let world = World::new().await;
    world.node("n1").await;
    let before = world.store_head().await;
    world.node("n2").await;
    let after = world.store_head().await;
    let proof = world.get(&format!("/audit/consistency?from={}", before.seq)).await.expect(200);
    assert_eq!((&proof["from"], &proof["to"]), (&json!(before.seq), &json!(after.seq)));
    assert_eq!((digest(&proof["from_root"]), digest(&proof["to_root"])), (before.root, after.root));
    let same = world.get(&format!("/audit/consistency?from={0}&to={0}", before.seq)).await.expect(200);
    assert_eq!((&same["path"], digest(&same["to_root"])), (&json!([]), before.root));
    for (query, field) in [
        ("proof?seq=0", "seq"),
        ("proof?seq=99", "seq"),
        ("proof?seq=1&size=99", "size"),
        ("consistency?from=0", "from"),
        ("consistency?from=1&to=99", "to"),
        ("consistency?from=2&to=1", "from"),
    ] {
        assert_eq!(world.get(&format!("/audit/{query}")).await.expect(422)["field"], field, "{query}");
    }
}
