use crate::api::harness::{Answer, World};
use serde_json::{Value, json};

#[tokio::test]
async fn application_can_be_created_read_edited_and_deleted() {
    let world = World::new().await;
    world.application("db").await;
    let body = json!({
        "name": "web", "user_id": 7, "docker_image": "nginx:1.27", "exposed_ports": "2368,53/udp,8080:80",
        "dependencies": ["db"], "env_variables": "A=1,B=x,y", "command": "nginx -g 'daemon off;'",
        "entrypoint": ["/bin/sh", "-c"], "volumes": "data:/var/lib/data,/srv:/srv:ro", "networks": ["front"],
        "labels": {"tier": "web"}, "restart_policy": "on-failure:3",
        "resources": {"cpus": 0.5, "memory": "64MiB", "reserved_cpus": "0.25", "reserved_memory": "32MiB"},
        "constraints": ["zone==a", "!gpu"],
        "health_check": {"command": "curl -f localhost", "interval": "10s", "retries": 2},
        "replicas": 0, "update_policy": "rolling", "registry_auth": "hub", "strategy": "binpack",
        "preferences": "disk==ssd", "spread_over": "zone", "anti_affinity": true, "affinity": ["db"],
        "disruption_limit": 2
    });
    let answer = world.post("/applications/create", body).await;
    let row = answer.expect(201);
    assert_eq!(answer.header("location"), format!("/0.0/applications/{}", row["id"].as_str().unwrap()));
    let expected = json!({
        "id": row["id"], "name": "web", "user_id": "7", "exposed_ports": "2368,53/udp,8080:80",
        "docker_image": "nginx:1.27", "dependencies": ["db"], "is_enabled": true,
        "env_variables": "A=1,B=x\\,y", "command": ["nginx", "-g", "daemon off;"],
        "entrypoint": ["/bin/sh", "-c"], "volumes": ["data:/var/lib/data", "/srv:/srv:ro"],
        "networks": ["front"], "labels": {"tier": "web"}, "restart_policy": "on-failure:3",
        "resources": {"cpus": 0.5, "memory_bytes": 67108864, "reserved_cpus": 0.25,
            "reserved_memory_bytes": 33554432},
        "constraints": ["zone==a", "!gpu"],
        "health_check": {"command": ["CMD-SHELL", "curl -f localhost"], "interval_ms": 10000, "retries": 2},
        "replicas": 0, "update_policy": "rolling", "registry_auth": "hub", "strategy": "binpack",
        "preferences": ["disk==ssd"], "spread_over": "zone", "anti_affinity": true, "affinity": ["db"],
        "disruption_limit": 2, "update": {"order": "start-first", "parallelism": 1, "min_ready": "5s", "max_failures": 2, "on_failure": "pause"},
        "rollout": null, "shared_paths": [], "data": "keep", "seq": row["seq"]
    });
    assert_eq!(row, expected);
    assert_eq!(world.get("/applications/web").await.expect(200), row);

    let same = world.patch("/applications/update/web", row.clone()).await;
    assert_eq!(same.expect(200), row, "a row sent back changes nothing");
    assert_eq!(world.patch("/applications/update/web", json!({})).await.expect(200), row);

    let reset = json!({
        "exposed_ports": null, "dependencies": null, "env_variables": null, "command": null,
        "entrypoint": null, "volumes": null, "networks": null, "labels": null, "restart_policy": null,
        "resources": null, "constraints": null, "health_check": null, "replicas": null,
        "update_policy": null, "registry_auth": null, "user_id": null, "is_enabled": false,
        "strategy": null, "preferences": null, "spread_over": null, "anti_affinity": false, "affinity": null,
        "disruption_limit": null
    });
    let bare = world.patch("/applications/update/web", reset).await.expect(200);
    let expected = json!({
        "id": row["id"], "name": "web", "user_id": null, "exposed_ports": "", "docker_image": "nginx:1.27",
        "dependencies": [], "is_enabled": false, "env_variables": "", "command": [], "entrypoint": [],
        "volumes": [], "networks": [], "labels": {}, "restart_policy": "always", "resources": {},
        "constraints": [], "health_check": null, "replicas": null, "update_policy": "manual",
        "registry_auth": null, "strategy": null, "preferences": [], "spread_over": null,
        "anti_affinity": false, "affinity": [], "disruption_limit": null, "update": {"order": "start-first", "parallelism": 1, "min_ready": "5s", "max_failures": 2, "on_failure": "pause"},
        "rollout": null, "shared_paths": [], "data": "keep", "seq": bare["seq"]
    });
    assert_eq!(bare, expected);

    world.command("DELETE", "/applications/delete/web").await.expect(200);
    world.get("/applications/web").await.expect(404);
}

