//! Identities, each a type of its own, so that the compiler keeps them apart.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )+};
}

uuid_id! {
    /// A mounted node.
    NodeId,
    /// An application of the library.
    ApplicationId,
    /// A container record. It outlives the containers on engines that are created for it.
    ContainerId,
    /// One event (UUIDv7).
    EventId,
    /// A commit: events that became durable together.
    CommitId,
    /// The cluster; labels everything that kDaemon creates on an engine.
    ClusterId,
}

macro_rules! number_id {
    ($($(#[$doc:meta])* $name:ident($inner:ty)),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The next one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

number_id! {
    /// The position of an event in the log: dense, starting at 1. 0 means "before the first event".
    Seq(u64),
    /// Counts the placements of one container. A higher generation replaces every lower one.
    Generation(u32),
    /// Counts leaderships. A command that carries an earlier term is refused.
    Term(u64),
}

/// One placement of a container, as named by the labels of a container on an engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PlacementId {
    /// The container record.
    pub container_id: ContainerId,
    /// The placement of that record.
    pub generation: Generation,
}

/// The subject of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Subject {
    /// A node.
    Node(NodeId),
    /// An application.
    Application(ApplicationId),
    /// A container.
    Container(ContainerId),
}

impl Subject {
    /// The bare id: unique across all kinds of subject.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        match self {
            Self::Node(id) => id.0,
            Self::Application(id) => id.0,
            Self::Container(id) => id.0,
        }
    }
}
