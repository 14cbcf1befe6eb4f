//! The control loop on simulated engines, in virtual time: journal, reactors and scheduler as in the daemon,
//! with an in-memory store.

mod harness;
mod launching;
mod leader;
mod networks;
mod nodes;
mod retention;
mod snapshots;
