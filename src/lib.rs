//! kDaemon: an event-sourced manager of containers over plain Docker engines.

pub mod engine;
