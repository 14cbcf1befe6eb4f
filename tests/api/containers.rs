use crate::api::harness::{Answer, DEADLINE, World};
use kdaemon_projections::Desired;
use kdaemon_testing::engines::{SimulatedMachine, Timing};
use serde_json::{Value, json};

#[tokio::test]
async fn container_goes_through_its_life() {
    let world = World::new().await;
    let node = world.node("n1").await;
    let application = world.application("web").await;
    let answer = world.post("/containers/create", json!({"name": "w1", "application_id": "web"})).await;
    let row = answer.expect(201);
    let id = row["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/0.0/containers/{id}"));
    assert_eq!(
        row,
        json!({
            "id": id, "node_id": null, "application_id": application, "user_id": null, "name": "w1",
            "env_variables": "", "container_id": null, "balance": true, "status": "CREATED", "reason": null,
            "access_link": null, "generation": 0, "desired": "stopped", "ports": [], "restarts": 0,
            "serving": false, "health": "none", "outdated": false, "next_try": null, "exit_code": null,
            "seq": row["seq"]
        })
    );
    let launching = world.command("POST", "/containers/launch/w1").await.expect(202);
    assert_eq!((&launching["status"], &launching["desired"]), (&json!("LAUNCHING"), &json!("running")));
    assert_eq!(launching["node_id"], node.to_string());
    let container = kdaemon_events::ContainerId(id.parse().unwrap());
    world.launch_placed(container).await;
    let up = world.get("/containers/w1").await.expect(200);
    assert_eq!((&up["status"], &up["generation"]), (&json!("UP"), &json!(1)));
    assert_eq!(up["ports"][0]["container"], 80);
    assert!(up["access_link"].as_str().unwrap().starts_with("http://n1:"), "{up}");
    assert!(up["container_id"].is_string());
    world.command("POST", "/containers/launch/w1").await.expect(200);

    world.command("POST", "/containers/stop/w1").await.expect(202);
    world.record_stopped(container).await;
    let down = world.command("POST", "/containers/stop/w1").await.expect(200);
    assert_eq!(down["status"], "DOWN");

    let waiting = world.request("DELETE", "/containers/delete/w1?wait=20s").send();
    let (answer, ()) = tokio::join!(waiting, async {
        world.until(|cluster| cluster.container(container).unwrap().desired == Desired::Deleted).await;
        let going = world.command("DELETE", "/containers/delete/w1").await.expect(202);
        assert_eq!((&going["status"], &going["desired"]), (&json!("STOPPING"), &json!("deleted")));
        world.remove_retired(container).await;
    });
    let last = Answer::of(answer.unwrap()).await.expect(200);
    assert_eq!((&last["name"], &last["desired"]), (&json!("w1"), &json!("deleted")));
    assert_eq!(last["status"], "DOWN", "a deleted container is DOWN");
    world.get("/containers/w1").await.expect(404);
}

#[tokio::test]
async fn unplaced_record_is_deleted_at_once() {
    let world = World::new().await;
    world.post("/containers/create", json!({"name": "bare"})).await.expect(201);
    let gone = world.command("DELETE", "/containers/delete/bare").await.expect(200);
    assert_eq!((&gone["name"], &gone["desired"]), (&json!("bare"), &json!("deleted")));
    assert_eq!(world.get("/containers").await.expect(200), json!([]));
}

#[tokio::test]
async fn alternative_launch_route_works() {
    let world = World::new().await;
    world.node("n1").await;
    world.application("web").await;
    world.container("w1", "web").await;
    world.command("POST", "/container/launch/w1").await.expect(202);
    world.command("POST", "/container/launch/nope").await.expect(404);
}

