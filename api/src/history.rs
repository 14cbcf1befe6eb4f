//! The history of one node, application or container.

use crate::EventRow;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// The history of one node, application or container, from creation to deletion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History<E = HistoryEvent> {
    /// Id of the subject.
    pub id: Uuid,
    /// Current name of the subject, or its last one.
    pub name: String,
    /// Events about the subject, and events that changed its row.
    #[schema(value_type = Vec<HistoryEvent>)]
    pub events: Vec<E>,
    /// The `after` of the next page; null on the last one.
    pub next: Option<u64>,
    /// Other subjects that once had the requested name, latest first; absent if there are none.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Namesake>,
}

/// An event with the fields of the subject's row that it changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEvent {
    /// The event.
    #[serde(flatten)]
    pub event: EventRow,
    /// Changed fields by name.
    #[schema(value_type = BTreeMap<String, FieldChange>)]
    pub changes: FieldChanges,
}

/// Changed fields by name.
pub type FieldChanges = BTreeMap<String, FieldChange>;

/// The old and the new value of a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Old value; null if the subject did not exist.
    pub from: Value,
    /// New value; null if the subject is gone.
    pub to: Value,
}

/// Another subject that once had the requested name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Namesake {
    /// Id of the subject.
    pub id: Uuid,
    /// Seq of the event that gave it the name last.
    pub seq: u64,
}
