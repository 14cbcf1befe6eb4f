//! The WebSocket of kDaemon 0.0: a client that subscribes to nodes, applications or containers receives one `add` per
//! existing resource, then every change.

use super::problem::{Problem, Sort};
use super::resource::{ApplicationResource, ContainerResource, NodeResource, Resource, json};
use super::{Api, Routes, guard, request_id};
use crate::journal::{Committed, Lagged};
use crate::says::Names;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::response::Response;
use kdaemon_events::Seq;
use kdaemon_projections::{Cluster, Touched};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Routes {
    vec![routes!(upgrade)]
}

/// Maximum size of a message from a client, in bytes.
const MESSAGE_LIMIT: usize = 64 * 1024;
/// Interval between pings. A client that sends nothing for two intervals is disconnected.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Timeout of sending one message. A slower client is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Subscribe to changes over a WebSocket
///
/// `{"name":"nodes subscribe"}` (also `applications`, `containers`; `unsubscribe`) is answered with
/// `{"name":"nodes add","data":{…}}` per existing node, then with `add`, `edit` and `remove` as nodes change. With
/// `"changes_only":true` the answer is one `{"name":"nodes subscribed","data":{"seq":N}}`, then every change after event N,
/// so that a client that reads the list after it misses no change.
#[utoipa::path(get, path = "/ws", tag = "events", responses((status = 101, description = "Switching to WebSocket")))]
async fn upgrade(State(api): State<Api>, upgrade: WebSocketUpgrade, request: Request) -> Response {
    let id = request_id::request_id(request.extensions()).0;
    // Held while the socket is open, because it counts towards `max_connections`.
    let connection = request.extensions().get::<guard::Connection>().cloned();
    upgrade.max_message_size(MESSAGE_LIMIT).max_frame_size(MESSAGE_LIMIT).on_upgrade(async move |socket| {
        let _connection = connection;
        if let Err(Disconnected) = Session::new(&api, socket, id.clone()).run().await {
            tracing::debug!(request_id = id, "WebSocket client disconnected");
        }
    })
}

/// The error of a client that has disconnected or stopped responding.
struct Disconnected;

/// A subject of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Nodes,
    Applications,
    Containers,
}

impl Topic {
    const ALL: [Self; 3] = [Self::Nodes, Self::Applications, Self::Containers];

    fn name(self) -> &'static str {
        match self {
            Self::Nodes => NodeResource::PLURAL,
            Self::Applications => ApplicationResource::PLURAL,
            Self::Containers => ContainerResource::PLURAL,
        }
    }

    /// Messages that bring a client from `old` to `new`. Only resources in `touched` are compared, or all of them if it is
    /// `None`.
    fn changes(self, old: &Cluster, new: &Cluster, touched: Option<&Touched>) -> Vec<String> {
        let ids = |touched: &Touched| -> Vec<Uuid> {
            match self {
                Self::Nodes => touched.nodes.iter().map(|id| id.0).collect(),
                Self::Applications => touched.applications.iter().map(|id| id.0).collect(),
                Self::Containers => touched.containers.iter().map(|id| id.0).collect(),
            }
        };
        let touched = touched.map(ids);
        match self {
            Self::Nodes => changes::<NodeResource>(old, new, touched),
            Self::Applications => changes::<ApplicationResource>(old, new, touched),
            Self::Containers => changes::<ContainerResource>(old, new, touched),
        }
    }
}

/// Messages for the differences between two states, among the resources in `touched` or all of them.
fn changes<R: Resource>(old: &Cluster, new: &Cluster, touched: Option<Vec<Uuid>>) -> Vec<String> {
    let ids = touched.unwrap_or_else(|| {
        let gone = R::after(old, None).map(|item| R::id(item)).filter(|id| R::by_id(new, *id).is_none());
        gone.chain(R::after(new, None).map(|item| R::id(item))).collect()
    });
    let message = |change: &str, row: R::Row| {
        json(&ServerMessage { name: &format!("{} {change}", R::PLURAL), data: row })
    };
    let change = |id: Uuid| match (R::by_id(old, id), R::by_id(new, id)) {
        (None, Some(item)) => Some(message("add", R::row(Names::of(&[new]), new, item))),
        (Some(before), Some(item)) if R::seq(before) != R::seq(item) => {
            Some(message("edit", R::row(Names::of(&[new]), new, item)))
        }
        (Some(item), None) => {
            let mut row = R::row(Names::of(&[old]), old, item);
            R::mark_deleted(&mut row);
            Some(message("remove", row))
        }
        _ => None,
    };
    ids.into_iter().filter_map(change).collect()
}