#[tokio::test]
async fn application_can_be_set_later() {
    let world = World::new().await;
    world.node("n1").await;
    let application = world.application("web").await;
    let body = json!({"name": "c", "application_id": "", "balance": "false", "env_variables": ["A=1,2"]});
    let row = world.post("/containers/create", body).await.expect(201);
    assert_eq!((&row["application_id"], &row["balance"]), (&Value::Null, &json!(false)));
    assert_eq!(row["env_variables"], "A=1\\,2");
    world.command("POST", "/containers/launch/c").await.expect(409);
    let row = world.patch("/containers/update/c", json!({"application_id": "web"})).await.expect(200);
    assert_eq!(row["application_id"], application);
    assert_eq!(world.patch("/containers/update/c", row.clone()).await.expect(200), row);
    world.command("POST", "/containers/launch/c").await.expect(202);
    let detached = world.patch("/containers/update/c", json!({"application_id": null})).await;
    detached.expect(409);
    let row =
        world.patch("/containers/update/c", json!({"balance": 1, "env_variables": {}})).await.expect(200);
    assert_eq!((&row["balance"], &row["env_variables"]), (&json!(true), &json!("")));
}

#[tokio::test]
async fn numeric_balance_is_read_as_boolean() {
    let world = World::new().await;
    world.post("/containers/create", json!({"name": "c", "balance": 0})).await.expect(201);
    assert_eq!(world.get("/containers/c").await.expect(200)["balance"], true);
    for (balance, movable) in [
        (json!(false), false),
        (json!(0), true),
        (json!("false"), false),
        (json!(0.5), true),
        (json!("False"), false),
        (json!(-1), true),
        (json!(false), false),
        (json!("0"), true),
    ] {
        let row = world.patch("/containers/update/c", json!({"balance": balance})).await.expect(200);
        assert_eq!(row["balance"], movable, "{balance}");
    }
    for balance in [json!("perhaps"), json!([]), json!("")] {
        let problem = world.patch("/containers/update/c", json!({"balance": balance})).await.expect(422);
        assert_eq!(problem["field"], "balance");
    }
}

#[tokio::test]
async fn nameless_container_is_named_after_its_application() {
    let world = World::new().await;
    world.application("web").await;
    for expected in ["web-1", "web-2"] {
        let row =
            world.post("/containers/create", json!({"name": "", "application_id": "web"})).await.expect(201);
        assert_eq!(row["name"], expected);
    }
    assert_eq!(world.post("/containers/create", json!({})).await.expect(422)["field"], "name");
    let nowhere = world.post("/containers/create", json!({"application_id": "nope"})).await.expect(422);
    assert_eq!(nowhere["field"], "application_id");
    world.post("/containers/create", json!({"name": "web-1"})).await.expect(409);
    for (field, value) in [("balance", json!("perhaps")), ("env_variables", json!(1)), ("nod_id", json!(1))] {
        let mut body = json!({"name": "x"});
        body[field] = value;
        assert_eq!(world.post("/containers/create", body).await.expect(422)["field"], field);
    }
}

#[tokio::test]
async fn unschedulable_launch_has_a_reason_per_node() {
    let world = World::new().await;
    world.node("n1").await;
    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    let n2 = world.node("n2").await;
    world.fail(n2).await;
    world.application("web").await;
    world.container("w1", "web").await;
    let problem = world.command("POST", "/containers/launch/w1").await.expect(409);
    let expected = json!([{"node": "n1", "reason": "is cordoned"}, {"node": "n2", "reason": "is DOWN"}]);
    assert_eq!(problem["reasons"], expected);
    assert_eq!(world.get("/containers/w1").await.expect(200)["status"], "CREATED");
}

