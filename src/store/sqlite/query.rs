//! Queries: which events are asked for, found by the index.
//!
//! What an event is looked up by are terms of the index, each with the seqs of its events in order: its kind, its kind with
//! each thing that it is about, its kind with who did it. So an actor, say, is looked up kind by kind, and of two filters
//! together that have no kind in common nothing is read. Within a kind they are an intersection of lists: who lags
//! behind leaps to where the other is. Times are places in the log.

use super::{event_text, number, seq_at};
use crate::store::{EventQuery, EventText, Term};
use chrono::{DateTime, Utc};
use kdaemon_events::Kind;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::VecDeque;

/// How many seqs of a term are read ahead at first: of most terms few are wanted, or none …
const AHEAD: i64 = 8;
/// … and at most, for it doubles each time.
const AHEAD_MAX: i64 = 256;

/// Finds the events that a query asks for, in order.
pub(super) fn find(connection: &Connection, query: &EventQuery) -> Result<Vec<EventText>, rusqlite::Error> {
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX); // a larger number is none for SQLite
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
        for common in &mut by_kind {
            let seq = common.from(connection, after.saturating_add(1))?;
            next = next.into_iter().chain(seq).min();
        }
        let Some(seq) = next.filter(|seq| *seq <= until) else { break };
        after = seq;
        found.extend(event.query_row([seq], event_text).optional()?);
    }
    Ok(found)
}

/// Microseconds, rounded up: a time between two of them is after the first and before the second.
fn micros_up(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros() + i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000))
}

/// What is asked for, kind by kind.
fn by_kind(query: &EventQuery) -> Vec<Common> {
    let kinds = if query.kinds.is_empty() { Kind::ALL } else { &query.kinds };
    let of_kind = |kind: &Kind| {
        let kind = kind.as_str();
        let subject = query.subject.map(|subject| Term::Of(kind, subject));
        let actor = query.actor.as_deref().map(|actor| Term::By(kind, actor));
        let mut terms: Vec<_> = subject.into_iter().chain(actor).map(Postings::of).collect();
        if terms.is_empty() {
            terms.push(Postings::of(Term::Kind(kind)));
        }
        Common { terms, next: Some(0) }
    };
    kinds.iter().map(of_kind).collect()
}

/// The events that all of some terms have.
struct Common {
    terms: Vec<Postings>,
    /// The last one that was found; `None` when there are no more.
    next: Option<i64>,
}

impl Common {
    /// The first one that is not before `seq`, which only grows.
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
                return Ok(self.next); // all of them have it
            }
            candidate = farthest;
        }
    }
}

/// The events of one term, as they are asked for.
struct Postings {
    term: String,
    /// Some of them in a row.
    ahead: VecDeque<i64>,
    /// How many are read next.
    batch: i64,
    /// Whether there are none behind these.
    is_last: bool,
}

impl Postings {
    fn of(term: Term<'_>) -> Self {
        Self { term: term.to_string(), ahead: VecDeque::new(), batch: AHEAD, is_last: false }
    }

    /// The first one that is not before `seq`, which only grows.
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
