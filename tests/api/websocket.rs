use crate::api::harness::{DEADLINE, World};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

struct Socket(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Socket {
    async fn open(world: &World) -> Self {
        Self(connect_async(format!("ws://{}/ws", world.address)).await.unwrap().0)
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn ask(&mut self, name: &str) {
        self.say(&json!({"name": name}).to_string()).await;
    }

    /// The next message; `None` when the socket was closed.
    async fn hear(&mut self) -> Option<Value> {
        loop {
            let message =
                tokio::time::timeout(DEADLINE, self.0.next()).await.expect("something comes in time");
            match message {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn subscriber_gets_existing_items_then_changes() {
    let world = World::new().await;
    let node = world.node("n1").await;
    let mut socket = Socket::open(&world).await;
    socket.ask("nodes subscribe").await;
    let row = world.get("/nodes/n1").await.expect(200);
    assert_eq!(socket.hear().await.unwrap(), json!({"name": "nodes add", "data": row}));

    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    let edit = socket.hear().await.unwrap();
    assert_eq!((&edit["name"], &edit["data"]["availability"]), (&json!("nodes edit"), &json!("cordoned")));
    world.application("web").await; // not subscribed
    world.post("/nodes/create", json!({"name": "n2", "endpoint": "tcp://n2:1"})).await.expect(201);
    let add = socket.hear().await.unwrap();
    assert_eq!((&add["name"], &add["data"]["name"]), (&json!("nodes add"), &json!("n2")));
    world.command("DELETE", "/nodes/delete/n1").await.expect(200);
    let remove = socket.hear().await.unwrap();
    assert_eq!((&remove["name"], &remove["data"]["id"]), (&json!("nodes remove"), &json!(node.to_string())));

    socket.ask("applications subscribe").await;
    assert_eq!(socket.hear().await.unwrap()["name"], "applications add");
    socket.ask("containers subscribe").await;
    socket.ask("nodes unsubscribe").await;
    socket.ask("applications unsubscribe").await;
    socket.ask("nonsense").await;
    assert_eq!(socket.hear().await.unwrap()["name"], "error", "everything before it was taken in");
    world.command("DELETE", "/nodes/delete/n2").await.expect(200);
    world.container("w1", "web").await;
    let add = socket.hear().await.unwrap();
    assert_eq!((&add["name"], &add["data"]["name"]), (&json!("containers add"), &json!("w1")));
    world.command("DELETE", "/containers/delete/w1").await.expect(200);
    let remove = socket.hear().await.unwrap();
    assert_eq!(
        (&remove["name"], &remove["data"]["desired"]),
        (&json!("containers remove"), &json!("deleted"))
    );
}

#[tokio::test]
async fn changes_only_subscriber_gets_changes_only() {
    let world = World::new().await;
    world.node("n1").await;
    let mut socket = Socket::open(&world).await;
    socket.say(r#"{"name":"nodes subscribe","changes_only":true}"#).await;
    let since = socket.hear().await.unwrap();
    assert_eq!(since["name"], "nodes subscribed");
    let row = world.get("/nodes/n1").await.expect(200);
    assert!(since["data"]["seq"].as_u64() >= row["seq"].as_u64(), "{since} {row}");
    world.command("POST", "/nodes/cordon/n1").await.expect(200);
    let edit = socket.hear().await.unwrap();
    assert_eq!((&edit["name"], &edit["data"]["availability"]), (&json!("nodes edit"), &json!("cordoned")));
}

#[tokio::test]
async fn no_change_is_missed_while_subscribing() {
    let world = World::new().await;
    let mut socket = Socket::open(&world).await;
    socket.ask("containers subscribe").await;
    let writing = async {
        for number in 0..300 {
            world.post("/containers/create", json!({"name": format!("c{number}")})).await.expect(201);
        }
    };
    let hearing = async {
        for number in 0..300 {
            let add = socket.hear().await.unwrap();
            assert_eq!(add["name"], "containers add");
            assert_eq!(add["data"]["name"], format!("c{number}"));
        }
    };
    tokio::join!(writing, hearing);
}

#[tokio::test]
async fn unknown_message_is_answered_and_keeps_the_socket_open() {
    let world = World::new().await;
    world.node("n1").await;
    let mut socket = Socket::open(&world).await;
    for message in
        ["", "{", "[]", "5", "{}", r#"{"name":5}"#, r#"{"name":"planets subscribe"}"#, r#"{"name":"nodes"}"#]
    {
        socket.say(message).await;
        let error = socket.hear().await.unwrap();
        assert_eq!(error["name"], "error", "{message}");
        assert_eq!(error["data"]["status"], 400);
        assert!(error["data"]["detail"].is_string() && error["data"]["request_id"].is_string());
    }
    socket.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(socket.hear().await.unwrap()["name"], "error");
    socket.ask("nodes subscribe").await;
    assert_eq!(socket.hear().await.unwrap()["name"], "nodes add");
}

#[tokio::test]
async fn oversized_message_closes_the_socket() {
    let world = World::new().await;
    let mut socket = Socket::open(&world).await;
    let _ = socket.0.send(Message::text("x".repeat(100_000))).await;
    assert_eq!(socket.hear().await, None);
    world.get("/nodes").await.expect(200);
}

#[tokio::test]
async fn foreign_origins_get_no_socket() {
    let world = World::with(|config| config.cors_origins = vec!["https://ui.example".into()]).await;
    let open = async |origin: String| {
        let mut request = format!("ws://{}/ws", world.address).into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        connect_async(request).await.map(|_| ())
    };
    open(format!("http://{}", world.address)).await.unwrap();
    open("https://ui.example".into()).await.unwrap();
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        match open(origin.into()).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 403),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn plain_request_gets_upgrade_required() {
    let world = World::new().await;
    let problem = world.get_raw("/ws").await.expect(400);
    assert!(!problem["detail"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn sockets_are_closed_when_the_daemon_stops() {
    let world = World::new().await;
    let mut socket = Socket::open(&world).await;
    socket.ask("nodes subscribe").await;
    socket.ask("nonsense").await;
    assert_eq!(socket.hear().await.unwrap()["name"], "error");
    world.shutdown.cancel();
    assert_eq!(socket.hear().await, None);
    tokio::time::timeout(DEADLINE, world.server).await.unwrap().unwrap().unwrap();
}
