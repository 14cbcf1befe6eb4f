//! Test support: simulated engines and a store in memory. For tests, benches and the simulation; the program does not
//! depend on it.

pub mod engines;
mod store;

pub use store::MemoryStore;
