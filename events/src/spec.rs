//! The parts of an application's specification, from which containers are made.
//!
//! Each part parses from the text that people write in the API (`"8080:80/tcp"`, `"zone==a"`,
//! `"on-failure:3"`) and is stored in events as that same text.

use crate::spec_error::SpecError;
use crate::volume::{DataPolicy, Volume, is_below, is_of_every_machine};
use crate::{ApplicationId, HealthCheck, Resources, Strategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Serializes through `Display` and `FromStr`: the text is the representation.
macro_rules! as_text {
    ($($name:ident),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

as_text!(PortSpec, RestartPolicy, Constraint, Endpoint);

/// Environment variables, by name.
pub type Environment = BTreeMap<String, String>;

/// A transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A container port that is published on the node: `80`, `53/udp`, or `8080:80` for a fixed port of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSpec {
    /// The port inside the container.
    pub container: u16,
    /// The port of the node; `None` lets the engine choose.
    pub host: Option<u16>,
    /// TCP by default.
    pub protocol: Protocol,
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = self.host {
            write!(f, "{host}:")?;
        }
        write!(f, "{}", self.container)?;
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

impl FromStr for PortSpec {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refuse = || {
            SpecError(format!(
                "`{text}` is not a port; write 80, 53/udp or 8080:80 (node:container), each from 1 to 65535"
            ))
        };
        let (ports, protocol) = match text.trim().split_once('/') {
            None => (text.trim(), Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(refuse()),
        };
        let number = |digits: &str| match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
            _ => Err(refuse()),
        };
        Ok(match ports.split_once(':') {
            None => Self { container: number(ports)?, host: None, protocol },
            Some((host, container)) => {
                Self { container: number(container)?, host: Some(number(host)?), protocol }
            }
        })
    }
}

/// A published port, as reported by the engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The port inside the container.
    pub container: u16,
    /// The port of the node.
    pub host: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// The reaction to the exit of a container's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RestartPolicy {
    /// The container stays down.
    No,
    /// The container is restarted when its exit code is not 0, at most `max` times in a row (`None`: without
    /// limit).
    OnFailure {
        /// The limit of restarts in a row.
        max: Option<u32>,
    },
    /// The container is restarted, unless a person stopped it.
    #[default]
    Always,
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure { max: None } => f.write_str("on-failure"),
            Self::OnFailure { max: Some(max) } => write!(f, "on-failure:{max}"),
            Self::Always => f.write_str("always"),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        Ok(match text {
            "no" => Self::No,
            // The engine's `unless-stopped` differs from `always` only in what an engine does when it starts;
            // here the daemon decides, and it never starts what was stopped.
            "always" | "unless-stopped" => Self::Always,
            "on-failure" => Self::OnFailure { max: None },
            other => match other.strip_prefix("on-failure:").map(str::parse) {
                Some(Ok(max)) => Self::OnFailure { max: Some(max) },
                _ => {
                    return Err(SpecError(format!(
                        "`{text}` is not a restart policy; write no, always, on-failure or on-failure:N"
                    )));
                }
            },
        })
    }
}

/// A condition on a node's labels: `zone==a`, `disk!=hdd`, `gpu` (the label exists), `!gpu` (it does not).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constraint {
    /// The label has this value.
    Equals(String, String),
    /// The label has another value, or is absent.
    Differs(String, String),
    /// The label exists, with any value.
    Has(String),
    /// The label does not exist.
    Lacks(String),
}

impl Constraint {
    /// `true` if a node with these labels satisfies it.
    #[must_use]
    pub fn admits(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Equals(key, value) => labels.get(key) == Some(value),
            Self::Differs(key, value) => labels.get(key) != Some(value),
            Self::Has(key) => labels.contains_key(key),
            Self::Lacks(key) => !labels.contains_key(key),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(key, value) => write!(f, "{key}=={value}"),
            Self::Differs(key, value) => write!(f, "{key}!={value}"),
            Self::Has(key) => f.write_str(key),
            Self::Lacks(key) => write!(f, "!{key}"),
        }
    }
}

