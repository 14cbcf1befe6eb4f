//! The event index, kept in memory.
//!
//! An index of events by subject in RethinkDB would make commits several times slower. Instead, the first query reads
//! the whole log, and later queries read the new commits. The index holds the commits of each kind and each subject,
//! and the last event and earliest time of each commit: about 50 bytes for a commit of one event.

use super::document::CommitRow;
use super::{EVENTS, NUMBER_LIMIT, Numbered as _, RethinkdbStore};
use crate::store::{EventQuery, EventText, StoreError};
use chrono::{DateTime, Utc};
use kdaemon_events::{Envelope, Kind, Seq, Subject};
use reql::{Command, r};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use uuid::Uuid;

/// The number of commits that one query reads by number.
const CHUNK: usize = 64;

#[derive(Debug, PartialEq, Eq, Hash)]
enum LookupKey {
    Kind(Kind),
    Subject(Uuid),
}

impl LookupKey {
    /// The most selective key of a query; `None` when the index does not help.
    fn of(query: &EventQuery) -> Option<Self> {
        match (query.subject, query.kinds.as_slice()) {
            (Some(subject), _) => Some(Self::Subject(subject)),
            (None, [kind]) => Some(Self::Kind(*kind)),
            _ => None,
        }
    }
}

/// The last event of a commit and the earliest time of its events.
#[derive(Debug)]
struct Extent {
    last_seq: Seq,
    earliest: DateTime<Utc>,
}

/// The index of the log up to a commit; see the [module](self).
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The extents of all indexed commits, commit 1 first.
    commits: Vec<Extent>,
    /// The numbers of the commits that match a key, in order.
    keys: HashMap<LookupKey, Vec<u64>>,
}

impl Index {
    async fn bring_up_to_date(&mut self, store: &RethinkdbStore) -> Result<(), StoreError> {
        let from = self.commits.len() as u64 + 1;
        store.scan(from, CommitRow::FIELDS, |commit| self.add(commit).map(|()| true)).await
    }

    fn add(&mut self, commit: CommitRow) -> Result<(), StoreError> {
        let (number, last_seq) = (commit.id, commit.last_seq);
        let mut earliest = None::<DateTime<Utc>>;
        for text in commit.events()? {
            let event = decode(&text)?;
            earliest = Some(earliest.map_or(event.at, |earliest| earliest.min(event.at)));
            let subjects = event.event.subjects().into_iter().map(Subject::uuid).map(LookupKey::Subject);
            for key in subjects.chain([LookupKey::Kind(event.event.kind())]) {
                let numbers = match self.keys.entry(key) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry.insert(Vec::new()),
                };
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
        }
        self.commits.push(Extent { last_seq, earliest: earliest.unwrap_or_default() });
        Ok(())
    }

    /// The number of the first commit with events after `after`.
    fn first_after(&self, after: Seq) -> u64 {
        self.commits.partition_point(|commit| commit.last_seq <= after) as u64 + 1
    }

    /// The numbers of the commits that match a key and have events after `after`.
    fn having(&self, key: &LookupKey, after: Seq) -> Vec<u64> {
        let numbers = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        let first = self.first_after(after);
        numbers[numbers.partition_point(|number| *number < first)..].to_vec()
    }
}

fn decode(text: &EventText) -> Result<Envelope, StoreError> {
    Envelope::decode(&text.json).map_err(|error| StoreError::Damaged(format!("event {}: {error}", text.seq)))
}

fn matches(query: &EventQuery, event: &Envelope) -> bool {
    event.seq > query.after
        && (query.kinds.is_empty() || query.kinds.contains(&event.event.kind()))
        && query.subject.is_none_or(|id| event.event.subjects().into_iter().any(|s| s.uuid() == id))
        && query.actor.as_ref().is_none_or(|actor| event.actor.name() == actor)
        && query.since.is_none_or(|since| event.at >= since)
        && query.until.is_none_or(|until| event.at < until)
}

/// Implements [`crate::store::EventLog::query`].
pub(super) async fn query(store: &RethinkdbStore, query: &EventQuery) -> Result<Vec<EventText>, StoreError> {
    let mut found = Vec::new();
    if query.limit == 0 {
        return Ok(found);
    }
    let mut take = |commit: CommitRow| {
        for text in commit.events()? {
            if found.len() < query.limit && matches(query, &decode(&text)?) {
                found.push(text);
            }
        }
        Ok(found.len() < query.limit)
    };
    if let Some(key) = LookupKey::of(query) {
        let mut index = store.index.lock().await;
        index.bring_up_to_date(store).await?;
        let numbers = index.having(&key, query.after);
        drop(index);
        'all: for chunk in numbers.chunks(CHUNK) {
            for commit in pick(store, chunk).await? {
                if !take(commit)? {
                    break 'all;
                }
            }
        }
    } else if query.after.0 < NUMBER_LIMIT
        && let Some(first) = store.commit_of(query.after.next()).await?
    {
        store.scan(first, CommitRow::FIELDS, take).await?;
    }
    Ok(found)
}

/// Reads commits by their numbers.
async fn pick(store: &RethinkdbStore, numbers: &[u64]) -> Result<Vec<CommitRow>, StoreError> {
    let Some((first, rest)) = numbers.split_first() else { return Ok(Vec::new()) };
    let mut query: Command = r.table(EVENTS).get_all(r.expr(first));
    // `get_all` of `reql` 0.11 takes one key, or several strings.
    query.args.extend(rest.iter().map(|number| Ok(r.expr(number))));
    let mut commits: Vec<CommitRow> = store.read_rows(query.pluck(r.expr(CommitRow::FIELDS))).await?;
    commits.sort_by_key(CommitRow::number);
    Ok(commits)
}

impl RethinkdbStore {
    /// The last event recorded at or before a time; 0 when there is none.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError> {
        let mut index = self.index.lock().await;
        index.bring_up_to_date(self).await?;
        // Clocks of several daemons differ: a later commit may have an earlier time.
        let last = index.commits.iter().rposition(|commit| commit.earliest <= at);
        drop(index);
        let Some(last) = last else { return Ok(Seq(0)) };
        let mut found = Seq(0);
        for commit in pick(self, &[last as u64 + 1]).await? {
            for text in commit.events()? {
                if decode(&text)?.at <= at {
                    found = text.seq;
                }
            }
        }
        Ok(found)
    }
}
