//! The store of all daemons: in memory, checked after every commit; and each daemon's connection to it, which
//! fails before and after writing, is slow, or is away.

use crate::fence::Fence;
use crate::invariants::Checker;
use crate::seed::Rng;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kdaemon::leadership::Leadership;
use kdaemon::store::prelude::*;
use kdaemon::store::{
    Commit, EventQuery, EventText, Head, IdempotencyRecord, Lease, RawPage, RawPosition, RowChange, Snapshot,
    StoreError, Table,
};
use kdaemon_events::{Digest, NodePlace, Seq};
use kdaemon_testing::MemoryStore;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use uuid::Uuid;

/// The state of a daemon's connection to the store.
#[derive(Debug, Clone)]
pub struct Way {
    /// Of 1,000 calls, how many fail without any effect.
    pub fails_before: u64,
    /// Of 1,000 calls, how many are carried out but lose their answer.
    pub fails_after: u64,
    /// Of 1,000 appends, how many fail and are carried out a while later.
    pub late: u64,
    pub takes_ms: RangeInclusive<u64>,
}

impl Default for Way {
    fn default() -> Self {
        Self { fails_before: 0, fails_after: 0, late: 0, takes_ms: 0..=3 }
    }
}

/// The part that all daemons share.
pub struct Shared {
    pub memory: MemoryStore,
    checker: Mutex<Checker>,
    /// In what each daemon believed last, by its name.
    leaderships: Mutex<BTreeMap<String, Leadership>>,
}

impl Shared {
    pub fn new(checker: Checker) -> Self {
        Self { memory: MemoryStore::new(), checker: Mutex::new(checker), leaderships: Mutex::default() }
    }

    /// A daemon begins to lead.
    pub fn leads(&self, daemon: &str, leadership: &Leadership) {
        self.leaderships.lock().unwrap().insert(daemon.to_owned(), leadership.clone());
    }

    /// A daemon begins something that only the holder of the lease may begin.
    pub async fn has_lease(&self, daemon: &str, what: &str) {
        let lease = self.memory.lease().await.ok().flatten();
        let holder = lease.as_ref().filter(|lease| !lease.holder.is_nil()).map(|lease| lease.name.as_str());
        // A released lease has no holder until another daemon takes it.
        if holder.is_some_and(|holder| holder != daemon) {
            self.checker().find(format!("{daemon} begins {what}, but {holder:?} has the lease"));
        }
    }

    /// Writes the lease of a daemon. The previous holder must know that its lease is over.
    async fn write_lease(&self, expected_version: u64, lease: Lease) -> Result<bool, StoreError> {
        let before = self.memory.lease().await?;
        let (holder, name) = (lease.holder, lease.name.clone());
        let is_written = self.memory.write_lease(expected_version, lease).await?;
        if let Some(before) = before.filter(|before| is_written && before.holder != holder) {
            let believes = self.leaderships.lock().unwrap().get(&before.name).is_some_and(Leadership::holds);
            if believes && name != before.name {
                self.checker()
                    .find(format!("{name} takes the lease, and {} believes to have it", before.name));
            }
        }
        Ok(is_written)
    }

    /// Writes a daemon's commit and checks it. Also returns the commit's number.
    fn write(&self, daemon: &str, expected: &Head, commit: Commit) -> Result<(Head, usize), StoreError> {
        let texts: Vec<String> =
            commit.events.iter().filter_map(|event| event.body.json()).map(ToOwned::to_owned).collect();
        let head = self.memory.append_inline(expected, commit)?;
        Ok((head, self.checker().committed(daemon, &texts)))
    }

    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap()
    }
}

/// The store as one daemon reaches it.
pub struct Reached {
    pub shared: Arc<Shared>,
    pub fence: Arc<Fence>,
    pub way: Arc<Mutex<Way>>,
    pub rng: Mutex<Rng>,
    /// `true` if appends take no time and run in their callers, as on a disk.
    pub is_inline: bool,
    /// Name of the daemon.
    pub daemon: String,
}

