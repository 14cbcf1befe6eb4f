//! What things are called: events and rows name each other by id, people by name.

use super::client::{Client, Request};
use super::failure::Failure;
use super::json::Json;
use super::table::plain;
use serde::Deserialize;
use std::collections::HashMap;
use uuid::Uuid;

/// How many names are kept before the oldest knowledge is dropped.
const LIMIT: usize = 100_000;

/// What rows of all kinds have.
#[derive(Debug, Deserialize)]
struct Named {
    id: Uuid,
    name: String,
}

/// The names of ids.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: HashMap<String, String>,
}

impl Names {
    /// The names of all nodes and applications, at the time that the client is about.
    pub(super) async fn of_state(client: &Client) -> Result<Self, Failure> {
        let mut names = HashMap::new();
        for kind in ["nodes", "applications"] {
            let request = Request::get(&[kind])?;
            client
                .list(request, |row: Named, _| {
                    names.insert(row.id.to_string(), plain(&row.name));
                    Ok(())
                })
                .await?;
        }
        Ok(Self { names })
    }

    /// The name of an id, if it is known.
    pub(super) fn lookup(&self, id: &str) -> Option<String> {
        self.names.get(id).cloned()
    }

    /// The name of an id, or the id.
    pub(super) fn known(&self, id: &str) -> String {
        self.lookup(id).unwrap_or_else(|| plain(id))
    }

    /// Notes a name that was met.
    pub(super) fn note(&mut self, id: &str, name: &str) {
        if self.names.len() >= LIMIT {
            self.names.clear();
        }
        self.names.insert(id.to_owned(), plain(name));
    }

    /// Asks for the name of an id that is not known: what is there now, or what its first event says of it. Whatever
    /// cannot be found out stays an id.
    pub(super) async fn learn(&mut self, client: &Client, id: &str) {
        if self.names.contains_key(id) {
            return;
        }
        let name = match first_name(client, id).await {
            Some(name) => name,
            None => id.to_owned(),
        };
        self.note(id, &name);
    }

    /// Notes all names that an event says, and asks for those that it leaves out.
    pub(super) async fn learn_event(&mut self, client: &Client, event: &Json) {
        let Some(data) = event.get("data") else { return };
        self.note_event(event);
        for id in ids(data) {
            self.learn(client, id).await;
        }
    }

    /// Notes the name that an event says its subject has.
    pub(super) fn note_event(&mut self, event: &Json) {
        let Some(data) = event.get("data") else { return };
        if let (Some(id), Some(name)) = (ids(data).first(), data.text("name")) {
            self.note(id, name);
        }
    }
}

/// The ids of things in an event's data: the subject of an event of a container is the container.
pub(super) fn ids(data: &Json) -> Vec<&str> {
    ["container_id", "application_id", "from_node_id", "node_id"]
        .iter()
        .filter_map(|field| data.text(field))
        .collect()
}

async fn first_name(client: &Client, id: &str) -> Option<String> {
    let name = |json: &Json| json.text("name").map(str::to_owned);
    for kind in ["containers", "nodes", "applications"] {
        if let Ok(answer) = client.ask(Request::get(&[kind, id]).ok()?).await {
            return name(&answer.json);
        }
    }
    // It is gone. Its first event told its name.
    let request = Request::get(&["events"]).ok()?.query("subject", id).query("limit", "1");
    let request = request.query("kind", "ContainerCreated,NodeMounted,ApplicationCreated");
    let page = client.ask(request).await.ok()?.json;
    name(page.list("events").first()?.get("data")?)
}
