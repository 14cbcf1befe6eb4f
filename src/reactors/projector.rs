//! The projector keeps the tables `nodes`, `applications` and `containers` in the store up to date with the
//! log. They are for people and tools that look into the store; the daemon itself never reads them.

use super::{PACE, ReactorContext};
use crate::journal::{Lagged, fold_whole_log};
use crate::rows;
use crate::says::Names;
use crate::store::{RowChange, Store, StoreError, Table, TableStore};
use kdaemon_events::{ApplicationId, ContainerId, NodeId, Seq};
use kdaemon_projections::{Cluster, Touched};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// How long changes are collected before they are written.
const GATHER: Duration = Duration::from_millis(250);
/// The pause after a write, as a multiple of its duration: the log has priority.
const REST: u32 = 9;
/// The pause after the store refused a write.
const AGAIN: Duration = Duration::from_secs(2);
/// How many rows one transaction writes.
const BATCH: usize = 5_000;

pub(super) async fn run(context: ReactorContext) {
    let store = Arc::clone(context.journal.store());
    let rebuilds = context.settings.rebuilds.clone();
    'anew: loop {
        let mut subscription = context.journal.subscribe();
        if let Err(error) = bring_up_to_date(store.as_ref(), &subscription.cluster).await {
            tracing::warn!(%error, "cannot write the tables yet");
            tokio::select! {
                biased;
                () = context.cancel.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => continue 'anew,
            }
        }
        let mut touched = Touched::default();
        let mut write_at: Option<tokio::time::Instant> = None;
        let mut rest = GATHER;
        loop {
            let due = write_at.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_secs(3_600));
            tokio::select! {
                // A due write has priority over new commits, or a busy log would keep the tables from being
                // written.
                biased;
                () = tokio::time::sleep_until(due), if write_at.is_some() => {
                    write_at = None;
                    let cluster = &subscription.cluster;
                    let changes = changes(cluster, &std::mem::take(&mut touched));
                    let began = tokio::time::Instant::now();
                    if store.write_rows(cluster.seq(), changes).await.is_err() {
                        continue 'anew;
                    }
                    rest = GATHER.max(began.elapsed() * REST);
                }
                reply = rebuilds.next() => {
                    let rebuilt = rebuild(store.as_ref()).await;
                    let _ = reply.send(rebuilt); // the caller is gone; the rebuild is done
                    continue 'anew;
                }
                () = context.cancel.cancelled() => {
                    let cluster = context.journal.cluster();
                    if let Err(error) = bring_up_to_date(store.as_ref(), &cluster).await {
                        tracing::warn!(%error, "cannot write the tables; the next start will");
                    }
                    return;
                }
                next = subscription.next() => match next {
                    Ok(Some(committed)) => {
                        touched.merge(&committed.touched);
                        if subscription.waiting() == 0 {
                            tokio::time::sleep(PACE).await;
                        }
                        if touched != Touched::default() {
                            write_at.get_or_insert_with(|| tokio::time::Instant::now() + rest);
                        }
                    }
                    Ok(None) => return,
                    Err(Lagged) => continue 'anew,
                },
            }
        }
    }
}

/// Writes every row that changed since the tables were written last.
///
/// # Errors
/// When the store fails; what was written stands.
pub async fn bring_up_to_date(store: &dyn TableStore, cluster: &Cluster) -> Result<(), StoreError> {
    let reflected = store.tables_reflect().await?;
    if reflected == cluster.seq() {
        return Ok(());
    }
    let mut touched = Touched::default();
    touched.nodes.extend(cluster.nodes().filter(|row| row.seq > reflected).map(|row| row.id));
    touched.applications.extend(cluster.applications().filter(|row| row.seq > reflected).map(|row| row.id));
    touched.containers.extend(cluster.containers().filter(|row| row.seq > reflected).map(|row| row.id));
    // Rows of items deleted meanwhile.
    let ids = |rows: Vec<(Uuid, String)>| rows.into_iter().map(|(id, _)| id);
    let gone = ids(store.read_table(Table::Nodes).await?).map(NodeId);
    touched.nodes.extend(gone.filter(|id| cluster.node(*id).is_none()));
    let gone = ids(store.read_table(Table::Applications).await?).map(ApplicationId);
    touched.applications.extend(gone.filter(|id| cluster.application(*id).is_none()));
    let gone = ids(store.read_table(Table::Containers).await?).map(ContainerId);
    touched.containers.extend(gone.filter(|id| cluster.container(*id).is_none()));

    let changes = changes(cluster, &touched);
    let batches = changes.len().div_ceil(BATCH).max(1);
    let mut rest = changes.into_iter();
    for batch in 1..=batches {
        let rows: Vec<_> = rest.by_ref().take(BATCH).collect();
        // Only with the last batch do the tables reflect this state.
        let reflects = if batch == batches { cluster.seq() } else { reflected };
        store.write_rows(reflects, rows).await?;
    }
    Ok(())
}

