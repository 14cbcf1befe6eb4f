//! The pure decisions of kDaemon: which events a command leads to, where containers run, what has to be done next, and
//! what the log tells about the past.
//!
//! Architecture Invariant: this crate does no I/O, reads no clock and draws no random number: none of its dependencies
//! can. Time, identities and limits come in with the command's context.

pub mod backoff;
pub mod commands;
pub mod history;
pub mod networks;
pub mod observed;
pub mod reconcile;
pub mod scheduler;
