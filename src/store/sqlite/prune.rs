//! Pruning of old observations and idempotency records. The header and content hash of a pruned observation stay. Freed
//! pages are reused for new events.

use super::number;
use crate::store::Indexed;
use chrono::{DateTime, Utc};
use kdaemon_events::{Envelope, Kind, Salt, Seq, content_digest};
use rusqlite::{Connection, TransactionBehavior, params};

/// Prunes at most `limit` observations in these ranges, in one transaction. Returns the indexed attributes of the
/// readable ones, and the number of pruned events.
pub(super) fn prune(
    connection: &mut Connection,
    ranges: &[(Seq, Seq)],
    limit: usize,
) -> Result<(Vec<Indexed>, usize), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut gone = Vec::new();
    {
        let mut find = transaction.prepare_cached(
            "SELECT seq, json, salt FROM events WHERE seq BETWEEN ?1 AND ?2 AND kind = ?3 ORDER BY seq LIMIT ?4",
        )?;
        let mut keep = transaction.prepare_cached(
            "INSERT INTO pruned (seq, kind, at, actor, content)
             SELECT seq, kind, at, actor, ?2 FROM events WHERE seq = ?1",
        )?;
        let mut remove = transaction.prepare_cached("DELETE FROM events WHERE seq = ?1")?;
        for (first, last) in ranges {
            let left = i64::try_from(limit.saturating_sub(gone.len())).unwrap_or(i64::MAX);
            if left == 0 {
                break;
            }
            let kind = Kind::NodeObserved.as_str();
            let found = find.query_map(params![number(*first), number(*last), kind, left], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, Salt(row.get(2)?)))
            })?;
            for found in found.collect::<Result<Vec<_>, _>>()? {
                let (seq, json, salt) = found;
                keep.execute(params![seq, content_digest(salt, &json).0])?;
                remove.execute([seq])?;
                gone.push(json);
            }
        }
    }
    transaction.commit()?;
    let events = gone.iter().filter_map(|json| Envelope::decode(json).ok());
    Ok((events.map(|event| Indexed::of(&event)).collect(), gone.len()))
}

/// The number of pruned events from `first` to `last`.
pub(super) fn pruned(connection: &Connection, first: Seq, last: Seq) -> Result<u64, rusqlite::Error> {
    let mut count = connection.prepare_cached("SELECT count(*) FROM pruned WHERE seq BETWEEN ?1 AND ?2")?;
    count.query_row([number(first), number(last)], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

/// The keys of at most `limit` idempotency records from before a time.
pub(super) fn old_idempotency(
    connection: &Connection,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<Vec<String>, rusqlite::Error> {
    let mut find = connection.prepare_cached("SELECT key FROM idempotency WHERE at < ?1 LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    find.query_map([before.timestamp_micros(), limit], |row| row.get(0))?.collect()
}

/// Removes the idempotency records with these keys from before a time, in one transaction, and returns their number. A
/// key may have been used again since it was found.
pub(super) fn prune_idempotency(
    connection: &mut Connection,
    keys: &[String],
    before: DateTime<Utc>,
) -> Result<usize, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut gone = 0;
    {
        let mut forget = transaction.prepare_cached("DELETE FROM idempotency WHERE key = ?1 AND at < ?2")?;
        for key in keys {
            gone += forget.execute(params![key, before.timestamp_micros()])?;
        }
    }
    transaction.commit()?;
    Ok(gone)
}
