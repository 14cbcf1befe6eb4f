//! Decisions that differ between a replay and the record.

use chrono::{DateTime, Utc};
use kdaemon_events::container::MigrationReason;
use kdaemon_events::{Envelope, Event, NodeId, Seq, Subject};
use std::collections::{BTreeMap, VecDeque};

/// The most differences that are kept.
const KEPT: usize = 1_000;

/// A decision that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionDifference {
    /// When.
    pub at: DateTime<Utc>,
    /// The recorded event; `None` if the decision exists only in the replay.
    pub seq: Option<Seq>,
    /// The subject of the decision; `None`: the cluster.
    pub subject: Option<Subject>,
    /// The recorded decision, if any.
    pub recorded: Option<Decided>,
    /// The decision of the replay; `None` if it had none at that time.
    pub replayed: Option<Decided>,
}

/// The comparable part of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// A container was placed.
    Placed(NodeId),
    /// A container was moved.
    Moved {
        /// The node that it leaves.
        from: NodeId,
        /// The node that it moves to.
        to: NodeId,
        /// Why.
        reason: MigrationReason,
    },
    /// A container could not be placed.
    Unschedulable,
    /// The launches of a container were abandoned.
    Abandoned,
    /// A node was judged unhealthy.
    Unhealthy,
    /// A node was judged healthy.
    Healthy,
    /// Migrations were paused.
    Paused,
    /// Migrations were resumed.
    Resumed,
}

impl Decided {
    /// The decision of an event and its subject (`None`: the cluster), if it is one.
    fn of(event: &Event) -> Option<(Option<Subject>, Self)> {
        let (subject, decided) = match event {
            Event::ContainerPlaced(e) => (Subject::Container(e.container_id), Self::Placed(e.node_id)),
            Event::ContainerMigrationCommanded(e) => (
                Subject::Container(e.container_id),
                Self::Moved { from: e.from_node_id, to: e.node_id, reason: e.reason },
            ),
            Event::ContainerUnschedulable(e) => (Subject::Container(e.container_id), Self::Unschedulable),
            Event::ContainerLaunchAbandoned(e) => (Subject::Container(e.container_id), Self::Abandoned),
            Event::NodeUnhealthy(e) => (Subject::Node(e.node_id), Self::Unhealthy),
            Event::NodeHealthy(e) => (Subject::Node(e.node_id), Self::Healthy),
            Event::MigrationsPaused(_) => return Some((None, Self::Paused)),
            Event::MigrationsResumed(_) => return Some((None, Self::Resumed)),
            _ => return None,
        };
        Some((Some(subject), decided))
    }

    /// The node that receives the container.
    #[must_use]
    pub fn node(self) -> Option<NodeId> {
        match self {
            Self::Placed(node) | Self::Moved { to: node, .. } => Some(node),
            _ => None,
        }
    }

    fn is_same(self, other: Self) -> bool {
        match (self.node(), other.node()) {
            (None, None) => std::mem::discriminant(&self) == std::mem::discriminant(&other),
            (one, another) => one == another,
        }
    }
}

/// Collects the decisions of both sides at one moment, and compares them when the moment is over.
#[derive(Default)]
pub(super) struct DecisionComparison {
    recorded: Vec<(Option<Subject>, Seq, Decided)>,
    replayed: BTreeMap<Option<Subject>, VecDeque<Decided>>,
    pub(super) kept: Vec<DecisionDifference>,
    pub(super) count: u64,
}

impl DecisionComparison {
    pub(super) fn recorded(&mut self, envelope: &Envelope) {
        if let Some((subject, decided)) = Decided::of(&envelope.event) {
            self.recorded.push((subject, envelope.seq, decided));
        }
    }

    pub(super) fn replayed(&mut self, envelope: &Envelope) {
        if let Some((subject, decided)) = Decided::of(&envelope.event) {
            self.replayed.entry(subject).or_default().push_back(decided);
        }
    }

    /// Compares the decisions of both sides at the end of a moment.
    pub(super) fn compare(&mut self, at: DateTime<Utc>) {
        for (subject, seq, was) in std::mem::take(&mut self.recorded) {
            match self.replayed.get_mut(&subject).and_then(VecDeque::pop_front) {
                Some(is) if was.is_same(is) => {}
                replayed => {
                    self.keep(DecisionDifference {
                        at,
                        seq: Some(seq),
                        subject,
                        recorded: Some(was),
                        replayed,
                    });
                }
            }
        }
        for (subject, decisions) in std::mem::take(&mut self.replayed) {
            for is in decisions {
                self.keep(DecisionDifference { at, seq: None, subject, recorded: None, replayed: Some(is) });
            }
        }
    }

    fn keep(&mut self, difference: DecisionDifference) {
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push(difference);
        }
    }
}
