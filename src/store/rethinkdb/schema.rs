//! Creation of the database, its tables and its indexes.
//!
//! RethinkDB lets two servers create a table of the same name at the same time, and then neither can be used by its
//! name. So a daemon that finds no layout document creates the missing tables, waits until all servers know of each
//! other's tables, and removes all but the first table of each name. They are empty, as no daemon writes before the
//! layout document exists.

use super::document::IDEMPOTENCY_AT;
use super::pool::{Pool, QueryFailure, Urgency};
use super::snapshots::SNAPSHOTS;
use super::tables::META;
use super::{EVENTS, RETRY_PAUSE, read_rows, write};
use crate::store::{StoreError, Table};
use reql::cmd::run::Options;
use reql::cmd::{index_create, table_create};
use reql::{Command, r};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The version of the layout.
const LAYOUT: u64 = 2;
/// The id of the document in the table `meta` that holds the layout version.
const LAYOUT_ID: &str = "layout";
/// The index of commits by the kinds of their events, for ad-hoc queries with ReQL.
pub(super) const KINDS: &str = "kinds";
/// The time for servers to learn of each other's tables.
const PROPAGATION_PAUSE: Duration = Duration::from_millis(500);
/// The timeout for tables to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Layout {
    version: u64,
}

#[derive(Deserialize)]
struct TableConfig {
    id: String,
}

#[derive(Deserialize)]
struct TableStatus {
    status: Ready,
    #[serde(default)]
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Ready {
    ready_for_writes: bool,
}

#[derive(Deserialize)]
struct Shard {
    replicas: Vec<serde_json::Value>,
}

fn tables() -> impl Iterator<Item = &'static str> {
    [EVENTS, META, SNAPSHOTS].into_iter().chain(Table::ALL.map(Table::name))
}

/// Creates missing tables and indexes, and waits until all of them can be written.
pub(super) async fn make(pool: &Arc<Pool>) -> Result<(), StoreError> {
    if !exists(pool).await? {
        create(pool).await?;
        sleep(PROPAGATION_PAUSE).await;
        remove_doubles(pool).await?;
    }
    let deadline = Instant::now() + READY_TIMEOUT;
    for table in tables() {
        wait_until_ready(pool, table, deadline).await?;
    }
    create_index(
        pool,
        KINDS,
        r.table(EVENTS).index_create(r.args((KINDS, index_create::Options::new().multi(true)))),
    )
    .await?;
    create_index(pool, IDEMPOTENCY_AT, r.table(EVENTS).index_create(IDEMPOTENCY_AT)).await?;
    for index in [KINDS, IDEMPOTENCY_AT] {
        wait_for_index(pool, index, deadline).await?;
    }
    // The first of several daemons inserts it; the others keep it.
    write(pool, r.table(META).insert(serde_json::json!({ "id": LAYOUT_ID, "version": LAYOUT }))).await?;
    Ok(())
}

/// Whether the database and its tables exist.
///
/// # Errors
/// When no server responds, or the layout is of another version.
pub(super) async fn exists(pool: &Arc<Pool>) -> Result<bool, StoreError> {
    let dbname = &pool.settings().dbname;
    let databases: Vec<Vec<String>> = read_rows(pool, r.db_list()).await?;
    if !databases.iter().flatten().any(|name| name == dbname) {
        return Ok(false);
    }
    let found = table_list(pool).await?;
    if tables().any(|table| !found.iter().any(|name| name == table)) {
        return Ok(false);
    }
    let layout: Vec<Option<Layout>> = match read_rows(pool, r.table(META).get(LAYOUT_ID)).await {
        Ok(layout) => layout,
        Err(_) => return Ok(false), // not ready yet, or created twice
    };
    match layout.into_iter().flatten().next() {
        Some(Layout { version }) if version > LAYOUT => Err(StoreError::Damaged(format!(
            "the database {dbname} was written by a newer kDaemon (layout {version}, this one reads {LAYOUT}); use the newer version"
        ))),
        Some(Layout { version }) if version < LAYOUT => Err(StoreError::Damaged(format!(
            "the database {dbname} has the pre-release layout {version}, this kDaemon reads {LAYOUT}; use another database"
        ))),
        layout => Ok(layout.is_some()),
    }
}

async fn table_list(pool: &Arc<Pool>) -> Result<Vec<String>, StoreError> {
    let tables: Vec<Vec<String>> = read_rows(pool, r.db(pool.settings().dbname.clone()).table_list()).await?;
    Ok(tables.into_iter().flatten().collect())
}

