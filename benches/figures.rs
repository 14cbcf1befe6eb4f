//! Figures: measured values with the peer of the same run and the target that each is compared with.

use std::fmt;
use std::time::Duration;

/// The width of a name in the printed table. `against.rs` reads the lines that this file prints.
const NAME_WIDTH: usize = 62;

/// A measured value with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// A duration.
    Time(Duration),
    /// A rate per second.
    PerSecond(f64),
    /// A size in bytes.
    Bytes(u64),
}

impl Value {
    /// The number in seconds, per second, or bytes.
    #[allow(clippy::cast_precision_loss)] // the precision of a ratio does not matter
    pub(crate) fn number(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::PerSecond(rate) => rate,
            Self::Bytes(bytes) => bytes as f64,
        }
    }
}

impl fmt::Display for Value {
    #[allow(clippy::cast_precision_loss)] // rounded for display
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

/// The target of a figure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit<'a> {
    /// The value is below this one.
    Below(Value),
    /// The value is at least this one.
    AtLeast(Value),
    /// The value divided by the peer's value is at most this.
    RatioAtMost(&'a str, Value, f64),
    /// The value divided by the peer's value is at least this.
    RatioAtLeast(&'a str, Value, f64),
}

/// A line of the table. A column without content is empty.
#[derive(Debug, Default, Clone)]
pub(crate) struct Row {
    /// The name; one that starts with two spaces continues the row above it.
    pub(crate) name: String,
    pub(crate) value: String,
    /// Name and value of the peer, or a remark.
    pub(crate) peer: String,
    pub(crate) ratio: String,
    pub(crate) limit: String,
    /// Whether the figure meets its target; `None` for a figure without one.
    pub(crate) is_met: Option<bool>,
}

impl Row {
    /// `ok`, `BEYOND`, or nothing.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.is_met {
            Some(true) => "ok",
            Some(false) => "BEYOND",
            None => "",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, peer, ratio, limit, .. } = self;
        let limit = if limit.is_empty() { String::new() } else { format!("limit {limit}") };
        let line = format!(
            "{name:<NAME_WIDTH$} {value:>10}   {peer:<30} {ratio:<10} {limit:<17} {}",
            self.verdict()
        );
        f.write_str(line.trim_end())
    }
}

/// The rows of one bench.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    /// One line: what is measured, and against what.
    pub(crate) about: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// Prints figures as they are measured, and keeps them for the report.
#[derive(Debug, Default)]
pub(crate) struct Table {
    sections: Vec<Section>,
}

impl Table {
    /// Starts the section of a bench.
    pub(crate) fn begin(&mut self, name: &'static str, about: &'static str) {
        println!("{name}: {about}");
        self.sections.push(Section { name, about, rows: Vec::new() });
    }

    /// Adds a figure that has a target.
    pub(crate) fn figure(&mut self, name: &str, value: Value, limit: Limit<'_>) {
        let number = value.number();
        let ratio_to = |name: &str, peer: Value| {
            let ratio = number / peer.number();
            (ratio, format!("{name} {peer}"), format!("ratio {ratio:.2}"))
        };
        let (peer, ratio, limit, is_met) = match limit {
            Limit::Below(bound) => {
                (String::new(), String::new(), format!("< {bound}"), number < bound.number())
            }
            Limit::AtLeast(bound) => {
                (String::new(), String::new(), format!(">= {bound}"), number >= bound.number())
            }
            Limit::RatioAtMost(name, peer, bound) => {
                let (ratio, peer, text) = ratio_to(name, peer);
                (peer, text, format!("<= {bound}"), ratio <= bound)
            }
            Limit::RatioAtLeast(name, peer, bound) => {
                let (ratio, peer, text) = ratio_to(name, peer);
                (peer, text, format!(">= {bound}"), ratio >= bound)
            }
        };
        let value = value.to_string();
        self.add(Row { name: name.to_owned(), value, peer, ratio, limit, is_met: Some(is_met) });
    }

    /// Adds a figure that is compared with a peer and has no target.
    pub(crate) fn compared(&mut self, name: &str, value: Value, peer_name: &str, peer: Value) {
        let ratio = format!("ratio {:.2}", value.number() / peer.number());
        let (name, value, peer) = (name.to_owned(), value.to_string(), format!("{peer_name} {peer}"));
        self.add(Row { name, value, peer, ratio, ..Row::default() });
    }

    /// Adds a figure without a peer and without a target.
    pub(crate) fn note(&mut self, name: &str, value: impl fmt::Display) {
        self.add(Row { name: name.to_owned(), value: value.to_string(), ..Row::default() });
    }

    /// Records that figures are missing because something they need is not available.
    pub(crate) fn skip(&mut self, why: &str) {
        self.add(Row { name: format!("not measured: {why}"), ..Row::default() });
    }

    /// Prints a row and keeps it.
    pub(crate) fn add(&mut self, row: Row) {
        println!("{row}");
        if let Some(section) = self.sections.last_mut() {
            section.rows.push(row);
        }
    }

    /// The sections so far.
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// One line: how many figures have a target, and how many miss it.
    pub(crate) fn summary(&self) -> String {
        let verdicts: Vec<bool> =
            self.sections.iter().flat_map(|s| &s.rows).filter_map(|r| r.is_met).collect();
        let missed = verdicts.iter().filter(|is_met| !**is_met).count();
        format!("{} figures with a limit, {missed} BEYOND", verdicts.len())
    }
}

/// Reports progress on stderr.
pub(crate) fn progress(text: &str) {
    eprintln!(".. {text}");
}

/// The value at a quantile, given in thousandths.
pub(crate) fn quantile<T: Ord + Copy>(values: &[T], per_mille: usize) -> T {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * per_mille / 1_000]
}

/// The median.
pub(crate) fn median<T: Ord + Copy>(values: &[T]) -> T {
    quantile(values, 500)
}

/// The median of numbers.
pub(crate) fn median_number(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}
