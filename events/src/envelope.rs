//! The envelope around every event, and the codec between events and their JSON text.

use crate::application::{ApplicationCreated, ApplicationDeleted, ApplicationScaled, ApplicationUpdated};
use crate::cluster::{
    ClusterCreated, LeaderElected, MigrationsPaused, MigrationsResumed, ObservationsPruned, RebalancePlanned,
    TokenCreated, TokenRevoked,
};
use crate::container::{
    ContainerAdopted, ContainerCreated, ContainerDeleted, ContainerExited, ContainerHealthy,
    ContainerLaunchFailed, ContainerLaunchRequested, ContainerLaunched, ContainerMigrated,
    ContainerMigrationCommanded, ContainerObserved, ContainerPlaced, ContainerRemoved,
    ContainerStopRequested, ContainerStopped, ContainerUnhealthy, ContainerUpdated,
};
use crate::node::{
    NodeCordoned, NodeDrainStarted, NodeDrained, NodeHealthy, NodeMounted, NodeObserved, NodeUncordoned,
    NodeUnhealthy, NodeUnmounted, NodeUpdated,
};
use crate::{EventId, Seq, Subject, canonical};
use chrono::{DateTime, Utc};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", try_from = "ActorFields")]
pub enum Actor {
    /// Somebody with an access token.
    Token {
        /// The token's name.
        name: String,
    },
    /// Somebody on this machine, while there are no tokens.
    Anonymous,
    /// A part of kDaemon.
    Reactor {
        /// Its name, as in `rebalancer`.
        name: String,
    },
}

/// An actor as it is read: a tagged enum would have every event's actor copied before it is looked at.
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

    /// Its name alone, as filters take it.
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
    /// It is not the JSON that an event is made of.
    #[error("the text is not an event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Its kind is unknown.
    #[error(
        "the kind of event `{0}` is unknown: the log was written by a newer kDaemon; use that or a newer one"
    )]
    UnknownKind(String),
    /// Its version is newer than this program.
    #[error(
        "version {version} of {kind} is newer than this kDaemon knows ({known}): use the one that wrote it or a newer one"
    )]
    NewerVersion {
        /// The kind.
        kind: Kind,
        /// Its version in the log.
        version: u32,
        /// The newest one known.
        known: u32,
    },
}

macro_rules! events {
    ($($kind:ident = $version:literal),+ $(,)?) => {
        /// An event: what happened.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, clippy::large_enum_variant)] // each variant is the type of the same name, and documented there
        pub enum Event { $($kind($kind)),+ }

        /// The kind of an event, by itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[allow(missing_docs)] // as above
        pub enum Kind { $($kind),+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Its name in the log.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),+ }
            }

            /// The version that is written today.
            #[must_use]
            pub fn version(self) -> u32 {
                match self { $(Self::$kind => $version),+ }
            }
        }

        impl Event {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),+ }
            }

            /// Reads the data of an event of this kind.
            pub(crate) fn read<'de, D: Deserializer<'de>>(kind: Kind, data: D) -> Result<Self, D::Error> {
                match kind { $(Kind::$kind => $kind::deserialize(data).map(Self::$kind)),+ }
            }
        }

        impl Serialize for Event {
            /// Its data alone; kind and version stand in the envelope.
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
    ClusterCreated = 1,
    LeaderElected = 1,
    NodeMounted = 1,
    NodeUpdated = 1,
    NodeObserved = 1,
    NodeHealthy = 1,
    NodeUnhealthy = 1,
    NodeCordoned = 1,
    NodeUncordoned = 1,
    NodeDrainStarted = 1,
    NodeDrained = 1,
    NodeUnmounted = 1,
    ApplicationCreated = 1,
    ApplicationUpdated = 1,
    ApplicationDeleted = 1,
    ApplicationScaled = 1,
    ContainerCreated = 1,
    ContainerUpdated = 1,
    ContainerLaunchRequested = 1,
    ContainerPlaced = 1,
    ContainerLaunched = 1,
    ContainerLaunchFailed = 1,
    ContainerObserved = 1,
    ContainerExited = 1,
    ContainerUnhealthy = 1,
    ContainerHealthy = 1,
    ContainerMigrationCommanded = 1,
    ContainerMigrated = 1,
    ContainerStopRequested = 1,
    ContainerStopped = 1,
    ContainerRemoved = 1,
    ContainerDeleted = 1,
    ContainerAdopted = 1,
    RebalancePlanned = 1,
    MigrationsPaused = 1,
    MigrationsResumed = 1,
    ObservationsPruned = 1,
    TokenCreated = 1,
    TokenRevoked = 1,
}

impl Kind {
    /// Whether events of this kind are raw observations, as every probe makes one. All others are facts.
    #[must_use]
    pub fn is_observation(self) -> bool {
        matches!(self, Self::NodeObserved | Self::ContainerObserved)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = CodecError;
    fn from_str(text: &str) -> Result<Self, CodecError> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| CodecError::UnknownKind(text.to_owned()))
    }
}

impl Event {
    /// Whether this is a raw observation.
    #[must_use]
    pub fn is_observation(&self) -> bool {
        self.kind().is_observation()
    }

