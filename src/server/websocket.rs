//! The WebSocket of kDaemon 0.0: whoever subscribes to nodes, applications or containers is sent one `add` for
//! each that there is, then every change.

use super::problem::{Problem, Sort};
use super::resource::{Applications, Containers, Nodes, Resource, json};
use super::{Api, Routes, guard};
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

/// The largest message that is read, in bytes.
const MESSAGE_LIMIT: usize = 64 * 1024;
/// How often a client is asked whether it is still there; one that says nothing for two of these is gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long one message may take to get out: a client that is slower is let go.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Changes as they happen, over a WebSocket
///
/// `{"name":"nodes subscribe"}` (also applications, containers; unsubscribe) is answered with
/// `{"name":"nodes add","data":{…}}` for each node that there is, then `add`, `edit` and `remove` for each change. With
/// `"changes_only":true` the answer is one `{"name":"nodes subscribed","data":{"seq":N}}`, then each change after event N:
/// a list that is read from then on misses nothing.
#[utoipa::path(get, path = "/ws", tag = "events", responses((status = 101, description = "The WebSocket begins")))]
async fn upgrade(State(api): State<Api>, upgrade: WebSocketUpgrade, request: Request) -> Response {
    let id = guard::request_id(request.extensions()).0;
    // Held while the socket is open: it is one of `max_connections`.
    let connection = request.extensions().get::<guard::Connection>().cloned();
    upgrade.max_message_size(MESSAGE_LIMIT).max_frame_size(MESSAGE_LIMIT).on_upgrade(async move |socket| {
        let _connection = connection;
        if let Err(Gone) = Session::new(&api, socket, id).run().await {
            tracing::debug!("a WebSocket client is gone");
        }
    })
}

/// The client does not listen any more.
struct Gone;

/// What a client can subscribe to.
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
            Self::Nodes => Nodes::PLURAL,
            Self::Applications => Applications::PLURAL,
            Self::Containers => Containers::PLURAL,
        }
    }

    /// The messages that bring a client from `old` to `new`; `touched` tells what can be different.
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
            Self::Nodes => changes::<Nodes>(old, new, touched),
            Self::Applications => changes::<Applications>(old, new, touched),
            Self::Containers => changes::<Containers>(old, new, touched),
        }
    }
}

/// The differences between two states; of all things when `touched` does not name those that can differ.
fn changes<R: Resource>(old: &Cluster, new: &Cluster, touched: Option<Vec<Uuid>>) -> Vec<String> {
    let ids = touched.unwrap_or_else(|| {
        let gone = R::after(old, None).map(|item| R::id(item)).filter(|id| R::by_id(new, *id).is_none());
        gone.chain(R::after(new, None).map(|item| R::id(item))).collect()
    });
    let message =
        |change: &str, row: R::Row| json(&Told { name: &format!("{} {change}", R::PLURAL), data: row });
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
struct Told<'a, T> {
    name: &'a str,
    data: T,
}

/// A message of a client. What else stands in it is ignored, as 0.0 did.
#[derive(Deserialize)]
struct Asked {
    name: String,
    /// Who reads the lists anyway is spared a message for each thing that there is.
    #[serde(default)]
    changes_only: bool,
}

/// From which state on changes are told.
#[derive(Serialize)]
struct Since {
    seq: Seq,
}

struct Session<'a> {
    api: &'a Api,
    socket: WebSocket,
    request_id: String,
    topics: Vec<Topic>,
    /// What the client was told so far.
    shown: Arc<Cluster>,
}

impl<'a> Session<'a> {
    fn new(api: &'a Api, socket: WebSocket, request_id: String) -> Self {
        Self { api, socket, request_id, topics: Vec::new(), shown: api.journal.cluster() }
    }

    async fn run(mut self) -> Result<(), Gone> {
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
                        Some(Ok(Message::Text(text))) => self.asked(text.as_str()).await?,
                        Some(Ok(Message::Binary(_))) => self.refuse("messages are JSON text").await?,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {} // answered below us
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                    }
                }
                committed = subscription.next() => match committed {
                    Ok(Some(committed)) => self.committed(&committed).await?,
                    Ok(None) => break,
                    Err(Lagged) => {
                        // Too much at once: from what was told to what is, in one step.
                        subscription = self.api.journal.subscribe();
                        let now = Arc::clone(&subscription.cluster);
                        self.advance(&now, None).await?;
                    }
                },
                _ = ping.tick() => {
                    if heard.elapsed() > PING_INTERVAL * 2 {
                        return Err(Gone);
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
        self.send(Message::Close(None)).await
    }

    async fn committed(&mut self, committed: &Committed) -> Result<(), Gone> {
        self.advance(&committed.cluster, Some(&committed.touched)).await
    }

    async fn advance(&mut self, now: &Arc<Cluster>, touched: Option<&Touched>) -> Result<(), Gone> {
        let old = std::mem::replace(&mut self.shown, Arc::clone(now));
        for topic in self.topics.clone() {
            self.tell(topic.changes(&old, now, touched)).await?;
        }
        Ok(())
    }

    async fn asked(&mut self, text: &str) -> Result<(), Gone> {
        let asked = match serde_json::from_str::<Asked>(text) {
            Ok(asked) => asked,
            Err(error) => return self.refuse(&format!("the message is not understood: {error}")).await,
        };
        let mut words = asked.name.split_whitespace();
        let topic = words.next().and_then(|word| Topic::ALL.into_iter().find(|topic| topic.name() == word));
        match (topic, words.next(), words.next()) {
            (Some(topic), Some("subscribe"), None) => {
                self.topics.retain(|other| *other != topic);
                self.topics.push(topic);
                if asked.changes_only {
                    let (name, data) =
                        (format!("{} subscribed", topic.name()), Since { seq: self.shown.seq() });
                    return self.tell(vec![json(&Told { name: &name, data })]).await;
                }
                self.tell(topic.changes(&Cluster::default(), &Arc::clone(&self.shown), None)).await
            }
            (Some(topic), Some("unsubscribe"), None) => {
                self.topics.retain(|other| *other != topic);
                Ok(())
            }
            _ => {
                let known = "`nodes subscribe`, `nodes unsubscribe`, also with applications or containers";
                self.refuse(&format!("`{}` is not known; there are {known}", asked.name)).await
            }
        }
    }

    async fn refuse(&mut self, detail: &str) -> Result<(), Gone> {
        let problem = Problem::new(Sort::Malformed, detail).json("/ws", &self.request_id);
        self.tell(vec![format!("{{\"name\":\"error\",\"data\":{problem}}}")]).await
    }

    async fn tell(&mut self, messages: Vec<String>) -> Result<(), Gone> {
        for message in messages {
            self.send(Message::Text(message.into())).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}
