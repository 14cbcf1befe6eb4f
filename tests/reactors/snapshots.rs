//! Snapshots taken while the daemon works.

use crate::reactors::harness::{World, forever};
use kdaemon::journal::{fold_log, fold_whole_log};
use kdaemon::store::prelude::*;

#[tokio::test(start_paused = true)]
async fn restart_resumes_from_the_last_snapshot() {
    let mut world = World::with_nodes(3).await;
    world.settings.snapshot_interval = 40;
    world.crash_and_restart().await;
    world.application("web", forever(), Some(12)).await;
    world.until("all are UP", |c| c.applications().all(|a| a.serving == 12)).await;
    world.until("some time passes", |c| c.seq().0 > 400).await;
    let kept = world.store.snapshots().await.unwrap();
    assert!(kept.len() >= 5, "{kept:?}");
    assert!(kept.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 40), "{kept:?}");
    world.crash_and_restart().await;
    let (folded, _) = fold_log(world.store.as_ref()).await.unwrap();
    let (whole, _) = fold_whole_log(world.store.as_ref()).await.unwrap();
    assert_eq!(world.store.snapshots().await.unwrap(), [], "none is due on so short a way");
    assert!(folded == whole && folded.seq() > *kept.last().unwrap());
    world.until("new events follow", |c| c.seq().0 > folded.seq().0 + 100).await;
}
