//! A decision in the making: the events so far, and the state that they lead to.
//!
//! Each event is folded into a copy of the state as soon as it is drafted, so that the rest of the decision
//! sees its effect, and events can name each other's seq as their cause. The copy costs a few reference
//! counts (the maps are persistent), and the journal takes the finished one over: nothing is folded twice.

use super::Refusal;
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::Strategy;
use kdaemon_events::{
    Actor, ApplicationId, ContainerId, Envelope, Event, EventId, NodeId, RequestId, Seq, Subject, Term,
};
use kdaemon_projections::{Application, Cluster, Container, Node, Touched};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The limits that decisions keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Failed probes in a row that make a node unhealthy.
    pub unhealthy_after: u32,
    /// Answered probes in a row that make it healthy again.
    pub healthy_after: u32,
    /// Launches that are tried before a container is FAILED.
    pub launch_attempts: u32,
    /// The pause after the first failed launch; it doubles with each further one.
    pub launch_pause: Duration,
    /// The longest pause between two starts of a container that keeps exiting.
    pub restart_pause_max: Duration,
    /// How many containers move at a time for the sake of balance or of a drain.
    pub max_migrations: usize,
    /// How a node is chosen for applications that do not say.
    pub strategy: Strategy,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            unhealthy_after: 3,
            healthy_after: 2,
            launch_attempts: 5,
            launch_pause: Duration::from_millis(500),
            restart_pause_max: Duration::from_secs(300),
            max_migrations: 8,
            strategy: Strategy::default(),
        }
    }
}

/// A thing must not have changed since (`If-Match`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precondition {
    /// The thing.
    pub subject: Subject,
    /// Its last change as the client knows it.
    pub seq: Seq,
}

/// What comes in with a command: who, when, why, and within which limits.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who asks.
    pub actor: Actor,
    /// The request that it came from.
    pub request_id: Option<RequestId>,
    /// The event that the command answers.
    pub cause: Option<Seq>,
    /// The term of the leader whose reactor asks; `None` for people.
    pub term: Option<Term>,
    /// What must not have changed.
    pub precondition: Option<Precondition>,
    /// The time; the recorded one is never earlier than that of the event before.
    pub now: DateTime<Utc>,
    /// What identities are derived from: a random number drawn outside.
    pub seed: Uuid,
    /// The limits.
    pub policy: Arc<Policy>,
}

impl Context {
    /// Checks what has to hold before any decision.
    pub(super) fn check(&self, cluster: &Cluster) -> Result<(), Refusal> {
        if let Some(term) = self.term
            && term < cluster.term()
        {
            return Err(Refusal::Deposed { asked: term, current: cluster.term() });
        }
        let Some(Precondition { subject, seq }) = self.precondition else { return Ok(()) };
        let actual = match subject {
            Subject::Node(id) => cluster.node(id).map(|node| node.seq),
            Subject::Application(id) => cluster.application(id).map(|application| application.seq),
            Subject::Container(id) => cluster.container(id).map(|container| container.seq),
        };
        match actual {
            Some(actual) if actual != seq => Err(Refusal::Changed { expected: seq, actual }),
            _ => Ok(()), // that it is gone is said better by the decision itself
        }
    }
}

/// A decided command.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What happened, in order. Empty when the state was already as wanted.
    pub events: Vec<Envelope>,
    /// The state that it leads to.
    pub cluster: Cluster,
    /// Whose rows it changes.
    pub touched: Touched,
}

pub(super) struct DecisionBuilder<'a> {
    pub(super) context: &'a Context,
    pub(super) now: DateTime<Utc>,
    cluster: Cluster,
    events: Vec<Envelope>,
    touched: Touched,
    identities: u16,
}

impl<'a> DecisionBuilder<'a> {
    pub(super) fn new(cluster: Cluster, context: &'a Context) -> Self {
        // Clocks go backwards; the log does not. Microseconds are what is written.
        let now = context.now.max(cluster.at().unwrap_or(context.now));
        let now = DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now);
        Self { context, now, cluster, events: Vec::new(), touched: Touched::default(), identities: 0 }
    }

    /// The last event of the decision so far.
    pub(super) fn last(&self) -> Option<Seq> {
        self.events.last().map(|envelope| envelope.seq)
    }

    /// Whether the decision leaves no room in a commit for much more: what is not urgent waits then.
    pub(super) fn is_long(&self) -> bool {
        self.events.len() >= 900
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Records that something happened, with the cause that came with the command.
    pub(super) fn emit(&mut self, event: impl Into<Event>) -> Seq {
        self.emit_because(event, self.context.cause)
    }

    /// Records that something happened because of `cause`.
    pub(super) fn emit_because(&mut self, event: impl Into<Event>, cause: Option<Seq>) -> Seq {
        let envelope = Envelope {
            seq: self.cluster.seq().next(),
            id: EventId(self.identity()),
            at: self.now,
            actor: self.context.actor.clone(),
            request_id: self.context.request_id.clone(),
            cause,
            event: event.into(),
        };
        self.cluster.apply(&envelope, &mut self.touched);
        let seq = envelope.seq;
        self.events.push(envelope);
        seq
    }

    /// The next identity (UUIDv7): the time of the decision to a 4,096th of a millisecond (RFC 9562, 6.2, method 3: a client
    /// makes several things within one), a counter, so that what one decision makes sorts in the order in which it was
    /// made, and bits derived from the decision's seed.
    pub(super) fn identity(&mut self) -> Uuid {
        self.identities = self.identities.wrapping_add(1);
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.context.seed.as_bytes());
        hasher.update(&self.identities.to_le_bytes());
        let mut bits = [0; 10];
        hasher.finalize_xof().fill(&mut bits);
        // The version takes the first four bits, the variant two of the third byte.
        let fraction = self.now.timestamp_subsec_micros() % 1_000 * 4_096 / 1_000;
        bits[..2].copy_from_slice(&u16::try_from(fraction).unwrap_or(0).to_be_bytes());
        bits[2..4].copy_from_slice(&self.identities.to_be_bytes());
        let millis = u64::try_from(self.now.timestamp_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid()
    }

    pub(super) fn node(&self, id: NodeId) -> Result<Arc<Node>, Refusal> {
        self.cluster.node(id).cloned().ok_or_else(|| Refusal::not_found("node", id))
    }

    pub(super) fn application(&self, id: ApplicationId) -> Result<Arc<Application>, Refusal> {
        self.cluster.application(id).cloned().ok_or_else(|| Refusal::not_found("application", id))
    }

    pub(super) fn container(&self, id: ContainerId) -> Result<Arc<Container>, Refusal> {
        self.cluster.container(id).cloned().ok_or_else(|| Refusal::not_found("container", id))
    }

    /// The time after a pause.
    pub(super) fn after(&self, pause: Duration) -> DateTime<Utc> {
        TimeDelta::from_std(pause)
            .ok()
            .and_then(|pause| self.now.checked_add_signed(pause))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The state as it was given, if nothing has happened to it yet.
    pub(super) fn give_back(self) -> Option<Cluster> {
        self.events.is_empty().then_some(self.cluster)
    }

    pub(super) fn finish(self) -> Decision {
        Decision { events: self.events, cluster: self.cluster, touched: self.touched }
    }
}

/// A pause that doubles with each failure: `first` after one, at most `longest`.
pub(super) fn doubling(first: Duration, failures: u32, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1).min(20)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}
