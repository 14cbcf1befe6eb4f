//! The simulation's clock: milliseconds since its start, and the dates that they stand for.

use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;
use tokio::time::Instant;

/// The simulation's clock starts at 2026-01-01T00:00:00Z.
const EPOCH_S: i64 = 1_767_225_600;

/// Simulated time: milliseconds of tokio's clock since the world was created.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorldClock(pub(super) Instant);

impl WorldClock {
    pub(super) fn now_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) async fn sleep_until(self, at_ms: u64) {
        // Bounded to a century, so that no sum overflows.
        tokio::time::sleep_until(self.0 + Duration::from_millis(at_ms.min(3_155_760_000_000))).await;
    }
}

/// The date of the moment `at_ms` of the simulation.
pub(super) fn date(at_ms: u64) -> DateTime<Utc> {
    let since = i64::try_from(at_ms).ok().and_then(TimeDelta::try_milliseconds).unwrap_or(TimeDelta::MAX);
    let epoch = DateTime::from_timestamp(EPOCH_S, 0).unwrap_or_default();
    epoch.checked_add_signed(since).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The moment of the simulation at a date; dates before its start map to the start.
pub(super) fn moment(at: DateTime<Utc>) -> u64 {
    u64::try_from((at - date(0)).num_milliseconds()).unwrap_or(0)
}
