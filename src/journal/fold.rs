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
        let before = cluster.seq();
        let (mut there, mut is_beyond) = (0, false);
        for text in page {
            if text.seq > until {
                is_beyond = true; // so many are read, and some of those before are pruned
                break;
            }
            let envelope = Envelope::decode(&text.json)
                .map_err(|error| StoreError::Damaged(format!("event {}: {error}", text.seq)))?;
            if envelope.seq <= cluster.seq() || text.seq != envelope.seq {
                return Err(StoreError::Damaged(format!("event {} is missing", cluster.seq().next())));
            }
            there += 1;
            cluster.apply(&envelope, &mut touched);
            folded(envelope);
        }
        // What is not there has to be what was pruned.
        let up_to = if is_beyond { until } else { cluster.seq() };
        let missing = up_to.0 - before.0 - there;
        if missing > 0 && store.pruned(before.next(), up_to).await? != missing {
            return Err(StoreError::Damaged(format!(
                "of the events {} to {up_to} some are missing",
                before.next()
            )));
        }
        if is_beyond {
            break;
        }
    }
    Ok(touched)
}
