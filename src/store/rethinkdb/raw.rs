//! The log as it stands in the documents, whatever stands there: for the audit. And the pruning of observations.

use super::document::{Recorded, Text};
use super::{BEYOND, EVENTS, RethinkdbStore, write};
use crate::store::{RAW_PAGE_EVENTS, RawBody, RawCommit, RawEvent, RawPage, RawPosition, StoreError};
use kdaemon_events::{Digest, Envelope, Kind, Seq};
use reql::{func, r};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const FIELDS: &[&str] = &["id", "commit_id", "first_seq", "last_seq", "digest", "kinds", "texts"];
/// How many documents one query of an audit reads.
const STEP: u64 = 128;

#[derive(Deserialize)]
struct Whole {
    commit_id: String,
    first_seq: i64,
    last_seq: i64,
    digest: String,
    kinds: BTreeSet<String>,
    texts: Vec<Text>,
}

/// The whole commits behind a position, as many as make a page.
pub(super) async fn raw_commits(store: &RethinkdbStore, after: RawPosition) -> Result<RawPage, StoreError> {
    let mut page = RawPage::default();
    // Commits are counted from 1. What has another number belongs to none.
    if after == RawPosition::START {
        let nobodys = r.table(EVENTS).between(r.args((-1_000_000_i64, 1_i64))).limit(1_isize);
        let nobodys: Vec<Value> = store.read_rows(nobodys.pluck(r.expr(["id"]))).await?;
        page.stray = nobodys.first().map(|_| 0);
    }
    let mut from = u64::try_from(after.number).unwrap_or(0) + 1;
    let mut events = 0;
    while events < RAW_PAGE_EVENTS && !page.is_last {
        let mut rows = rows(store, from).await?;
        if rows.is_empty() {
            // Either the log ends here, or there is a hole: then whatever comes behind it stands in its place.
            let behind = r.table(EVENTS).between(r.args((from + STEP, BEYOND))).limit(1_isize);
            let behind: Vec<Value> = store.read_rows(behind.pluck(r.expr(FIELDS))).await?;
            page.is_last = behind.is_empty();
            if !page.is_last {
                rows = self::rows(store, from).await?; // unless all of them came meanwhile
                rows = if rows.is_empty() { behind } else { rows };
            }
        }
        for commit in rows.into_iter().map(raw) {
            from = u64::try_from(commit.number).unwrap_or(0) + 1;
            events += commit.events.len();
            page.commits.push(commit);
        }
    }
    page.is_last |= page.stray.is_some();
    Ok(page)
}

/// The next documents, in order: what is missing among them is missing.
async fn rows(store: &RethinkdbStore, from: u64) -> Result<Vec<Value>, StoreError> {
    let query = r.table(EVENTS).between(r.args((from, from + STEP))).pluck(r.expr(FIELDS));
    let place = |row: &Value| u64::try_from(number(row)).unwrap_or(0);
    Ok(store.settled(query, from, place).await?.0)
}

fn number(row: &Value) -> i64 {
    row.get("id").and_then(Value::as_i64).unwrap_or_default()
}

fn raw(row: Value) -> RawCommit {
    let number = number(&row);
    let whole = match serde_json::from_value::<Whole>(row) {
        Ok(whole) => whole,
        Err(error) => {
            let unreadable = Some(format!("its document is not as kDaemon writes it: {error}"));
            return RawCommit { number, unreadable, ..RawCommit::default() };
        }
    };
    let unreadable = beside(&whole).err();
    let Whole { commit_id, first_seq, last_seq, digest, texts, .. } = whole;
    let events = texts.into_iter().zip(first_seq..).map(|(text, seq)| {
        let body = match text {
            Text::Kept(json) => RawBody::Text(json),
            Text::Pruned { pruned } => RawBody::Pruned(pruned),
        };
        RawEvent { seq, body, columns: None }
    });
    RawCommit { number, id: commit_id, first_seq, last_seq, digest, events: events.collect(), unreadable }
}

