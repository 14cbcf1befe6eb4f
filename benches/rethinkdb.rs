//! Durable commands over HTTP: the journal on RethinkDB, against inserts by one client of the driver into the same server,
//! and against the journal on SQLite. The driver inserts the document of a commit as the daemon writes it, into a table
//! with the same indexes, and a small document into a table without indexes.

use crate::figures::{Limit, Table, Value, median, median_number, progress};
use crate::history::write;
use crate::http::{Request, post_as_fast_as_answered, post_one_after_another};
use crate::support::daemon::Daemon;
use crate::support::rethinkdb::{Rethinkdb, forget, settings};
use chrono::DateTime;
use futures_util::StreamExt as _;
use kdaemon::archive::{export, import};
use kdaemon::store::prelude::*;
use kdaemon::store::{RethinkdbSettings, RethinkdbStore, SqliteStore};
use reql::cmd::{Conflict, Durability, connect, index_create, insert};
use reql::{Command, Session, r};
use serde_json::json;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The number of rounds; each figure is the median over all of them.
const ROUNDS: usize = 5;
/// The number of concurrent clients of the throughput figure.
const CLIENTS: usize = 64;
/// Warm-up and measured time of each load.
const ALONE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1_500));
const TOGETHER: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));
/// The number of inserts by the driver per round.
const INSERTS: usize = 500;
/// The number of events that are exported and imported.
const IMPORTED: u64 = 1_000_000;

/// Measures and enters the figures.
pub(crate) fn run(table: &mut Table) {
    if !Rethinkdb::is_possible() {
        return table.skip("no `rethinkdb` on the PATH");
    }
    let server = Rethinkdb::get();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let settings = settings(server.address());
    let host = server.address().to_string();
    let environment =
        [("KDAEMON_RETHINKDB_HOST", host.as_str()), ("KDAEMON_RETHINKDB_DBNAME", settings.dbname.as_str())];
    progress("rethinkdb: starting two daemons");
    let (daemon, embedded, bare) = runtime.block_on(async {
        let daemon = Daemon::start_with(&["--no-local"], &environment).await;
        (daemon, Daemon::start_with(&["--no-local"], &[]).await, BareInsert::new(&settings).await)
    });
    let (address, embedded_address) = (address(&daemon), address(&embedded));

    let (mut inserts, mut small_inserts) = (Vec::new(), Vec::new());
    let (mut alone, mut embedded_alone) = (Vec::new(), Vec::new());
    let (mut together, mut embedded_together) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        progress(&format!("rethinkdb: round {round} of {ROUNDS}: one client"));
        let create = |clients: usize| {
            move |client: usize, number: usize| Request {
                path: "/0.0/containers/create".to_owned(),
                body: format!(r#"{{"name":"round-{round}-{clients}-client-{client:02}-{number:06}"}}"#),
            }
        };
        small_inserts.extend(runtime.block_on(bare.insert(SMALL, &small_document(), round)));
        alone.extend(post_one_after_another(address, ALONE, create(1)));
        let commit = runtime.block_on(bare.a_commit());
        inserts.extend(runtime.block_on(bare.insert(COMMITS, &commit, round)));
        embedded_alone.extend(post_one_after_another(embedded_address, ALONE, create(1)));
        progress(&format!("rethinkdb: round {round} of {ROUNDS}: {CLIENTS} clients"));
        together.push(post_as_fast_as_answered(address, CLIENTS, TOGETHER, create(CLIENTS)));
        embedded_together.push(post_as_fast_as_answered(
            embedded_address,
            CLIENTS,
            TOGETHER,
            create(CLIENTS),
        ));
    }
    table.figure(
        "rethinkdb: one durable command, one client over HTTP",
        Value::Time(median(&alone)),
        Limit::RatioAtMost("the same insert by the driver", Value::Time(median(&inserts)), 1.3),
    );
    let insert = median(&small_inserts);
    table.note("rethinkdb: one insert of a small document by the driver", Value::Time(insert));
    table.figure(
        &format!("rethinkdb: durable commands, {CLIENTS} clients over HTTP"),
        Value::PerSecond(median_number(&together)),
        Limit::RatioAtLeast("driver, small, one client", Value::PerSecond(1.0 / insert.as_secs_f64()), 10.0),
    );
    table.note("the same on SQLite: one durable command, one client", Value::Time(median(&embedded_alone)));
    table.note(
        &format!("the same on SQLite: durable commands, {CLIENTS} clients"),
        Value::PerSecond(median_number(&embedded_together)),
    );
    drop((daemon, embedded));
    runtime.block_on(forget(&settings));
    runtime.block_on(import_a_million(table, &server));
}

