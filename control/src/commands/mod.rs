//! Commands and their decisions: which commands are allowed, and which events they lead to.
//!
//! [`decide`] takes a state and a command and returns events, or a refusal that explains itself. Each file
//! holds the decisions about one subject.
//!
//! Architecture Invariant: decisions are pure. Time, ids and limits come in with the [`Context`]; nothing
//! here knows a clock, an engine, a store or tokio.

mod again;
mod applications;
mod containers;
mod decision;
mod leader;
mod lifecycle;
mod moves;
mod nodes;
mod observations;
mod probes;
mod refusal;
mod replicas;
mod retention;
mod rollouts;

pub use again::{exited_again, happened, probe_again};
pub use applications::{CreateApplication, UpdateApplication};
pub use containers::{CreateContainer, UpdateContainer};
pub use decision::{Context, Decision, Policy, Precondition};
pub use nodes::{MountNode, UNMOUNT_PATIENCE, UpdateNode, gives_up_at, is_cleared};
pub use probes::{Listed, Probe, ProbeResult, Seen};
pub use refusal::Refusal;
pub use retention::Prune;
pub use rollouts::{has_to_roll, next_to_roll};

use crate::observed::{Exit, Launched};
use decision::DecisionBuilder;
use kdaemon_events::failure::Failure;
use kdaemon_events::{ApplicationId, ClusterId, ContainerId, NodeId, PlacementId, Seq, Spec, Term};
use kdaemon_projections::Cluster;
use std::sync::Arc;

/// A failed launch, as reported by the launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchFailure {
    /// Why.
    pub failure: Failure,
    /// Whether another node may succeed.
    pub node_fault: bool,
}

/// Every command: requests of people through the API, and reports of reactors.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // a command lives for one decision
pub enum Command {
    /// Creates the cluster: the first command on an empty log.
    CreateCluster(ClusterId),
    /// Records that a daemon became the leader.
    BecomeLeader {
        /// The term.
        term: Term,
        /// The name.
        daemon: String,
    },

    /// Mounts a node.
    MountNode(MountNode),
    /// Edits a node.
    UpdateNode(UpdateNode),
    /// Takes a node out of placement.
    CordonNode(NodeId),
    /// Returns a node to placement.
    UncordonNode(NodeId),
    /// Drains a node.
    DrainNode(NodeId),
    /// Unmounts a node; with `force` its containers migrate.
    UnmountNode {
        /// The node.
        node_id: NodeId,
        /// Whether to unmount it even if containers are placed there.
        force: bool,
    },
    /// Records that a draining node is empty.
    FinishDrain(NodeId),

    /// Adds an application to the library.
    CreateApplication(CreateApplication),
    /// Edits an application.
    UpdateApplication(Box<UpdateApplication>),
    /// Removes an application from the library.
    DeleteApplication(ApplicationId),
    /// Sets the number of an application's replicas.
    ScaleApplication {
        /// The application.
        application_id: ApplicationId,
        /// The number.
        replicas: u32,
    },

    /// Gives an application an earlier specification: the one that it had as of an event, or the last that served.
    RollBackApplication {
        /// The application.
        application_id: ApplicationId,
        /// The event, and the specification as of it.
        to: Option<(Seq, Arc<Spec>)>,
    },
    /// Has all containers of an application replaced.
    RestartApplication(ApplicationId),

    /// Creates a container record.
    CreateContainer(CreateContainer),
    /// Edits a container record.
    UpdateContainer(UpdateContainer),
    /// Launches a container.
    LaunchContainer(ContainerId),
    /// Stops a container.
    StopContainer(ContainerId),
    /// Removes a container from its node and deletes it.
    DeleteContainer {
        /// The container.
        container_id: ContainerId,
        /// Whether its anonymous volumes are deleted too.
        volumes: bool,
    },

    /// Chooses a node for a waiting container.
    PlaceContainer(ContainerId),
    /// Moves containers that must leave a node, because it is unhealthy or draining.
    EvacuateNode(NodeId),
    /// Evens out the counts of containers.
    Rebalance,
    /// Begins, continues or completes the rollout of an application.
    RollApplication(ApplicationId),
    /// Records that a container without a health check has been up for long enough.
    ConfirmReady(ContainerId),
    /// Deletes the record of a container that is gone from every reachable node.
    FinishDelete(ContainerId),

    /// Records that old observations are pruned. The caller removes them afterwards.
    PruneObservations(Prune),

    /// Records a probe.
    RecordProbe(Probe),
    /// Records that an engine started a container.
    RecordLaunched(PlacementId, Launched),
    /// Records that an engine could not start a container.
    RecordLaunchFailed(PlacementId, LaunchFailure),
    /// Records that a container's process exited by itself.
    RecordExited(PlacementId, Option<Exit>),
    /// Records that another client removed a container.
    RecordMissing(PlacementId),
    /// Records the result of the engine's health check.
    RecordHealth(PlacementId, bool),
    /// Records that a container's process was paused (true) or continues.
    RecordPaused(PlacementId, bool),
    /// Records that a container was stopped as requested.
    RecordStopped(PlacementId, Option<Exit>),
    /// Records that a replaced placement, or an orphan, was removed from a node.
    RecordRemoved(PlacementId, NodeId),
    /// Records that the anonymous volumes of a container that is being deleted were deleted from a node.
    RecordVolumesRemoved(ContainerId, NodeId),
}

