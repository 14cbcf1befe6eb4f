//! The envelope around every event, and the codec between events and their JSON text.

use crate::application::{
    ApplicationCreated, ApplicationDeleted, ApplicationRestarted, ApplicationScaled, ApplicationUpdated,
    RolloutCompleted, RolloutPaused, RolloutRolledBack, RolloutStarted,
};
use crate::cluster::{
    ClusterCreated, LeaderElected, MigrationsPaused, MigrationsResumed, ObservationsPruned, RebalancePlanned,
    TokenCreated, TokenRevoked,
};
use crate::container::{
    ContainerAdopted, ContainerCompleted, ContainerCreated, ContainerDeleted, ContainerExited,
    ContainerHealthy, ContainerLaunchAbandoned, ContainerLaunchFailed, ContainerLaunchRequested,
    ContainerLaunched, ContainerMigrated, ContainerMigrationCommanded, ContainerObserved, ContainerPlaced,
    ContainerReady, ContainerRemoved, ContainerStopRequested, ContainerStopped, ContainerUnhealthy,
    ContainerUnschedulable, ContainerUpdated,
};
use crate::node::{
    NodeCordoned, NodeDrainStarted, NodeDrained, NodeHealthy, NodeMounted, NodeObserved, NodeUncordoned,
    NodeUnhealthy, NodeUnmounted, NodeUpdated,
};
use crate::volume::VolumesRemoved;
use crate::{EventId, Seq, Subject};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer, ser};
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// The principal that caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", try_from = "ActorFields")]
pub enum Actor {
    /// A client with an access token.
    Token {
        /// The token's name.
        name: String,
    },
    /// A client without a token, while there is no access control.
    Anonymous,
    /// A part of kDaemon.
    Reactor {
        /// The reactor's name, such as `rebalancer`.
        name: String,
    },
}

/// The deserialized form of an actor. serde would buffer a tagged enum before reading it.
#[derive(Deserialize)]
struct ActorFields {
    r#type: ActorType,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActorType {
    Token,
    Anonymous,
    Reactor,
}

impl TryFrom<ActorFields> for Actor {
    type Error = &'static str;
    fn try_from(ActorFields { r#type, name }: ActorFields) -> Result<Self, &'static str> {
        let name = name.ok_or("the actor has no name");
        Ok(match r#type {
            ActorType::Token => Self::Token { name: name? },
            ActorType::Reactor => Self::Reactor { name: name? },
            ActorType::Anonymous => Self::Anonymous,
        })
    }
}

impl Actor {
    /// A reactor by name.
    #[must_use]
    pub fn reactor(name: &str) -> Self {
        Self::Reactor { name: name.to_owned() }
    }

    /// Type and name, such as `reactor/health`, as recorded in an event's leaf of the log's Merkle tree.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Token { name } => format!("token/{name}"),
            Self::Reactor { name } => format!("reactor/{name}"),
            Self::Anonymous => "anonymous".to_owned(),
        }
    }

    /// The name in a label: the part after the type.
    #[must_use]
    pub fn name_in(label: &str) -> &str {
        label.split_once('/').map_or(label, |(_, name)| name)
    }

    /// The bare name, as filters take it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Token { name } | Self::Reactor { name } => name,
            Self::Anonymous => "anonymous",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The identity of a request, as in `X-Request-Id`; at most 128 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub String);

/// Why an event's text could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The text is not an event's JSON.
    #[error("the text is not an event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The kind is unknown.
    #[error(
        "the kind of event `{0}` is unknown: the log was written by a newer kDaemon; use that or a newer one"
    )]
    UnknownKind(String),
    /// The version is newer than this program knows.
    #[error(
        "version {version} of {kind} is newer than this kDaemon knows ({known}): use the one that wrote it or a newer one"
    )]
    NewerVersion {
        /// The kind.
        kind: Kind,
        /// The version in the log.
        version: u32,
        /// The newest one known.
        known: u32,
    },
}

macro_rules! events {
    ($($kind:ident: $class:ident = $version:literal),+ $(,)?) => {
        /// An event: a fact about the cluster.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, clippy::large_enum_variant)] // each variant is the type of the same name, and documented there
        pub enum Event { $($kind($kind)),+ }

        /// The kind of an event, without its data.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // as above
        pub enum Kind { $($kind),+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The name in the log.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),+ }
            }

            /// The version that is written at present.
            #[must_use]
            pub fn version(self) -> u32 {
                match self { $(Self::$kind => $version),+ }
            }

            /// Whether events of this kind are facts or observations.
            #[must_use]
            pub fn class(self) -> Class {
                match self { $(Self::$kind => Class::$class),+ }
            }
        }

        impl FromStr for Kind {
            type Err = CodecError;
            fn from_str(text: &str) -> Result<Self, CodecError> {
                match text {
                    $(stringify!($kind) => Ok(Self::$kind),)+
                    _ => Err(CodecError::UnknownKind(text.to_owned())),
                }
            }
        }

        impl Event {
            /// The kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),+ }
            }

            fn parse(kind: Kind, data: &str) -> Result<Self, serde_json::Error> {
                match kind { $(Kind::$kind => serde_json::from_str(data).map(Self::$kind)),+ }
            }
        }

        impl Serialize for Event {
            /// Serializes the data alone; kind and version are in the envelope.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$kind(data) => data.serialize(serializer)),+ }
            }
        }

        $(impl From<$kind> for Event {
            fn from(data: $kind) -> Self {
                Self::$kind(data)
            }
        })+
    };
}

