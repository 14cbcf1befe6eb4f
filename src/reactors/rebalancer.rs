//! The rebalancer: it has containers moved off nodes that are unhealthy or drained, evens the counts of
//! containers, and rolls out changes of applications.

use super::{PACE, ReactorContext};
use kdaemon_control::commands::{Command, due_about, outdated_applications};
use kdaemon_events::{NodeId, Seq};
use kdaemon_projections::Cluster;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long after a vain try the same is tried again …
const AGAIN: Duration = Duration::from_millis(500);
/// … and at most, for the pause doubles; a node that comes into service ends it.
const AGAIN_MAX: Duration = Duration::from_secs(4);
/// What is not urgent and takes a look at everything there is (are the counts even, is an application outdated)
/// is done so often at most: in a large cluster the state changes hundreds of times in a second.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest pause between two vain tries to even the same counts.
const VAIN_PAUSE_MAX: Duration = Duration::from_secs(10);
/// The state is looked at so often even when nothing seems to happen.
const PERIOD: Duration = Duration::from_secs(5);

pub(super) async fn run(context: ReactorContext) {
    let mut states = context.journal.watch();
    // Until when, and how often in vain.
    let mut pauses: BTreeMap<NodeId, (Instant, u32)> = BTreeMap::new();
    let mut in_service = 0;
    let mut balance = Balance::default();
    // When all applications and all nodes are looked at the next time, and up to where that was done.
    let (mut look_at, mut looked_at) = (Instant::now(), Seq(0));
    let mut even_at: Option<Instant> = None;
    loop {
        let cluster = Arc::clone(&states.borrow_and_update());
        let now = Instant::now();
        let mut wake = now + PERIOD;
        let before = std::mem::replace(&mut in_service, cluster.eligible().len());
        if before < in_service {
            pauses.clear();
        }
        pauses.retain(|id, _| cluster.node(*id).is_some_and(|node| due_about(&cluster, node).is_some()));

        for node in cluster.unsettled_nodes() {
            let Some(command) = due_about(&cluster, node) else { continue };
            let (until, vain) = pauses.get(&node.id).copied().unwrap_or((now, 0));
            if until > now {
                wake = wake.min(until);
                continue;
            }
            let cause = node.unhealthy_seq;
            let moved =
                context.report(command, cause).await.is_some_and(|outcome| !outcome.events.is_empty());
            if moved {
                pauses.remove(&node.id);
            } else {
                let until = now + AGAIN.saturating_mul(1 << vain.min(10)).min(AGAIN_MAX);
                pauses.insert(node.id, (until, vain + 1));
                wake = wake.min(until);
            }
        }
        if now >= look_at {
            look_at = now + LOOK_EVERY;
            looked_at = cluster.seq();
            even_at = None;
            for application in outdated_applications(&cluster) {
                context.report(Command::RollApplication(application), None).await;
            }
            if context.settings.rebalance
                && let Some(at) = balance.consider(&cluster, now, context.settings.rebalance_after)
            {
                if at <= now {
                    let moved = context.report(Command::Rebalance, None).await;
                    balance.tried(now, moved.is_some_and(|outcome| !outcome.events.is_empty()));
                }
                even_at = Some(at.max(now + AGAIN));
            }
        }
        if looked_at < cluster.seq() {
            wake = wake.min(look_at);
        }
        wake = even_at.map_or(wake, |at| wake.min(at));

        tokio::select! {
            biased;
            changed = states.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(PACE).await;
            }
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

/// Remembers since when the counts are as they are, so that only lasting unevenness is acted on.
#[derive(Default)]
struct Balance {
    counts: Vec<(NodeId, u32, bool)>,
    since: Option<Instant>,
    tried: Option<Instant>,
    /// How often evening changed nothing since the counts are as they are.
    in_vain: u32,
}

impl Balance {
    /// When the counts are to be evened, if they are uneven.
    fn consider(&mut self, cluster: &Cluster, now: Instant, after: Duration) -> Option<Instant> {
        let counts: Vec<_> =
            cluster.nodes().map(|node| (node.id, node.container_count(), node.is_eligible())).collect();
        if counts != self.counts {
            *self = Self { counts, since: Some(now), ..Self::default() };
        }
        let eligible = self.counts.iter().filter(|(_, _, eligible)| *eligible).map(|(_, count, _)| *count);
        let (least, most) = (eligible.clone().min()?, eligible.max()?);
        if most - least <= 1 || cluster.paused().is_some() {
            return None;
        }
        let since = self.since.unwrap_or(now) + after;
        // Uneven, and it could not be helped (constraints, strategies, moves under way): a plan takes a look at
        // everything, so the same is asked less and less often.
        let pause = after.saturating_mul(1 << self.in_vain.min(10)).min(VAIN_PAUSE_MAX).max(after);
        Some(self.tried.map_or(since, |tried| since.max(tried + pause)))
    }

    fn tried(&mut self, now: Instant, moved: bool) {
        self.tried = Some(now);
        self.in_vain = if moved { 0 } else { self.in_vain.saturating_add(1) };
    }
}
