//! A store that fails on demand, a clock that is set by hand, and a journal on both.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon::journal::{IdempotencyKey, Journal, Outcome, Runtime, Submission, SubmitError, fold_log};
use kdaemon::store::prelude::*;
use kdaemon::store::{
    Commit, EventQuery, EventText, Head, IdempotencyRecord, Lease, RawPage, RawPosition, RowChange, Snapshot,
    StoreError, Table,
};
use kdaemon::verify::VerifyLog as _;
use kdaemon_control::commands::{Command, MountNode, Policy, UpdateNode};
use kdaemon_events::{Actor, ClusterId, CommitId, Digest, NodeId, NodePlace, Seq};
use kdaemon_testing::MemoryStore;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};
use uuid::Uuid;

/// A clock that is set by hand, and numbers in a row for random ones.
pub struct Clock {
    micros: AtomicI64,
    drawn: AtomicU64,
}

impl Clock {
    pub fn advance(&self, by: TimeDelta) {
        self.micros.fetch_add(by.num_microseconds().unwrap(), Ordering::SeqCst);
    }
}

impl Runtime for Clock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.micros.load(Ordering::SeqCst)).unwrap()
    }
    fn random(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.drawn.fetch_add(1, Ordering::SeqCst)) + 1)
    }
}

/// How the next call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The append fails, however often it is sent, and nothing is written.
    BeforeWriting,
    /// The append fails and nothing is written; sent again it succeeds.
    OnceBeforeWriting,
    /// The append fails, and is written once it was looked for and not found.
    Late,
    /// The append is written, and its answer is lost.
    AfterWriting,
    /// The log is found empty.
    PutBack,
}

/// A memory store that fails on demand and can be held up.
#[derive(Default)]
pub struct Faulty {
    pub inner: MemoryStore,
    appends: Mutex<VecDeque<Fault>>,
    /// The commit that fails however often it is sent.
    rejected: Mutex<Option<CommitId>>,
    /// The append in flight.
    late: Mutex<Option<(Head, Commit)>>,
    /// Number of reads of the head and of commits that will fail.
    pub looks_lost: AtomicU64,
    gate: Arc<Gate<()>>,
    /// `true` if appends wait for others, so that the journal does not append in its callers' threads.
    is_queued: AtomicBool,
    /// How many appends were begun.
    begun: AtomicU64,
    /// Appended so far: for each commit the number of its events and of their bytes.
    pub sizes: Mutex<Vec<(usize, usize)>>,
    /// Read so far: for each page the event after which it began.
    pub reads: Mutex<Vec<Seq>>,
    /// Holds up what reads the log.
    pub read_gate: Arc<Gate<()>>,
}

impl Faulty {
    fn look(&self) -> Result<(), StoreError> {
        let fails =
            self.looks_lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fails.is_ok() { Err(lost()) } else { Ok(()) }
    }

    fn write(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        if *self.rejected.lock().unwrap() == Some(commit.id) {
            return Err(lost());
        }
        let fault = self.appends.lock().unwrap().pop_front();
        match fault {
            None => self.inner.append_inline(expected, commit),
            Some(Fault::BeforeWriting) => {
                *self.rejected.lock().unwrap() = Some(commit.id);
                Err(lost())
            }
            Some(Fault::OnceBeforeWriting) => Err(lost()),
            Some(Fault::Late) => {
                *self.late.lock().unwrap() = Some((*expected, commit));
                Err(lost())
            }
            Some(Fault::PutBack) => Err(StoreError::Conflict { actual: Head::default() }),
            Some(Fault::AfterWriting) => {
                self.inner.append_inline(expected, commit)?;
                Err(lost())
            }
        }
    }

    /// Notes an append.
    fn begin(&self, commit: &Commit) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let bytes = commit.events.iter().map(|event| event.body.size()).sum();
        self.sizes.lock().unwrap().push((commit.events.len(), bytes));
    }

    pub fn fail_next_append(&self, fault: Fault) {
        self.appends.lock().unwrap().push_back(fault);
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("the cable was pulled".to_owned())
}

impl InlineLog for Faulty {
    fn append_inline(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        self.begin(&commit);
        self.write(expected, commit)
    }
}