fn lost() -> StoreError {
    StoreError::Unavailable("the cable was pulled".to_owned())
}

impl InlineLog for Reached {
    fn append_inline(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        if self.fence.step_inline() {
            return Err(lost());
        }
        let commit = self.unless_late(expected, commit).ok_or_else(lost)?;
        let (before, after) = {
            let (way, mut rng) = (self.way.lock().unwrap(), self.rng.lock().unwrap());
            (rng.chance(way.fails_before), rng.chance(way.fails_after))
        };
        if before {
            return Err(lost());
        }
        let (head, number) = self.shared.write(&self.daemon, expected, commit)?;
        if self.fence.step_inline() || after {
            return Err(lost());
        }
        self.shared.checker().confirmed(number);
        Ok(head)
    }
}

impl Reached {
    /// The commit, unless it will be written late.
    fn unless_late(&self, expected: &Head, commit: Commit) -> Option<Commit> {
        let late = {
            let (way, mut rng) = (self.way.lock().unwrap(), self.rng.lock().unwrap());
            rng.chance(way.late).then(|| Duration::from_millis(rng.within(1..=20_000)))
        };
        let Some(late) = late else { return Some(commit) };
        let (shared, daemon, expected) = (Arc::clone(&self.shared), self.daemon.clone(), *expected);
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            let _ = shared.write(&daemon, &expected, commit); // the answer is lost
        });
        None
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.fence
            .pass(async {
                let (pause, before, after) = {
                    let (way, mut rng) = (self.way.lock().unwrap(), self.rng.lock().unwrap());
                    let pause = Duration::from_millis(rng.within(way.takes_ms.clone()));
                    (pause, rng.chance(way.fails_before), rng.chance(way.fails_after))
                };
                if !pause.is_zero() {
                    tokio::time::sleep(pause / 2).await;
                }
                if before {
                    return Err(lost());
                }
                let answer = call.await;
                if !pause.is_zero() {
                    tokio::time::sleep(pause - pause / 2).await;
                }
                if after { Err(lost()) } else { answer }
            })
            .await
    }
}

#[async_trait]
impl EventLog for Reached {
    fn describe(&self) -> String {
        format!("simulated, reached by {}", self.daemon)
    }
    async fn commit_at(&self, number: u64) -> Result<Option<Head>, StoreError> {
        self.call(self.shared.memory.commit_at(number)).await
    }
    async fn head(&self) -> Result<Head, StoreError> {
        self.call(self.shared.memory.head()).await
    }
    async fn append(&self, expected: &Head, commit: Commit) -> Result<Head, StoreError> {
        let Some(commit) = self.unless_late(expected, commit) else {
            return self.call(async { Err(lost()) }).await;
        };
        let written = Mutex::new(None);
        // Should the daemon die before it sees the answer, its caller never gets one: so the commit is
        // recorded first.
        let result = self
            .call(async {
                let (head, number) = self.shared.write(&self.daemon, expected, commit)?;
                *written.lock().unwrap() = Some(number);
                Ok(head)
            })
            .await;
        if let (Ok(_), Some(number)) = (&result, *written.lock().unwrap()) {
            self.shared.checker().confirmed(number);
        }
        result
    }
    fn inline(&self) -> Option<&dyn InlineLog> {
        (self.is_inline && !self.fence.is_dead()).then_some(self)
    }
    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<EventText>, StoreError> {
        self.call(self.shared.memory.read(after, limit)).await
    }
    async fn query(&self, query: EventQuery) -> Result<Vec<EventText>, StoreError> {
        self.call(self.shared.memory.query(query)).await
    }
    async fn seq_at(&self, at: DateTime<Utc>) -> Result<Seq, StoreError> {
        self.call(self.shared.memory.seq_at(at)).await
    }
    async fn prune(&self, ranges: &[(Seq, Seq)], limit: usize) -> Result<usize, StoreError> {
        self.call(self.shared.memory.prune(ranges, limit)).await
    }
    async fn pruned(&self, first: Seq, last: Seq) -> Result<u64, StoreError> {
        self.call(self.shared.memory.pruned(first, last)).await
    }
    async fn wait_for_commit(&self, after: &Head, at_most: Duration) -> Result<u64, StoreError> {
        self.call(self.shared.memory.wait_for_commit(after, at_most)).await
    }
    async fn close(&self) {}
}

