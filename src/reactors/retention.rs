//! Retention: prunes raw observations of nodes after a while, and expired idempotency records, which are not
//! part of the log. Everything else is kept permanently.
//!
//! Pruning is recorded before observations are removed: a daemon that is killed in between finds them again,
//! then records and removes them. An observation with a new description of an engine is a fact, and stays.

use super::ReactorContext;
use crate::journal::IDEMPOTENCY_RETENTION;
use crate::store::{EventQuery, EventText, StoreError};
use chrono::TimeDelta;
use kdaemon_control::commands::{Command, Prune};
use kdaemon_events::{Envelope, Event, Kind, NodeId, Seq};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::sleep;

/// Observations recorded as pruned at a time: enough that the aggregates recorded per node are small in
/// comparison.
const BATCH: usize = 10_000;
/// Observations or records removed in one transaction, which delays the log for some milliseconds.
const STEP: usize = 250;
/// The pause between two such transactions.
const PAUSE: Duration = Duration::from_millis(20);

/// Prunes periodically everything older than `retention`.
pub(super) async fn run(context: ReactorContext, retention: Duration) {
    let period = (retention / 10).clamp(Duration::from_secs(1), Duration::from_secs(3_600));
    loop {
        if let Err(error) = sweep(&context, retention).await {
            tracing::warn!(%error, "cannot prune old observations yet");
        }
        if let Err(error) = prune_idempotency(&context).await {
            tracing::warn!(%error, "cannot remove expired idempotency records yet");
        }
        sleep(period).await;
    }
}

async fn sweep(context: &ReactorContext, retention: Duration) -> Result<(), StoreError> {
    let store = context.journal.store();
    let age = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
    let Some(until) = context.journal.now().checked_sub_signed(age) else { return Ok(()) };
    let mut after = Seq(0);
    loop {
        let query = EventQuery {
            after,
            limit: BATCH,
            kinds: vec![Kind::NodeObserved],
            until: Some(until),
            ..EventQuery::default()
        };
        let page = store.query(query).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        let is_last = page.len() < BATCH;
        let old = old_observations(&page);
        if !old.ranges.is_empty() {
            let ranges = old.ranges.clone();
            if context.report(Command::PruneObservations(old), None).await.is_none() {
                return Ok(());
            }
            while store.prune(&ranges, STEP).await? > 0 {
                sleep(PAUSE).await;
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Removes expired idempotency records.
async fn prune_idempotency(context: &ReactorContext) -> Result<(), StoreError> {
    while context
        .journal
        .store()
        .prune_idempotency(context.journal.now() - IDEMPOTENCY_RETENTION, STEP)
        .await?
        > 0
    {
        sleep(PAUSE).await;
    }
    Ok(())
}

/// The observations that may be pruned, as ranges.
fn old_observations(page: &[EventText]) -> Prune {
    let mut ranges: Vec<(Seq, Seq)> = Vec::new();
    let mut nodes = BTreeSet::new();
    for text in page {
        let Some(node) = bare(&text.json) else { continue };
        nodes.insert(node);
        match ranges.last_mut() {
            Some((_, last)) if last.next() == text.seq => *last = text.seq,
            _ => ranges.push((text.seq, text.seq)),
        }
    }
    Prune { ranges, nodes }
}

/// The node of an observation without a description of its engine.
fn bare(json: &str) -> Option<NodeId> {
    match Envelope::decode(json).ok()?.event {
        Event::NodeObserved(observed) if observed.engine.is_none() => Some(observed.node_id),
        _ => None,
    }
}
