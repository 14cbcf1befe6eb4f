//! The state after any event of the past.
//!
//! A state is folded from the nearest known one: a recently requested one, or a snapshot. Folding runs
//! concurrently with the journal, which never waits for it.

use crate::journal::{Journal, fold_on, latest_snapshot, walk_page};
use crate::store::StoreError;
use kdaemon_events::Seq;
use kdaemon_projections::Cluster;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// How many states are folded, and how many ranges of events are walked, at a time; further requests wait.
const TOGETHER: usize = 2;
/// How many states are cached at most …
const REMEMBERED: usize = 32;
/// … and how many nodes, applications and containers they may hold together, if there is more than one.
const THINGS_REMEMBERED: usize = 400_000;

/// A cache of past states. The most recently requested are kept: someone who explores the past asks for
/// neighbouring moments.
pub struct Past {
    journal: Journal,
    remembered: Mutex<VecDeque<Arc<Cluster>>>,
    making: Semaphore,
    walking: Semaphore,
}

impl Past {
    /// The past of the journal's log.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self {
            journal,
            remembered: Mutex::default(),
            making: Semaphore::new(TOGETHER),
            walking: Semaphore::new(TOGETHER),
        }
    }

    /// The state after event `seq`, or the current one if `seq` is beyond it. Cancel by dropping.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn state(&self, seq: Seq) -> Result<Arc<Cluster>, StoreError> {
        let present = self.journal.cluster();
        if seq >= present.seq() {
            return Ok(present);
        }
        if let Some(known) = self.nearest(seq).filter(|known| known.seq() == seq) {
            return Ok(known);
        }
        // The semaphore is never closed; if it were, too many at a time are better than none.
        let _turn = self.making.acquire().await;
        let store = self.journal.store().as_ref();
        let nearest = self.nearest(seq); // also one that was folded while this one waited
        let kept = store.snapshots().await?.into_iter().rfind(|kept| *kept <= seq).unwrap_or_default();
        let base = match nearest {
            Some(nearest) if nearest.seq() >= kept => nearest,
            nearest => match latest_snapshot(store, seq).await?.map(Arc::new) {
                Some(snapshot) => {
                    // The next request for an earlier moment starts from it.
                    self.remember(Arc::clone(&snapshot));
                    snapshot
                }
                None => nearest.unwrap_or_default(),
            },
        };
        let state = fold_on(store, base, seq).await?;
        self.remember(Arc::clone(&state));
        Ok(state)
    }

    /// Passes the events after `after` up to `until` to `step`, in order, page by page, without blocking the
    /// runtime. Cancel by dropping.
    ///
    /// # Errors
    /// When the log cannot be read, or `step` fails.
    pub async fn walk<T: Send + 'static>(
        &self,
        after: Seq,
        until: Seq,
        walker: T,
        step: fn(&mut T, Seq, &str) -> Result<(), StoreError>,
    ) -> Result<T, StoreError> {
        let _turn = self.walking.acquire().await;
        let (mut walker, mut after) = (walker, after);
        while after < until {
            (walker, after) = walk_page(self.journal.store().as_ref(), after, until, walker, step).await?;
        }
        Ok(walker)
    }

    fn remembered(&self) -> MutexGuard<'_, VecDeque<Arc<Cluster>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest cached state at or before `seq`; moves it to the end of the eviction order.
    fn nearest(&self, seq: Seq) -> Option<Arc<Cluster>> {
        let mut remembered = self.remembered();
        let found = remembered.iter().enumerate().filter(|(_, state)| state.seq() <= seq);
        let (index, _) = found.max_by_key(|(_, state)| state.seq())?;
        let state = remembered.remove(index)?;
        remembered.push_back(Arc::clone(&state));
        Some(state)
    }

    fn remember(&self, state: Arc<Cluster>) {
        let mut remembered = self.remembered();
        remembered.retain(|other| other.seq() != state.seq());
        remembered.push_back(state);
        let things = |state: &Arc<Cluster>| {
            state.nodes().len() + state.applications().len() + state.containers().len()
        };
        while remembered.len() > 1
            && (remembered.len() > REMEMBERED
                || remembered.iter().map(things).sum::<usize>() > THINGS_REMEMBERED)
        {
            remembered.pop_front();
        }
    }
}
