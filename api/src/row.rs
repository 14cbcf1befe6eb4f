//! A row of any kind, and the schemas that rows have in common.

use crate::{ApplicationRow, ContainerRow, NodeRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

/// The row of a node, an application or a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Row {
    /// A node.
    Node(NodeRow),
    /// An application.
    Application(Box<ApplicationRow>),
    /// A container.
    Container(ContainerRow),
}

impl Row {
    /// The name of what the row shows.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Node(row) => &row.name,
            Self::Application(row) => &row.name,
            Self::Container(row) => &row.name,
        }
    }
}

/// The schema of a text that is one of these values.
pub(crate) fn one_of(values: &[impl Serialize]) -> utoipa::openapi::Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names(values))).build()
}

/// The schema of a text that is one of these values, or null.
pub(crate) fn one_of_or_null(values: &[impl Serialize]) -> utoipa::openapi::Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(names(values).into_iter().chain([serde_json::Value::Null])))
        .build()
}

fn names(values: &[impl Serialize]) -> Vec<serde_json::Value> {
    values.iter().filter_map(|value| serde_json::to_value(value).ok()).collect()
}
