//! Commits as documents.
//!
//! A document holds its events as text. RethinkDB sorts the keys of objects and stores numbers as doubles, so an object
//! would change; a text keeps the exact bytes that were hashed. ReQL reads it with `r.json`: docs/clustering.md has the
//! query.

use super::{EVENTS, NUMBER_LIMIT, Numbered, RethinkdbStore, write};
use crate::store::{Body, Commit, EventText, Head, IdempotencyRecord, RawColumns, StoreError, StoredEvent};
use chrono::{DateTime, Utc};
use kdaemon_events::{CommitId, Digest, Salt, Seq, TreeNode};
use reql::cmd::between;
use reql::{Command, func, r};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The index of commits by the time of their last idempotency record.
pub(super) const IDEMPOTENCY_AT: &str = "idempotency_at";

/// The level, number and root of a stored subtree in a document.
pub(super) type NodeEntry = (u32, u64, Digest);

/// A [`StoredText`] to be written.
#[derive(Serialize)]
#[serde(untagged)]
enum StoredTextRef<'a> {
    Kept(&'a str),
    Pruned { pruned: PrunedLeaf },
}

/// The remainder of a pruned event: its header and content hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PrunedLeaf {
    pub(super) kind: String,
    /// In microseconds since 1970.
    pub(super) at: i64,
    pub(super) actor: String,
    pub(super) content: Digest,
}

impl From<(RawColumns, Digest)> for PrunedLeaf {
    fn from((RawColumns { kind, at, actor }, content): (RawColumns, Digest)) -> Self {
        Self { kind, at, actor, content }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    id: u64,
    commit_id: CommitId,
    first_seq: Seq,
    last_seq: Seq,
    root: Digest,
    at: Option<DateTime<Utc>>,
    kinds: BTreeSet<&'static str>,
    texts: Vec<StoredTextRef<'a>>,
    /// One salt per text; `null` for a pruned event.
    salts: Vec<Option<Salt>>,
    /// The subtrees that this commit completes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeEntry>,
    #[serde(skip_serializing_if = "<[IdempotencyRecord]>::is_empty")]
    idempotency: &'a [IdempotencyRecord],
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_at: Option<i64>,
}

/// The document of a commit, sent as text inside `r.json`: building it from terms takes twice as long.
pub(super) fn document(
    after: &Head,
    before: &Head,
    commit: &Commit,
    nodes: &[TreeNode],
) -> Result<Command, StoreError> {
    let unfit = |error: serde_json::Error| {
        StoreError::Damaged(format!("commit {} cannot be written: {error}", after.commits))
    };
    let salt = |event: &StoredEvent| match &event.body {
        Body::Kept { salt, .. } => Some(*salt),
        Body::Pruned { .. } => None,
    };
    let document = Document {
        id: after.commits,
        commit_id: commit.id,
        first_seq: before.seq.next(),
        last_seq: after.seq,
        root: after.root,
        at: commit.events.last().map(|event| event.at),
        kinds: commit.events.iter().map(|event| event.kind.as_str()).collect(),
        texts: commit.events.iter().map(stored_text).collect(),
        salts: commit.events.iter().map(salt).collect(),
        nodes: nodes.iter().map(|node| (node.place.level, node.place.number, node.hash)).collect(),
        idempotency: &commit.idempotency,
        idempotency_at: commit.idempotency.iter().map(|record| record.at.timestamp_micros()).max(),
    };
    Ok(r.json(r.expr(serde_json::to_string(&document).map_err(unfit)?)))
}

fn stored_text(event: &StoredEvent) -> StoredTextRef<'_> {
    match &event.body {
        Body::Kept { json, .. } => StoredTextRef::Kept(json),
        Body::Pruned { content } => {
            let columns = RawColumns::of(event.kind.as_str(), event.at, event.actor.clone());
            StoredTextRef::Pruned { pruned: (columns, *content).into() }
        }
    }
}

/// An event's text, or the remainder of a pruned event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum StoredText {
    /// The event's JSON text.
    Kept(String),
    /// A pruned event.
    Pruned { pruned: PrunedLeaf },
}

