//! The stores: one contract that all of them keep, and what only a store on a disk can meet.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod archive;
mod audit;
mod contract;
mod crash;
mod disk;
mod events;
mod faults;
mod lease;
mod pruning;
mod rethinkdb;
mod sqlite;
#[path = "../support/mod.rs"]
mod support;