#[tokio::test]
async fn health_check_keeps_its_form() {
    let world = World::new().await;
    world.application("web").await;
    for (check, expected) in [
        (json!({"command": "curl -f a | true"}), json!({"command": ["CMD-SHELL", "curl -f a | true"]})),
        (json!({"command": ["/check"]}), json!({"command": ["CMD-SHELL", "/check"]})),
        (json!({"command": ["/check", "a b"]}), json!({"command": ["CMD", "/check", "a b"]})),
        (json!({"command": ["CMD", "/check"]}), json!({"command": ["CMD", "/check"]})),
        (json!({"test": ["CMD-SHELL", "/check"]}), json!({"command": ["CMD-SHELL", "/check"]})),
        (json!({"command": ["NONE"], "retries": "2"}), json!({"disable": true, "retries": 2})),
        (json!({"disable": true}), json!({"disable": true})),
        (json!({"interval": "5s", "disable": false}), json!({"interval_ms": 5000})),
        (
            json!({"command": "x", "timeout": "1s", "start_period": "1m", "start_interval_ms": 500}),
            json!({"command": ["CMD-SHELL", "x"], "timeout_ms": 1000, "start_period_ms": 60000,
                "start_interval_ms": 500}),
        ),
        // The image's own check, unchanged.
        (json!({"command": [], "interval": 0, "retries": 0}), Value::Null),
        (json!({}), Value::Null),
    ] {
        let row =
            world.patch("/applications/update/web", json!({"health_check": check.clone()})).await.expect(200);
        assert_eq!(row["health_check"], expected, "{check}");
        let same = world.patch("/applications/update/web", row.clone()).await.expect(200);
        assert_eq!(same, row, "a row sent back changes nothing");
    }
}

#[tokio::test]
async fn requests_of_0_0_clients_are_accepted() {
    let world = World::new().await;
    let body = json!({
        "id": "", "name": "ghost", "user_id": "", "exposed_ports": "2368", "docker_image": "ghost",
        "dependencies": "", "is_enabled": "true", "env_variables": ""
    });
    let row = world.post("/applications/create", body).await.expect(201);
    assert_eq!((&row["is_enabled"], &row["user_id"]), (&json!(true), &Value::Null));
    for ports in [json!(2368), json!([2368]), json!(["2368"]), json!("2368")] {
        let row =
            world.patch("/applications/update/ghost", json!({"exposed_ports": ports})).await.expect(200);
        assert_eq!(row["exposed_ports"], "2368");
    }
    for variables in [json!("A=1,B=true"), json!(["A=1", "B=true"]), json!({"A": 1, "B": true})] {
        let patch = json!({"env_variables": variables});
        let row = world.patch("/applications/update/ghost", patch).await.expect(200);
        assert_eq!(row["env_variables"], "A=1,B=true");
    }
}

#[tokio::test]
async fn invalid_application_is_refused_with_its_field() {
    let world = World::new().await;
    world.application("taken").await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "web", "docker_image": "busybox"});
        body[field] = value;
        body
    };
    for (body, field) in [
        (json!({"docker_image": "x"}), "name"),
        (json!({"name": "", "docker_image": "x"}), "name"),
        (json!({"name": 5, "docker_image": "x"}), "name"),
        (json!({"name": "web"}), "docker_image"),
        (with("docker_image", json!("a b")), "docker_image"),
        (with("exposed_ports", json!("80,99999")), "exposed_ports"),
        (with("exposed_ports", json!(["80", "x"])), "exposed_ports[1]"),
        (with("exposed_ports", json!({"a": 1})), "exposed_ports"),
        (with("exposed_ports", json!("80,80")), "exposed_ports"),
        (with("exposed_ports", json!(-1)), "exposed_ports"),
        (with("env_variables", json!("A")), "env_variables"),
        (with("env_variables", json!(["A=1", "B"])), "env_variables[1]"),
        (with("env_variables", json!({"A": {}})), "env_variables.A"),
        (with("env_variables", json!("=1")), "env_variables"),
        (with("command", json!("sh 'unclosed")), "command"),
        (with("command", json!(["a", 1])), "command[1]"),
        (with("volumes", json!(["data:/x", "nope"])), "volumes[1]"),
        (with("networks", json!(["host"])), "networks"),
        (with("labels", json!({"io.kdaemon.x": "1"})), "labels"),
        (with("restart_policy", json!("sometimes")), "restart_policy"),
        (with("resources", json!({"cpus": -1})), "resources.cpus"),
        (with("resources", json!({"memory_bytes": "lots"})), "resources.memory_bytes"),
        (with("resources", json!({"memory_bytes": 1})), "resources.memory_bytes"),
        (with("resources", json!({"memori": 1})), "resources.memori"),
        (with("resources", json!({"memory": "8MiB", "memory_bytes": 1})), "resources"),
        (with("resources", json!({"cpus": 1, "reserved_cpus": 1.5})), "resources.reserved_cpus"),
        (
            with("resources", json!({"memory": "8MiB", "reserved_memory": "9MiB"})),
            "resources.reserved_memory_bytes",
        ),
        (with("constraints", json!(["zone=a"])), "constraints[0]"),
        (with("health_check", json!({"command": ["CMD"]})), "health_check.command"),
        (with("health_check", json!({"command": ["CMD-SHELL", "a", "b"]})), "health_check.command"),
        (with("health_check", json!({"command": ""})), "health_check.command"),
        (with("health_check", json!({"command": "x", "disable": true})), "health_check"),
        (with("health_check", json!({"command": "x", "interval": "soon"})), "health_check.interval"),
        (with("replicas", json!(-1)), "replicas"),
        (with("replicas", json!(1.5)), "replicas"),
        (with("replicas", json!("three")), "replicas"),
        (with("replicas", json!("")), "replicas"),
        (with("replicas", json!(4_294_967_296_u64)), "replicas"),
        (with("replicas", json!(301)), "replicas"),
        (with("update_policy", json!("never")), "update_policy"),
        (with("registry_auth", json!("../x")), "registry_auth"),
        (with("dependencies", json!(["nope"])), "dependencies"),
        (with("dependencies", json!(["web"])), "dependencies"),
        (with("is_enabled", json!("maybe")), "is_enabled"),
        (with("image", json!("x")), "image"),
    ] {
        let problem = world.post("/applications/create", body.clone()).await.expect(422);
        assert_eq!(problem["field"], field, "{body}: {problem}");
    }
    world.post("/applications/create", json!({"name": "taken", "docker_image": "x"})).await.expect(409);
}

