//! The database, its tables and its indexes: made when they are not there.
//!
//! RethinkDB lets two servers make a table of the same name at the same time, and then neither can be used by its name.
//! So whoever finds no layout written down makes what is missing, waits until all servers know of each other's
//! tables, and removes all but the first of each name; they are empty, for nobody writes before the layout is written down.

use super::document::ANSWERED;
use super::pool::{Failure, Pool, Urgency};
use super::snapshots::SNAPSHOTS;
use super::tables::META;
use super::{AGAIN, EVENTS, read_rows, write};
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
/// The document of the table `meta` that says so.
const LAYOUT_ID: &str = "layout";
/// The index of the commits by the kinds of their events, for people who look with ReQL.
pub(super) const KINDS: &str = "kinds";
/// So long servers may take to hear of each other's tables.
const NEWS: Duration = Duration::from_millis(500);
/// So long the tables may take to become ready.
const READY: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Layout {
    version: u64,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct Status {
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

/// Makes what is missing and waits until all of it can be written.
pub(super) async fn make(pool: &Arc<Pool>) -> Result<(), StoreError> {
    if !exists(pool).await? {
        create(pool).await?;
        sleep(NEWS).await;
        remove_doubles(pool).await?;
    }
    let deadline = Instant::now() + READY;
    for table in tables() {
        wait_until_ready(pool, table, deadline).await?;
    }
    create_index(
        pool,
        KINDS,
        r.table(EVENTS).index_create(r.args((KINDS, index_create::Options::new().multi(true)))),
    )
    .await?;
    create_index(pool, ANSWERED, r.table(EVENTS).index_create(ANSWERED)).await?;
    for index in [KINDS, ANSWERED] {
        wait_for_index(pool, index, deadline).await?;
    }
    // Of several daemons the first one; the others find it there.
    write(pool, r.table(META).insert(serde_json::json!({ "id": LAYOUT_ID, "version": LAYOUT }))).await?;
    Ok(())
}

/// Whether all is there, in a layout that this kDaemon knows.
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
        Err(_) => return Ok(false), // not ready yet, or there are two of them
    };
    match layout.into_iter().flatten().next() {
        Some(Layout { version }) if version > LAYOUT => Err(StoreError::Damaged(format!(
            "the database {dbname} was written by a newer kDaemon (layout {version}, this one knows {LAYOUT}); use that one"
        ))),
        Some(Layout { version }) if version < LAYOUT => Err(StoreError::Damaged(format!(
            "the database {dbname} has the layout {version} of a kDaemon before its first release, this one reads {LAYOUT}; \
             use another database"
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

/// Makes something; that it is there already is as good. What lacks servers waits for them.
async fn administer(pool: &Arc<Pool>, query: Command) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        let deadline = Instant::now() + READY;
        match pool.run::<serde_json::Value>(Urgency::Ordinary, query.clone(), Options::new(), deadline).await
        {
            Ok(_) => return Ok(()),
            Err(failure) if failure.to_string().contains("already exists") => return Ok(()),
            Err(failure @ Failure::Refused(_)) => return Err(StoreError::Unavailable(failure.to_string())),
            Err(failure) if begun.elapsed() > pool.settings().query_timeout => {
                return Err(StoreError::Unavailable(failure.to_string()));
            }
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Of tables (and databases) of one name all but the first are removed.
async fn remove_doubles(pool: &Arc<Pool>) -> Result<(), StoreError> {
    let dbname = &pool.settings().dbname;
    let database = serde_json::json!({ "name": dbname });
    let mut of_one_name = vec![("db_config", database)];
    of_one_name
        .extend(tables().map(|table| ("table_config", serde_json::json!({ "db": dbname, "name": table }))));
    for (config, name) in of_one_name {
        let configs = || r.db("rethinkdb").table(config);
        let query = configs().filter(r.expr(name)).pluck(r.expr(["id"]));
        // Who may not look at this is no administrator: then somebody else made the tables.
        let Ok(mut found) = read_rows::<Named>(pool, query).await else { return Ok(()) };
        found.sort_by(|a, b| a.id.cmp(&b.id));
        for double in found.into_iter().skip(1) {
            tracing::warn!(config, id = double.id, "made twice at the same time; one of them is removed");
            write(pool, configs().get(double.id).delete(())).await?;
        }
    }
    Ok(())
}

async fn wait_until_ready(pool: &Arc<Pool>, table: &str, deadline: Instant) -> Result<(), StoreError> {
    loop {
        let statuses: Result<Vec<Status>, _> = read_rows(pool, r.table(table).status()).await;
        let why = match statuses {
            Ok(statuses) => match statuses.into_iter().next() {
                Some(status) if status.status.ready_for_writes => {
                    let replicas = status.shards.iter().map(|shard| shard.replicas.len()).min().unwrap_or(0);
                    if replicas < usize::from(pool.settings().replicas) {
                        tracing::warn!(
                            table,
                            replicas,
                            "it has fewer replicas than rethinkdb_replicas says; change that with ReQL: \
                             r.db(..).reconfigure({{shards: 1, replicas: ..}})"
                        );
                    }
                    return Ok(());
                }
                _ => "it cannot be written yet; do all its servers run?".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            return Err(StoreError::Unavailable(format!("the table {table} does not become ready: {why}")));
        }
        sleep(AGAIN).await;
    }
}

async fn create_index(pool: &Arc<Pool>, index: &str, query: Command) -> Result<(), StoreError> {
    let found: Vec<Vec<String>> = read_rows(pool, r.table(EVENTS).index_list()).await?;
    if found.iter().flatten().any(|name| name == index) {
        return Ok(());
    }
    administer(pool, query).await
}

/// Until it can be asked: there is no other way in `reql` 0.11.
async fn wait_for_index(pool: &Arc<Pool>, index: &'static str, deadline: Instant) -> Result<(), StoreError> {
    use reql::cmd::get_all;
    loop {
        let options = get_all::Options::new().index(index);
        let query = r.table(EVENTS).get_all(r.args(("", options))).limit(1_isize);
        match read_rows::<serde_json::Value>(pool, query).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(AGAIN).await,
        }
    }
}
