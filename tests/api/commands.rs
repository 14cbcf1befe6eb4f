//! Properties of every command: dry runs, preconditions, recorded answers, an unavailable store.

use crate::api::harness::{Answer, World};
use serde_json::json;

#[tokio::test]
async fn dry_run_returns_events_and_changes_nothing() {
    let world = World::new().await;
    world.node("n1").await;
    world.application("web").await;
    world.container("w1", "web").await;
    let head = world.head();
    for (method, path, body, kinds) in [
        ("POST", "/nodes/create?dry_run=true", json!({"endpoint": "tcp://b:1"}), vec!["NodeMounted"]),
        ("PATCH", "/nodes/update/n1?dry_run=1", json!({"capacity": 1}), vec!["NodeUpdated"]),
        ("POST", "/nodes/cordon/n1?dry_run=true", json!({}), vec!["NodeCordoned"]),
        ("POST", "/nodes/uncordon/n1?dry_run=true", json!({}), vec![]),
        ("POST", "/nodes/drain/n1?dry_run=true", json!({}), vec!["NodeDrainStarted", "NodeDrained"]),
        ("DELETE", "/nodes/delete/n1?dry_run=true", json!({}), vec!["NodeUnmounted"]),
        (
            "POST",
            "/applications/create?dry_run=true",
            json!({"name": "x", "docker_image": "y"}),
            vec!["ApplicationCreated"],
        ),
        ("PATCH", "/applications/update/web?dry_run=true", json!({"name": "x"}), vec!["ApplicationUpdated"]),
        (
            "POST",
            "/applications/scale/web?dry_run=true",
            json!({"replicas": 1}),
            vec!["ApplicationScaled", "ContainerCreated", "ContainerLaunchRequested", "ContainerPlaced"],
        ),
        ("POST", "/containers/create?dry_run=true", json!({"name": "x"}), vec!["ContainerCreated"]),
        ("PATCH", "/containers/update/w1?dry_run=true", json!({"balance": false}), vec!["ContainerUpdated"]),
        (
            "POST",
            "/containers/launch/w1?dry_run=true",
            json!({}),
            vec!["ContainerLaunchRequested", "ContainerPlaced"],
        ),
        ("POST", "/containers/stop/w1?dry_run=true", json!({}), vec![]),
        (
            "DELETE",
            "/containers/delete/w1?dry_run=true",
            json!({}),
            vec!["ContainerStopRequested", "ContainerDeleted"],
        ),
        ("POST", "/rebalance?dry_run=true", json!({}), vec![]),
    ] {
        let answer = Answer::of(world.request(method, path).json(&body).send().await.unwrap()).await;
        let events = answer.expect(200)["events"].clone();
        let told: Vec<_> = events.as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
        assert_eq!(told, kinds, "{method} {path}");
        assert_eq!(answer.seq(), head);
        for event in events.as_array().unwrap() {
            assert!(event["seq"].as_u64().unwrap() > head);
            assert_eq!(event["request_id"], answer.header("x-request-id"));
        }
    }
    world.command("POST", "/containers/launch/nope?dry_run=true").await.expect(404);
    world.post("/nodes/create?dry_run=true", json!({"endpoint": "tcp://n1:2375"})).await.expect(409);
    world.command("DELETE", "/applications/delete/web?dry_run=true").await.expect(409);
    world.command("POST", "/nodes/drain/n1?dry_run=maybe").await.expect(422);
    // A misspelt dry run must not carry out the command.
    let problem = world.command("POST", "/nodes/cordon/n1?dryrun=true").await.expect(422);
    assert!(problem["detail"].as_str().unwrap().contains("`dry_run`"), "{problem}");
    assert_eq!(world.head(), head);
}

#[tokio::test]
async fn modified_resource_fails_if_match() {
    let world = World::new().await;
    world.node("n1").await;
    let tag = world.get("/nodes/n1").await.header("etag").to_owned();
    let send = |tag: String, path: &'static str| {
        let request = world.request("POST", path).header("if-match", tag);
        async { Answer::of(request.send().await.unwrap()).await }
    };
    send(tag.clone(), "/nodes/cordon/n1").await.expect(200);
    let problem = send(tag.clone(), "/nodes/uncordon/n1").await.expect(412);
    assert_eq!(problem["type"], "/problems/changed");
    send(format!("W/{tag}"), "/nodes/uncordon/n1").await.expect(412);
    send("\"other\"".into(), "/nodes/uncordon/n1").await.expect(412);
    send("nonsense".into(), "/nodes/uncordon/n1").await.expect(400);
    assert_eq!(world.get("/nodes/n1").await.expect(200)["availability"], "cordoned");
    let now = world.get("/nodes/n1").await.header("etag").to_owned();
    // If-Match compares strongly: a weak tag matches nothing, not even the current version (RFC 9110, 13.1.1).
    send(format!("W/{now}"), "/nodes/uncordon/n1").await.expect(412);
    assert_eq!(world.get("/nodes/n1").await.expect(200)["availability"], "cordoned");
    send(format!("\"1\", {now}"), "/nodes/uncordon/n1").await.expect(200);
    send("*".into(), "/nodes/cordon/n1").await.expect(200);
    let stale =
        world.request("PATCH", "/nodes/update/n1").header("if-match", &tag).json(&json!({"capacity": 1}));
    Answer::of(stale.send().await.unwrap()).await.expect(412);
    let stale = world.request("DELETE", "/nodes/delete/n1?dry_run=true").header("if-match", &tag);
    Answer::of(stale.send().await.unwrap()).await.expect(412);
    send(tag, "/nodes/cordon/nope").await.expect(404);
}

