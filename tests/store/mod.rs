//! The stores: one contract that all of them keep, and what only a store on a disk can meet.

mod archive;
mod audit;
mod contract;
mod crash;
mod disk;
mod events;
mod faults;
mod lease;
mod on_rethinkdb;
mod pruning;
mod rethinkdb;
mod sqlite;
