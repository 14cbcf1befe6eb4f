//! Decisions: given events, when a command, then exactly these events or this refusal.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod applications;
mod arbitrary;
mod check;
mod containers;
mod context;
mod data;
mod fixture;
mod golden;
mod moves;
mod networks;
mod nodes;
mod observations;
mod placement;
mod probes;
mod properties;
mod reconcile;
mod retention;
mod rollouts;
mod world;
mod written;
