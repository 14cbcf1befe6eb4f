//! Events and pages of the log.

use chrono::{DateTime, Utc};
use kdaemon_events::Actor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// An event as it was recorded. Its kind and data are not interpreted, so that events of newer daemons can be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventRow {
    /// Position in the log, dense from 1.
    pub seq: u64,
    /// Id of the event (UUIDv7).
    pub id: Uuid,
    /// When the event was recorded.
    pub at: DateTime<Utc>,
    /// Actor that caused the event.
    #[schema(value_type = Object)]
    pub actor: Actor,
    /// Id of the request that led to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Seq of the event that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// Kind of the event, such as `NodeMounted`.
    pub kind: String,
    /// Version of the kind.
    pub v: u32,
    /// Fields of the event, as its kind defines them.
    #[schema(value_type = Object)]
    pub data: Value,
    /// The event as a sentence, with the current names of resources.
    pub says: String,
}

/// A page of the log. The server fills it with the exact text of stored events, clients read typed ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventPage<E = EventRow> {
    /// Events in the order in which they happened.
    #[schema(value_type = Vec<EventRow>)]
    pub events: Vec<E>,
    /// The `after` of the next page; null on the last one.
    pub next: Option<u64>,
    /// Seq of the last event of the log.
    pub head: u64,
}

/// The events that a command would append.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DryRun<E = EventRow> {
    /// Events in the order in which they would be appended.
    #[schema(value_type = Vec<EventRow>)]
    pub events: Vec<E>,
}
