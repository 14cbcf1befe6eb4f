//! A commit as a document.
//!
//! Its events are texts in it. RethinkDB sorts the keys of objects and keeps numbers as doubles, so what comes back of an
//! object is not what went in; a text has the very bytes that were hashed. Who looks with ReQL reads them with
//! `r.json`; README has the query.

use super::{BEYOND, EVENTS, Numbered, RethinkdbStore, write};
use crate::store::{Body, Commit, EventText, Head, IdempotencyRecord, RawColumns, StoreError, StoredEvent};
use chrono::{DateTime, Utc};
use kdaemon_events::{CommitId, Digest, Node, Salt, Seq};
use reql::cmd::between;
use reql::{Command, func, r};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The index of the commits that carry idempotency records, by the time of the last of them.
pub(super) const ANSWERED: &str = "idempotency_at";

/// A stored subtree in a document: level, number, root.
pub(super) type NodeEntry = (u32, u64, Digest);

/// As [`Text`], on its way into a document.
#[derive(Serialize)]
#[serde(untagged)]
enum Left<'a> {
    Kept(&'a str),
    Pruned { pruned: PrunedLeaf },
}

/// What is left of a pruned event: its header, and the hash of its content.
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
    texts: Vec<Left<'a>>,
    /// Of each text, `null` for a pruned event.
    salts: Vec<Option<Salt>>,
    /// The stored subtrees that it completes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeEntry>,
    #[serde(skip_serializing_if = "<[IdempotencyRecord]>::is_empty")]
    idempotency: &'a [IdempotencyRecord],
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_at: Option<i64>,
}

/// The document of a commit. It is sent as text inside `r.json`: built of terms it takes twice as long.
pub(super) fn document(
    after: &Head,
    before: &Head,
    commit: &Commit,
    nodes: &[Node],
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
        texts: commit.events.iter().map(left).collect(),
        salts: commit.events.iter().map(salt).collect(),
        nodes: nodes.iter().map(|node| (node.place.level, node.place.number, node.hash)).collect(),
        idempotency: &commit.idempotency,
        idempotency_at: commit.idempotency.iter().map(|record| record.at.timestamp_micros()).max(),
    };
    Ok(r.json(r.expr(serde_json::to_string(&document).map_err(unfit)?)))
}

fn left(event: &StoredEvent) -> Left<'_> {
    match &event.body {
        Body::Kept { json, .. } => Left::Kept(json),
        Body::Pruned { content } => {
            let columns = RawColumns::of(event.kind.as_str(), event.at, event.actor.clone());
            Left::Pruned { pruned: (columns, *content).into() }
        }
    }
}

/// An event's text, or what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Text {
    /// As it was written.
    Kept(String),
    /// It was pruned.
    Pruned {
        /// What is left.
        pruned: PrunedLeaf,
    },
}

/// A commit as it is read.
#[derive(Debug, Deserialize)]
pub(super) struct Recorded {
    pub(super) id: u64,
    pub(super) first_seq: Seq,
    pub(super) last_seq: Seq,
    pub(super) texts: Vec<Text>,
}

impl Recorded {
    pub(super) const FIELDS: &[&str] = &["id", "first_seq", "last_seq", "texts"];

    /// Its events. Those that were pruned are passed over.
    ///
    /// # Errors
    /// When they are not as many as it says.
    pub(super) fn events(self) -> Result<impl Iterator<Item = EventText>, StoreError> {
        let Self { id, first_seq, last_seq, texts } = self;
        if first_seq.0 + texts.len() as u64 != last_seq.0 + 1 || texts.is_empty() {
            return Err(StoreError::Damaged(format!(
                "commit {id} holds {} events instead of {first_seq} to {last_seq}: it was altered",
                texts.len()
            )));
        }
        Ok(texts.into_iter().zip(first_seq.0..).filter_map(|(text, seq)| match text {
            Text::Kept(json) => Some(EventText { seq: Seq(seq), json }),
            Text::Pruned { .. } => None,
        }))
    }
}

impl Numbered for Recorded {
    fn number(&self) -> u64 {
        self.id
    }
    fn bytes(&self) -> usize {
        let size = |text: &Text| match text {
            Text::Kept(json) => json.len(),
            Text::Pruned { .. } => 200,
        };
        self.texts.iter().map(size).sum()
    }
}

#[derive(Debug, Deserialize)]
struct Answered {
    id: u64,
    #[serde(default)]
    idempotency: Vec<IdempotencyRecord>,
}

impl Numbered for Answered {
    fn number(&self) -> u64 {
        self.id
    }
    fn bytes(&self) -> usize {
        100 + self.idempotency.iter().map(|record| 150 + record.key.len()).sum::<usize>()
    }
}

/// The answers kept since a time with events after `after`. Of a key that was used again the last one.
pub(super) async fn idempotency_records(
    store: &RethinkdbStore,
    since: DateTime<Utc>,
    after: Seq,
) -> Result<Vec<IdempotencyRecord>, StoreError> {
    let mut commits: Vec<Answered> = Vec::new();
    if after == Seq(0) {
        let options = between::Options::new().index(ANSWERED);
        // Years from now: no daemon's clock is that wrong.
        let until = i64::try_from(BEYOND).unwrap_or(i64::MAX);
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

/// Takes the answers out of some commits whose answers were all kept before a time; answers how many those are. The Merkle tree
/// does not cover them.
pub(super) async fn prune_idempotency(
    store: &RethinkdbStore,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<usize, StoreError> {
    let old = between::Options::new().index(ANSWERED);
    let old = r.table(EVENTS).between(r.args((0, before.timestamp_micros(), old)));
    let forget = func!(|commit| commit.without(r.expr(["idempotency", "idempotency_at"])));
    let done = write(&store.pool, old.limit(r.expr(limit)).replace(forget)).await?;
    Ok(usize::try_from(done.replaced).unwrap_or(limit))
}
