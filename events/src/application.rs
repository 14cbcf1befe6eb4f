//! Events of the application library.

use crate::node::{nullable, unchanged};
use crate::{ApplicationId, ContainerId, Seq, Spec, UpdatePolicy};
use serde::{Deserialize, Serialize};

/// An application was added to the library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationCreated {
    /// The new application.
    pub application_id: ApplicationId,
    /// The application's name, unique among applications.
    pub name: String,
    /// The owner, as given by the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The specification of its containers.
    pub spec: Box<Spec>,
    /// Whether it may launch containers.
    pub is_enabled: bool,
    /// Applications that must have a container UP before one of this application is launched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<ApplicationId>,
    /// How many containers the daemon keeps; `None` when people create them one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The effect of an edit on running containers.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// How a rollout replaces containers.
    #[serde(default, skip_serializing_if = "UpdateSettings::is_default")]
    pub update: UpdateSettings,
}

/// An application was edited. Only changed fields are present; `spec` is complete if any part of it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationUpdated {
    /// The application.
    pub application_id: ApplicationId,
    /// The new name.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub name: Option<String>,
    /// The new owner.
    #[serde(default, skip_serializing_if = "unchanged", deserialize_with = "nullable")]
    pub user_id: Option<Option<String>>,
    /// The new specification.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub spec: Option<Box<Spec>>,
    /// Whether it may launch containers from now on.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub is_enabled: Option<bool>,
    /// The complete new list of dependencies.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub dependencies: Option<Vec<ApplicationId>>,
    /// The new update policy.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub update_policy: Option<UpdatePolicy>,
    /// The complete new settings of rollouts.
    #[serde(default, skip_serializing_if = "unchanged")]
    pub update: Option<UpdateSettings>,
}

/// An application was removed from the library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationDeleted {
    /// The application.
    pub application_id: ApplicationId,
}

/// The wanted number of an application's containers was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationScaled {
    /// The application.
    pub application_id: ApplicationId,
    /// The number of replicas; `None` returns its containers to manual control.
    pub replicas: Option<u32>,
}

/// All containers of the application are replaced, although nothing in it has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationRestarted {
    /// The application.
    pub application_id: ApplicationId,
}

/// A rollout began: containers are replaced by ones of the application's present specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStarted {
    /// The application.
    pub application_id: ApplicationId,
    /// Containers to replace.
    pub outdated: u32,
}

/// A rollout replaces no more containers: too many of the new ones failed. The next edit begins another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPaused {
    /// The application.
    pub application_id: ApplicationId,
    /// The container whose failure was the last.
    pub container_id: ContainerId,
    /// Failures of new containers.
    pub failures: u32,
}

/// All containers of the application are of its present specification, and serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutCompleted {
    /// The application.
    pub application_id: ApplicationId,
}

/// The application has an earlier specification again. The event that follows has the specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRolledBack {
    /// The application.
    pub application_id: ApplicationId,
    /// The event as of which the application had it, if a person named one; `None`: the last one that served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Seq>,
}

/// Which of the two containers runs while one replaces the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// The new one is started, and the old one stops when the new one serves; unless ports or data forbid it.
    #[default]
    StartFirst,
    /// The old one stops before the new one is started.
    StopFirst,
}

/// The reaction of a rollout to too many failures of its new containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The rollout pauses; the old containers keep serving.
    #[default]
    Pause,
    /// The application gets the last specification that served.
    Rollback,
    /// The rollout continues.
    Continue,
}

/// How a rollout replaces containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateSettings {
    /// Which of two containers runs during a replacement.
    pub order: UpdateOrder,
    /// Containers that are replaced at a time, at least 1.
    pub parallelism: u32,
    /// How long a container without a health check must be up until it serves, in milliseconds.
    pub min_ready_ms: u64,
    /// Failures of new containers that stop the rollout, at least 1.
    pub max_failures: u32,
    /// The reaction to that number of failures.
    pub on_failure: OnFailure,
}

impl Default for UpdateSettings {
    fn default() -> Self {
        Self {
            order: UpdateOrder::default(),
            parallelism: 1,
            min_ready_ms: 5_000,
            max_failures: 2,
            on_failure: OnFailure::default(),
        }
    }
}

impl UpdateSettings {
    /// `true` for the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
