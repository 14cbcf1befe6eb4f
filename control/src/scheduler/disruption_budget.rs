//! The disruption limit: how many containers of one application may be moved, or be down, at one time.

use kdaemon_events::ApplicationId;
use kdaemon_projections::{Application, Cluster, Container, Desired, Phase};
use std::collections::BTreeMap;

/// How many containers of each application can still be moved of free will: for the sake of balance or of a drain.
/// (What is lost with its node is moved all the same.)
#[derive(Debug, Clone)]
pub struct DisruptionBudget<'a> {
    cluster: &'a Cluster,
    left: BTreeMap<ApplicationId, u32>,
}

impl<'a> DisruptionBudget<'a> {
    /// Those of a state.
    #[must_use]
    pub fn of(cluster: &'a Cluster) -> Self {
        Self { cluster, left: BTreeMap::new() }
    }

    /// Takes note that a container is to be moved, if its application has room for that.
    pub fn admit(&mut self, container: &Container) -> bool {
        let application = container.application_id.and_then(|id| self.cluster.application(id));
        let Some(application) = application.filter(|_| !is_disrupted(container)) else {
            return true; // nothing depends on it that is not gone already
        };
        let left = self.left.entry(application.id).or_insert_with(|| room(self.cluster, application));
        let admitted = *left > 0;
        *left = left.saturating_sub(1);
        admitted
    }
}

/// Whether it is on its way to run again. What FAILED is not, nor what no node takes: that must not hold up a drain for
/// ever.
fn is_disrupted(container: &Container) -> bool {
    let is_starting = matches!(container.phase, Phase::Placed | Phase::Restarting);
    is_starting || container.lost || container.migrating.is_some()
}

/// How many more of an application's containers may be disrupted.
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
