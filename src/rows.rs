//! Builds the rows of the API and of the stored tables from the state of the cluster.

use crate::says::{self, Names};
use kdaemon_api::{
    AnyRow, ApplicationRow, ContainerRow, ContainerStatus, DesiredState, EngineRow, HealthStatus, NodeRow,
    NodeState, PortRow, RolloutRow, RolloutStatus, environment_text,
};
use kdaemon_control::history::RowSource;
use kdaemon_events::{ApplicationId, Endpoint, Subject};
use kdaemon_projections::{
    Application, Cluster, Container, ContainerHealth, Desired, Health, Node, PhaseKind, Reason, Rollout,
    RolloutState, Status,
};

/// Builds the row of a node.
#[must_use]
pub fn node(names: Names<'_>, node: &Node) -> NodeRow {
    let (host, port) = match &node.endpoint {
        Endpoint::Tcp { host, port } => (Some(host.clone()), Some(*port)),
        Endpoint::Unix { .. } => (None, None),
    };
    NodeRow {
        id: node.id.0,
        name: node.name.clone(),
        user_id: node.user_id.clone(),
        d_ipaddr: host,
        d_port: port,
        endpoint: node.endpoint.to_string(),
        container_count: node.container_count(),
        state: match node.health {
            Health::Unknown => NodeState::Unknown,
            Health::Up => NodeState::Up,
            Health::Down => NodeState::Down,
        },
        reason: says::node_reason(names, node),
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

/// Builds the row of an application. The names of referenced applications come from the cluster.
#[must_use]
pub fn application(names: Names<'_>, cluster: &Cluster, application: &Application) -> ApplicationRow {
    ApplicationRow {
        id: application.id.0,
        name: application.name.clone(),
        user_id: application.user_id.clone(),
        dependencies: application_names(cluster, &application.dependencies),
        is_enabled: application.is_enabled,
        replicas: application.replicas,
        update_policy: application.update_policy,
        affinity: application_names(cluster, &application.spec.affinity),
        update: application.update.into(),
        rollout: application.rollout.as_ref().map(|one| rollout(names, application, one)),
        seq: application.seq.0,
        ..ApplicationRow::of_spec(&application.spec)
    }
}

fn rollout(names: Names<'_>, application: &Application, rollout: &Rollout) -> RolloutRow {
    RolloutRow {
        state: match rollout.state {
            RolloutState::Running => RolloutStatus::Running,
            RolloutState::Paused => RolloutStatus::Paused,
            RolloutState::Completed => RolloutStatus::Completed,
            RolloutState::RolledBack => RolloutStatus::RolledBack,
        },
        updated: rollout.of.saturating_sub(application.outdated),
        of: rollout.of,
        reason: says::rollout_reason(names, rollout),
        since_seq: rollout.since.0,
    }
}

/// Builds the row of a container.
#[must_use]
pub fn container(names: Names<'_>, cluster: &Cluster, container: &Container) -> ContainerRow {
    let serving = container.serving();
    ContainerRow {
        id: container.id.0,
        node_id: container.placement.as_ref().map(|p| p.node_id.0),
        application_id: container.application_id.map(|id| id.0),
        user_id: container.user_id.clone(),
        name: container.name.clone(),
        env_variables: environment_text(&container.env_variables),
        container_id: serving.and_then(|p| p.engine_id.as_deref()).map(ToOwned::to_owned),
        balance: container.balance,
        status: match container.status() {
            Status::Created => ContainerStatus::Created,
            Status::Launching => ContainerStatus::Launching,
            Status::Up => ContainerStatus::Up,
            Status::Stopping => ContainerStatus::Stopping,
            Status::Down => ContainerStatus::Down,
            Status::Completed => ContainerStatus::Completed,
            Status::Failed => ContainerStatus::Failed,
            Status::Lost => ContainerStatus::Lost,
            Status::Paused => ContainerStatus::Paused,
        },
        reason: says::container_reason(names, container),
        access_link: serving.and_then(|p| p.access_link.as_deref()).map(ToOwned::to_owned),
        generation: container.generation.0,
        desired: match container.desired {
            Desired::Stopped => DesiredState::Stopped,
            Desired::Running => DesiredState::Running,
            Desired::Deleted => DesiredState::Deleted,
        },
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
        serving: container.is_serving(),
        health: match container.placement.as_ref().filter(|_| container.phase.kind() == PhaseKind::Up) {
            Some(_) if container.lost => HealthStatus::Unknown,
            None => HealthStatus::None,
            Some(placement) => match placement.health {
                ContainerHealth::None => HealthStatus::None,
                ContainerHealth::Starting => HealthStatus::Starting,
                ContainerHealth::Healthy => HealthStatus::Healthy,
                ContainerHealth::Unhealthy => HealthStatus::Unhealthy,
            },
        },
        outdated: container.desired == Desired::Running && cluster.is_outdated(container),
        next_try: container.not_before(),
        exit_code: match &container.reason {
            Some(Reason::Exited { exit_code, .. }) => *exit_code,
            _ if container.phase.kind() == PhaseKind::Completed => Some(0),
            _ => None,
        },
        seq: container.seq.0,
    }
}

/// Compares states by the rows of the API.
#[derive(Debug)]
pub struct ApiRows;

impl RowSource for ApiRows {
    type Row = AnyRow;

    fn row(cluster: &Cluster, subject: Subject) -> Option<AnyRow> {
        match subject {
            Subject::Node(id) => {
                cluster.node(id).map(|found| AnyRow::Node(Box::new(node(Names::of(&[cluster]), found))))
            }
            Subject::Application(id) => cluster.application(id).map(|found| {
                AnyRow::Application(Box::new(application(Names::of(&[cluster]), cluster, found)))
            }),
            Subject::Container(id) => cluster
                .container(id)
                .map(|found| AnyRow::Container(Box::new(container(Names::of(&[cluster]), cluster, found)))),
        }
    }

    fn name(row: &AnyRow) -> &str {
        row.name()
    }
}

fn application_names(cluster: &Cluster, ids: &[ApplicationId]) -> Vec<String> {
    let name =
        |id: &ApplicationId| cluster.application(*id).map_or_else(|| id.to_string(), |a| a.name.clone());
    ids.iter().map(name).collect()
}
