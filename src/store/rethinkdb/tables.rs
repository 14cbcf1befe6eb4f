//! What is not the log: the rows that are folded from it, and the lease.
//!
//! A row is a document `{id, seq, row, json}`: `seq` is the event that it reflects, `row` is for people who look with
//! ReQL, `json` is the row's text. A newer document is never overwritten by an older one, and a row that is gone leaves a
//! document without `row` behind for a while, so that a daemon that was frozen cannot bring it back.

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

/// The table of what there is one of.
pub(super) const META: &str = "meta";
/// In it: up to where the tables reflect the log; and who leads.
const REFLECT: &str = "tables";
const LEASE: &str = "lease";
/// How many rows one query writes.
const BATCH: usize = 500;
/// For how many events what is gone is remembered.
const GONE_KEPT: u64 = 100_000;

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
struct Row {
    id: Uuid,
    json: Option<String>,
}

#[derive(Deserialize)]
struct Reflects {
    seq: Seq,
}

/// A document of the table `meta`, under its name.
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
        // Now and then, for it looks at every row.
        if reflects.0 / GONE_KEPT > reflected.0 / GONE_KEPT {
            forget_gone(pool, table, Seq(reflects.0.saturating_sub(GONE_KEPT))).await?;
        }
    }
    let document = r.expr(serde_json::json!({ "id": REFLECT, "seq": reflects }));
    write(pool, replace_unless_newer(r.table(META).get(REFLECT), document, reflects)).await.map(drop)
}

/// Writes `document` where `selection` is nothing, or reflects the same or an older event.
fn replace_unless_newer(selection: Command, document: Command, seq: Seq) -> Command {
    let options = replace::Options::new().durability(Durability::Soft);
    let newer = func!(|old| r.branch(r.args((
        old.clone().eq(()).or(old.clone().bracket("seq").le(r.expr(seq))),
        document,
        old,
    ))));
    selection.replace(r.args((newer, options)))
}

/// Writes rows of one table. Those that are new are inserted together, in a third of the time that it takes to look at each.
async fn write_batch(
    pool: &Arc<Pool>,
    table: Table,
    seq: Seq,
    changes: &[&RowChange],
) -> Result<(), StoreError> {
    let name = r.table(table.name());
    let Some((first, others)) = changes.split_first() else { return Ok(()) };
    let mut there = name.clone().get_all(first.id.to_string());
    // `get_all` of `reql` 0.11 takes one key, or as many as are known when it is compiled.
    there.args.extend(others.iter().map(|change| Ok(r.expr(change.id.to_string()))));
    let there: Vec<Row> = read_rows(pool, there.pluck(r.expr(["id"]))).await?;
    let there: HashSet<_> = there.into_iter().map(|row| row.id).collect();
    let (mut there, new): (Vec<_>, Vec<_>) =
        changes.iter().copied().partition(|change| there.contains(&change.id));
    if !new.is_empty() {
        let options = insert::Options::new().conflict(Conflict::Error).durability(Durability::Soft);
        let inserted = write(pool, name.clone().insert(r.args((documents(seq, &new)?, options)))).await?;
        if inserted.is_duplicate() {
            there.extend(new); // by an earlier try, or by another daemon meanwhile
        }
    }
    if there.is_empty() {
        return Ok(());
    }
    let each =
        func!(|document| replace_unless_newer(name.get(document.clone().bracket("id")), document, seq));
    write(pool, documents(seq, &there)?.for_each(function(each))).await.map(drop)
}

/// The documents of rows, as text: built of terms they take twice as long.
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

/// A function as a term: `for_each` of `reql` 0.11 takes no other, and `map` is where one can be had from.
fn function(function: Func) -> Command {
    let mut map = r.expr(()).map(function);
    match map.args.pop_back() {
        Some(Ok(term)) => term,
        _ => map,
    }
}

async fn forget_gone(pool: &Arc<Pool>, table: Table, before: Seq) -> Result<(), StoreError> {
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
    // First what says that they are filled: should this be cut short, they are filled anew.
    write(pool, r.table(META).get(REFLECT).delete(())).await?;
    for table in Table::ALL {
        write(pool, r.table(table.name()).delete(())).await?;
    }
    Ok(())
}

pub(super) async fn read(pool: &Arc<Pool>, table: Table) -> Result<Vec<(Uuid, String)>, StoreError> {
    let rows: Vec<Row> = read_rows(pool, r.table(table.name()).pluck(r.expr(["id", "json"]))).await?;
    let mut rows: Vec<_> = rows.into_iter().filter_map(|row| Some((row.id, row.json?))).collect();
    rows.sort_unstable();
    Ok(rows)
}

fn cursor_id(name: &str) -> String {
    format!("cursor {name}")
}

/// Up to where somebody who follows the log came.
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
    // Nothing was replaced: by an earlier try of this very write, or because somebody else was faster.
    Ok(self::lease(pool).await? == Some(lease))
}
