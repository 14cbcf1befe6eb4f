//! The scheduler's comparison: scores, rejections, and the evaluation that a placement records.

use crate::{ApplicationId, Constraint, ContainerId, NodeId, Protocol, Strategy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most verdicts on single nodes that an event holds; beyond that, rejections are counted.
pub const VERDICTS_LIMIT: usize = 8;

/// Why a filter refuses a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rejection {
    /// Not probed yet; what is known of the node without an answer of its engine does not rule it out.
    NotProbed,
    /// Unhealthy.
    Down,
    /// Cordoned.
    Cordoned,
    /// Draining.
    Draining,
    /// The node that the container is leaving.
    Leaving,
    /// Data of the container is on another node.
    VolumesElsewhere {
        /// That node; it may be unmounted.
        node_id: NodeId,
        /// The volume there, or the path on that node.
        volume: String,
    },
    /// The node's labels do not satisfy a constraint.
    Constraint {
        /// The constraint.
        constraint: Constraint,
    },
    /// The node holds as many containers as its capacity allows.
    Full {
        /// The capacity, in containers.
        capacity: u32,
    },
    /// Another container has a fixed port.
    PortTaken {
        /// The port on the node.
        port: u16,
        /// The protocol.
        protocol: Protocol,
        /// The container that has it.
        container_id: ContainerId,
    },
    /// Too little processor time is left to reserve.
    Cpus {
        /// Requested, in thousandths of a processor.
        wanted_millicpus: u64,
        /// Left, in thousandths of a processor.
        free_millicpus: u64,
    },
    /// The engine has fewer processors than the limit of the container, and refuses such a limit.
    CpuLimit {
        /// The limit, in thousandths of a processor.
        limit_millicpus: u64,
        /// The engine's, in thousandths of a processor.
        engine_millicpus: u64,
    },
    /// Too little memory is left to reserve.
    Memory {
        /// Requested.
        wanted_bytes: u64,
        /// Left.
        free_bytes: u64,
    },
    /// A container of the same application runs there, and the application allows one per node.
    AntiAffinity,
    /// No container of an application runs there that has to.
    Affinity {
        /// The application.
        application_id: ApplicationId,
    },
}

/// The kind of a [`Rejection`], for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // documented in Rejection
pub enum RejectionKind {
    NotProbed,
    Down,
    Cordoned,
    Draining,
    Leaving,
    VolumesElsewhere,
    Constraint,
    Full,
    PortTaken,
    Cpus,
    CpuLimit,
    Memory,
    AntiAffinity,
    Affinity,
}

impl Rejection {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::NotProbed => RejectionKind::NotProbed,
            Self::Down => RejectionKind::Down,
            Self::Cordoned => RejectionKind::Cordoned,
            Self::Draining => RejectionKind::Draining,
            Self::Leaving => RejectionKind::Leaving,
            Self::VolumesElsewhere { .. } => RejectionKind::VolumesElsewhere,
            Self::Constraint { .. } => RejectionKind::Constraint,
            Self::Full { .. } => RejectionKind::Full,
            Self::PortTaken { .. } => RejectionKind::PortTaken,
            Self::Cpus { .. } => RejectionKind::Cpus,
            Self::CpuLimit { .. } => RejectionKind::CpuLimit,
            Self::Memory { .. } => RejectionKind::Memory,
            Self::AntiAffinity => RejectionKind::AntiAffinity,
            Self::Affinity { .. } => RejectionKind::Affinity,
        }
    }
}

/// How many nodes were rejected, by kind.
pub type RejectionCounts = BTreeMap<RejectionKind, u32>;

/// Why a node comes after all nodes without such a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Penalty {
    /// The node keeps failing and coming back.
    Probation,
    /// A launch of the application failed there lately through the node's fault.
    LaunchFailed,
}

/// How many of an application's preferences a node satisfies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// Satisfied ones.
    pub satisfied: u32,
    /// All of them.
    pub of: u32,
}

/// A node's position in an application's spread over a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSpread {
    /// The node's value of the label; `None`: the node does not have the label.
    pub value: Option<String>,
    /// Containers of the application on the nodes with this value, without the one that is placed.
    pub containers: u32,
}

/// The score of a node that passed every filter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Score {
    /// Why the node comes last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<Penalty>,
    /// The application's preferences, if it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<Preferences>,
    /// The spread over a label, if the application has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<LabelSpread>,
    /// Containers on the node, without the one that is placed.
    pub containers: u32,
    /// The node's reserved share of processors or memory, whichever is larger, in millionths; without the container that is
    /// placed.
    pub reserved_ppm: u32,
}

/// The outcome of filters and score for one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The node passed every filter.
    Fits(Score),
    /// A filter refused it.
    Rejected(Rejection),
}

/// The verdict on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeVerdict {
    /// The node.
    pub node_id: NodeId,
    /// The outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The comparison that led to the choice of a node.
///
/// In a small cluster every other node has its verdict. In a large one the nodes are held in the order of the strategy and
/// the first that passes the filters is the best: then only the nodes that were examined before it have a verdict or a
/// count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// How nodes were compared.
    pub strategy: Strategy,
    /// Whether the node holds the container's volumes, so that no other could be chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_volumes: bool,
    /// The score of the chosen node.
    pub score: Score,
    /// Nodes that were healthy and open to placement at that moment.
    pub eligible: u32,
    /// Verdicts on other nodes, the best first: at most [`VERDICTS_LIMIT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<NodeVerdict>,
    /// Rejections of further nodes that were examined.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejections: RejectionCounts,
}

/// The rejection of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRejection {
    /// The node.
    pub node_id: NodeId,
    /// Why it cannot take the container.
    pub rejection: Rejection,
}

/// Why no node takes a container: every mounted node was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NoNodeFits {
    /// Mounted nodes.
    pub nodes: u32,
    /// Rejections of single nodes; in an event at most [`VERDICTS_LIMIT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<NodeRejection>,
    /// Rejections of the other nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejections: RejectionCounts,
}

impl NoNodeFits {
    /// Whether a node is yet to be probed for the first time and may fit then.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.rejected.iter().any(|node| node.rejection == Rejection::NotProbed)
            || self.rejections.contains_key(&RejectionKind::NotProbed)
    }

    /// As an event records it: the first [`VERDICTS_LIMIT`] rejections, the others counted.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        for other in self.rejected.drain(VERDICTS_LIMIT.min(self.rejected.len())..) {
            *self.rejections.entry(other.rejection.kind()).or_default() += 1;
        }
        self
    }
}

/// Why a container that is wanted cannot be placed for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Unschedulable {
    /// The application is disabled, or the container has none.
    ApplicationDisabled,
    /// No container of an application that it depends on is UP.
    Dependency {
        /// That application.
        application_id: ApplicationId,
    },
    /// No node fits.
    NoNodeFits(NoNodeFits),
}
