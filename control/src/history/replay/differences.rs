//! What was decided otherwise in a replay than it was recorded, in words.

use chrono::{DateTime, Utc};
use kdaemon_events::container::MigrationReason;
use kdaemon_events::{Envelope, Event, NodeId, Subject};
use kdaemon_projections::Cluster;
use std::collections::{BTreeMap, VecDeque};

/// How many differences are told.
const TOLD: usize = 1_000;

/// A decision that was another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// When.
    pub at: DateTime<Utc>,
    /// The recorded event; null when nothing was recorded that would have happened.
    pub seq: Option<u64>,
    /// In one sentence.
    pub says: String,
}

/// A decision, as far as it can differ.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Placed(NodeId),
    Moved(NodeId, NodeId, MigrationReason),
    Waits,
    GivenUp,
    Unhealthy,
    Healthy,
    Paused,
    Resumed,
}

impl Verdict {
    /// The decision of an event and what it is about (`None`: the cluster), if it is one.
    fn of(event: &Event) -> Option<(Option<Subject>, Self)> {
        let (subject, verdict) = match event {
            Event::ContainerPlaced(e) => (Subject::Container(e.container_id), Self::Placed(e.node_id)),
            Event::ContainerMigrationCommanded(e) => {
                (Subject::Container(e.container_id), Self::Moved(e.from_node_id, e.node_id, e.reason))
            }
            Event::ContainerLaunchFailed(e) if e.attempt == 0 => {
                (Subject::Container(e.container_id), Self::Waits)
            }
            Event::ContainerLaunchFailed(e) if e.retry_at.is_none() => {
                (Subject::Container(e.container_id), Self::GivenUp)
            }
            Event::NodeUnhealthy(e) => (Subject::Node(e.node_id), Self::Unhealthy),
            Event::NodeHealthy(e) => (Subject::Node(e.node_id), Self::Healthy),
            Event::MigrationsPaused(_) => return Some((None, Self::Paused)),
            Event::MigrationsResumed(_) => return Some((None, Self::Resumed)),
            _ => return None,
        };
        Some((Some(subject), verdict))
    }

    /// To which node it brings the container.
    fn node(self) -> Option<NodeId> {
        match self {
            Self::Placed(node) | Self::Moved(_, node, _) => Some(node),
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

/// Gathers what both sides decide at one moment, and compares it when the moment is over.
#[derive(Default)]
pub(super) struct Differences {
    recorded: Vec<(Option<Subject>, u64, Verdict)>,
    replayed: BTreeMap<Option<Subject>, VecDeque<Verdict>>,
    pub(super) told: Vec<Difference>,
    pub(super) count: u64,
}

impl Differences {
    pub(super) fn recorded(&mut self, envelope: &Envelope) {
        if let Some((subject, verdict)) = Verdict::of(&envelope.event) {
            self.recorded.push((subject, envelope.seq.0, verdict));
        }
    }

    pub(super) fn replayed(&mut self, envelope: &Envelope) {
        if let Some((subject, verdict)) = Verdict::of(&envelope.event) {
            self.replayed.entry(subject).or_default().push_back(verdict);
        }
    }

    /// The moment is over. Names are those of either side.
    pub(super) fn compare(&mut self, at: DateTime<Utc>, recorded: &Cluster, replayed: &Cluster) {
        if self.recorded.is_empty() && self.replayed.is_empty() {
            return;
        }
        let names = Names([replayed, recorded]);
        for (subject, seq, was) in std::mem::take(&mut self.recorded) {
            match self.replayed.get_mut(&subject).and_then(VecDeque::pop_front) {
                Some(is) if was.is_same(is) => {}
                is => self.tell(at, Some(seq), || names.sentence(subject, Some(was), is)),
            }
        }
        for (subject, verdicts) in std::mem::take(&mut self.replayed) {
            for is in verdicts {
                self.tell(at, None, || names.sentence(subject, None, Some(is)));
            }
        }
    }

    fn tell(&mut self, at: DateTime<Utc>, seq: Option<u64>, says: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < TOLD {
            self.told.push(Difference { at, seq, says: says() });
        }
    }
}

struct Names<'a>([&'a Cluster; 2]);

impl Names<'_> {
    fn subject(&self, subject: Option<Subject>) -> String {
        let named = |cluster: &&Cluster| match subject? {
            Subject::Node(id) => cluster.node(id).map(|node| node.name.clone()),
            Subject::Application(id) => cluster.application(id).map(|application| application.name.clone()),
            Subject::Container(id) => cluster.container(id).map(|container| container.name.clone()),
        };
        let name = self.0.iter().find_map(named);
        name.or_else(|| subject.map(|subject| subject.uuid().to_string())).unwrap_or_default()
    }

    fn node(&self, id: NodeId) -> String {
        self.subject(Some(Subject::Node(id)))
    }

    fn sentence(&self, subject: Option<Subject>, was: Option<Verdict>, is: Option<Verdict>) -> String {
        let name = self.subject(subject);
        match (was, is) {
            (Some(was), Some(is)) => {
                let other = match (was.node(), is) {
                    (Some(_), Verdict::Placed(node) | Verdict::Moved(_, node, _)) => {
                        format!("on {}", self.node(node))
                    }
                    _ => self.clause("it", is),
                };
                format!("{}; under this policy {other}", self.clause(&name, was))
            }
            (Some(was), None) => format!("{}; under this policy not, or not then", self.clause(&name, was)),
            (None, Some(is)) => format!("under this policy {}; it was not so", self.clause(&name, is)),
            (None, None) => name, // nothing differs: nobody asks
        }
    }

    fn clause(&self, name: &str, verdict: Verdict) -> String {
        match verdict {
            Verdict::Placed(node) => format!("{name} was placed on {}", self.node(node)),
            Verdict::Moved(from, to, reason) => {
                let because = match reason {
                    MigrationReason::Unhealthy => "its node was unhealthy",
                    MigrationReason::Drain => "its node was drained",
                    MigrationReason::Balance => "to even the counts",
                    MigrationReason::Update => "its application had changed",
                };
                format!("{name} was moved from {} to {} ({because})", self.node(from), self.node(to))
            }
            Verdict::Waits => format!("{name} found no node"),
            Verdict::GivenUp => format!("{name} was given up as FAILED"),
            Verdict::Unhealthy => format!("{name} was judged unhealthy"),
            Verdict::Healthy => format!("{name} was judged healthy"),
            Verdict::Paused => "migrations were paused".to_owned(),
            Verdict::Resumed => "migrations went on after a pause".to_owned(),
        }
    }
}
