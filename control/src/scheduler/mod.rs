//! The scheduler: filters, the choice of a node, the rebalance plan, and evaluations.
//!
//! Architecture Invariant: scheduling is pure. The same state gives the same decision; nothing here knows a
//! clock, an engine or tokio.

mod data;
mod disruption_budget;
mod evacuate;
mod evaluate;
mod filter;
mod place;
mod proposed_plan;
mod rebalance;
mod request;
mod score;

pub use data::DataNodes;
pub use disruption_budget::DisruptionBudget;
pub use evacuate::evacuate;
pub use evaluate::{explain, takes};
pub use place::{Choice, place};
pub use rebalance::{MoveLimit, Plan, plan};
pub use request::Request;
