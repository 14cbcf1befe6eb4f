//! Queries of events through the index.
//!
//! The index maps terms to the ordered seqs of their events: a kind, a kind with a subject, and a kind with an actor.
//! An actor is therefore looked up kind by kind, and filters without a common kind read nothing. Within a kind, a query
//! intersects the posting lists of its terms: the list that lags skips to the position of the other. Times are
//! converted to seqs.

use super::{event_text, number, seq_at};
use crate::store::{EventQuery, EventText, IndexTerm};
use chrono::{DateTime, Utc};
use kdaemon_events::Kind;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::VecDeque;

/// The initial number of seqs that are read ahead from a posting list: most queries need few of them.
const AHEAD: i64 = 8;
/// The maximum number of seqs that are read ahead. The number doubles with each read.
const AHEAD_MAX: i64 = 256;

/// Finds the events that match a query, in order.
pub(super) fn find(connection: &Connection, query: &EventQuery) -> Result<Vec<EventText>, rusqlite::Error> {
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX); // SQLite's largest integer
    let mut after = number(query.after);
    if let Some(since) = query.since {
        after = after.max(number(seq_at(connection, micros_up(since) - 1)?));
    }
    let until = match query.until {
        Some(until) => number(seq_at(connection, micros_up(until) - 1)?),
        None => i64::MAX,
    };
    if query.kinds.is_empty() && query.subject.is_none() && query.actor.is_none() {
        let sql = "SELECT seq, json FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        return statement.query_map(params![after, until, limit], event_text)?.collect();
    }
    let mut event = connection.prepare_cached("SELECT seq, json FROM events WHERE seq = ?1")?;
    let mut by_kind = by_kind(query);
    let mut found = Vec::new();
    while found.len() < query.limit {
        let mut next = None;
        for intersection in &mut by_kind {
            let seq = intersection.from(connection, after.saturating_add(1))?;
            next = next.into_iter().chain(seq).min();
        }
        let Some(seq) = next.filter(|seq| *seq <= until) else { break };
        after = seq;
        found.extend(event.query_row([seq], event_text).optional()?);
    }
    Ok(found)
}

/// Converts a time to microseconds, rounding up, as events are recorded at whole microseconds.
fn micros_up(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros() + i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000))
}

/// The intersections of posting lists that a query needs, one per kind.
fn by_kind(query: &EventQuery) -> Vec<Intersection> {
    let kinds = if query.kinds.is_empty() { Kind::ALL } else { &query.kinds };
    let of_kind = |kind: &Kind| {
        let kind = kind.as_str();
        let subject = query.subject.map(|subject| IndexTerm::Of(kind, subject));
        let actor = query.actor.as_deref().map(|actor| IndexTerm::By(kind, actor));
        let mut terms: Vec<_> = subject.into_iter().chain(actor).map(Postings::of).collect();
        if terms.is_empty() {
            terms.push(Postings::of(IndexTerm::Kind(kind)));
        }
        Intersection { terms, next: Some(0) }
    };
    kinds.iter().map(of_kind).collect()
}

/// The events that have all of some terms.
struct Intersection {
    terms: Vec<Postings>,
    /// The last event found; `None` at the end.
    next: Option<i64>,
}

impl Intersection {
    /// The first event at or after `seq`. Later calls must not decrease `seq`.
    fn from(&mut self, connection: &Connection, seq: i64) -> Result<Option<i64>, rusqlite::Error> {
        let Some(mut candidate) = self.next.map(|next| next.max(seq)) else { return Ok(None) };
        if self.next == Some(candidate) {
            return Ok(self.next);
        }
        loop {
            let mut farthest = candidate;
            for postings in &mut self.terms {
                match postings.from(connection, farthest)? {
                    Some(seq) => farthest = seq,
                    None => {
                        self.next = None;
                        return Ok(None);
                    }
                }
            }
            if farthest == candidate {
                self.next = Some(candidate);
                return Ok(self.next); // all terms have this event
            }
            candidate = farthest;
        }
    }
}

/// The posting list of a term, read on demand.
struct Postings {
    term: String,
    /// The seqs read ahead.
    ahead: VecDeque<i64>,
    /// The number of seqs of the next read.
    batch: i64,
    /// Whether `ahead` reaches the end of the list.
    is_last: bool,
}

impl Postings {
    fn of(term: IndexTerm<'_>) -> Self {
        Self { term: term.to_string(), ahead: VecDeque::new(), batch: AHEAD, is_last: false }
    }

    /// The first event at or after `seq`. Later calls must not decrease `seq`.
    fn from(&mut self, connection: &Connection, seq: i64) -> Result<Option<i64>, rusqlite::Error> {
        while self.ahead.front().is_some_and(|first| *first < seq) {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty() && !self.is_last {
            let mut statement = connection.prepare_cached(
                "SELECT seq FROM derived.event_index WHERE term = (SELECT id FROM derived.terms WHERE term = ?1)
                 AND seq >= ?2 ORDER BY seq LIMIT ?3",
            )?;
            let rows = statement.query_map(params![self.term, seq, self.batch], |row| row.get(0))?;
            self.ahead = rows.collect::<Result<_, _>>()?;
            self.is_last = i64::try_from(self.ahead.len()).is_ok_and(|length| length < self.batch);
            self.batch = (self.batch * 2).min(AHEAD_MAX);
        }
        Ok(self.ahead.front().copied())
    }
}
