//! The difference between two moments.

use crate::{AnyRow, FieldChange, FieldChanges, Moment};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The difference between two moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiffReport {
    /// The earlier moment.
    pub from: Moment,
    /// The later moment.
    pub to: Moment,
    /// Differences among nodes.
    pub nodes: KindDiff,
    /// Differences among applications.
    pub applications: KindDiff,
    /// Differences among containers.
    pub containers: KindDiff,
}

/// Differences among rows of one kind, ordered by id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KindDiff {
    /// Rows that exist only at the later moment.
    pub added: Vec<AddedOrRemovedRow>,
    /// Rows that exist only at the earlier moment.
    pub removed: Vec<AddedOrRemovedRow>,
    /// Rows that exist at both moments and differ.
    pub changed: Vec<ChangedRow>,
}

/// A row that exists at one moment only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AddedOrRemovedRow {
    /// Id of the row.
    pub id: Uuid,
    /// Name of the row.
    pub name: String,
    /// The row at the moment at which it exists.
    pub row: AnyRow,
    /// Seqs of the events that changed it in between, at most the last 1,000.
    pub events: Vec<u64>,
}

/// A row that exists at both moments and differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangedRow {
    /// Id of the row.
    pub id: Uuid,
    /// Name at the later moment.
    pub name: String,
    /// Changed fields by name.
    #[schema(value_type = BTreeMap<String, FieldChange>)]
    pub fields: FieldChanges,
    /// Seqs of the events that changed one of these fields, at most the last 1,000.
    pub events: Vec<u64>,
}
