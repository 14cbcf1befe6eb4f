use crate::api::harness::World;
use kdaemon_events::node::Availability;
use serde_json::{Value, json};

#[tokio::test]
async fn node_can_be_mounted_read_edited_and_unmounted() {
    let world = World::new().await;
    let answer =
        world.post("/nodes/create", json!({"name": "n1", "d_ipaddr": "10.0.0.1", "d_port": "2375"})).await;
    let row = answer.expect(201);
    assert_eq!(answer.header("location"), format!("/0.0/nodes/{}", row["id"].as_str().unwrap()));
    assert_eq!(answer.header("etag"), format!("\"{}\"", row["seq"]));
    assert_eq!(answer.seq(), world.head());
    assert_eq!(
        row,
        json!({
            "id": row["id"], "name": "n1", "user_id": null, "d_ipaddr": "10.0.0.1", "d_port": 2375,
            "endpoint": "tcp://10.0.0.1:2375", "container_count": 0, "state": "UNKNOWN", "reason": null,
            "labels": {}, "capacity": null, "availability": "active", "engine": null, "seq": 2
        })
    );
    let id = row["id"].as_str().unwrap();
    for which in [id, "n1"] {
        assert_eq!(world.get(&format!("/nodes/{which}")).await.expect(200), row);
    }
    assert_eq!(world.get("/nodes").await.expect(200), json!([row]));

    let patch = json!({"name": "n2", "labels": {"zone": "a"}, "capacity": 5, "user_id": 7});
    let edited = world.patch("/nodes/update/n1", patch).await.expect(200);
    assert_eq!((&edited["name"], &edited["labels"]["zone"]), (&json!("n2"), &json!("a")));
    assert_eq!((&edited["capacity"], &edited["user_id"]), (&json!(5), &json!("7")));
    let reset = world.patch("/nodes/update/n2", json!({"capacity": null, "user_id": ""})).await.expect(200);
    assert_eq!((&reset["capacity"], &reset["user_id"]), (&Value::Null, &Value::Null));
    assert_eq!(reset["labels"], json!({"zone": "a"}), "what is not named stays");
    let text = world.patch("/nodes/update/n2", json!({"capacity": "7"})).await.expect(200);
    assert_eq!(text["capacity"], 7);
    let cleared = world.patch("/nodes/update/n2", json!({"labels": null})).await.expect(200);
    assert_eq!((&cleared["labels"], &cleared["capacity"]), (&json!({}), &json!(7)));

    // Also what the routes cordon, uncordon and drain set; a row that was read can be sent back.
    let cordoned = world.patch("/nodes/update/n2", json!({"availability": "cordoned", "capacity": 8})).await;
    let cordoned = cordoned.expect(200);
    assert_eq!((&cordoned["availability"], &cordoned["capacity"]), (&json!("cordoned"), &json!(8)));
    assert_eq!(world.patch("/nodes/update/n2", cordoned.clone()).await.expect(200), cordoned);
    let back = world.patch("/nodes/update/n2", json!({"availability": "active"})).await.expect(200);
    assert_eq!(back["availability"], "active");
    let unknown = world.patch("/nodes/update/n2", json!({"availability": "gone"})).await.expect(422);
    assert_eq!(unknown["field"], "availability");
    let new = json!({"name": "z", "endpoint": "tcp://z:1", "availability": "cordoned"});
    assert_eq!(world.post("/nodes/create", new).await.expect(201)["availability"], "cordoned");
    world.command("DELETE", "/nodes/delete/z").await.expect(200);

    let gone = world.command("DELETE", "/nodes/delete/n2").await.expect(200);
    assert_eq!(gone["id"], row["id"]);
    world.get(&format!("/nodes/{id}")).await.expect(404);
    world.command("DELETE", "/nodes/delete/n2").await.expect(404);
}

#[tokio::test]
async fn addresses_have_many_forms() {
    let world = World::new().await;
    for (body, endpoint, name) in [
        (json!({"d_ipaddr": "::1", "d_port": 1}), "tcp://[::1]:1", "::1"),
        (json!({"d_ipaddr": "node.example", "d_port": "65535"}), "tcp://node.example:65535", "node.example"),
        (json!({"endpoint": "tcp://10.0.0.7:2375"}), "tcp://10.0.0.7:2375", "10.0.0.7"),
        (json!({"endpoint": "unix:///run/docker.sock", "tls": null}), "unix:///run/docker.sock", "local"),
        (
            json!({"name": "", "user_id": "", "endpoint": "", "d_ipaddr": "10.0.0.8", "d_port": 2}),
            "tcp://10.0.0.8:2",
            "10.0.0.8",
        ),
    ] {
        let row = world.post("/nodes/create", body).await.expect(201);
        assert_eq!((&row["endpoint"], &row["name"]), (&json!(endpoint), &json!(name)));
    }
}

