//! The tables folded from the log, cursors and the lease.
//!
//! A row is a document `{id, seq, row, json}`: `seq` is the event that it reflects, `row` is for ad-hoc queries with
//! ReQL, `json` is the row's text. An older document never overwrites a newer one, and a deleted row leaves a tombstone
//! (a document without `row`) for a while, so that a daemon that was frozen cannot restore it.

use super::{WriteAnswer, read_rows, write, write_with};
use crate::store::{Lease, RowChange, StoreError, Table};
use kdaemon_events::Seq;
use reql::cmd::{Conflict, Durability, delete, insert, replace};
use reql::{Command, Func, func, r};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

use super::pool::{Pool, Urgency};

/// The table of single documents.
pub(super) const META: &str = "meta";
/// The id of the document in `meta` with the last event that the tables reflect.
const REFLECT: &str = "tables";
/// The id of the document in `meta` with the lease.
const LEASE: &str = "lease";
/// The maximum number of rows that one query writes.
const BATCH: usize = 500;
/// The number of events after which tombstones are removed.
const TOMBSTONE_EVENTS: u64 = 100_000;

#[derive(Serialize)]
struct RowDocument<'a> {
    id: Uuid,
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'a str>,
}

#[derive(Deserialize)]
struct TableRow {
    id: Uuid,
    json: Option<String>,
}

#[derive(Deserialize)]
struct Reflects {
    seq: Seq,
}

/// A document of the table `meta`.
#[derive(Serialize)]
struct Meta<'a, T> {
    id: &'a str,
    #[serde(flatten)]
    value: T,
}

pub(super) async fn write_rows(
    pool: &Arc<Pool>,
    reflects: Seq,
    changes: Vec<RowChange>,
) -> Result<(), StoreError> {
    let reflected = reflect(pool).await?;
    if reflects < reflected {
        return Ok(());
    }
    for table in Table::ALL {
        let changes: Vec<_> = changes.iter().filter(|change| change.table == table).collect();
        for batch in changes.chunks(BATCH) {
            write_batch(pool, table, reflects, batch).await?;
        }
        // Rarely, as it reads every row.
        if reflects.0 / TOMBSTONE_EVENTS > reflected.0 / TOMBSTONE_EVENTS {
            remove_tombstones(pool, table, Seq(reflects.0.saturating_sub(TOMBSTONE_EVENTS))).await?;
        }
    }
    let document = r.expr(serde_json::json!({ "id": REFLECT, "seq": reflects }));
    write(pool, replace_unless_newer(r.table(META).get(REFLECT), document, reflects)).await.map(drop)
}

/// Replaces `selection` with `document` unless it reflects a newer event.
fn replace_unless_newer(selection: Command, document: Command, seq: Seq) -> Command {
    let options = replace::Options::new().durability(Durability::Soft);
    let newer = func!(|old| r.branch(r.args((
        old.clone().eq(()).or(old.clone().bracket("seq").le(r.expr(seq))),
        document,
        old,
    ))));
    selection.replace(r.args((newer, options)))
}

/// Writes rows of one table. New rows are inserted together, which takes a third of the time of comparing each.
async fn write_batch(
    pool: &Arc<Pool>,
    table: Table,
    seq: Seq,
    changes: &[&RowChange],
) -> Result<(), StoreError> {
    let name = r.table(table.name());
    let Some((first, others)) = changes.split_first() else { return Ok(()) };
    let mut there = name.clone().get_all(first.id.to_string());
    // `get_all` of `reql` 0.11 takes one key, or a number of keys that is known at compile time.
    there.args.extend(others.iter().map(|change| Ok(r.expr(change.id.to_string()))));
    let there: Vec<TableRow> = read_rows(pool, there.pluck(r.expr(["id"]))).await?;
    let there: HashSet<_> = there.into_iter().map(|row| row.id).collect();
    let (mut there, new): (Vec<_>, Vec<_>) =
        changes.iter().copied().partition(|change| there.contains(&change.id));
    if !new.is_empty() {
        let options = insert::Options::new().conflict(Conflict::Error).durability(Durability::Soft);
        let inserted = write(pool, name.clone().insert(r.args((documents(seq, &new)?, options)))).await?;
        if inserted.is_duplicate() {
            there.extend(new); // inserted by an earlier attempt, or by another daemon meanwhile
        }
    }
    if there.is_empty() {
        return Ok(());
    }
    let each =
        func!(|document| replace_unless_newer(name.get(document.clone().bracket("id")), document, seq));
    write(pool, documents(seq, &there)?.for_each(function(each))).await.map(drop)
}

