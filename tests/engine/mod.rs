//! Engines: the conformance suite of every [`kdaemon::engine::Engine`], and tests of real ones.

mod conformance;
mod docker;
mod doubles;
mod given;
