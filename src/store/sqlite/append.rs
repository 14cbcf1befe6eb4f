//! Appending: a commit's rows, in one transaction.

use super::{Writer, number};
use crate::store::{Body, Commit, Head};
use kdaemon_events::Node;
use rusqlite::{Connection, params};

/// Appends a commit; `Err` is the head that the log has, when it is another than expected.
pub(super) fn append(
    writer: &mut Writer,
    expected: &Head,
    commit: &Commit,
) -> Result<Result<Head, Head>, rusqlite::Error> {
    // The lock of the folder is ours: no other process moves the head. (And if one did, the keys would clash.)
    if writer.tip.head() != *expected {
        return Ok(Err(writer.tip.head()));
    }
    let (tip, nodes) = writer.tip.after(commit);
    in_transaction(&writer.connection, |connection| {
        insert(connection, expected, &tip.head(), commit, &nodes)
    })?;
    writer.tip = tip;
    Ok(Ok(writer.tip.head()))
}

/// Writes a commit's rows.
fn insert(
    connection: &Connection,
    before: &Head,
    after: &Head,
    commit: &Commit,
    nodes: &[Node],
) -> Result<(), rusqlite::Error> {
    let mut event = connection.prepare_cached(
        "INSERT INTO events (seq, kind, at, actor, salt, json) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut pruned = connection
        .prepare_cached("INSERT INTO pruned (seq, kind, at, actor, content) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for stored in &commit.events {
        let (seq, kind, at) = (number(stored.seq), stored.kind.as_str(), stored.at.timestamp_micros());
        match &stored.body {
            Body::Kept { json, salt } => event.execute(params![seq, kind, at, stored.actor, salt.0, json])?,
            Body::Pruned { content } => pruned.execute(params![seq, kind, at, stored.actor, content.0])?,
        };
    }
    for Node { place, hash } in nodes {
        connection
            .prepare_cached("INSERT INTO tree (level, number, hash) VALUES (?1, ?2, ?3)")?
            .execute(params![place.level, i64::try_from(place.number).unwrap_or(i64::MAX), hash.0])?;
    }
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO idempotency (key, at, json) VALUES (?1, ?2, ?3)")?;
    for record in &commit.idempotency {
        let json = serde_json::to_string(record).unwrap_or_default();
        insert.execute(params![record.key, record.at.timestamp_micros(), json])?;
    }
    connection
        .prepare_cached(
            "INSERT INTO commits (number, id, first_seq, last_seq, root) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            i64::try_from(after.commits).unwrap_or(i64::MAX),
            commit.id.to_string(),
            number(before.seq.next()),
            number(after.seq),
            after.root.to_string()
        ])
        .map(drop)
}

/// Does something whole or not at all. (rusqlite's own transactions have their statements compiled anew for each.)
fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
) -> Result<T, rusqlite::Error> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]);
    run("BEGIN IMMEDIATE")?;
    let undo = Undo(connection);
    let done = work(connection)?;
    run("COMMIT")?;
    std::mem::forget(undo);
    Ok(done)
}

/// Undoes what a transaction wrote, when it ends in the middle.
struct Undo<'a>(&'a Connection);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        // Where it fails SQLite did it already.
        let _ = self.0.execute_batch("ROLLBACK");
    }
}
