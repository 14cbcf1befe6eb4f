//! The builder of a decision: the events so far, and the state that they lead to.
//!
//! Each event is folded into a copy of the state as soon as it is emitted, so that the rest of the decision
//! sees its effect, and events can name each other's seq as their cause. The copy costs a few reference
//! counts (the maps are persistent), and the journal takes over the resulting state: nothing is folded twice.

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

/// The limits of decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Failed probes in a row that make a node unhealthy.
    pub unhealthy_after: u32,
    /// Answered probes in a row that make it healthy again.
    pub healthy_after: u32,
    /// Launch attempts before a container is FAILED.
    pub launch_attempts: u32,
    /// The backoff after the first failed launch; doubles with each further one.
    pub launch_pause: Duration,
    /// The longest backoff between two starts of a container that keeps exiting.
    pub restart_pause_max: Duration,
    /// Concurrent moves for the sake of balance or of a drain.
    pub max_migrations: usize,
    /// The placement strategy of applications without their own.
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

/// Requires that a resource has not been modified (`If-Match`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precondition {
    /// The resource.
    pub subject: Subject,
    /// The last change that the client knows.
    pub seq: Seq,
}

/// The context of a command: who, when, why, and within which limits.
#[derive(Debug, Clone)]
pub struct Context {
    /// The principal.
    pub actor: Actor,
    /// The request that carried the command.
    pub request_id: Option<RequestId>,
    /// The event that the command responds to.
    pub cause: Option<Seq>,
    /// The term of the leader whose reactor submits the command; `None` for people.
    pub term: Option<Term>,
    /// The precondition, if any.
    pub precondition: Option<Precondition>,
    /// The current time; the recorded time is never earlier than the previous event's.
    pub now: DateTime<Utc>,
    /// A random number from outside, from which ids are derived.
    pub seed: Uuid,
    /// The limits.
    pub policy: Arc<Policy>,
}

impl Context {
    /// Checks the term and the precondition.
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
            _ => Ok(()), // the decision itself reports a missing resource better
        }
    }
}

/// A decided command.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The events, in order. Empty if the state was already as requested.
    pub events: Vec<Envelope>,
    /// The resulting state.
    pub cluster: Cluster,
    /// The items whose rows it changes.
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
        // Clocks may go backwards; the log does not. Times are recorded in microseconds.
        let now = context.now.max(cluster.at().unwrap_or(context.now));
        let now = DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now);
        Self { context, now, cluster, events: Vec::new(), touched: Touched::default(), identities: 0 }
    }

    /// The last event of the decision so far.
    pub(super) fn last(&self) -> Option<Seq> {
        self.events.last().map(|envelope| envelope.seq)
    }

    /// Whether the decision nearly fills a commit, so that work that is not urgent should wait.
    pub(super) fn is_long(&self) -> bool {
        self.events.len() >= 900
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Emits an event with the cause given with the command.
    pub(super) fn emit(&mut self, event: impl Into<Event>) -> Seq {
        self.emit_because(event, self.context.cause)
    }

    /// Emits an event with this cause.
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

    /// The next id (UUIDv7): the time of the decision to a 4,096th of a millisecond (RFC 9562, 6.2, method 3:
    /// a client creates several resources within one), a counter, so that the ids of one decision sort in the
    /// order of their creation, and bits derived from the decision's seed.
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

    /// The original state, if no event was emitted yet.
    pub(super) fn give_back(self) -> Option<Cluster> {
        self.events.is_empty().then_some(self.cluster)
    }

    pub(super) fn finish(self) -> Decision {
        Decision { events: self.events, cluster: self.cluster, touched: self.touched }
    }
}
