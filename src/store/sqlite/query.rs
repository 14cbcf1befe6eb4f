//! Queries: which events are asked for, found by the index.
//!
//! What an event is looked up by (its kind, what it is about, who did it) are terms of the index, each with the seqs of its
//! events in order. Several filters are an intersection of such lists: whoever lags behind leaps to where the others are,
//! so that a rare term among frequent ones is found without reading these. Times are places in the log.

use super::derived::{actor_term, kind_term};
use super::{event_text, number, seq_at};
use crate::store::{EventQuery, EventText};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::VecDeque;

/// How many seqs of a term are read ahead.
const AHEAD: i64 = 64;

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
    let mut filters = filters(query);
    if filters.is_empty() {
        let sql = "SELECT seq, json FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        return statement.query_map(params![after, until, limit], event_text)?.collect();
    }
    let mut event = connection.prepare_cached("SELECT seq, json FROM events WHERE seq = ?1")?;
    let mut found = Vec::new();
    while found.len() < query.limit {
        let Some(seq) = next(connection, &mut filters, after)?.filter(|seq| *seq <= until) else { break };
        after = seq;
        found.extend(event.query_row([seq], event_text).optional()?);
    }
    Ok(found)
}

/// Microseconds, rounded up: a time between two of them is after the first and before the second.
fn micros_up(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros() + i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000))
}

/// The terms of which an event has to have one.
type Filter = Vec<Postings>;

fn filters(query: &EventQuery) -> Vec<Filter> {
    let kinds: Vec<_> = query.kinds.iter().map(|kind| kind_term(*kind)).collect();
    let subject: Vec<_> = query.subject.iter().map(ToString::to_string).collect();
    let actor: Vec<_> = query.actor.iter().map(|actor| actor_term(actor)).collect();
    let given = [subject, actor, kinds].into_iter().filter(|terms| !terms.is_empty());
    given.map(|terms| terms.into_iter().map(Postings::of).collect()).collect()
}

/// The first event behind `after` that every filter admits.
fn next(connection: &Connection, filters: &mut [Filter], after: i64) -> Result<Option<i64>, rusqlite::Error> {
    let mut candidate = after.saturating_add(1);
    loop {
        let mut farthest = candidate;
        for filter in &mut *filters {
            let mut nearest: Option<i64> = None;
            for postings in filter {
                if let Some(seq) = postings.from(connection, farthest)? {
                    nearest = Some(nearest.map_or(seq, |nearest| nearest.min(seq)));
                }
            }
            let Some(nearest) = nearest else { return Ok(None) };
            farthest = nearest;
        }
        if farthest == candidate {
            return Ok(Some(candidate)); // all of them have it
        }
        candidate = farthest;
    }
}

/// The events of one term, as they are asked for.
struct Postings {
    term: String,
    /// Some of them in a row.
    ahead: VecDeque<i64>,
    /// Whether there are none behind these.
    is_last: bool,
}

impl Postings {
    fn of(term: String) -> Self {
        Self { term, ahead: VecDeque::new(), is_last: false }
    }

    /// The first one that is not before `seq`, which only grows.
    fn from(&mut self, connection: &Connection, seq: i64) -> Result<Option<i64>, rusqlite::Error> {
        while self.ahead.front().is_some_and(|first| *first < seq) {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty() && !self.is_last {
            let mut statement = connection.prepare_cached(
                "SELECT seq FROM derived.event_index WHERE term = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3",
            )?;
            let rows = statement.query_map(params![self.term, seq, AHEAD], |row| row.get(0))?;
            self.ahead = rows.collect::<Result<_, _>>()?;
            self.is_last = i64::try_from(self.ahead.len()).is_ok_and(|length| length < AHEAD);
        }
        Ok(self.ahead.front().copied())
    }
}