#[tokio::test]
async fn repeated_request_gets_the_first_answer() {
    let world = World::new().await;
    let send = |path: &'static str, key: &str, body: serde_json::Value| {
        let request = world.request("POST", path).header("idempotency-key", key).json(&body);
        async { Answer::of(request.send().await.unwrap()).await }
    };
    let body = json!({"name": "n1", "endpoint": "tcp://n1:1"});
    let first = send("/nodes/create", "k1", body.clone()).await;
    first.expect(201);
    let head = world.head();
    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    let second = send("/nodes/create", "k1", body).await;
    assert_eq!(second.expect(201), first.json());
    assert_eq!((second.seq(), second.header("location")), (head, first.header("location")));
    assert_eq!(second.header("etag"), first.header("etag"));
    assert_eq!(world.get("/nodes").await.expect(200).as_array().unwrap().len(), 1);

    let other = send("/nodes/create", "k1", json!({"name": "n2", "endpoint": "tcp://n2:1"})).await;
    assert_eq!(other.expect(422)["type"], "/problems/key-reused");
    // Without the key this request would succeed.
    let other_path = send("/containers/create", "k1", json!({"name": "c1"})).await;
    assert_eq!(other_path.expect(422)["type"], "/problems/key-reused");
    assert_eq!(world.get("/containers").await.expect(200), json!([]));
    send("/containers/create", "k2", json!({"name": "c1"})).await.expect(201);
    for key in ["", &"k".repeat(256)] {
        let refused = send("/containers/create", key, json!({"name": "c2"})).await;
        assert_eq!(refused.expect(422)["field"], "Idempotency-Key");
    }
    send("/containers/create", &"k".repeat(255), json!({"name": "c2"})).await.expect(201);
}

#[tokio::test]
async fn repeated_request_without_effect_gets_the_first_answer() {
    let world = World::new().await;
    world.node("n1").await;
    let send = |path: &'static str| {
        let request = world.request("POST", path).header("idempotency-key", "k1");
        async { Answer::of(request.send().await.unwrap()).await }
    };
    let first = send("/nodes/uncordon/n1").await;
    assert_eq!(first.expect(200)["availability"], "active");
    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    let head = world.head();
    let second = send("/nodes/uncordon/n1").await;
    assert_eq!((second.expect(200), second.seq()), (first.json(), first.seq()));
    assert_eq!(world.head(), head, "the repeated request has no effect");
    assert_eq!(world.get("/nodes/n1").await.expect(200)["availability"], "cordoned");
    assert_eq!(send("/nodes/cordon/n1").await.expect(422)["type"], "/problems/key-reused");
}

#[tokio::test]
async fn boolean_parameter_without_a_value_is_true() {
    let world = World::new().await;
    for parameter in ["dry_run", "dry_run="] {
        let dry =
            world.post(&format!("/containers/create?{parameter}"), json!({"name": "c"})).await.expect(200);
        assert_eq!(dry["events"].as_array().unwrap().len(), 1, "{parameter}");
    }
    assert_eq!(world.get("/containers").await.expect(200), json!([]));
}

#[tokio::test]
async fn repeated_launch_gets_the_first_answer() {
    let world = World::new().await;
    world.node("n1").await;
    world.application("web").await;
    let id = world.container("w1", "web").await;
    let path = format!("/containers/launch/{id}");
    let send = || async {
        let request = world.request("POST", &path).header("idempotency-key", "launch-1");
        Answer::of(request.send().await.unwrap()).await
    };
    let first = send().await;
    first.expect(202);
    world.launch_placed(id).await;
    world.command("POST", "/containers/stop/w1").await.expect(202);
    world.record_stopped(id).await;
    let head = world.head();
    assert_eq!(send().await.expect(202), first.json());
    assert_eq!(world.head(), head, "it was not launched again");
    world.command("DELETE", "/containers/delete/w1").await;
    world.remove_retired(id).await;
    assert_eq!(send().await.expect(202), first.json(), "although the container is deleted");
}

