//! The identities of things, each a type of its own so that one is never taken for another.

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
    /// A container record. It outlives the containers that stand for it on engines.
    ContainerId,
    /// One event (UUIDv7).
    EventId,
    /// One commit: a group of events that became durable together.
    CommitId,
    /// The cluster; it labels everything that kDaemon makes on an engine.
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
            /// The one after this one.
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
    /// The position of an event in the log: dense, from 1. 0 is "before the first event".
    Seq(u64),
    /// Counts the placements of one container. A higher generation replaces every lower one.
    Generation(u32),
    /// Counts leaders. A command that carries an old term is refused.
    Term(u64),
}

/// One placement of a container: what the labels of a container on an engine name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PlacementId {
    /// The container record.
    pub container_id: ContainerId,
    /// Which of its placements.
    pub generation: Generation,
}

/// A thing that events are about.
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
    /// The bare identity: unique over all kinds of subject.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        match self {
            Self::Node(id) => id.0,
            Self::Application(id) => id.0,
            Self::Container(id) => id.0,
        }
    }
}
