//! Folding the log into a state.

use crate::store::{EventStore, Head, StoreError};
use kdaemon_events::{Envelope, Seq};
use kdaemon_projections::{Cluster, Touched};

/// How many events are read at a time.
const PAGE: usize = 10_000;

/// Folds a whole log.
///
/// # Errors
/// When it cannot be read, has a hole, or holds what this kDaemon does not understand.
pub async fn fold_log(store: &dyn EventStore) -> Result<(Cluster, Head), StoreError> {
    let head = store.head().await?;
    let mut cluster = Cluster::default();
    catch_up(store, &mut cluster, head.seq, drop).await?;
    Ok((cluster, head))
}

/// Folds what the state lacks, up to `until`, and hands each event on.
pub(super) async fn catch_up(
    store: &dyn EventStore,
    cluster: &mut Cluster,
    until: Seq,
    mut folded: impl FnMut(Envelope),
) -> Result<Touched, StoreError> {
    let mut touched = Touched::default();
    while cluster.seq() < until {
        // Not beyond it: the state and the head that the caller knows are to be of one moment.
        let left = usize::try_from(until.0 - cluster.seq().0).unwrap_or(PAGE);
        let page = store.read(cluster.seq(), left.min(PAGE)).await?;
        if page.is_empty() {
            return Err(StoreError::Damaged(format!("event {} is missing", cluster.seq().next())));
        }
        for text in page {
            let envelope = Envelope::decode(&text.json)
                .map_err(|error| StoreError::Damaged(format!("event {}: {error}", text.seq)))?;
            if envelope.seq != cluster.seq().next() || text.seq != envelope.seq {
                return Err(StoreError::Damaged(format!("event {} is missing", cluster.seq().next())));
            }
            cluster.apply(&envelope, &mut touched);
            folded(envelope);
        }
    }
    Ok(touched)
}
