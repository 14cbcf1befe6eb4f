//! What-if: a stretch of the recorded history under another policy, in virtual time.
//!
//! Two clusters go through the stretch side by side: the recorded one folds its events; the replayed one takes what
//! people and machines did from them (`parts.rs`), and decides all else anew through `commands`. What engines did
//! happens to the replayed one too where it has the same container in the same place (`outcomes.rs`); where it has
//! not, engines are simulated, and the commands are put that reactors would submit (`attend.rs`, `work.rs`).
//!
//! As long as both are in step nothing is simulated and nothing is asked but what was asked then. So a stretch that is
//! replayed under the policy that it was recorded under gives, event by event, what was recorded.

mod attend;
mod differences;
mod meter;
mod outcomes;
mod parts;
#[cfg(test)]
mod tests;
mod work;

pub use differences::{Decided, Difference};
pub use meter::{Figures, Peak, Spread};

use crate::commands::{self, Command, Context, Decision, Policy};
use chrono::{DateTime, TimeDelta, Utc};
use differences::Differences;
use kdaemon_events::container::ContainerExited;
use kdaemon_events::node::NodeObserved;
use kdaemon_events::{Actor, Envelope, Event, NodeId, Seq, Subject};
use kdaemon_projections::{Cluster, Container, Desired, Node, Phase, Touched};
use meter::Watched;
use parts::{Part, part};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use work::{Paces, Work};

/// How long after a change it is looked what is to be done: longer than one decision, shorter than what people notice.
const PACE: TimeDelta = TimeDelta::milliseconds(10);

/// A replay in the making.
pub struct Replay {
    recorded: Watched,
    replayed: Watched,
    policy: Arc<Policy>,
    /// How long counts are uneven before they are evened; `None`: they are not.
    balance_after: Option<TimeDelta>,
    /// What is not the same on both sides.
    differing: BTreeSet<Subject>,
    /// The nodes whose evacuation was asked for at this moment.
    evacuated: BTreeSet<NodeId>,
    /// The moment.
    at: Option<DateTime<Utc>>,
    /// The moment that the stretch begins in: what it still brings was decided before, and happens as it was recorded.
    opening: Option<DateTime<Utc>>,
    /// The first recorded event of the stretch.
    first: Option<Seq>,
    paces: Paces,
    work: Work,
    /// Since when the counts of the replayed side are as they are.
    counts_since: Option<DateTime<Utc>>,
    differences: Differences,
    /// What happened in the replay since the last recorded event.
    happened: Vec<Envelope>,
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// What happened.
    pub recorded: Figures,
    /// What would have happened.
    pub replayed: Figures,
    /// Decisions that would have been others, the first 1,000 of them.
    pub differences: Vec<Difference>,
    /// How many there are.
    pub differences_count: u64,
}

impl Replay {
    /// Begins a replay with a state. `balance_after`: how long counts must have been uneven before they are evened where
    /// the record has no moment for it; `None`: they are not.
    #[must_use]
    pub fn new(from: &Cluster, policy: Policy, balance_after: Option<Duration>) -> Self {
        Self {
            recorded: Watched::new(from.clone()),
            replayed: Watched::new(from.clone()),
            policy: Arc::new(policy),
            balance_after: balance_after.and_then(|after| TimeDelta::from_std(after).ok()),
            differing: BTreeSet::new(),
            evacuated: BTreeSet::new(),
            at: from.at(),
            opening: from.at(),
            first: None,
            paces: Paces::default(),
            work: Work::default(),
            counts_since: None,
            differences: Differences::default(),
            happened: Vec::new(),
        }
    }

    /// The recorded state, as far as it has come.
    #[must_use]
    pub fn recorded(&self) -> &Cluster {
        &self.recorded.cluster
    }

    /// The replayed state, as far as it has come.
    #[must_use]
    pub fn replayed(&self) -> &Cluster {
        &self.replayed.cluster
    }

    /// Goes on to the next recorded event; says what happened in the replay until then.
    pub fn step(&mut self, envelope: &Envelope) -> &[Envelope] {
        self.happened.clear();
        self.attend_until(envelope.at);
        self.reach(envelope.at);
        self.first.get_or_insert(envelope.seq);
        if self.opening == Some(envelope.at) {
            self.copy(envelope);
        } else {
            self.opening = None;
            self.repeat(envelope);
        }
        self.record(envelope);
        &self.happened
    }

    /// Ends the replay at its last moment.
    #[must_use]
    pub fn finish(mut self) -> Replayed {
        if let Some(at) = self.at {
            self.differences.compare(at);
        }
        let at = self.at.unwrap_or_default();
        Replayed {
            recorded: self.recorded.finish(at),
            replayed: self.replayed.finish(at),
            differences_count: self.differences.count,
            differences: self.differences.kept,
        }
    }

    /// Goes on to another moment.
    fn reach(&mut self, at: DateTime<Utc>) {
        if let Some(before) = self.at.replace(at)
            && before != at
        {
            self.differences.compare(before);
            self.evacuated.clear();
        }
        self.recorded.reach(at);
        self.replayed.reach(at);
    }

    /// Has in the replay what a recorded event stands for.
    fn repeat(&mut self, envelope: &Envelope) {
        match part(&self.recorded.cluster, envelope) {
            Part::Fact => self.copy(envelope),
            Part::Launch(id) => {
                let runs = self.replayed.cluster.container(id).is_some_and(|container| {
                    let goes_up = [Phase::Waiting, Phase::Placed, Phase::Up, Phase::Restarting];
                    container.desired == Desired::Running && goes_up.contains(&container.phase)
                });
                if !runs {
                    self.copy(envelope);
                }
            }
            Part::Probe(observed) => self.probe(observed, envelope),
            Part::Asked(command) => {
                self.ask(command, envelope.at);
            }
            Part::Evacuation(node) => {
                if self.evacuated.insert(node) {
                    self.ask(Command::EvacuateNode(node), envelope.at);
                }
            }
            Part::Outcome => self.outcome(envelope),
            // Of what was before the stretch, or was pruned: nothing here can lead to it.
            Part::Consequence if envelope.cause < self.first && envelope.cause.is_some() => {
                self.copy(envelope);
            }
            Part::Consequence => {}
        }
    }

