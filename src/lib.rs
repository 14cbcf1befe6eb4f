//! kDaemon: an event-sourced manager of containers over plain Docker engines.

pub mod api;
pub mod archive;
pub mod audit;
pub mod cli;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod history;
pub mod http_client;
pub mod journal;
pub mod latest;
pub mod leader;
pub mod past;
pub mod reactors;
pub mod scheduler;
pub mod store;
