//! The state of one container.

use chrono::{DateTime, Utc};
use imbl::OrdSet;
use kdaemon_events::container::{AnonymousVolume, MigrationReason};
use kdaemon_events::failure::{Failure, ProbeFailure};
use kdaemon_events::scheduling::Unschedulable;
use kdaemon_events::{ApplicationId, ContainerId, Environment, Generation, NodeId, PublishedPort, Seq, Spec};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The desired state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Desired {
    /// Stopped.
    #[default]
    Stopped,
    /// Running.
    Running,
    /// Deleted.
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

/// The launch attempts of a container that does not run yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attempts {
    /// Failed launches since the last success.
    pub failed: u32,
    /// Nodes that were at fault in these failures.
    pub avoid: OrdSet<NodeId>,
    /// Nothing is attempted before this time.
    pub not_before: Option<DateTime<Utc>>,
    /// The time of the last failure.
    pub failed_at: Option<DateTime<Utc>>,
}

/// The progress of a container towards its desired state, with what belongs to each phase.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Never launched.
    #[default]
    Created,
    /// Waits for a node.
    Waiting(Attempts),
    /// Has a node, whose engine has to start it.
    Placed(Attempts),
    /// Runs.
    Up {
        /// Since when; `None` once its node is unhealthy.
        since: Option<DateTime<Utc>>,
    },
    /// Exited or unhealthy; will be started again in place.
    Restarting {
        /// When, and how often that failed.
        attempts: Attempts,
        /// Whether the process must be stopped before it is started, because its health check failed.
        unhealthy: bool,
    },
    /// Being stopped.
    Stopping,
    /// Stopped as desired.
    Down,
    /// Completed: the process has done its work.
    Completed,
    /// Could not be launched; is tried again.
    Failed(Attempts),
    /// Being removed from its nodes, then deleted.
    Deleting,
}

/// A [`Phase`] without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the variants of Phase
pub enum PhaseKind {
    Created,
    Waiting,
    Placed,
    Up,
    Restarting,
    Stopping,
    Down,
    Completed,
    Failed,
    Deleting,
}

impl PhaseKind {
    /// Whether the process has ended and is not to be started again: it was stopped, or has done its work.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Down | Self::Completed)
    }
}

impl Phase {
    /// The phase without its data.
    #[must_use]
    pub fn kind(&self) -> PhaseKind {
        match self {
            Self::Created => PhaseKind::Created,
            Self::Waiting(_) => PhaseKind::Waiting,
            Self::Placed(_) => PhaseKind::Placed,
            Self::Up { .. } => PhaseKind::Up,
            Self::Restarting { .. } => PhaseKind::Restarting,
            Self::Stopping => PhaseKind::Stopping,
            Self::Down => PhaseKind::Down,
            Self::Completed => PhaseKind::Completed,
            Self::Failed(_) => PhaseKind::Failed,
            Self::Deleting => PhaseKind::Deleting,
        }
    }

    /// The launch attempts; `None` for a container that is not being launched.
    #[must_use]
    pub fn attempts(&self) -> Option<&Attempts> {
        match self {
            Self::Waiting(attempts)
            | Self::Placed(attempts)
            | Self::Failed(attempts)
            | Self::Restarting { attempts, .. } => Some(attempts),
            _ => None,
        }
    }

    pub(crate) fn attempts_mut(&mut self) -> Option<&mut Attempts> {
        match self {
            Self::Waiting(attempts)
            | Self::Placed(attempts)
            | Self::Failed(attempts)
            | Self::Restarting { attempts, .. } => Some(attempts),
            _ => None,
        }
    }

    /// Takes the launch attempts out, for the next phase.
    pub(crate) fn take_attempts(&mut self) -> Attempts {
        match std::mem::take(self) {
            Self::Waiting(attempts)
            | Self::Placed(attempts)
            | Self::Failed(attempts)
            | Self::Restarting { attempts, .. } => attempts,
            _ => Attempts::default(),
        }
    }
}

/// The status that the API shows, in the words of kDaemon 0.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the API explains them
pub enum Status {
    Created,
    Launching,
    Up,
    Stopping,
    Down,
    Completed,
    Failed,
    Lost,
    Paused,
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
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Paused => "PAUSED",
            Self::Lost => "LOST",
        }
    }
}