/// The documents of rows, as text: building them from terms takes twice as long.
fn documents(seq: Seq, changes: &[&RowChange]) -> Result<Command, StoreError> {
    let mut texts = String::from("[");
    for change in changes {
        let row = change.json.as_ref().and_then(|json| RawValue::from_string(json.clone()).ok());
        let row = row.as_deref().filter(|row| !row.get().contains("$reql_type$"));
        let document = RowDocument { id: change.id, seq, row, json: change.json.as_deref() };
        let text =
            serde_json::to_string(&document).map_err(|error| StoreError::Damaged(error.to_string()))?;
        texts.push_str(if texts.len() > 1 { "," } else { "" });
        texts.push_str(&text);
    }
    texts.push(']');
    Ok(r.json(r.expr(texts)))
}

/// Converts a function to a term, extracted from a `map`: `for_each` of `reql` 0.11 takes functions as terms only.
fn function(function: Func) -> Command {
    let mut map = r.expr(()).map(function);
    match map.args.pop_back() {
        Some(Ok(term)) => term,
        _ => map,
    }
}

async fn remove_tombstones(pool: &Arc<Pool>, table: Table, before: Seq) -> Result<(), StoreError> {
    let gone =
        func!(|row| row.clone().has_fields("json").eq(false).and(row.bracket("seq").lt(r.expr(before))));
    let options = delete::Options::new().durability(Durability::Soft);
    write(pool, r.table(table.name()).filter(gone).delete(options)).await.map(drop)
}

pub(super) async fn reflect(pool: &Arc<Pool>) -> Result<Seq, StoreError> {
    let found: Vec<Option<Reflects>> = read_rows(pool, r.table(META).get(REFLECT)).await?;
    Ok(found.into_iter().flatten().next().map_or(Seq(0), |reflects| reflects.seq))
}

pub(super) async fn empty(pool: &Arc<Pool>) -> Result<(), StoreError> {
    // The marker first: if this is interrupted, the tables are rebuilt.
    write(pool, r.table(META).get(REFLECT).delete(())).await?;
    for table in Table::ALL {
        write(pool, r.table(table.name()).delete(())).await?;
    }
    Ok(())
}

pub(super) async fn read(pool: &Arc<Pool>, table: Table) -> Result<Vec<(Uuid, String)>, StoreError> {
    let rows: Vec<TableRow> = read_rows(pool, r.table(table.name()).pluck(r.expr(["id", "json"]))).await?;
    let mut rows: Vec<_> = rows.into_iter().filter_map(|row| Some((row.id, row.json?))).collect();
    rows.sort_unstable();
    Ok(rows)
}

fn cursor_id(name: &str) -> String {
    format!("cursor {name}")
}

/// The last event that a follower of the log has processed.
pub(super) async fn cursor(pool: &Arc<Pool>, name: &str) -> Result<Option<Seq>, StoreError> {
    let found: Vec<Option<Reflects>> = read_rows(pool, r.table(META).get(cursor_id(name))).await?;
    Ok(found.into_iter().flatten().next().map(|reflects| reflects.seq))
}

pub(super) async fn set_cursor(pool: &Arc<Pool>, name: &str, seq: Seq) -> Result<(), StoreError> {
    let document = r.expr(serde_json::json!({ "id": cursor_id(name), "seq": seq }));
    let options = insert::Options::new().conflict(Conflict::Replace).durability(Durability::Soft);
    write(pool, r.table(META).insert(r.args((document, options)))).await.map(drop)
}

pub(super) async fn lease(pool: &Arc<Pool>) -> Result<Option<Lease>, StoreError> {
    let found: Vec<Option<Lease>> = read_rows(pool, r.table(META).get(LEASE)).await?;
    Ok(found.into_iter().flatten().next())
}

pub(super) async fn write_lease(
    pool: &Arc<Pool>,
    expected_version: u64,
    lease: Lease,
) -> Result<bool, StoreError> {
    let document = r.expr(Meta { id: LEASE, value: &lease });
    let query = if expected_version == 0 {
        r.table(META).insert(r.args((document, insert::Options::new().durability(Durability::Hard))))
    } else {
        let options = replace::Options::new().durability(Durability::Hard);
        let ours = func!(|old| r.branch(r.args((
            old.clone().bracket("version").default(r.expr(0)).eq(expected_version),
            document,
            old,
        ))));
        r.table(META).get(LEASE).replace(r.args((ours, options)))
    };
    let WriteAnswer { inserted, replaced, .. } = write_with(pool, Urgency::First, query).await?;
    if inserted + replaced == 1 {
        return Ok(true);
    }
    // Nothing was replaced: an earlier attempt of this write succeeded, or another daemon was faster.
    Ok(self::lease(pool).await? == Some(lease))
}
