//! Where containers run: filters, the choice of a node, the rebalance plan, and the words that explain them.
//!
//! Architecture Invariant: pure. The same state gives the same decision; nothing here knows a clock, an
//! engine or tokio.

mod filter;
mod place;
mod rebalance;

pub use filter::Misfit;
pub use place::{Choice, NoFit, Request, place};
pub use rebalance::{Plan, plan};
