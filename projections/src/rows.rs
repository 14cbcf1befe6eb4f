//! The rows: what the API answers of a node, an application or a container, and what its table holds.
//! The names of the fields are those of kDaemon 0.0, with new ones beside them.

use crate::{Application, Cluster, Container, Node};
use kdaemon_events::node::Availability;
use kdaemon_events::{ApplicationId, Endpoint, Environment, HealthCheck, Resources, Strategy, UpdatePolicy};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use utoipa::ToSchema;
use uuid::Uuid;

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Node)]
pub struct NodeRow {
    /// Its identity.
    pub id: Uuid,
    /// Its name, unique among nodes.
    pub name: String,
    /// Whom it belongs to.
    pub user_id: Option<String>,
    /// The host of a TCP endpoint.
    pub d_ipaddr: Option<String>,
    /// The port of a TCP endpoint.
    pub d_port: Option<u16>,
    /// Where its engine answers.
    pub endpoint: String,
    /// How many containers run there or are to.
    pub container_count: u32,
    /// `UP`, `DOWN`, or `UNKNOWN` until the first probe.
    #[schema(example = "UP")]
    pub state: &'static str,
    /// Why it is DOWN.
    pub reason: Option<String>,
    /// Labels for constraints.
    pub labels: BTreeMap<String, String>,
    /// How many containers it takes at most.
    pub capacity: Option<u32>,
    /// Whether the scheduler may use it: `active`, `cordoned` or `draining`.
    #[schema(value_type = String, example = "active")]
    pub availability: Availability,
    /// What its engine told about itself.
    pub engine: Option<EngineRow>,
    /// Its last change.
    pub seq: u64,
}

/// An engine and its machine.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = EngineFacts)]
pub struct EngineRow {
    /// `docker` or `podman`.
    pub kind: String,
    /// Its version.
    pub version: String,
    /// The version of its API.
    pub api_version: String,
    /// Processors.
    #[schema(value_type = f64)]
    pub cpus: kdaemon_events::MilliCpus,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Operating system and architecture.
    pub platform: String,
}

/// An application of the library.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Application)]
pub struct ApplicationRow {
    /// Its identity.
    pub id: Uuid,
    /// Its name, unique among applications.
    pub name: String,
    /// Whom it belongs to.
    pub user_id: Option<String>,
    /// Ports to publish, comma separated: `2368,53/udp,8080:80`.
    pub exposed_ports: String,
    /// The image.
    pub docker_image: String,
    /// Names of the applications of which a container must be UP first.
    pub dependencies: Vec<String>,
    /// Whether it may launch containers.
    pub is_enabled: bool,
    /// Environment variables: `A=1,B=2`.
    pub env_variables: String,
    /// Arguments in place of the image's own.
    pub command: Vec<String>,
    /// Entry point in place of the image's own.
    pub entrypoint: Vec<String>,
    /// Mounts.
    pub volumes: Vec<String>,
    /// Networks of the engine to join.
    pub networks: Vec<String>,
    /// Labels of its containers.
    pub labels: BTreeMap<String, String>,
    /// `no`, `always`, `on-failure` or `on-failure:N`.
    pub restart_policy: String,
    /// Limits: `cpus` and `memory_bytes`.
    #[schema(value_type = Object)]
    pub resources: Resources,
    /// Conditions on the labels of nodes.
    pub constraints: Vec<String>,
    /// How its engine finds out whether a container works.
    #[schema(value_type = Option<Object>)]
    pub health_check: Option<HealthCheck>,
    /// How many containers the daemon keeps of it.
    pub replicas: Option<u32>,
    /// What a change does to running containers: `manual` or `rolling`.
    #[schema(value_type = String)]
    pub update_policy: UpdatePolicy,
    /// The name of the registry credentials to pull with.
    pub registry_auth: Option<String>,
    /// How its nodes are chosen among those that fit; null: as the daemon is set.
    #[schema(value_type = Option<String>, example = "spread")]
    pub strategy: Option<Strategy>,
    /// Conditions on the labels of nodes that it would like.
    pub preferences: Vec<String>,
    /// The label of nodes over whose values its containers are spread.
    pub spread_over: Option<String>,
    /// Whether no node takes two of its containers.
    pub anti_affinity: bool,
    /// Names of the applications of each of which its nodes have to have a container.
    pub affinity: Vec<String>,
    /// How many of its containers may be moved or be down at one time; null: a quarter of them.
    pub disruption_limit: Option<u32>,
    /// Its last change.
    pub seq: u64,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Container)]
