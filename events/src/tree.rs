//! The Merkle tree over the leaves of a log: that of RFC 6962, section 2.1, with SHA-256.
//!
//! Only the right edge is kept in memory: the roots of the complete subtrees that the log divides into. That is enough
//! to append and to know the root. Complete subtrees of [`NODE_LEAVES`] leaves or more are passed on to be stored:
//! from these and the events, any proof is made without hashing the whole log.

use crate::Digest;

/// The level of the smallest subtrees that are stored; a leaf has level 0.
pub const NODE_LEVEL: u32 = 8;
/// How many leaves the smallest stored subtree has.
pub const NODE_LEAVES: u64 = 1 << NODE_LEVEL;

/// The root of the empty tree: SHA-256 of nothing.
pub const EMPTY_ROOT: Digest = Digest([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// The place of a complete subtree: it covers the leaves from `number << level` up to, and not including,
/// `(number + 1) << level`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePlace {
    /// The height of the subtree above its leaves.
    pub level: u32,
    /// Which one of that level, counted from 0.
    pub number: u64,
}

impl NodePlace {
    /// How many leaves the tree has when this subtree becomes complete.
    #[must_use]
    pub fn end(self) -> u64 {
        (self.number + 1) << self.level
    }
}

/// A complete subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeNode {
    /// The subtree's place in the tree.
    pub place: NodePlace,
    /// The subtree's root.
    pub hash: Digest,
}

/// The root of a tree of two subtrees.
#[must_use]
pub fn interior(left: Digest, right: Digest) -> Digest {
    Digest::of_parts(&[&[1], &left.0, &right.0])
}

/// The places of the complete subtrees that a tree of `size` leaves divides into, the largest (leftmost) first.
pub fn peaks_of(size: u64) -> impl Iterator<Item = NodePlace> {
    let levels = (0..u64::BITS).rev().filter(move |level| size >> level & 1 == 1);
    levels.map(move |level| NodePlace { level, number: (size >> level) - 1 })
}

/// The right edge of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// The roots of the subtrees of [`peaks_of`], in that order.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The edge of a tree of `size` leaves, of the roots of its complete subtrees as [`peaks_of`] lists them; `None`
    /// when they are too few or too many.
    #[must_use]
    pub fn new(size: u64, peaks: Vec<Digest>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. The subtrees of [`NODE_LEAVES`] leaves or more that it completes are added to `completed`, the
    /// smaller ones first.
    pub fn push(&mut self, leaf: Digest, completed: &mut Vec<TreeNode>) {
        let mut hash = leaf;
        for level in 1..=self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break }; // there are as many as the size has ones
            hash = interior(left, hash);
            if level >= NODE_LEVEL {
                completed.push(TreeNode { place: NodePlace { level, number: self.size >> level }, hash });
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        let from_the_right = self.peaks.iter().rev().copied();
        from_the_right.reduce(|right, left| interior(left, right)).unwrap_or(EMPTY_ROOT)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// MTH, straight from RFC 6962, section 2.1.
    fn mth(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [leaf] => *leaf,
            _ => {
                let split = (leaves.len() - 1).ilog2();
                let (left, right) = leaves.split_at(1 << split);
                interior(mth(left), mth(right))
            }
        }
    }

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|number| Digest::of(&number.to_le_bytes())).collect()
    }

    #[test]
    fn the_root_is_that_of_the_rfc() {
        let leaves = leaves(1_050);
        let mut frontier = Frontier::default();
        let mut nodes = Vec::new();
        for size in 0..=leaves.len() {
            if size < 70 || size % 256 < 4 {
                assert_eq!(frontier.root(), mth(&leaves[..size]), "{size}");
            }
            assert_eq!(frontier.size(), size as u64);
            if let Some(leaf) = leaves.get(size) {
                frontier.push(*leaf, &mut nodes);
            }
        }
        // The nodes are all complete subtrees of 256 leaves or more, and each is what the RFC says.
        let places: Vec<_> = nodes.iter().map(|node| (node.place.level, node.place.number)).collect();
        assert_eq!(places, [(8, 0), (8, 1), (9, 0), (8, 2), (8, 3), (9, 1), (10, 0)]);
        for node in nodes {
            let (first, end) = (node.place.number << node.place.level, node.place.end());
            let (first, end) = (usize::try_from(first).unwrap(), usize::try_from(end).unwrap());
            assert_eq!(node.hash, mth(&leaves[first..end]), "{node:?}");
        }
    }

    #[test]
    fn a_frontier_is_restored_from_the_subtrees_that_it_divides_into() {
        let leaves = leaves(300);
        let mut frontier = Frontier::default();
        for (size, leaf) in leaves.iter().enumerate() {
            let places: Vec<_> = peaks_of(size as u64).collect();
            assert_eq!(places.last().map_or(0, |place| place.end()), size as u64);
            let peaks = places.iter().map(|place| {
                let (first, end) = (place.number << place.level, place.end());
                mth(&leaves[usize::try_from(first).unwrap()..usize::try_from(end).unwrap()])
            });
            assert_eq!(Frontier::new(size as u64, peaks.collect()), Some(frontier.clone()));
            frontier.push(*leaf, &mut Vec::new());
        }
        assert_eq!(Frontier::new(3, vec![Digest::default()]), None);
    }

    #[test]
    fn the_empty_tree_has_the_digest_of_nothing() {
        assert_eq!(EMPTY_ROOT, Digest::of(b""));
        assert_eq!(Frontier::default().root(), EMPTY_ROOT);
    }
}
