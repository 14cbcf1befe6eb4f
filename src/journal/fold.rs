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
    let reached = from.seq();
    let (mut cluster, mut page) = (from, page_after(store, reached, until).await?);
    loop {
        let Page { texts, up_to } = page;
        let folded = super::off_thread(move || {
            let mut cluster = Arc::unwrap_or_clone(cluster);
            let mut touched = Touched::default();
            for text in &texts {
                let envelope = follower(&cluster, text)?;
                cluster.apply(&envelope, &mut touched);
            }
            Ok::<_, StoreError>(Arc::new(cluster))
        });
        // The next page is read while this one is folded.
        let (next, folded) = tokio::join!(page_after(store, up_to, until), folded);
        cluster = folded?;
        if let Some(keeper) = &mut keeper {
            keeper.look(store, &cluster).await;
        }
        if up_to >= until {
            return Ok(cluster);
        }
        page = next?;
    }
}

/// Folds what the state lacks, up to `until`, and hands each event on.
pub(super) async fn catch_up(
    store: &dyn EventStore,
    cluster: &mut Cluster,
    until: Seq,
    mut folded: impl FnMut(Envelope),
) -> Result<Touched, StoreError> {
    let mut touched = Touched::default();
    let mut reached = cluster.seq();
    while reached < until {
        let Page { texts, up_to } = page_after(store, reached, until).await?;
        reached = up_to;
        for text in texts {
            let envelope = follower(cluster, &text)?;
            cluster.apply(&envelope, &mut touched);
            folded(envelope);
        }
    }
    Ok(touched)
}

/// Some events of the log, and up to where they are all that there are.
pub(crate) struct Page {
    pub(crate) texts: Vec<EventText>,
    pub(crate) up_to: Seq,
}

/// The next events, and none beyond `until`: the state and the head that the caller knows are to be of one moment. What is
/// not there has to be what was pruned.
pub(crate) async fn page_after(store: &dyn EventStore, after: Seq, until: Seq) -> Result<Page, StoreError> {
    if after >= until {
        return Ok(Page { texts: Vec::new(), up_to: after }); // nothing is left to read
    }
    let left = usize::try_from(until.0.saturating_sub(after.0)).unwrap_or(PAGE);
    let mut texts = store.read(after, left.min(PAGE)).await?;
    let is_full = texts.len() == left.min(PAGE);
    texts.retain(|text| text.seq <= until);
    let up_to = texts.last().map_or(until, |last| if is_full { last.seq } else { until });
    let there = texts.len() as u64;
    let missing = (up_to.0 - after.0).checked_sub(there);
    if missing != Some(0) && Some(store.pruned(after.next(), up_to).await?) != missing {
        let first = texts.iter().zip(after.next().0..).find(|(text, seq)| text.seq.0 != *seq);
        let first = first.map_or(after.0 + there + 1, |(_, seq)| seq);
        return Err(StoreError::Damaged(format!("event {first} is missing")));
    }
    Ok(Page { texts, up_to })
}

/// Reads an event that follows a state.
pub(crate) fn follower(cluster: &Cluster, text: &EventText) -> Result<Envelope, StoreError> {
    let envelope = Envelope::decode(&text.json)
        .map_err(|error| StoreError::Damaged(format!("event {}: {error}", text.seq)))?;
    if envelope.seq <= cluster.seq() || text.seq != envelope.seq {
        return Err(StoreError::Damaged(format!("event {} is missing", cluster.seq().next())));
    }
    Ok(envelope)
}