/// The result of a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Number of rows.
    pub rows: usize,
    /// The last folded event.
    pub events: u64,
}

impl Rebuilt {
    /// The last folded event.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.events)
    }
}

/// Drops the tables and the snapshots, and folds the log again.
///
/// # Errors
/// When the store fails or the log cannot be folded.
pub async fn rebuild(store: &dyn Store) -> Result<Rebuilt, StoreError> {
    let (cluster, head) = fold_whole_log(store).await?;
    store.drop_tables().await?;
    bring_up_to_date(store, &cluster).await?;
    let rows = cluster.nodes().len() + cluster.applications().len() + cluster.containers().len();
    Ok(Rebuilt { rows, events: head.seq.0 })
}

type Reply = oneshot::Sender<Result<Rebuilt, StoreError>>;

/// Requests to rebuild the tables, served by the projector, the only writer of the tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rebuilds {
    asked: mpsc::Sender<Reply>,
    waiting: Arc<tokio::sync::Mutex<mpsc::Receiver<Reply>>>,
}

impl Default for Rebuilds {
    fn default() -> Self {
        let (asked, waiting) = mpsc::channel(1);
        Self { asked, waiting: Arc::new(tokio::sync::Mutex::new(waiting)) }
    }
}

impl Rebuilds {
    /// Requests a rebuild and waits until it is done. On a daemon that does not lead it never is.
    ///
    /// # Errors
    /// When the store fails or the log cannot be folded.
    pub async fn ask(&self) -> Result<Rebuilt, StoreError> {
        let (reply, done) = oneshot::channel();
        let stopped = || StoreError::Unavailable("the daemon is stopping".to_owned());
        self.asked.send(reply).await.map_err(|_| stopped())?;
        done.await.map_err(|_| stopped())?
    }

    /// The next request whose caller still waits.
    async fn next(&self) -> Reply {
        let mut waiting = self.waiting.lock().await;
        loop {
            match waiting.recv().await {
                Some(reply) if reply.is_closed() => {}
                Some(reply) => return reply,
                None => std::future::pending().await, // never: this holds a sender
            }
        }
    }
}

fn changes(cluster: &Cluster, touched: &Touched) -> Vec<RowChange> {
    // A row is written when its own subject changes, so its text must not depend on the names of others.
    let names = Names::ids();
    let json = |row: Option<String>, table, id| RowChange { table, id, json: row };
    let nodes: BTreeSet<_> = touched.nodes.iter().copied().collect();
    let nodes = nodes
        .into_iter()
        .map(|id| json(cluster.node(id).and_then(|node| text(&rows::node(names, node))), Table::Nodes, id.0));
    let applications = touched.applications.iter().map(|id| {
        let row = cluster.application(*id).and_then(|a| text(&rows::application(names, cluster, a)));
        json(row, Table::Applications, id.0)
    });
    let containers = touched.containers.iter().map(|id| {
        let row = cluster.container(*id).and_then(|c| text(&rows::container(names, cluster, c)));
        json(row, Table::Containers, id.0)
    });
    nodes.chain(applications).chain(containers).collect()
}

fn text(row: &impl Serialize) -> Option<String> {
    serde_json::to_string(row).ok()
}
