//! Commands and their decisions: what may happen, and which events say that it did.
//!
//! [`decide`] looks at the state and a command and answers with events or with a refusal that explains
//! itself. One file per subject holds the decisions about it.
//!
//! Architecture Invariant: pure. Time, identities and limits come in with the [`Context`]; nothing here
//! knows a clock, an engine, a store or tokio.

mod again;
mod applications;
mod containers;
mod draft;
mod due;
mod leader;
mod moves;
mod nodes;
mod observations;
mod refusal;
mod retention;

pub(crate) use again::{exited_again, happened, probe_again};
pub use applications::{CreateApplication, SpecChanges, UpdateApplication};
pub use containers::{CreateContainer, UpdateContainer};
pub use draft::{Context, Decision, Policy, Precondition};
pub(crate) use due::{due_about, must_wait_for_removal, outdated_applications};
pub use nodes::{MountNode, UpdateNode};
pub use observations::{Listed, Probe, ProbeResult, Seen};
pub use refusal::{NodeReason, Refusal};
pub use retention::Prune;

use crate::engine::{Exit, Launched};
use draft::Draft;
use kdaemon_events::{ApplicationId, ClusterId, ContainerId, Generation, NodeId, Seq, Term};
use kdaemon_projections::Cluster;

/// One placement of a container: whom a reactor reports about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// The container.
    pub container_id: ContainerId,
    /// The placement.
    pub generation: Generation,
}

/// Why a launch failed, as the launcher saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchFailure {
    /// In the engine's words.
    pub reason: String,
    /// Whether another node may do better.
    pub node_fault: bool,
}

/// Everything that can be asked of the cluster: by people through the API, by reactors for what they saw.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // a command lives for one decision
pub enum Command {
    /// Makes the cluster: the first command on an empty log.
    CreateCluster(ClusterId),
    /// A daemon takes the lead.
    BecomeLeader {
        /// Its term.
        term: Term,
        /// Its name.
        daemon: String,
    },

    /// Mounts a node.
    MountNode(MountNode),
    /// Edits a node.
    UpdateNode(UpdateNode),
    /// Takes a node out of placement.
    CordonNode(NodeId),
    /// Takes a node back in.
    UncordonNode(NodeId),
    /// Empties a node.
    DrainNode(NodeId),
    /// Unmounts a node; with `force` its containers migrate.
    UnmountNode {
        /// The node.
        node_id: NodeId,
        /// Whether containers may be placed there.
        force: bool,
    },
    /// Notes that a draining node is empty.
    FinishDrain(NodeId),

    /// Adds an application to the library.
    CreateApplication(CreateApplication),
    /// Edits an application.
    UpdateApplication(Box<UpdateApplication>),
    /// Removes an application from the library.
    DeleteApplication(ApplicationId),
    /// Sets the number of an application's containers.
    ScaleApplication {
        /// The application.
        application_id: ApplicationId,
        /// How many.
        replicas: u32,
    },

    /// Makes a container record.
    CreateContainer(CreateContainer),
    /// Edits a container record.
    UpdateContainer(UpdateContainer),
    /// Launches a container.
    LaunchContainer(ContainerId),
    /// Stops a container.
    StopContainer(ContainerId),
    /// Removes a container from its node and deletes it.
    DeleteContainer(ContainerId),

    /// Chooses a node for a container that waits for one.
    PlaceContainer(ContainerId),
    /// Moves what must leave a node: because it is unhealthy or draining.
    EvacuateNode(NodeId),
    /// Evens the counts of containers.
    Rebalance,
    /// Replaces containers whose application has changed, one at a time.
    RollApplication(ApplicationId),
    /// Deletes the record of a container that is gone from every node that can be reached.
    FinishDelete(ContainerId),

    /// Records that old observations are removed from the log. Whoever asks removes them afterwards.
    PruneObservations(Prune),

    /// Records a probe.
    RecordProbe(Probe),
    /// Records that an engine started a container.
    RecordLaunched(Instance, Launched),
    /// Records that an engine could not start a container.
    RecordLaunchFailed(Instance, LaunchFailure),
    /// Records that a container's process ended by itself.
    RecordExited(Instance, Option<Exit>),
    /// Records that a container was removed by somebody else.
    RecordMissing(Instance),
    /// Records what the engine's health check says.
    RecordHealth(Instance, bool),
    /// Records that a container was stopped as wanted.
    RecordStopped(Instance, Option<Exit>),
    /// Records that a replaced placement, or an orphan, is gone from a node.
    RecordRemoved(Instance, NodeId),
}