events! {
    ClusterCreated: Fact = 1,
    LeaderElected: Fact = 1,
    NodeMounted: Fact = 1,
    NodeUpdated: Fact = 1,
    NodeObserved: Observation = 1,
    NodeHealthy: Fact = 1,
    NodeUnhealthy: Fact = 1,
    NodeCordoned: Fact = 1,
    NodeUncordoned: Fact = 1,
    NodeDrainStarted: Fact = 1,
    NodeDrained: Fact = 1,
    NodeUnmounted: Fact = 1,
    ApplicationCreated: Fact = 1,
    ApplicationUpdated: Fact = 1,
    ApplicationDeleted: Fact = 1,
    ApplicationScaled: Fact = 1,
    ApplicationRestarted: Fact = 1,
    RolloutStarted: Fact = 1,
    RolloutPaused: Fact = 1,
    RolloutCompleted: Fact = 1,
    RolloutRolledBack: Fact = 1,
    ContainerCreated: Fact = 1,
    ContainerUpdated: Fact = 1,
    ContainerLaunchRequested: Fact = 1,
    ContainerPlaced: Fact = 1,
    ContainerLaunched: Fact = 1,
    ContainerUnschedulable: Fact = 1,
    ContainerLaunchFailed: Fact = 1,
    ContainerLaunchAbandoned: Fact = 1,
    ContainerObserved: Fact = 1,
    ContainerExited: Fact = 1,
    ContainerUnhealthy: Fact = 1,
    ContainerHealthy: Fact = 1,
    ContainerReady: Fact = 1,
    ContainerCompleted: Fact = 1,
    ContainerMigrationCommanded: Fact = 1,
    ContainerMigrated: Fact = 1,
    ContainerStopRequested: Fact = 1,
    ContainerStopped: Fact = 1,
    ContainerRemoved: Fact = 1,
    ContainerDeleted: Fact = 1,
    ContainerAdopted: Fact = 1,
    VolumesRemoved: Fact = 1,
    RebalancePlanned: Fact = 1,
    MigrationsPaused: Fact = 1,
    MigrationsResumed: Fact = 1,
    ObservationsPruned: Fact = 1,
    TokenCreated: Fact = 1,
    TokenRevoked: Fact = 1,
}

/// The class of an event, which distinguishes facts from observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A fact: kept permanently.
    Fact,
    /// A raw observation, such as every probe's: pruned after its retention, when its conclusions are
    /// recorded.
    Observation,
}

