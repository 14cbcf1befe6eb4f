//! Tests of stores: the contract of all stores, verification, and failures of disks, servers and connections.

mod archive;
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
mod verification;
