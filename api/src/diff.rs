//! What differs between two moments.

use crate::{FieldChange, FieldChanges, Moment, Row};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What differs between two moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Diff)]
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
#[schema(as = Differences)]
pub struct KindDiff {
    /// Rows that exist only at the later moment.
    pub added: Vec<AddedOrRemoved>,
    /// Rows that exist only at the earlier moment.
    pub removed: Vec<AddedOrRemoved>,
    /// Rows that exist at both moments and differ.
    pub changed: Vec<Changed>,
}

/// A row that exists at one moment only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = DiffEntry)]
pub struct AddedOrRemoved {
    /// Id of the row.
    pub id: Uuid,
    /// Name of the row.
    pub name: String,
    /// The row: of an added one as it was afterwards, of a removed one as it was before.
    pub row: Row,
    /// Seqs of the events that changed it in between, at most the last 1,000.
    pub events: Vec<u64>,
}

/// A row that exists at both moments and differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = DiffChange)]
pub struct Changed {
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
