//! The stores: the contract that all of them satisfy, and failures of a store on disk.

mod archive;
mod audit;
mod contract;
mod crash;
mod disk;
mod events;
mod faults;
mod forgeries;
mod lease;
mod on_rethinkdb;
mod proofs;
mod pruning;
mod rethinkdb;
mod sqlite;
