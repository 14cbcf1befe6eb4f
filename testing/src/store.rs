//! An in-memory store for tests and the simulation. Its contents are gone when it is dropped.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kdaemon::latest;
use kdaemon::store::{
    Body, Commit, CursorStore, EventLog, EventQuery, EventText, Head, IdempotencyRecord, IdempotencyStore,
    InlineLog, Lease, LeaseStore, RAW_PAGE_EVENTS, RawCommit, RawEvent, RawLog, RawNode, RawPage,
    RawPosition, RowChange, Snapshot, SnapshotStore, StoreError, StoredEvent, Table, TableStore, Tip,
};
use kdaemon_events::{Actor, Digest, Kind, NodePlace, Seq};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// The store.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    /// The number of commits, for receivers that wait for more.
    commits: latest::Sender<u64>,
    /// Whether verification is paused.
    held: watch::Sender<bool>,
    /// How long the answer to a written lease takes, in nanoseconds.
    lease_answers_after: AtomicU64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            commits: latest::Sender::new(0),
            held: watch::Sender::new(false),
            lease_answers_after: AtomicU64::new(0),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    tip: Tip,
    /// Event 1 first.
    events: Vec<StoredEvent>,
    /// The heads after each commit.
    commits: Vec<Head>,
    nodes: BTreeMap<NodePlace, Digest>,
    idempotency: Vec<IdempotencyRecord>,
    tables: BTreeMap<(Table, Uuid), String>,
    reflects: Seq,
    lease: Option<Lease>,
    snapshots: BTreeMap<Seq, Snapshot>,
    cursors: BTreeMap<String, Seq>,
    unavailable: Option<String>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every call fail with this reason, or work again (`None`).
    pub fn set_unavailable(&self, reason: Option<&str>) {
        self.lock().unavailable = reason.map(ToOwned::to_owned);
    }

    /// Pauses verification before its next page, or resumes it.
    pub fn hold_verification(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Makes the answer to each lease that is written from now on arrive this long after the lease took effect.
    pub fn delay_lease_answers(&self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.lease_answers_after.store(nanoseconds, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change below is made completely before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.lock();
        match &inner.unavailable {
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
            None => Ok(inner),
        }
    }
}

fn text(event: &StoredEvent) -> Option<EventText> {
    event.body.json().map(|json| EventText { seq: event.seq, json: json.to_owned() })
}

impl Inner {
    /// The events after one event, pruned ones included.
    fn after(&self, seq: Seq) -> &[StoredEvent] {
        let start = usize::try_from(seq.0).unwrap_or(usize::MAX);
        self.events.get(start..).unwrap_or_default()
    }
}

impl InlineLog for MemoryStore {
    fn append_inline(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        let mut inner = self.working()?;
        if inner.tip.head() != *expected {
            return Err(StoreError::Conflict { actual: inner.tip.head() });
        }
        let (tip, nodes) = inner.tip.after(&commit);
        let head = tip.head();
        inner.commits.push(head);
        inner.events.extend(commit.events);
        inner.nodes.extend(nodes.into_iter().map(|node| (node.place, node.hash)));
        for record in commit.idempotency {
            inner.idempotency.retain(|earlier| earlier.key != record.key);
            inner.idempotency.push(record);
        }
        inner.tip = tip;
        drop(inner);
        self.commits.send_modify(|commits| *commits = head.commits.max(*commits));
        Ok(head)
    }
}

#[async_trait]
impl EventLog for MemoryStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn commit_at(&self, number: u64) -> Result<Option<Head>, StoreError> {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let inner = self.working()?;
        Ok(index.and_then(|index| inner.commits.get(index)).copied())
    }

    async fn head(&self) -> Result<Head, StoreError> {
        Ok(self.working()?.tip.head())
    }

    async fn append(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        self.append_inline(expected, commit)
    }

    fn inline(&self) -> Option<&dyn InlineLog> {
        Some(self)
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError> {
        let inner = self.working()?;
        Ok(inner.after(after).iter().filter_map(text).take(limit).collect())
    }

    async fn query(&self, query: EventQuery) -> Result<Vec<EventText>, StoreError> {
        let inner = self.working()?;
        let matches = |event: &&StoredEvent| {
            (query.kinds.is_empty() || query.kinds.contains(&event.kind))
                && query.subject.is_none_or(|subject| event.subjects.contains(&subject))
                && query.actor.as_ref().is_none_or(|actor| Actor::name_in(&event.actor) == actor)
                && query.since.is_none_or(|since| event.at >= since)
                && query.until.is_none_or(|until| event.at < until)
        };
        let found = inner.after(query.after).iter().filter(matches).filter_map(text);
        Ok(found.take(query.limit).collect())
    }

    async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError> {
        let inner = self.working()?;
        let mut there = inner.events.iter().rev().filter(|event| event.body.json().is_some());
        Ok(there.find(|event| event.at <= at).map_or(Seq(0), |event| event.seq))
    }

    async fn prune(&self, ranges: &[(Seq, Seq)], limit: usize) -> Result<usize, StoreError> {
        let mut inner = self.working()?;
        let goes = |event: &&mut StoredEvent| {
            event.kind == Kind::NodeObserved
                && event.body.json().is_some()
                && ranges.iter().any(|(first, last)| (*first..=*last).contains(&event.seq))
        };
        let mut gone = 0;
        for event in inner.events.iter_mut().filter(goes).take(limit) {
            event.body = Body::Pruned { content: event.body.content() };
            event.subjects.clear();
            gone += 1;
        }
        Ok(gone)
    }

    async fn pruned(&self, first: Seq, last: Seq) -> Result<u64, StoreError> {
        let inner = self.working()?;
        let events = inner.events.iter().filter(|event| (first..=last).contains(&event.seq));
        Ok(events.filter(|event| event.body.json().is_none()).count() as u64)
    }

    async fn wait_for_commit(&self, after: &Head, at_most: Duration) -> Result<u64, StoreError> {
        drop(self.working()?);
        let mut commits = self.commits.subscribe();
        let more = commits.wait_for(|commits| *commits > after.commits);
        let _ = tokio::time::timeout(at_most, more).await; // on a timeout there are no more
        let commits = *commits.borrow();
        Ok(commits)
    }

    async fn close(&self) {}
}

#[async_trait]
impl RawLog for MemoryStore {
    async fn raw_commits(&self, after: RawPosition) -> Result<RawPage, StoreError> {
        let _ = self.held.subscribe().wait_for(|held| !held).await; // the sender lives as long as the store
        let inner = self.working()?;
        let mut page = RawPage { is_last: true, ..RawPage::default() };
        let (mut size, mut before) = (0, Seq(u64::try_from(after.seq).unwrap_or(0)));
        let done = usize::try_from(after.number).unwrap_or(0);
        for head in inner.commits.iter().skip(done) {
            if size >= RAW_PAGE_EVENTS {
                page.is_last = false;
                break;
            }
            let count = usize::try_from(head.seq.0 - before.0).unwrap_or(usize::MAX);
            let events: Vec<_> = inner.after(before).iter().take(count).map(RawEvent::from).collect();
            let ends = |place: &NodePlace| before.0 < place.end() && place.end() <= head.seq.0;
            let mut nodes: Vec<_> = inner.nodes.iter().filter(|(place, _)| ends(place)).collect();
            nodes.sort_by_key(|(place, _)| (place.end(), place.level));
            let node = |(place, hash): (&NodePlace, &Digest)| RawNode {
                level: i64::from(place.level),
                number: i64::try_from(place.number).unwrap_or(i64::MAX),
                hash: Some(*hash),
            };
            size += events.len();
            page.commits.push(RawCommit {
                number: i64::try_from(head.commits).unwrap_or(i64::MAX),
                id: head.commit_id.map(|id| id.to_string()).unwrap_or_default(),
                first_seq: events.first().map_or(0, |event| event.seq),
                last_seq: events.last().map_or(0, |event| event.seq),
                root: head.root.to_string(),
                events,
                nodes: Some(nodes.into_iter().map(node).collect()),
                unreadable: None,
            });
            before = head.seq;
        }
        page.nodes = Some(inner.nodes.len() as u64).filter(|_| page.is_last);
        Ok(page)
    }

    async fn position_before(&self, seq: Seq) -> Result<Option<RawPosition>, StoreError> {
        let inner = self.working()?;
        let before = inner.commits.partition_point(|head| head.seq < seq);
        let last =
            before.checked_sub(1).and_then(|last| inner.commits.get(last)).copied().unwrap_or_default();
        let position = || RawPosition {
            number: i64::try_from(last.commits).unwrap_or(i64::MAX),
            seq: i64::try_from(last.seq.0).unwrap_or(i64::MAX),
        };
        Ok((before < inner.commits.len()).then(position))
    }

    async fn nodes(&self, places: &[NodePlace]) -> Result<Vec<Option<Digest>>, StoreError> {
        let inner = self.working()?;
        Ok(places.iter().map(|place| inner.nodes.get(place).copied()).collect())
    }
}

#[async_trait]
impl SnapshotStore for MemoryStore {
    async fn write_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.working()?.snapshots.insert(snapshot.seq, snapshot);
        Ok(())
    }

    async fn snapshot_before(&self, seq: Seq) -> Result<Option<Snapshot>, StoreError> {
        let inner = self.working()?;
        Ok(inner.snapshots.range(..=seq).next_back().map(|(_, snapshot)| snapshot.clone()))
    }

    async fn snapshots(&self) -> Result<Vec<Seq>, StoreError> {
        Ok(self.working()?.snapshots.keys().copied().collect())
    }

    async fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError> {
        self.working()?.snapshots.remove(&seq);
        Ok(())
    }
}

