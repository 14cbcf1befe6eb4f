//! The known head of the log and the known tip of its tree.

use super::{EVENTS, NUMBER_LIMIT, Number, RethinkdbStore, STEP, missing, raw};
use crate::store::{Head, StoreError, Tip, tree};
use reql::r;
use std::sync::PoisonError;

impl RethinkdbStore {
    pub(super) fn known(&self) -> Head {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn learn(&self, head: Head) -> Head {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if head.commits > known.commits {
            *known = head;
        }
        *known
    }

    pub(super) fn known_tip(&self) -> Tip {
        self.tip.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a tip if it is newer than the known one, and returns its head.
    pub(super) fn learn_tip(&self, tip: Tip) -> Head {
        let head = tip.head();
        let mut known = self.tip.lock().unwrap_or_else(PoisonError::into_inner);
        if head.commits > known.head().commits {
            *known = tip;
        }
        head
    }

    /// The tip at a head, extended from the known tip if that is near.
    pub(super) async fn tip_at(&self, head: Head) -> Result<Tip, StoreError> {
        let mut tip = self.known_tip();
        if tip.head().commits < head.commits && head.commits - tip.head().commits <= raw::AHEAD {
            (tip, _) = raw::extend_tip(self, tip, head.commits + 1).await?;
        }
        let tip = tree::tip_at(self, head, Some(tip)).await?;
        self.learn_tip(tip.clone());
        Ok(tip)
    }

    /// Finds the end of a log with an unknown length. Commit numbers are dense, so a binary search finds it.
    pub(super) async fn find_head(&self) -> Result<Head, StoreError> {
        let mut low = 0; // exists
        let mut high = 1; // may not exist
        while let Some(row) = self.heads(high, high + 1).await?.pop() {
            self.learn(row.head());
            low = high;
            high *= 2;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.heads(middle, middle + 1).await?.pop() {
                Some(row) => {
                    self.learn(row.head());
                    low = middle;
                }
                None => high = middle,
            }
        }
        let head = self.follow_head().await?;
        let beyond = r.table(EVENTS).between(r.args((head.commits + 1, NUMBER_LIMIT))).limit(1_isize);
        let beyond: Vec<Number> = self.read_rows(beyond.pluck(r.expr(["id"]))).await?;
        // Another daemon may have appended meanwhile: then the next commit exists now.
        if !beyond.is_empty() && self.heads(head.commits + 1, head.commits + 2).await?.is_empty() {
            return Err(missing(head.commits + 1));
        }
        Ok(self.known())
    }

    /// The end of the log, searched from the known head onwards.
    ///
    /// Reads a few new commits in full and advances the tip, so that the next append needs no further read. With a further
    /// read, a daemon whose append met a conflict would lose again to one that appends without a pause.
    pub(super) async fn follow_head(&self) -> Result<Head, StoreError> {
        let tip = self.known_tip();
        if tip.head() == self.known() {
            let (tip, is_end) = raw::extend_tip(self, tip, NUMBER_LIMIT).await?;
            self.learn(self.learn_tip(tip));
            if is_end {
                return Ok(self.known());
            }
        }
        loop {
            let from = self.known().commits + 1;
            let rows = self.heads(from, from + STEP).await?;
            let is_end = (rows.len() as u64) < STEP;
            if let Some(row) = rows.last() {
                self.learn(row.head());
            }
            if is_end {
                return Ok(self.known());
            }
        }
    }
}
