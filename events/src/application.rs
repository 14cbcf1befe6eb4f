//! Events of the application library.

use crate::node::{nullable, unchanged};
use crate::{ApplicationId, Spec, UpdatePolicy};
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
