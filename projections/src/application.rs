//! The state of one application.

use imbl::{OrdMap, OrdSet};
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
    /// How many of them are UP.
    pub up: u32,
    /// How many of its running containers were made from another specification than they would be now
    /// ([`Cluster::is_outdated`](crate::Cluster::is_outdated)).
    pub outdated: u32,
    /// How many of them each node has.
    pub nodes: OrdMap<NodeId, u32>,
    /// The event of the last change.
    pub seq: Seq,
}