#[tokio::test]
async fn repeated_waiting_request_gets_the_final_answer() {
    let world = World::new().await;
    world.node("n1").await;
    world.application("web").await;
    let send = |method: &'static str, path: &'static str| {
        let request = world.request(method, path).header("idempotency-key", path);
        async { Answer::of(request.send().await.unwrap()).await }
    };
    let up = world.container("up", "web").await;
    let launch = || send("POST", "/containers/launch/up?wait=20s");
    let (first, ()) = tokio::join!(launch(), async {
        world.until(|cluster| cluster.container(up).unwrap().placement.is_some()).await;
        world.launch_placed(up).await;
    });
    assert_eq!(first.expect(200)["status"], "UP");
    world.command("POST", "/containers/stop/up").await.expect(202);
    let again = launch().await;
    assert_eq!(again.expect(200), first.json());
    assert_eq!((again.seq(), again.header("etag")), (first.seq(), first.header("etag")));

    let failing = world.container("failing", "web").await;
    let launch = || send("POST", "/containers/launch/failing?wait=20s");
    let (first, ()) = tokio::join!(launch(), async {
        world.until(|cluster| cluster.container(failing).unwrap().placement.is_some()).await;
        world.fail_launch(failing, "no such image").await;
    });
    let problem = first.expect(409);
    let again = launch().await;
    assert_eq!((&again.expect(409)["detail"], again.seq()), (&problem["detail"], first.seq()));

    world.container("slow", "web").await;
    let first = send("POST", "/containers/launch/slow?wait=1ms").await;
    let again = send("POST", "/containers/launch/slow?wait=1ms").await;
    assert_eq!((again.expect(202), again.seq()), (first.expect(202), first.seq()));

    let path = format!("/containers/delete/{up}?wait=20s"); // by id: a deleted item has no name any more
    let delete = || async {
        let request = world.request("DELETE", &path).header("idempotency-key", "delete");
        Answer::of(request.send().await.unwrap()).await
    };
    let (first, ()) = tokio::join!(delete(), async {
        world.until(|cluster| cluster.container(up).unwrap().desired.as_str() == "deleted").await;
        world.remove_retired(up).await;
    });
    assert_eq!(first.expect(200)["name"], "up");
    let again = delete().await;
    assert_eq!((again.expect(200), again.headers.get("etag")), (first.json(), None));
    assert_eq!(first.headers.get("etag"), None);
}

#[tokio::test]
async fn concurrent_requests_with_one_key_create_one_resource() {
    let world = World::new().await;
    let send = || async {
        let request = world.request("POST", "/containers/create").header("idempotency-key", "once");
        Answer::of(request.json(&json!({"name": "c"})).send().await.unwrap()).await
    };
    let (a, b, c) = tokio::join!(send(), send(), send());
    assert_eq!(a.expect(201), b.expect(201));
    assert_eq!(a.json(), c.expect(201));
}

#[tokio::test]
async fn absent_store_is_reported_and_nothing_is_done() {
    let world = World::new().await;
    world.node("n1").await;
    let head = world.head();
    world.store.set_unavailable(Some("the disk is full"));
    let answer = world.command("POST", "/nodes/cordon/n1").await;
    let problem = answer.expect(503);
    assert_eq!(problem["type"], "/problems/unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("the disk is full"), "{problem}");
    assert_eq!(answer.header("retry-after"), "1");
    world.get("/events").await.expect(503);
    assert_eq!(
        world.get("/nodes/n1").await.expect(200)["availability"],
        "active",
        "reads are still answered"
    );
    world.get_raw("/readyz").await.expect(503);
    world.get_raw("/healthz").await.expect(200);
    world.store.set_unavailable(None);
    assert_eq!(world.head(), head);
    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    world.get_raw("/readyz").await.expect(200);
}

#[tokio::test]
async fn event_carries_its_request_id() {
    let world = World::new().await;
    let request = world.request("POST", "/nodes/create").header("x-request-id", "my-request.1");
    let answer = Answer::of(request.json(&json!({"endpoint": "tcp://a:1"})).send().await.unwrap()).await;
    answer.expect(201);
    assert_eq!(answer.header("x-request-id"), "my-request.1");
    let event = world.get(&format!("/events/{}", answer.seq())).await.expect(200);
    assert_eq!((&event["request_id"], &event["kind"]), (&json!("my-request.1"), &json!("NodeMounted")));
    assert_eq!(event["actor"], json!({"type": "anonymous"}));
}