    /// What it is about: its own subject first, then others that it involves.
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
            Self::ContainerLaunchFailed(e) => {
                std::iter::once(Container(e.container_id)).chain(e.node_id.map(Node)).collect()
            }
            Self::ContainerObserved(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerExited(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerUnhealthy(e) => vec![Container(e.container_id)],
            Self::ContainerHealthy(e) => vec![Container(e.container_id)],
            Self::ContainerMigrationCommanded(e) => {
                vec![Container(e.container_id), Node(e.from_node_id), Node(e.node_id)]
            }
            Self::ContainerMigrated(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerStopRequested(e) => vec![Container(e.container_id)],
            Self::ContainerStopped(e) => vec![Container(e.container_id)],
            Self::ContainerRemoved(e) => vec![Container(e.container_id), Node(e.node_id)],
            Self::ContainerDeleted(e) => vec![Container(e.container_id)],
            Self::ContainerAdopted(e) => vec![Container(e.container_id), Node(e.node_id)],
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

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Its place in the log.
    pub seq: Seq,
    /// Its identity.
    pub id: EventId,
    /// When it was recorded; never earlier than the event before it.
    pub at: DateTime<Utc>,
    /// Who did it.
    pub actor: Actor,
    /// The request that it came from, if it came from one.
    pub request_id: Option<RequestId>,
    /// The event that this one answers.
    pub cause: Option<Seq>,
    /// What happened.
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

/// The fields of an envelope. When it comes to the data, its kind is known, which stands before it: so nothing is looked at
/// twice.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Seq,
    Id,
    At,
    Actor,
    RequestId,
    Cause,
    Kind,
    V,
    Data,
    #[serde(other)]
    Unknown,
}

/// When an event was recorded.
#[derive(Deserialize)]
struct At(#[serde(deserialize_with = "crate::time::read")] DateTime<Utc>);

/// The data of an event of this kind and version. Old versions are lifted to today's shape: nothing has a second version
/// yet; the first kind that gets one adds its step here.
struct Data(Kind, u32);

impl<'de> DeserializeSeed<'de> for Data {
    type Value = Event;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        let Self(kind, version) = self;
        if version > kind.version() {
            return Err(de::Error::custom("its version is newer"));
        }
        Event::read(kind, deserializer)
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Envelope;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Envelope, M::Error> {
                let (mut seq, mut id, mut at, mut actor) = (None, None, None, None);
                let (mut request_id, mut cause, mut kind, mut version, mut event) =
                    (None, None, None, None, None);
                while let Some(field) = map.next_key()? {
                    match field {
                        Field::Seq => seq = Some(map.next_value()?),
                        Field::Id => id = Some(map.next_value()?),
                        Field::At => at = Some(map.next_value::<At>()?.0),
                        Field::Actor => actor = Some(map.next_value()?),
                        Field::RequestId => request_id = map.next_value()?,
                        Field::Cause => cause = map.next_value()?,
                        Field::Kind => kind = Some(map.next_value()?),
                        Field::V => version = Some(map.next_value()?),
                        Field::Data => {
                            let (Some(kind), Some(version)) = (kind, version) else {
                                return Err(de::Error::custom("`kind` and `v` have to stand before `data`"));
                            };
                            event = Some(map.next_value_seed(Data(kind, version))?);
                        }
                        Field::Unknown => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                let missing = de::Error::missing_field;
                Ok(Envelope {
                    seq: seq.ok_or_else(|| missing("seq"))?,
                    id: id.ok_or_else(|| missing("id"))?,
                    at: at.ok_or_else(|| missing("at"))?,
                    actor: actor.ok_or_else(|| missing("actor"))?,
                    request_id,
                    cause,
                    event: event.ok_or_else(|| missing("data"))?,
                })
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// What says whether this program can know an event at all.
#[derive(Deserialize)]
struct Heading {
    kind: String,
    v: u32,
}

impl Heading {
    /// Whether a kind in this version is known.
    fn is_known(&self) -> Result<(), CodecError> {
        let (kind, version): (Kind, _) = (self.kind.parse()?, self.v);
        match kind.version() {
            known if version > known => Err(CodecError::NewerVersion { kind, version, known }),
            _ => Ok(()),
        }
    }
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
    /// Its JSON text: what the store keeps and the integrity chain covers.
    ///
    /// # Errors
    /// Never for an event of this vocabulary: all its keys are text.
    pub fn encode(&self) -> Result<String, CodecError> {
        Ok(serde_json::to_string(self)?)
    }

    /// Reads an envelope from its JSON text.
    ///
    /// # Errors
    /// When it does not have the shape of its kind and version, or is from a newer kDaemon.
    pub fn decode(json: &str) -> Result<Self, CodecError> {
        if let Some(envelope) = canonical::read(json) {
            return Ok(envelope);
        }
        serde_json::from_str(json).map_err(|error| {
            let heading = serde_json::from_str::<Heading>(json);
            match heading.map(|heading| heading.is_known()) {
                Ok(Err(unknown)) => unknown,
                Ok(Ok(())) | Err(_) => error.into(),
            }
        })
    }
}