#[tokio::test]
async fn wait_reports_the_outcome_of_a_launch() {
    let world = World::new().await;
    world.node("n1").await;
    world.application("web").await;
    let up = world.container("up", "web").await;
    let waiting = world.request("POST", "/containers/launch/up?wait=20s").send();
    let (answer, ()) = tokio::join!(waiting, async {
        world.until(|cluster| cluster.container(up).unwrap().placement.is_some()).await;
        world.launch_placed(up).await;
    });
    let answer = Answer::of(answer.unwrap()).await;
    assert_eq!(answer.expect(200)["status"], "UP");
    assert_eq!(answer.header("etag"), format!("\"{}\"", answer.json()["seq"]));

    let failing = world.container("failing", "web").await;
    let waiting = world.request("POST", "/containers/launch/failing?wait=20s").send();
    let (answer, ()) = tokio::join!(waiting, async {
        world.until(|cluster| cluster.container(failing).unwrap().placement.is_some()).await;
        world.fail_launch(failing, "no such image").await;
    });
    let problem = Answer::of(answer.unwrap()).await.expect(409);
    assert!(problem["detail"].as_str().unwrap().contains("no such image"), "{problem}");
    assert_eq!(world.get("/containers/failing").await.expect(200)["status"], "FAILED");

    world.container("slow", "web").await;
    let over = world.command("POST", "/containers/launch/slow?wait=5ms").await.expect(202);
    assert_eq!(over["status"], "LAUNCHING");

    let waiting = world.request("POST", "/containers/stop/up?wait=20s").send();
    let (answer, ()) = tokio::join!(waiting, async {
        world.until(|cluster| cluster.container(up).unwrap().status().as_str() == "STOPPING").await;
        world.record_stopped(up).await;
    });
    assert_eq!(Answer::of(answer.unwrap()).await.expect(200)["status"], "DOWN");
}

#[tokio::test]
async fn wait_is_bounded_and_extends_the_request_timeout() {
    let world = World::with(|config| config.request_timeout = std::time::Duration::from_millis(100)).await;
    world.node("n1").await;
    world.application("web").await;
    let id = world.container("w1", "web").await;
    let waiting = world.request("POST", "/containers/launch/w1?wait=20s").send();
    let (answer, ()) = tokio::join!(waiting, async {
        world.until(|cluster| cluster.container(id).unwrap().placement.is_some()).await;
        // Longer than the request's own timeout: a read that waits times out meanwhile.
        world.get("/nodes?min_seq=1000").await.expect(503);
        world.get("/nodes?min_seq=1000").await.expect(503);
        world.launch_placed(id).await;
    });
    Answer::of(answer.unwrap()).await.expect(200);
    for wait in ["11m", "soon", "-1", "", "1h"] {
        let problem = world.command("POST", &format!("/containers/stop/w1?wait={wait}")).await.expect(422);
        assert_eq!(problem["field"], "wait", "{problem}");
    }
}

#[tokio::test]
async fn launch_progress_can_be_read() {
    let world = World::new().await;
    // An engine whose pull takes longer than this test.
    let timing = Timing { pull_ms: 600_000..=600_000, ..Timing::instant() };
    let about = SimulatedMachine { timing, images: Vec::new(), ..SimulatedMachine::default() };
    world.node_with("n1", about).await;
    world.application("web").await;
    let id = world.container("w1", "web").await;
    let none = json!({"step": "none", "image": null, "bytes": null, "of": null, "percent": null});
    assert_eq!(world.get("/containers/w1/progress").await.expect(200), none);
    world.command("POST", "/containers/launch/w1").await.expect(202);
    assert_eq!(world.get("/containers/w1/progress").await.expect(200)["step"], "starting");
    let recorded = world.get("/containers/w1").await.text;
    let launch = world.launch_placed(id);
    let seen = async {
        loop {
            let progress = world.get("/containers/w1/progress").await.expect(200);
            if progress["step"] == "pulling" {
                break progress;
            }
        }
    };
    let progress = tokio::select! {
        _ = launch => panic!("the launch ended before its pull"),
        seen = tokio::time::timeout(DEADLINE, seen) => seen.expect("the pull is visible in time"),
    };
    assert_eq!(
        (&progress["image"], &progress["of"], &progress["percent"]),
        (&json!("busybox"), &json!(6_000_000_000_u64), &json!(0)),
        "{progress}"
    );
    assert_eq!(world.get("/containers/w1").await.text, recorded, "progress is not recorded");
    assert_eq!(
        world.get("/containers/w1/progress").await.expect(200)["step"],
        "starting",
        "the launch was abandoned"
    );
    world.leading.send_modify(|role| role.leads = false);
    let elsewhere = world.get("/containers/w1/progress").await.expect(200);
    assert_eq!(elsewhere["step"], "unknown", "the daemon that leads knows it");
    world.get("/containers/nope/progress").await.expect(404);
    world.get("/containers/w1/progress?seq=1").await.expect(422);
}

