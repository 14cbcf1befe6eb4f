//! A store in memory, for tests and the simulation. It forgets everything when it is dropped.

use super::{
    Answer, Commit, EventQuery, EventStore, EventText, Head, RowChange, Snapshot, StoreError, StoredEvent,
    Table,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kdaemon_events::{CommitId, Digest, Seq};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// The store.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    head: Head,
    events: Vec<StoredEvent>,
    /// Each commit, after which event it ends, and its digest.
    commits: Vec<(CommitId, Seq, Digest)>,
    answers: Vec<Answer>,
    tables: BTreeMap<(Table, Uuid), String>,
    reflects: Seq,
    snapshots: BTreeMap<Seq, Snapshot>,
    unavailable: Option<String>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every call fail with this reason, or work again.
    pub fn set_unavailable(&self, reason: Option<&str>) {
        self.lock().unavailable = reason.map(ToOwned::to_owned);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change below is made whole before anything can panic.
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

fn text(event: &StoredEvent) -> EventText {
    EventText { seq: event.seq, json: event.json.clone() }
}

fn first_after(events: &[StoredEvent], after: Seq) -> usize {
    events.partition_point(|event| event.seq <= after)
}

#[async_trait]
impl EventStore for MemoryStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn commit_at(&self, number: u64) -> Result<Option<CommitId>, StoreError> {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let inner = self.working()?;
        Ok(index.and_then(|index| inner.commits.get(index)).map(|(id, _, _)| *id))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        Ok(self.working()?.head)
    }

    async fn append(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        let mut inner = self.working()?;
        if inner.head != *expected {
            return Err(StoreError::Conflict { actual: inner.head });
        }
        let head = commit.head_after(expected);
        inner.commits.push((commit.id, head.seq, head.digest));
        inner.events.extend(commit.events);
        for answer in commit.answers {
            inner.answers.retain(|earlier| earlier.key != answer.key);
            inner.answers.push(answer);
        }
        inner.head = head;
        Ok(head)
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError> {
        let inner = self.working()?;
        let start = first_after(&inner.events, after);
        Ok(inner.events[start..].iter().take(limit).map(text).collect())
    }

    async fn query(&self, query: EventQuery) -> Result<Vec<EventText>, StoreError> {
        let inner = self.working()?;
        let start = first_after(&inner.events, query.after);
        let matches = |event: &&StoredEvent| {
            (query.kinds.is_empty() || query.kinds.contains(&event.kind))
                && query.subject.is_none_or(|subject| event.subjects.contains(&subject))
                && query.actor.as_ref().is_none_or(|actor| event.actor == *actor)
                && query.since.is_none_or(|since| event.at >= since)
                && query.until.is_none_or(|until| event.at < until)
        };
        Ok(inner.events[start..].iter().filter(matches).take(query.limit).map(text).collect())
    }

    async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError> {
        let inner = self.working()?;
        let later = inner.events.partition_point(|event| event.at <= at);
        Ok(later.checked_sub(1).and_then(|last| inner.events.get(last)).map_or(Seq(0), |event| event.seq))
    }

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

    async fn answers(&self, since: DateTime<Utc>) -> Result<Vec<Answer>, StoreError> {
        Ok(self.working()?.answers.iter().filter(|answer| answer.at >= since).cloned().collect())
    }

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

    async fn verify(&self) -> Result<Head, StoreError> {
        let inner = self.working()?;
        let mut digest = Digest::default();
        let mut start = 0;
        for (number, (_, last, recorded)) in inner.commits.iter().enumerate() {
            let end = first_after(&inner.events, *last);
            let events = &inner.events[start..end];
            digest = Digest::of_commit(digest, events.iter().map(|e| Digest::of_event(e.json.as_bytes())));
            if digest != *recorded {
                return Err(StoreError::Damaged(format!("commit {} does not fit its digest", number + 1)));
            }
            start = end;
        }
        Ok(inner.head)
    }

    async fn close(&self) {}
}
