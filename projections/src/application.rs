//! The state of one application.

use imbl::{OrdMap, OrdSet};
use kdaemon_events::application::UpdateSettings;
use kdaemon_events::{ApplicationId, ContainerId, NodeId, Seq, Spec, UpdatePolicy};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An application of the library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// The application's id.
    pub id: ApplicationId,
    /// The application's name, unique among applications.
    pub name: String,
    /// The owner, as given by the client.
    pub user_id: Option<String>,
    /// The specification of its containers, shared with all placements made from it. A snapshot stores all
    /// specifications in one place.
    #[serde(skip)]
    pub spec: Arc<Spec>,
    /// Whether it may launch containers.
    pub is_enabled: bool,
    /// Applications that must have a container UP first.
    pub dependencies: Vec<ApplicationId>,
    /// How many containers the daemon keeps; `None` when people create them one by one.
    pub replicas: Option<u32>,
    /// The effect of an edit on running containers.
    pub update_policy: UpdatePolicy,
    /// Containers made from it.
    pub containers: OrdSet<ContainerId>,
    /// How many of them serve or have completed.
    pub serving: u32,
    /// How many of its running containers were made from another specification than they would be now
    /// ([`Cluster::is_outdated`](crate::Cluster::is_outdated)).
    pub outdated: u32,
    /// How rollouts replace containers.
    pub update: UpdateSettings,
    /// The last rollout; `None` before the first one, and after an edit until the next one begins.
    pub rollout: Option<Rollout>,
    /// How often all containers were to be restarted.
    pub round: u32,
    /// The last specification of which a container served.
    #[serde(skip)]
    pub served: Option<Arc<Spec>>,
    /// The one before it.
    #[serde(skip)]
    pub served_before: Option<Arc<Spec>>,
    /// How many of them each node has.
    pub nodes: OrdMap<NodeId, u32>,
    /// The event of the last change.
    pub seq: Seq,
}

/// The state of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RolloutState {
    /// Containers are being replaced.
    Running,
    /// Too many of the new containers failed: no more are replaced before the next edit.
    Paused,
    /// All containers are new, and serve.
    Completed,
    /// The application got an earlier specification again.
    RolledBack,
}

impl RolloutState {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// The replacement of an application's containers by ones of its present specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// How far it is.
    pub state: RolloutState,
    /// The event that began it.
    pub since: Seq,
    /// Containers that it had to replace when it began.
    pub of: u32,
    /// Failures of new containers.
    pub failures: u32,
    /// The container whose failure paused it.
    pub failed: Option<ContainerId>,
}

impl Application {
    /// Whether a rollout runs.
    #[must_use]
    pub fn is_rolling(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.state == RolloutState::Running)
    }

    /// Whether a rollout is paused, because too many of its containers failed.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.state == RolloutState::Paused)
    }

    /// Whether a rollout may have something to do.
    #[must_use]
    pub fn may_roll(&self) -> bool {
        let begins = self.outdated > 0 && self.update_policy == UpdatePolicy::Rolling;
        self.is_rolling() || (begins && !self.is_paused())
    }

    /// The specification of a rollback: the last one that served and is not the present one.
    #[must_use]
    pub fn rollback(&self) -> Option<&Arc<Spec>> {
        [&self.served, &self.served_before].into_iter().flatten().find(|served| **served != self.spec)
    }

    /// Notes that containers of the present specification serve.
    pub(crate) fn note_served(&mut self, spec: &Arc<Spec>) {
        if self.served.as_ref() != Some(spec) {
            self.served_before = self.served.replace(Arc::clone(spec));
        }
    }
}
