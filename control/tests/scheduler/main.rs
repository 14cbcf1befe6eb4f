//! The scheduler on random clusters: every choice and every plan is compared with a naive one.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod model;
mod naive;
mod places;
mod plans;
#[path = "../commands/written.rs"]
mod written;
