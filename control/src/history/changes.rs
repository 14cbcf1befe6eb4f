//! The fields in which two rows of one thing differ.

use kdaemon_events::Subject;
use kdaemon_projections::{ApplicationRow, Cluster, ContainerRow, NodeRow};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a field was and what it became.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Change {
    /// What it was; null when the thing was not there.
    pub from: Value,
    /// What it became; null when the thing is gone.
    pub to: Value,
}

/// Changes, by the names of the fields.
pub type Changes = BTreeMap<String, Change>;

/// The row of a thing of any sort.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Row)]
pub enum Row {
    /// A node's.
    Node(NodeRow),
    /// An application's.
    Application(Box<ApplicationRow>),
    /// A container's.
    Container(ContainerRow),
}

impl Row {
    /// The row of a thing, if it is there.
    #[must_use]
    pub fn of(cluster: &Cluster, subject: Subject) -> Option<Self> {
        match subject {
            Subject::Node(id) => cluster.node(id).map(|node| Self::Node(NodeRow::from(&**node))),
            Subject::Application(id) => cluster
                .application(id)
                .map(|application| Self::Application(Box::new(ApplicationRow::new(cluster, application)))),
            Subject::Container(id) => {
                cluster.container(id).map(|container| Self::Container(ContainerRow::from(&**container)))
            }
        }
    }

    /// The name of the thing.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Node(row) => &row.name,
            Self::Application(row) => &row.name,
            Self::Container(row) => &row.name,
        }
    }
}

/// A row by its fields, without `seq`, which every change changes.
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

/// The fields in which two rows differ; `None`: the thing was not there.
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