/// A commit with its events, as read from its document.
#[derive(Debug, Deserialize)]
pub(super) struct CommitRow {
    pub(super) id: u64,
    pub(super) first_seq: Seq,
    pub(super) last_seq: Seq,
    pub(super) texts: Vec<StoredText>,
}

impl CommitRow {
    pub(super) const FIELDS: &[&str] = &["id", "first_seq", "last_seq", "texts"];

    /// The commit's events without pruned ones.
    ///
    /// # Errors
    /// When the number of events differs from the commit's range.
    pub(super) fn events(self) -> Result<impl Iterator<Item = EventText>, StoreError> {
        let Self { id, first_seq, last_seq, texts } = self;
        if first_seq.0 + texts.len() as u64 != last_seq.0 + 1 || texts.is_empty() {
            return Err(StoreError::Damaged(format!(
                "commit {id} holds {} events, expected events {first_seq} to {last_seq}: it was altered",
                texts.len()
            )));
        }
        Ok(texts.into_iter().zip(first_seq.0..).filter_map(|(text, seq)| match text {
            StoredText::Kept(json) => Some(EventText { seq: Seq(seq), json }),
            StoredText::Pruned { .. } => None,
        }))
    }
}

impl Numbered for CommitRow {
    fn number(&self) -> u64 {
        self.id
    }
    fn bytes(&self) -> usize {
        let size = |text: &StoredText| match text {
            StoredText::Kept(json) => json.len(),
            StoredText::Pruned { .. } => 200,
        };
        self.texts.iter().map(size).sum()
    }
}

#[derive(Debug, Deserialize)]
struct IdempotencyRow {
    id: u64,
    #[serde(default)]
    idempotency: Vec<IdempotencyRecord>,
}

impl Numbered for IdempotencyRow {
    fn number(&self) -> u64 {
        self.id
    }
    fn bytes(&self) -> usize {
        100 + self.idempotency.iter().map(|record| 150 + record.key.len()).sum::<usize>()
    }
}

/// The idempotency records since a time with events after `after`. Of several records with one key, the last one.
pub(super) async fn idempotency_records(
    store: &RethinkdbStore,
    since: DateTime<Utc>,
    after: Seq,
) -> Result<Vec<IdempotencyRecord>, StoreError> {
    let mut commits: Vec<IdempotencyRow> = Vec::new();
    if after == Seq(0) {
        let options = between::Options::new().index(IDEMPOTENCY_AT);
        // Beyond the range of plausible clock errors: the year 2255.
        let until = i64::try_from(NUMBER_LIMIT).unwrap_or(i64::MAX);
        let query = r.table(EVENTS).between(r.args((since.timestamp_micros(), until, options)));
        commits = store.read_rows(query.pluck(r.expr(["id", "idempotency"]))).await?;
        commits.sort_by_key(Numbered::number);
    } else if let Some(number) = store.commit_of(after.next()).await? {
        let keep = |commit| {
            commits.push(commit);
            Ok(true)
        };
        store.scan(number, &["id", "idempotency"], keep).await?;
    }
    let mut kept = std::collections::BTreeMap::new();
    for record in commits.into_iter().flat_map(|commit| commit.idempotency) {
        if record.at >= since && record.seq > after {
            kept.insert(record.key.clone(), record);
        }
    }
    Ok(kept.into_values().collect())
}

/// Removes the idempotency records of at most `limit` commits whose records are all from before a time, and returns the
/// number of these commits. The Merkle tree does not cover idempotency records.
pub(super) async fn prune_idempotency(
    store: &RethinkdbStore,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<usize, StoreError> {
    let old = between::Options::new().index(IDEMPOTENCY_AT);
    let old = r.table(EVENTS).between(r.args((0, before.timestamp_micros(), old)));
    let forget = func!(|commit| commit.without(r.expr(["idempotency", "idempotency_at"])));
    let done = write(&store.pool, old.limit(r.expr(limit)).replace(forget)).await?;
    Ok(usize::try_from(done.replaced).unwrap_or(limit))
}