/// Decides a command on a state.
///
/// # Errors
/// A refusal that says why; nothing has happened then.
pub fn decide(cluster: &Cluster, command: Command, context: &Context) -> Result<Decision, Refusal> {
    decide_owned(cluster.clone(), command, context).map_err(|refused| refused.refusal)
}

/// A refusal, and the state that was handed over; `None` when the decision had begun to change it.
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) cluster: Option<Cluster>,
}

/// As [`decide`], on a state that is handed over: what nobody else holds of it is changed in place and not copied.
pub(crate) fn decide_owned(
    cluster: Cluster,
    command: Command,
    context: &Context,
) -> Result<Decision, Box<Refused>> {
    if let Err(refusal) = context.check(&cluster) {
        return Err(Box::new(Refused { refusal, cluster: Some(cluster) }));
    }
    let mut draft = Draft::new(cluster, context);
    match carry_out(&mut draft, command) {
        Ok(()) => Ok(draft.finish()),
        Err(refusal) => Err(Box::new(Refused { refusal, cluster: draft.give_back() })),
    }
}

fn carry_out(draft: &mut Draft<'_>, command: Command) -> Result<(), Refusal> {
    match command {
        Command::CreateCluster(id) => leader::create_cluster(draft, id),
        Command::BecomeLeader { term, daemon } => leader::become_leader(draft, term, daemon),

        Command::MountNode(mount) => nodes::mount(draft, mount),
        Command::UpdateNode(update) => nodes::update(draft, update),
        Command::CordonNode(id) => nodes::cordon(draft, id),
        Command::UncordonNode(id) => nodes::uncordon(draft, id),
        Command::DrainNode(id) => nodes::drain(draft, id),
        Command::UnmountNode { node_id, force } => nodes::unmount(draft, node_id, force),
        Command::FinishDrain(id) => nodes::finish_drain(draft, id),

        Command::CreateApplication(create) => applications::create(draft, create),
        Command::UpdateApplication(update) => applications::update(draft, *update),
        Command::DeleteApplication(id) => applications::delete(draft, id),
        Command::ScaleApplication { application_id, replicas } => {
            applications::scale(draft, application_id, replicas)
        }

        Command::CreateContainer(create) => containers::create(draft, create),
        Command::UpdateContainer(update) => containers::update(draft, update),
        Command::LaunchContainer(id) => containers::launch(draft, id),
        Command::StopContainer(id) => containers::stop(draft, id),
        Command::DeleteContainer(id) => containers::delete(draft, id),

        Command::PlaceContainer(id) => moves::place_waiting(draft, id),
        Command::EvacuateNode(id) => moves::evacuate(draft, id),
        Command::Rebalance => moves::rebalance(draft),
        Command::RollApplication(id) => moves::roll(draft, id),
        Command::FinishDelete(id) => containers::finish_delete(draft, id),

        Command::PruneObservations(asked) => retention::prune(draft, asked),

        Command::RecordProbe(probe) => observations::probe(draft, probe),
        Command::RecordLaunched(instance, launched) => observations::launched(draft, instance, launched),
        Command::RecordLaunchFailed(instance, failure) => {
            observations::launch_failed(draft, instance, failure)
        }
        Command::RecordExited(instance, exit) => observations::exited(draft, instance, exit),
        Command::RecordMissing(instance) => observations::missing(draft, instance),
        Command::RecordHealth(instance, healthy) => observations::health(draft, instance, healthy),
        Command::RecordStopped(instance, exit) => observations::stopped(draft, instance, exit),
        Command::RecordRemoved(instance, node) => observations::removed(draft, instance, node),
    }
}

/// The longest name that anything can have, in characters.
pub const NAME_LIMIT: usize = 128;

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
    // Things are looked up by id or by name: a name that reads as an id could hide another thing.
    if uuid::Uuid::parse_str(name).is_ok() {
        return Err(Refusal::invalid("name", "a name must not look like an id".to_owned()));
    }
    Ok(())
}

/// The event that a decision of a reactor answers, when the state still tells it.
fn cause_or(draft: &Draft<'_>, seq: Seq) -> Option<Seq> {
    draft.context.cause.or(if seq == Seq(0) { None } else { Some(seq) })
}
