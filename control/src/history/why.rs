//! The causes of the state of a node or a container: the chain of events that led to it.
//!
//! The walk begins at the event that brought about the present state and follows causes back to a person or to an
//! observation. It reports which events it wants next ([`Inquiry::wants`]); the caller reads them from the log.
//! Everything is found by id: names play no part.

use kdaemon_events::node::{Availability, ProbeOutcome};
use kdaemon_events::scheduling::{Evaluation, NodeVerdict, Rejection, VERDICTS_LIMIT, Verdict};
use kdaemon_events::{Envelope, Event, Kind, NodeId, Seq, Strategy, Subject};
use kdaemon_projections::{Cluster, Container, Health, Node, PhaseKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::scheduler::{self, Request};

/// The most events in a chain of causes.
const STEPS_LIMIT: usize = 100;
/// The most failed probes that are read for one judgement.
pub const PROBES_LIMIT: u32 = 10;

/// Events that the walk wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// This one.
    Event(Seq),
    /// The last one of a kind about a node, at or before `until`.
    Latest {
        /// The kind.
        kind: Kind,
        /// The node.
        node: NodeId,
        /// The last one that counts.
        until: Seq,
    },
    /// The last failed probes of a node, before `until`.
    FailedProbes {
        /// The node.
        node: NodeId,
        /// The judgement that they led to.
        until: Seq,
        /// The number.
        count: u32,
    },
}

/// The subject of an inquiry.
#[derive(Debug, Clone)]
pub enum About {
    /// A node.
    Node(Arc<Node>),
    /// A container.
    Container(Arc<Container>),
}

/// A walk through causes.
pub struct Inquiry {
    cluster: Arc<Cluster>,
    about: About,
    strategy: Strategy,
    /// Where the walk begins.
    heads: Vec<Want>,
    asked: BTreeSet<Want>,
    /// The events read so far.
    found: BTreeMap<Want, Vec<Seq>>,
    events: BTreeMap<Seq, Envelope>,
}

impl Inquiry {
    /// Starts an inquiry into a node or a container in this state; `None` if it does not exist, or is an
    /// application. `strategy` is the cluster's.
    #[must_use]
    pub fn begin(cluster: Arc<Cluster>, subject: Subject, strategy: Strategy) -> Option<Self> {
        let about = match subject {
            Subject::Node(id) => About::Node(Arc::clone(cluster.node(id)?)),
            Subject::Container(id) => About::Container(Arc::clone(cluster.container(id)?)),
            Subject::Application(_) => return None,
        };
        let mut inquiry = Self {
            heads: Vec::new(),
            cluster,
            about,
            strategy,
            asked: BTreeSet::new(),
            found: BTreeMap::new(),
            events: BTreeMap::new(),
        };
        inquiry.heads = match &inquiry.about {
            About::Node(node) => inquiry.heads_of_node(node),
            About::Container(container) => inquiry.heads_of_container(container),
        };
        Some(inquiry)
    }

    fn heads_of_node(&self, node: &Node) -> Vec<Want> {
        let latest = |kind| Want::Latest { kind, node: node.id, until: self.cluster.seq() };
        let health = match (node.health, node.unhealthy_seq) {
            (Health::Down, Some(seq)) => Want::Event(seq),
            (Health::Down, None) => latest(Kind::NodeUnhealthy),
            (Health::Up, _) => latest(Kind::NodeHealthy),
            (Health::Unknown, _) => latest(Kind::NodeMounted),
        };
        std::iter::once(health).chain(self.availability_of(node, self.cluster.seq())).collect()
    }

    /// The event that took a node out of placement, at or before `until`.
    fn availability_of(&self, node: &Node, until: Seq) -> Option<Want> {
        let kind = match node.availability {
            Availability::Active => return None,
            Availability::Cordoned => Kind::NodeCordoned,
            Availability::Draining => Kind::NodeDrainStarted,
        };
        Some(Want::Latest { kind, node: node.id, until })
    }

    fn heads_of_container(&self, container: &Container) -> Vec<Want> {
        let mut heads = vec![Want::Event(container.cause)];
        match container.phase.kind() {
            // The last event about the container describes its end.
            PhaseKind::Down => heads.push(Want::Event(container.seq)),
            PhaseKind::Waiting => heads.extend(
                self.cluster
                    .nodes()
                    .take(VERDICTS_LIMIT)
                    .filter_map(|node| self.availability_of(node, self.cluster.seq())),
            ),
            _ => {}
        }
        heads.extend(self.cluster.paused().filter(|_| container.lost).map(|pause| Want::Event(pause.seq)));
        heads
    }

