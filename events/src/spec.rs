//! What a container is made from: the parts of an application's specification.
//!
//! Each part parses from the text that people write in the API (`"8080:80/tcp"`, `"zone==a"`,
//! `"on-failure:3"`) and is kept in events in that same text, so that the log reads as it was said.

use crate::{ApplicationId, Strategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Why a piece of a specification could not be read; says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(pub String);

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

as_text!(PortSpec, Volume, RestartPolicy, Constraint, Endpoint);

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

/// A port of the container that is published on its node: `80`, `53/udp`, or `8080:80` for a fixed
/// port of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSpec {
    /// The port inside the container.
    pub container: u16,
    /// The port of the node; `None` lets the engine choose.
    pub host: Option<u16>,
    /// TCP unless said otherwise.
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

/// A port as the engine published it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The port inside the container.
    pub container: u16,
    /// The port of the node.
    pub host: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A mount: `name:/path`, `/path/on/node:/path`, either with `:ro` behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volume {
    /// A volume's name, or an absolute path of the node.
    pub source: String,
    /// An absolute path in the container.
    pub target: String,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

impl Volume {
    /// Whether this is a named volume. Its data lives on one node, so it binds its container to that node.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.source.starts_with('/')
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.read_only { ":ro" } else { "" };
        write!(f, "{}:{}{suffix}", self.source, self.target)
    }
}

impl FromStr for Volume {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refuse = |why: &str| {
            SpecError(format!(
                "`{text}` is not a volume ({why}); write name:/path or /path/on/node:/path, with :ro behind it to forbid writing"
            ))
        };
        let mut parts = text.split(':').map(str::trim);
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err(refuse("it has no target"));
        };
        let read_only = match (parts.next(), parts.next()) {
            (None | Some("rw"), None) => false,
            (Some("ro"), None) => true,
            _ => return Err(refuse("its mode is neither ro nor rw")),
        };
        if !target.starts_with('/') || target == "/" {
            return Err(refuse("the target must be an absolute path below /"));
        }
        // The engine's own rule for volume names (moby: volume/names).
        let named = |name: &str| {
            name.len() >= 2
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        };
        if !source.starts_with('/') && !named(source) {
            return Err(refuse("the source is neither an absolute path nor a volume's name"));
        }
        Ok(Self { source: source.into(), target: target.into(), read_only })
    }
}

/// What happens when a container's process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RestartPolicy {
    /// It stays ended.
    No,
    /// It is started again when its exit code is not 0, at most `max` times in a row (`None`: without end).
    OnFailure {
        /// How many times in a row.
        max: Option<u32>,
    },
    /// It is always started again, unless somebody stopped it.
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

/// A condition on a node's labels: `zone==a`, `disk!=hdd`, `gpu` (the label is there), `!gpu` (it is not).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constraint {
    /// The label has this value.
    Equals(String, String),
    /// The label has another value, or is absent.
    Differs(String, String),
    /// The label is there, whatever its value.
    Has(String),
    /// The label is not there.
    Lacks(String),
}

impl Constraint {
    /// Whether a node with these labels satisfies it.
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
        // The first operator counts: what follows it is the value, whatever it holds.
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

/// Where an engine answers.
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
    /// The host under which the node's published ports are reached; the machine itself for a socket.
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
            return Err(SpecError("a port is a number from 1 to 65535".into()));
        }
        if !is_address && !is_name {
            return Err(SpecError(format!("`{host}` is neither an IP address nor a host name")));
        }
        Ok(Self::Tcp { host: bare.to_owned(), port })
    }
}

/// A share of a machine's processors, in thousandths of one; written as a number of processors (`0.5`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MilliCpus(pub u64);

impl Serialize for MilliCpus {
    #[allow(clippy::cast_precision_loss)] // a machine has fewer than 2^52 thousandths of a processor
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for MilliCpus {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the range is checked first
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cpus = f64::deserialize(deserializer)?;
        if !(0.0..=100_000.0).contains(&cpus) {
            return Err(de::Error::custom(
                "cpus is a number of processors, from 0.001 up (0.5 is half of one)",
            ));
        }
        Ok(Self((cpus * 1000.0).round() as u64))
    }
}