#[async_trait]
impl TableStore for MemoryStore {
    async fn write_rows(&self, reflects: Seq, changes: Vec<RowChange>) -> Result<(), StoreError> {
        let mut inner = self.working()?;
        if reflects < inner.reflects {
            return Ok(());
        }
        for change in changes {
            match change.json {
                Some(json) => inner.tables.insert((change.table, change.id), json),
                None => inner.tables.remove(&(change.table, change.id)),
            };
        }
        inner.reflects = reflects;
        Ok(())
    }

    async fn tables_reflect(&self) -> Result<Seq, StoreError> {
        Ok(self.working()?.reflects)
    }

    async fn drop_tables(&self) -> Result<(), StoreError> {
        let mut inner = self.working()?;
        inner.tables.clear();
        inner.reflects = Seq(0);
        Ok(())
    }

    async fn read_table(&self, table: Table) -> Result<Vec<(Uuid, String)>, StoreError> {
        let inner = self.working()?;
        let rows = inner.tables.iter().filter(|((t, _), _)| *t == table);
        Ok(rows.map(|((_, id), json)| (*id, json.clone())).collect())
    }
}

#[async_trait]
impl IdempotencyStore for MemoryStore {
    async fn idempotency_records(
        &self,
        since: DateTime<Utc>,
        after: Seq,
    ) -> Result<Vec<IdempotencyRecord>, StoreError> {
        let inner = self.working()?;
        let kept = inner.idempotency.iter().filter(|record| record.at >= since && record.seq > after);
        Ok(kept.cloned().collect())
    }

    async fn prune_idempotency(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        let mut inner = self.working()?;
        let mut gone = 0;
        inner.idempotency.retain(|record| {
            let goes = record.at < before && gone < limit;
            gone += usize::from(goes);
            !goes
        });
        Ok(gone)
    }
}

#[async_trait]
impl CursorStore for MemoryStore {
    async fn cursor(&self, name: &str) -> Result<Option<Seq>, StoreError> {
        Ok(self.working()?.cursors.get(name).copied())
    }

    async fn set_cursor(&self, name: &str, seq: Seq) -> Result<(), StoreError> {
        self.working()?.cursors.insert(name.to_owned(), seq);
        Ok(())
    }
}

#[async_trait]
impl LeaseStore for MemoryStore {
    async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.working()?.lease.clone())
    }

    async fn write_lease(&self, expected_version: u64, lease: Lease) -> Result<bool, StoreError> {
        let is_first = {
            let mut inner = self.working()?;
            let is_first = inner.lease.as_ref().map_or(0, |lease| lease.version) == expected_version;
            if is_first {
                inner.lease = Some(lease);
            }
            is_first
        };
        let delay = Duration::from_nanos(self.lease_answers_after.load(Ordering::Relaxed));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok(is_first)
    }
}
