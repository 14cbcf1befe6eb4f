//! The state of one container.

use chrono::{DateTime, Utc};
use imbl::OrdSet;
use kdaemon_events::container::MigrationReason;
use kdaemon_events::failure::{Failure, ProbeFailure};
use kdaemon_events::scheduling::Unschedulable;
use kdaemon_events::{ApplicationId, ContainerId, Environment, Generation, NodeId, PublishedPort, Seq, Spec};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What people want of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Desired {
    /// Not to run.
    #[default]
    Stopped,
    /// To run.
    Running,
    /// Not to be.
    Deleted,
}

impl Desired {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Deleted => "deleted",
        }
    }
}

/// Where a container stands on the way to what is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Never launched.
    #[default]
    Created,
    /// Waits for a node.
    Waiting,
    /// Has a node, whose engine is to start it.
    Placed,
    /// Runs.
    Up,
    /// Ended or is unhealthy, and is to be started again where it is.
    Restarting,
    /// Is to be stopped.
    Stopping,
    /// Does not run, as is wanted.
    Down,
    /// Could not be launched.
    Failed,
    /// Is to be removed from its nodes and deleted.
    Deleting,
}

/// What the API shows of a container's state: the words of kDaemon 0.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the words are those of the API, and explained there
pub enum Status {
    Created,
    Launching,
    Up,
    Stopping,
    Down,
    Failed,
    Lost,
}

impl Status {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Launching => "LAUNCHING",
            Self::Up => "UP",
            Self::Stopping => "STOPPING",
            Self::Down => "DOWN",
            Self::Failed => "FAILED",
            Self::Lost => "LOST",
        }
    }
}

/// One try at having the container on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Which one: higher ones replace lower ones.
    pub generation: Generation,
    /// Where.
    pub node_id: NodeId,
    /// What it was made from. In a snapshot all specifications stand together.
    #[serde(skip)]
    pub spec: Arc<Spec>,
    /// The engine's id of it, once it was started.
    pub engine_id: Option<Arc<str>>,
    /// Its published ports.
    pub ports: Vec<PublishedPort>,
    /// Where it answers.
    pub access_link: Option<Arc<str>>,
}

/// A placement that was replaced and is still to be removed from its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retired {
    /// The placement.
    pub placement: Placement,
    /// Whether it runs on until its successor is up.
    pub held: bool,
}

/// Why a container is in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// It cannot be placed for now.
    Unschedulable {
        /// Why it would move, when it has a placement that it has to leave.
        moving: Option<MigrationReason>,
        /// Why it cannot be placed.
        because: Unschedulable,
    },
    /// Its engine could not start it.
    LaunchFailed {
        /// Why.
        failure: Failure,
    },
    /// Its node is unhealthy.
    NodeUnhealthy {
        /// The node.
        node_id: NodeId,
        /// Why the node's last probe failed.
        failure: ProbeFailure,
    },
    /// It moves.
    Moving {
        /// From where.
        from_node_id: NodeId,
        /// To where.
        node_id: NodeId,
    },
    /// Its process ended.
    Exited {
        /// The exit code, when it is known.
        exit_code: Option<i64>,
        /// Whether the kernel's out-of-memory killer ended it.
        out_of_memory: bool,
        /// The number of the restart that follows; `None`: none follows.
        restart: Option<u32>,
    },
    /// Its health check failed.
    Unhealthy,
    /// It was removed from its node by another client of the engine.
    Missing,
    /// It was started on its node by another client of the engine, although it is to be stopped.
    StartedElsewhere,
}

