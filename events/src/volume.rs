//! Volumes: the mounts of a specification, what becomes of their data, and the events about them.

use crate::spec_error::SpecError;
use crate::{ContainerId, NodeId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A mount: `name:/path` or `/path/on/node:/path`, either with the suffix `:ro`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volume {
    /// A volume's name, or an absolute path on the node.
    pub source: String,
    /// An absolute path in the container.
    pub target: String,
    /// `true` if the container may only read it.
    pub read_only: bool,
}

impl Volume {
    /// `true` if this is a named volume. Its data lives on one node, so it binds its container to that node.
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
                "`{text}` is not a volume ({why}); write name:/path or /path/on/node:/path, with :ro at the end to forbid writing"
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

impl Serialize for Volume {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Volume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `true` if a path is this folder, or below it.
pub(crate) fn is_below(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `true` for a path that every machine has as its own: mounting it says something about the machine and is no data of
/// the application. Agents for metrics and logs, and containers that use the engine, mount such paths.
pub(crate) fn is_of_every_machine(path: &str) -> bool {
    const FOLDERS: &[&str] =
        &["/proc", "/sys", "/dev", "/run", "/var/run", "/usr", "/lib/modules", "/var/log", "/var/lib/docker"];
    const FILES: &[&str] = &[
        "/",
        "/etc/localtime",
        "/etc/timezone",
        "/etc/os-release",
        "/etc/hostname",
        "/etc/machine-id",
        "/etc/passwd",
        "/etc/group",
    ];
    FILES.contains(&path) || FOLDERS.iter().any(|folder| is_below(path, folder))
}

/// The fate of a container's data when its node fails or is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataPolicy {
    /// The container waits for the node that holds its data.
    #[default]
    Keep,
    /// The container moves and begins without its data, which stays where it is.
    Discard,
}

impl DataPolicy {
    /// `true` for the default.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

/// Volumes were deleted from a node, because a person asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesRemoved {
    /// The node.
    pub node_id: NodeId,
    /// The container with which they were deleted, if they were its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<ContainerId>,
    /// The engine's names of the volumes.
    pub volumes: Vec<String>,
}
