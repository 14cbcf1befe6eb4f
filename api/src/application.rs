//! Applications of the library.

use kdaemon_events::{HealthCheck, Resources, Strategy, UpdatePolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// An application as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationRow {
    /// Id of the application.
    pub id: Uuid,
    /// Name, unique among applications.
    pub name: String,
    /// Owner, as the client named it.
    pub user_id: Option<String>,
    /// Ports to publish, comma separated: `2368,53/udp,8080:80`.
    pub exposed_ports: String,
    /// Image reference.
    pub docker_image: String,
    /// Names of the applications that need a container UP before a container of this one is launched.
    pub dependencies: Vec<String>,
    /// `true` if containers of the application may be launched.
    pub is_enabled: bool,
    /// Environment variables: `A=1,B=2`.
    pub env_variables: String,
    /// Arguments that override the image's.
    pub command: Vec<String>,
    /// Entry point that overrides the image's.
    pub entrypoint: Vec<String>,
    /// Mounts: `name:/path` or `/path/on/node:/path`, with an optional `:ro`.
    pub volumes: Vec<String>,
    /// Engine networks to join.
    pub networks: Vec<String>,
    /// Labels of the containers.
    pub labels: BTreeMap<String, String>,
    /// `no`, `always`, `on-failure` or `on-failure:N`.
    pub restart_policy: String,
    /// Limits: `cpus` and `memory_bytes`.
    #[schema(value_type = Object)]
    pub resources: Resources,
    /// Conditions that the labels of a node must satisfy.
    pub constraints: Vec<String>,
    /// Health check that the engine runs in each container.
    #[schema(value_type = Option<Object>)]
    pub health_check: Option<HealthCheck>,
    /// Number of containers that the daemon maintains; null if containers are created individually.
    pub replicas: Option<u32>,
    /// Effect of a change of the application on running containers.
    #[schema(schema_with = update_policy)]
    pub update_policy: UpdatePolicy,
    /// Name of the registry credentials used for pulls.
    pub registry_auth: Option<String>,
    /// Placement strategy; null for the daemon's setting.
    #[schema(schema_with = strategy, example = "spread")]
    pub strategy: Option<Strategy>,
    /// Conditions on the labels of a node; nodes that satisfy more of them are preferred.
    pub preferences: Vec<String>,
    /// Node label over whose values the containers are spread.
    pub spread_over: Option<String>,
    /// `true` if a node runs at most one container of the application.
    pub anti_affinity: bool,
    /// Names of the applications that a node must already run.
    pub affinity: Vec<String>,
    /// Maximum number of containers that may be moving or down at once; null for a quarter of them.
    pub disruption_limit: Option<u32>,
    /// Seq of the last change.
    pub seq: u64,
}

fn update_policy() -> utoipa::openapi::Object {
    crate::schema::one_of(&[UpdatePolicy::Manual, UpdatePolicy::Rolling])
}

fn strategy() -> utoipa::openapi::Object {
    crate::schema::one_of_or_null(&Strategy::ALL)
}
