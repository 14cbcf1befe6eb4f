//! Folding the log into a state.

use super::snapshots::{self, Keeper, SNAPSHOT_INTERVAL};
use crate::store::{EventStore, EventText, Head, StoreError};
use kdaemon_events::{Envelope, Seq};
use kdaemon_projections::{Cluster, Touched};
use std::sync::Arc;

/// How many events are read at a time: so many that they stay in the processor's cache.
const PAGE: usize = 2_000;

/// Folds a log: from the newest snapshot on, if there is one.
///
/// # Errors
/// When it cannot be read, has a hole, or holds what this kDaemon does not understand.
pub async fn fold_log(store: &dyn EventStore) -> Result<(Cluster, Head), StoreError> {
    let head = store.head().await?;
    let kept = snapshots::latest(store, head.seq).await?.unwrap_or_default();
    let cluster = fold_on(store, Arc::new(kept), head.seq).await?;
    Ok((Arc::unwrap_or_clone(cluster), head))
}

/// Folds a whole log from its beginning, and drops the snapshots that it finds.
///
/// # Errors
/// As [`fold_log`].
pub async fn fold_anew(store: &dyn EventStore) -> Result<(Cluster, Head), StoreError> {
    for seq in store.snapshots().await? {
        store.drop_snapshot(seq).await?;
    }
    fold_log(store).await
}

/// Folds what a state lacks, up to `until`. Over a long way it leaves snapshots, for those who come after.
///
/// # Errors
/// As [`fold_log`].
pub(crate) async fn fold_on(
    store: &dyn EventStore,
    from: Arc<Cluster>,
    until: Seq,
) -> Result<Arc<Cluster>, StoreError> {
    let mut keeper = match until.0.saturating_sub(from.seq().0) >= SNAPSHOT_INTERVAL {
        true => Some(Keeper::new(store, from.seq(), SNAPSHOT_INTERVAL).await?),
        false => None,
    };
    let mut cluster = from;
    while cluster.seq() < until {
        let page = page_after(store, cluster.seq(), until).await?;
        cluster = super::off_thread(move || {
            let mut cluster = Arc::unwrap_or_clone(cluster);
            let mut touched = Touched::default();
            for text in &page {
                let envelope = follower(&cluster, text)?;
                cluster.apply(&envelope, &mut touched);
            }
            Ok::<_, StoreError>(Arc::new(cluster))
        })
        .await?;
        if let Some(keeper) = &mut keeper {
            keeper.look(store, &cluster).await;
        }
    }
    Ok(cluster)
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
        for text in page_after(store, cluster.seq(), until).await? {
            let envelope = follower(cluster, &text)?;
            cluster.apply(&envelope, &mut touched);
            folded(envelope);
        }
    }
    Ok(touched)
}

/// The next events, and none beyond `until`: the state and the head that the caller knows are to be of one moment.
pub(crate) async fn page_after(
    store: &dyn EventStore,
    after: Seq,
    until: Seq,
) -> Result<Vec<EventText>, StoreError> {
    let left = usize::try_from(until.0.saturating_sub(after.0)).unwrap_or(PAGE);
    let page = store.read(after, left.min(PAGE)).await?;
    if page.is_empty() {
        return Err(StoreError::Damaged(format!("event {} is missing", after.next())));
    }
    Ok(page)
}

/// Reads the event that follows a state.
pub(crate) fn follower(cluster: &Cluster, text: &EventText) -> Result<Envelope, StoreError> {
    let envelope = Envelope::decode(&text.json)
        .map_err(|error| StoreError::Damaged(format!("event {}: {error}", text.seq)))?;
    if envelope.seq != cluster.seq().next() || text.seq != envelope.seq {
        return Err(StoreError::Damaged(format!("event {} is missing", cluster.seq().next())));
    }
    Ok(envelope)
}
