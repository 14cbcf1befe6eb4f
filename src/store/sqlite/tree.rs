//! The Merkle tree in the file: stored subtrees, and the tip that commits are appended to.

use super::raw::{digest, raw_page};
use super::{explain, number, parsed};
use crate::store::{Head, RawPosition, StoreError, Tip};
use kdaemon_events::{CommitId, Digest, Frontier, NODE_LEAVES, NodePlace, Seq, peaks_of};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::path::Path;

/// Reads the tip: the recorded head, and the edge of the tree, restored from the stored subtrees and the fewer than
/// [`NODE_LEAVES`] events after them.
pub(super) fn read_tip(connection: &Connection, path: &Path) -> Result<Tip, StoreError> {
    let fail = |error: rusqlite::Error| explain(path, &error);
    let transaction = connection.unchecked_transaction().map_err(fail)?; // a consistent snapshot
    let head = read_head(&transaction).map_err(fail)?;
    let stored = Seq(head.seq.0 / NODE_LEAVES * NODE_LEAVES);
    let damaged = |what: String| {
        let file = path.display();
        StoreError::Damaged(format!(
            "{file}: {what}; the log was altered: run `kdaemon verify` to find out where, and restore a backup"
        ))
    };
    let places: Vec<_> = peaks_of(stored.0).collect();
    let peaks = nodes(&transaction, &places).map_err(fail)?.into_iter().collect::<Option<Vec<_>>>();
    let edge = peaks.and_then(|peaks| Frontier::new(stored.0, peaks));
    let edge = edge.ok_or_else(|| damaged(format!("subtrees of its first {stored} events are missing")))?;
    let leaves = leaves_after(&transaction, stored, head.seq, path)?;
    let wrong = || damaged(format!("its last events do not have the root recorded for event {}", head.seq));
    Tip::at_edge(edge).extended(head, &leaves).ok_or_else(wrong)
}

/// The hashes of the leaves after `after` up to `until`.
fn leaves_after(
    connection: &Connection,
    after: Seq,
    until: Seq,
    path: &Path,
) -> Result<Vec<Digest>, StoreError> {
    let fail = |error: rusqlite::Error| explain(path, &error);
    let damaged = |what: String| StoreError::Damaged(format!("{}: {what}", path.display()));
    let mut leaves = Vec::new();
    if after >= until {
        return Ok(leaves);
    }
    let mut position = position_before(connection, after.next()).map_err(fail)?;
    while let Some(from) = position.take() {
        let page = raw_page(connection, from).map_err(fail)?;
        for commit in &page.commits {
            let id = commit.id.parse().map(CommitId);
            let id = id.map_err(|_| damaged(format!("commit {} has an invalid id", commit.number)))?;
            for event in commit.events.iter().filter(|event| event.seq > number(after)) {
                leaves.push(event.leaf(id).map_err(damaged)?);
            }
        }
        let last = page.commits.last().filter(|_| !page.is_last);
        position = last.map(|last| RawPosition { number: last.number, seq: last.last_seq });
    }
    Ok(leaves)
}

/// The position before the commit that holds an event. Commits have dense numbers, so a binary search finds it.
pub(super) fn position_before(
    connection: &Connection,
    seq: Seq,
) -> Result<Option<RawPosition>, rusqlite::Error> {
    let mut last_of = connection.prepare_cached("SELECT last_seq FROM commits WHERE number = ?1")?;
    let mut last_of =
        |number: i64| -> Result<i64, rusqlite::Error> { last_of.query_row([number], |row| row.get(0)) };
    let count: i64 =
        connection.query_row("SELECT coalesce(max(number), 0) FROM commits", [], |row| row.get(0))?;
    let seq = number(seq);
    if count == 0 || last_of(count)? < seq {
        return Ok(None);
    }
    // The commits up to `before` end before the event; commit `holds` does not.
    let (mut before, mut holds) = (0, count);
    while holds - before > 1 {
        let middle = before + (holds - before) / 2;
        if last_of(middle)? < seq {
            before = middle;
        } else {
            holds = middle;
        }
    }
    let last = if before == 0 { 0 } else { last_of(before)? };
    Ok(Some(RawPosition { number: before, seq: last }))
}

/// The roots of stored subtrees.
pub(super) fn nodes(
    connection: &Connection,
    places: &[NodePlace],
) -> Result<Vec<Option<Digest>>, rusqlite::Error> {
    let mut find = connection.prepare_cached("SELECT hash FROM tree WHERE level = ?1 AND number = ?2")?;
    let mut hash = |place: &NodePlace| {
        let number = i64::try_from(place.number).unwrap_or(i64::MAX);
        let found = find.query_row(params![place.level, number], |row| Ok(digest(row.get_ref(0)?)));
        Ok(found.optional()?.flatten())
    };
    places.iter().map(&mut hash).collect()
}

/// The head of the log after a commit.
pub(super) fn head_at(connection: &Connection, commit: i64) -> Result<Option<Head>, rusqlite::Error> {
    let mut find =
        connection.prepare_cached("SELECT number, id, last_seq, root FROM commits WHERE number = ?1")?;
    find.query_row([commit], head_of_row).optional()
}

/// The recorded head. The root is not checked.
pub(super) fn read_head(connection: &Connection) -> Result<Head, rusqlite::Error> {
    let mut last = connection
        .prepare_cached("SELECT number, id, last_seq, root FROM commits ORDER BY number DESC LIMIT 1")?;
    Ok(last.query_row([], head_of_row).optional()?.unwrap_or_default())
}

/// Reads the head from a row of number, id, last_seq and root.
fn head_of_row(row: &rusqlite::Row<'_>) -> Result<Head, rusqlite::Error> {
    Ok(Head {
        commits: row.get::<_, i64>(0)?.unsigned_abs(),
        commit_id: Some(parsed(row, 1)?),
        seq: Seq(row.get::<_, i64>(2)?.unsigned_abs()),
        root: parsed(row, 3)?,
    })
}
