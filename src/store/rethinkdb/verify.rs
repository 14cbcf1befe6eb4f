//! Verification: every digest recomputed from the first event on.

use super::document::{Recorded, shown};
use super::{HeadRow, Numbered, RethinkdbStore};
use crate::store::{Head, StoreError};
use kdaemon_events::{CommitId, Digest, Envelope, Seq};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Whole {
    id: u64,
    commit_id: CommitId,
    first_seq: Seq,
    last_seq: Seq,
    digest: Digest,
    kinds: BTreeSet<String>,
    events: Vec<Value>,
    texts: Vec<String>,
}

impl Whole {
    const FIELDS: &[&str] =
        &["id", "commit_id", "first_seq", "last_seq", "digest", "kinds", "events", "texts"];
}

impl Numbered for Whole {
    fn number(&self) -> u64 {
        self.id
    }
    fn bytes(&self) -> usize {
        self.texts.iter().map(|text| text.len() * 2).sum()
    }
}

/// Recomputes every digest, and compares what people see with the texts.
pub(super) async fn verify(store: &RethinkdbStore) -> Result<Head, StoreError> {
    let mut head = Head::default();
    let check = |commit: Whole| {
        head = check(&head, commit)?;
        Ok(true)
    };
    store.scan(1, Whole::FIELDS, check).await?;
    Ok(head)
}

fn check(before: &Head, commit: Whole) -> Result<Head, StoreError> {
    let Whole { id, commit_id, first_seq, last_seq, digest, kinds, events, texts } = commit;
    let damaged = |what: &str| Err(StoreError::Damaged(format!("commit {id}{what}")));
    if first_seq != before.seq.next() {
        return damaged(" is out of order");
    }
    let computed = Digest::of_commit(before.digest, texts.iter().map(|t| Digest::of_event(t.as_bytes())));
    if computed != digest {
        return damaged(&format!(
            " (events {first_seq} to {last_seq}) does not fit its digest: it was altered"
        ));
    }
    let recorded = Recorded { id, first_seq, last_seq, texts };
    let mut found = BTreeSet::new();
    let mut seen = events.iter();
    for text in recorded.events()? {
        let altered = |what: &str| damaged(&format!(": event {}: {what}", text.seq));
        let envelope = match Envelope::decode(&text.json) {
            Ok(envelope) => envelope,
            Err(error) => return altered(&error.to_string()),
        };
        if envelope.seq != text.seq {
            return altered("its text has another seq");
        }
        let kind = envelope.event.kind();
        found.insert(kind.as_str().to_owned());
        let expected: Option<Value> = serde_json::from_str(&shown(text.seq, kind, &text.json)).ok();
        let is_same = seen.next().zip(expected).is_some_and(|(seen, expected)| is_same(seen, &expected));
        if !is_same {
            return altered("`events` is not as `texts` says: it was altered");
        }
    }
    if found != kinds || seen.next().is_some() {
        return damaged(": `kinds` or `events` is not as `texts` says: it was altered");
    }
    Ok(HeadRow { id, commit_id, first_seq, last_seq, digest }.head())
}

/// Whether they are the same to a store whose numbers are doubles.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
        }
        _ => a == b,
    }
}