/// Limits of a container, which are also what the scheduler reserves for it. `None`: no limit, nothing reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<MilliCpus>,
    /// Memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl Resources {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A command that the engine runs inside the container to see whether it works (Docker's HEALTHCHECK).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// The command and its arguments; a single element runs in the container's shell.
    pub command: Vec<String>,
    /// Time between two checks, in milliseconds.
    #[serde(default = "HealthCheck::default_interval_ms")]
    pub interval_ms: u64,
    /// How long one check may take, in milliseconds.
    #[serde(default = "HealthCheck::default_interval_ms")]
    pub timeout_ms: u64,
    /// Failed checks in a row that make the container unhealthy.
    #[serde(default = "HealthCheck::default_retries")]
    pub retries: u32,
    /// Time after the start in which failed checks do not count, in milliseconds.
    #[serde(default)]
    pub start_period_ms: u64,
}

impl HealthCheck {
    fn default_interval_ms() -> u64 {
        30_000
    }
    fn default_retries() -> u32 {
        3
    }
}

/// What happens to running containers when their application changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdatePolicy {
    /// They take the change when they are launched the next time.
    #[default]
    Manual,
    /// They are replaced, one after another.
    Rolling,
}

/// Everything that an engine needs to know to make a container: an application's specification.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Spec {
    /// The image's reference, as an engine understands it.
    pub docker_image: String,
    /// Ports to publish.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<PortSpec>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env_variables: Environment,
    /// Arguments in place of the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Entry point in place of the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// The engine's networks to join; none means the engine's default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Labels for the container on the engine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What happens when its process ends.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Limits.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Conditions on the labels of its node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// How the engine finds out whether the container works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// The name of the registry credentials to pull with; their value is kept outside of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_auth: Option<String>,
    /// How its node is chosen among those that fit; `None`: as the daemon's configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Conditions on the labels of its node that it would like: nodes that satisfy more of them come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferences: Vec<Constraint>,
    /// The label over whose values the application's containers are spread, as `zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_over: Option<String>,
    /// Whether no node takes two of the application's containers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anti_affinity: bool,
    /// Applications of each of which its node has to have a container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affinity: Vec<ApplicationId>,
    /// How many of the application's containers may be moved, or be down, at one time before more are moved of
    /// free will; `None`: a quarter of those that are to run, and at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_limit: Option<u32>,
}

impl Spec {
    /// Whether a container made from one is as one made from the other: where they run is another matter.
    #[must_use]
    pub fn makes_the_same_as(&self, other: &Self) -> bool {
        let Self {
            docker_image,
            exposed_ports,
            env_variables,
            command,
            entrypoint,
            volumes,
            networks,
            labels,
            restart_policy,
            resources,
            constraints,
            health_check,
            registry_auth,
            strategy: _,
            preferences: _,
            spread_over: _,
            anti_affinity: _,
            affinity: _,
            disruption_limit: _,
        } = self;
        *docker_image == other.docker_image
            && *exposed_ports == other.exposed_ports
            && *env_variables == other.env_variables
            && *command == other.command
            && *entrypoint == other.entrypoint
            && *volumes == other.volumes
            && *networks == other.networks
            && *labels == other.labels
            && *restart_policy == other.restart_policy
            && *resources == other.resources
            && *constraints == other.constraints
            && *health_check == other.health_check
            && *registry_auth == other.registry_auth
    }

    /// The ports of the node that it claims for itself.
    pub fn fixed_ports(&self) -> impl Iterator<Item = (Protocol, u16)> + '_ {
        self.exposed_ports.iter().filter_map(|port| port.host.map(|host| (port.protocol, host)))
    }

    /// Whether its data lives on one node.
    #[must_use]
    pub fn is_bound_to_node(&self) -> bool {
        self.volumes.iter().any(Volume::is_named)
    }
}
