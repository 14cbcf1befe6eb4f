//! What a reactor has under way: one task per key at a time, a bounded number in each lane, and a pause after a failure.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What was tried in vain and has not come up again for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The tasks of one reactor. Losing it loses nothing but the knowledge of what need not be begun twice.
///
/// Tasks that wait for the same thing (one engine, say) share a lane: what hangs there holds up nothing elsewhere.
pub(super) struct Work<K, L> {
    shared: Arc<Mutex<Shared<K, L>>>,
    /// How many tasks run in one lane at a time.
    limit: usize,
    /// Rings when a task ended.
    pub(super) done: Arc<Notify>,
}

struct Shared<K, L> {
    entries: HashMap<K, Entry>,
    running: HashMap<L, usize>,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Running,
    /// And how often it was tried in vain.
    PausedUntil(Instant, u32),
}

fn lock<K, L>(shared: &Mutex<Shared<K, L>>) -> MutexGuard<'_, Shared<K, L>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq + Hash + Clone, L: Eq + Hash + Clone> Work<K, L> {
    /// With at most so many tasks at a time in each lane.
    pub(super) fn new(limit: usize) -> Self {
        let shared = Shared { entries: HashMap::new(), running: HashMap::new() };
        Self { shared: Arc::new(Mutex::new(shared)), limit, done: Arc::new(Notify::new()) }
    }

    /// Takes a key, unless it is taken or pauses, or its lane is full: then a task that ends there rings. The guard
    /// gives it back.
    pub(super) fn begin(&self, key: K, lane: L) -> Option<Guard<K, L>> {
        let mut shared = lock(&self.shared);
        let tries = match shared.entries.get(&key) {
            Some(Entry::Running) => return None,
            Some(Entry::PausedUntil(until, _)) if *until > Instant::now() => return None,
            Some(Entry::PausedUntil(_, tries)) => *tries,
            None => 0,
        };
        let running = shared.running.entry(lane.clone()).or_insert(0);
        if *running >= self.limit {
            return None;
        }
        *running += 1;
        shared.entries.insert(key.clone(), Entry::Running);
        drop(shared);
        let (shared, done) = (Arc::clone(&self.shared), Arc::clone(&self.done));
        Some(Guard { key, lane, tries, pause: None, shared, done })
    }

    /// When the next pause ends; what is over for long is forgotten.
    pub(super) fn next_pause_end(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut shared = lock(&self.shared);
        shared.entries.retain(
            |_, entry| !matches!(entry, Entry::PausedUntil(until, _) if *until + FORGET_AFTER <= now),
        );
        let ends = shared.entries.values().filter_map(|entry| match entry {
            Entry::PausedUntil(until, _) => Some(*until).filter(|until| *until > now),
            Entry::Running => None,
        });
        ends.min()
    }

    /// Something changed that may help: what pauses is tried at once, as if for the first time.
    pub(super) fn forget_pauses(&self) {
        lock(&self.shared).entries.retain(|_, entry| matches!(entry, Entry::Running));
    }
}

/// A key that is taken. Dropping it gives the key back, at once or after a pause.
pub(super) struct Guard<K: Eq + Hash, L: Eq + Hash> {
    key: K,
    lane: L,
    /// How often it was tried in vain before.
    tries: u32,
    pause: Option<Duration>,
    shared: Arc<Mutex<Shared<K, L>>>,
    done: Arc<Notify>,
}

impl<K: Eq + Hash, L: Eq + Hash> Guard<K, L> {
    /// Nothing is begun for this key for a while: each time twice as long as the time before, at most `longest`.
    pub(super) fn pause_for(&mut self, first: Duration, longest: Duration) {
        self.pause = Some(first.saturating_mul(1 << self.tries.min(16)).min(longest));
    }
}

impl<K: Eq + Hash, L: Eq + Hash> Drop for Guard<K, L> {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        match self.pause {
            Some(pause) => {
                if let Some(entry) = shared.entries.get_mut(&self.key) {
                    *entry = Entry::PausedUntil(Instant::now() + pause, self.tries + 1);
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

    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(1);

    #[test]
    fn full_lane_delays_no_other() {
        let work: Work<u32, &str> = Work::new(2);
        let (one, _two) = (work.begin(1, "a").unwrap(), work.begin(2, "a").unwrap());
        assert!(work.begin(3, "a").is_none());
        assert!(work.begin(1, "b").is_none(), "it is under way already");
        let _other = work.begin(4, "b").unwrap();
        drop(one);
        let _three = work.begin(3, "a").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_vain_is_tried_less_and_less_often_until_something_changes() {
        let work: Work<u32, ()> = Work::new(1);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            work.begin(1, ()).unwrap().pause_for(FIRST, LONGEST);
            let end = work.next_pause_end().unwrap();
            pauses.push((end - Instant::now()).as_millis());
            assert!(work.begin(1, ()).is_none());
            tokio::time::sleep_until(end).await;
        }
        assert_eq!(pauses, [250, 500, 1_000, 1_000]);
        work.begin(1, ()).unwrap().pause_for(FIRST, LONGEST);
        work.forget_pauses();
        work.begin(1, ()).unwrap().pause_for(FIRST, LONGEST);
        assert_eq!((work.next_pause_end().unwrap() - Instant::now()).as_millis(), 250);
    }
}
