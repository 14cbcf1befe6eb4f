//! The fields in which two rows of one item differ.

use kdaemon_events::Subject;
use kdaemon_projections::Cluster;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The source of the rows that are compared.
pub trait RowSource {
    /// A row, which serializes as an object.
    type Row: Serialize;

    /// The row of a subject; `None` if the cluster does not have it.
    fn row(cluster: &Cluster, subject: Subject) -> Option<Self::Row>;

    /// The name of the item that a row shows.
    fn name(row: &Self::Row) -> &str;
}

/// The old and the new value of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Old value; null if the subject did not exist.
    pub from: Value,
    /// New value; null if the subject is gone.
    pub to: Value,
}

/// Changes by the names of the fields.
pub type Changes = BTreeMap<String, Change>;

/// The fields of a row without `seq`, which every change alters.
#[must_use]
pub fn fields(row: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(row) {
        Ok(Value::Object(mut row)) => {
            row.remove("seq");
            row
        }
        _ => Map::new(),
    }
}

/// The fields in which two rows differ; `None` if the subject did not exist.
#[must_use]
pub fn changes(before: Option<&Map<String, Value>>, after: Option<&Map<String, Value>>) -> Changes {
    let value = |row: Option<&Map<String, Value>>, field: &str| {
        row.and_then(|row| row.get(field)).cloned().unwrap_or(Value::Null)
    };
    let Some(fields) = after.or(before) else { return Changes::new() };
    fields
        .keys()
        .map(|field| (field.clone(), Change { from: value(before, field), to: value(after, field) }))
        .filter(|(_, change)| change.from != change.to)
        .collect()
}