#[tokio::test]
async fn invalid_node_is_refused_with_its_field() {
    let world = World::new().await;
    for (body, field) in [
        (json!({}), "d_ipaddr"),
        (json!({"name": "n"}), "d_ipaddr"),
        (json!({"d_port": 1}), "d_ipaddr"),
        (json!({"d_ipaddr": "10.0.0.1"}), "d_port"),
        (json!({"d_ipaddr": "10.0.0.1", "d_port": 0}), "d_port"),
        (json!({"d_ipaddr": "10.0.0.1", "d_port": 65536}), "d_port"),
        (json!({"d_ipaddr": "10.0.0.1", "d_port": -1}), "d_port"),
        (json!({"d_ipaddr": "10.0.0.1", "d_port": "http"}), "d_port"),
        (json!({"d_ipaddr": "not a host", "d_port": 1}), "d_ipaddr"),
        (json!({"d_ipaddr": 5, "d_port": 1}), "d_ipaddr"),
        (json!({"endpoint": "http://x"}), "endpoint"),
        (json!({"endpoint": "ssh://x"}), "endpoint"),
        (json!({"endpoint": "tcp://a:1", "d_ipaddr": "b", "d_port": 1}), "endpoint"),
        (json!({"endpoint": "tcp://a:1", "tls": {"ca": "x"}}), "tls"),
        (json!({"endpoint": "tcp://a:1", "labels": {"zone": 1}}), "labels.zone"),
        (json!({"endpoint": "tcp://a:1", "labels": "zone"}), "labels"),
        (json!({"endpoint": "tcp://a:1", "capacity": -1}), "capacity"),
        (json!({"endpoint": "tcp://a:1", "capacity": "many"}), "capacity"),
        (json!({"endpoint": "tcp://a:1", "name": " x"}), "name"),
        (json!({"endpoint": "tcp://a:1", "name": "a\u{7}"}), "name"),
        (json!({"endpoint": "tcp://a:1", "name": "x".repeat(129)}), "name"),
        (json!({"endpoint": "tcp://a:1", "colour": 1}), "colour"),
    ] {
        let problem = world.post("/nodes/create", body.clone()).await.expect(422);
        assert_eq!(problem["field"], field, "{body}: {problem}");
        assert_eq!(problem["type"], "/problems/invalid");
        assert_eq!(problem["instance"], "/0.0/nodes/create");
    }
    assert_eq!(world.head(), 1, "nothing happened");
}

#[tokio::test]
async fn unknown_field_names_the_nearest_and_read_only_ones_are_ignored() {
    let world = World::new().await;
    let problem =
        world.post("/nodes/create", json!({"endpoint": "tcp://a:1", "lables": {}})).await.expect(422);
    assert!(problem["detail"].as_str().unwrap().contains("`labels`"), "{problem}");
    let body = json!({
        "endpoint": "tcp://a:1", "id": "x", "state": "UP", "container_count": 9, "seq": 9, "engine": 1,
        "availability": "cordoned", "reason": "?"
    });
    let row = world.post("/nodes/create", body).await.expect(201);
    assert_eq!((&row["state"], &row["container_count"]), (&json!("UNKNOWN"), &json!(0)));
    assert_eq!(row["availability"], "cordoned", "this is set by people");
}

#[tokio::test]
async fn read_row_can_be_sent_back() {
    let world = World::new().await;
    world.node("n1").await;
    let mut row = world.get("/nodes/n1").await.expect(200);
    row["d_port"] = json!(2376);
    let edited = world.patch("/nodes/update/n1", row.clone()).await.expect(200);
    assert_eq!(edited["endpoint"], "tcp://n1:2376");
    row = edited;
    row["endpoint"] = json!("tcp://n1:9999");
    let edited = world.patch("/nodes/update/n1", row.clone()).await.expect(200);
    assert_eq!(edited["d_port"], 9999);
    let same = world.patch("/nodes/update/n1", edited.clone()).await.expect(200);
    assert_eq!(same, edited, "nothing changed, so nothing happened");
    let one = world.patch("/nodes/update/n1", json!({"d_ipaddr": "n9"})).await.expect(200);
    assert_eq!(one["endpoint"], "tcp://n9:9999", "one of the two is enough to edit it");
}

#[tokio::test]
async fn empty_edit_changes_nothing() {
    let world = World::new().await;
    world.node("n1").await;
    let node = world.get("/nodes/n1").await.expect(200);
    let empty = json!({"name": "", "d_ipaddr": "", "d_port": "", "endpoint": ""});
    assert_eq!(world.patch("/nodes/update/n1", empty).await.expect(200), node);
    let port = json!({"name": "", "d_ipaddr": "", "d_port": "99", "endpoint": ""});
    assert_eq!(world.patch("/nodes/update/n1", port).await.expect(200)["endpoint"], "tcp://n1:99");

    world.application("web").await;
    let application = world.get("/applications/web").await.expect(200);
    let empty = json!({"name": "", "docker_image": ""});
    assert_eq!(world.patch("/applications/update/web", empty).await.expect(200), application);

    world.container("c", "web").await;
    let container = world.get("/containers/c").await.expect(200);
    let empty = json!({"name": "", "application_id": ""});
    assert_eq!(world.patch("/containers/update/c", empty).await.expect(200), container);
    let reset = world.patch("/containers/update/c", json!({"application_id": null})).await.expect(200);
    assert_eq!(reset["application_id"], Value::Null);
}