#[tokio::test]
async fn errors_are_plain_sentences() {
    let world = World::new().await;
    for (field, value, words) in [
        ("replicas", json!(-1), "expected a whole number from 0 up, got -1"),
        ("replicas", json!(1.5), "expected a whole number from 0 up, got 1.5"),
        ("replicas", json!("three"), "expected a whole number from 0 up, got `three`"),
        ("replicas", json!(""), "expected a whole number from 0 up, got an empty string"),
        ("labels", json!("tier"), "expected an object, got `tier`"),
        ("labels", json!({"tier": 1}), "expected a string, got 1"),
        ("name", json!(["web"]), "expected a string, got a list"),
        ("resources", json!(7), "expected an object, got 7"),
        ("resources", json!({"cpus": "one"}), "expected a number of processors such as 0.5, got `one`"),
        (
            "resources",
            json!({"cpus": 1, "reserved_cpus": 1.5}),
            "the reservation of 1.5 exceeds the limit of 1; lower it or raise the limit",
        ),
        ("health_check", json!({"command": "x", "retries": -1}), "expected a whole number from 0 up, got -1"),
        ("is_enabled", json!({}), "expected true or false, got an object"),
        ("update_policy", json!("never"), "unknown value `never`; expected one of `manual`, `rolling`"),
    ] {
        let mut body = json!({"name": "web", "docker_image": "busybox"});
        body[field] = value;
        let problem = world.post("/applications/create", body.clone()).await.expect(422);
        assert!(problem["detail"].as_str().unwrap().contains(words), "{body}: {problem}");
    }
}

#[tokio::test]
async fn application_in_use_is_not_deleted() {
    let world = World::new().await;
    world.application("db").await;
    let dependent = json!({"name": "web", "docker_image": "x", "dependencies": "db"});
    world.post("/applications/create", dependent).await.expect(201);
    world.command("DELETE", "/applications/delete/db").await.expect(409);
    world.container("w1", "web").await;
    let problem = world.command("DELETE", "/applications/delete/web").await.expect(409);
    assert!(problem["detail"].as_str().unwrap().contains("1 containers"), "{problem}");
}

#[tokio::test]
async fn scaling_waits_until_all_replicas_are_up() {
    let world = World::new().await;
    world.node("n1").await;
    world.application("web").await;
    let going = world.post("/applications/scale/web", json!({"replicas": 2})).await.expect(202);
    assert_eq!(going["replicas"], 2);
    let waiting =
        world.request("POST", "/applications/scale/web?wait=20s").json(&json!({"replicas": 2})).send();
    let launch = async {
        let ids: Vec<_> = world.journal.cluster().containers().map(|container| container.id).collect();
        assert_eq!(ids.len(), 2);
        for id in ids {
            world.launch_placed(id).await;
        }
    };
    let (answer, ()) = tokio::join!(waiting, launch);
    Answer::of(answer.unwrap()).await.expect(200);
    world.post("/applications/scale/web", json!({"replicas": 2})).await.expect(200);

    let down = world.post("/applications/scale/web", json!({"replicas": 1})).await.expect(202);
    assert_eq!(down["replicas"], 1);
    for body in
        [json!({}), json!({"replicas": null}), json!({"replicas": "x"}), json!({"replicas": 1, "x": 1})]
    {
        world.post("/applications/scale/web", body).await.expect(422);
    }
    let text = world.post("/applications/scale/web", json!({"replicas": "1"})).await;
    assert_eq!(text.json()["replicas"], 1);
    let text = world.patch("/applications/update/web", json!({"replicas": "0"})).await.expect(200);
    assert_eq!(text["replicas"], 0);
    assert_eq!(world.post("/applications/scale/web", json!({})).await.expect(422)["field"], "replicas");
    world.post("/applications/scale/nope", json!({"replicas": 1})).await.expect(404);
}
