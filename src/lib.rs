//! kDaemon: an event-sourced manager of containers over plain Docker engines.

pub mod archive;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod http_client;
pub mod journal;
pub mod latest;
pub mod leader;
pub mod leadership;
pub mod past;
pub mod proof;
pub mod reactors;
pub mod rows;
pub mod says;
pub mod server;
pub mod store;
pub mod verify;
