//! What the log tells about the past: what an event changed, what differs between two moments, and why things are as
//! they are.
//!
//! Architecture Invariant: pure. States and events come in, words and data go out; where they are read from is not
//! known here.

mod changes;
mod diff;
mod replay;
mod why;

pub use changes::{Change, Changes, RowSource, changes, fields};
pub use diff::{Comparison, Diff, Differences, Edited, Entry};
pub use replay::{Difference, Figures, Peak, Replay, Replayed, Spread};
pub use why::{Inquiry, Step, Want, Why, is_failed_probe};
