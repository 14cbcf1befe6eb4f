//! Questions about the past: what an event changed, what differs between two moments, and what caused a
//! state.
//!
//! Architecture Invariant: states and events come in, data goes out. Sentences are made of it elsewhere.

mod changes;
mod diff;
mod replay;
mod why;

pub use changes::{Change, Changes, RowSource, changes, fields};
pub use diff::{Comparison, Diff, Differences, Edited, Entry};
pub use replay::{Decided, DecisionDifference, Figures, Peak, Replay, Replayed, Spread};
pub use why::{About, Inquiry, PROBES_LIMIT, Want, is_failed_probe, out_of_placement};
