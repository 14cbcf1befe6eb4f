//! The built program, driven from outside: its command line, its processes, its web UI, and clusters of it.
//!
//! One binary, because each integration test binary links the whole program again.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod browser;
mod cli;
mod cluster;
mod daemons;
mod program;
mod support;
