//! Proofs about the log's Merkle tree: that an event is in it, and that an earlier tree is its beginning (RFC 6962,
//! sections 2.1.1 and 2.1.2).
//!
//! Which subtrees a proof consists of comes from the crate `ct-merkle`; their hashes from the store, or from the events
//! where a subtree is too small to be stored. A proof of a log of ten million events reads about 20 stored subtrees and the
//! events of two blocks of 256.

use crate::store::{RawColumns, RawEvent, RawLog, StoreError, leaves};
use ct_merkle::{indices_for_consistency_proof, indices_for_inclusion_proof};
use kdaemon_events::{CommitId, Digest, Frontier, NODE_LEAVES, NodePlace, Seq, peaks_of};
use std::collections::BTreeMap;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The tree of that size does not have it.
    #[error("expected {field} from 1 to {most}, got {value}")]
    OutOfRange {
        /// Which number.
        field: &'static str,
        /// The number.
        value: u64,
        /// The largest possible one.
        most: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Proves that a leaf is in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The event, or what is left of it.
    pub event: RawEvent,
    /// Its header but for seq and commit.
    pub header: RawColumns,
    /// The commit that it is part of.
    pub commit: CommitId,
    /// The hash of the leaf.
    pub leaf: Digest,
    /// The roots of the subtrees next to the path from the leaf to the root, the leaf's sibling first.
    pub path: Vec<Digest>,
    /// The root of the tree.
    pub root: Digest,
}

/// Proves that one tree is the beginning of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// The root of the smaller tree.
    pub from_root: Digest,
    /// The root of the larger tree.
    pub to_root: Digest,
    /// The roots of subtrees that both roots are computed from, in the order of the RFC.
    pub path: Vec<Digest>,
}

/// Proves that an event is in the tree of the first `size` events.
///
/// # Errors
/// When there are fewer events, or the store fails.
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

/// Proves that the tree of the first `from` events is the beginning of the tree of the first `to` events.
///
/// # Errors
/// When there are fewer events, `from` is not from 1 to `to`, or the store fails.
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

/// An event as the store has it, and the commit that it is part of.
async fn event(log: &dyn RawLog, seq: Seq) -> Result<(CommitId, RawEvent), StoreError> {
    let missing = || StoreError::Damaged(format!("event {seq} is missing; `kdaemon verify` says more"));
    let before = log.position_before(seq).await?.ok_or_else(missing)?;
    let commit = log.raw_commits(before).await?.commits.into_iter().next().ok_or_else(missing)?;
    let id = commit.id.parse().map_err(|_| missing())?;
    let mut events = commit.events.into_iter();
    let event = events.find(|event| u64::try_from(event.seq) == Ok(seq.0)).ok_or_else(missing)?;
    Ok((id, event))
}

/// The tree of the first events of a log.
struct Tree<'a> {
    log: &'a dyn RawLog,
    size: u64,
    /// The leaves of blocks of [`NODE_LEAVES`] events, as far as they were read.
    blocks: BTreeMap<u64, Vec<Digest>>,
}

impl<'a> Tree<'a> {
    async fn of(log: &'a dyn RawLog, size: u64, field: &'static str) -> Result<Self, ProofError> {
        let head = log.head().await?;
        within(field, size, head.seq.0)?;
        Ok(Self { log, size, blocks: BTreeMap::new() })
    }

    /// The roots of subtrees by their places in `ct-merkle`'s numbering, where a subtree of level `k` and number `n` has
    /// the index `(2n + 1) · 2^k − 1`. At the right edge of the tree one may be incomplete.
    async fn subtrees(&mut self, indices: &[u64]) -> Result<Vec<Digest>, StoreError> {
        let mut roots = Vec::with_capacity(indices.len());
        for index in indices {
            let level = index.trailing_ones();
            let place = NodePlace { level, number: index >> level >> 1 };
            roots.push(self.subtree(place.number << level, place.end().min(self.size)).await?);
        }
        Ok(roots)
    }

    /// The root of the subtree over the leaves from `first` up to, and not including, `end`, counted from 0. `first` must
    /// be where a subtree of that many leaves begins.
    async fn subtree(&mut self, first: u64, end: u64) -> Result<Digest, StoreError> {
        let stored = (end - first) / NODE_LEAVES * NODE_LEAVES;
        let shifted = |place: NodePlace| NodePlace { number: place.number + (first >> place.level), ..place };
        let places: Vec<_> = peaks_of(stored).map(shifted).collect();
        let missing = || {
            let what = format!("stored subtrees of the events {} to {end} are missing", first + 1);
            StoreError::Damaged(format!("{what}; `kdaemon verify` says more"))
        };
        let peaks = self.log.nodes(&places).await?.into_iter().collect::<Option<Vec<_>>>();
        let mut edge = peaks.and_then(|peaks| Frontier::new(stored, peaks)).ok_or_else(missing)?;
        for leaf in self.leaves(first + stored, end).await? {
            edge.push(leaf, &mut Vec::new());
        }
        Ok(edge.root())
    }

    /// The leaves from `first` up to `end` of one block.
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
