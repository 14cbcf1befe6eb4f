//! The wire types of the HTTP API: rows, pages, reports and problems.
//!
//! The server serializes these types and generates its OpenAPI description from them; the command line and the tests
//! deserialize them. Field names are part of the contract and never change; new fields are added at the end.
//!
//! Names: a `…Row` shows one thing, as lists and reads return it; a `…Report` is computed on request. The schemas of the
//! OpenAPI description have the names of the types.
//!
//! Architecture Invariant: this crate knows the vocabulary of events and nothing else of kDaemon.

mod application;
mod audit;
mod container;
mod daemon;
mod diff;
mod environment;
mod event;
mod history;
mod node;
mod problem;
mod replay;
mod row;
mod schema;
mod state;
mod why;

pub use application::{ApplicationRow, RolloutRow, RolloutStatus, UpdateRow};
pub use audit::{
    AuditHead, AuditProgress, AuditReport, ConsistencyReport, InclusionReport, LeafHeaderReport,
    RejectedCommit,
};
pub use container::{
    ContainerRow, ContainerStats, ContainerStatus, DesiredState, HealthStatus, LaunchProgress, LaunchStep,
    PortRow,
};
pub use daemon::{DaemonRole, Liveness, Readiness, Rebalance, RebuiltTables};
pub use diff::{AddedOrRemovedRow, ChangedRow, DiffReport, KindDiff};
pub use environment::{environment_of, environment_text};
pub use event::{DryRun, EventPage, EventRow};
pub use history::{FieldChange, FieldChanges, History, HistoryEvent, Namesake};
pub use node::{EngineRow, NodeRow, NodeState};
pub use problem::{ProblemDetails, RejectedNode};
pub use replay::{PolicyRow, ReplayDifference, ReplayFigures, ReplayPeak, ReplayReport, ReplaySpread};
pub use row::AnyRow;
pub use state::{ClusterState, Moment};
pub use why::{WhyReport, WhyStep};
