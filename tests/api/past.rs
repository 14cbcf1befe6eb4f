//! The past: the state at any moment, and the difference between two.

use crate::api::harness::{Answer, World};
use kdaemon::config::Config;
use kdaemon_events::Endpoint;
use kdaemon_testing::engines::{Crash, SimulatedEngines, SimulatedMachine};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A world with a short history.
async fn with_history() -> World {
    let world = World::new().await;
    let node = world.node("n1").await;
    world.node("n2").await;
    world.application("web").await;
    world.running("w1", "web").await;
    world.container("w2", "web").await;
    world.patch("/containers/update/w2", json!({"name": "w3"})).await.expect(200);
    world.command("POST", "/nodes/cordon/n2").await.expect(200);
    world.fail(node).await;
    world.command("DELETE", "/containers/delete/w3").await.expect(200);
    world
}

#[tokio::test]
async fn past_reads_equal_the_answers_of_that_moment() {
    let world = World::new().await;
    let paths = ["/nodes", "/applications", "/containers", "/nodes/n1", "/containers?status=UP", "/state"];
    let mut answers = Vec::new();
    let mut record = async |world: &World| {
        for path in paths {
            answers.push((path, world.get(path).await));
        }
    };
    record(&world).await;
    let node = world.node("n1").await;
    record(&world).await;
    world.application("web").await;
    record(&world).await;
    world.running("w1", "web").await;
    record(&world).await;
    world.fail(node).await;
    record(&world).await;
    world.command("DELETE", "/containers/delete/w1").await.expect(200);
    record(&world).await;
    world.patch("/nodes/update/n1", json!({"name": "n0"})).await.expect(200);
    record(&world).await;
    for (path, then) in &answers {
        let sign = if path.contains('?') { '&' } else { '?' };
        let later = world.get(&format!("{path}{sign}seq={}", then.seq())).await;
        assert_eq!(later.status, then.status, "{path}");
        if then.status.is_success() {
            assert_eq!((later.seq(), &later.text), (then.seq(), &then.text), "{path}");
        }
        assert_eq!(later.headers.get("etag"), then.headers.get("etag"), "{path}");
    }
}

#[tokio::test]
async fn time_means_the_last_event_until_then() {
    let world = with_history().await;
    let events = world.get("/events?limit=1000").await.expect(200);
    let events = events["events"].as_array().unwrap();
    for event in events {
        let at = event["at"].as_str().unwrap();
        // Of several events of one moment the last one counts.
        let last = events.iter().rfind(|other| other["at"].as_str().unwrap() <= at).unwrap();
        let by_time = world.get(&format!("/containers?at={at}")).await;
        let by_seq = world.get(&format!("/containers?seq={}", last["seq"])).await;
        assert_eq!((by_time.status.as_u16(), &by_time.text), (200, &by_seq.text));
        assert_eq!(by_time.seq(), last["seq"].as_u64().unwrap());
        let with_zone = at.replace('Z', "+00:00");
        assert_eq!(world.get(&format!("/state?at={with_zone}")).await.seq(), by_time.seq());
    }
    let now = chrono::Utc::now().to_rfc3339();
    let now = world.get(&format!("/state?at={}", now.replace('+', "%2B"))).await;
    assert_eq!((now.seq(), &now.text), (world.head(), &world.get("/state").await.text));
}

