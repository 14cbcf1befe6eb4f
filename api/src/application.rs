//! Applications of the library.

use crate::environment::{environment_of, environment_text};
use kdaemon_events::application::{OnFailure, UpdateOrder, UpdateSettings};
use kdaemon_events::{ApplicationId, DataPolicy, HealthCheck, Resources, Spec, Strategy, UpdatePolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
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
    /// Limits `cpus` and `memory_bytes`, and reservations `reserved_cpus` and `reserved_memory_bytes`. The scheduler
    /// reserves a limit that has no reservation.
    #[schema(value_type = Object)]
    pub resources: Resources,
    /// Conditions that the labels of a node must satisfy.
    pub constraints: Vec<String>,
    /// Health check that the engine runs in each container: `command` in Docker's form (`["CMD-SHELL", LINE]` or
    /// `["CMD", PROGRAM, ARGUMENT…]`) or `disable`, `interval_ms`, `timeout_ms`, `retries`, `start_period_ms` and
    /// `start_interval_ms`. An absent part is the image's, or else Docker's default; null for the image's own check.
    #[schema(value_type = Option<Object>)]
    pub health_check: Option<HealthCheck>,
    /// Number of containers that the daemon maintains; null if containers are created individually.
    pub replicas: Option<u32>,
    /// Effect of a change of the application on running containers.
    #[schema(schema_with = update_policy)]
    pub update_policy: UpdatePolicy,
    /// How a rollout replaces containers.
    pub update: UpdateRow,
    /// The last rollout.
    pub rollout: Option<RolloutRow>,
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
    /// Paths that are the same on every node; volumes from below them bind no container to a node.
    pub shared_paths: Vec<String>,
    /// Fate of a container's data when its node fails or is drained: `keep` (the container waits for the node)
    /// or `discard` (it moves, and begins without the data).
    #[schema(schema_with = data_policy)]
    pub data: DataPolicy,
    /// Seq of the last change.
    pub seq: u64,
}

/// How a rollout replaces containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateRow {
    /// `start-first`: the old container stops when the new one serves, unless ports or data forbid it. `stop-first`: the
    /// old container stops first.
    #[schema(schema_with = update_order)]
    pub order: UpdateOrder,
    /// Number of containers that are replaced at a time.
    pub parallelism: u32,
    /// How long a container without a health check must be UP until it serves, such as `5s`.
    pub min_ready: String,
    /// Number of failures of new containers that stop the rollout.
    pub max_failures: u32,
    /// `pause`: no more containers are replaced. `rollback`: the application gets the last specification that served.
    /// `continue`: the rollout continues.
    #[schema(schema_with = on_failure)]
    pub on_failure: OnFailure,
}

impl From<UpdateSettings> for UpdateRow {
    fn from(settings: UpdateSettings) -> Self {
        let ms = settings.min_ready_ms;
        Self {
            order: settings.order,
            parallelism: settings.parallelism,
            min_ready: if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") },
            max_failures: settings.max_failures,
            on_failure: settings.on_failure,
        }
    }
}

/// The replacement of an application's containers by ones of its present specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutRow {
    /// State of the rollout.
    pub state: RolloutStatus,
    /// Number of containers that it has replaced.
    pub updated: u32,
    /// Number of containers that it had to replace when it began.
    pub of: u32,
    /// Why the rollout is paused.
    pub reason: Option<String>,
    /// Seq of the event that began it.
    pub since_seq: u64,
}

/// The state of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutStatus {
    /// Containers are being replaced.
    Running,
    /// Too many new containers failed.
    Paused,
    /// All containers are new, and serve.
    Completed,
    /// The application has an earlier specification again.
    RolledBack,
}

fn update_order() -> utoipa::openapi::Object {
    crate::schema::one_of(&[UpdateOrder::StartFirst, UpdateOrder::StopFirst])
}

fn on_failure() -> utoipa::openapi::Object {
    crate::schema::one_of(&[OnFailure::Pause, OnFailure::Rollback, OnFailure::Continue])
}

fn update_policy() -> utoipa::openapi::Object {
    crate::schema::one_of(&[UpdatePolicy::Manual, UpdatePolicy::Rolling])
}

fn data_policy() -> utoipa::openapi::Object {
    crate::schema::one_of(&[DataPolicy::Keep, DataPolicy::Discard])
}

fn strategy() -> utoipa::openapi::Object {
    crate::schema::one_of_or_null(&Strategy::ALL)
}

