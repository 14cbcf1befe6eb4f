//! Differences between a replay and the recorded decisions.

use super::names::Names;
use kdaemon_control::history::{Decided, DecisionDifference};
use kdaemon_events::Subject;
use kdaemon_events::container::MigrationReason;

/// Renders a difference as one sentence without its full stop.
#[must_use]
pub fn difference(names: Names<'_>, difference: &DecisionDifference) -> String {
    let name = difference.subject.map(|subject: Subject| names.subject(subject)).unwrap_or_default();
    match (difference.recorded, difference.replayed) {
        (Some(was), Some(is)) => {
            let other = match (was.node(), is.node()) {
                (Some(_), Some(node)) => format!("on {}", names.node(node)),
                _ => clause(names, "it", is),
            };
            format!("{}; under this policy {other}", clause(names, &name, was))
        }
        (Some(was), None) => {
            format!(
                "{}; under this policy it would not have happened, or not at that time",
                clause(names, &name, was)
            )
        }
        (None, Some(is)) => format!("under this policy {}, which did not happen", clause(names, &name, is)),
        (None, None) => name, // no such difference is recorded
    }
}

fn clause(names: Names<'_>, name: &str, decided: Decided) -> String {
    match decided {
        Decided::Placed(node) => format!("{name} was placed on {}", names.node(node)),
        Decided::Moved { from, to, reason } => {
            let because = match reason {
                MigrationReason::Unhealthy => "its node was unhealthy",
                MigrationReason::Drain => "its node was draining",
                MigrationReason::Balance => "to even the counts",
                MigrationReason::Update => "its application had changed",
            };
            format!("{name} was moved from {} to {} ({because})", names.node(from), names.node(to))
        }
        Decided::Unschedulable => format!("{name} could not be placed"),
        Decided::Abandoned => format!("{name} became FAILED"),
        Decided::Unhealthy => format!("{name} was judged unhealthy"),
        Decided::Healthy => format!("{name} was judged healthy"),
        Decided::Paused => "migrations were paused".to_owned(),
        Decided::Resumed => "migrations were resumed".to_owned(),
    }
}