pub struct ContainerRow {
    /// Its identity.
    pub id: Uuid,
    /// The node that it is placed on.
    pub node_id: Option<Uuid>,
    /// What it is made from.
    pub application_id: Option<Uuid>,
    /// Whom it belongs to.
    pub user_id: Option<String>,
    /// Its name, unique among containers.
    pub name: String,
    /// Environment variables on top of its application's: `A=1,B=2`.
    pub env_variables: String,
    /// The engine's id of it.
    pub container_id: Option<String>,
    /// Whether the rebalancer may move it for the sake of balance.
    pub balance: bool,
    /// `CREATED`, `LAUNCHING`, `UP`, `STOPPING`, `DOWN`, `FAILED` or `LOST`.
    #[schema(example = "UP")]
    pub status: &'static str,
    /// Why it is in this status.
    pub reason: Option<String>,
    /// Where its first published TCP port answers.
    pub access_link: Option<String>,
    /// Counts its placements.
    pub generation: u32,
    /// What people want of it: `running`, `stopped` or `deleted`.
    #[schema(example = "running")]
    pub desired: &'static str,
    /// Its published ports.
    pub ports: Vec<PortRow>,
    /// How often it was started again since it was launched.
    pub restarts: u32,
    /// Its last change.
    pub seq: u64,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Port)]
pub struct PortRow {
    /// The port inside the container.
    pub container: u16,
    /// The port of the node.
    pub host: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

impl From<&Node> for NodeRow {
    fn from(node: &Node) -> Self {
        let (host, port) = match &node.endpoint {
            Endpoint::Tcp { host, port } => (Some(host.clone()), Some(*port)),
            Endpoint::Unix { .. } => (None, None),
        };
        Self {
            id: node.id.0,
            name: node.name.clone(),
            user_id: node.user_id.clone(),
            d_ipaddr: host,
            d_port: port,
            endpoint: node.endpoint.to_string(),
            container_count: node.container_count(),
            state: node.health.as_str(),
            reason: node.reason.clone(),
            labels: node.labels.clone(),
            capacity: node.capacity,
            availability: node.availability,
            engine: node.engine.as_ref().map(|facts| EngineRow {
                kind: facts.kind.clone(),
                version: facts.version.clone(),
                api_version: facts.api_version.clone(),
                cpus: facts.cpus,
                memory_bytes: facts.memory_bytes,
                platform: facts.platform.clone(),
            }),
            seq: node.seq.0,
        }
    }
}

fn names(cluster: &Cluster, ids: &[ApplicationId]) -> Vec<String> {
    let name =
        |id: &ApplicationId| cluster.application(*id).map_or_else(|| id.to_string(), |a| a.name.clone());
    ids.iter().map(name).collect()
}

impl ApplicationRow {
    /// The row of an application; the cluster gives its dependencies their names.
    #[must_use]
    pub fn new(cluster: &Cluster, application: &Application) -> Self {
        let spec = &application.spec;
        Self {
            id: application.id.0,
            name: application.name.clone(),
            user_id: application.user_id.clone(),
            exposed_ports: comma_separated(&spec.exposed_ports),
            docker_image: spec.docker_image.clone(),
            dependencies: names(cluster, &application.dependencies),
            is_enabled: application.is_enabled,
            env_variables: environment_text(&spec.env_variables),
            command: spec.command.clone(),
            entrypoint: spec.entrypoint.clone(),
            volumes: spec.volumes.iter().map(ToString::to_string).collect(),
            networks: spec.networks.clone(),
            labels: spec.labels.clone(),
            restart_policy: spec.restart_policy.to_string(),
            resources: spec.resources,
            constraints: spec.constraints.iter().map(ToString::to_string).collect(),
            health_check: spec.health_check.clone(),
            replicas: application.replicas,
            update_policy: application.update_policy,
            registry_auth: spec.registry_auth.clone(),
            strategy: spec.strategy,
            preferences: spec.preferences.iter().map(ToString::to_string).collect(),
            spread_over: spec.spread_over.clone(),
            anti_affinity: spec.anti_affinity,
            affinity: names(cluster, &spec.affinity),
            disruption_limit: spec.disruption_limit,
            seq: application.seq.0,
        }
    }
}

impl From<&Container> for ContainerRow {
    fn from(container: &Container) -> Self {
        let serving = container.serving();
        Self {
            id: container.id.0,
            node_id: container.placement.as_ref().map(|p| p.node_id.0),
            application_id: container.application_id.map(|id| id.0),
            user_id: container.user_id.clone(),
            name: container.name.clone(),
            env_variables: environment_text(&container.env_variables),
            container_id: serving.and_then(|p| p.engine_id.as_deref()).map(ToOwned::to_owned),
            balance: container.balance,
            status: container.status().as_str(),
            reason: container.reason.clone(),
            access_link: serving.and_then(|p| p.access_link.as_deref()).map(ToOwned::to_owned),
            generation: container.generation.0,
            desired: container.desired.as_str(),
            ports: serving
                .map(|p| p.ports.as_slice())
                .unwrap_or_default()
                .iter()
                .map(|port| PortRow {
                    container: port.container,
                    host: port.host,
                    protocol: port.protocol.to_string(),
                })
                .collect(),
            restarts: container.restarts,
            seq: container.seq.0,
        }
    }
}

fn comma_separated<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Environment variables in the form `A=1,B=2`. A comma or a backslash inside a value stands behind a
/// backslash, so that the text reads back as the same variables.
#[must_use]
pub fn environment_text(environment: &Environment) -> String {
    let mut text = String::new();
    for (name, value) in environment {
        if !text.is_empty() {
            text.push(',');
        }
        let value = value.replace('\\', "\\\\").replace(',', "\\,");
        let _ = write!(text, "{name}={value}");
    }
    text
}