impl ApplicationRow {
    /// A row that shows a specification. What is not part of it is empty, and so is `affinity`: a row has the names of
    /// applications, a specification their ids.
    #[must_use]
    pub fn of_spec(spec: &Spec) -> Self {
        Self {
            id: Uuid::nil(),
            name: String::new(),
            user_id: None,
            exposed_ports: texts(&spec.exposed_ports).join(","),
            docker_image: spec.docker_image.clone(),
            dependencies: Vec::new(),
            is_enabled: false,
            env_variables: environment_text(&spec.env_variables),
            command: spec.command.clone(),
            entrypoint: spec.entrypoint.clone(),
            volumes: texts(&spec.volumes),
            networks: spec.networks.clone(),
            labels: spec.labels.clone(),
            restart_policy: spec.restart_policy.to_string(),
            resources: spec.resources,
            constraints: texts(&spec.constraints),
            health_check: Some(spec.health_check.clone()).filter(|check| !check.is_default()),
            replicas: None,
            update_policy: UpdatePolicy::default(),
            update: UpdateRow::from(UpdateSettings::default()),
            rollout: None,
            registry_auth: spec.registry_auth.clone(),
            strategy: spec.strategy,
            preferences: texts(&spec.preferences),
            spread_over: spec.spread_over.clone(),
            anti_affinity: spec.anti_affinity,
            affinity: Vec::new(),
            disruption_limit: spec.disruption_limit,
            shared_paths: spec.shared_paths.clone(),
            data: spec.data,
            seq: 0,
        }
    }

    /// The specification that the row shows, with the given affinity.
    ///
    /// # Errors
    /// When a text is not of its form; the message says which.
    pub fn spec(&self, affinity: Vec<ApplicationId>) -> Result<Spec, String> {
        let ports = self.exposed_ports.split(',').filter(|port| !port.is_empty());
        Ok(Spec {
            docker_image: self.docker_image.clone(),
            exposed_ports: ports.map(parsed).collect::<Result<_, _>>()?,
            env_variables: environment_of(&self.env_variables),
            command: self.command.clone(),
            entrypoint: self.entrypoint.clone(),
            volumes: all_parsed(&self.volumes)?,
            networks: self.networks.clone(),
            labels: self.labels.clone(),
            restart_policy: parsed(&self.restart_policy)?,
            resources: self.resources,
            constraints: all_parsed(&self.constraints)?,
            health_check: self.health_check.clone().unwrap_or_default(),
            registry_auth: self.registry_auth.clone(),
            strategy: self.strategy,
            preferences: all_parsed(&self.preferences)?,
            spread_over: self.spread_over.clone(),
            anti_affinity: self.anti_affinity,
            affinity,
            disruption_limit: self.disruption_limit,
            shared_paths: self.shared_paths.clone(),
            data: self.data,
        })
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn all_parsed<T: FromStr<Err: Display>>(texts: &[String]) -> Result<Vec<T>, String> {
    texts.iter().map(|text| parsed(text)).collect()
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn row_shows_every_field_of_its_specification() {
        let spec: Spec = serde_json::from_value(json!({"docker_image": "a", "exposed_ports": ["80", "8080:81/udp"],
            "env_variables": {"A": "1,2", "B": "3"}, "command": ["x"], "entrypoint": ["y"],
            "volumes": ["data:/data:ro"], "networks": ["n"], "labels": {"l": "v"}, "restart_policy": "on-failure:3",
            "resources": {"cpus": 0.5, "memory_bytes": 1024, "reserved_cpus": 0.1, "reserved_memory_bytes": 512},
            "constraints": ["zone==a"], "registry_auth": "r",
            "health_check": {"command": ["CMD", "true"], "interval_ms": 1000, "timeout_ms": 500, "retries": 2,
                "start_period_ms": 1, "start_interval_ms": 1},
            "strategy": "binpack", "preferences": ["!gpu"], "spread_over": "rack", "anti_affinity": true,
            "disruption_limit": 2, "shared_paths": ["/mnt/nfs"], "data": "discard"}))
        .unwrap();
        let row = ApplicationRow::of_spec(&spec);
        assert_eq!(row.spec(Vec::new()).unwrap(), spec);
        // Also when it travelled.
        let row: ApplicationRow = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
        assert_eq!(row.spec(Vec::new()).unwrap(), spec);
    }

    #[test]
    fn text_of_another_form_is_refused_with_the_reason() {
        let row = ApplicationRow {
            restart_policy: "sometimes".to_owned(),
            ..ApplicationRow::of_spec(&Spec::default())
        };
        let error = row.spec(Vec::new()).unwrap_err();
        assert!(error.contains("sometimes"), "{error}");
    }
}