async fn create(pool: &Arc<Pool>) -> Result<(), StoreError> {
    let settings = pool.settings();
    administer(pool, r.db_create(settings.dbname.clone())).await?;
    let found = table_list(pool).await?;
    for table in tables().filter(|table| !found.iter().any(|name| name == table)) {
        let options = table_create::Options::new().replicas(table_create::Replicas::Int(settings.replicas));
        administer(pool, r.db(settings.dbname.clone()).table_create(r.args((table, options)))).await?;
    }
    Ok(())
}

/// Runs a query that creates something. Succeeds if it already exists, and retries while servers are missing.
async fn administer(pool: &Arc<Pool>, query: Command) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        let deadline = Instant::now() + READY_TIMEOUT;
        match pool.run::<serde_json::Value>(Urgency::Ordinary, query.clone(), Options::new(), deadline).await
        {
            Ok(_) => return Ok(()),
            Err(failure) if failure.to_string().contains("already exists") => return Ok(()),
            Err(failure @ QueryFailure::Refused(_)) => {
                return Err(StoreError::Unavailable(failure.to_string()));
            }
            Err(failure) if begun.elapsed() > pool.settings().query_timeout => {
                return Err(StoreError::Unavailable(failure.to_string()));
            }
            Err(_) => sleep(RETRY_PAUSE).await,
        }
    }
}

/// Removes all but the first of the databases, and of the tables, with the same name.
async fn remove_doubles(pool: &Arc<Pool>) -> Result<(), StoreError> {
    let dbname = &pool.settings().dbname;
    let database = serde_json::json!({ "name": dbname });
    let mut of_one_name = vec![("db_config", database)];
    of_one_name
        .extend(tables().map(|table| ("table_config", serde_json::json!({ "db": dbname, "name": table }))));
    for (config, name) in of_one_name {
        let configs = || r.db("rethinkdb").table(config);
        let query = configs().filter(r.expr(name)).pluck(r.expr(["id"]));
        // A user without access to the system tables is not an administrator: another user created the tables.
        let Ok(mut found) = read_rows::<TableConfig>(pool, query).await else { return Ok(()) };
        found.sort_by(|a, b| a.id.cmp(&b.id));
        for double in found.into_iter().skip(1) {
            tracing::warn!(
                config,
                id = double.id,
                "two daemons created this at the same time; removing the duplicate"
            );
            write(pool, configs().get(double.id).delete(())).await?;
        }
    }
    Ok(())
}

async fn wait_until_ready(pool: &Arc<Pool>, table: &str, deadline: Instant) -> Result<(), StoreError> {
    loop {
        let statuses: Result<Vec<TableStatus>, _> = read_rows(pool, r.table(table).status()).await;
        let why = match statuses {
            Ok(statuses) => match statuses.into_iter().next() {
                Some(status) if status.status.ready_for_writes => {
                    let replicas = status.shards.iter().map(|shard| shard.replicas.len()).min().unwrap_or(0);
                    if replicas < usize::from(pool.settings().replicas) {
                        tracing::warn!(
                            table,
                            replicas,
                            "the table has fewer replicas than rethinkdb_replicas; change that with ReQL: \
                             r.db(..).reconfigure({{shards: 1, replicas: ..}})"
                        );
                    }
                    return Ok(());
                }
                _ => "it cannot be written yet; check that all of its servers run".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            return Err(StoreError::Unavailable(format!("the table {table} is not ready: {why}")));
        }
        sleep(RETRY_PAUSE).await;
    }
}

async fn create_index(pool: &Arc<Pool>, index: &str, query: Command) -> Result<(), StoreError> {
    let found: Vec<Vec<String>> = read_rows(pool, r.table(EVENTS).index_list()).await?;
    if found.iter().flatten().any(|name| name == index) {
        return Ok(());
    }
    administer(pool, query).await
}

/// Queries an index until it responds: `reql` 0.11 has no other way to wait for an index.
async fn wait_for_index(pool: &Arc<Pool>, index: &'static str, deadline: Instant) -> Result<(), StoreError> {
    use reql::cmd::get_all;
    loop {
        let options = get_all::Options::new().index(index);
        let query = r.table(EVENTS).get_all(r.args(("", options))).limit(1_isize);
        match read_rows::<serde_json::Value>(pool, query).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(RETRY_PAUSE).await,
        }
    }
}
