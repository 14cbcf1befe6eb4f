//! Names of nodes, applications and containers, which events and rows refer to by id.

use super::client::{Client, Request};
use super::failure::Failure;
use super::json::Json;
use super::table::plain;
use serde::Deserialize;
use std::collections::HashMap;
use uuid::Uuid;

/// How many names are kept; when the limit is reached all are dropped and learned again.
const LIMIT: usize = 100_000;

/// The fields that rows of all kinds have.
#[derive(Debug, Deserialize)]
struct Named {
    id: Uuid,
    name: String,
}

/// Names by id.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: HashMap<String, String>,
}

impl Names {
    /// The names of all nodes and applications at the point in history of the client.
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

    /// Remembers a name.
    pub(super) fn note(&mut self, id: &str, name: &str) {
        if self.names.len() >= LIMIT {
            self.names.clear();
        }
        self.names.insert(id.to_owned(), plain(name));
    }

    /// Looks up the name of an unknown id: its present name, else the one in its first event, else the id itself.
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

    /// Remembers the name in an event, and looks up the names of all ids in it.
    pub(super) async fn learn_event(&mut self, client: &Client, event: &Json) {
        let Some(data) = event.get("data") else { return };
        self.note_event(event);
        for id in ids(data) {
            self.learn(client, id).await;
        }
    }

    /// Remembers the name that an event gives its subject.
    pub(super) fn note_event(&mut self, event: &Json) {
        let Some(data) = event.get("data") else { return };
        if let (Some(id), Some(name)) = (ids(data).first(), data.text("name")) {
            self.note(id, name);
        }
    }
}

/// The ids in an event's data, the event's subject first.
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
    // Deleted: its first event has a name.
    let request = Request::get(&["events"]).ok()?.query("subject", id).query("limit", "1");
    let request = request.query("kind", "ContainerCreated,NodeMounted,ApplicationCreated");
    let page = client.ask(request).await.ok()?.json;
    name(page.list("events").first()?.get("data")?)
}
