//! The stores: one contract that all of them keep, and what only a store on a disk can meet.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod contract;
mod crash;
mod disk;
mod events;
mod pruning;
mod sqlite;