/// Exports a log of a million events from SQLite to a file and imports it into RethinkDB.
async fn import_a_million(table: &mut Table, server: &Rethinkdb) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    write(dir.path(), IMPORTED).await;
    let path = dir.path().join("log.jsonl");
    let embedded = SqliteStore::open(dir.path()).expect("a store");
    progress(&format!("rethinkdb: exporting {IMPORTED} events"));
    let began = Instant::now();
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    let left = export(&embedded, &mut file, DateTime::UNIX_EPOCH, &mut |_, _| ()).await.expect("an export");
    file.flush().expect("room on the disk");
    table.note(&format!("export of {IMPORTED} events from SQLite"), Value::Time(began.elapsed()));
    embedded.close().await;
    progress(&format!("rethinkdb: importing {IMPORTED} events"));
    let settings = settings(server.address());
    let store = RethinkdbStore::open(settings.clone()).await.expect("a store");
    let began = Instant::now();
    let mut file = BufReader::new(File::open(&path).expect("the file"));
    let arrived = import(&store, &mut file, None, &mut |_, _| ()).await.expect("an import");
    let took = began.elapsed();
    assert_eq!((left.seq, left.root), (arrived.seq, arrived.root), "the imported log is identical");
    #[allow(clippy::cast_precision_loss)] // rounded for display
    let rate = IMPORTED as f64 / took.as_secs_f64();
    table.note(&format!("import of {IMPORTED} events into RethinkDB"), Value::Time(took));
    table.note("  events durable there", Value::PerSecond(rate));
    store.close().await;
    forget(&settings).await;
}

fn address(daemon: &Daemon) -> SocketAddr {
    daemon.url("//").trim_start_matches("http://").trim_end_matches('/').parse().expect("an address")
}

/// A table of documents of about the size of an event, without secondary indexes.
const SMALL: &str = "bare_small";
/// A table of commits, with the indexes of the daemon's table.
const COMMITS: &str = "bare_commits";

fn small_document() -> serde_json::Value {
    json!({
        "at": "2026-11-22T17:00:00.000000Z",
        "kind": "ContainerCreated",
        "actor": {"type": "anonymous"},
        "data": {"container_id": "01234567-89ab-cdef-0123-456789abcdef", "name": "container-000123"},
    })
}

/// A client of the driver alone, without a daemon.
struct BareInsert {
    session: Session,
}

impl BareInsert {
    async fn new(settings: &RethinkdbSettings) -> Self {
        let (host, port) = &settings.hosts[0];
        let options = connect::Options::new().db(settings.dbname.clone());
        let session = r.connect(r.args(((host.as_str(), *port), options))).await.expect("a session");
        let bare = Self { session };
        bare.ask(r.table_create(SMALL)).await;
        bare.ask(r.table_create(COMMITS)).await;
        let multi = index_create::Options::new().multi(true);
        bare.ask(r.table(COMMITS).index_create(r.args(("kinds", multi)))).await;
        bare.ask(r.table(COMMITS).index_create("idempotency_at")).await;
        bare
    }

    async fn ask(&self, query: Command) -> serde_json::Value {
        let mut answers = Box::pin(query.run::<_, serde_json::Value>(&self.session));
        answers.next().await.expect("an answer").expect("a success")
    }

    /// The document of a commit that the daemon wrote for a single client.
    async fn a_commit(&self) -> serde_json::Value {
        let commit = self.ask(r.table("events").get(100)).await;
        assert_eq!(commit["kinds"], json!(["ContainerCreated"]));
        commit
    }

    /// Inserts a document `INSERTS` times, with the durability of a commit; returns the durations.
    async fn insert(&self, table: &str, document: &serde_json::Value, round: usize) -> Vec<Duration> {
        let mut document = document.clone();
        let mut times = Vec::with_capacity(INSERTS);
        for number in 0..INSERTS {
            document["id"] = json!(round * INSERTS + number);
            let options = insert::Options::new().conflict(Conflict::Error).durability(Durability::Hard);
            let began = Instant::now();
            let text = r.json(r.expr(document.to_string())); // like the daemon
            let answer = self.ask(r.table(table).insert(r.args((text, options)))).await;
            assert_eq!(answer["inserted"], 1);
            times.push(began.elapsed());
        }
        times
    }
}
