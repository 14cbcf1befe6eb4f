//! The RethinkDB store (<https://rethinkdb.com/docs/consistency/>), for several daemons that share one log.
//!
//! RethinkDB is atomic per document only, so each commit is one document in the table `events`. The primary key is the
//! commit's number: an insert with conflict "error" is the compare-and-swap. Writes to the log have hard durability and
//! are acknowledged by a majority of the replicas. The log is read with `majority`, so that a failing server cannot
//! revoke anything that was read.
//!
//! An insert with an unknown outcome is sent again: with the same key and `commit_id` it can happen only once, and the
//! response then shows which commit has the number.

mod commits;
mod document;
mod feed;
mod head;
mod index;
mod pool;
mod raw;
mod schema;
mod snapshots;
mod tables;

use super::{
    Commit, CursorStore, EventLog, EventQuery, EventText, Head, IdempotencyRecord, IdempotencyStore, Lease,
    LeaseStore, RawLog, RawPage, RawPosition, RowChange, Snapshot, SnapshotStore, StoreError, Table,
    TableStore, Tip,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use document::{CommitRow, document};
use feed::Feed;
use index::Index;
use kdaemon_events::{CommitId, Digest, NodePlace, Seq};
use pool::{Pool, QueryFailure, Urgency};
use reql::cmd::run::Options;
use reql::cmd::{Conflict, Durability, ReadMode, insert};
use reql::{Command, r};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The table of the log.
const EVENTS: &str = "events";
/// The pause before a retry.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The exclusive upper limit of commit numbers: integers up to this one are exact in a double.
const NUMBER_LIMIT: u64 = 1 << 53;
/// The number of commits that one query reads when following the end of the log.
const STEP: u64 = 64;

/// The addresses and credentials of the servers, and timeouts.
#[derive(Clone, PartialEq, Eq)]
pub struct RethinkdbSettings {
    /// The servers of the cluster as host and port. Each query goes to one of them.
    pub hosts: Vec<(String, u16)>,
    /// The name of the database.
    pub dbname: String,
    /// The name of the RethinkDB user.
    pub user: String,
    /// The user's password; may be empty.
    pub password: String,
    /// The replication factor of new tables.
    pub replicas: u8,
    /// The timeout of a login on one host.
    pub connect_timeout: Duration,
    /// The timeout of a query.
    pub query_timeout: Duration,
    /// The maximum duration of retries of an append with an unknown outcome.
    pub settle_timeout: Duration,
}

impl Default for RethinkdbSettings {
    fn default() -> Self {
        Self {
            hosts: vec![("127.0.0.1".to_owned(), 28015)],
            dbname: "kdaemon".to_owned(),
            user: "admin".to_owned(),
            password: String::new(),
            replicas: 1,
            connect_timeout: Duration::from_secs(3),
            query_timeout: Duration::from_secs(5),
            settle_timeout: Duration::from_secs(15),
        }
    }
}

impl std::fmt::Debug for RethinkdbSettings {
    /// Omits the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RethinkdbSettings")
            .field("hosts", &self.hosts)
            .field("dbname", &self.dbname)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A store in a RethinkDB database.
pub struct RethinkdbStore {
    pool: Arc<Pool>,
    /// The latest known head of the log. Commits are immutable, so the actual head is this one or a later one.
    known: Mutex<Head>,
    /// The tip of the log after this daemon's last append.
    tip: Mutex<Tip>,
    /// The end of the last sequential read: an event, and the commit that holds the next event.
    place: Mutex<(Seq, u64)>,
    index: tokio::sync::Mutex<Index>,
    feed: Feed,
}

impl RethinkdbStore {
    /// Opens the database, and creates it and its tables if they are missing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no server responds or accepts the login, or the tables do not become ready;
    /// [`StoreError::Damaged`] when the log has a hole or was written by a newer kDaemon.
    pub async fn open(settings: RethinkdbSettings) -> Result<Self, StoreError> {
        let pool = Pool::new(settings);
        schema::make(&pool).await?;
        Self::over(pool).await
    }

    /// Whether the database holds a log. Creates nothing.
    ///
    /// # Errors
    /// When no server responds or accepts the login.
    pub async fn exists(settings: RethinkdbSettings) -> Result<bool, StoreError> {
        let pool = Pool::new(settings);
        let exists = schema::exists(&pool).await;
        pool.close();
        exists
    }

    async fn over(pool: Arc<Pool>) -> Result<Self, StoreError> {
        let store = Self {
            feed: Feed::new(Arc::clone(&pool)),
            pool,
            known: Mutex::default(),
            tip: Mutex::default(),
            place: Mutex::new((Seq(0), 1)),
            index: tokio::sync::Mutex::default(),
        };
        store.find_head().await?;
        Ok(store)
    }

    /// Runs a read, and retries it on transient failures until the deadline.
    async fn read_rows<T>(&self, query: Command) -> Result<Vec<T>, StoreError>
    where
        T: DeserializeOwned + Unpin + Send + 'static,
    {
        read_rows(&self.pool, query).await
    }

    /// The number of the commit that holds an event; `None` when the log is shorter.
    async fn commit_of(&self, seq: Seq) -> Result<Option<u64>, StoreError> {
        let (before, number) = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if before.next() == seq {
            return Ok(Some(number));
        }
        if seq > self.known().seq && seq > self.follow_head().await?.seq {
            return Ok(None);
        }
        let (mut low, mut high) = (1, self.known().commits);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self.heads(middle, middle + 1).await?.pop().ok_or_else(|| missing(middle))?;
            if row.last_seq < seq {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Some(low))
    }

    /// Reads the commit that has a taken number, and waits until a majority of the replicas has it.
    async fn taken_by(&self, number: u64, deadline: Instant) -> Result<HeadRow, StoreError> {
        loop {
            // One server has the commit; the majority follows.
            if let Some(row) = self.heads(number, number + 1).await?.pop() {
                return Ok(row);
            }
            if Instant::now() > deadline {
                let what = format!("commit {number} exists, but not on a majority of the replicas");
                return Err(StoreError::Unavailable(what));
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

fn missing(number: u64) -> StoreError {
    StoreError::Damaged(format!("commit {number} is missing; restore the log from a backup"))
}

/// Runs a read like [`RethinkdbStore::read_rows`].
async fn read_rows<T>(pool: &Arc<Pool>, query: Command) -> Result<Vec<T>, StoreError>
where
    T: DeserializeOwned + Unpin + Send + 'static,
{
    run(pool, Urgency::Ordinary, query, Options::new().read_mode(ReadMode::Majority)).await
}

/// Runs an idempotent write.
async fn write(pool: &Arc<Pool>, query: Command) -> Result<WriteAnswer, StoreError> {
    write_with(pool, Urgency::Ordinary, query).await
}

async fn write_with(pool: &Arc<Pool>, urgency: Urgency, query: Command) -> Result<WriteAnswer, StoreError> {
    let answers: Vec<WriteAnswer> = run(pool, urgency, query, Options::new()).await?;
    answers.into_iter().next().unwrap_or_default().checked()
}

/// Runs a query, and retries it on transient failures.
async fn run<T>(
    pool: &Arc<Pool>,
    urgency: Urgency,
    query: Command,
    options: Options,
) -> Result<Vec<T>, StoreError>
where
    T: DeserializeOwned + Unpin + Send + 'static,
{
    let begun = Instant::now();
    let deadline = begun + pool.settings().query_timeout;
    loop {
        let failure = match pool.run(urgency, query.clone(), options.clone(), deadline).await {
            Ok(answers) => return Ok(answers),
            Err(failure) => failure,
        };
        let is_refused = matches!(failure, QueryFailure::Refused(_));
        if is_refused || begun.elapsed() + RETRY_PAUSE >= pool.patience() {
            if !is_refused {
                pool.give_up();
            }
            return Err(StoreError::Unavailable(failure.to_string()));
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// The server's response to a write. The driver reports an existing key here rather than as an `Err`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WriteAnswer {
    inserted: u64,
    replaced: u64,
    errors: u64,
    first_error: Option<String>,
}

impl WriteAnswer {
    fn is_duplicate(&self) -> bool {
        self.errors > 0 && self.error().starts_with("Duplicate primary key")
    }

    fn error(&self) -> &str {
        self.first_error.as_deref().unwrap_or("the server gave no reason")
    }

    fn checked(self) -> Result<Self, StoreError> {
        if self.errors > 0 && !self.is_duplicate() {
            return Err(StoreError::Unavailable(self.error().to_owned()));
        }
        Ok(self)
    }
}

/// A row of the table `events` with a commit's number.
trait Numbered {
    /// The commit's number.
    fn number(&self) -> u64;
    /// The approximate size in bytes.
    fn bytes(&self) -> usize {
        100
    }
}

#[derive(Debug, Deserialize)]
struct Number {}

/// A commit without its events.
#[derive(Debug, Clone, Deserialize)]
struct HeadRow {
    id: u64,
    commit_id: CommitId,
    last_seq: Seq,
    root: Digest,
}

impl HeadRow {
    fn head(&self) -> Head {
        let Self { id, commit_id, last_seq, root } = *self;
        Head { seq: last_seq, commits: id, commit_id: Some(commit_id), root }
    }
}

impl Numbered for HeadRow {
    fn number(&self) -> u64 {
        self.id
    }
}

#[async_trait]
impl EventLog for RethinkdbStore {
    fn describe(&self) -> String {
        let RethinkdbSettings { hosts, dbname, .. } = self.pool.settings();
        let hosts: Vec<_> = hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        format!("rethinkdb:{}/{dbname}", hosts.join(","))
    }

    async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError> {
        Self::seq_at(self, at).await
    }

    async fn commit_at(&self, number: u64) -> Result<Option<Head>, StoreError> {
        if number >= NUMBER_LIMIT {
            return Ok(None);
        }
        Ok(self.heads(number, number + 1).await?.pop().map(|row| row.head()))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.follow_head().await
    }

    async fn append(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        if self.known() != *expected {
            let actual = self.follow_head().await?;
            if actual != *expected {
                return Err(StoreError::Conflict { actual });
            }
        }
        let (tip, nodes) = self.tip_at(*expected).await?.after(&commit);
        let after = tip.head();
        let document = document(&after, expected, &commit, &nodes)?;
        let options = insert::Options::new().conflict(Conflict::Error).durability(Durability::Hard);
        let insert = r.table(EVENTS).insert(r.args((document, options)));
        let begun = Instant::now();
        let settings = self.pool.settings();
        let mut unsettled = false;
        loop {
            let deadline = Instant::now() + settings.query_timeout;
            let response =
                self.pool.run::<WriteAnswer>(Urgency::First, insert.clone(), Options::new(), deadline);
            let failure = match response.await {
                Ok(answers) => {
                    let answer = answers.into_iter().next().unwrap_or_default();
                    if answer.inserted == 1 {
                        break;
                    }
                    if answer.is_duplicate() {
                        match self.taken_by(after.commits, deadline).await {
                            Ok(row) if row.commit_id == commit.id => break, // an earlier attempt of this append
                            Err(error) if unsettled => {
                                return Err(StoreError::Unsettled(error.to_string()));
                            }
                            Ok(_) | Err(_) => {
                                return Err(StoreError::Conflict { actual: self.follow_head().await? });
                            }
                        }
                    }
                    QueryFailure::Refused(answer.error().to_owned())
                }
                Err(failure) => failure,
            };
            unsettled |= matches!(failure, QueryFailure::Unknown(_));
            let patience = if unsettled { settings.settle_timeout } else { self.pool.patience() };
            let is_refused = matches!(failure, QueryFailure::Refused(_));
            if is_refused || begun.elapsed() + RETRY_PAUSE > patience {
                if !is_refused {
                    self.pool.give_up();
                }
                let reason = failure.to_string();
                return Err(if unsettled {
                    StoreError::Unsettled(reason)
                } else {
                    StoreError::Unavailable(reason)
                });
            }
            sleep(RETRY_PAUSE).await;
        }
        self.learn(self.learn_tip(tip));
        self.feed.appended(after.commits);
        Ok(after)
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError> {
        let mut texts = Vec::new();
        if limit == 0 || after.0 >= NUMBER_LIMIT {
            return Ok(texts);
        }
        let Some(number) = self.commit_of(after.next()).await? else { return Ok(texts) };
        let mut place = (after, number);
        self.scan(number, CommitRow::FIELDS, |commit: CommitRow| {
            let (number, last_seq) = (commit.id, commit.last_seq);
            let wanted = commit.events()?.filter(|text| text.seq > after).take(limit - texts.len());
            texts.extend(wanted);
            let reached = texts.last().map_or(after, |last| last.seq);
            place = (reached, if reached < last_seq { number } else { number + 1 });
            Ok(texts.len() < limit)
        })
        .await?;
        if !texts.is_empty() {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        }
        Ok(texts)
    }

    async fn query(&self, query: EventQuery) -> Result<Vec<EventText>, StoreError> {
        index::query(self, &query).await
    }

    async fn prune(&self, ranges: &[(Seq, Seq)], limit: usize) -> Result<usize, StoreError> {
        raw::prune(self, ranges, limit).await
    }

    async fn pruned(&self, first: Seq, last: Seq) -> Result<u64, StoreError> {
        raw::pruned(self, first, last).await
    }

    async fn wait_for_commit(&self, after: &Head, at_most: Duration) -> Result<u64, StoreError> {
        self.feed.wait(self, after, at_most).await
    }

    async fn close(&self) {
        self.feed.close();
        self.pool.close();
    }
}

#[async_trait]
impl RawLog for RethinkdbStore {
    async fn raw_commits(&self, after: RawPosition) -> Result<RawPage, StoreError> {
        raw::raw_commits(self, after).await
    }

    async fn position_before(&self, seq: Seq) -> Result<Option<RawPosition>, StoreError> {
        raw::position_before(self, seq).await
    }

    async fn nodes(&self, places: &[NodePlace]) -> Result<Vec<Option<Digest>>, StoreError> {
        raw::nodes(self, places).await
    }
}

#[async_trait]
impl SnapshotStore for RethinkdbStore {
    async fn write_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        Self::write_snapshot(self, snapshot).await
    }

    async fn snapshot_before(&self, seq: Seq) -> Result<Option<Snapshot>, StoreError> {
        Self::snapshot_before(self, seq).await
    }

    async fn snapshots(&self) -> Result<Vec<Seq>, StoreError> {
        Self::snapshots(self).await
    }

    async fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError> {
        Self::drop_snapshot(self, seq).await
    }
}

#[async_trait]
impl TableStore for RethinkdbStore {
    async fn write_rows(&self, reflects: Seq, changes: Vec<RowChange>) -> Result<(), StoreError> {
        tables::write_rows(&self.pool, reflects, changes).await
    }

    async fn tables_reflect(&self) -> Result<Seq, StoreError> {
        tables::reflect(&self.pool).await
    }

    async fn drop_tables(&self) -> Result<(), StoreError> {
        tables::empty(&self.pool).await
    }

    async fn read_table(&self, table: Table) -> Result<Vec<(Uuid, String)>, StoreError> {
        tables::read(&self.pool, table).await
    }
}

#[async_trait]
impl IdempotencyStore for RethinkdbStore {
    async fn idempotency_records(
        &self,
        since: DateTime<Utc>,
        after: Seq,
    ) -> Result<Vec<IdempotencyRecord>, StoreError> {
        document::idempotency_records(self, since, after).await
    }

    async fn prune_idempotency(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        document::prune_idempotency(self, before, limit).await
    }
}

#[async_trait]
impl CursorStore for RethinkdbStore {
    async fn cursor(&self, name: &str) -> Result<Option<Seq>, StoreError> {
        tables::cursor(&self.pool, name).await
    }

    async fn set_cursor(&self, name: &str, seq: Seq) -> Result<(), StoreError> {
        tables::set_cursor(&self.pool, name, seq).await
    }
}

#[async_trait]
impl LeaseStore for RethinkdbStore {
    async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        tables::lease(&self.pool).await
    }

    async fn write_lease(&self, expected_version: u64, lease: Lease) -> Result<bool, StoreError> {
        tables::write_lease(&self.pool, expected_version, lease).await
    }
}
