//! Exponential backoff: the one rule for how long to wait after a failure.

use std::time::Duration;

/// A pause that doubles with each failure in a row, up to a limit. Without jitter: the same failures give the same
/// pauses, so that a simulation can be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Backoff {
    /// A backoff that starts at `first` and never exceeds `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The same pause after every failure.
    #[must_use]
    pub const fn constant(pause: Duration) -> Self {
        Self::new(pause, pause)
    }

    /// The pause after this many failures in a row, counted from 1. Zero failures pause as one does.
    #[must_use]
    pub fn pause(self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_for_any_number_of_failures() {
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(1));
        let pauses = [0, 1, 2, 3, 4, 31, 32, 33, u32::MAX].map(|n| backoff.pause(n).as_millis());
        assert_eq!(pauses, [250, 250, 500, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000]);
    }

    #[test]
    fn a_constant_backoff_never_grows() {
        let backoff = Backoff::constant(Duration::from_secs(2));
        assert_eq!([1, 2, 40].map(|n| backoff.pause(n).as_secs()), [2, 2, 2]);
    }
}
