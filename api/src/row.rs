//! A row of any kind.

use crate::{ApplicationRow, ContainerRow, NodeRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The row of a node, an application or a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AnyRow {
    /// A node.
    Node(Box<NodeRow>),
    /// An application.
    Application(Box<ApplicationRow>),
    /// A container.
    Container(Box<ContainerRow>),
}

impl AnyRow {
    /// The name of the node, application or container.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Node(row) => &row.name,
            Self::Application(row) => &row.name,
            Self::Container(row) => &row.name,
        }
    }
}
