//! Reconciliation: the difference between the desired and the observed state, as tasks.
//!
//! [`due`] plans and has no effects; the executors of the tasks (the daemon's driver, a replay, the world of
//! the tests) have no choice left. Each task is idempotent, and each ends with a command that reports its
//! outcome, so that a task that is executed twice, or was lost half way with its daemon, does no harm.
//!
//! Architecture Invariant: planning is pure. The same state and time give the same tasks in the same order.

use crate::backoff::Backoff;
use crate::commands::{Command, gives_up_at, has_to_roll, is_cleared};
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::node::Availability;
use kdaemon_events::{ApplicationId, ContainerId, NodeId, PlacementId};
use kdaemon_projections::{Cluster, Container, Desired, Health, Node, PhaseKind, Placement};
use std::time::Duration;

/// A task that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Choose a node for a waiting container.
    Place(ContainerId),
    /// Act on a container on the engine of a node that is UP.
    Act(Act, PlacementId, NodeId),
    /// Delete the record of a container that is gone from every reachable node.
    FinishDelete(ContainerId),
    /// Move containers off a node that is DOWN or draining.
    Evacuate(NodeId),
    /// Record that a draining node is empty.
    FinishDrain(NodeId),
    /// Begin, continue or complete the rollout of an application.
    Roll(ApplicationId),
    /// Record that a container has been up for long enough to serve.
    Confirm(ContainerId),
    /// Even out the counts of containers, which have not changed since this time: when they change, it is
    /// another task, whose backoff starts over.
    Rebalance(Option<DateTime<Utc>>),
}

/// An action on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Create a container and start it.
    Launch,
    /// Start an exited container again.
    Start,
    /// Stop a container that failed its health check, then start it again.
    Restart,
    /// Stop a container.
    Stop,
    /// Remove a container: a replaced placement, an orphan, or one that a draining node still holds.
    Remove,
    /// Delete the anonymous volumes of a container that is being deleted with them.
    RemoveVolumes,
}

impl Task {
    /// The command that carries out the task; `None` for an action on an engine.
    #[must_use]
    pub fn command(self) -> Option<Command> {
        match self {
            Self::Place(id) => Some(Command::PlaceContainer(id)),
            Self::FinishDelete(id) => Some(Command::FinishDelete(id)),
            Self::Evacuate(id) => Some(Command::EvacuateNode(id)),
            Self::FinishDrain(id) => Some(Command::FinishDrain(id)),
            Self::Roll(id) => Some(Command::RollApplication(id)),
            Self::Confirm(id) => Some(Command::ConfirmReady(id)),
            Self::Rebalance(_) => Some(Command::Rebalance),
            Self::Act(..) => None,
        }
    }

    /// The key of a task: tasks with equal keys exclude each other.
    #[must_use]
    pub fn key(self) -> Self {
        match self {
            Self::Act(Act::Restart, placement_id, node_id) => Self::Act(Act::Start, placement_id, node_id),
            other => other,
        }
    }
}

/// The tasks of a state at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Due tasks, in a fixed order.
    pub tasks: Vec<Task>,
    /// The time at which the tasks change without a change of the state; `None`: never.
    pub next: Option<DateTime<Utc>>,
}

/// The delays and backoffs of the reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// How long the counts of containers must be uneven and unchanged before a rebalance; `None`: no
    /// rebalancing.
    pub rebalance_after: Option<Duration>,
}

impl Pacing {
    /// The backoff of a task without effect. Launches and starts need none: their failures are recorded, and
    /// the state has the time of the next attempt.
    #[must_use]
    pub fn backoff(&self, task: Task) -> Backoff {
        const LONGEST: Duration = Duration::from_secs(4);
        match task {
            Task::Act(Act::Launch | Act::Start | Act::Restart, ..) => Backoff::constant(Duration::ZERO),
            // Examining every node takes long in a large cluster.
            Task::Place(_) => Backoff::new(Duration::from_millis(250), LONGEST),
            Task::Evacuate(_)
            | Task::FinishDrain(_)
            | Task::Roll(_)
            | Task::Confirm(_)
            | Task::FinishDelete(_) => Backoff::new(Duration::from_millis(500), LONGEST),
            Task::Act(Act::Stop, ..) => Backoff::constant(Duration::from_secs(1)),
            Task::Act(Act::Remove | Act::RemoveVolumes, ..) => Backoff::constant(Duration::from_secs(2)),
            // Constraints and strategies can keep counts uneven permanently, and a plan examines everything.
            Task::Rebalance(_) => {
                let first = self.rebalance_after.unwrap_or_default();
                Backoff::new(first, first.max(Duration::from_secs(10)))
            }
        }
    }
}

/// Plans the tasks of a state.
///
/// The cost depends on the unsettled part of the state, not on its size: containers, nodes and applications
/// are found by indexes.
#[must_use]
pub fn due(cluster: &Cluster, now: DateTime<Utc>, pacing: &Pacing) -> Due {
    let mut due = Due { tasks: Vec::new(), next: None };
    for container in cluster.unsettled() {
        due.about_container(cluster, container, now);
    }
    for node in cluster.unsettled_nodes() {
        due.about_node(cluster, node, now);
    }
    let rolling =
        cluster.rolling().filter(|application| application.is_enabled && has_to_roll(cluster, application));
    due.tasks.extend(rolling.map(|application| Task::Roll(application.id)));
    due.about_counts(cluster, now, pacing);
    due
}

