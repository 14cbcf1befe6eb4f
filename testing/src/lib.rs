//! Test support: simulated engines and an in-memory store, for tests, benches and the simulation. The program
//! does not depend on it.

pub mod engines;
mod store;

pub use store::MemoryStore;