/// Compares what commits are looked up by with the texts.
fn beside(whole: &Whole) -> Result<(), String> {
    for (text, seq) in whole.texts.iter().zip(whole.first_seq..) {
        let Text::Kept(json) = text else { continue };
        // What cannot be read is told by the audit, if its digest does not tell already.
        let Ok(envelope) = Envelope::decode(json) else { continue };
        if !whole.kinds.contains(envelope.event.kind().as_str()) {
            return Err(format!("event {seq}: `kinds` is not as `texts` says: it was altered"));
        }
    }
    Ok(())
}

/// Observations of a commit that go: their places in it and their digests.
type Going = Vec<(usize, Digest)>;

/// Removes at most `limit` observations in these stretches, a document at a time; answers how many.
///
/// Only the leader prunes. Should a deposed one write a document at the same moment, what it wrote had been allowed to
/// go as well; an observation that comes back by that leads to no other state.
pub(super) async fn prune(
    store: &RethinkdbStore,
    ranges: &[(Seq, Seq)],
    limit: usize,
) -> Result<usize, StoreError> {
    let mut gone = 0;
    for &(first, last) in ranges {
        let Some(number) = store.commit_of(first).await? else { continue };
        let mut changed: Vec<(u64, Going)> = Vec::new();
        store
            .scan(number, Recorded::FIELDS, |commit: Recorded| {
                let is_behind = commit.last_seq >= last;
                let mut going = Going::new();
                for (index, text) in commit.texts.iter().enumerate() {
                    let seq = Seq(commit.first_seq.0 + index as u64);
                    if let Text::Kept(json) = text
                        && gone < limit
                        && (first..=last).contains(&seq)
                        && Envelope::decode(json).is_ok_and(|e| e.event.kind() == Kind::NodeObserved)
                    {
                        going.push((index, Digest::of_event(json.as_bytes())));
                        gone += 1;
                    }
                }
                if !going.is_empty() {
                    changed.push((commit.id, going));
                }
                Ok(!is_behind && gone < limit)
            })
            .await?;
        for (number, going) in changed {
            remove(store, number, &going).await?;
        }
        if gone >= limit {
            break;
        }
    }
    Ok(gone)
}

/// Puts the digests of some events of a commit in their place.
async fn remove(store: &RethinkdbStore, number: u64, going: &[(usize, Digest)]) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Texts {
        texts: Vec<Value>,
    }
    let document = r.table(EVENTS).get(number);
    let found: Vec<Option<Texts>> = store.read_rows(document.clone().pluck(r.expr(["texts"]))).await?;
    let Some(Texts { mut texts }) = found.into_iter().flatten().next() else {
        return Err(super::missing(number));
    };
    for (index, digest) in going {
        if let Some(text) = texts.get_mut(*index) {
            *text = json!({ "pruned": digest });
        }
    }
    let pruned = serde_json::to_string(&json!({ "texts": texts }))
        .map_err(|error| StoreError::Damaged(error.to_string()))?;
    // Before 0.1 a commit had its events a second time, as objects.
    let pruned = func!(|old| old.without(r.expr(["events"])).merge(r.json(r.expr(pruned))));
    write(&store.pool, document.replace(pruned)).await.map(drop)
}

/// How many events from `first` to `last` were pruned.
pub(super) async fn pruned(store: &RethinkdbStore, first: Seq, last: Seq) -> Result<u64, StoreError> {
    let Some(number) = store.commit_of(first).await? else { return Ok(0) };
    let mut count = 0;
    store
        .scan(number, Recorded::FIELDS, |commit: Recorded| {
            let pruned = commit.texts.iter().zip(commit.first_seq.0..).filter(|(text, seq)| {
                matches!(text, Text::Pruned { .. }) && (first..=last).contains(&Seq(*seq))
            });
            count += pruned.count() as u64;
            Ok(commit.last_seq < last)
        })
        .await?;
    Ok(count)
}
