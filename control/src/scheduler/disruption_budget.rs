//! The disruption limit: how many containers of one application may be moving or down at a time.

use kdaemon_events::ApplicationId;
use kdaemon_projections::{Application, Cluster, Container, Desired, PhaseKind};
use std::collections::BTreeMap;

/// How many containers of each application can still be moved voluntarily, for the sake of balance or of a
/// drain. (Lost containers are moved regardless.)
#[derive(Debug, Clone)]
pub struct DisruptionBudget<'a> {
    cluster: &'a Cluster,
    left: BTreeMap<ApplicationId, u32>,
}

impl<'a> DisruptionBudget<'a> {
    /// The budgets of a state.
    #[must_use]
    pub fn of(cluster: &'a Cluster) -> Self {
        Self { cluster, left: BTreeMap::new() }
    }

    /// Claims the move of a container, if its application's budget allows it.
    pub fn admit(&mut self, container: &Container) -> bool {
        let application = container.application_id.and_then(|id| self.cluster.application(id));
        let Some(application) = application.filter(|_| !is_disrupted(container)) else {
            return true; // nothing depends on it any more
        };
        let left = self.left.entry(application.id).or_insert_with(|| room(self.cluster, application));
        let admitted = *left > 0;
        *left = left.saturating_sub(1);
        admitted
    }
}

/// Whether it is on its way to run again. A FAILED or unschedulable container is not, because it must not
/// delay a drain indefinitely.
fn is_disrupted(container: &Container) -> bool {
    let is_starting = matches!(container.phase.kind(), PhaseKind::Placed | PhaseKind::Restarting);
    is_starting || container.lost || container.migrating.is_some()
}

/// The remaining budget of an application.
fn room(cluster: &Cluster, application: &Application) -> u32 {
    let all = application.containers.iter().filter_map(|id| cluster.container(*id));
    let (mut wanted, mut disrupted) = (0_u32, 0_u32);
    for container in all.filter(|container| container.desired == Desired::Running) {
        wanted += 1;
        disrupted += u32::from(is_disrupted(container));
    }
    let limit = application.spec.disruption_limit.unwrap_or_else(|| wanted.div_ceil(4));
    limit.max(1).saturating_sub(disrupted)
}
