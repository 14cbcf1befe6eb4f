//! The API as its clients see it: every row of the contract, and every kind of failure.

mod applications;
mod audit;
mod commands;
mod containers;
mod events;
mod guards;
mod harness;
mod lists;
mod nodes;
mod openapi;
mod past;
mod replay;
mod serving;
mod streams;
mod websocket;