impl Kind {
    /// Whether events of this kind are raw observations: the only events that may be pruned.
    #[must_use]
    pub fn is_observation(self) -> bool {
        self.class() == Class::Observation
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Event {
    /// Reads an event's data, upcasting old versions. No kind has a second version yet; the first one adds
    /// its step here, between the check and the parse.
    ///
    /// # Errors
    /// When the data does not have the form of its kind and version, or is from a newer kDaemon.
    pub fn decode(kind: &str, version: u32, data: &str) -> Result<Self, CodecError> {
        let kind: Kind = kind.parse()?;
        if version > kind.version() {
            return Err(CodecError::NewerVersion { kind, version, known: kind.version() });
        }
        Ok(Self::parse(kind, data)?)
    }

    /// Whether this is a raw observation.
    #[must_use]
    pub fn is_observation(&self) -> bool {
        self.kind().is_observation()
    }

    /// The subjects of the event: the main one first, then others that it involves.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        use Subject::{Application, Container, Node};
        match self {
            Self::NodeMounted(e) => vec![Node(e.node_id)],
            Self::NodeUpdated(e) => vec![Node(e.node_id)],
            Self::NodeObserved(e) => vec![Node(e.node_id)],
            Self::NodeHealthy(e) => vec![Node(e.node_id)],
            Self::NodeUnhealthy(e) => vec![Node(e.node_id)],
            Self::NodeCordoned(e) => vec![Node(e.node_id)],
            Self::NodeUncordoned(e) => vec![Node(e.node_id)],
            Self::NodeDrainStarted(e) => vec![Node(e.node_id)],
            Self::NodeDrained(e) => vec![Node(e.node_id)],
            Self::NodeUnmounted(e) => vec![Node(e.node_id)],
            Self::ApplicationCreated(e) => vec![Application(e.application_id)],
            Self::ApplicationUpdated(e) => vec![Application(e.application_id)],
            Self::ApplicationDeleted(e) => vec![Application(e.application_id)],
            Self::ApplicationScaled(e) => vec![Application(e.application_id)],
            Self::ContainerCreated(e) => {
                std::iter::once(Container(e.container_id)).chain(e.application_id.map(Application)).collect()
            }
            Self::ContainerUpdated(e) => vec![Container(e.container_id)],
            Self::ContainerLaunchRequested(e) => vec![Container(e.container_id)],
            Self::ContainerPlaced(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerLaunched(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerUnschedulable(e) => vec![Container(e.container_id)],
            Self::ContainerLaunchFailed(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerLaunchAbandoned(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerObserved(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerExited(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerUnhealthy(e) => vec![Container(e.container_id)],
            Self::ContainerHealthy(e) => vec![Container(e.container_id)],
            Self::ContainerReady(e) => vec![Container(e.container_id)],
            Self::ContainerCompleted(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::RolloutStarted(e) => vec![Application(e.application_id)],
            Self::RolloutPaused(e) => vec![Application(e.application_id), Container(e.container_id)],
            Self::RolloutCompleted(e) => vec![Application(e.application_id)],
            Self::RolloutRolledBack(e) => vec![Application(e.application_id)],
            Self::ApplicationRestarted(e) => vec![Application(e.application_id)],
            Self::ContainerMigrationCommanded(e) => {
                vec![Container(e.container_id), Node(e.from_node_id), Node(e.node_id)]
            }
            Self::ContainerMigrated(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerStopRequested(e) => vec![Container(e.container_id)],
            Self::ContainerStopped(e) => vec![Container(e.container_id)],
            Self::ContainerRemoved(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerDeleted(e) => vec![Container(e.container_id)],
            Self::ContainerAdopted(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::VolumesRemoved(e) => {
                e.container_id.map(Container).into_iter().chain(std::iter::once(Node(e.node_id))).collect()
            }
            Self::ClusterCreated(_)
            | Self::LeaderElected(_)
            | Self::RebalancePlanned(_)
            | Self::MigrationsPaused(_)
            | Self::MigrationsResumed(_)
            | Self::ObservationsPruned(_)
            | Self::TokenCreated(_)
            | Self::TokenRevoked(_) => Vec::new(),
        }
    }
}

/// An event as recorded in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The position in the log.
    pub seq: Seq,
    /// The event's id.
    pub id: EventId,
    /// The recorded time; never earlier than the previous event's.
    pub at: DateTime<Utc>,
    /// The principal that caused an event.
    pub actor: Actor,
    /// The request that caused it, if any.
    pub request_id: Option<RequestId>,
    /// The event that this one responds to.
    pub cause: Option<Seq>,
    /// The event itself.
    pub event: Event,
}

#[derive(Serialize)]
struct Written<'a> {
    seq: Seq,
    id: EventId,
    at: DateTime<Utc>,
    actor: &'a Actor,
    request_id: &'a Option<RequestId>,
    cause: Option<Seq>,
    kind: &'static str,
    v: u32,
    data: &'a Event,
}

#[derive(Deserialize)]
struct Read<'a> {
    seq: Seq,
    id: EventId,
    #[serde(deserialize_with = "crate::time::read")]
    at: DateTime<Utc>,
    actor: Actor,
    request_id: Option<RequestId>,
    cause: Option<Seq>,
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    v: u32,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.event.kind();
        Written {
            seq: self.seq,
            id: self.id,
            at: self.at,
            actor: &self.actor,
            request_id: &self.request_id,
            cause: self.cause,
            kind: kind.as_str(),
            v: kind.version(),
            data: &self.event,
        }
        .serialize(serializer)
    }
}

impl Envelope {
    /// The JSON text that the store keeps and the content hash of the event's leaf covers.
    ///
    /// # Errors
    /// Never for an event of this vocabulary: all its keys are strings.
    pub fn encode(&self) -> Result<String, CodecError> {
        // Few are longer, and growing would copy.
        let mut json = Vec::with_capacity(512);
        serde_json::to_writer(&mut json, self)?;
        String::from_utf8(json).map_err(|error| CodecError::Malformed(ser::Error::custom(error)))
    }

    /// Reads an envelope in any form with a JSON parser.
    pub(crate) fn parse(json: &str) -> Result<Self, CodecError> {
        let read: Read<'_> = serde_json::from_str(json)?;
        Ok(Self {
            seq: read.seq,
            id: read.id,
            at: read.at,
            actor: read.actor,
            request_id: read.request_id,
            cause: read.cause,
            event: Event::decode(&read.kind, read.v, read.data.get())?,
        })
    }
}
