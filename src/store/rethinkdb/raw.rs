//! The unvalidated records of the log in the documents: for verification, proofs and backups. And the pruning of
//! observations.

use super::document::{NodeEntry, PrunedLeaf, Recorded, Text};
use super::{BEYOND, EVENTS, RethinkdbStore, missing, write};
use crate::store::{
    Body, Head, RAW_PAGE_BYTES, RAW_PAGE_EVENTS, RawColumns, RawCommit, RawEvent, RawNode, RawPage,
    RawPosition, StoreError, Tip,
};
use kdaemon_events::{CommitId, Digest, Envelope, Kind, NodePlace, Salt, Seq, content_digest};
use reql::{func, r};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const FIELDS: &[&str] =
    &["id", "commit_id", "first_seq", "last_seq", "root", "kinds", "texts", "salts", "nodes"];
/// How many documents one query of an audit reads.
const STEP: u64 = 128;

#[derive(Deserialize)]
struct Whole {
    commit_id: String,
    first_seq: i64,
    last_seq: i64,
    root: String,
    kinds: BTreeSet<String>,
    texts: Vec<Text>,
    salts: Vec<Option<Salt>>,
    #[serde(default)]
    nodes: Vec<NodeEntry>,
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
    let (mut events, mut bytes) = (0, 0);
    while events < RAW_PAGE_EVENTS && bytes < RAW_PAGE_BYTES && !page.is_last {
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
            bytes += commit.events.iter().map(|event| event.body.size()).sum::<usize>();
            page.commits.push(commit);
        }
    }
    page.is_last |= page.stray.is_some();
    Ok(page)
}

/// How many documents [`extend_tip`] reads at most. Another daemon that writes without a pause makes fewer of them
/// while one query is under way.
pub(super) const AHEAD: u64 = 32;

/// The tip after the next few commits before commit number `until`, and `true` if the log ends there. Stops where a
/// commit does not fit the tree: verification reports it.
pub(super) async fn extend_tip(
    store: &RethinkdbStore,
    mut tip: Tip,
    until: u64,
) -> Result<(Tip, bool), StoreError> {
    let from = tip.head().commits + 1;
    let until = until.min(from + AHEAD);
    let query = r.table(EVENTS).between(r.args((from, until))).pluck(r.expr(FIELDS));
    let place = |row: &Value| u64::try_from(number(row)).unwrap_or(0);
    let (rows, missing_number) = store.settled(query, from, place).await?;
    if let Some(number) = missing_number {
        return Err(missing(number));
    }
    let is_end = (rows.len() as u64) < AHEAD;
    for commit in rows.into_iter().map(raw) {
        match tip_after(&tip, &commit) {
            Some(next) => tip = next,
            None => return Ok((tip, false)),
        }
    }
    Ok((tip, is_end))
}

fn tip_after(tip: &Tip, commit: &RawCommit) -> Option<Tip> {
    let commit_id = CommitId(commit.id.parse().ok()?);
    let leaves: Result<Vec<_>, _> = commit.events.iter().map(|event| event.leaf(commit_id)).collect();
    let head = Head {
        seq: Seq(commit.last_seq.try_into().ok()?),
        commits: commit.number.try_into().ok()?,
        commit_id: Some(commit_id),
        root: commit.root.parse().ok()?,
    };
    tip.extended(head, &leaves.ok()?)
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
    let Whole { commit_id, first_seq, last_seq, root, texts, salts, nodes, .. } = whole;
    let bodies = texts.into_iter().zip(salts.into_iter().chain(std::iter::repeat(None)));
    let events = bodies.zip(first_seq..).map(|((text, salt), seq)| match text {
        Text::Kept(json) => {
            RawEvent { seq, body: Body::Kept { json, salt: salt.unwrap_or_default() }, columns: None }
        }
        Text::Pruned { pruned: PrunedLeaf { kind, at, actor, content } } => {
            RawEvent { seq, body: Body::Pruned { content }, columns: Some(RawColumns { kind, at, actor }) }
        }
    });
    let nodes = nodes.into_iter().map(|(level, number, hash)| RawNode {
        level: i64::from(level),
        number: i64::try_from(number).unwrap_or(i64::MAX),
        hash: Some(hash),
    });
    RawCommit {
        number,
        id: commit_id,
        first_seq,
        last_seq,
        root,
        events: events.collect(),
        nodes: Some(nodes.collect()),
        unreadable,
    }
}

