//! Where containers run: filters, the choice of a node, the rebalance plan, and the words that explain them.
//!
//! Architecture Invariant: pure. The same state gives the same decision; nothing here knows a clock, an
//! engine or tokio.

mod disruption;
mod explain;
mod filter;
mod place;
mod rebalance;
mod score;
mod scratch;

pub use disruption::Disruptions;
pub use explain::{NoFit, Verdict, explain};
pub use filter::Misfit;
pub use place::{Choice, Request, place};
pub use rebalance::{Plan, plan};
pub use score::{Penalty, Score};
pub use scratch::evacuate;
