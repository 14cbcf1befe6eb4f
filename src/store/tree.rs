//! The Merkle tree of a stored log: reads the hashes of leaves and subtrees from a store.
//!
//! A store keeps the roots of complete subtrees of [`NODE_LEAVES`] leaves or more, and no leaves: smaller subtrees are
//! hashed from the events on demand. The tree takes about a quarter of a byte per event.

use super::{Head, RawLog, RawPosition, StoreError, Tip};
use kdaemon_events::{CommitId, Digest, Frontier, NODE_LEAVES, Seq, peaks_of};

/// The hashes of the leaves after `after` up to `until`.
///
/// # Errors
/// When the store cannot be read, or one of the events is missing or unreadable.
pub(crate) async fn leaves(log: &dyn RawLog, after: Seq, until: Seq) -> Result<Vec<Digest>, StoreError> {
    let mut leaves = Vec::new();
    if after >= until {
        return Ok(leaves);
    }
    let wanted = usize::try_from(until.0 - after.0).unwrap_or(usize::MAX);
    let number = |seq: Seq| i64::try_from(seq.0).unwrap_or(i64::MAX);
    let mut position = log.position_before(after.next()).await?;
    while let Some(from) = position.take().filter(|_| leaves.len() < wanted) {
        let page = log.raw_commits(from).await?;
        for commit in &page.commits {
            let unnamed = |_| StoreError::Damaged(format!("commit {} has an invalid id", commit.number));
            let id = commit.id.parse().map(CommitId).map_err(unnamed)?;
            let between = |seq: i64| number(after) < seq && seq <= number(until);
            for event in commit.events.iter().filter(|event| between(event.seq)) {
                leaves.push(event.leaf(id).map_err(StoreError::Damaged)?);
            }
        }
        let last = page.commits.last().filter(|_| !page.is_last);
        position = last.map(|last| RawPosition { number: last.number, seq: last.last_seq });
    }
    match leaves.len() == wanted {
        true => Ok(leaves),
        false => {
            Err(StoreError::Damaged(format!("some of the events {} to {until} are missing", after.next())))
        }
    }
}

/// The tip of a log at a head, computed from an earlier known tip or from the stored subtrees and the events after
/// them.
///
/// # Errors
/// When the store cannot be read, or the root of the tree differs from the head's.
pub(super) async fn tip_at(log: &dyn RawLog, head: Head, known: Option<Tip>) -> Result<Tip, StoreError> {
    let altered = |what: String| {
        StoreError::Damaged(format!(
            "{what}; the log was altered: run `kdaemon verify` to find out where, and restore a backup"
        ))
    };
    let known = known.filter(|known| known.head().seq <= head.seq);
    let tip = match known {
        Some(known) if head.seq.0 - known.head().seq.0 < NODE_LEAVES => known,
        _ => {
            let stored = Seq(head.seq.0 / NODE_LEAVES * NODE_LEAVES);
            let places: Vec<_> = peaks_of(stored.0).collect();
            let peaks = log.nodes(&places).await?.into_iter().collect::<Option<Vec<_>>>();
            let edge = peaks.and_then(|peaks| Frontier::new(stored.0, peaks));
            let missing = || altered(format!("stored subtrees of the first {stored} events are missing"));
            Tip::at_edge(edge.ok_or_else(missing)?)
        }
    };
    let leaves = leaves(log, tip.head().seq, head.seq).await?;
    let wrong = || altered(format!("the events up to {} do not have the root recorded there", head.seq));
    tip.extended(head, &leaves).ok_or_else(wrong)
}
