//! The folds: from events to nodes, applications and containers.
//!
//! [`Cluster`] is the whole state. [`Cluster::apply`] folds one event into it and is total: no log, however
//! odd, makes it fail or panic.
//!
//! Architecture Invariant: this crate does no I/O, reads no clock and draws no random number. Folding the
//! same log twice gives the same bytes.

mod application;
mod apply;
mod cluster;
mod container;
mod data;
mod eligible;
mod json_text;
mod node;
mod snapshot;
mod waiting;

pub use application::{Application, Rollout, RolloutState};
pub use cluster::{Cluster, Pause, Touched};
pub use container::{
    Attempts, Container, ContainerHealth, Desired, Home, Phase, PhaseKind, Placement, Reason, Retired, Status,
};
pub use eligible::{Eligible, Standing};
pub use node::{Health, Node, UnmountedNode};
pub use snapshot::SnapshotError;
