//! The journal: commands in, one durable commit, then the new state and the answers.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod commits;
mod doubles;
mod failures;
mod feed;
mod keys;
mod snapshots;