#[tokio::test]
async fn invalid_moment_is_refused_with_the_reason() {
    let world = with_history().await;
    let head = world.head();
    let beyond = (head + 1).to_string();
    for route in ["/nodes", "/nodes/n1", "/applications/web", "/containers", "/state"] {
        for (query, status, field) in [
            ("seq=0", 422, "seq"),
            ("seq=-3", 422, "seq"),
            (&*format!("seq={beyond}"), 422, "seq"),
            ("seq=99999999999999999999999", 422, "seq"),
            ("seq=x", 400, "seq"),
            ("seq=", 400, "seq"),
            ("seq=1.5", 400, "seq"),
            ("at=2026-01-31T12:00:00", 400, "at"),
            ("at=yesterday", 400, "at"),
            ("at=", 400, "at"),
            ("at=9999-12-31T23:59:59Z", 422, "at"),
            ("at=1999-12-31T23:59:59Z", 422, "at"),
            ("seq=1&at=2026-01-31T12:00:00Z", 400, "at"),
            ("seq=1&seq=2", 422, "seq"),
        ] {
            let problem = world.get(&format!("{route}?{query}")).await;
            assert_eq!(problem.expect(status)["field"], field, "{route}?{query}");
        }
    }
    for (query, status, field) in [
        ("from=9&to=8", 422, "from"),
        ("from=0", 422, "from"),
        ("from=1&to=-1", 422, "to"),
        (&*format!("from=1&to={beyond}"), 422, "to"),
        ("from=1&to=later", 400, "to"),
        ("from=2026-01-31T12:00:00", 400, "from"),
        ("from=9999-01-01T00:00:00Z", 422, "from"),
        ("from=1&to=9999-01-01T00:00:00Z", 422, "to"),
        ("to=3", 422, "from"),
    ] {
        assert_eq!(world.get(&format!("/diff?{query}")).await.expect(status)["field"], field, "{query}");
    }
    // Routes without a past refuse `seq`.
    assert_eq!(world.get("/events?seq=3").await.expect(422)["field"], "seq");
    // An item that did not exist yet.
    world.get("/containers/w1?seq=1").await.expect(404);
    // An item that is gone, by the name that it had then.
    let created = world.get("/events?kind=ContainerUpdated").await.expect(200)["events"][0]["seq"].clone();
    world.get("/containers/w3").await.expect(404);
    assert_eq!(world.get(&format!("/containers/w3?seq={created}")).await.expect(200)["name"], "w3");
    world.get(&format!("/containers/w2?seq={created}")).await.expect(404);
}

