//! The time of the log.

use super::Runtime;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;
use uuid::Uuid;

/// A clock that never falls behind the log. Where another daemon's clock is hours ahead, or this one's was put back, the
/// log has events of the future: time goes on from the last of them, at its own pace, until the machine's clock has come
/// up with it. (A time that stood still until then would hold up every restart and every pause.)
pub(super) struct LogTime {
    runtime: Arc<dyn Runtime>,
    /// A time that the log had reached, and when this process saw it.
    ahead: Mutex<Option<(DateTime<Utc>, Instant)>>,
}

impl LogTime {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, ahead: Mutex::new(None) }
    }

    /// Takes note of a time that the log has reached.
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
