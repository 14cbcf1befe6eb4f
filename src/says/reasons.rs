//! Reasons in rows: for a node being DOWN, for a container's status, and for a pause of migrations.

use super::counted;
use super::failures::{failure, probe_failure};
use super::names::Names;
use super::scheduling::unschedulable;
use kdaemon_projections::{Container, Node, Pause, Reason, Rollout};

/// The reason for a node being DOWN; `None` if it is not DOWN.
#[must_use]
pub fn node_reason(names: Names<'_>, node: &Node) -> Option<String> {
    node.failure.as_ref().map(|probe| probe_failure(names, probe))
}

/// The reason for a container's status; `None` where the status explains itself.
#[must_use]
pub fn container_reason(names: Names<'_>, container: &Container) -> Option<String> {
    container.reason.as_ref().map(|reason| reason_clause(names, reason))
}

fn reason_clause(names: Names<'_>, reason: &Reason) -> String {
    match reason {
        Reason::Unschedulable { moving, because } => unschedulable(names, *moving, because),
        Reason::LaunchFailed { failure: launch } => failure(launch),
        Reason::NodeUnhealthy { node_id, failure } => {
            format!("node {} is unhealthy: {}", names.node(*node_id), probe_failure(names, failure))
        }
        Reason::Moving { from_node_id, node_id } => {
            format!("moving from {} to {}", names.node(*from_node_id), names.node(*node_id))
        }
        Reason::Exited { exit_code, out_of_memory, restart } => {
            let how = match (exit_code, out_of_memory) {
                (Some(code), true) => format!("ran out of memory (exit code {code})"),
                (None, true) => "ran out of memory".to_owned(),
                (Some(code), false) => format!("exited with code {code}"),
                (None, false) => "is not running any more".to_owned(),
            };
            match restart {
                Some(number) => format!("{how}; restart {number} follows"),
                None => how,
            }
        }
        Reason::Unhealthy => "failed its health check".to_owned(),
        Reason::Missing => {
            "was removed from its node by another client of the engine; launching again".to_owned()
        }
        Reason::StartedElsewhere => {
            "was started on its node by another client of the engine; stopping again".to_owned()
        }
    }
}

/// Why a rollout is paused; `None` if it is not.
#[must_use]
pub fn rollout_reason(names: Names<'_>, rollout: &Rollout) -> Option<String> {
    let id = rollout.failed?;
    let failures = counted(rollout.failures, "failure");
    Some(format!("{failures} of new containers, the last of {}", names.container(id)))
}

/// The reason for a pause of migrations.
#[must_use]
pub fn pause(pause: &Pause) -> String {
    paused(pause.unhealthy, pause.nodes)
}

pub(super) fn paused(unhealthy: u32, nodes: u32) -> String {
    format!(
        "{unhealthy} of {nodes} nodes are unhealthy at once, so more likely the daemon's own network failed; migrations \
         resume when at most half of the nodes are unhealthy"
    )
}
