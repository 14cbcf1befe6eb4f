//! The past: the state as it was after any event.
//!
//! A state is folded from the nearest one that is known: one that was asked for a moment ago, or a snapshot. It is made
//! beside the journal, which never waits for it.

use crate::journal::{Journal, fold_on, latest_snapshot, walk_page};
use crate::store::StoreError;
use kdaemon_events::Seq;
use kdaemon_projections::Cluster;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// How many states are made, and how many stretches of events are walked, at one time; more wait.
const TOGETHER: usize = 2;
/// How many states are remembered at most …
const REMEMBERED: usize = 32;
/// … and how many nodes, applications and containers they have together, if there is more than one.
const THINGS_REMEMBERED: usize = 400_000;

/// States of the past. The latest asked for are remembered: whoever looks around in time asks for neighbours.
pub struct Past {
    journal: Journal,
    remembered: Mutex<VecDeque<Arc<Cluster>>>,
    making: Semaphore,
    walking: Semaphore,
}

impl Past {
    /// The past of a journal.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self {
            journal,
            remembered: Mutex::default(),
            making: Semaphore::new(TOGETHER),
            walking: Semaphore::new(TOGETHER),
        }
    }

    /// The state after an event, which must not be beyond the present one. Cancel by dropping.
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
        // It is never closed. And if it were: better too many at once than none.
        let _turn = self.making.acquire().await;
        let store = self.journal.store().as_ref();
        let nearest = self.nearest(seq); // also one that was made meanwhile
        let kept = store.snapshots().await?.into_iter().rfind(|kept| *kept <= seq).unwrap_or_default();
        let base = match nearest {
            Some(nearest) if nearest.seq() >= kept => nearest,
            nearest => match latest_snapshot(store, seq).await?.map(Arc::new) {
                Some(snapshot) => {
                    // Whoever goes back from here begins with it again.
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

    /// Hands the events after `after`, up to `until`, to somebody, in order, in pages and beside those who want to be
    /// answered. Cancel by dropping.
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

    /// The latest state that is remembered of an event at or before `seq`; it is remembered longest then.
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
