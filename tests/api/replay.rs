//! What-if: recorded history under another policy.

use crate::api::harness::{DEADLINE, World};
use kdaemon::store::prelude::*;
use kdaemon_control::commands::{Command, Policy, Prune};
use kdaemon_events::Seq;
use serde_json::{Value, json};
use std::time::Instant;

/// Three nodes with four containers, one of which moves because its node fails and comes back.
async fn with_history() -> World {
    let world = World::new().await;
    let node = world.node("n1").await;
    world.node("n2").await;
    world.node("n3").await;
    world.application("web").await;
    for name in ["w1", "w2", "w3"] {
        world.running(name, "web").await;
    }
    world.fail(node).await;
    world.tell(Command::EvacuateNode(node)).await;
    let moved = world.journal.cluster().migrating().collect::<Vec<_>>();
    for id in moved {
        world.launch_placed(id).await;
    }
    for _ in 0..2 {
        world.probe(node, true).await;
    }
    world
}

fn peaks(figures: &Value) -> Vec<(String, u64)> {
    let peaks = figures["peak"].as_array().unwrap();
    let peak = |peak: &Value| (peak["node"].as_str().unwrap().into(), peak["containers"].as_u64().unwrap());
    peaks.iter().map(peak).collect()
}

#[tokio::test]
async fn replay_under_the_recorded_policy_changes_nothing() {
    let world = with_history().await;
    let head = world.head();
    let answer = world.post("/replay", json!({})).await;
    assert_eq!(answer.seq(), head);
    let replay = answer.expect(200);
    assert_eq!((&replay["from"]["seq"], &replay["to"]["seq"]), (&json!(1), &json!(head)));
    assert_eq!(replay["recorded"], replay["replayed"]);
    assert_eq!((&replay["differences"], &replay["differences_count"]), (&json!([]), &json!(0)));
    assert_eq!(replay["recorded"]["migrations"], 1);
    assert_eq!(replay["recorded"]["launches"], 4);
    assert_eq!(peaks(&replay["recorded"]), [("n1".into(), 1), ("n2".into(), 2), ("n3".into(), 1)]);
    let ours = Policy { launch_attempts: 1, ..Policy::default() };
    let policy = json!({
        "strategy": "spread", "unhealthy_after": ours.unhealthy_after, "healthy_after": ours.healthy_after,
        "launch_attempts": 1, "restart_pause_max": "5m", "max_migrations": ours.max_migrations
    });
    assert_eq!(replay["policy"], policy);
    // Every range of it, by seq and by time.
    for seq in 1..=head {
        let at = world.get(&format!("/state?seq={seq}")).await.expect(200)["at"].clone();
        for from in [json!(seq), json!(seq.to_string()), at] {
            let replay = world.post("/replay", json!({"from": from, "to": head})).await.expect(200);
            assert_eq!(replay["recorded"], replay["replayed"], "from {from}");
            assert_eq!(replay["differences"], json!([]), "from {from}");
        }
    }
    assert_eq!(world.head(), head, "nothing is changed");
}

#[tokio::test]
async fn replay_under_another_policy_reports_differences() {
    let world = with_history().await;
    let patient = json!({"policy": {"unhealthy_after": 10}});
    let replay = world.post("/replay", patient).await.expect(200);
    assert_eq!(replay["policy"]["unhealthy_after"], 10);
    assert_eq!(
        (&replay["recorded"]["migrations"], &replay["replayed"]["migrations"]),
        (&json!(1), &json!(0))
    );
    assert_eq!((&replay["recorded"]["launches"], &replay["replayed"]["launches"]), (&json!(4), &json!(3)));
    let differences = replay["differences"].as_array().unwrap();
    assert_eq!(json!(differences.len()), replay["differences_count"]);
    let moved = "w1 was moved from n1 to n2 (its node was unhealthy); under this policy it would not have happened, or not at that time";
    let told = differences.iter().find(|difference| difference["says"] == moved);
    let seq = told.unwrap_or_else(|| panic!("{differences:?}"))["seq"].as_u64().unwrap();
    let event = world.get(&format!("/events/{seq}")).await.expect(200);
    assert_eq!(event["kind"], "ContainerMigrationCommanded");
    assert_eq!(event["at"], told.unwrap()["at"]);

    let packed =
        json!({"policy": {"strategy": "binpack", "max_migrations": "4", "restart_pause_max": "10s"}});
    let replay = world.post("/replay", packed).await.expect(200);
    assert_eq!(replay["policy"]["restart_pause_max"], "10s");
    assert_eq!(peaks(&replay["replayed"])[0], ("n1".into(), 3));
    for point in replay["replayed"]["imbalance"].as_array().unwrap() {
        assert!(point["at"].is_string() && point["spread"].is_u64(), "{point}");
    }
}

