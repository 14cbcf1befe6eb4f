//! What-if: a range of recorded history under another policy, in virtual time.
//!
//! Two clusters go through the range side by side: the recorded one folds its events; the replayed one takes the
//! actions of people and machines from them (`parts.rs`), and decides everything else again through `commands`.
//! Outcomes on engines happen to the replayed one too where it has the same container in the same place
//! (`outcomes.rs`); elsewhere engines are simulated, and the commands of reactors are submitted (`attend.rs`,
//! `work.rs`).
//!
//! While both are in step, nothing is simulated, and only recorded commands are submitted. So replaying a
//! range under its own policy gives the recorded events, one by one.

mod attend;
mod differences;
mod meter;
mod outcomes;
mod parts;
#[cfg(test)]
mod tests;
mod work;

pub use differences::{Decided, DecisionDifference};
pub use meter::{Figures, Peak, Spread};

use crate::commands::{self, Command, Context, Decision, Policy};
use crate::reconcile::Pacing;
use chrono::{DateTime, TimeDelta, Utc};
use differences::DecisionComparison;
use kdaemon_events::container::ContainerExited;
use kdaemon_events::node::NodeObserved;
use kdaemon_events::{Actor, Envelope, Event, NodeId, Seq, Subject};
use kdaemon_projections::{Cluster, Container, Desired, Node, PhaseKind, Touched};
use meter::WatchedCluster;
use parts::{Part, part};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;
use work::{Paces, ReplayWork};

/// Delay between a change and the next look at due work: longer than one decision, shorter than people
/// notice.
const PACE: TimeDelta = TimeDelta::milliseconds(10);

/// A replay in progress.
pub struct Replay {
    recorded: WatchedCluster,
    replayed: WatchedCluster,
    policy: Arc<Policy>,
    pacing: Pacing,
    /// The subjects that differ between both sides.
    differing: BTreeSet<Subject>,
    /// The nodes whose evacuation was requested at this moment.
    evacuated: BTreeSet<NodeId>,
    /// The current moment.
    at: Option<DateTime<Utc>>,
    /// The moment in which the range begins: its remaining events were decided before, and happen as
    /// recorded.
    opening: Option<DateTime<Utc>>,
    /// The first recorded event of the range.
    first: Option<Seq>,
    paces: Paces,
    work: ReplayWork,
    differences: DecisionComparison,
    /// The events of the replay since the last recorded event.
    happened: Vec<Envelope>,
}

/// The result of a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The recorded outcome.
    pub recorded: Figures,
    /// The replayed outcome.
    pub replayed: Figures,
    /// Decisions that would have been different, the first 1,000 of them.
    pub differences: Vec<DecisionDifference>,
    /// The number of all differences.
    pub differences_count: u64,
}

impl Replay {
    /// Begins a replay with a state. `pacing` says when counts are rebalanced where the record has no moment for it.
    #[must_use]
    pub fn new(from: &Cluster, policy: Policy, pacing: Pacing) -> Self {
        Self {
            recorded: WatchedCluster::new(from.clone()),
            replayed: WatchedCluster::new(from.clone()),
            policy: Arc::new(policy),
            pacing,
            differing: BTreeSet::new(),
            evacuated: BTreeSet::new(),
            at: from.at(),
            opening: from.at(),
            first: None,
            paces: Paces::default(),
            work: ReplayWork::default(),
            differences: DecisionComparison::default(),
            happened: Vec::new(),
        }
    }

    /// The recorded state so far.
    #[must_use]
    pub fn recorded(&self) -> &Cluster {
        &self.recorded.cluster
    }

    /// The replayed state so far.
    #[must_use]
    pub fn replayed(&self) -> &Cluster {
        &self.replayed.cluster
    }

    /// Advances to the next recorded event. Returns the events of the replay until then.
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

    /// Advances to another moment.
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

    /// Applies the meaning of a recorded event to the replay.
    fn repeat(&mut self, envelope: &Envelope) {
        match part(&self.recorded.cluster, envelope) {
            Part::Fact => self.copy(envelope),
            Part::Launch(id) => {
                let goes_up = |cluster: &Cluster| {
                    let phases =
                        [PhaseKind::Waiting, PhaseKind::Placed, PhaseKind::Up, PhaseKind::Restarting];
                    cluster.container(id).is_some_and(|container| {
                        container.desired == Desired::Running && phases.contains(&container.phase.kind())
                    })
                };
                // One that was on its way up took a new specification.
                if !goes_up(&self.replayed.cluster) || goes_up(&self.recorded.cluster) {
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
            // Its subject was before the range, or was pruned: nothing here can lead to it.
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

    /// A probe with the same result, judged again. An orphan of the record may be wanted here.
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

    /// A process exits: the restart is decided again.
    fn exit(&mut self, exited: &ContainerExited, envelope: &Envelope) {
        let context = self.context(envelope.at, envelope.cause);
        let cluster = std::mem::take(&mut self.replayed.cluster);
        self.take(commands::exited_again(cluster, exited, &context));
    }

    /// The recorded event happens in the replay too.
    fn copy(&mut self, envelope: &Envelope) {
        self.happen(envelope.event.clone(), envelope.at, envelope.cause);
    }

    fn happen(&mut self, event: Event, at: DateTime<Utc>, cause: Option<Seq>) {
        let context = self.context(at, cause);
        let cluster = std::mem::take(&mut self.replayed.cluster);
        self.take(commands::happened(cluster, event, &context));
    }

    /// Submits a command to the replayed state. Returns whether it had an effect. A refused command belonged
    /// to another state.
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
            seed: Uuid::nil(), // a replay creates no cluster
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
            }
            if may_help(&envelope.event) {
                self.work.forget_pauses();
            }
        }
        self.happened.extend(events);
    }

    /// Compares the touched subjects of one side with the other side.
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

/// Whether commands that had no effect may now have one.
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

/// Whether the next step of a container is the same on both sides, so that the record describes both.
fn is_same_container(one: Option<&Arc<Container>>, other: Option<&Arc<Container>>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    let stands = |c: &Container| {
        let placement = c.placement.as_ref().map(|placement| (placement.generation, placement.node_id));
        (
            c.desired,
            c.phase.kind(),
            c.lost,
            c.generation,
            placement,
            c.migrating,
            c.not_before(),
            c.is_unhealthy(),
        )
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
