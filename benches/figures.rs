//! Figures: what was measured, beside its peer of the same run and its limit.

use std::fmt;
use std::time::Duration;

/// A measured value with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// A time.
    Time(Duration),
    /// So many in a second.
    PerSecond(f64),
    /// Memory, in bytes.
    Bytes(u64),
}

impl Value {
    /// Its number, in seconds, per second, or bytes.
    #[allow(clippy::cast_precision_loss)] // for a ratio of two
    fn number(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::PerSecond(rate) => rate,
            Self::Bytes(bytes) => bytes as f64,
        }
    }
}

impl fmt::Display for Value {
    #[allow(clippy::cast_precision_loss)] // for people
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Time(time) if *time >= Duration::from_secs(1) => format!("{:.1} s", time.as_secs_f64()),
            Self::Time(time) if *time < Duration::from_micros(100) => {
                format!("{:.2} us", time.as_secs_f64() * 1_000_000.0)
            }
            Self::Time(time) => format!("{:.2} ms", time.as_secs_f64() * 1_000.0),
            Self::PerSecond(rate) => format!("{rate:.0}/s"),
            Self::Bytes(bytes) => format!("{:.0} MB", *bytes as f64 / 1_000_000.0),
        };
        f.pad(&text)
    }
}

/// What a figure must hold to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit<'a> {
    /// The value itself stays below this.
    Below(Value),
    /// The value itself is at least this.
    AtLeast(Value),
    /// Value divided by the peer's is at most this.
    RatioAtMost(&'a str, Value, f64),
    /// Value divided by the peer's is at least this.
    RatioAtLeast(&'a str, Value, f64),
}

/// Prints figures as they come, and counts them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    figures: u32,
    beyond: u32,
}

impl Table {
    /// A figure with its limit.
    pub(crate) fn figure(&mut self, what: &str, value: Value, limit: Limit<'_>) {
        let (peer, ratio, bound, is_kept) = match limit {
            Limit::Below(bound) => {
                (String::new(), String::new(), bound.to_string(), value.number() < bound.number())
            }
            Limit::AtLeast(bound) => {
                (String::new(), String::new(), format!(">= {bound}"), value.number() >= bound.number())
            }
            Limit::RatioAtMost(name, peer, bound) => {
                let ratio = value.number() / peer.number();
                (format!("{name} {peer}"), format!("ratio {ratio:.2}"), bound.to_string(), ratio <= bound)
            }
            Limit::RatioAtLeast(name, peer, bound) => {
                let ratio = value.number() / peer.number();
                let bound_text = format!(">= {bound}");
                (format!("{name} {peer}"), format!("ratio {ratio:.2}"), bound_text, ratio >= bound)
            }
        };
        self.figures += 1;
        self.beyond += u32::from(!is_kept);
        let verdict = if is_kept { "ok" } else { "BEYOND" };
        println!("{what:<58} {value:>10}   {peer:<28} {ratio:<10}   limit {bound:<8} {verdict}");
    }

    /// Something good to know that has no limit.
    pub(crate) fn note(&self, what: &str, value: impl fmt::Display) {
        println!("{what:<58} {value:>10}");
    }

    /// The last line.
    pub(crate) fn finish(self) {
        println!("{} figures, {} beyond their limit", self.figures, self.beyond);
    }
}

/// Tells the person who waits what goes on.
pub(crate) fn progress(text: &str) {
    eprintln!(".. {text}");
}

/// The value below which `per_mille` of 1,000 values are.
pub(crate) fn quantile<T: Ord + Copy>(values: &[T], per_mille: usize) -> T {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * per_mille / 1_000]
}

/// The value in the middle.
pub(crate) fn median<T: Ord + Copy>(values: &[T]) -> T {
    quantile(values, 500)
}

/// The value in the middle of numbers.
pub(crate) fn median_rate(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}
