//! Why a thing is as it is: the events that led to it, each with those that it answers.
//!
//! The walk begins at the event that brought about the present state and follows causes back to a person or to what was
//! seen. It says which events it wants to see next ([`Inquiry::wants`]); somebody reads them from the log.

mod names;
mod sentences;
mod words;

use kdaemon_events::node::{Availability, ProbeOutcome};
use kdaemon_events::{Envelope, Event, Kind, NodeId, Seq, Strategy, Subject};
use kdaemon_projections::{Cluster, Container, Health, Node, Phase};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

use crate::scheduler::{self, Request, Verdict};

/// The most events that a chain of causes is told with.
const STEPS_LIMIT: usize = 100;
/// The most failed probes that are told of one judgement.
const PROBES_LIMIT: u32 = 10;

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
        /// How many.
        count: u32,
    },
}

/// One answer of `/why`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    /// The thing.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// `node` or `container`.
    pub kind: &'static str,
    /// The event after which it is so.
    pub seq: u64,
    /// Its `state` or `status`.
    pub state: &'static str,
    /// Why it is so, in words.
    pub sentences: Vec<String>,
    /// Why it is so: the events, newest first, each before those that it answers.
    pub steps: Vec<Step>,
}

/// One event on the way to the present state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Its place in the log.
    pub seq: u64,
    /// When it was recorded.
    pub at: chrono::DateTime<chrono::Utc>,
    /// What happened.
    pub kind: &'static str,
    /// Who did it.
    pub actor: kdaemon_events::Actor,
    /// What happened, in one sentence.
    pub says: String,
    /// The event that it says it answers.
    pub cause: Option<u64>,
    /// The steps that it answers: its cause, and what was concluded from or looked at besides.
    pub because: Vec<u64>,
}

/// What is asked about.
#[derive(Debug, Clone)]
enum About {
    Node(Arc<Node>),
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
    /// What was read, as asked for.
    found: BTreeMap<Want, Vec<Seq>>,
    events: BTreeMap<Seq, Envelope>,
}

impl Inquiry {
    /// Begins to ask why a node or a container is as it is in this state; `None` when it is not there, or an application.
    /// `strategy` is that of the cluster.
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

    /// What took a node out of placement, until then.
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
        match container.phase {
            // Its end is told by the last event about it.
            Phase::Down => heads.push(Want::Event(container.seq)),
            Phase::Waiting => heads.extend(
                self.cluster
                    .nodes()
                    .take(words::NAMED)
                    .filter_map(|node| self.availability_of(node, self.cluster.seq())),
            ),
            _ => {}
        }
        heads.extend(self.cluster.paused().filter(|_| container.lost).map(|pause| Want::Event(pause.seq)));
        heads
    }

    /// What the walk wants to see next; `None` when it has all that there is.
    #[must_use]
    pub fn wants(&self) -> Option<Want> {
        if self.events.len() >= STEPS_LIMIT {
            return None;
        }
        let wanted = self.heads.iter().copied().chain(self.events.values().flat_map(|e| self.behind(e)));
        let is_known = |want: &Want| match want {
            Want::Event(seq) => self.events.contains_key(seq),
            _ => false,
        };
        wanted.into_iter().find(|want| !self.asked.contains(want) && !is_known(want))
    }

    /// Takes what was found of what it wanted to see; nothing, when it was pruned.
    pub fn add(&mut self, want: Want, found: Vec<Envelope>) {
        self.asked.insert(want);
        self.found.insert(want, found.iter().map(|envelope| envelope.seq).collect());
        self.events.extend(found.into_iter().map(|envelope| (envelope.seq, envelope)));
    }

    /// What stands behind an event.
    fn behind(&self, envelope: &Envelope) -> Vec<Want> {
        let mut wants: Vec<Want> =
            envelope.cause.filter(|cause| *cause < envelope.seq).map(Want::Event).into_iter().collect();
        match &envelope.event {
            Event::NodeUnhealthy(e) => wants.push(Want::FailedProbes {
                node: e.node_id,
                until: envelope.seq,
                count: e.failures.min(PROBES_LIMIT),
            }),
            Event::ContainerPlaced(e) => wants.extend(self.passed_over(&e.why, envelope.seq)),
            Event::ContainerMigrationCommanded(e) => wants.extend(self.passed_over(&e.why, envelope.seq)),
            _ => {}
        }
        wants
    }

    /// What took the nodes out of placement that a choice passed over for that.
    fn passed_over(&self, why: &str, until: Seq) -> Vec<Want> {
        let of = |clause| {
            let (node, kind) = names::out_of_placement(&self.cluster, clause)?;
            Some(Want::Latest { kind, node, until })
        };
        why.split("; ").filter_map(of).collect()
    }

    /// The events that were found for what was wanted, the first one first.
    fn found(&self, want: &Want) -> impl DoubleEndedIterator<Item = &Envelope> {
        let seqs: Vec<Seq> = match want {
            Want::Event(seq) => vec![*seq],
            want => self.found.get(want).cloned().unwrap_or_default(),
        };
        seqs.into_iter().filter_map(|seq| self.events.get(&seq))
    }

    /// What becomes of each node when the container is to be placed in this state.
    fn verdicts(&self, container: &Container) -> Vec<Verdict> {
        let spec = self.cluster.spec_of(container);
        scheduler::explain(&self.cluster, &Request::new(container, &spec, None, self.strategy))
    }

    /// The answer.
    #[must_use]
    pub fn tell(&self) -> Why {
        let (id, name, kind, state) = match &self.about {
            About::Node(node) => (node.id.0, node.name.clone(), "node", node.health.as_str()),
            About::Container(container) => {
                (container.id.0, container.name.clone(), "container", container.status().as_str())
            }
        };
        let sentences = match &self.about {
            About::Node(node) => self.sentences_about_node(node),
            About::Container(container) => self.sentences_about_container(container),
        };
        let steps = self.events.values().rev().filter(|envelope| self.is_step(envelope));
        let steps = steps.map(|envelope| self.step(envelope)).collect();
        Why { id, name, kind, seq: self.cluster.seq().0, state, sentences, steps }
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

    fn step(&self, envelope: &Envelope) -> Step {
        let because: BTreeSet<u64> =
            self.behind(envelope).iter().flat_map(|want| self.found(want)).map(|cause| cause.seq.0).collect();
        Step {
            seq: envelope.seq.0,
            at: envelope.at,
            kind: envelope.event.kind().as_str(),
            actor: envelope.actor.clone(),
            says: self.says(envelope),
            cause: envelope.cause.map(|cause| cause.0),
            because: because.into_iter().rev().collect(),
        }
    }
}

/// Whether an event is a failed probe of a node.
#[must_use]
pub fn is_failed_probe(event: &Event, of: NodeId) -> bool {
    matches!(event, Event::NodeObserved(e) if e.node_id == of && matches!(e.outcome, ProbeOutcome::Failed { .. }))
}

#[cfg(test)]
mod tests;
