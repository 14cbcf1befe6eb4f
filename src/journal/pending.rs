//! Decided commands whose events are not durable yet.

use super::{Around, Outcome, Submission, SubmitError};
use crate::store::{
    COMMIT_BYTES_LIMIT, COMMIT_EVENTS_LIMIT, Commit, IdempotencyRecord, StoreError, StoredEvent,
};
use kdaemon_control::commands::Decision;
use kdaemon_events::{CommitId, Envelope, Salt};
use kdaemon_projections::{Cluster, Touched};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::oneshot;

type OutcomeSender = oneshot::Sender<Result<Outcome, SubmitError>>;
/// A command to be decided, and its caller.
pub(super) type Asked = (Box<Submission>, OutcomeSender);

/// Decided events, in groups that become one commit each.
pub(super) struct Pending {
    /// The state that they lead to.
    pub(super) cluster: Cluster,
    pub(super) touched: Touched,
    pub(super) events: Vec<Envelope>,
    /// The salt of each event.
    salts: Vec<Salt>,
    groups: Vec<Group>,
    /// How many of the groups are durable …
    pub(super) durable: usize,
    /// … and of the events.
    pub(super) durable_events: usize,
    pub(super) waiting: Vec<Waiting>,
    /// The records of commands without events, and how many of the groups must be durable before they hold. Such
    /// a record has no commit to be stored with: it is kept in memory only.
    vain: Vec<(IdempotencyRecord, usize)>,
}

#[derive(Default)]
struct Group {
    /// Taken when the group is first sent to the store.
    stored: Vec<StoredEvent>,
    length: usize,
    bytes: usize,
    idempotency: Vec<IdempotencyRecord>,
}

/// The place of a command's events among all pending ones.
pub(super) struct DecidedCommand {
    pub(super) range: Range<usize>,
    pub(super) around: Option<Arc<Around>>,
}

/// A decided command, and its caller.
pub(super) struct Waiting {
    pub(super) asked: Asked,
    pub(super) verdict: Result<DecidedCommand, SubmitError>,
    /// How many of the groups must be durable before the answer: a decision builds on all earlier ones.
    pub(super) after: usize,
}

impl Pending {
    pub(super) fn on(cluster: &Cluster) -> Self {
        Self {
            cluster: cluster.clone(),
            touched: Touched::default(),
            events: Vec::new(),
            salts: Vec::new(),
            groups: Vec::new(),
            durable: 0,
            durable_events: 0,
            waiting: Vec::new(),
            vain: Vec::new(),
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The group that has room for this many more events and bytes.
    fn group_for(&mut self, events: usize, bytes: usize) -> Option<&mut Group> {
        let fits = self.groups.last().is_some_and(|last| {
            last.length + events <= COMMIT_EVENTS_LIMIT && last.bytes + bytes <= COMMIT_BYTES_LIMIT
        });
        if !fits {
            self.groups.push(Group::default());
        }
        self.groups.last_mut()
    }

    pub(super) fn add(
        &mut self,
        decision: Decision,
        stored: Vec<StoredEvent>,
        salts: Vec<Salt>,
        record: Option<IdempotencyRecord>,
    ) -> Range<usize> {
        let first = self.events.len();
        if stored.is_empty() {
            self.vain.extend(record.map(|record| (record, self.groups.len())));
        } else {
            let bytes = stored.iter().map(|event| event.body.size()).sum();
            if let Some(group) = self.group_for(stored.len(), bytes) {
                group.length += stored.len();
                group.stored.extend(stored);
                group.bytes += bytes;
                group.idempotency.extend(record);
            }
        }
        self.touched.merge(&decision.touched);
        self.events.extend(decision.events);
        self.salts.extend(salts);
        self.cluster = decision.cluster;
        first..self.events.len()
    }

    pub(super) fn record_of(&self, key: &str) -> Option<&IdempotencyRecord> {
        let vain = self.vain.iter().map(|(record, _)| record);
        self.groups.iter().flat_map(|group| &group.idempotency).chain(vain).find(|record| record.key == key)
    }

    /// The commit of the first group that is not durable yet; `None` when all are.
    pub(super) fn next_commit(&mut self, id: CommitId) -> Option<Commit> {
        let group = self.groups.get_mut(self.durable)?;
        let events = std::mem::take(&mut group.stored);
        Some(Commit { id, events, idempotency: group.idempotency.clone() })
    }

    /// The same commit again, for a store that has lost it.
    ///
    /// # Errors
    /// When an event cannot be encoded.
    pub(super) fn same_commit(&self, id: CommitId) -> Result<Commit, StoreError> {
        let group = self.groups.get(self.durable);
        let these = self.durable_events..self.durable_events + group.map_or(0, |group| group.length);
        let (envelopes, salts) = (self.events.get(these.clone()), self.salts.get(these));
        let events = store_events(envelopes.unwrap_or_default(), salts.unwrap_or_default())?;
        Ok(Commit {
            id,
            events,
            idempotency: group.map(|group| group.idempotency.clone()).unwrap_or_default(),
        })
    }

    /// Notes that the next commit is durable.
    pub(super) fn advance(&mut self) {
        self.durable_events += self.groups.get(self.durable).map_or(0, |group| group.length);
        self.durable += 1;
    }

    /// Takes the records that hold, now that some groups are durable.
    pub(super) fn take_records(&mut self) -> impl Iterator<Item = IdempotencyRecord> {
        let durable = self.durable;
        let groups = self.groups.iter_mut().take(durable);
        let stored: Vec<_> = groups.flat_map(|group| std::mem::take(&mut group.idempotency)).collect();
        let vain = std::mem::take(&mut self.vain).into_iter();
        stored.into_iter().chain(vain.filter(move |(_, after)| *after <= durable).map(|(record, _)| record))
    }
}

/// Prepares events for a store, each with its salt.
pub(super) fn store_events(envelopes: &[Envelope], salts: &[Salt]) -> Result<Vec<StoredEvent>, StoreError> {
    envelopes.iter().zip(salts).map(|(envelope, salt)| StoredEvent::new(envelope, *salt)).collect()
}
