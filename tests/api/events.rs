//! The log, and the histories of single items.

use crate::api::harness::World;
use serde_json::{Value, json};

fn seqs(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

fn kinds(page: &Value) -> Vec<&str> {
    page["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn log_is_read_in_pages() {
    let world = World::new().await;
    for number in 0..10 {
        world.post("/containers/create", json!({"name": format!("c{number}")})).await.expect(201);
    }
    let head = world.head();
    let whole = world.get("/events").await.expect(200);
    assert_eq!(seqs(&whole), (1..=head).collect::<Vec<_>>());
    assert_eq!((&whole["next"], &whole["head"]), (&Value::Null, &json!(head)));
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = world.get(&format!("/events?limit=4&after={after}")).await.expect(200);
        assert!(seqs(&page).len() <= 4);
        seen.extend(seqs(&page));
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, (1..=head).collect::<Vec<_>>());
    let beyond = world.get("/events?after=1000").await.expect(200);
    assert_eq!((seqs(&beyond), &beyond["next"], &beyond["head"]), (vec![], &Value::Null, &json!(head)));
    for limit in ["0", "10001", "x", "-1"] {
        assert_eq!(world.get(&format!("/events?limit={limit}")).await.expect(422)["field"], "limit");
    }
    world.get("/events?limit=10000").await.expect(200);
    assert_eq!(world.get("/events?after=-1").await.expect(422)["field"], "after");
    assert_eq!(world.get("/events?kinds=NodeMounted").await.expect(422)["field"], "kinds");
}

#[tokio::test]
async fn page_has_a_hundred_events_by_default() {
    let world = World::new().await;
    for number in 0..100 {
        world.post("/containers/create", json!({"name": format!("c{number}")})).await.expect(201);
    }
    let page = world.get("/events").await.expect(200);
    assert_eq!((seqs(&page).len(), &page["next"], &page["head"]), (100, &json!(100), &json!(101)));
}

#[tokio::test]
async fn log_is_filtered() {
    let world = World::new().await;
    let node = world.node("n1").await;
    world.application("web").await;
    let container = world.running("w1", "web").await;
    let mounted = world.get("/events?kind=NodeMounted").await.expect(200);
    assert_eq!(kinds(&mounted), ["NodeMounted"]);
    for query in ["kind=NodeMounted,ContainerCreated", "kind=NodeMounted&kind=ContainerCreated"] {
        let both = world.get(&format!("/events?{query}")).await.expect(200);
        assert_eq!(kinds(&both), ["NodeMounted", "ContainerCreated"]);
    }
    let problem = world.get("/events?kind=NodeMount").await.expect(422);
    assert_eq!(problem["field"], "kind");
    assert!(problem["detail"].as_str().unwrap().contains("NodeMounted"), "{problem}");

    let by_id = world.get(&format!("/events?subject={container}")).await.expect(200);
    assert!(kinds(&by_id).contains(&"ContainerLaunched") && !kinds(&by_id).contains(&"NodeMounted"));
    assert_eq!(world.get("/events?subject=w1").await.expect(200), by_id);
    let of_node = world.get("/events?subject=n1&kind=ContainerPlaced").await.expect(200);
    assert_eq!(of_node["events"][0]["data"]["node_id"], node.to_string());
    let nobody = format!("/events?subject={}", uuid::Uuid::new_v4());
    assert_eq!(seqs(&world.get(&nobody).await.expect(200)), Vec::<u64>::new());
    world.get("/events?subject=nope").await.expect(404);

    let told = world.get("/events?actor=test").await.expect(200);
    assert!(told["events"].as_array().unwrap().iter().all(|event| event["actor"]["name"] == "test"));
    let people = world.get("/events?actor=anonymous").await.expect(200);
    assert_eq!(seqs(&told).len() + seqs(&people).len(), usize::try_from(world.head()).unwrap());

    let at = mounted["events"][0]["at"].as_str().unwrap();
    let since = world.get(&format!("/events?since={at}")).await.expect(200);
    let until = world.get(&format!("/events?until={}", at.replace('Z', "%2B00:00"))).await.expect(200);
    assert!(seqs(&since).contains(&2) && !seqs(&until).contains(&2));
    for (query, all) in [
        ("since=10m", true),
        ("since=1600000000", true),
        ("since=4000000000", false),
        ("until=10m", false),
        ("until=4000000000&since=600", true),
    ] {
        let count = seqs(&world.get(&format!("/events?{query}")).await.expect(200)).len();
        assert_eq!(count, if all { usize::try_from(world.head()).unwrap() } else { 0 }, "{query}");
    }
    assert_eq!(world.get("/events?since=yesterday").await.expect(422)["field"], "since");
}

#[tokio::test]
async fn events_are_answered_verbatim() {
    let world = World::new().await;
    world.node("n1").await;
    let event = world.get("/events/2").await;
    let parsed = event.expect(200);
    for field in ["seq", "id", "at", "actor", "request_id", "cause", "kind", "v", "data"] {
        assert!(parsed.get(field).is_some(), "{field}: {parsed}");
    }
    let page = world.get("/events?limit=1&after=1").await;
    assert!(page.text.contains(&event.text), "byte for byte");
    for (which, status) in [("0", 404), ("999", 404), ("99999999999999999999", 422), ("x", 422), ("-1", 422)]
    {
        world.get(&format!("/events/{which}")).await.expect(status);
    }
    world.get("/events/18446744073709551615").await.expect(404);
}

#[tokio::test]
async fn container_history_has_the_changes_of_each_event() {
    let world = World::new().await;
    let node = world.node("n1").await;
    world.application("web").await;
    let id = world.running("w1", "web").await;
    world.fail(node).await;
    let history = world.get("/history/containers/w1").await.expect(200);
    assert_eq!((&history["id"], &history["name"]), (&json!(id.to_string()), &json!("w1")));
    assert_eq!(
        kinds(&history),
        [
            "ContainerCreated",
            "ContainerLaunchRequested",
            "ContainerPlaced",
            "ContainerLaunched",
            "ContainerHealthy",
            "NodeUnhealthy"
        ]
    );
    let changes = |index: usize| &history["events"][index]["changes"];
    assert_eq!(changes(0)["name"], json!({"from": null, "to": "w1"}));
    assert_eq!(changes(1)["status"], json!({"from": "CREATED", "to": "LAUNCHING"}));
    assert_eq!(changes(2)["node_id"], json!({"from": null, "to": node.to_string()}));
    assert_eq!(changes(3)["status"], json!({"from": "LAUNCHING", "to": "UP"}));
    assert!(changes(3).get("seq").is_none() && changes(3).get("name").is_none());
    assert_eq!(changes(4)["serving"], json!({"from": false, "to": true}));
    assert_eq!(changes(5)["status"], json!({"from": "UP", "to": "LOST"}));

    world.command("DELETE", "/containers/delete/w1").await;
    world.remove_retired(id).await;
    let by_name = world.get("/history/containers/w1").await;
    let whole = world.get(&format!("/history/containers/{id}")).await.expect(200);
    assert_eq!((&whole["name"], *kinds(&whole).last().unwrap()), (&json!("w1"), "ContainerDeleted"));
    assert_eq!(by_name.expect(200), whole, "found by its former name");
    let last = whole["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["changes"]["name"], json!({"from": "w1", "to": null}));
    let page = world.get(&format!("/history/containers/{id}?limit=2")).await.expect(200);
    assert_eq!(seqs(&page), seqs(&whole)[..2]);
    let rest = world.get(&format!("/history/containers/{id}?after={}", page["next"])).await.expect(200);
    assert_eq!(seqs(&rest), seqs(&whole)[2..]);
    assert_eq!(rest["next"], Value::Null);
}

#[tokio::test]
async fn node_history_counts_containers_and_omits_noise() {
    let world = World::new().await;
    let node = world.node("n1").await;
    world.application("web").await;
    let id = world.running("w1", "web").await;
    for _ in 0..5 {
        world.probe(node, true).await;
    }
    world.command("POST", "/containers/stop/w1").await.expect(202);
    world.record_stopped(id).await;
    let history = world.get("/history/nodes/n1").await.expect(200);
    let told = kinds(&history);
    assert_eq!(told.iter().filter(|kind| **kind == "NodeObserved").count(), 1, "the first one: {told:?}");
    assert_eq!(history["events"][0]["changes"]["state"], json!({"from": null, "to": "UNKNOWN"}));
    let counts: Vec<_> = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["changes"].get("container_count"))
        .map(|change| change["to"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [0, 1, 0]);
    let all = world.get("/history/nodes/n1?observations=true").await.expect(200);
    assert_eq!(kinds(&all).iter().filter(|kind| **kind == "NodeObserved").count(), 6);
    world.get(&format!("/history/nodes/{id}")).await.expect(404);
    world.get("/history/nodes/nope").await.expect(404);
    world.get(&format!("/history/nodes/{}", uuid::Uuid::new_v4())).await.expect(404);
    world.get("/history/planets/n1").await.expect(404);
}

#[tokio::test]
async fn application_history_has_its_edits() {
    let world = World::new().await;
    world.application("db").await;
    let body = json!({"name": "web", "docker_image": "a", "dependencies": ["db"]});
    let id = world.post("/applications/create", body).await.expect(201)["id"].clone();
    world.patch("/applications/update/web", json!({"docker_image": "b", "name": "site"})).await.expect(200);
    world.patch("/applications/update/db", json!({"name": "store"})).await.expect(200);
    let history = world.get("/history/applications/site").await.expect(200);
    assert_eq!(kinds(&history), ["ApplicationCreated", "ApplicationUpdated", "ApplicationUpdated"]);
    assert_eq!(history["events"][0]["changes"]["dependencies"]["to"], json!(["db"]));
    let edit = &history["events"][1]["changes"];
    assert_eq!(edit["docker_image"], json!({"from": "a", "to": "b"}));
    assert_eq!(edit["name"], json!({"from": "web", "to": "site"}));
    assert_eq!(history["events"][2]["changes"]["dependencies"], json!({"from": ["db"], "to": ["store"]}));
    world.command("DELETE", "/applications/delete/site").await.expect(200);
    let path = format!("/history/applications/{}", id.as_str().unwrap());
    let history = world.get(&path).await.expect(200);
    assert_eq!(*kinds(&history).last().unwrap(), "ApplicationDeleted");
}

#[tokio::test]
async fn history_is_found_by_any_former_name() {
    let world = World::new().await;
    world.application("web").await;
    let first = world.container("w1", "web").await;
    world.patch("/containers/update/w1", json!({"name": "w \"2\""})).await.expect(200);
    let renamed = world.get("/history/containers/w1").await.expect(200);
    assert_eq!((&renamed["id"], &renamed["name"]), (&json!(first.to_string()), &json!("w \"2\"")));
    assert!(renamed.get("others").is_none());
    assert_eq!(world.get("/history/containers/w%20%222%22").await.expect(200), renamed);

    // Two more with the first name: one that is deleted, and one that has it now.
    let second = world.container("w1", "web").await;
    let named = world.head();
    world.command("DELETE", "/containers/delete/w1").await.expect(200);
    let of_second = world.get("/history/containers/w1").await.expect(200);
    assert_eq!(of_second["id"], second.to_string(), "the last holder of the name");
    assert_eq!(of_second["others"], json!([{"id": first.to_string(), "seq": 3}]));
    assert_eq!(*kinds(&of_second).last().unwrap(), "ContainerDeleted");
    let third = world.container("w1", "web").await;
    world.patch(&format!("/containers/update/{first}"), json!({"name": "w9"})).await.expect(200);
    let of_third = world.get("/history/containers/w1").await.expect(200);
    assert_eq!(of_third["id"], third.to_string(), "the current holder of the name");
    let others = json!([{"id": second.to_string(), "seq": named}, {"id": first.to_string(), "seq": 3}]);
    assert_eq!(of_third["others"], others);
    let by_id = world.get(&format!("/history/containers/{second}")).await.expect(200);
    assert_eq!((&by_id["events"], by_id.get("others")), (&of_second["events"], None));

    // Names of items of another kind are not names of this kind.
    world.get("/history/nodes/w1").await.expect(404);
    world.get("/history/containers/web").await.expect(404);
    world.patch("/applications/update/web", json!({"name": "site"})).await.expect(200);
    assert_eq!(world.get("/history/applications/web").await.expect(200)["name"], "site");
    let node = world.node("n1").await;
    world.command("DELETE", "/nodes/delete/n1").await.expect(200);
    assert_eq!(world.get("/history/nodes/n1").await.expect(200)["id"], node.to_string());
}

/// The lines of a CSV text, parsed by RFC 4180.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (vec![], vec![], String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                assert_eq!(field.pop(), Some('\r'));
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    assert!(row.is_empty() && field.is_empty() && !quoted, "it ends with a whole line");
    rows
}

async fn accepting(world: &World, path: &str, accept: &str) -> crate::api::harness::Answer {
    let asked = world.request("GET", path).header("accept", accept).send().await.unwrap();
    crate::api::harness::Answer::of(asked).await
}

#[tokio::test]
async fn log_as_lines_is_complete_and_filtered() {
    let world = World::new().await;
    for number in 0..1_150 {
        let name = format!("c,\"{number}\"\n=x");
        let create = world.request("POST", "/containers/create").header("x-request-id", "=cmd|' /C calc'!A0");
        if number % 300 == 0 {
            create.json(&json!({"name": format!("c{number}"), "user_id": name})).send().await.unwrap();
        } else {
            create.json(&json!({"name": format!("c{number}")})).send().await.unwrap();
        }
    }
    let head = world.head();
    let whole = accepting(&world, "/events", "application/x-ndjson").await;
    assert_eq!((whole.status.as_u16(), whole.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(whole.seq(), head);
    let events: Vec<Value> = whole.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().map(|event| event["seq"].as_u64().unwrap()).eq(1..=head), "all of it, in order");
    let page = world.get("/events?limit=10000").await.expect(200);
    assert_eq!(page["events"].as_array().unwrap(), &events, "as the page has them");

    let table = accepting(&world, "/events", "text/csv").await;
    assert_eq!(table.header("content-type"), "text/csv; charset=utf-8; header=present");
    let rows = csv(&table.text);
    assert_eq!(rows[0].join(","), "seq,id,at,actor_type,actor,request_id,cause,kind,v,data,says");
    assert_eq!(rows.len(), events.len() + 1);
    for (row, event) in rows[1..].iter().zip(&events) {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        assert_eq!((&row[0], &row[1]), (&event["seq"].to_string(), &text("id")));
        assert_eq!((&row[2], &row[7]), (&text("at"), &text("kind")));
        assert_eq!((row[3].as_str(), row[4].as_str()), ("anonymous", "anonymous"));
        let request_id = text("request_id");
        assert_eq!(row[5], if request_id.is_empty() { String::new() } else { format!("'{request_id}") });
        assert_eq!(serde_json::from_str::<Value>(&row[9]).unwrap(), event["data"]);
        assert_eq!(row[10], text("says"));
    }

    // Filters, limits and cursors.
    let some = accepting(&world, "/events?after=10&limit=1100&kind=ContainerCreated", "text/csv").await;
    let rows = csv(&some.text);
    assert_eq!((rows.len(), rows[1][0].as_str(), rows[1100][0].as_str()), (1101, "11", "1110"));
    let rest = accepting(&world, "/events?after=1110", "application/x-ndjson").await;
    assert_eq!(rest.text.lines().count() as u64, head - 1110);
    let none = accepting(&world, &format!("/events?after={head}"), "application/x-ndjson").await;
    assert_eq!(none.text, "");
    let none = accepting(&world, "/events?kind=NodeMounted", "text/csv").await;
    assert_eq!(csv(&none.text).len(), 1, "the header alone");
    let all = accepting(&world, "/events?limit=18446744073709551615", "application/x-ndjson").await;
    assert_eq!(all.text, whole.text);
    for limit in ["0", "-1", "x"] {
        let refused = accepting(&world, &format!("/events?limit={limit}"), "text/csv").await;
        assert_eq!(refused.problem(422)["field"], "limit");
    }
}

#[tokio::test]
async fn accept_selects_the_form_of_the_log() {
    let world = World::new().await;
    for (accept, form) in [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/*", "text/csv; charset=utf-8; header=present"),
        ("application/ndjson", "application/x-ndjson"),
        ("text/csv, application/json;q=0.5", "text/csv; charset=utf-8; header=present"),
        ("text/csv;q=0.5, application/json;q=0.4, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("application/json;q=0, */*", "application/x-ndjson"),
        ("text/html, */*;q=0.1", "application/json"),
        ("text/csv;profile=\"a, application/json\", */*;q=0.1", "text/csv; charset=utf-8; header=present"),
    ] {
        assert_eq!(accepting(&world, "/events", accept).await.header("content-type"), form, "{accept}");
    }
    for accept in ["text/html", "image/*", "application/json;q=0", "nonsense"] {
        let problem = accepting(&world, "/events", accept).await.problem(406);
        assert!(problem["detail"].as_str().unwrap().contains("text/csv"), "{accept}: {problem}");
    }
    world.store.set_unavailable(Some("it is away"));
    accepting(&world, "/events", "text/csv").await.problem(503);
}