#[async_trait]
impl RawLog for Reached {
    async fn raw_commits(&self, after: RawPosition) -> Result<RawPage, StoreError> {
        self.call(self.shared.memory.raw_commits(after)).await
    }
    async fn position_before(&self, seq: Seq) -> Result<Option<RawPosition>, StoreError> {
        self.call(self.shared.memory.position_before(seq)).await
    }
    async fn nodes(&self, places: &[NodePlace]) -> Result<Vec<Option<Digest>>, StoreError> {
        self.call(self.shared.memory.nodes(places)).await
    }
}

#[async_trait]
impl SnapshotStore for Reached {
    async fn write_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.call(self.shared.memory.write_snapshot(snapshot)).await
    }
    async fn snapshot_before(&self, seq: Seq) -> Result<Option<Snapshot>, StoreError> {
        self.call(self.shared.memory.snapshot_before(seq)).await
    }
    async fn snapshots(&self) -> Result<Vec<Seq>, StoreError> {
        self.call(self.shared.memory.snapshots()).await
    }
    async fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError> {
        self.call(self.shared.memory.drop_snapshot(seq)).await
    }
}

#[async_trait]
impl TableStore for Reached {
    async fn write_rows(&self, reflects: Seq, changes: Vec<RowChange>) -> Result<(), StoreError> {
        self.call(async {
            self.shared.memory.write_rows(reflects, changes).await?;
            if self.shared.memory.tables_reflect().await? == reflects {
                let mut tables = Vec::new();
                for table in Table::ALL {
                    tables.push(self.shared.memory.read_table(table).await?);
                }
                self.shared.checker().tables_written(&self.daemon, reflects, &tables);
            }
            Ok(())
        })
        .await
    }
    async fn tables_reflect(&self) -> Result<Seq, StoreError> {
        self.call(self.shared.memory.tables_reflect()).await
    }
    async fn drop_tables(&self) -> Result<(), StoreError> {
        self.call(self.shared.memory.drop_tables()).await
    }
    async fn read_table(&self, table: Table) -> Result<Vec<(Uuid, String)>, StoreError> {
        self.call(self.shared.memory.read_table(table)).await
    }
}

#[async_trait]
impl IdempotencyStore for Reached {
    async fn idempotency_records(
        &self,
        since: DateTime<Utc>,
        after: Seq,
    ) -> Result<Vec<IdempotencyRecord>, StoreError> {
        self.call(self.shared.memory.idempotency_records(since, after)).await
    }
    async fn prune_idempotency(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        self.call(self.shared.memory.prune_idempotency(before, limit)).await
    }
}

#[async_trait]
impl CursorStore for Reached {
    async fn cursor(&self, name: &str) -> Result<Option<Seq>, StoreError> {
        self.call(self.shared.memory.cursor(name)).await
    }
    async fn set_cursor(&self, name: &str, seq: Seq) -> Result<(), StoreError> {
        self.call(self.shared.memory.set_cursor(name, seq)).await
    }
}

#[async_trait]
impl LeaseStore for Reached {
    async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        self.call(self.shared.memory.lease()).await
    }
    async fn write_lease(&self, expected_version: u64, lease: Lease) -> Result<bool, StoreError> {
        self.call(self.shared.write_lease(expected_version, lease)).await
    }
}