impl FromStr for Constraint {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let label = |key: &str| {
            let key = key.trim();
            if key.is_empty() || key.contains(|c: char| c.is_whitespace() || "=!<>".contains(c)) {
                return Err(SpecError(format!(
                    "`{text}` is not a constraint; write zone==a, disk!=hdd, gpu or !gpu"
                )));
            }
            Ok(key.to_owned())
        };
        // The first operator counts; everything after it is the value.
        let (equals, differs) = (text.find("=="), text.find("!="));
        if let Some(at) = equals.filter(|at| differs.is_none_or(|differs| *at < differs)) {
            Ok(Self::Equals(label(&text[..at])?, text[at + 2..].trim().to_owned()))
        } else if let Some(at) = differs {
            Ok(Self::Differs(label(&text[..at])?, text[at + 2..].trim().to_owned()))
        } else if let Some(key) = text.trim().strip_prefix('!') {
            Ok(Self::Lacks(label(key)?))
        } else {
            Ok(Self::Has(label(text)?))
        }
    }
}

/// The address of an engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `tcp://host:port`; `host` is an IPv4 or IPv6 address (without brackets) or a name.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:///path/to.sock`.
    Unix {
        /// The socket's absolute path.
        path: String,
    },
}

impl Endpoint {
    /// The host at which the node's published ports are reached; `localhost` for a socket.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix { .. } => "127.0.0.1",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix { path } => write!(f, "unix://{path}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refuse = |why: &str| {
            SpecError(format!(
                "`{text}` is not an endpoint ({why}); write tcp://HOST:PORT or unix:///path/to/docker.sock"
            ))
        };
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') || path.len() < 2 {
                return Err(refuse("the socket's path must be absolute"));
            }
            return Ok(Self::Unix { path: path.to_owned() });
        }
        if text.starts_with("ssh://") {
            return Err(refuse("ssh:// is not supported yet"));
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err(refuse("it has no scheme that kDaemon knows"));
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or_else(|| refuse("it has no port"))?,
            None => address.rsplit_once(':').ok_or_else(|| refuse("it has no port"))?,
        };
        let port = match port.trim_end_matches('/').parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(refuse("its port is not a number from 1 to 65535")),
        };
        Self::tcp(host, port).map_err(|SpecError(why)| refuse(&why))
    }
}

impl Endpoint {
    /// A TCP endpoint from a host (IPv4, IPv6 with or without brackets, or a name) and a port.
    ///
    /// # Errors
    /// When `host` is neither an address nor a host name (RFC 1123), or `port` is 0.
    pub fn tcp(host: &str, port: u16) -> Result<Self, SpecError> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let is_address = bare.parse::<std::net::IpAddr>().is_ok();
        let is_name = !bare.is_empty()
            && bare.len() <= 253
            && bare.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            });
        if port == 0 {
            return Err(SpecError("expected a port from 1 to 65535".into()));
        }
        if !is_address && !is_name {
            return Err(SpecError(format!("`{host}` is neither an IP address nor a host name")));
        }
        Ok(Self::Tcp { host: bare.to_owned(), port })
    }
}

/// The effect of an edit of an application on its running containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdatePolicy {
    /// They keep the old specification until they are launched again.
    #[default]
    Manual,
    /// They are replaced, one after another.
    Rolling,
}

