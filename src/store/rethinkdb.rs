//! The log in RethinkDB (<https://rethinkdb.com/docs/consistency/>), for several daemons and for machines that come and go.
//!
//! RethinkDB is atomic per document and no further, so ONE document in the table `events` is ONE commit. Its primary key is
//! the commit's number: an insert with conflict "error" is the compare-and-swap. Writes to the log are hard and
//! acknowledged by a majority of the replicas; the log is read with `majority`, so that nothing is seen that a failing
//! server could still take back.
//!
//! An insert whose outcome is not known is sent again: with the same key and the same `commit_id` it can happen
//! only once, and the answer then says which commit has the number.

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
use document::{Recorded, document};
use feed::Feed;
use index::Index;
use kdaemon_events::{CommitId, Digest, NodePlace, Seq};
use pool::{Failure, Pool, Urgency};
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
/// The pause before something is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// Above every number of a commit: the largest whole number that a double holds.
const BEYOND: u64 = 1 << 53;
/// How many commits a look at the end of the log takes in at a time.
const STEP: u64 = 64;

/// Where the servers are, and how long to wait for them.
#[derive(Clone, PartialEq, Eq)]
pub struct RethinkdbSettings {
    /// The servers: any of them will do.
    pub hosts: Vec<(String, u16)>,
    /// The database.
    pub dbname: String,
    /// The user.
    pub user: String,
    /// Its password; may be empty.
    pub password: String,
    /// On how many servers each table is kept, when it is made.
    pub replicas: u8,
    /// A login on one host that takes longer has failed.
    pub connect_timeout: Duration,
    /// A query that takes longer has failed.
    pub query_timeout: Duration,
    /// So long an append is tried again whose outcome is not known.
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
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RethinkdbSettings")
            .field("hosts", &self.hosts)
            .field("dbname", &self.dbname)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The store.
pub struct RethinkdbStore {
    pool: Arc<Pool>,
    /// The end of the log as it was seen last. Commits are never changed, so it is only ever overtaken.
    known: Mutex<Head>,
    /// Where this daemon appended last, with the edge of the tree there.
    tip: Mutex<Tip>,
    /// Where the last sequential read ended: after this event comes this commit (or the rest of it).
    place: Mutex<(Seq, u64)>,
    index: tokio::sync::Mutex<Index>,
    feed: Feed,
}

impl RethinkdbStore {
    /// Opens the database, and makes it and its tables when they are not there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no server answers or lets us in, or the tables do not become ready;
    /// [`StoreError::Damaged`] when the log has a hole or was written by a newer kDaemon.
    pub async fn open(settings: RethinkdbSettings) -> Result<Self, StoreError> {
        let pool = Pool::new(settings);
        schema::make(&pool).await?;
        Self::over(pool).await
    }

    /// Whether there is a log. Makes nothing.
    ///
    /// # Errors
    /// When no server answers or lets us in.
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

    /// Runs a read: what fails by the way is tried again until the deadline.
    async fn read_rows<T>(&self, query: Command) -> Result<Vec<T>, StoreError>
    where
        T: DeserializeOwned + Unpin + Send + 'static,
    {
        read_rows(&self.pool, query).await
    }

    /// The commit that holds an event, if there is one.
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

    /// What is there now at a number that is taken.
    async fn taken_by(&self, number: u64, deadline: Instant) -> Result<HeadRow, StoreError> {
        loop {
            // The server has it, and soon a majority does.
            if let Some(row) = self.heads(number, number + 1).await?.pop() {
                return Ok(row);
            }
            if Instant::now() > deadline {
                let what = format!("commit {number} is there, but not on a majority of its servers");
                return Err(StoreError::Unavailable(what));
            }
            sleep(AGAIN).await;
        }
    }
}

fn missing(number: u64) -> StoreError {
    StoreError::Damaged(format!("commit {number} is missing; restore the log from a backup"))
}

/// See [`RethinkdbStore::read_rows`].
async fn read_rows<T>(pool: &Arc<Pool>, query: Command) -> Result<Vec<T>, StoreError>
where
    T: DeserializeOwned + Unpin + Send + 'static,
{
    run(pool, Urgency::Ordinary, query, Options::new().read_mode(ReadMode::Majority)).await
}

/// Runs a write that may be done twice without harm.
async fn write(pool: &Arc<Pool>, query: Command) -> Result<WriteAnswer, StoreError> {
    write_with(pool, Urgency::Ordinary, query).await
}

async fn write_with(pool: &Arc<Pool>, urgency: Urgency, query: Command) -> Result<WriteAnswer, StoreError> {
    let answers: Vec<WriteAnswer> = run(pool, urgency, query, Options::new()).await?;
    answers.into_iter().next().unwrap_or_default().checked()
}

/// Runs a query, again and again when it fails by the way.
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
        let is_refused = matches!(failure, Failure::Refused(_));
        if is_refused || begun.elapsed() + AGAIN >= pool.patience() {
            if !is_refused {
                pool.give_up();
            }
            return Err(StoreError::Unavailable(failure.to_string()));
        }
        sleep(AGAIN).await;
    }
}

/// What a write did. A key that is there already is no `Err` of the driver: it is counted here.
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
        self.first_error.as_deref().unwrap_or("a write failed without a reason")
    }

    fn checked(self) -> Result<Self, StoreError> {
        if self.errors > 0 && !self.is_duplicate() {
            return Err(StoreError::Unavailable(self.error().to_owned()));
        }
        Ok(self)
    }
}

/// A commit, or a part of it.
trait Numbered {
    /// Its number.
    fn number(&self) -> u64;
    /// About how large it is.
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
        if number >= BEYOND {
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
            let asked =
                self.pool.run::<WriteAnswer>(Urgency::First, insert.clone(), Options::new(), deadline);
            let failure = match asked.await {
                Ok(answers) => {
                    let answer = answers.into_iter().next().unwrap_or_default();
                    if answer.inserted == 1 {
                        break;
                    }
                    if answer.is_duplicate() {
                        match self.taken_by(after.commits, deadline).await {
                            Ok(row) if row.commit_id == commit.id => break, // an earlier try of ours
                            Err(error) if unsettled => {
                                return Err(StoreError::Unsettled(error.to_string()));
                            }
                            Ok(_) | Err(_) => {
                                return Err(StoreError::Conflict { actual: self.follow_head().await? });
                            }
                        }
                    }
                    Failure::Refused(answer.error().to_owned())
                }
                Err(failure) => failure,
            };
            unsettled |= matches!(failure, Failure::Unknown(_));
            let patience = if unsettled { settings.settle_timeout } else { self.pool.patience() };
            let is_refused = matches!(failure, Failure::Refused(_));
            if is_refused || begun.elapsed() + AGAIN > patience {
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
            sleep(AGAIN).await;
        }
        self.learn(self.learn_tip(tip));
        self.feed.appended(after.commits);
        Ok(after)
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError> {
        let mut texts = Vec::new();
        if limit == 0 || after.0 >= BEYOND {
            return Ok(texts);
        }
        let Some(number) = self.commit_of(after.next()).await? else { return Ok(texts) };
        let mut place = (after, number);
        self.scan(number, Recorded::FIELDS, |commit: Recorded| {
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