/// A message to a client.
#[derive(Serialize)]
struct ServerMessage<'a, T> {
    name: &'a str,
    data: T,
}

/// A message from a client. Unknown fields are ignored, as by kDaemon 0.0.
#[derive(Deserialize)]
struct ClientMessage {
    name: String,
    /// `true` for a client that reads the list by itself and needs no `add` per existing resource.
    #[serde(default)]
    changes_only: bool,
}

/// Acknowledgement of a subscription to changes.
#[derive(Serialize)]
struct SubscribedAt {
    /// Seq of the last event before the first change that is sent.
    seq: Seq,
}

struct Session<'a> {
    api: &'a Api,
    socket: WebSocket,
    request_id: String,
    topics: Vec<Topic>,
    /// The state that the client has received.
    shown: Arc<Cluster>,
}

impl<'a> Session<'a> {
    fn new(api: &'a Api, socket: WebSocket, request_id: String) -> Self {
        Self { api, socket, request_id, topics: Vec::new(), shown: api.journal.cluster() }
    }

    async fn run(mut self) -> Result<(), Disconnected> {
        let mut subscription = self.api.journal.subscribe();
        self.shown = Arc::clone(&subscription.cluster);
        let mut ping = tokio::time::interval(PING_INTERVAL);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                () = self.api.shutdown.cancelled() => break,
                message = self.socket.recv() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.receive(text.as_str()).await?,
                        Some(Ok(Message::Binary(_))) => self.refuse("expected JSON text, got binary").await?,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {} // answered by the library
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                    }
                }
                committed = subscription.next() => match committed {
                    Ok(Some(committed)) => self.committed(&committed).await?,
                    Ok(None) => break,
                    Err(Lagged) => {
                        // The feed has dropped changes: send the difference to the current state instead.
                        subscription = self.api.journal.subscribe();
                        let now = Arc::clone(&subscription.cluster);
                        self.advance(&now, None).await?;
                    }
                },
                _ = ping.tick() => {
                    if heard.elapsed() > PING_INTERVAL * 2 {
                        return Err(Disconnected);
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
        self.send(Message::Close(None)).await
    }

    async fn committed(&mut self, committed: &Committed) -> Result<(), Disconnected> {
        self.advance(&committed.cluster, Some(&committed.touched)).await
    }

    async fn advance(&mut self, now: &Arc<Cluster>, touched: Option<&Touched>) -> Result<(), Disconnected> {
        let old = std::mem::replace(&mut self.shown, Arc::clone(now));
        for topic in self.topics.clone() {
            self.send_all(topic.changes(&old, now, touched)).await?;
        }
        Ok(())
    }

    async fn receive(&mut self, text: &str) -> Result<(), Disconnected> {
        let message = match serde_json::from_str::<ClientMessage>(text) {
            Ok(message) => message,
            Err(error) => return self.refuse(&format!("invalid message: {error}")).await,
        };
        let mut words = message.name.split_whitespace();
        let topic = words.next().and_then(|word| Topic::ALL.into_iter().find(|topic| topic.name() == word));
        match (topic, words.next(), words.next()) {
            (Some(topic), Some("subscribe"), None) => {
                self.topics.retain(|other| *other != topic);
                self.topics.push(topic);
                if message.changes_only {
                    let (name, data) =
                        (format!("{} subscribed", topic.name()), SubscribedAt { seq: self.shown.seq() });
                    return self.send_all(vec![json(&ServerMessage { name: &name, data })]).await;
                }
                self.send_all(topic.changes(&Cluster::default(), &Arc::clone(&self.shown), None)).await
            }
            (Some(topic), Some("unsubscribe"), None) => {
                self.topics.retain(|other| *other != topic);
                Ok(())
            }
            _ => {
                let topics = "with a topic of nodes, applications or containers";
                let expected = format!("expected `TOPIC subscribe` or `TOPIC unsubscribe`, {topics}");
                self.refuse(&format!("unknown message `{}`; {expected}", message.name)).await
            }
        }
    }

    async fn refuse(&mut self, detail: &str) -> Result<(), Disconnected> {
        let problem = Problem::new(Sort::Malformed, detail).json("/ws", &self.request_id);
        self.send_all(vec![format!("{{\"name\":\"error\",\"data\":{problem}}}")]).await
    }

    async fn send_all(&mut self, messages: Vec<String>) -> Result<(), Disconnected> {
        for message in messages {
            self.send(Message::Text(message.into())).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), Disconnected> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Disconnected),
        }
    }
}