#[tokio::test]
async fn logs_and_stats_are_served() {
    let world = World::new().await;
    let node = world.node("n1").await;
    world.application("web").await;
    let id = world.running("w1", "web").await;
    let (machine, identity) = world.engine_of(id);
    machine.write_output(identity, "one\ntwo\n").unwrap();
    machine.write_output(identity, "three\n").unwrap();
    let logs = world.get("/containers/w1/logs").await;
    assert_eq!((logs.status.as_u16(), logs.text.as_str()), (200, "one\ntwo\nthree\n"));
    assert_eq!(logs.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(logs.header("x-kdaemon-generation"), "1");
    assert_eq!(world.get("/containers/w1/logs?tail=1").await.text, "three\n");
    let began = world.engines.now().to_rfc3339();
    let since = format!("/containers/w1/logs?since={began}");
    assert_eq!(world.get(&since).await.status, 200, "a + that is not encoded is understood");
    world.get("/containers/w1/logs?since=10m").await;
    assert_eq!(world.get("/containers/w1/logs?tail=all").await.text, "one\ntwo\nthree\n");
    assert_eq!(world.get("/containers/w1/logs?since=1000000000&tail=all").await.text, "one\ntwo\nthree\n");
    assert_eq!(world.get("/containers/w1/logs?since=4000000000").await.text, "");
    assert_eq!(world.get("/containers/w1/logs?since=2020-01-01T00:00:00Z&follow=false").await.status, 200);
    for (query, field) in
        [("tail=x", "tail"), ("since=soon", "since"), ("follow=2", "follow"), ("tial=1", "tial")]
    {
        assert_eq!(world.get(&format!("/containers/w1/logs?{query}")).await.expect(422)["field"], field);
    }

    let mut following = world.request("GET", "/containers/w1/logs?follow=1&tail=1").send().await.unwrap();
    assert_eq!(following.chunk().await.unwrap().unwrap(), "three\n");
    machine.write_output(identity, "four\n").unwrap();
    assert_eq!(following.chunk().await.unwrap().unwrap(), "four\n");

    let stats = world.get("/containers/w1/stats").await.expect(200);
    for field in
        ["cpus", "memory_bytes", "memory_limit_bytes", "network_received_bytes", "network_sent_bytes", "pids"]
    {
        assert!(stats[field].is_number(), "{field}: {stats}");
    }

    machine.cut();
    world.get("/containers/w1/stats").await.expect(503);
    let problem = world.get("/containers/w1/logs").await.expect(503);
    assert_eq!(problem["type"], "/problems/node-unreachable");
    machine.heal();
    world.fail(node).await;
    world.container("w2", "web").await;
    world.get("/containers/w2/logs").await.expect(409);
    world.get("/containers/w2/stats").await.expect(409);
    world.get("/containers/nope/logs").await.expect(404);
}

#[tokio::test]
async fn rebalance_returns_its_moves() {
    let world = World::new().await;
    world.node("n1").await;
    world.application("web").await;
    let none = world.command("POST", "/rebalance").await.expect(200);
    assert_eq!((&none["moves"], &none["remaining"]), (&json!([]), &json!(0)));
    for name in ["a", "b", "c", "d"] {
        world.running(name, "web").await;
    }
    let n2 = world.node("n2").await;
    let dry = world.command("POST", "/rebalance?dry_run=true").await.expect(200);
    assert_eq!(dry["events"][0]["kind"], "RebalancePlanned");
    // Of four containers one may be moved at a time, unless their application says otherwise.
    let plan = dry["events"][0]["data"].clone();
    assert_eq!((plan["moves"].as_array().unwrap().len(), &plan["remaining"]), (1, &json!(1)), "{plan}");
    world.patch("/applications/update/web", json!({"disruption_limit": 2})).await.expect(200);
    let plan = world.command("POST", "/rebalance").await.expect(202);
    assert_eq!(plan["moves"].as_array().unwrap().len(), 2, "{plan}");
    assert_eq!(plan["moves"][0]["node_id"], n2.to_string());
    assert!(plan["why"].as_str().unwrap().contains('4'), "{plan}");
}