    /// Folds a recorded event into the recorded side.
    fn record(&mut self, envelope: &Envelope) {
        self.differences.recorded(envelope);
        let touched = self.recorded.apply(envelope);
        self.paces.note(&self.recorded.cluster, envelope);
        self.compare(&touched);
        if !envelope.event.is_observation() {
            self.work.look_by(envelope.at + PACE);
        }
    }

    /// A probe: the same answer or none, judged anew. What is an orphan in the record may be wanted here.
    fn probe(&mut self, observed: &NodeObserved, envelope: &Envelope) {
        let mut observed = observed.clone();
        observed.orphans.retain(|orphan| {
            let container = self.replayed.cluster.container(orphan.container_id);
            let known = container.and_then(|container| container.placement_of(orphan.generation));
            !self.differing.contains(&Subject::Container(orphan.container_id))
                || known.is_none_or(|placement| placement.node_id != observed.node_id)
        });
        let context = self.context(envelope.at, envelope.cause);
        let cluster = std::mem::take(&mut self.replayed.cluster);
        self.take(commands::probe_again(cluster, observed, &context));
    }

    /// A process ends: whether and when it is started again is decided anew.
    fn exit(&mut self, exited: &ContainerExited, envelope: &Envelope) {
        let context = self.context(envelope.at, envelope.cause);
        let cluster = std::mem::take(&mut self.replayed.cluster);
        self.take(commands::exited_again(cluster, exited, &context));
    }

    /// What was recorded happens in the replay too.
    fn copy(&mut self, envelope: &Envelope) {
        self.happen(envelope.event.clone(), envelope.at, envelope.cause);
    }

    fn happen(&mut self, event: Event, at: DateTime<Utc>, cause: Option<Seq>) {
        let context = self.context(at, cause);
        let cluster = std::mem::take(&mut self.replayed.cluster);
        self.take(commands::happened(cluster, event, &context));
    }

    /// Puts a command to the replayed state; says whether anything came of it. What is refused was asked of another state.
    fn ask(&mut self, command: Command, at: DateTime<Utc>) -> bool {
        let context = self.context(at, None);
        let Ok(decision) = commands::decide(&self.replayed.cluster, command, &context) else { return false };
        let is_vain = decision.events.is_empty();
        self.take(decision);
        !is_vain
    }

    fn context(&self, at: DateTime<Utc>, cause: Option<Seq>) -> Context {
        Context {
            actor: Actor::reactor("replay"),
            request_id: None,
            cause,
            term: None,
            precondition: None,
            now: at,
            seed: Uuid::nil(), // nothing is made anew in a replay
            policy: Arc::clone(&self.policy),
        }
    }

    fn take(&mut self, decision: Decision) {
        let Decision { events, cluster, touched } = decision;
        self.replayed.take(&events, cluster, &touched);
        self.compare(&touched);
        for envelope in &events {
            self.differences.replayed(envelope);
            if !envelope.event.is_observation() {
                self.work.look_by(envelope.at + PACE);
                self.counts_since =
                    Some(envelope.at).filter(|_| !touched.nodes.is_empty()).or(self.counts_since);
            }
            if may_help(&envelope.event) {
                self.work.forget_pauses();
            }
        }
        self.happened.extend(events);
    }

    /// Finds out of what was touched on one side whether it is the same on the other.
    fn compare(&mut self, touched: &Touched) {
        let (recorded, replayed) = (&self.recorded.cluster, &self.replayed.cluster);
        let containers = touched.containers.iter().map(|id| {
            let same = is_same_container(recorded.container(*id), replayed.container(*id));
            (Subject::Container(*id), same)
        });
        let nodes = touched.nodes.iter().map(|id| {
            let same = standing(recorded.node(*id)) == standing(replayed.node(*id));
            (Subject::Node(*id), same)
        });
        for (subject, same) in containers.chain(nodes) {
            if same {
                self.differing.remove(&subject);
            } else {
                self.differing.insert(subject);
            }
        }
    }
}

/// Whether what was asked in vain may not be in vain any more.
fn may_help(event: &Event) -> bool {
    matches!(
        event,
        Event::NodeHealthy(_)
            | Event::NodeMounted(_)
            | Event::NodeUpdated(_)
            | Event::NodeUncordoned(_)
            | Event::ApplicationUpdated(_)
            | Event::MigrationsResumed(_)
    )
}

/// Whether what comes next for a container is the same: then the record tells of both.
fn is_same_container(one: Option<&Arc<Container>>, other: Option<&Arc<Container>>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    let stands = |c: &Container| {
        let placement = c.placement.as_ref().map(|placement| (placement.generation, placement.node_id));
        (c.desired, c.phase, c.lost, c.generation, placement, c.migrating, c.not_before, c.unhealthy)
    };
    let retired = |c: &Container| -> Vec<_> {
        let retired = c.retired.iter();
        retired.map(|r| (r.placement.generation, r.placement.node_id, r.held)).collect()
    };
    stands(one) == stands(other) && retired(one) == retired(other)
}

fn standing(node: Option<&Arc<Node>>) -> Option<impl PartialEq> {
    node.map(|node| (node.health, node.availability, node.then_unmount, node.drained))
}