#[tokio::test]
async fn pages_of_the_past_stay_in_one_state() {
    let world = World::new().await;
    for number in 0..7 {
        world.post("/containers/create", json!({"name": format!("c{number}")})).await.expect(201);
    }
    let then = world.head();
    let whole = world.get("/containers").await.expect(200);
    for number in 0..7 {
        world.patch(&format!("/containers/update/c{number}"), json!({"name": format!("d{number}")})).await;
    }
    let mut pages = Vec::new();
    let mut path = format!("/0.0/containers?limit=3&seq={then}");
    loop {
        let page = world.get_raw(&path).await;
        pages.extend(page.expect(200).as_array().unwrap().clone());
        assert_eq!(page.seq(), then);
        let Some(link) = page.headers.get("link") else { break };
        path = link.to_str().unwrap().trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    assert_eq!(json!(pages), whole);
}

#[tokio::test]
async fn diff_has_additions_removals_changes_and_their_events() {
    let world = World::new().await;
    let node = world.node("n1").await;
    world.application("web").await;
    let gone = world.container("gone", "web").await;
    let kept = world.running("kept", "web").await;
    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    let from = world.head();
    let before = world.get("/containers/gone").await.expect(200);
    world.command("POST", "/nodes/uncordon/n1").await.expect(200); // there and back: no difference
    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    world.patch("/containers/update/kept", json!({"user_id": "bob"})).await.expect(200);
    let edited = world.head();
    world.command("DELETE", "/containers/delete/gone").await;
    let deleted = world.head();
    let new = world.container("new", "web").await;
    let created = world.head();
    world.patch("/containers/update/new", json!({"balance": false})).await.expect(200);
    world.fail(node).await;

    let diff = world.get(&format!("/diff?from={from}")).await.expect(200);
    assert_eq!((&diff["from"]["seq"], &diff["to"]["seq"]), (&json!(from), &json!(world.head())));
    assert!(diff["from"]["at"].is_string() && diff["to"]["at"].is_string());
    assert_eq!(diff["applications"], json!({"added": [], "removed": [], "changed": []}));
    let containers = &diff["containers"];
    let row = world.get("/containers/new").await.expect(200);
    assert_eq!(
        containers["added"],
        json!([{"id": new.to_string(), "name": "new", "row": row, "events": [created, created + 1]}])
    );
    let removed = &containers["removed"][0];
    assert_eq!((&removed["id"], &removed["row"]), (&json!(gone.to_string()), &before));
    assert_eq!(removed["events"].as_array().unwrap().last(), Some(&json!(deleted)));
    let unhealthy = world.get("/events?kind=NodeUnhealthy").await.expect(200)["events"][0]["seq"].clone();
    let changed = &containers["changed"][0];
    assert_eq!(changed["id"], kept.to_string());
    assert_eq!(changed["fields"]["user_id"], json!({"from": null, "to": "bob"}));
    assert_eq!(changed["fields"]["status"], json!({"from": "UP", "to": "LOST"}));
    assert!(changed["fields"].get("name").is_none() && changed["fields"].get("seq").is_none());
    assert_eq!(changed["events"], json!([edited, unhealthy]));
    let changed = &diff["nodes"]["changed"];
    assert_eq!((changed.as_array().unwrap().len(), &changed[0]["name"]), (1, &json!("n1")));
    assert_eq!(changed[0]["fields"]["state"], json!({"from": "UP", "to": "DOWN"}));
    assert_eq!(changed[0]["events"], json!([unhealthy]), "not what was changed back");

    let same = world.get(&format!("/diff?from={from}&to={from}")).await.expect(200);
    assert_eq!(same["containers"], json!({"added": [], "removed": [], "changed": []}));
    let by_time = format!("/diff?from={}", diff["from"]["at"].as_str().unwrap());
    assert_eq!(world.get(&by_time).await.expect(200), diff);
}

#[tokio::test]
async fn why_explains_a_placement_now_and_in_the_past() {
    let world = World::new().await;
    let first = world.node("node-a").await;
    world.application("web").await;
    let id = world.running("web-1", "web").await;
    let then = world.head();
    world.node("node-b").await;
    world.node("node-c").await;
    world.command("POST", "/nodes/cordon/node-c").await.expect(200);
    let cordoned = world.head();
    world.fail(first).await;
    let unhealthy = world.head();
    let moved = world.tell(kdaemon_control::commands::Command::EvacuateNode(first)).await.seq;
    world.launch_placed(id).await;

    let why = world.get("/why/containers/web-1").await.expect(200);
    let at = |event: &Value| {
        let at: chrono::DateTime<chrono::Utc> = event["at"].as_str().unwrap().parse().unwrap();
        at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
    };
    assert_eq!(
        why["sentences"],
        json!([
            format!("web-1 is UP on node-b since {} (generation 2).", at(&why["steps"][0])),
            format!(
                "It was moved by the test reactor (event {moved}) because node-a was judged unhealthy (event {unhealthy}) \
                 after 3 failed probes (events {}, {}, {}: no answer).",
                unhealthy - 3,
                unhealthy - 2,
                unhealthy - 1
            ),
            format!(
                "node-b was chosen with 0 containers; node-a was DOWN; node-c was cordoned (by an anonymous client, event \
                 {cordoned})."
            ),
        ])
    );
    let kinds: Vec<_> =
        why["steps"].as_array().unwrap().iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "ContainerHealthy",
            "ContainerLaunched",
            "ContainerMigrationCommanded",
            "NodeUnhealthy",
            "NodeObserved",
            "NodeObserved",
            "NodeObserved",
            "NodeCordoned"
        ]
    );
    assert_eq!(why["steps"][2]["because"], json!([unhealthy, cordoned]));
    for step in why["steps"].as_array().unwrap() {
        let event = world.get(&format!("/events/{}", step["seq"])).await.expect(200);
        for field in ["at", "kind", "actor", "cause"] {
            assert_eq!(step[field], event[field]);
        }
    }

    let before = world.get(&format!("/why/containers/{id}?seq={then}")).await.expect(200);
    assert_eq!((&before["state"], &before["seq"]), (&json!("UP"), &json!(then)));
    assert!(before["sentences"][0].as_str().unwrap().starts_with("web-1 is UP on node-a since"), "{before}");
    let node = world.get("/why/nodes/node-a").await.expect(200);
    assert_eq!((&node["kind"], &node["state"]), (&json!("node"), &json!("DOWN")));
    assert!(node["sentences"][1].as_str().unwrap().contains("after 3 failed probes"), "{node}");
    let then = world.get(&format!("/why/nodes/node-a?seq={then}")).await.expect(200);
    assert_eq!(then["state"], "UP");
    world.get("/why/nodes/nope").await.expect(404);
    world.get("/why/applications/web").await.expect(404);
    assert_eq!(world.get("/why/nodes/node-a?seq=0").await.expect(422)["field"], "seq");
}