#[tokio::test]
async fn impossible_replay_is_refused_with_the_reason() {
    let world = with_history().await;
    let beyond = world.head() + 1;
    for (body, status, field) in [
        (json!({"from": 0}), 422, "from"),
        (json!({"from": -3}), 422, "from"),
        (json!({"from": 9, "to": 8}), 422, "from"),
        (json!({"from": beyond}), 422, "from"),
        (json!({"to": beyond}), 422, "to"),
        (json!({"from": "x"}), 400, "from"),
        (json!({"from": 1.5}), 400, "from"),
        (json!({"from": "2026-01-31T12:00:00"}), 400, "from"),
        (json!({"from": "1999-01-31T12:00:00Z"}), 422, "from"),
        (json!({"to": "9999-12-31T23:59:59Z"}), 422, "to"),
        (json!({"from": [1]}), 422, "from"),
        (json!({"form": 1}), 422, "form"),
        (json!({"policy": "binpack"}), 422, "policy"),
        (json!({"policy": {"strategy": "binpak"}}), 422, "policy.strategy"),
        (json!({"policy": {"strategy": true}}), 422, "policy.strategy"),
        (json!({"policy": {"unhealthy_after": 0}}), 422, "policy.unhealthy_after"),
        (json!({"policy": {"unhealthy_after": 101}}), 422, "policy.unhealthy_after"),
        (json!({"policy": {"unhealthy_after": -1}}), 422, "policy.unhealthy_after"),
        (json!({"policy": {"unhealthy_after": 1.5}}), 422, "policy.unhealthy_after"),
        (json!({"policy": {"max_migrations": 1001}}), 422, "policy.max_migrations"),
        (json!({"policy": {"restart_pause_max": 5}}), 422, "policy.restart_pause_max"),
        (json!({"policy": {"api_port": 80}}), 422, "policy.api_port"),
        (json!({"policy": {"unhealthy_afer": 3}}), 422, "policy.unhealthy_afer"),
    ] {
        let problem = world.post("/replay", body.clone()).await.expect(status);
        assert_eq!(problem["field"], field, "{body}: {problem}");
    }
    let problem = world.post("/replay", json!({"policy": {"unhealthy_afer": 3}})).await.expect(422);
    assert!(problem["detail"].as_str().unwrap().contains("`policy.unhealthy_after`"), "{problem}");
    world.post("/replay", json!([])).await.expect(422);
    let empty = world.request("POST", "/replay").send().await.unwrap();
    assert_eq!(empty.status(), 400);
    assert_eq!(world.get("/replay").await.status, 405);
}

/// A log that takes long to replay.
async fn with_long_history() -> World {
    let world = World::new().await;
    let node = world.node("n1").await;
    for _ in 0..30 {
        futures_util::future::join_all((0..500).map(|_| world.probe(node, true))).await;
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_are_limited_and_end_with_their_client() {
    let world = with_long_history().await;
    // Each of them would take as long as this one.
    let began = Instant::now();
    world.post("/replay", json!({})).await.expect(200);
    let alone = began.elapsed();
    let busy = async {
        let running = [world.request("POST", "/replay"), world.request("POST", "/replay")];
        let mut running = running.map(|request| Box::pin(request.json(&json!({})).send()));
        let deadline = Instant::now() + DEADLINE;
        loop {
            let both = futures_util::future::select_all(running.iter_mut());
            let refused = async {
                let mut seen = None;
                while seen.is_none() {
                    assert!(Instant::now() < deadline, "never too many");
                    let answer = world.post("/replay", json!({})).await;
                    seen = (answer.status == 429).then_some(answer);
                }
                seen
            };
            tokio::select! {
                biased;
                refused = refused => return refused.unwrap(),
                // Finished too early: two have to run when the third comes.
                (_, which, _) = both => {
                    running[which] = Box::pin(world.request("POST", "/replay").json(&json!({})).send());
                }
            }
        }
    };
    // The two clients go away with it.
    let refused = busy.await;
    let problem = refused.expect(429);
    assert!(problem["detail"].as_str().unwrap().contains("2 replays"), "{problem}");
    assert_eq!(refused.header("retry-after"), "1");
    let left = Instant::now();
    loop {
        let answer = world.post("/replay", json!({"from": world.head()})).await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.status, 429);
        assert!(left.elapsed() < alone / 2, "they keep running without a client");
    }
}

#[tokio::test]
async fn replay_refuses_a_pruned_range() {
    let world = with_history().await;
    let events = world.get("/events?limit=1000&kind=NodeObserved").await.expect(200);
    // Not the first ones: they report what the engines are, and stay.
    let plain = events["events"].as_array().unwrap().iter().filter(|event| event["data"]["engine"].is_null());
    let seqs: Vec<Seq> = plain.map(|event| Seq(event["seq"].as_u64().unwrap())).collect();
    let ranges: Vec<_> = seqs.iter().map(|seq| (*seq, *seq)).collect();
    let last = seqs.last().unwrap().0;
    let nodes = world.journal.cluster().nodes().map(|node| node.id).collect();
    world.tell(Command::PruneObservations(Prune { ranges: ranges.clone(), nodes })).await;
    assert!(world.store.prune(&ranges, 1_000).await.unwrap() > 0);
    // A pruned event is no moment to travel to either; the answer names the event before it, which is one.
    let kept = (1..last).rev().find(|seq| !seqs.contains(&Seq(*seq))).unwrap();
    for path in ["/nodes", "/state", "/containers?status=UP"] {
        let with = if path.contains('?') { "&" } else { "?" };
        let problem = world.get(&format!("{path}{with}seq={last}")).await.expect(410);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("has been pruned") && detail.contains(&format!("is {kept}:")), "{problem}");
        world.get(&format!("{path}{with}seq={kept}")).await.expect(200);
    }
    let problem = world.post("/replay", json!({"from": 1})).await.expect(422);
    assert_eq!(problem["field"], "from");
    assert!(problem["detail"].as_str().unwrap().contains(&format!("event {last} or later")), "{problem}");
    let replay = world.post("/replay", json!({})).await.expect(200);
    assert!(
        replay["from"]["seq"].as_u64().unwrap() <= last,
        "the last event that is there until then: {replay}"
    );
    assert_eq!(replay["recorded"], replay["replayed"]);
    assert_eq!(replay["differences"], json!([]), "what was concluded from pruned probes still is");
    world.post("/replay", json!({"from": last})).await.expect(200);
}
