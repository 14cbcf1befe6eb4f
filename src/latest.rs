//! A watch channel like tokio's `watch`, except that it wakes receivers in FIFO order.
//!
//! Tokio picks that order at random, and with it the order in which reactors act on a change: one seed would
//! not always give the same simulation.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// Version bit: the sender is gone.
const CLOSED: u64 = 1;
/// Added to the version by each change.
const CHANGE: u64 = 2;

#[derive(Debug)]
struct ChannelState<T> {
    value: RwLock<T>,
    version: AtomicU64,
    changed: Notify,
}

/// Sets the value. Dropping it closes the channel.
#[derive(Debug)]
pub struct Sender<T>(Arc<ChannelState<T>>);

/// Reads the value and waits for changes.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<ChannelState<T>>,
    seen: u64,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

/// The sender is gone: the value will not change again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing changes any more")]
pub struct Closed;

/// A borrowed value. The value cannot change while it is held.
#[derive(Debug)]
pub struct Ref<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A channel with an initial value, which the receiver has seen.
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> ChannelState<T> {
    fn read(&self) -> Ref<'_, T> {
        Ref(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Sender<T> {
    /// A sender without receivers.
    #[must_use]
    pub fn new(value: T) -> Self {
        let (value, version) = (RwLock::new(value), AtomicU64::new(0));
        Self(Arc::new(ChannelState { value, version, changed: Notify::new() }))
    }

    /// A new receiver that has seen the current value.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: Arc::clone(&self.0), seen: self.0.version.load(Ordering::Acquire) & !CLOSED }
    }

    /// The current value.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.read()
    }

    /// Replaces the value.
    pub fn send_replace(&self, value: T) {
        self.send_modify(|old| *old = value);
    }

    /// Changes the value in place.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Changes the value in place; receivers are woken only if `change` returns true.
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
    /// The current value.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// The current value, and marks it as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        look(&self.shared, &mut self.seen)
    }

    /// Waits for a value that this receiver has not seen.
    ///
    /// # Errors
    /// When the sender is gone.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        changed(&self.shared, &mut self.seen).await
    }

    /// Waits until the value satisfies a condition.
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

fn look<'a, T>(shared: &'a ChannelState<T>, seen: &mut u64) -> Ref<'a, T> {
    let value = shared.read();
    *seen = shared.version.load(Ordering::Acquire) & !CLOSED;
    value
}

async fn changed<T>(shared: &ChannelState<T>, seen: &mut u64) -> Result<(), Closed> {
    loop {
        // Registered before the version is read, so that no change is missed in between.
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
    async fn receiver_sees_changes_and_the_end() {
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
    async fn receivers_are_woken_in_fifo_order() {
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
