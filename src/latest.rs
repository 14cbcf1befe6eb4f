//! The latest value of something, for whoever wants to see how it changes: tokio's `watch`, except that those who
//! wait are woken in the order in which they began to wait.
//!
//! Tokio draws that order at random, and with it the order in which reactors act on a change: the same seed would
//! not give the same simulation.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// Set in the version when the sender is gone.
const CLOSED: u64 = 1;
/// What each change adds to the version.
const CHANGE: u64 = 2;

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    version: AtomicU64,
    changed: Notify,
}

/// Sets the value. When it is dropped, nothing changes any more.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the value.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

/// The sender is gone: nothing changes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing changes any more")]
pub struct Closed;

/// A look at the value. No change can happen while it is held.
#[derive(Debug)]
pub struct Ref<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A value, and a first receiver that has seen it.
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Shared<T> {
    fn read(&self) -> Ref<'_, T> {
        Ref(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Sender<T> {
    /// A value that nobody sees yet.
    #[must_use]
    pub fn new(value: T) -> Self {
        let (value, version) = (RwLock::new(value), AtomicU64::new(0));
        Self(Arc::new(Shared { value, version, changed: Notify::new() }))
    }

    /// A receiver that has seen the present value.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: Arc::clone(&self.0), seen: self.0.version.load(Ordering::Acquire) & !CLOSED }
    }

    /// The present value.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.read()
    }

    /// Puts another value in its place.
    pub fn send_replace(&self, value: T) {
        self.send_modify(|old| *old = value);
    }

    /// Changes the value.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Changes the value, and says whether that is news.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
        let modified = change(&mut value);
        if modified {
            self.0.version.fetch_add(CHANGE, Ordering::Release);
        }
        drop(value);
        if modified {
            self.0.changed.notify_waiters();
        }
        modified
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.version.fetch_or(CLOSED, Ordering::Release);
        self.0.changed.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// The present value.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// The present value, which counts as seen from now on.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        look(&self.shared, &mut self.seen)
    }

    /// Waits until there is a value that was not seen.
    ///
    /// # Errors
    /// When the sender is gone.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        changed(&self.shared, &mut self.seen).await
    }

    /// Waits until the value is as wanted.
    ///
    /// # Errors
    /// When the sender is gone before that.
    pub async fn wait_for(&mut self, mut condition: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        let Self { shared, seen } = self;
        loop {
            {
                let value = look(shared, seen);
                if condition(&value) {
                    return Ok(value);
                }
            }
            changed(shared, seen).await?;
        }
    }
}

fn look<'a, T>(shared: &'a Shared<T>, seen: &mut u64) -> Ref<'a, T> {
    let value = shared.read();
    *seen = shared.version.load(Ordering::Acquire) & !CLOSED;
    value
}

async fn changed<T>(shared: &Shared<T>, seen: &mut u64) -> Result<(), Closed> {
    loop {
        // Made before the look at the version: no change falls between the two.
        let notified = shared.changed.notified();
        let version = shared.version.load(Ordering::Acquire);
        if version & !CLOSED != *seen {
            *seen = version & !CLOSED;
            return Ok(());
        }
        if version & CLOSED != 0 {
            return Err(Closed);
        }
        notified.await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn a_receiver_sees_what_changed_since_it_looked_and_the_end() {
        let (sender, mut receiver) = channel(1);
        assert_eq!(*receiver.borrow_and_update(), 1);
        sender.send_replace(2);
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow_and_update(), 2);
        assert!(!sender.send_if_modified(|_| false));
        let waits = tokio::spawn(async move { receiver.wait_for(|value| *value == 4).await.map(|v| *v) });
        tokio::task::yield_now().await;
        sender.send_modify(|value| *value = 3);
        tokio::task::yield_now().await;
        sender.send_modify(|value| *value = 4);
        drop(sender);
        assert_eq!(waits.await.unwrap(), Ok(4));
        let (sender, mut receiver) = channel(());
        drop(sender);
        assert_eq!(receiver.changed().await, Err(Closed));
    }

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_began_to() {
        let sender = Sender::new(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let all: Vec<_> = (0..32)
            .map(|number| {
                let (mut receiver, order) = (sender.subscribe(), Arc::clone(&order));
                tokio::spawn(async move {
                    receiver.changed().await.unwrap();
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        sender.send_replace(1);
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..32).collect::<Vec<_>>());
    }
}
