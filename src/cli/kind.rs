//! The kinds of resources.

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResourceKind {
    Nodes,
    Applications,
    Containers,
}

impl ResourceKind {
    /// The segment in the paths of the API.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Applications => "applications",
            Self::Containers => "containers",
        }
    }

    /// The singular, for messages.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Nodes => "node",
            Self::Applications => "application",
            Self::Containers => "container",
        }
    }
}
