//! Appends: the rows of a commit are written in one transaction.

use super::{LogWriter, number};
use crate::store::{Body, Commit, Head};
use kdaemon_events::TreeNode;
use rusqlite::{Connection, params};

/// Appends a commit. The inner `Err` is the actual head of the log when it differs from the expected one.
pub(super) fn append(
    writer: &mut LogWriter,
    expected: &Head,
    commit: &Commit,
) -> Result<Result<Head, Head>, rusqlite::Error> {
    // This process holds the folder's lock, so no other process moves the head. (If one did, the keys would conflict.)
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
    nodes: &[TreeNode],
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
    for TreeNode { place, hash } in nodes {
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

/// Runs `work` in a transaction. (rusqlite's own transactions recompile their statements each time.)
fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
) -> Result<T, rusqlite::Error> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]);
    run("BEGIN IMMEDIATE")?;
    let rollback = RollbackOnDrop(connection);
    let done = work(connection)?;
    run("COMMIT")?;
    std::mem::forget(rollback);
    Ok(done)
}

/// Rolls back a transaction that ends before its commit.
struct RollbackOnDrop<'a>(&'a Connection);

impl Drop for RollbackOnDrop<'_> {
    fn drop(&mut self) {
        // Fails if SQLite has rolled back already.
        let _ = self.0.execute_batch("ROLLBACK");
    }
}
