//! Server-Sent Events.

use crate::api::harness::{Answer, DEADLINE, World};
use serde_json::{Value, json};

/// A stream of events, read one by one.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(world: &World, query: &str, last_event_id: Option<u64>) -> Self {
        // Without the client's deadline: a stream has no end.
        let client = reqwest::Client::new();
        let mut request = client.get(format!("http://{}/0.0/events/stream{query}", world.address));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(response.headers().contains_key("x-kdaemon-seq"));
        Self { response, text: String::new() }
    }

    /// The next event: its id and its data. `None`: the stream has ended.
    async fn next(&mut self) -> Option<(u64, Value)> {
        tokio::time::timeout(DEADLINE, async {
            loop {
                if let Some((block, rest)) = self.text.split_once("\n\n") {
                    let field = |name: &str| {
                        block.lines().find_map(|line| line.strip_prefix(name)).map(ToOwned::to_owned)
                    };
                    let (id, data) = (field("id: "), field("data: "));
                    self.text = rest.to_owned();
                    let (Some(id), Some(data)) = (id, data) else { continue };
                    return Some((id.parse().unwrap(), serde_json::from_str(&data).unwrap()));
                }
                let chunk = self.response.chunk().await.unwrap()?;
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        })
        .await
        .expect("something comes in time")
    }

    async fn ids(&mut self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.next().await.unwrap().0);
        }
        ids
    }
}

async fn create(world: &World, name: &str) {
    world.post("/containers/create", json!({"name": name})).await.expect(201);
}

#[tokio::test]
async fn stream_starts_with_the_next_event() {
    let world = World::new().await;
    create(&world, "before").await;
    let mut stream = Stream::open(&world, "", None).await;
    create(&world, "after").await;
    let (id, event) = stream.next().await.unwrap();
    assert_eq!((id, &event["data"]["name"]), (world.head(), &json!("after")));
    assert_eq!(world.get(&format!("/events/{id}")).await.expect(200), event);
}

#[tokio::test]
async fn stream_resumes_without_a_gap_under_load() {
    let world = World::new().await;
    for number in 0..50 {
        create(&world, &format!("old-{number}")).await;
    }
    let mut stream = Stream::open(&world, "?after=0", None).await;
    let writing = async {
        for number in 0..200 {
            create(&world, &format!("new-{number}")).await;
        }
    };
    let (ids, ()) = tokio::join!(stream.ids(251), writing);
    assert_eq!(ids, (1..=251).collect::<Vec<_>>());
    let mut resumed = Stream::open(&world, "?after=3", Some(249)).await;
    assert_eq!(resumed.ids(2).await, [250, 251], "Last-Event-ID goes before after");
}

#[tokio::test]
async fn position_beyond_the_end_is_refused() {
    let world = World::new().await;
    assert_eq!(world.get("/events/stream?after=99999999999").await.expect(422)["field"], "after");
    assert_eq!(world.get("/events/stream?min_seq=99999999999").await.expect(422)["field"], "min_seq");
    let request = world.request("GET", "/events/stream").header("last-event-id", "99999999999");
    let answer = crate::api::harness::Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.expect(422)["field"], "Last-Event-ID");
}

#[tokio::test]
async fn slow_reader_misses_nothing() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, "", None).await;
    let first = world.head() + 1;
    // More than the feed keeps for a slow reader.
    let count = 6_000_u64;
    let all: Vec<_> = (0..count)
        .map(|number| {
            let journal = world.journal.clone();
            let command = kdaemon_control::commands::Command::CreateContainer(
                kdaemon_control::commands::CreateContainer {
                    name: Some(format!("c{number}")),
                    user_id: None,
                    application: None,
                    env_variables: Default::default(),
                    balance: true,
                },
            );
            let submission = kdaemon::journal::Submission::new(command, kdaemon_events::Actor::Anonymous);
            tokio::spawn(async move { journal.submit_patiently(submission).await.unwrap() })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    let ids = stream.ids(usize::try_from(count).unwrap()).await;
    assert_eq!(ids, (first..first + count).collect::<Vec<_>>());
}

#[tokio::test]
async fn stream_filters_store_and_feed_alike() {
    let world = World::new().await;
    let node = world.node("n1").await;
    create(&world, "a").await;
    let mut nodes = Stream::open(&world, "?after=0&kind=NodeMounted,NodeCordoned", None).await;
    let mut subject = Stream::open(&world, &format!("?after=0&subject={node}&kind=NodeCordoned"), None).await;
    let mut by_name = Stream::open(&world, "?after=0&subject=a", None).await;
    assert_eq!(nodes.next().await.unwrap().1["kind"], "NodeMounted");
    assert_eq!(by_name.next().await.unwrap().1["kind"], "ContainerCreated");
    create(&world, "b").await;
    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    world.patch("/containers/update/a", json!({"balance": false})).await.expect(200);
    assert_eq!(nodes.next().await.unwrap().1["kind"], "NodeCordoned");
    assert_eq!(subject.next().await.unwrap().1["kind"], "NodeCordoned");
    assert_eq!(by_name.next().await.unwrap().1["kind"], "ContainerUpdated");
}

#[tokio::test]
async fn invalid_request_gets_no_stream() {
    let world = World::new().await;
    for (query, status) in [
        ("?after=x", 422),
        ("?kind=Nope", 422),
        ("?subject=nope", 404),
        ("?since=2020-01-01T00:00:00Z", 422),
        ("?after=999999999", 422),
    ] {
        world.get(&format!("/events/stream{query}")).await.expect(status);
    }
    let request = world.request("GET", "/events/stream").header("last-event-id", "x");
    let problem = Answer::of(request.send().await.unwrap()).await.expect(422);
    assert_eq!(problem["field"], "Last-Event-ID");
}

#[tokio::test]
async fn streams_end_when_the_daemon_stops() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, "", None).await;
    world.shutdown.cancel();
    assert_eq!(stream.next().await, None);
    tokio::time::timeout(DEADLINE, world.server).await.unwrap().unwrap().unwrap();
}
