//! Engines: one suite that every [`kdaemon::engine::Engine`] passes, and what is particular to real ones.

mod conformance;
mod docker;
mod doubles;
mod given;