/// The result of the engine's health check of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ContainerHealth {
    /// The container has no health check.
    #[default]
    None,
    /// The container was started, and no check has succeeded or failed for good.
    Starting,
    /// The check succeeds.
    Healthy,
    /// The check fails.
    Unhealthy,
}

impl ContainerHealth {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One attempt to run the container on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// The generation: a higher one replaces lower ones.
    pub generation: Generation,
    /// The node.
    pub node_id: NodeId,
    /// The specification that it was made from. A snapshot stores all specifications in one place.
    #[serde(skip)]
    pub spec: Arc<Spec>,
    /// The engine's own id, once it was started.
    pub engine_id: Option<Arc<str>>,
    /// Published ports.
    pub ports: Vec<PublishedPort>,
    /// The URL at which it answers.
    pub access_link: Option<Arc<str>>,
    /// The result of the health check.
    pub health: ContainerHealth,
    /// Since when it serves; `None`: it does not.
    pub ready_at: Option<DateTime<Utc>>,
    /// Whether its process is paused.
    pub paused: bool,
    /// The application's number of restarts when it was made.
    pub round: u32,
}

impl Placement {
    /// Whether the present run of its process serves, as far as its engine says.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready_at.is_some() && !self.paused
    }
}

/// A replaced placement that still has to be removed from its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retired {
    /// The placement.
    pub placement: Placement,
    /// Whether it keeps running until its successor is up.
    pub held: bool,
}

/// The node that holds the data of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// The node.
    pub node_id: NodeId,
    /// The container's anonymous volumes there.
    pub volumes: Vec<AnonymousVolume>,
}

/// Why a container is in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// No node can take the container at present.
    Unschedulable {
        /// Why the container would move, if it has a placement that it has to leave.
        moving: Option<MigrationReason>,
        /// Why it cannot be placed.
        because: Unschedulable,
    },
    /// The engine could not start the container.
    LaunchFailed {
        /// The failure.
        failure: Failure,
    },
    /// The node is unhealthy.
    NodeUnhealthy {
        /// The node.
        node_id: NodeId,
        /// Why the node's last probe failed.
        failure: ProbeFailure,
    },
    /// The container is being moved.
    Moving {
        /// The node that it leaves.
        from_node_id: NodeId,
        /// The node that it moves to.
        node_id: NodeId,
    },
    /// The process exited.
    Exited {
        /// The exit code, if known.
        exit_code: Option<i64>,
        /// Whether the kernel's out-of-memory killer ended it.
        out_of_memory: bool,
        /// The number of the restart that follows; `None`: none follows.
        restart: Option<u32>,
    },
    /// The health check failed.
    Unhealthy,
    /// Another client of the engine removed it from its node.
    Missing,
    /// Another client of the engine started it, although it should be stopped.
    StartedElsewhere,
}

/// A container record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// The event's id.
    pub id: ContainerId,
    /// The container's name, unique among containers.
    pub name: String,
    /// The owner, as given by the client.
    pub user_id: Option<String>,
    /// The application that it is made from.
    pub application_id: Option<ApplicationId>,
    /// Environment variables on top of its application's.
    pub env_variables: Environment,
    /// Whether the rebalancer may move it for the sake of balance.
    pub balance: bool,
    /// Whether the application's `replicas` created it.
    pub replica: bool,
    /// The desired state.
    pub desired: Desired,
    /// The progress towards the desired state.
    pub phase: Phase,
    /// Whether the node is unhealthy.
    pub lost: bool,
    /// The highest generation assigned so far.
    pub generation: Generation,
    /// The wanted placement.
    pub placement: Option<Placement>,
    /// Replaced placements that are still to be removed.
    pub retired: Vec<Retired>,
    /// Why the container is being moved; `None` if it is not.
    pub migrating: Option<MigrationReason>,
    /// Why the container is in this state, where the state itself does not say it.
    #[serde(with = "crate::json_text")]
    pub reason: Option<Reason>,
    /// Restarts since the launch.
    pub restarts: u32,
    /// Consecutive exits soon after a start; determines the restart backoff.
    pub quick_exits: u32,
    /// Where its data is, once it has some.
    pub home: Option<Home>,
    /// Whether its anonymous volumes are deleted with it.
    pub delete_volumes: bool,
    /// The event that the next step will name as its cause.
    pub cause: Seq,
    /// The event of the last change.
    pub seq: Seq,
}

