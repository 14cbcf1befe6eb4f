//! The vocabulary of kDaemon: every event that a log can hold, its envelope and its codec.
//!
//! An event is a fact in the past tense and never changes. When a kind gets a new form its version is
//! incremented, and older versions are upcast when they are read ([`Event::decode`]).
//!
//! Architecture Invariant: this crate does no I/O, reads no clock and draws no random number.

pub mod application;
mod canonical;
pub mod cluster;
pub mod container;
mod digest;
mod envelope;
pub mod failure;
mod health_check;
mod ids;
mod leaf;
pub mod node;
mod resources;
pub mod scheduling;
mod spec;
mod spec_error;
mod strategy;
mod time;
mod tree;
pub mod volume;

pub use digest::Digest;
pub use envelope::{Actor, Class, CodecError, Envelope, Event, Kind, RequestId};
pub use health_check::{HealthCheck, HealthCommand};
pub use ids::{
    ApplicationId, ClusterId, CommitId, ContainerId, EventId, Generation, NodeId, PlacementId, Seq, Subject,
    Term,
};
pub use leaf::{LeafHeader, Salt, content_digest};
pub use resources::{MilliCpus, Reservation, Resources};
pub use spec::{
    Constraint, Endpoint, Environment, PortSpec, Protocol, PublishedPort, RestartPolicy, Spec, SpecChanges,
    UpdatePolicy,
};
pub use spec_error::SpecError;
pub use strategy::Strategy;
pub use tree::{EMPTY_ROOT, Frontier, NODE_LEAVES, NODE_LEVEL, NodePlace, TreeNode, interior, peaks_of};
pub use volume::{DataPolicy, Volume};

/// The most events that one commit holds.
pub const COMMIT_EVENTS_LIMIT: usize = 1_000;
