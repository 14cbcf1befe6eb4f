//! The state of one application.

use imbl::{OrdMap, OrdSet};
use kdaemon_events::{ApplicationId, ContainerId, NodeId, Seq, Spec, UpdatePolicy};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An application of the library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// Its identity.
    pub id: ApplicationId,
    /// Its name, unique among applications.
    pub name: String,
    /// Whom it belongs to.
    pub user_id: Option<String>,
    /// What its containers are made from. Shared with all placements made from it. In a snapshot
    /// all specifications stand together.
    #[serde(skip)]
    pub spec: Arc<Spec>,
    /// Whether it may launch containers.
    pub is_enabled: bool,
    /// Applications of which a container must be UP first.
    pub dependencies: Vec<ApplicationId>,
    /// How many containers the daemon keeps of it.
    pub replicas: Option<u32>,
    /// What a change does to its running containers.
    pub update_policy: UpdatePolicy,
    /// Its containers.
    pub containers: OrdSet<ContainerId>,
    /// How many of them are UP.
    pub up: u32,
    /// How many of them each node has.
    pub nodes: OrdMap<NodeId, u32>,
    /// Its last change.
    pub seq: Seq,
}
