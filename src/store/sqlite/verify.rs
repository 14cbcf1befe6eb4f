//! Verification: every digest recomputed from the first event on.

use super::{event_text, parsed};
use crate::store::{Head, StoredEvent};
use kdaemon_events::{CommitId, Digest, Envelope, Seq};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeSet;

/// Why a log was not verified.
pub(super) enum VerifyError {
    /// It could not be read.
    Sqlite(rusqlite::Error),
    /// It is not as it was written; in words.
    Differs(String),
}

impl From<rusqlite::Error> for VerifyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Recomputes every digest, and compares what queries look at with the events themselves.
pub(super) fn verify(connection: &Connection) -> Result<Head, VerifyError> {
    let mut commits =
        connection.prepare("SELECT number, id, first_seq, last_seq, digest FROM commits ORDER BY number")?;
    let mut events = connection.prepare("SELECT seq, json, kind, at, actor FROM events ORDER BY seq")?;
    let mut indexed =
        connection.prepare("SELECT count(*) FROM derived.event_index WHERE term = ?1 AND seq = ?2")?;
    let indexed_until: Option<i64> = connection
        .query_row("SELECT seq FROM derived.reflects WHERE what = 'index'", [], |row| row.get(0))
        .optional()?;
    let indexed_until = Seq(indexed_until.unwrap_or(0).unsigned_abs());
    let mut terms_of_events = 0;
    let mut events = events.query([])?;
    let mut commits = commits.query([])?;
    let mut head = Head::default();
    while let Some(row) = commits.next()? {
        let number = row.get::<_, i64>(0)?.unsigned_abs();
        let (first, last) = (row.get::<_, i64>(2)?.unsigned_abs(), row.get::<_, i64>(3)?.unsigned_abs());
        if number != head.commits + 1 || first != head.seq.0 + 1 || last < first {
            return Err(VerifyError::Differs(format!(
                "commit {} is missing or out of order",
                head.commits + 1
            )));
        }
        let mut texts = Vec::new();
        let mut columns = Vec::new();
        for seq in first..=last {
            match events.next()? {
                Some(row) if row.get::<_, i64>(0)?.unsigned_abs() == seq => {
                    texts.push(event_text(row)?);
                    columns.push((row.get::<_, String>(2)?, row.get::<_, i64>(3)?, row.get::<_, String>(4)?));
                }
                _ => return Err(VerifyError::Differs(format!("event {seq} of commit {number} is missing"))),
            }
        }
        let digest =
            Digest::of_commit(head.digest, texts.iter().map(|text| Digest::of_event(text.json.as_bytes())));
        if digest != parsed::<Digest>(row, 4)? {
            return Err(VerifyError::Differs(format!(
                "commit {number} (events {first} to {last}) does not fit its digest: it was altered"
            )));
        }
        for (text, (kind, at, actor)) in texts.iter().zip(columns) {
            let differs =
                |what: &str| VerifyError::Differs(format!("event {} of commit {number}: {what}", text.seq));
            let event = Envelope::decode(&text.json).map_err(|error| differs(&error.to_string()))?;
            let event = StoredEvent::new(&event).map_err(|error| differs(&error.to_string()))?;
            if kind != event.kind.as_str() || at != event.at.timestamp_micros() || actor != event.actor {
                return Err(differs("its columns are not as the event says: they were altered"));
            }
            let is_indexed = text.seq <= indexed_until;
            let terms: BTreeSet<_> = super::derived::terms(&event).filter(|_| is_indexed).collect();
            for term in &terms {
                let found: i64 =
                    indexed.query_row(params![term, super::number(text.seq)], |row| row.get(0))?;
                if found == 0 {
                    return Err(differs("it is missing from the index"));
                }
            }
            terms_of_events += terms.len();
        }
        let commit_id: CommitId = parsed(row, 1)?;
        head = Head { seq: Seq(last), commits: number, commit_id: Some(commit_id), digest };
    }
    let rows: i64 = connection.query_row("SELECT count(*) FROM derived.event_index", [], |row| row.get(0))?;
    if usize::try_from(rows) != Ok(terms_of_events) {
        let what = "the index has rows that belong to no event: it was altered".to_owned();
        return Err(VerifyError::Differs(what));
    }
    match events.next()? {
        Some(_) => {
            Err(VerifyError::Differs(format!("there are events after {} that belong to no commit", head.seq)))
        }
        None => Ok(head),
    }
}