#[async_trait]
impl EventLog for Faulty {
    fn describe(&self) -> String {
        "faulty".to_owned()
    }
    async fn commit_at(&self, number: u64) -> Result<Option<Head>, StoreError> {
        self.look()?;
        let found = self.inner.commit_at(number).await;
        let late = self.late.lock().unwrap().take();
        if let Some((expected, commit)) = late {
            self.inner.append(&expected, commit).await?;
        }
        found
    }
    async fn head(&self) -> Result<Head, StoreError> {
        self.look()?;
        self.inner.head().await
    }
    async fn append(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        self.begin(&commit);
        drop(self.gate.lock().await);
        self.write(expected, commit)
    }
    fn inline(&self) -> Option<&dyn InlineLog> {
        (!self.is_queued.load(Ordering::SeqCst)).then_some(self)
    }
    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError> {
        self.reads.lock().unwrap().push(after);
        drop(self.read_gate.lock().await);
        self.inner.read(after, limit).await
    }
    async fn query(&self, query: EventQuery) -> Result<Vec<EventText>, StoreError> {
        self.inner.query(query).await
    }
    async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError> {
        self.inner.seq_at(at).await
    }
    async fn prune(&self, ranges: &[(Seq, Seq)], limit: usize) -> Result<usize, StoreError> {
        self.inner.prune(ranges, limit).await
    }
    async fn pruned(&self, first: Seq, last: Seq) -> Result<u64, StoreError> {
        self.inner.pruned(first, last).await
    }
    async fn wait_for_commit(&self, after: &Head, at_most: Duration) -> Result<u64, StoreError> {
        self.inner.wait_for_commit(after, at_most).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl RawLog for Faulty {
    async fn raw_commits(&self, after: RawPosition) -> Result<RawPage, StoreError> {
        self.inner.raw_commits(after).await
    }
    async fn position_before(&self, seq: Seq) -> Result<Option<RawPosition>, StoreError> {
        self.inner.position_before(seq).await
    }
    async fn nodes(&self, places: &[NodePlace]) -> Result<Vec<Option<Digest>>, StoreError> {
        self.inner.nodes(places).await
    }
}

#[async_trait]
impl SnapshotStore for Faulty {
    async fn write_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.inner.write_snapshot(snapshot).await
    }
    async fn snapshot_before(&self, seq: Seq) -> Result<Option<Snapshot>, StoreError> {
        self.inner.snapshot_before(seq).await
    }
    async fn snapshots(&self) -> Result<Vec<Seq>, StoreError> {
        self.inner.snapshots().await
    }
    async fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError> {
        self.inner.drop_snapshot(seq).await
    }
}

#[async_trait]
impl TableStore for Faulty {
    async fn write_rows(&self, reflects: Seq, changes: Vec<RowChange>) -> Result<(), StoreError> {
        self.inner.write_rows(reflects, changes).await
    }
    async fn tables_reflect(&self) -> Result<Seq, StoreError> {
        self.inner.tables_reflect().await
    }
    async fn drop_tables(&self) -> Result<(), StoreError> {
        self.inner.drop_tables().await
    }
    async fn read_table(&self, table: Table) -> Result<Vec<(Uuid, String)>, StoreError> {
        self.inner.read_table(table).await
    }
}

#[async_trait]
impl IdempotencyStore for Faulty {
    async fn idempotency_records(
        &self,
        since: DateTime<Utc>,
        after: Seq,
    ) -> Result<Vec<IdempotencyRecord>, StoreError> {
        self.inner.idempotency_records(since, after).await
    }
    async fn prune_idempotency(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        self.inner.prune_idempotency(before, limit).await
    }
}

#[async_trait]
impl CursorStore for Faulty {
    async fn cursor(&self, name: &str) -> Result<Option<Seq>, StoreError> {
        self.inner.cursor(name).await
    }
    async fn set_cursor(&self, name: &str, seq: Seq) -> Result<(), StoreError> {
        self.inner.set_cursor(name, seq).await
    }
}

#[async_trait]
impl LeaseStore for Faulty {
    async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        self.inner.lease().await
    }
    async fn write_lease(&self, expected_version: u64, lease: Lease) -> Result<bool, StoreError> {
        self.inner.write_lease(expected_version, lease).await
    }
}

/// A command whose answer is not there yet.
pub type Sent = tokio::task::JoinHandle<Result<Outcome, SubmitError>>;

/// A journal on a faulty store.
pub struct Desk {
    pub journal: Journal,
    pub store: Arc<Faulty>,
    pub clock: Arc<Clock>,
}