/// A container record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its identity.
    pub id: ContainerId,
    /// Its name, unique among containers.
    pub name: String,
    /// Whom it belongs to.
    pub user_id: Option<String>,
    /// What it is made from.
    pub application_id: Option<ApplicationId>,
    /// Environment variables on top of its application's.
    pub env_variables: Environment,
    /// Whether the rebalancer may move it for the sake of balance.
    pub balance: bool,
    /// Whether its application's `replicas` made it.
    pub replica: bool,
    /// What people want of it.
    pub desired: Desired,
    /// Where it stands.
    pub phase: Phase,
    /// Whether its node is unhealthy.
    pub lost: bool,
    /// The highest generation given so far.
    pub generation: Generation,
    /// The wanted placement.
    pub placement: Option<Placement>,
    /// Replaced placements that are still to be removed.
    pub retired: Vec<Retired>,
    /// Why it is being moved, while it is.
    pub migrating: Option<MigrationReason>,
    /// Why it is in this state, where that is not plain from the state itself.
    #[serde(with = "crate::json_text")]
    pub reason: Option<Reason>,
    /// Failed launches since the last success.
    pub attempts: u32,
    /// Nodes that were at fault in those.
    pub avoid: OrdSet<NodeId>,
    /// Nothing is tried before then.
    pub not_before: Option<DateTime<Utc>>,
    /// Whether its process must be ended before it is started again (its health check failed).
    pub unhealthy: bool,
    /// How often it was started again since it was launched.
    pub restarts: u32,
    /// How often in a row it ended soon after its start; decides the pause before the next start.
    pub quick_exits: u32,
    /// Since when it runs.
    pub up_since: Option<DateTime<Utc>>,
    /// The node that holds its named volumes, once it has been there.
    pub bound_to: Option<NodeId>,
    /// The event that the next step answers.
    pub cause: Seq,
    /// Its last change.
    pub seq: Seq,
}

impl Container {
    /// What the API shows.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.lost && self.desired == Desired::Running && self.placement.is_some() {
            return Status::Lost;
        }
        match self.phase {
            Phase::Created => Status::Created,
            Phase::Waiting | Phase::Placed | Phase::Restarting if self.is_served_by_predecessor() => {
                Status::Up
            }
            Phase::Waiting | Phase::Placed | Phase::Restarting => Status::Launching,
            Phase::Up => Status::Up,
            Phase::Stopping | Phase::Deleting => Status::Stopping,
            Phase::Down => Status::Down,
            Phase::Failed => Status::Failed,
        }
    }

    /// Whether it has run so long that the next end of its process is not one more of a series (Docker's own
    /// measure: 10 seconds).
    #[must_use]
    pub fn is_stable(&self, now: DateTime<Utc>) -> bool {
        self.up_since.is_some_and(|since| (now - since).num_seconds() >= 10)
    }

    /// Whether an older placement still runs in place of the wanted one.
    #[must_use]
    pub fn is_served_by_predecessor(&self) -> bool {
        self.retired.iter().any(|retired| retired.held)
    }

    /// Whether a reactor has something to do about it.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.lost
            || !self.retired.is_empty()
            || matches!(
                self.phase,
                Phase::Waiting | Phase::Placed | Phase::Restarting | Phase::Stopping | Phase::Deleting
            )
    }

    /// The placement that counts as a container of its node: one that runs or is to run.
    #[must_use]
    pub fn residence(&self) -> Option<&Placement> {
        match self.phase {
            Phase::Placed | Phase::Up | Phase::Restarting | Phase::Stopping => self.placement.as_ref(),
            Phase::Created | Phase::Waiting | Phase::Down | Phase::Failed | Phase::Deleting => None,
        }
    }

    /// The placement that people can reach: while a predecessor serves, that is the one.
    #[must_use]
    pub fn serving(&self) -> Option<&Placement> {
        let predecessor = self.retired.iter().find(|retired| retired.held).map(|retired| &retired.placement);
        predecessor.or(self.placement.as_ref())
    }

    /// The placement with this generation, wanted or retired.
    #[must_use]
    pub fn placement_of(&self, generation: Generation) -> Option<&Placement> {
        self.placement
            .iter()
            .chain(self.retired.iter().map(|retired| &retired.placement))
            .find(|placement| placement.generation == generation)
    }
}
