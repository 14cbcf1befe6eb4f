//! The control loop on simulated engines, in virtual time: journal, reactors and scheduler as in the daemon,
//! with a store in memory.

mod harness;
mod launching;
mod leader;
mod nodes;
mod retention;
mod snapshots;