/// Compares what commits are looked up by with the texts.
fn beside(whole: &Whole) -> Result<(), String> {
    if whole.salts.len() != whole.texts.len() {
        let (salts, texts) = (whole.salts.len(), whole.texts.len());
        return Err(format!("it has {salts} salts for {texts} events"));
    }
    for (text, seq) in whole.texts.iter().zip(whole.first_seq..) {
        let Text::Kept(json) = text else { continue };
        // Verification reports what cannot be read.
        let Ok(envelope) = Envelope::decode(json) else { continue };
        if !whole.kinds.contains(envelope.event.kind().as_str()) {
            return Err(format!("event {seq}: `kinds` is not as `texts` says: it was altered"));
        }
    }
    Ok(())
}

/// The position before the commit that holds an event.
pub(super) async fn position_before(
    store: &RethinkdbStore,
    seq: Seq,
) -> Result<Option<RawPosition>, StoreError> {
    let Some(number) = store.commit_of(seq).await? else { return Ok(None) };
    let before = match number {
        1 => Seq(0),
        _ => {
            let row = store.heads(number - 1, number).await?.pop();
            row.ok_or_else(|| super::missing(number - 1))?.last_seq
        }
    };
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok(Some(RawPosition { number: whole(number - 1), seq: whole(before.0) }))
}

/// The roots of stored subtrees: each stands in the commit that completed it.
pub(super) async fn nodes(
    store: &RethinkdbStore,
    places: &[NodePlace],
) -> Result<Vec<Option<Digest>>, StoreError> {
    #[derive(Deserialize)]
    struct Nodes {
        #[serde(default)]
        nodes: Vec<NodeEntry>,
    }
    let mut hashes = Vec::with_capacity(places.len());
    for place in places {
        let mut found = Nodes { nodes: Vec::new() };
        if let Some(number) = store.commit_of(Seq(place.end())).await? {
            let rows = r.table(EVENTS).between(r.args((number, number + 1))).pluck(r.expr(["nodes"]));
            found = store.read_rows::<Nodes>(rows).await?.pop().unwrap_or(found);
        }
        let hash = found
            .nodes
            .into_iter()
            .find(|(level, number, _)| (*level, *number) == (place.level, place.number));
        hashes.push(hash.map(|(_, _, hash)| hash));
    }
    Ok(hashes)
}

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
        let mut changed: Vec<(u64, Vec<usize>)> = Vec::new();
        store
            .scan(number, Recorded::FIELDS, |commit: Recorded| {
                let is_behind = commit.last_seq >= last;
                let mut going = Vec::new();
                for (index, text) in commit.texts.iter().enumerate() {
                    let seq = Seq(commit.first_seq.0 + index as u64);
                    if let Text::Kept(json) = text
                        && gone < limit
                        && (first..=last).contains(&seq)
                        && Envelope::decode(json).is_ok_and(|e| e.event.kind() == Kind::NodeObserved)
                    {
                        going.push(index);
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

/// Replaces some events of a commit, by their places in it, with what their leaves are computed from.
async fn remove(store: &RethinkdbStore, number: u64, going: &[usize]) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Bodies {
        texts: Vec<Value>,
        salts: Vec<Option<Salt>>,
    }
    let document = r.table(EVENTS).get(number);
    let fields = r.expr(["texts", "salts"]);
    let found: Vec<Option<Bodies>> = store.read_rows(document.clone().pluck(fields)).await?;
    let Some(Bodies { mut texts, mut salts }) = found.into_iter().flatten().next() else {
        return Err(super::missing(number));
    };
    for index in going {
        if let (Some(text), Some(salt)) = (texts.get_mut(*index), salts.get_mut(*index))
            && let Some(json) = text.as_str()
            && let Some(kept) = *salt
            && let Ok(envelope) = Envelope::decode(json)
        {
            let columns = RawColumns::of(envelope.event.kind().as_str(), envelope.at, envelope.actor.label());
            let pruned = PrunedLeaf::from((columns, content_digest(kept, json)));
            (*text, *salt) = (json!({ "pruned": pruned }), None);
        }
    }
    let pruned = serde_json::to_string(&json!({ "texts": texts, "salts": salts }))
        .map_err(|error| StoreError::Damaged(error.to_string()))?;
    let pruned = func!(|old| old.merge(r.json(r.expr(pruned))));
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
