//! The journal: commands in, one durable commit, then the new state and the answers.

mod commits;
mod doubles;
mod failures;
mod feed;
mod keys;
mod snapshots;