impl Container {
    /// The status that the API shows.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.lost && self.desired == Desired::Running && self.placement.is_some() {
            return Status::Lost;
        }
        match self.phase.kind() {
            PhaseKind::Created => Status::Created,
            PhaseKind::Waiting | PhaseKind::Placed | PhaseKind::Restarting
                if self.is_served_by_predecessor() =>
            {
                Status::Up
            }
            PhaseKind::Waiting | PhaseKind::Placed | PhaseKind::Restarting => Status::Launching,
            PhaseKind::Up if self.placement.as_ref().is_some_and(|p| p.paused) => Status::Paused,
            PhaseKind::Up => Status::Up,
            PhaseKind::Completed => Status::Completed,
            PhaseKind::Stopping | PhaseKind::Deleting => Status::Stopping,
            PhaseKind::Down => Status::Down,
            PhaseKind::Failed => Status::Failed,
        }
    }

    /// Nothing is attempted before this time.
    #[must_use]
    pub fn not_before(&self) -> Option<DateTime<Utc>> {
        self.phase.attempts().and_then(|attempts| attempts.not_before)
    }

    /// Failed launches since the last success.
    #[must_use]
    pub fn failed_attempts(&self) -> u32 {
        self.phase.attempts().map_or(0, |attempts| attempts.failed)
    }

    /// Whether its process must be stopped before it is started again, because its health check failed.
    #[must_use]
    pub fn is_unhealthy(&self) -> bool {
        matches!(self.phase, Phase::Restarting { unhealthy: true, .. })
    }

    /// The time since which it runs.
    #[must_use]
    pub fn up_since(&self) -> Option<DateTime<Utc>> {
        match self.phase {
            Phase::Up { since } => since,
            _ => None,
        }
    }

    /// Whether it has run long enough for the next failure to start a new series: for 10 seconds, as in Docker, and with a
    /// health check has served for as long.
    #[must_use]
    pub fn is_stable(&self, now: DateTime<Utc>) -> bool {
        let since = match self.placement.as_ref() {
            Some(placement) if placement.health != ContainerHealth::None => placement.ready_at,
            _ => self.up_since(),
        };
        self.up_since().is_some() && since.is_some_and(|since| (now - since).num_seconds() >= 10)
    }

    /// Whether it serves: the wanted placement does, or a predecessor in its place.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.is_served_by_predecessor()
            || (self.runs() && self.placement.as_ref().is_some_and(Placement::is_ready))
    }

    /// Whether its wanted placement runs, as far as is known.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.phase.kind() == PhaseKind::Up && !self.lost && self.desired == Desired::Running
    }

    /// Whether nothing but time is missing until it serves: it runs, without a health check.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        let is_new = |p: &Placement| p.ready_at.is_none() && p.health == ContainerHealth::None && !p.paused;
        self.runs() && self.placement.as_ref().is_some_and(is_new)
    }

    /// Whether an older placement still runs in place of the wanted one.
    #[must_use]
    pub fn is_served_by_predecessor(&self) -> bool {
        self.retired.iter().any(|retired| retired.held)
    }

    /// Whether a reactor has work to do for it.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.lost
            || self.is_settling()
            || !self.retired.is_empty()
            || matches!(
                self.phase.kind(),
                PhaseKind::Waiting
                    | PhaseKind::Placed
                    | PhaseKind::Restarting
                    | PhaseKind::Failed
                    | PhaseKind::Stopping
                    | PhaseKind::Deleting
            )
    }

    /// The placement that counts as a container of its node: one that runs or is wanted to run.
    #[must_use]
    pub fn residence(&self) -> Option<&Placement> {
        use PhaseKind::{
            Completed, Created, Deleting, Down, Failed, Placed, Restarting, Stopping, Up, Waiting,
        };
        match self.phase.kind() {
            Placed | Up | Restarting | Stopping => self.placement.as_ref(),
            Created | Waiting | Down | Completed | Failed | Deleting => None,
        }
    }

    /// The placement that clients can reach: while a predecessor serves, the predecessor.
    #[must_use]
    pub fn serving(&self) -> Option<&Placement> {
        let predecessor = self.retired.iter().find(|retired| retired.held).map(|retired| &retired.placement);
        predecessor.or(self.placement.as_ref())
    }

    /// The anonymous volumes that are deleted with it, and their node.
    #[must_use]
    pub fn volumes_to_delete(&self) -> Option<&Home> {
        self.home.as_ref().filter(|home| self.delete_volumes && !home.volumes.is_empty())
    }

    /// Whether it has data that lives on one node.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.home.is_some()
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