impl Desk {
    /// With a cluster in it: event 1.
    pub async fn open() -> Self {
        let store = Arc::new(Faulty::default());
        let clock =
            Arc::new(Clock { micros: AtomicI64::new(1_700_000_000_000_000), drawn: AtomicU64::new(0) });
        let journal = start(&store, &clock).await;
        let desk = Self { journal, store, clock };
        desk.submit(Command::CreateCluster(ClusterId(Uuid::nil()))).await.unwrap();
        desk
    }

    /// Two of them: one appends in the threads of its callers, the other in a thread of its own.
    pub async fn inline_and_queued() -> [Self; 2] {
        let desks = [Self::open().await, Self::open().await];
        desks[1].store.is_queued.store(true, Ordering::SeqCst);
        desks
    }

    /// Another journal on the same store.
    pub async fn sibling(&self) -> Self {
        let journal = start(&self.store, &self.clock).await;
        Self { journal, store: Arc::clone(&self.store), clock: Arc::clone(&self.clock) }
    }

    /// As after the daemon was stopped and started.
    pub async fn reopen(&mut self) {
        self.journal.close().await;
        self.journal = start(&self.store, &self.clock).await;
    }

    pub async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        self.journal.submit(Submission::new(command, Actor::Anonymous)).await
    }

    /// Submits without waiting for the answer.
    pub fn send(&self, command: Command) -> Sent {
        self.send_keyed(command, None)
    }

    pub fn send_keyed(&self, command: Command, key: Option<(&str, &str)>) -> Sent {
        let journal = self.journal.clone();
        let submission = keyed(command, key);
        tokio::spawn(async move { journal.submit(submission).await })
    }

    /// Holds up the writer: a first command is being written until the guard is dropped, and what comes after
    /// it waits.
    pub async fn hold(&self, first: Command) -> (OwnedMutexGuard<()>, Sent) {
        self.store.is_queued.store(true, Ordering::SeqCst);
        let gate = Arc::clone(&self.store.gate).lock_owned().await;
        let begun = self.store.begun.load(Ordering::SeqCst);
        let first = self.send(first);
        until("the first is being written", || self.store.begun.load(Ordering::SeqCst) > begun).await;
        (gate, first)
    }

    pub async fn commits(&self) -> u64 {
        self.store.inner.head().await.unwrap().commits
    }

    pub fn has_node(&self, name: &str) -> bool {
        self.journal.cluster().find_node(name).is_some()
    }

    /// The published state is the fold of the log, and the log is whole.
    pub async fn check(&self) {
        let (cluster, head) = fold_log(&self.store.inner).await.unwrap();
        assert!(cluster == *self.journal.cluster(), "the published state is not the fold of the log");
        assert_eq!(self.store.verify().await.unwrap(), head);
        assert_eq!(cluster.seq(), head.seq);
    }
}

async fn start(store: &Arc<Faulty>, clock: &Arc<Clock>) -> Journal {
    let (store, clock) = (Arc::clone(store), Arc::clone(clock));
    Journal::open(store, clock, Arc::new(Policy::default())).await.unwrap()
}

/// A command whose answer is kept under a key for a request.
pub fn keyed(command: Command, key: Option<(&str, &str)>) -> Submission {
    let idempotency = key.map(|(key, fingerprint)| IdempotencyKey {
        key: key.to_owned(),
        fingerprint: fingerprint.to_owned(),
    });
    Submission { idempotency, ..Submission::new(command, Actor::Anonymous) }
}

pub fn mount(name: &str) -> Command {
    Command::MountNode(MountNode {
        availability: kdaemon_events::node::Availability::Active,
        name: Some(name.to_owned()),
        user_id: None,
        endpoint: format!("tcp://{name}:2375").parse().unwrap(),
        labels: BTreeMap::new(),
        capacity: None,
    })
}

/// An update of `bytes` bytes.
pub fn label(node_id: NodeId, mark: &str, bytes: usize) -> Command {
    Command::UpdateNode(UpdateNode {
        node_id,
        name: None,
        user_id: None,
        endpoint: None,
        labels: Some([(mark.to_owned(), "x".repeat(bytes))].into()),
        capacity: None,
        availability: None,
    })
}

/// Waits for a condition, and lets others work meanwhile.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        tokio::task::yield_now().await;
    }
}
