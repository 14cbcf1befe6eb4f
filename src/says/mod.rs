//! Renders events, causes, reasons and failures as English sentences.
//!
//! The API, the command line, the web UI and webhooks all show the sentences of this module. Events refer to things by
//! id, and a sentence takes their names from the state that it is rendered with, so renaming a node changes no cause
//! and breaks no link.
//!
//! Architecture Invariant: no code parses sentences or makes decisions based on them.

mod annotate;
mod events;
mod failures;
mod names;
mod reasons;
mod replay;
mod scheduling;
#[cfg(test)]
mod tests;
mod why;

pub use annotate::with_sentence;
pub use events::{event, uneven};
pub use failures::{failure, probe_failure};
pub use names::Names;
pub use reasons::{container_reason, node_reason, pause, rollout_reason};
pub use replay::difference;
pub use scheduling::{Tense, no_node_fits, rejection};
pub use why::why;

use chrono::{DateTime, Utc};

/// Formats a time: `2026-11-22 03:02:14 UTC`.
fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Formats a count with its noun: `1 container`, `2 containers`.
fn counted(count: impl Into<u64>, what: &str) -> String {
    let count = count.into();
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Joins items with "and": `a`, `a and b`, `a, b and c`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Joins items in backticks with "or": `a`, `a` or `b`, `a`, `b` or `c`.
fn alternatives(items: &[impl std::fmt::Display]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("`{item}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
