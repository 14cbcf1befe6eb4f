//! Everything that runs in the test process itself: the API, engines, the journal, reactors and stores.
//!
//! One binary, because each integration test binary links the whole program again.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod api;
mod engine;
mod journal;
mod reactors;
mod store;
mod support;
