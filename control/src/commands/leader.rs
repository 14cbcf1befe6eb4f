//! Decisions about the cluster as a whole and its leader.

use super::Refusal;
use super::decision::DecisionBuilder;
use kdaemon_events::cluster::{ClusterCreated, LeaderElected};
use kdaemon_events::{ClusterId, Term};

pub(super) fn create_cluster(
    decision: &mut DecisionBuilder<'_>,
    cluster_id: ClusterId,
) -> Result<(), Refusal> {
    if let Some(id) = decision.cluster().id() {
        return Err(Refusal::conflict(format!("the log already belongs to cluster {id}")));
    }
    decision.emit(ClusterCreated { cluster_id });
    Ok(())
}

pub(super) fn become_leader(
    decision: &mut DecisionBuilder<'_>,
    term: Term,
    daemon: String,
) -> Result<(), Refusal> {
    let current = decision.cluster().term();
    if term <= current {
        return Err(Refusal::Deposed { asked: term, current });
    }
    decision.emit(LeaderElected { term, daemon });
    Ok(())
}