/// The complete daemon, on simulated engines.
struct Busy {
    engines: SimulatedEngines,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    address: SocketAddr,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Busy {
    async fn start(nodes: u16) -> Self {
        let engines = SimulatedEngines::new(11);
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: folder.path().to_owned(),
            api_port: 0,
            local_node: false,
            health_interval: Duration::from_millis(100),
            probe_retry_interval: Duration::from_millis(20),
            ..Config::default()
        };
        let shutdown = CancellationToken::new();
        let (ready, address) = tokio::sync::oneshot::channel();
        let (on, stop) = (Arc::new(engines.clone()), shutdown.clone());
        let task = tokio::spawn(async move {
            let ready = |address| ready.send(address).unwrap();
            kdaemon::daemon::run_on(on, config, stop, ready).await.unwrap();
        });
        let address = address.await.unwrap();
        let client = reqwest::Client::builder().timeout(crate::api::harness::DEADLINE).build().unwrap();
        let busy = Self { engines, shutdown, task, address, client, _folder: folder };
        for number in 1..=nodes {
            busy.engines.add(&Self::endpoint(number), SimulatedMachine::default());
            let node = json!({"name": format!("n{number}"), "endpoint": Self::endpoint(number).to_string()});
            assert!(busy.post("/nodes/create", node).await.status.is_success());
        }
        busy
    }

    fn endpoint(number: u16) -> Endpoint {
        Endpoint::tcp(&format!("n{number}"), 2375).unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        let sent = self.client.get(format!("http://{}/0.0{path}", self.address)).send();
        Answer::of(sent.await.unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        let sent = self.client.post(format!("http://{}/0.0{path}", self.address)).json(&body).send();
        Answer::of(sent.await.unwrap()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_answers_of_a_busy_run_are_repeated_byte_for_byte() {
    let busy = Arc::new(Busy::start(4).await);
    let app = json!({"name": "web", "docker_image": "kdaemon/busybox", "command": ["sleep", "1"], "replicas": 12,
        "restart_policy": "always"});
    assert!(busy.post("/applications/create", app).await.status.is_success());
    let done = CancellationToken::new();
    let mut readers = Vec::new();
    for path in [
        "/containers",
        "/containers?status=UP&limit=5",
        "/nodes?state=UP",
        "/nodes/n2",
        "/applications/web",
        "/applications",
        "/state",
    ] {
        let (busy, done) = (Arc::clone(&busy), done.clone());
        readers.push(tokio::spawn(async move {
            let mut answers: Vec<(String, Answer)> = Vec::new();
            while !done.is_cancelled() {
                let answer = busy.get(path).await;
                if answers.last().is_none_or(|(_, last)| last.seq() != answer.seq()) {
                    answers.push((path.to_owned(), answer));
                }
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            answers
        }));
    }
    let began = Instant::now();
    for (number, replicas) in [20, 8, 16, 3, 24, 2, 30, 5].into_iter().enumerate() {
        let machine = busy.engines.machine(&Busy::endpoint(2)).unwrap();
        if number % 2 == 0 {
            machine.crash(Crash::Machine);
        } else {
            machine.start();
        }
        busy.post("/applications/scale/web", json!({"replicas": replicas})).await;
        busy.post(&format!("/nodes/{}/n3", if number % 2 == 0 { "cordon" } else { "uncordon" }), json!({}))
            .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    done.cancel();
    let mut answers = Vec::new();
    for reader in readers {
        answers.extend(reader.await.unwrap());
    }
    assert!(answers.len() > 200, "{} answers in {:?}", answers.len(), began.elapsed());
    let head = busy.get("/state").await.seq();
    assert!(head > 400, "{head} events");
    for (path, then) in &answers {
        assert_eq!(then.status.as_u16(), 200, "{then:?}");
        let sign = if path.contains('?') { '&' } else { '?' };
        let later = busy.get(&format!("{path}{sign}seq={}", then.seq())).await;
        assert_eq!((later.seq(), &later.text), (then.seq(), &then.text), "{path}");
        assert_eq!(later.headers.get("etag"), then.headers.get("etag"), "{path}");
    }
    busy.shutdown.cancel();
    Arc::into_inner(busy).unwrap().task.await.unwrap();
}