#[tokio::test]
async fn names_are_unique_printable_text() {
    let world = World::new().await;
    let name = "Größe 漢字/?#%&+ x";
    world.post("/nodes/create", json!({"name": name, "endpoint": "tcp://a:1"})).await.expect(201);
    let problem =
        world.post("/nodes/create", json!({"name": name, "endpoint": "tcp://b:1"})).await.expect(409);
    assert_eq!(problem["type"], "/problems/conflict");
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(world.get(&format!("/nodes/{encoded}")).await.expect(200)["name"], name);
    let patched = world.patch(&format!("/nodes/update/{encoded}"), json!({"capacity": 1})).await;
    assert_eq!(patched.expect(200)["capacity"], 1);
    assert_eq!(world.get("/nodes/%FF").await.expect(400)["type"], "/problems/malformed");
}

#[tokio::test]
async fn node_with_containers_needs_force_to_unmount() {
    let world = World::new().await;
    let node = world.node("n1").await;
    world.application("web").await;
    let container = world.running("w1", "web").await;
    let problem = world.command("DELETE", "/nodes/delete/n1").await.expect(409);
    assert!(problem["detail"].as_str().unwrap().contains("w1"), "{problem}");
    world.node("n2").await;
    let waiting = world.request("DELETE", "/nodes/delete/n1?force=true&wait=20s").send();
    let finish = async {
        world.until(|cluster| cluster.node(node).unwrap().availability == Availability::Draining).await;
        let again = world.command("DELETE", "/nodes/delete/n1?force=true").await.expect(202);
        assert_eq!(again["availability"], "draining");
        world.tell(kdaemon_control::commands::Command::EvacuateNode(node)).await;
        world.launch_placed(container).await;
        world.remove_retired(container).await;
        world.tell(kdaemon_control::commands::Command::FinishDrain(node)).await;
    };
    let (answer, ()) = tokio::join!(waiting, finish);
    let gone = crate::api::harness::Answer::of(answer.unwrap()).await.expect(200);
    assert_eq!(gone["id"], node.to_string());
    world.get("/nodes/n1").await.expect(404);
    assert_eq!(world.get("/containers/w1").await.expect(200)["status"], "UP");
}

#[tokio::test]
async fn node_can_be_cordoned_drained_and_uncordoned() {
    let world = World::new().await;
    let node = world.node("n1").await;
    assert_eq!(world.command("POST", "/nodes/cordon/n1").await.expect(200)["availability"], "cordoned");
    assert_eq!(world.command("POST", "/nodes/uncordon/n1").await.expect(200)["availability"], "active");
    let empty = world.command("POST", "/nodes/drain/n1").await.expect(200);
    assert_eq!(empty["availability"], "draining");
    world.command("POST", "/nodes/uncordon/n1").await.expect(200);

    world.application("web").await;
    let container = world.running("w1", "web").await;
    world.command("POST", "/nodes/drain/n1").await.expect(202);
    let over = world.command("POST", "/nodes/drain/n1?wait=10ms").await.expect(202);
    assert_eq!(over["container_count"], 1);
    world.command("POST", "/nodes/uncordon/n1").await.expect(200);

    let waiting = world.request("POST", "/nodes/drain/n1?wait=20").send();
    let (answer, ()) = tokio::join!(waiting, async {
        world.until(|cluster| cluster.node(node).unwrap().availability == Availability::Draining).await;
        world.command("POST", "/nodes/uncordon/n1").await.expect(200);
    });
    let problem = crate::api::harness::Answer::of(answer.unwrap()).await.expect(409);
    assert!(problem["detail"].as_str().unwrap().contains("n1"), "{problem}");

    let waiting = world.request("POST", "/nodes/drain/n1?wait=20").send();
    let (answer, ()) = tokio::join!(waiting, async {
        world.until(|cluster| cluster.node(node).unwrap().availability == Availability::Draining).await;
        world.command("DELETE", "/containers/delete/w1").await.expect(202);
        world.remove_retired(container).await;
        world.tell(kdaemon_control::commands::Command::FinishDrain(node)).await;
    });
    let drained = crate::api::harness::Answer::of(answer.unwrap()).await.expect(200);
    assert_eq!(drained["container_count"], 0);
    world.command("POST", "/nodes/cordon/nope").await.expect(404);
}
