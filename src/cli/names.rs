//! Names of nodes, applications and containers, which events and rows refer to by id.

use super::client::{ApiClient, ApiRequest};
use super::error::CliError;
use super::event::recorded;
use super::table::plain;
use kdaemon_api::{EventPage, EventRow};
use kdaemon_events::{Event, Kind as EventKind};
use serde::Deserialize;
use std::collections::HashMap;
use uuid::Uuid;

/// How many names are kept; when the limit is reached all are dropped and learned again.
const LIMIT: usize = 100_000;

/// The fields that rows of all kinds have.
#[derive(Debug, Deserialize)]
pub(super) struct NamedRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    /// Seq of the last change.
    pub(super) seq: Option<u64>,
}

/// Names by id.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    names: HashMap<Uuid, String>,
}

impl NameCache {
    /// The names of all nodes and applications at the point in history of the client.
    pub(super) async fn of_state(client: &ApiClient) -> Result<Self, CliError> {
        let mut names = HashMap::new();
        for kind in ["nodes", "applications"] {
            let request = ApiRequest::get(&[kind])?;
            client
                .list(request, |row: NamedRow, _| {
                    names.insert(row.id, plain(&row.name));
                    Ok(())
                })
                .await?;
        }
        Ok(Self { names })
    }

    /// The name of an id, if it is known.
    pub(super) fn lookup(&self, id: Uuid) -> Option<String> {
        self.names.get(&id).cloned()
    }

    /// The name of an id, or the id.
    pub(super) fn known(&self, id: Uuid) -> String {
        self.lookup(id).unwrap_or_else(|| id.to_string())
    }

    /// Remembers a name.
    pub(super) fn note(&mut self, id: Uuid, name: &str) {
        if self.names.len() >= LIMIT {
            self.names.clear();
        }
        self.names.insert(id, plain(name));
    }

    /// Looks up the name of an unknown id: its present name, else the one in its first event, else the id itself.
    pub(super) async fn learn(&mut self, client: &ApiClient, id: Uuid) {
        if self.names.contains_key(&id) {
            return;
        }
        let name = match first_name(client, id).await {
            Some(name) => name,
            None => id.to_string(),
        };
        self.note(id, &name);
    }

    /// Remembers the name that an event gives its subject.
    pub(super) fn note_event(&mut self, event: &EventRow) {
        let Some(recorded) = recorded(event) else { return };
        if let (Some(id), Some(name)) = (subject(&recorded), given_name(&recorded)) {
            self.note(id, name);
        }
    }

    /// The name of an event's subject; empty if it has none, or if only a newer program knows its kind.
    pub(super) async fn of_subject(&mut self, client: &ApiClient, event: &EventRow) -> String {
        let Some(id) = recorded(event).as_ref().and_then(subject) else { return String::new() };
        self.note_event(event);
        self.learn(client, id).await;
        self.known(id)
    }
}

/// The main subject of an event.
fn subject(event: &Event) -> Option<Uuid> {
    event.subjects().first().map(|subject| subject.uuid())
}

/// The name that an event gives its subject.
fn given_name(event: &Event) -> Option<&str> {
    match event {
        Event::NodeMounted(e) => Some(&e.name),
        Event::NodeUpdated(e) => e.name.as_deref(),
        Event::ApplicationCreated(e) => Some(&e.name),
        Event::ApplicationUpdated(e) => e.name.as_deref(),
        Event::ContainerCreated(e) => Some(&e.name),
        Event::ContainerUpdated(e) => e.name.as_deref(),
        _ => None,
    }
}

async fn first_name(client: &ApiClient, id: Uuid) -> Option<String> {
    let text = id.to_string();
    for kind in ["containers", "nodes", "applications"] {
        if let Ok(row) = client.typed::<NamedRow>(ApiRequest::get(&[kind, &text]).ok()?).await {
            return Some(row.name);
        }
    }
    // Deleted: its first event has a name.
    let kinds = [EventKind::ContainerCreated, EventKind::NodeMounted, EventKind::ApplicationCreated];
    let request = ApiRequest::get(&["events"]).ok()?.query("subject", text).query("limit", "1");
    let request = request.query("kind", kinds.map(EventKind::as_str).join(","));
    let page: EventPage = client.typed(request).await.ok()?;
    given_name(&recorded(page.events.first()?)?).map(str::to_owned)
}
