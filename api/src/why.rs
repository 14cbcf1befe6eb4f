//! Why a node or a container has its present state.

use chrono::{DateTime, Utc};
use kdaemon_events::Actor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Why a node or a container has its present state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Why)]
pub struct WhyReport {
    /// Id of the subject.
    pub id: Uuid,
    /// Name of the subject.
    pub name: String,
    /// `node` or `container`.
    pub kind: String,
    /// Seq of the event that brought about the state.
    pub seq: u64,
    /// The node's `state` or the container's `status`.
    pub state: String,
    /// The explanation, one sentence per cause.
    pub sentences: Vec<String>,
    /// The events behind the explanation, newest first, each before its causes.
    pub steps: Vec<WhyStep>,
}

/// One event on the way to the present state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyStep {
    /// Seq of the event.
    pub seq: u64,
    /// When the event was recorded.
    pub at: DateTime<Utc>,
    /// Kind of the event.
    pub kind: String,
    /// Who caused the event.
    #[schema(value_type = Object)]
    pub actor: Actor,
    /// The event as a sentence.
    pub says: String,
    /// The cause that the event itself records.
    pub cause: Option<u64>,
    /// Seqs of the steps that led to this one: its recorded cause, and what the decision looked at besides.
    pub because: Vec<u64>,
}
