//! Removes the networks that launches created on engines, once nothing needs them: engines have room for about
//! thirty.
//!
//! The networks of an engine are listed in each round and not recorded, and a removal has no effect on the state: so the
//! next round makes up for one that was lost with its daemon.

use super::ReactorContext;
use crate::journal::Lagged;
use futures_util::StreamExt as _;
use futures_util::stream;
use kdaemon_control::networks::{named_networks, unused_networks};
use kdaemon_events::NodeId;
use kdaemon_projections::Health;
use std::time::Duration;
use tokio::time::Instant;

/// Delay between the last mention of a network and its removal: an application may be replaced by another one
/// that names the same network.
const DELAY: Duration = Duration::from_secs(2);
/// Interval of the rounds while a network that no application names is still in use.
const RETRY: Duration = Duration::from_secs(15);
/// Interval of the rounds without a change, for nodes that were DOWN.
const PERIOD: Duration = Duration::from_secs(300);
/// Engines that are asked at a time.
const AT_ONCE: usize = 16;

/// Makes a round after each change that leaves a network without an application.
pub(super) async fn run(context: ReactorContext) {
    loop {
        let mut subscription = context.journal.subscribe();
        let mut named = named_networks(&subscription.cluster);
        let mut next = Instant::now() + DELAY;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next) => {
                    let is_done = round(&context).await;
                    next = Instant::now() + if is_done { PERIOD } else { RETRY };
                }
                committed = subscription.next() => match committed {
                    Ok(Some(committed)) if committed.touched.applications.is_empty() => {}
                    Ok(Some(committed)) => {
                        let after = named_networks(&committed.cluster);
                        if !named.is_subset(&after) {
                            next = next.min(Instant::now() + DELAY);
                        }
                        named = after;
                    }
                    Ok(None) => return,
                    Err(Lagged) => break,
                },
            }
        }
    }
}

/// Removes unused networks from all healthy nodes. Returns whether none is left.
async fn round(context: &ReactorContext) -> bool {
    let cluster = context.journal.cluster();
    let up = cluster.nodes().filter(|node| node.health == Health::Up).map(|node| node.id);
    let rounds = stream::iter(up.collect::<Vec<_>>()).map(|node| tidy(context, node));
    rounds.buffered(AT_ONCE).fold(true, async |all, done| all && done).await
}

/// Removes unused networks from a node. Returns whether none is left.
async fn tidy(context: &ReactorContext, node: NodeId) -> bool {
    let cluster = context.journal.cluster();
    let Some((engine, cluster_id)) = context.engine_of(&cluster, node).zip(cluster.id()) else { return true };
    let listed = match engine.networks(cluster_id).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::debug!(%node, %error, "cannot list the networks of a node");
            return true; // the next round
        }
    };
    // The present state knows the application of each network that was listed.
    let cluster = context.journal.cluster();
    let named = named_networks(&cluster);
    let mut left = listed.iter().filter(|network| !named.contains(*network)).count();
    for network in unused_networks(&cluster, node, &listed) {
        if context.engine_of(&cluster, node).is_none() {
            return true; // another daemon leads
        }
        match engine.remove_network(cluster_id, network).await {
            Ok(true) => {
                left -= 1;
                tracing::info!(%node, network, "network removed: no application names it");
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%node, network, %error, "network not removed, retrying"),
        }
    }
    left == 0
}
