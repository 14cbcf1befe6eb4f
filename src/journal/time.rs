//! The log's clock.

use super::Runtime;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// A clock that is never earlier than the log. If another daemon's clock is hours ahead, or this one's was
/// set back, the log has events from the future: time continues from the last of them, at its normal rate,
/// until the machine's clock catches up. (A time that stood still until then would delay every restart and
/// every backoff.)
pub(super) struct LogTime {
    runtime: Arc<dyn Runtime>,
    /// A time that the log reached, and when this process saw it.
    ahead: Mutex<Option<(DateTime<Utc>, Instant)>>,
}

impl LogTime {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, ahead: Mutex::new(None) }
    }

    /// How far the log is ahead of the machine's clock; zero if it is not.
    pub(super) fn ahead(&self) -> Duration {
        (self.now() - self.runtime.now()).to_std().unwrap_or_default()
    }

    /// Records a time that the log has reached.
    pub(super) fn reached(&self, at: DateTime<Utc>) {
        if at > self.now() {
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, Instant::now()));
        }
    }
}

impl Runtime for LogTime {
    fn now(&self) -> DateTime<Utc> {
        let now = self.runtime.now();
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, since)) = *ahead else { return now };
        let log = TimeDelta::from_std(since.elapsed()).ok().and_then(|gone| at.checked_add_signed(gone));
        if log.is_none_or(|log| log <= now) {
            *ahead = None;
        }
        log.map_or(now, |log| log.max(now))
    }

    fn random(&self) -> Uuid {
        self.runtime.random()
    }
}
