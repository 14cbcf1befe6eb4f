use crate::api::harness::World;
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

async fn five_nodes() -> World {
    let world = World::new().await;
    for number in 1..=5 {
        let body = json!({
            "name": format!("n{number}"), "endpoint": format!("tcp://n{number}:1"), "capacity": number,
            "labels": {"zone": if number % 2 == 0 { "b" } else { "a" }, format!("only{number}"): "x=y"}
        });
        world.post("/nodes/create", body).await.expect(201);
    }
    world
}

#[tokio::test]
async fn unlimited_list_is_complete_and_limited_list_links_on() {
    let world = five_nodes().await;
    let all = world.get("/nodes").await;
    assert_eq!(names(&all.expect(200)), ["n1", "n2", "n3", "n4", "n5"]);
    assert!(!all.headers.contains_key("link"));
    assert_eq!(names(&world.get("/nodes/").await.expect(200)).len(), 5, "a trailing slash is ignored");

    let mut seen = Vec::new();
    let mut path = "/0.0/nodes?limit=2&label=zone=a".to_owned();
    loop {
        let page = world.get_raw(&path).await;
        seen.extend(names(&page.expect(200)).into_iter().map(ToOwned::to_owned));
        let Some(link) = page.headers.get("link") else { break };
        let link = link.to_str().unwrap();
        assert!(link.ends_with(">; rel=\"next\""), "{link}");
        path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    assert_eq!(seen, ["n1", "n3", "n5"]);
    assert_eq!(names(&world.get("/nodes?after=n3").await.expect(200)), ["n4", "n5"]);
    assert_eq!(world.get("/nodes?limit=5").await.headers.get("link"), None, "it is the last page");
    for limit in ["0", "10001", "-1", "x", ""] {
        assert_eq!(world.get(&format!("/nodes?limit={limit}")).await.expect(422)["field"], "limit");
    }
    assert_eq!(world.get("/nodes?after=nope").await.expect(422)["field"], "after");
    assert_eq!(world.get("/nodes?limit=1&limit=2").await.expect(422)["field"], "limit");
}

#[tokio::test]
async fn lists_are_filtered_by_their_fields() {
    let world = five_nodes().await;
    for (query, expected) in [
        ("label=zone=a&label=only3", vec!["n3"]),
        ("label=only3=x%3Dy", vec!["n3"]),
        ("label=zone=c", vec![]),
        ("capacity=4", vec!["n4"]),
        ("name=n2&name=n4", vec!["n2", "n4"]),
        ("state=UNKNOWN&d_ipaddr=n5", vec!["n5"]),
        ("state=UP", vec![]),
        ("state=unknown&capacity=5", vec!["n5"]),
        ("availability=Active&capacity=5", vec!["n5"]),
        ("user_id=null&capacity=1", vec!["n1"]),
        ("user_id=&capacity=1", vec!["n1"]),
        ("availability=active&container_count=0&capacity=2", vec!["n2"]),
    ] {
        assert_eq!(names(&world.get(&format!("/nodes?{query}")).await.expect(200)), expected, "{query}");
    }
    let problem = world.get("/nodes?stat=UP").await.expect(422);
    assert_eq!(problem["field"], "stat");
    assert!(problem["detail"].as_str().unwrap().contains("`state`"), "{problem}");
    for (list, field, known) in [
        ("nodes", "state", "UP, DOWN, UNKNOWN"),
        ("nodes", "availability", "cordoned"),
        ("containers", "status", "CREATED, LAUNCHING, UP, STOPPING, DOWN, COMPLETED, FAILED, LOST, PAUSED"),
        ("containers", "desired", "running"),
        ("containers", "balance", "true, false"),
        ("applications", "update_policy", "manual, rolling"),
        ("applications", "is_enabled", "true, false"),
    ] {
        let problem = world.get(&format!("/{list}?{field}=BOGUS")).await.expect(422);
        assert_eq!(problem["field"], field);
        assert!(problem["detail"].as_str().unwrap().contains(known), "{problem}");
    }
    assert_eq!(world.get("/containers?label=a").await.expect(422)["field"], "label");
}

#[tokio::test]
async fn containers_are_filtered_by_node_and_application_names() {
    let world = World::new().await;
    let node = world.node("n1").await;
    world.application("web").await;
    world.application("db").await;
    world.running("w1", "web").await;
    world.container("d1", "db").await;
    for (query, expected) in [
        ("application_id=web", vec!["w1"]),
        ("node_id=n1", vec!["w1"]),
        (&format!("node_id={node}"), vec!["w1"]),
        ("status=UP", vec!["w1"]),
        ("status=UP&status=CREATED", vec!["w1", "d1"]),
        ("balance=true&desired=stopped", vec!["d1"]),
        ("node_id=nope", vec![]),
    ] {
        assert_eq!(names(&world.get(&format!("/containers?{query}")).await.expect(200)), expected, "{query}");
    }
    assert_eq!(names(&world.get("/applications?docker_image=busybox&name=db").await.expect(200)), ["db"]);
    // Any value of a list matches.
    let needs = json!({"dependencies": ["db"], "networks": ["front", "back"]});
    world.patch("/applications/update/web", needs).await.expect(200);
    let db = world.get("/applications/db").await.expect(200)["id"].as_str().unwrap().to_owned();
    for query in
        ["dependencies=db", &format!("dependencies={db}"), "networks=back", "networks=x&networks=front"]
    {
        assert_eq!(
            names(&world.get(&format!("/applications?{query}")).await.expect(200)),
            ["web"],
            "{query}"
        );
    }
    assert_eq!(world.get("/applications?networks=x").await.expect(200), json!([]));
}

#[tokio::test]
async fn long_list_is_streamed_completely() {
    let world = World::new().await;
    let count = 2_500;
    let create = |number: u32| {
        let world = &world;
        async move {
            let create = kdaemon_control::commands::CreateContainer {
                name: Some(format!("container-{number}")),
                user_id: None,
                application: None,
                env_variables: std::collections::BTreeMap::from([("A".into(), "x".repeat(100))]),
                balance: number.is_multiple_of(2),
            };
            world.tell(kdaemon_control::commands::Command::CreateContainer(create)).await;
        }
    };
    for number in 0..count {
        create(number).await;
    }
    let all = world.get("/containers").await.expect(200);
    assert_eq!(all.as_array().unwrap().len(), count as usize);
    let half = world.get("/containers?balance=false").await.expect(200);
    assert_eq!(half.as_array().unwrap().len(), count as usize / 2);
    assert_eq!(world.get("/containers?balance=false&status=UP").await.expect(200), json!([]));
    assert_eq!(names(&world.get("/containers?name=container-2499").await.expect(200)), ["container-2499"]);
}

#[tokio::test]
async fn read_waits_for_min_seq() {
    let world = World::with(|config| config.request_timeout = std::time::Duration::from_secs(5)).await;
    let next = world.head() + 1;
    let reading = world.request("GET", &format!("/nodes?min_seq={next}")).send();
    let mounting = world.post("/nodes/create", json!({"endpoint": "tcp://a:1"}));
    let (answer, mounted) = tokio::join!(reading, mounting);
    mounted.expect(201);
    let answer = crate::api::harness::Answer::of(answer.unwrap()).await;
    assert_eq!(answer.expect(200).as_array().unwrap().len(), 1);
    assert!(answer.seq() >= next);
    assert_eq!(world.get("/nodes/a?min_seq=99999999999").await.expect(422)["field"], "min_seq");
    assert_eq!(world.get("/nodes/a?min_seq=x").await.expect(422)["field"], "min_seq");
    assert_eq!(world.get(&format!("/nodes/a?min_seq={next}")).await.expect(200)["name"], "a");
}

#[tokio::test]
async fn read_of_a_state_that_never_comes_times_out() {
    let world = World::with(|config| config.request_timeout = std::time::Duration::from_millis(100)).await;
    let answer = world.get("/nodes?min_seq=50").await;
    assert_eq!(answer.expect(503)["type"], "/problems/timeout");
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn known_etag_is_answered_with_not_modified() {
    let world = World::new().await;
    world.node("n1").await;
    let first = world.get("/nodes/n1").await;
    let tag = first.header("etag").to_owned();
    let again = world.request("GET", "/nodes/n1").header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()["etag"].to_str().unwrap(), tag);
    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    let changed = world.request("GET", "/nodes/n1").header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(changed.status(), 200);
}