/// Declares the fields of a specification once, in two groups: containers are made from the first, and placed by both.
macro_rules! specification {
    (
        container { $( $(#[$container_meta:meta])* $container:ident: $Container:ty, )+ }
        placement { $( $(#[$placement_meta:meta])* $placement:ident: $Placement:ty, )+ }
    ) => {
        /// An application's specification: everything that an engine needs to create a container, and how to place
        /// it.
        #[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
        pub struct Spec {
            $( $(#[$container_meta])* pub $container: $Container, )+
            $( $(#[$placement_meta])* pub $placement: $Placement, )+
        }

        impl Spec {
            /// `true` if containers made from both specifications are the same; placement rules do not count.
            #[must_use]
            pub fn makes_the_same_as(&self, other: &Self) -> bool {
                $( self.$container == other.$container )&&+
            }
        }

        /// Changes of a specification; `None` leaves a field as it is.
        #[derive(Debug, Clone, PartialEq, Default)]
        #[allow(clippy::option_option, missing_docs)] // the fields are documented in Spec
        pub struct SpecChanges {
            $( pub $container: Option<$Container>, )+
            $( pub $placement: Option<$Placement>, )+
        }

        impl SpecChanges {
            /// The specification with these changes.
            #[must_use]
            pub fn on(self, spec: &Spec) -> Spec {
                Spec {
                    $( $container: self.$container.unwrap_or_else(|| spec.$container.clone()), )+
                    $( $placement: self.$placement.unwrap_or_else(|| spec.$placement.clone()), )+
                }
            }
        }
    };
}

specification! {
    container {
        /// The image reference.
        docker_image: String,
        /// Ports to publish.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exposed_ports: Vec<PortSpec>,
        /// Environment variables.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env_variables: Environment,
        /// Arguments that replace the image's own.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
        /// Entrypoint that replaces the image's own.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        entrypoint: Vec<String>,
        /// Mounts.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        volumes: Vec<Volume>,
        /// Networks of the engine to join; none means the engine's default.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        networks: Vec<String>,
        /// Labels of the container on the engine.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
        /// The reaction to the exit of the process.
        #[serde(default)]
        restart_policy: RestartPolicy,
        /// Limits and reservations.
        #[serde(default, skip_serializing_if = "Resources::is_empty")]
        resources: Resources,
        /// Conditions on the node's labels that must hold.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        constraints: Vec<Constraint>,
        /// The health check that the engine runs.
        #[serde(default, skip_serializing_if = "HealthCheck::is_default")]
        health_check: HealthCheck,
        /// Name of the registry credentials to pull with; the credentials themselves are kept outside of the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registry_auth: Option<String>,
    }
    placement {
        /// Placement strategy; `None`: that of the daemon's configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strategy: Option<Strategy>,
        /// Conditions on the node's labels that should hold: nodes that satisfy more of them are preferred.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        preferences: Vec<Constraint>,
        /// The label over whose values the application's containers are spread, such as `zone`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spread_over: Option<String>,
        /// `true` if a node may run at most one of the application's containers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        anti_affinity: bool,
        /// Applications of which the node must already run a container.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        affinity: Vec<ApplicationId>,
        /// How many of the application's containers may be moving or down before no more are moved voluntarily;
        /// `None`: a quarter of those scheduled to run, and at least one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disruption_limit: Option<u32>,
        /// Paths that are the same on every node, such as a mounted network file system: what is bound from below them
        /// binds no container to a node.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shared_paths: Vec<String>,
        /// The fate of the data when its node fails or is drained.
        #[serde(default, skip_serializing_if = "DataPolicy::is_keep")]
        data: DataPolicy,
    }
}

impl Spec {
    /// The fixed ports of the node that it claims.
    pub fn fixed_ports(&self) -> impl Iterator<Item = (Protocol, u16)> + '_ {
        self.exposed_ports.iter().filter_map(|port| port.host.map(|host| (port.protocol, host)))
    }

    /// The mounts whose data lives on one node: named volumes, and paths that are neither shared nor part of every
    /// machine.
    pub fn local_data(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.iter().filter(|volume| {
            volume.is_named() || !(is_of_every_machine(&volume.source) || self.is_shared(&volume.source))
        })
    }

    /// `true` if some of its data lives on one node.
    #[must_use]
    pub fn has_local_data(&self) -> bool {
        self.local_data().next().is_some()
    }

    fn is_shared(&self, path: &str) -> bool {
        self.shared_paths.iter().any(|shared| is_below(path, shared))
    }
}
