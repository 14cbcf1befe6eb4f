//! What travels over HTTP: the rows, pages and reports that the server answers, and the problems it answers instead.
//!
//! The server serializes these types and generates its OpenAPI description from them; the command line and the tests
//! deserialize them. Field names are part of the contract and never change; new fields are added at the end.
//!
//! Architecture Invariant: this crate knows the vocabulary of events and nothing else of kDaemon.

mod application;
mod audit;
mod container;
mod daemon;
mod diff;
mod event;
mod history;
mod node;
mod problem;
mod replay;
mod row;
mod state;
mod why;

pub use application::ApplicationRow;
pub use audit::{
    AuditProgress, AuditReport, ConsistencyReport, InclusionReport, LeafHeader, RejectedCommit, VerifiedHead,
};
pub use container::{
    ContainerRow, ContainerStats, ContainerStatus, DesiredState, LaunchProgress, LaunchStep, PortRow,
};
pub use daemon::{DaemonRole, Liveness, Readiness, Rebalance, RebuiltTables};
pub use diff::{AddedOrRemoved, Changed, DiffReport, KindDiff};
pub use event::{DryRun, EventPage, EventRow};
pub use history::{FieldChange, FieldChanges, History, HistoryEvent, Namesake};
pub use node::{EngineRow, NodeRow, NodeState};
pub use problem::{NodeRejection, ProblemDetails};
pub use replay::{PolicyRow, ReplayDifference, ReplayFigures, ReplayPeak, ReplayReport, ReplaySpread};
pub use row::Row;
pub use state::{ClusterState, Moment};
pub use why::{WhyReport, WhyStep};
