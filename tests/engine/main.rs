//! Engines: one suite that every [`kdaemon::engine::Engine`] passes, and what is particular to real ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conformance;
mod docker;
mod doubles;
mod given;
#[path = "../support/mod.rs"]
mod support;
