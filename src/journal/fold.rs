//! Folding the log into a state.

use super::off_thread;
use super::snapshots::{self, Keeper, SNAPSHOT_INTERVAL};
use crate::store::{EventLog, FoldStore, Head, StoreError, Stretch};
use kdaemon_events::{Envelope, Seq};
use kdaemon_projections::{Cluster, Touched};
use std::sync::Arc;

/// Events read at a time: few enough to stay in the processor's cache.
const PAGE: usize = 2_000;

/// Folds a log, from the newest snapshot on if there is one.
///
/// # Errors
/// When the log cannot be read, has a hole, or holds an event that this kDaemon does not understand.
pub async fn fold_log(store: &dyn FoldStore) -> Result<(Cluster, Head), StoreError> {
    let head = store.head().await?;
    let kept = snapshots::latest(store, head.seq).await?.unwrap_or_default();
    let cluster = fold_on(store, Arc::new(kept), head.seq).await?;
    Ok((Arc::unwrap_or_clone(cluster), head))
}

/// Folds a whole log from its beginning, and drops the snapshots that it finds.
///
/// # Errors
/// As [`fold_log`].
pub async fn fold_whole_log(store: &dyn FoldStore) -> Result<(Cluster, Head), StoreError> {
    for seq in store.snapshots().await? {
        store.drop_snapshot(seq).await?;
    }
    fold_log(store).await
}

/// Folds the events after a state, up to `until`. A long fold leaves snapshots for later ones.
///
/// # Errors
/// As [`fold_log`].
pub(crate) async fn fold_on(
    store: &dyn FoldStore,
    from: Arc<Cluster>,
    until: Seq,
) -> Result<Arc<Cluster>, StoreError> {
    let mut keeper = match until.0.saturating_sub(from.seq().0) >= SNAPSHOT_INTERVAL {
        true => Some(Keeper::new(store, from.seq(), SNAPSHOT_INTERVAL).await?),
        false => None,
    };
    let (mut reached, mut cluster) = (from.seq(), from);
    while reached < until {
        let fold = Folding { cluster: Arc::unwrap_or_clone(cluster), touched: Touched::default() };
        let step = |fold: &mut Folding, seq, json: &str| fold.take(seq, json).map(drop);
        let (fold, up_to) = walk_page(store, reached, until, fold, step).await?;
        (cluster, reached) = (Arc::new(fold.cluster), up_to);
        if let Some(keeper) = &mut keeper {
            keeper.look(store, &cluster).await;
        }
    }
    Ok(cluster)
}

/// A state being folded.
struct Folding {
    cluster: Cluster,
    touched: Touched,
}

impl Folding {
    fn take(&mut self, seq: Seq, json: &str) -> Result<Envelope, StoreError> {
        let envelope = follower(&self.cluster, seq, json)?;
        self.cluster.apply(&envelope, &mut self.touched);
        Ok(envelope)
    }
}

/// Folds the events after a state, up to `until`. Returns the state, the items whose rows changed, and the
/// events.
pub(super) async fn catch_up(
    store: &dyn EventLog,
    cluster: Cluster,
    until: Seq,
) -> Result<(Cluster, Touched, Vec<Envelope>), StoreError> {
    let mut reached = cluster.seq();
    let mut walker = (Folding { cluster, touched: Touched::default() }, Vec::new());
    while reached < until {
        (walker, reached) = walk_page(store, reached, until, walker, |(fold, events), seq, json| {
            events.push(fold.take(seq, json)?);
            Ok(())
        })
        .await?;
    }
    let (Folding { cluster, touched }, events) = walker;
    Ok((cluster, touched, events))
}

/// Passes the next events after `after` to `step`, in order and without blocking the runtime: about a page of
/// them, and none beyond `until`, so that the caller's state and head are of one moment. Returns the seq up
/// to which nothing is missing. Missing events must have been pruned.
///
/// # Errors
/// When the log cannot be read, has a hole, or `step` fails.
pub(crate) async fn walk_page<W: Send + 'static>(
    store: &dyn EventLog,
    after: Seq,
    until: Seq,
    walker: W,
    step: fn(&mut W, Seq, &str) -> Result<(), StoreError>,
) -> Result<(W, Seq), StoreError> {
    if after >= until {
        return Ok((walker, after)); // nothing left to read
    }
    let limit = usize::try_from(until.0 - after.0).unwrap_or(PAGE).min(PAGE);
    let mut way = FoldInProgress { walker, step, reached: after, gap: None };
    // Each event is parsed where it is folded: handing its text to another thread takes longer than parsing
    // it.
    let (way, stretch) = match store.local() {
        Some(log) => {
            let walk = move || {
                let read = log.read_each((after, until), limit, &mut |seq, json| way.step(seq, json))?;
                Ok((way, read))
            };
            off_thread(walk).await?
        }
        None => {
            let mut texts = store.read(after, limit).await?;
            let is_full = texts.len() == limit;
            texts.retain(|text| text.seq <= until);
            let (there, last) = (texts.len(), texts.last().map_or(until, |last| last.seq));
            let walk = move || {
                texts.iter().try_for_each(|text| way.step(text.seq, &text.json))?;
                Ok(way)
            };
            let way = off_thread(walk).await?;
            let up_to = if is_full { last } else { until };
            let pruned = match up_to.0 - after.0 == there as u64 {
                true => 0,
                false => store.pruned(after.next(), up_to).await?,
            };
            (way, Stretch { up_to, there, pruned })
        }
    };
    let Stretch { up_to, there, pruned } = stretch;
    if there as u64 + pruned != up_to.0 - after.0 {
        let first = way.gap.unwrap_or(way.reached.next());
        return Err(StoreError::Damaged(format!("event {first} is missing")));
    }
    Ok((way.walker, up_to))
}

/// A walk through a range of events, which records missing ones.
struct FoldInProgress<W> {
    walker: W,
    step: fn(&mut W, Seq, &str) -> Result<(), StoreError>,
    reached: Seq,
    /// The first missing event.
    gap: Option<Seq>,
}

impl<W> FoldInProgress<W> {
    fn step(&mut self, seq: Seq, json: &str) -> Result<(), StoreError> {
        if seq != self.reached.next() {
            self.gap.get_or_insert(self.reached.next());
        }
        self.reached = seq;
        (self.step)(&mut self.walker, seq, json)
    }
}

/// Parses an event that follows a state.
pub(crate) fn follower(cluster: &Cluster, seq: Seq, json: &str) -> Result<Envelope, StoreError> {
    let envelope =
        Envelope::decode(json).map_err(|error| StoreError::Damaged(format!("event {seq}: {error}")))?;
    if envelope.seq <= cluster.seq() || seq != envelope.seq {
        return Err(StoreError::Damaged(format!("event {} is missing", cluster.seq().next())));
    }
    Ok(envelope)
}
