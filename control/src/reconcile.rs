//! What has to be done next: the difference between what the state wants and what it knows to be so, as tasks.
//!
//! [`due`] plans and does nothing; whoever executes the tasks (the daemon's driver, a replay, the world of the tests)
//! has no choice left. Each task is idempotent, and each ends with a command that reports what came of it, so that
//! a task which is executed twice, or was lost half way with its daemon, does no harm.
//!
//! Architecture Invariant: pure. The same state and time give the same tasks in the same order.

use crate::backoff::Backoff;
use crate::commands::{Command, is_cleared, next_to_roll};
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::node::Availability;
use kdaemon_events::{ApplicationId, ContainerId, NodeId, PlacementId, UpdatePolicy};
use kdaemon_projections::{Cluster, Container, Desired, Health, Node, Phase, Placement};
use std::collections::BTreeSet;
use std::time::Duration;

/// Something that has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Choose a node for a container that waits for one.
    Place(ContainerId),
    /// Do something about a container on the engine of a node, which is UP.
    Act(Act, PlacementId, NodeId),
    /// Delete the record of a container that is gone from every node that can be reached.
    FinishDelete(ContainerId),
    /// Move containers off a node that is DOWN or draining.
    Evacuate(NodeId),
    /// Record that a draining node is empty.
    FinishDrain(NodeId),
    /// Replace the next outdated container of an application.
    Roll(ApplicationId),
    /// Even the counts of containers. The counts have been what they are since then: when they change, it is another
    /// task, whose failures are counted from zero.
    Rebalance(Option<DateTime<Utc>>),
}

/// What has to be done on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Create a container and start it.
    Launch,
    /// Start a container again that ended.
    Start,
    /// Stop a container that failed its health check, then start it again.
    Restart,
    /// Stop a container.
    Stop,
    /// Remove a container: a replaced placement, an orphan, or what a draining node still holds.
    Remove,
}

impl Task {
    /// The command that carries the task out; `None` for what is done on an engine.
    #[must_use]
    pub fn command(self) -> Option<Command> {
        match self {
            Self::Place(id) => Some(Command::PlaceContainer(id)),
            Self::FinishDelete(id) => Some(Command::FinishDelete(id)),
            Self::Evacuate(id) => Some(Command::EvacuateNode(id)),
            Self::FinishDrain(id) => Some(Command::FinishDrain(id)),
            Self::Roll(id) => Some(Command::RollApplication(id)),
            Self::Rebalance(_) => Some(Command::Rebalance),
            Self::Act(..) => None,
        }
    }

    /// What must not be worked on twice at a time: tasks with equal keys exclude each other.
    #[must_use]
    pub fn key(self) -> Self {
        match self {
            Self::Act(Act::Restart, placement_id, node_id) => Self::Act(Act::Start, placement_id, node_id),
            other => other,
        }
    }
}

/// What a state asks for at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// What has to be done, in a fixed order.
    pub tasks: Vec<Task>,
    /// When the tasks change although the state does not; `None`: never.
    pub next: Option<DateTime<Utc>>,
}

/// How patient the reconciliation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// How long the counts of containers must have been uneven, and unchanged, before they are evened; `None`: they
    /// never are.
    pub rebalance_after: Option<Duration>,
}

impl Pacing {
    /// The pauses between tries of a task that had no effect. Launches and starts have none: their failures are
    /// recorded, and the state says when the next try is.
    #[must_use]
    pub fn backoff(&self, task: Task) -> Backoff {
        const LONGEST: Duration = Duration::from_secs(4);
        match task {
            Task::Act(Act::Launch | Act::Start | Act::Restart, ..) => Backoff::constant(Duration::ZERO),
            // To look at every node takes long where there are many.
            Task::Place(_) => Backoff::new(Duration::from_millis(250), LONGEST),
            Task::Evacuate(_) | Task::FinishDrain(_) | Task::Roll(_) | Task::FinishDelete(_) => {
                Backoff::new(Duration::from_millis(500), LONGEST)
            }
            Task::Act(Act::Stop, ..) => Backoff::constant(Duration::from_secs(1)),
            Task::Act(Act::Remove, ..) => Backoff::constant(Duration::from_secs(2)),
            // Constraints and strategies can keep counts uneven for good, and a plan looks at everything.
            Task::Rebalance(_) => {
                let first = self.rebalance_after.unwrap_or_default();
                Backoff::new(first, first.max(Duration::from_secs(10)))
            }
        }
    }
}

/// Says what has to be done.
///
/// The cost depends on how much is unsettled, not on how much there is: containers, nodes and applications are found
/// by the state's indexes.
#[must_use]
pub fn due(cluster: &Cluster, now: DateTime<Utc>, pacing: &Pacing) -> Due {
    let mut due = Due { tasks: Vec::new(), next: None };
    // The applications that have a container on its way up: nothing is rolled before it runs.
    let mut launching = BTreeSet::new();
    for container in cluster.unsettled() {
        due.about_container(cluster, container, now);
        if container.desired == Desired::Running {
            launching.extend(container.application_id);
        }
    }
    for node in cluster.unsettled_nodes() {
        due.about_node(cluster, node);
    }
    let rolling = cluster.outdated_applications().filter(|application| {
        application.update_policy == UpdatePolicy::Rolling
            && application.is_enabled
            && !launching.contains(&application.id)
            && next_to_roll(cluster, application).is_some()
    });
    due.tasks.extend(rolling.map(|application| Task::Roll(application.id)));
    due.about_counts(cluster, now, pacing);
    due
}

impl Due {
    fn about_container(&mut self, cluster: &Cluster, container: &Container, now: DateTime<Utc>) {
        if let Some(task) = step(cluster, container) {
            match container.not_before.filter(|not_before| *not_before > now) {
                Some(not_before) => self.changes_at(not_before),
                None => self.tasks.push(task),
            }
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
            self.tasks.push(Task::FinishDelete(container.id));
        }
    }

    fn about_node(&mut self, cluster: &Cluster, node: &Node) {
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
    }

    /// Has removed what a draining node holds and does not run.
    fn clear(&mut self, cluster: &Cluster, node: &Node) {
        for container in node.holds.iter().filter_map(|id| cluster.container(*id)) {
            if matches!(container.phase, Phase::Down | Phase::Failed | Phase::Waiting)
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

/// The next step on the way to what is wanted of a container, whether or not its pause is over.
fn step(cluster: &Cluster, container: &Container) -> Option<Task> {
    if container.phase == Phase::Waiting && container.desired == Desired::Running {
        return Some(Task::Place(container.id));
    }
    let placement = container.placement.as_ref().filter(|placement| is_up(cluster, placement.node_id))?;
    let act = match container.phase {
        Phase::Placed if must_wait_for_removal(cluster, container, placement) => return None,
        Phase::Placed => Act::Launch,
        Phase::Restarting if container.unhealthy => Act::Restart,
        Phase::Restarting => Act::Start,
        Phase::Stopping => Act::Stop,
        _ => return None,
    };
    Some(Task::Act(act, placement_id(container, placement), placement.node_id))
}

/// Whether an older placement has to go first: it may still run, on a node where it can be removed, and does
/// not serve until this one is up. Two of them must never run at once.
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
