//! The snapshotter: takes snapshots at intervals, concurrently with the journal.

use super::ReactorContext;
use crate::journal::Keeper;
use kdaemon_events::Seq;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The pause after a snapshot, as a multiple of its duration: snapshots are fewer in a storm of events.
const REST: u32 = 32;
/// The pause after the store could not be read.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn run(context: ReactorContext) {
    let mut states = context.journal.watch();
    let store = Arc::clone(context.journal.store());
    let mut keeper = loop {
        match Keeper::new(store.as_ref(), Seq(u64::MAX), context.settings.snapshot_interval).await {
            Ok(keeper) => break keeper,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    loop {
        let due = keeper.due();
        let Ok(cluster) =
            states.wait_for(|cluster| cluster.seq() >= due).await.map(|state| Arc::clone(&state))
        else {
            return;
        };
        let began = Instant::now();
        keeper.look(store.as_ref(), &cluster).await;
        tokio::time::sleep(began.elapsed() * REST).await;
    }
}
