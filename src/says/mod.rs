//! The renderer of sentences: events, causes, reasons and failures in plain English, made from ids.
//!
//! Nothing else in the program turns an event into words: the API, the command line, the web UI and webhooks all show what
//! is made here. A sentence names things as they are called in the state that it is rendered with, so renaming a node
//! changes no cause and breaks no link.
//!
//! Architecture Invariant: sentences are written, never read. Nothing decides on a text that this module made.

mod beside;
mod events;
mod failures;
mod names;
mod reasons;
mod replay;
mod scheduling;
#[cfg(test)]
mod tests;
mod why;

pub use beside::beside;
pub use events::{event, uneven};
pub use failures::{failure, probe_failure};
pub use names::Names;
pub use reasons::{container_reason, node_reason, pause};
pub use replay::difference;
pub use scheduling::{Tense, no_node_fits, rejection};
pub use why::why;

use chrono::{DateTime, Utc};

/// `2026-11-22 03:02:14 UTC`
fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `1 container`, `2 containers`
fn counted(count: impl Into<u64>, what: &str) -> String {
    let count = count.into();
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// `a`, `a and b`, `a, b and c`
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `a`, `a or b`, `a, b or c` in backticks.
fn alternatives(items: &[impl std::fmt::Display]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("`{item}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
