//! Unvalidated records of the log, for verification, proofs and backups, and the pruning of observations.

use super::document::{CommitRow, NodeEntry, PrunedLeaf, StoredText};
use super::{EVENTS, NUMBER_LIMIT, RethinkdbStore, missing, write};
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
/// The number of documents that one query reads.
const STEP: u64 = 128;

#[derive(Deserialize)]
struct RawDocument {
    commit_id: String,
    first_seq: i64,
    last_seq: i64,
    root: String,
    kinds: BTreeSet<String>,
    texts: Vec<StoredText>,
    salts: Vec<Option<Salt>>,
    #[serde(default)]
    nodes: Vec<NodeEntry>,
}

/// The page of raw commits after a position.
pub(super) async fn raw_commits(store: &RethinkdbStore, after: RawPosition) -> Result<RawPage, StoreError> {
    let mut page = RawPage::default();
    // Commits are numbered from 1: a document with a lower number is stray.
    if after == RawPosition::START {
        let strays = r.table(EVENTS).between(r.args((-1_000_000_i64, 1_i64))).limit(1_isize);
        let strays: Vec<Value> = store.read_rows(strays.pluck(r.expr(["id"]))).await?;
        page.stray = strays.first().map(|_| 0);
    }
    let mut from = u64::try_from(after.number).unwrap_or(0) + 1;
    let (mut events, mut bytes) = (0, 0);
    while events < RAW_PAGE_EVENTS && bytes < RAW_PAGE_BYTES && !page.is_last {
        let mut rows = rows(store, from).await?;
        if rows.is_empty() {
            // Either the log ends here, or commits are missing: then the next document takes their place.
            let later = r.table(EVENTS).between(r.args((from + STEP, NUMBER_LIMIT))).limit(1_isize);
            let later: Vec<Value> = store.read_rows(later.pluck(r.expr(FIELDS))).await?;
            page.is_last = later.is_empty();
            if !page.is_last {
                rows = self::rows(store, from).await?; // unless they were written meanwhile
                rows = if rows.is_empty() { later } else { rows };
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

/// The maximum number of documents that [`extend_tip`] reads. Another daemon that writes without a pause adds fewer
/// during one query.
pub(super) const AHEAD: u64 = 32;

/// Extends a tip by the next commits before commit number `until`, at most [`AHEAD`], and returns `true` if the log ends
/// there. Stops before a commit that does not match the tree: verification reports it.
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

/// The next documents in order. Missing commits are skipped.
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
    let whole = match serde_json::from_value::<RawDocument>(row) {
        Ok(whole) => whole,
        Err(error) => {
            let unreadable = Some(format!("its document has an unexpected form: {error}"));
            return RawCommit { number, unreadable, ..RawCommit::default() };
        }
    };
    let unreadable = check_indexed_fields(&whole).err();
    let RawDocument { commit_id, first_seq, last_seq, root, texts, salts, nodes, .. } = whole;
    let bodies = texts.into_iter().zip(salts.into_iter().chain(std::iter::repeat(None)));
    let events = bodies.zip(first_seq..).map(|((text, salt), seq)| match text {
        StoredText::Kept(json) => {
            RawEvent { seq, body: Body::Kept { json, salt: salt.unwrap_or_default() }, columns: None }
        }
        StoredText::Pruned { pruned: PrunedLeaf { kind, at, actor, content } } => {
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

/// Compares the fields next to the texts with the texts.
fn check_indexed_fields(whole: &RawDocument) -> Result<(), String> {
    if whole.salts.len() != whole.texts.len() {
        let (salts, texts) = (whole.salts.len(), whole.texts.len());
        return Err(format!("it has {salts} salts for {texts} events"));
    }
    for (text, seq) in whole.texts.iter().zip(whole.first_seq..) {
        let StoredText::Kept(json) = text else { continue };
        // Verification reports unreadable events.
        let Ok(envelope) = Envelope::decode(json) else { continue };
        if !whole.kinds.contains(envelope.event.kind().as_str()) {
            return Err(format!("event {seq}: `kinds` does not match `texts`: it was altered"));
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

/// The roots of stored subtrees, read from the commits that completed them.
pub(super) async fn nodes(
    store: &RethinkdbStore,
    places: &[NodePlace],
) -> Result<Vec<Option<Digest>>, StoreError> {
    #[derive(Deserialize)]
    struct NodesRow {
        #[serde(default)]
        nodes: Vec<NodeEntry>,
    }
    let mut hashes = Vec::with_capacity(places.len());
    for place in places {
        let mut found = NodesRow { nodes: Vec::new() };
        if let Some(number) = store.commit_of(Seq(place.end())).await? {
            let rows = r.table(EVENTS).between(r.args((number, number + 1))).pluck(r.expr(["nodes"]));
            found = store.read_rows::<NodesRow>(rows).await?.pop().unwrap_or(found);
        }
        let hash = found
            .nodes
            .into_iter()
            .find(|(level, number, _)| (*level, *number) == (place.level, place.number));
        hashes.push(hash.map(|(_, _, hash)| hash));
    }
    Ok(hashes)
}

/// Prunes at most `limit` observations in these ranges, one document at a time, and returns the number of pruned
/// events.
///
/// Only the leader prunes. A deposed leader may write a document at the same moment: it prunes only observations that
/// were allowed to go, and an observation that reappears does not change the state.
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
            .scan(number, CommitRow::FIELDS, |commit: CommitRow| {
                let is_past = commit.last_seq >= last;
                let mut going = Vec::new();
                for (index, text) in commit.texts.iter().enumerate() {
                    let seq = Seq(commit.first_seq.0 + index as u64);
                    if let StoredText::Kept(json) = text
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
                Ok(!is_past && gone < limit)
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

/// Replaces events of a commit, given by their indices, with the header and content hash of their leaves.
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

/// The number of pruned events from `first` to `last`.
pub(super) async fn pruned(store: &RethinkdbStore, first: Seq, last: Seq) -> Result<u64, StoreError> {
    let Some(number) = store.commit_of(first).await? else { return Ok(0) };
    let mut count = 0;
    store
        .scan(number, CommitRow::FIELDS, |commit: CommitRow| {
            let pruned = commit.texts.iter().zip(commit.first_seq.0..).filter(|(text, seq)| {
                matches!(text, StoredText::Pruned { .. }) && (first..=last).contains(&Seq(*seq))
            });
            count += pruned.count() as u64;
            Ok(commit.last_seq < last)
        })
        .await?;
    Ok(count)
}
