//! The columns of `ls`: for each kind of resource one table of headers and cells.

use super::cells::{joined, optional, ports};
use super::names::NameCache;
use super::table::{bytes, coloured, plain, word};
use super::when::age;
use kdaemon_api::{ApplicationRow, ContainerRow, NodeRow, RolloutRow, RolloutStatus};
use kdaemon_events::MilliCpus;

/// A column of a table of rows.
pub(super) struct Column<R> {
    pub(super) head: &'static str,
    /// `true` if only `-o wide` shows it.
    is_wide: bool,
    pub(super) cell: fn(&R, &NameCache) -> String,
}

const fn column<R>(head: &'static str, cell: fn(&R, &NameCache) -> String) -> Column<R> {
    Column { head, is_wide: false, cell }
}

const fn wide<R>(head: &'static str, cell: fn(&R, &NameCache) -> String) -> Column<R> {
    Column { head, is_wide: true, cell }
}

/// The columns to show.
pub(super) fn shown<R>(columns: &[Column<R>], wide: bool) -> Vec<&Column<R>> {
    columns.iter().filter(|column| wide || !column.is_wide).collect()
}

pub(super) const NODE: &[Column<NodeRow>] = &[
    column("NAME", |row, _| plain(&row.name)),
    column("STATE", |row, _| coloured(&word(row.state))),
    column("AVAILABILITY", |row, _| coloured(&word(row.availability))),
    column("CONTAINERS", |row, _| match row.capacity {
        Some(capacity) => format!("{}/{capacity}", row.container_count),
        None => row.container_count.to_string(),
    }),
    column("ENDPOINT", |row, _| plain(&row.endpoint)),
    column("AGE", |row, _| age(row.id)),
    wide("CPUS", |row, _| row.engine.as_ref().map(|engine| cpus(engine.cpus)).unwrap_or_default()),
    wide("MEMORY", |row, _| row.engine.as_ref().map(|engine| bytes(engine.memory_bytes)).unwrap_or_default()),
    wide("ENGINE", |row, _| match &row.engine {
        Some(engine) => plain(&format!("{} {}", engine.kind, engine.version)),
        None => String::new(),
    }),
    wide("LABELS", |row, _| {
        let labels = row.labels.iter().map(|(label, value)| format!("{label}={}", label_value(value)));
        labels.collect::<Vec<_>>().join(", ")
    }),
    wide("REASON", |row, _| optional(row.reason.as_deref())),
    wide("ID", |row, _| row.id.to_string()),
];

pub(super) const APPLICATION: &[Column<ApplicationRow>] = &[
    column("NAME", |row, _| plain(&row.name)),
    column("IMAGE", |row, _| plain(&row.docker_image)),
    column("REPLICAS", |row, _| row.replicas.map(|replicas| replicas.to_string()).unwrap_or_default()),
    column("PORTS", |row, _| plain(&row.exposed_ports)),
    column("ROLLOUT", |row, _| row.rollout.as_ref().and_then(rollout).unwrap_or_default()),
    column("AGE", |row, _| age(row.id)),
    wide("ENABLED", |row, _| row.is_enabled.to_string()),
    wide("RESTART", |row, _| plain(&row.restart_policy)),
    wide("LIMITS", |row, _| {
        let limits = [
            row.resources.cpus.map(|limit| format!("{} cpus", serde_json::json!(limit))),
            row.resources.memory_bytes.map(bytes),
        ];
        limits.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }),
    wide("VOLUMES", |row, _| joined(&row.volumes)),
    wide("CONSTRAINTS", |row, _| joined(&row.constraints)),
    wide("DEPENDENCIES", |row, _| joined(&row.dependencies)),
    wide("ID", |row, _| row.id.to_string()),
];

pub(super) const CONTAINER: &[Column<ContainerRow>] = &[
    column("NAME", |row, _| plain(&row.name)),
    column("STATUS", |row, _| coloured(&word(row.status))),
    column("NODE", |row, names| row.node_id.map(|id| names.known(id)).unwrap_or_default()),
    column("APPLICATION", |row, names| row.application_id.map(|id| names.known(id)).unwrap_or_default()),
    column("LINK", |row, _| optional(row.access_link.as_deref())),
    column("RESTARTS", |row, _| row.restarts.to_string()),
    column("AGE", |row, _| age(row.id)),
    wide("PORTS", |row, _| ports(&row.ports)),
    wide("SERVING", |row, _| row.serving.to_string()),
    wide("HEALTH", |row, _| word(row.health)),
    wide("OUTDATED", |row, _| row.outdated.to_string()),
    wide("GENERATION", |row, _| row.generation.to_string()),
    wide("ENGINE ID", |row, _| optional(row.container_id.as_deref()).chars().take(12).collect()),
    wide("REASON", |row, _| optional(row.reason.as_deref())),
    wide("ID", |row, _| row.id.to_string()),
];

/// The progress of a rollout that runs or is paused.
pub(super) fn rollout(rollout: &RolloutRow) -> Option<String> {
    let state = match rollout.state {
        RolloutStatus::Running => "running",
        RolloutStatus::Paused => "paused",
        RolloutStatus::Completed | RolloutStatus::RolledBack => return None,
    };
    let reason = rollout.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
    Some(format!("{state}{reason}; {} of {} replaced", rollout.updated, rollout.of))
}

fn cpus(cpus: MilliCpus) -> String {
    serde_json::json!(cpus).to_string().trim_end_matches(".0").to_owned()
}

/// A label's value; an empty one as `""`.
fn label_value(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { plain(value) }
}
