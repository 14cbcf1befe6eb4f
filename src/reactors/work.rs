//! The reconciler's tasks in progress: one per key at a time, a bounded number per lane, and a backoff after
//! an attempt without effect.

use kdaemon_control::backoff::Backoff;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The tasks in progress. Losing this loses nothing but the knowledge of what need not be started twice.
///
/// Tasks that wait for the same resource (one engine, for example) share a lane: a hanging task delays
/// nothing in other lanes.
pub(super) struct Work<K, L> {
    shared: Arc<Mutex<WorkShared<K, L>>>,
    /// Notified when a task ends.
    pub(super) done: Arc<Notify>,
}

struct WorkShared<K, L> {
    entries: HashMap<K, TaskState>,
    running: HashMap<L, usize>,
}

#[derive(Debug, Clone, Copy)]
enum TaskState {
    Running,
    Paused {
        until: Instant,
        /// Consecutive attempts without effect.
        failures: u32,
        /// Whether the current look has found the task due.
        is_due: bool,
    },
}

fn lock<K, L>(shared: &Mutex<WorkShared<K, L>>) -> MutexGuard<'_, WorkShared<K, L>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq + Hash + Clone, L: Eq + Hash + Clone> Work<K, L> {
    pub(super) fn new() -> Self {
        let shared = WorkShared { entries: HashMap::new(), running: HashMap::new() };
        Self { shared: Arc::new(Mutex::new(shared)), done: Arc::new(Notify::new()) }
    }

    /// Claims a key, unless it is claimed or backs off, or `limit` tasks run in its lane: then the end of one
    /// of them notifies. The guard releases the key.
    pub(super) fn begin(&self, key: K, lane: L, limit: usize) -> Option<Guard<K, L>> {
        let mut shared = lock(&self.shared);
        let failures = match shared.entries.get_mut(&key) {
            Some(TaskState::Running) => return None,
            Some(TaskState::Paused { until, failures, is_due }) => {
                *is_due = true;
                if *until > Instant::now() {
                    return None;
                }
                *failures
            }
            None => 0,
        };
        let running = shared.running.entry(lane.clone()).or_insert(0);
        if *running >= limit {
            return None;
        }
        *running += 1;
        shared.entries.insert(key.clone(), TaskState::Running);
        drop(shared);
        let (shared, done) = (Arc::clone(&self.shared), Arc::clone(&self.done));
        Some(Guard { key, lane, failures, backoff: None, shared, done })
    }

    /// Ends a look at all due tasks: forgets the backoff of tasks that were not due, and returns the end of
    /// the next one.
    pub(super) fn finish_look(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        lock(&self.shared).entries.retain(|_, entry| match entry {
            TaskState::Running => true,
            TaskState::Paused { until, is_due, .. } => {
                if *is_due && *until > now {
                    next = Some(next.map_or(*until, |next| next.min(*until)));
                }
                std::mem::take(is_due)
            }
        });
        next
    }

    /// Resets every backoff after a change that may help: each task is attempted at once, as if for the first
    /// time.
    pub(super) fn forget_pauses(&self) {
        lock(&self.shared).entries.retain(|_, entry| matches!(entry, TaskState::Running));
    }
}

/// A claimed key. Dropping it releases the key, at once or after a backoff.
pub(super) struct Guard<K: Eq + Hash, L: Eq + Hash> {
    key: K,
    lane: L,
    /// Consecutive attempts without effect before this one.
    failures: u32,
    backoff: Option<Backoff>,
    shared: Arc<Mutex<WorkShared<K, L>>>,
    done: Arc<Notify>,
}

impl<K: Eq + Hash, L: Eq + Hash> Guard<K, L> {
    /// Records that the task had no effect, so that it backs off.
    pub(super) fn back_off(&mut self, backoff: Backoff) {
        self.backoff = Some(backoff);
    }
}

impl<K: Eq + Hash, L: Eq + Hash> Drop for Guard<K, L> {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        match self.backoff {
            Some(backoff) => {
                if let Some(entry) = shared.entries.get_mut(&self.key) {
                    let failures = self.failures.saturating_add(1);
                    let until = Instant::now() + backoff.pause(failures);
                    *entry = TaskState::Paused { until, failures, is_due: true };
                }
            }
            None => {
                shared.entries.remove(&self.key);
            }
        }
        if let Some(running) = shared.running.get_mut(&self.lane) {
            *running -= 1;
            if *running == 0 {
                shared.running.remove(&self.lane);
            }
        }
        drop(shared);
        self.done.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(1));

    fn pause_of(work: &Work<u32, ()>) -> u128 {
        work.begin(1, (), 1).unwrap().back_off(BACKOFF);
        let end = work.finish_look().unwrap();
        (end - Instant::now()).as_millis()
    }

    #[test]
    fn full_lane_delays_no_other() {
        let work: Work<u32, &str> = Work::new();
        let (one, _two) = (work.begin(1, "a", 2).unwrap(), work.begin(2, "a", 2).unwrap());
        assert!(work.begin(3, "a", 2).is_none());
        assert!(work.begin(1, "b", 2).is_none(), "it is under way already");
        let _other = work.begin(4, "b", 2).unwrap();
        drop(one);
        let _three = work.begin(3, "a", 2).unwrap();
    }

    #[test]
    fn a_limit_bounds_its_own_lane_alone() {
        let work: Work<u32, &str> = Work::new();
        let _guards: Vec<_> = (0..3).map(|key| work.begin(key, "a", 3).unwrap()).collect();
        assert!(work.begin(3, "a", 3).is_none());
        assert!(work.begin(3, "b", 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn tries_without_effect_back_off_until_something_changes() {
        let work: Work<u32, ()> = Work::new();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let pause = pause_of(&work);
            pauses.push(pause);
            assert!(work.begin(1, (), 1).is_none());
            tokio::time::sleep(Duration::from_millis(u64::try_from(pause).unwrap())).await;
        }
        assert_eq!(pauses, [250, 500, 1_000, 1_000]);
        assert_eq!(pause_of(&work), 1_000);
        work.forget_pauses();
        assert_eq!(pause_of(&work), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_not_due_for_one_look_starts_over() {
        let work: Work<u32, ()> = Work::new();
        assert_eq!(pause_of(&work), 250);
        assert!(work.begin(1, (), 1).is_none(), "due in this look, though it pauses");
        assert!(work.finish_look().is_some());
        assert!(work.finish_look().is_none(), "not due in this one");
        assert_eq!(pause_of(&work), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_began_after_its_task_was_looked_at_outlasts_that_look() {
        let work: Work<u32, ()> = Work::new();
        let mut guard = work.begin(1, (), 1).unwrap();
        guard.back_off(BACKOFF);
        drop(guard);
        assert!(work.finish_look().is_some());
        assert!(work.begin(1, (), 1).is_none());
    }
}