    /// The events that the walk needs next; `None` when it is complete.
    #[must_use]
    pub fn wants(&self) -> Option<Want> {
        if self.events.len() >= STEPS_LIMIT {
            return None;
        }
        let wanted = self.heads.iter().copied().chain(self.events.values().flat_map(|e| self.wants_of(e)));
        let is_known = |want: &Want| match want {
            Want::Event(seq) => self.events.contains_key(seq),
            _ => false,
        };
        wanted.into_iter().find(|want| !self.asked.contains(want) && !is_known(want))
    }

    /// Takes the requested events; fewer, if some were pruned.
    pub fn add(&mut self, want: Want, found: Vec<Envelope>) {
        self.asked.insert(want);
        self.found.insert(want, found.iter().map(|envelope| envelope.seq).collect());
        self.events.extend(found.into_iter().map(|envelope| (envelope.seq, envelope)));
    }

    /// The causes of an event.
    fn wants_of(&self, envelope: &Envelope) -> Vec<Want> {
        let mut wants: Vec<Want> =
            envelope.cause.filter(|cause| *cause < envelope.seq).map(Want::Event).into_iter().collect();
        match &envelope.event {
            Event::NodeUnhealthy(e) => wants.push(Want::FailedProbes {
                node: e.node_id,
                until: envelope.seq,
                count: e.failures.min(PROBES_LIMIT),
            }),
            Event::ContainerPlaced(e) => wants.extend(passed_over(&e.evaluation, envelope.seq)),
            Event::ContainerMigrationCommanded(e) => {
                wants
                    .extend(e.evaluation.iter().flat_map(|evaluation| passed_over(evaluation, envelope.seq)));
            }
            _ => {}
        }
        wants
    }

    /// The events found for a request, in order.
    pub fn found(&self, want: &Want) -> impl DoubleEndedIterator<Item = &Envelope> {
        let seqs: Vec<Seq> = match want {
            Want::Event(seq) => vec![*seq],
            want => self.found.get(want).cloned().unwrap_or_default(),
        };
        seqs.into_iter().filter_map(|seq| self.events.get(&seq))
    }

    /// The verdict on each node if the container were placed in this state, the best first.
    #[must_use]
    pub fn verdicts(&self, container: &Container) -> Vec<NodeVerdict> {
        let spec = self.cluster.spec_of(container);
        scheduler::explain(&self.cluster, &Request::new(&self.cluster, container, &spec, None, self.strategy))
    }

    /// The state.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The cluster's strategy.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The subject.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The events at which the walk began, in order: for a node the one that decided its health, then the one
    /// that decided its availability unless it is active.
    pub fn heads(&self) -> impl Iterator<Item = Option<&Envelope>> {
        self.heads.iter().map(|head| self.found(head).next_back())
    }

    /// An event of the chain by its seq.
    #[must_use]
    pub fn event(&self, seq: Seq) -> Option<&Envelope> {
        self.events.get(&seq)
    }

    /// The events of the chain, newest first, each with its earlier causes.
    pub fn steps(&self) -> impl Iterator<Item = (&Envelope, BTreeSet<Seq>)> {
        let steps = self.events.values().rev().filter(|envelope| self.is_step(envelope));
        steps.map(|envelope| {
            let because = self.wants_of(envelope).into_iter().flat_map(|want| {
                let found: Vec<Seq> = self.found(&want).map(|cause| cause.seq).collect();
                found
            });
            (envelope, because.collect())
        })
    }

    /// Whether an event is part of the chain. The last event about a container that does not run may be another one than
    /// that of its end.
    fn is_step(&self, envelope: &Envelope) -> bool {
        let About::Container(container) = &self.about else { return true };
        envelope.seq != container.seq
            || envelope.seq == container.cause
            || matches!(envelope.event, Event::ContainerStopped(_))
            || self.events.values().any(|other| other.cause == Some(envelope.seq))
    }
}

/// The last event that took a node out of placement, for a node that was rejected for that.
#[must_use]
pub fn out_of_placement(node: NodeId, rejection: &Rejection, until: Seq) -> Option<Want> {
    let kind = match rejection {
        Rejection::Cordoned => Kind::NodeCordoned,
        Rejection::Draining => Kind::NodeDrainStarted,
        _ => return None,
    };
    Some(Want::Latest { kind, node, until })
}

/// The events that took nodes out of placement, for the nodes that an evaluation rejected for that.
fn passed_over(evaluation: &Evaluation, until: Seq) -> impl Iterator<Item = Want> {
    evaluation.others.iter().filter_map(move |other| match &other.verdict {
        Verdict::Rejected(rejection) => out_of_placement(other.node_id, rejection, until),
        Verdict::Fits(_) => None,
    })
}

/// Whether an event is a failed probe of a node.
#[must_use]
pub fn is_failed_probe(event: &Event, of: NodeId) -> bool {
    matches!(event, Event::NodeObserved(e) if e.node_id == of && matches!(e.outcome, ProbeOutcome::Failed { .. }))
}
