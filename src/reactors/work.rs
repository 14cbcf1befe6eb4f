//! What a reactor has under way: one task per key at a time, and a pause after a failure.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The tasks of one reactor. Losing it loses nothing but the knowledge of what need not be begun twice.
pub(super) struct Work<K> {
    entries: Arc<Mutex<HashMap<K, Entry>>>,
    /// Rings when a task ended.
    pub(super) done: Arc<Notify>,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Running,
    PausedUntil(Instant),
}

impl<K: Eq + Hash + Clone> Work<K> {
    pub(super) fn new() -> Self {
        Self { entries: Arc::default(), done: Arc::new(Notify::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a key, unless it is taken or pauses. The guard gives it back.
    pub(super) fn begin(&self, key: K) -> Option<Guard<K>> {
        let mut entries = self.lock();
        match entries.get(&key) {
            Some(Entry::Running) => return None,
            Some(Entry::PausedUntil(until)) if *until > Instant::now() => return None,
            _ => {}
        }
        entries.insert(key.clone(), Entry::Running);
        drop(entries);
        Some(Guard { key, pause: None, entries: Arc::clone(&self.entries), done: Arc::clone(&self.done) })
    }

    /// How many tasks run.
    pub(super) fn running(&self) -> usize {
        self.lock().values().filter(|entry| matches!(entry, Entry::Running)).count()
    }

    /// When the next pause ends; pauses that are over are forgotten.
    pub(super) fn next_pause_end(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut entries = self.lock();
        entries.retain(|_, entry| !matches!(entry, Entry::PausedUntil(until) if *until <= now));
        entries
            .values()
            .filter_map(|entry| match entry {
                Entry::PausedUntil(until) => Some(*until),
                Entry::Running => None,
            })
            .min()
    }
}

/// A key that is taken. Dropping it gives the key back, at once or after a pause.
pub(super) struct Guard<K: Eq + Hash> {
    key: K,
    pause: Option<Duration>,
    entries: Arc<Mutex<HashMap<K, Entry>>>,
    done: Arc<Notify>,
}

impl<K: Eq + Hash> Guard<K> {
    /// Nothing is begun for this key for a while.
    pub(super) fn pause_for(&mut self, pause: Duration) {
        self.pause = Some(pause);
    }
}

impl<K: Eq + Hash> Drop for Guard<K> {
    fn drop(&mut self) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match self.pause {
            Some(pause) => {
                if let Some(entry) = entries.get_mut(&self.key) {
                    *entry = Entry::PausedUntil(Instant::now() + pause);
                }
            }
            None => {
                entries.remove(&self.key);
            }
        }
        drop(entries);
        self.done.notify_one();
    }
}