impl Due {
    fn about_container(&mut self, cluster: &Cluster, container: &Container, now: DateTime<Utc>) {
        if let Some(task) = step(cluster, container) {
            match cluster.next_try(container).filter(|not_before| *not_before > now) {
                Some(not_before) => self.changes_at(not_before),
                None => self.tasks.push(task),
            }
        }
        match cluster.ready_at(container) {
            Some(at) if at > now => self.changes_at(at),
            Some(_) => self.tasks.push(Task::Confirm(container.id)),
            None => {}
        }
        let before = self.tasks.len();
        for retired in container.retired.iter().filter(|retired| !retired.held) {
            let node_id = retired.placement.node_id;
            if is_up(cluster, node_id) {
                let own = placement_id(container, &retired.placement);
                self.tasks.push(Task::Act(Act::Remove, own, node_id));
            }
        }
        if container.desired == Desired::Deleted && self.tasks.len() == before {
            let volumes = container.volumes_to_delete().filter(|home| is_up(cluster, home.node_id));
            self.tasks.push(match volumes {
                Some(home) => {
                    let last = PlacementId { container_id: container.id, generation: container.generation };
                    Task::Act(Act::RemoveVolumes, last, home.node_id)
                }
                None => Task::FinishDelete(container.id),
            });
        }
    }

    fn about_node(&mut self, cluster: &Cluster, node: &Node, now: DateTime<Utc>) {
        let is_draining = node.availability == Availability::Draining;
        if node.health == Health::Up {
            self.tasks.extend(node.orphans.iter().map(|orphan| Task::Act(Act::Remove, *orphan, node.id)));
            if is_draining {
                self.clear(cluster, node);
            }
        }
        let is_failed = node.health == Health::Down && cluster.paused().is_none();
        let may_move = |id| cluster.container(id).is_some_and(|c| c.desired == Desired::Running);
        if (is_draining || is_failed) && node.residents.iter().any(|id| may_move(*id)) {
            self.tasks.push(Task::Evacuate(node.id));
        } else if is_draining && !node.drained && is_cleared(node) {
            self.tasks.push(Task::FinishDrain(node.id));
        }
        match gives_up_at(node).filter(|_| !is_cleared(node)) {
            Some(at) if at > now => self.changes_at(at),
            Some(_) => self.tasks.push(Task::FinishDrain(node.id)),
            None => {}
        }
    }

    /// Plans the removal of stopped containers from a draining node.
    fn clear(&mut self, cluster: &Cluster, node: &Node) {
        for container in node.holds.iter().filter_map(|id| cluster.container(*id)) {
            let kind = container.phase.kind();
            if (kind.is_over() || matches!(kind, PhaseKind::Failed | PhaseKind::Waiting))
                && let Some(placement) = container.placement.as_ref().filter(|p| p.node_id == node.id)
            {
                self.tasks.push(Task::Act(Act::Remove, placement_id(container, placement), node.id));
            }
        }
    }

    fn about_counts(&mut self, cluster: &Cluster, now: DateTime<Utc>, pacing: &Pacing) {
        let Some(after) = pacing.rebalance_after else { return };
        let is_uneven = cluster.eligible().extremes().is_some_and(|(fewest, most)| most - fewest > 1);
        if !is_uneven || cluster.paused().is_some() {
            return;
        }
        let after = TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX);
        let not_before = cluster
            .counts_since()
            .map(|since| since.checked_add_signed(after).unwrap_or(DateTime::<Utc>::MAX_UTC));
        match not_before.filter(|not_before| *not_before > now) {
            Some(not_before) => self.changes_at(not_before),
            None => self.tasks.push(Task::Rebalance(cluster.counts_since())),
        }
    }

    fn changes_at(&mut self, at: DateTime<Utc>) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// The next step of a container towards its desired state, whether or not its backoff is over.
fn step(cluster: &Cluster, container: &Container) -> Option<Task> {
    let waits = matches!(container.phase.kind(), PhaseKind::Waiting | PhaseKind::Failed);
    if waits && container.desired == Desired::Running {
        return Some(Task::Place(container.id));
    }
    let placement = container.placement.as_ref().filter(|placement| is_up(cluster, placement.node_id))?;
    let act = match container.phase.kind() {
        PhaseKind::Placed if must_wait_for_removal(cluster, container, placement) => return None,
        PhaseKind::Placed => Act::Launch,
        PhaseKind::Restarting if container.is_unhealthy() => Act::Restart,
        PhaseKind::Restarting => Act::Start,
        PhaseKind::Stopping => Act::Stop,
        _ => return None,
    };
    Some(Task::Act(act, placement_id(container, placement), placement.node_id))
}

/// Whether an older placement must be removed first: one that may still run on a reachable node and does not
/// serve until this one is up. Two placements must never run at once.
fn must_wait_for_removal(cluster: &Cluster, container: &Container, placement: &Placement) -> bool {
    container.retired.iter().any(|retired| {
        let in_the_way =
            retired.placement.engine_id.is_some() || retired.placement.node_id == placement.node_id;
        !retired.held && in_the_way && is_up(cluster, retired.placement.node_id)
    })
}

fn is_up(cluster: &Cluster, id: NodeId) -> bool {
    cluster.node(id).is_some_and(|node| node.health == Health::Up)
}

fn placement_id(container: &Container, placement: &Placement) -> PlacementId {
    PlacementId { container_id: container.id, generation: placement.generation }
}