/// Decides a command on a state.
///
/// # Errors
/// A refusal with its reason; nothing has happened then.
pub fn decide(cluster: &Cluster, command: Command, context: &Context) -> Result<Decision, Refusal> {
    decide_owned(cluster.clone(), command, context).map_err(|refused| refused.refusal)
}

/// A refusal, and the state that was passed in; `None` if the decision had begun to change it.
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The state that was passed in.
    pub cluster: Option<Cluster>,
}

/// As [`decide`], on an owned state: parts without other references are changed in place instead of copied.
pub fn decide_owned(cluster: Cluster, command: Command, context: &Context) -> Result<Decision, Box<Refused>> {
    if let Err(refusal) = context.check(&cluster) {
        return Err(Box::new(Refused { refusal, cluster: Some(cluster) }));
    }
    let mut decision = DecisionBuilder::new(cluster, context);
    match carry_out(&mut decision, command) {
        Ok(()) => Ok(decision.finish()),
        Err(refusal) => Err(Box::new(Refused { refusal, cluster: decision.give_back() })),
    }
}

fn carry_out(decision: &mut DecisionBuilder<'_>, command: Command) -> Result<(), Refusal> {
    match command {
        Command::CreateCluster(id) => leader::create_cluster(decision, id),
        Command::BecomeLeader { term, daemon } => leader::become_leader(decision, term, daemon),

        Command::MountNode(mount) => nodes::mount(decision, mount),
        Command::UpdateNode(update) => nodes::update(decision, update),
        Command::CordonNode(id) => nodes::cordon(decision, id),
        Command::UncordonNode(id) => nodes::uncordon(decision, id),
        Command::DrainNode(id) => nodes::drain(decision, id),
        Command::UnmountNode { node_id, force } => nodes::unmount(decision, node_id, force),
        Command::FinishDrain(id) => nodes::finish_drain(decision, id),

        Command::CreateApplication(create) => applications::create(decision, create),
        Command::UpdateApplication(update) => applications::update(decision, *update),
        Command::DeleteApplication(id) => applications::delete(decision, id),
        Command::ScaleApplication { application_id, replicas } => {
            applications::scale(decision, application_id, replicas)
        }

        Command::RollBackApplication { application_id, to } => {
            rollouts::roll_back(decision, application_id, to)
        }
        Command::RestartApplication(id) => rollouts::restart(decision, id),

        Command::CreateContainer(create) => containers::create(decision, create),
        Command::UpdateContainer(update) => containers::update(decision, update),
        Command::LaunchContainer(id) => containers::launch(decision, id),
        Command::StopContainer(id) => containers::stop(decision, id),
        Command::DeleteContainer { container_id, volumes } => {
            containers::delete(decision, container_id, volumes)
        }

        Command::PlaceContainer(id) => moves::place_waiting(decision, id),
        Command::EvacuateNode(id) => moves::evacuate(decision, id),
        Command::Rebalance => moves::rebalance(decision),
        Command::RollApplication(id) => rollouts::roll(decision, id),
        Command::ConfirmReady(id) => observations::ready(decision, id),
        Command::FinishDelete(id) => lifecycle::finish_delete(decision, id),

        Command::PruneObservations(asked) => retention::prune(decision, asked),

        Command::RecordProbe(probe) => probes::probe(decision, probe),
        Command::RecordLaunched(placement_id, launched) => {
            observations::launched(decision, placement_id, launched)
        }
        Command::RecordLaunchFailed(placement_id, failure) => {
            observations::launch_failed(decision, placement_id, failure)
        }
        Command::RecordExited(placement_id, exit) => observations::exited(decision, placement_id, exit),
        Command::RecordMissing(placement_id) => observations::missing(decision, placement_id),
        Command::RecordHealth(placement_id, healthy) => observations::health(decision, placement_id, healthy),
        Command::RecordPaused(placement_id, paused) => observations::paused(decision, placement_id, paused),
        Command::RecordStopped(placement_id, exit) => observations::stopped(decision, placement_id, exit),
        Command::RecordRemoved(placement_id, node) => observations::removed(decision, placement_id, node),
        Command::RecordVolumesRemoved(id, node) => observations::volumes_removed(decision, id, node),
    }
}

/// The longest name of a resource, in characters.
pub const NAME_LIMIT: usize = 128;

/// Checks the name of an environment variable (POSIX: no `=`, no NUL).
fn check_variable(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
        return Err(Refusal::invalid(
            "env_variables",
            format!("`{name}` is not the name of a variable; write NAME=value"),
        ));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let length = name.chars().count();
    if length == 0 || length > NAME_LIMIT || name.chars().any(char::is_control) || name.trim() != name {
        return Err(Refusal::invalid(
            "name",
            format!(
                "a name is printable text of 1 to {NAME_LIMIT} characters that neither begins nor ends with a space"
            ),
        ));
    }
    // Resources are looked up by id or by name: a name that looks like an id could hide another resource.
    if uuid::Uuid::parse_str(name).is_ok() {
        return Err(Refusal::invalid("name", "a name must not look like an id".to_owned()));
    }
    Ok(())
}

/// The cause of a reactor's decision, if the state still knows it.
fn cause_or(decision: &DecisionBuilder<'_>, seq: Seq) -> Option<Seq> {
    decision.context.cause.or(if seq == Seq(0) { None } else { Some(seq) })
}
