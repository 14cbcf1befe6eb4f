//! Decisions about the cluster as a whole and its leader.

use super::Refusal;
use super::draft::Draft;
use kdaemon_events::cluster::{ClusterCreated, LeaderElected};
use kdaemon_events::{ClusterId, Term};

pub(super) fn create_cluster(draft: &mut Draft<'_>, cluster_id: ClusterId) -> Result<(), Refusal> {
    if let Some(id) = draft.cluster().id() {
        return Err(Refusal::conflict(format!("the log already belongs to cluster {id}")));
    }
    draft.emit(ClusterCreated { cluster_id });
    Ok(())
}

pub(super) fn become_leader(draft: &mut Draft<'_>, term: Term, daemon: String) -> Result<(), Refusal> {
    let current = draft.cluster().term();
    if term <= current {
        return Err(Refusal::Deposed { asked: term, current });
    }
    draft.emit(LeaderElected { term, daemon });
    Ok(())
}
