//! Inclusion and consistency proofs of the log's Merkle tree (RFC 6962, sections 2.1.1 and 2.1.2).
//!
//! The crate `ct-merkle` lists the subtrees of a proof. Their hashes come from the store, or from the events where a
//! subtree is too small to be stored. A proof in a log of ten million events reads about 20 stored subtrees and the
//! events of two blocks of 256.

use crate::store::{RawColumns, RawEvent, RawLog, StoreError, leaves};
use ct_merkle::{indices_for_consistency_proof, indices_for_inclusion_proof};
use kdaemon_events::{CommitId, Digest, Frontier, NODE_LEAVES, NodePlace, Seq, peaks_of};
use std::collections::BTreeMap;

/// A failure to make a proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A parameter is out of the range of the tree.
    #[error("expected {field} from 1 to {most}, got {value}")]
    OutOfRange {
        /// The parameter's name.
        field: &'static str,
        /// The parameter's value.
        value: u64,
        /// The maximum value.
        most: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A proof that a leaf is in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The event, possibly pruned.
    pub event: RawEvent,
    /// The event's header without seq and commit.
    pub header: RawColumns,
    /// The commit that holds the event.
    pub commit: CommitId,
    /// The hash of the event's leaf.
    pub leaf: Digest,
    /// The audit path: the roots of the siblings on the way from the leaf to the root, the leaf's sibling first.
    pub path: Vec<Digest>,
    /// The root of the tree.
    pub root: Digest,
}

/// A proof that one tree is a prefix of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// The root of the smaller tree.
    pub from_root: Digest,
    /// The root of the larger tree.
    pub to_root: Digest,
    /// The roots of the subtrees that both roots are computed from, in the order of RFC 6962, section 2.1.2.
    pub path: Vec<Digest>,
}

/// Proves that an event is in the tree of the first `size` events.
///
/// # Errors
/// When the log has fewer events or the store fails.
pub async fn inclusion(log: &dyn RawLog, seq: Seq, size: u64) -> Result<InclusionProof, ProofError> {
    let mut tree = Tree::of(log, size, "size").await?;
    within("seq", seq.0, size)?;
    let index = seq.0 - 1;
    let (commit, event) = event(log, seq).await?;
    let header = event.header().map_err(StoreError::Damaged)?;
    let leaf = header.header(seq, commit).leaf(event.body.content());
    let path = tree.subtrees(&indices_for_inclusion_proof(size, index)).await?;
    Ok(InclusionProof { event, header, commit, leaf, path, root: tree.subtree(0, size).await? })
}

/// Proves that the tree of the first `from` events is a prefix of the tree of the first `to` events.
///
/// # Errors
/// When the log has fewer events, `from` is not between 1 and `to`, or the store fails.
pub async fn consistency(log: &dyn RawLog, from: u64, to: u64) -> Result<ConsistencyProof, ProofError> {
    let mut tree = Tree::of(log, to, "to").await?;
    within("from", from, to)?;
    let path = tree.subtrees(&indices_for_consistency_proof(from, to - from)).await?;
    Ok(ConsistencyProof {
        from_root: tree.subtree(0, from).await?,
        to_root: tree.subtree(0, to).await?,
        path,
    })
}

fn within(field: &'static str, value: u64, most: u64) -> Result<(), ProofError> {
    match (1..=most).contains(&value) {
        true => Ok(()),
        false => Err(ProofError::OutOfRange { field, value, most }),
    }
}

/// Reads an event and the id of its commit.
async fn event(log: &dyn RawLog, seq: Seq) -> Result<(CommitId, RawEvent), StoreError> {
    let missing = || StoreError::Damaged(format!("event {seq} is missing; run `kdaemon verify` for details"));
    let before = log.position_before(seq).await?.ok_or_else(missing)?;
    let commit = log.raw_commits(before).await?.commits.into_iter().next().ok_or_else(missing)?;
    let id = commit.id.parse().map_err(|_| missing())?;
    let mut events = commit.events.into_iter();
    let event = events.find(|event| u64::try_from(event.seq) == Ok(seq.0)).ok_or_else(missing)?;
    Ok((id, event))
}

/// The tree of the first `size` events of a log.
struct Tree<'a> {
    log: &'a dyn RawLog,
    size: u64,
    /// A cache of leaves, by blocks of [`NODE_LEAVES`] events.
    blocks: BTreeMap<u64, Vec<Digest>>,
}

impl<'a> Tree<'a> {
    async fn of(log: &'a dyn RawLog, size: u64, field: &'static str) -> Result<Self, ProofError> {
        let head = log.head().await?;
        within(field, size, head.seq.0)?;
        Ok(Self { log, size, blocks: BTreeMap::new() })
    }

    /// The roots of subtrees by their places in `ct-merkle`'s numbering, where a subtree of level `k` and number `n`
    /// has the index `(2n + 1) · 2^k − 1`. The subtree at the right edge of the tree may be incomplete.
    async fn subtrees(&mut self, indices: &[u64]) -> Result<Vec<Digest>, StoreError> {
        let mut roots = Vec::with_capacity(indices.len());
        for index in indices {
            let level = index.trailing_ones();
            let place = NodePlace { level, number: index >> level >> 1 };
            roots.push(self.subtree(place.number << level, place.end().min(self.size)).await?);
        }
        Ok(roots)
    }

    /// The root of the subtree over the leaves from `first` up to `end` (exclusive), counted from 0. A subtree of that
    /// size must begin at `first`.
    async fn subtree(&mut self, first: u64, end: u64) -> Result<Digest, StoreError> {
        let stored = (end - first) / NODE_LEAVES * NODE_LEAVES;
        let shifted = |place: NodePlace| NodePlace { number: place.number + (first >> place.level), ..place };
        let places: Vec<_> = peaks_of(stored).map(shifted).collect();
        let missing = || {
            let what = format!("stored subtrees of the events {} to {end} are missing", first + 1);
            StoreError::Damaged(format!("{what}; run `kdaemon verify` for details"))
        };
        let peaks = self.log.nodes(&places).await?.into_iter().collect::<Option<Vec<_>>>();
        let mut edge = peaks.and_then(|peaks| Frontier::new(stored, peaks)).ok_or_else(missing)?;
        for leaf in self.leaves(first + stored, end).await? {
            edge.push(leaf, &mut Vec::new());
        }
        Ok(edge.root())
    }

    /// The leaves from `first` up to `end` (exclusive), all in one block.
    async fn leaves(&mut self, first: u64, end: u64) -> Result<Vec<Digest>, StoreError> {
        if first == end {
            return Ok(Vec::new());
        }
        let block = first / NODE_LEAVES;
        let begin = block * NODE_LEAVES;
        if !self.blocks.contains_key(&block) {
            let until = (begin + NODE_LEAVES).min(self.size);
            self.blocks.insert(block, leaves(self.log, Seq(begin), Seq(until)).await?);
        }
        let place = |seq: u64| usize::try_from(seq - begin).unwrap_or(usize::MAX);
        let leaves = self.blocks.get(&block).and_then(|leaves| leaves.get(place(first)..place(end)));
        Ok(leaves.unwrap_or_default().to_vec())
    }
}
