//! Explanations of the state of a node or a container.

use chrono::{DateTime, Utc};
use kdaemon_events::Actor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The explanation of the state of a node or a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyReport {
    /// Id of the subject.
    pub id: Uuid,
    /// Name of the subject.
    pub name: String,
    /// `node` or `container`.
    pub kind: String,
    /// Seq of the last event of the state that is explained.
    pub seq: u64,
    /// The node's `state` or the container's `status`.
    pub state: String,
    /// The explanation, one sentence per cause.
    pub sentences: Vec<String>,
    /// Events of the explanation, newest first, each before its causes.
    pub steps: Vec<WhyStep>,
}

/// An event in the chain of causes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyStep {
    /// Seq of the event.
    pub seq: u64,
    /// When the event was recorded.
    pub at: DateTime<Utc>,
    /// Kind of the event.
    pub kind: String,
    /// Actor that caused the event.
    #[schema(value_type = Object)]
    pub actor: Actor,
    /// The event as a sentence.
    pub says: String,
    /// Seq of the cause that the event records.
    pub cause: Option<u64>,
    /// Seqs of the steps that led to this one: its recorded cause, and further events that the decision depended on.
    pub because: Vec<u64>,
}
