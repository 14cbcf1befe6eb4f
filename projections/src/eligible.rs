//! The index of the nodes that the scheduler may use. It is part of the state, so that a placement need not
//! look at every node.

use crate::Node;
use imbl::{OrdMap, OrdSet};
use kdaemon_events::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The order of a node among the eligible ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Number of its containers.
    pub count: u32,
    /// The reserved share ([`Node::reserved_share`]), in millionths.
    pub share: u32,
}

impl Standing {
    /// The standing of a node; `None` when it is not eligible.
    #[must_use]
    pub fn of(node: &Node) -> Option<Self> {
        node.is_eligible().then(|| Self { count: node.container_count(), share: node.reserved_share() })
    }
}

/// Iterates over a set in order. Most placements take the first entry, which `get_min` finds much faster than
/// an iterator.
fn in_order<T: Ord + Copy>(set: &OrdSet<T>) -> impl Iterator<Item = T> + '_ {
    let others = std::iter::once_with(|| set.iter().skip(1)).flatten();
    set.get_min().into_iter().chain(others).copied()
}

/// The nodes that are UP and neither cordoned nor draining, in order; and all nodes by their labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Eligible {
    by_count: OrdSet<(u32, NodeId)>,
    by_share: OrdSet<(u32, u32, NodeId)>,
    by_label: OrdMap<Arc<str>, OrdMap<Arc<str>, OrdSet<NodeId>>>,
}

impl Eligible {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_count.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_count.is_empty()
    }

    /// Eligible nodes by number of containers, then id.
    pub fn by_count(&self) -> impl Iterator<Item = (u32, NodeId)> + '_ {
        in_order(&self.by_count)
    }

    /// The lowest and the highest number of containers among them.
    #[must_use]
    pub fn extremes(&self) -> Option<(u32, u32)> {
        Some((self.by_count.get_min()?.0, self.by_count.get_max()?.0))
    }

    /// Eligible nodes by reserved share ([`Node::reserved_share`]), then number of containers, then id.
    pub fn by_share(&self) -> impl Iterator<Item = (u32, u32, NodeId)> + '_ {
        in_order(&self.by_share)
    }

    /// Eligible nodes by reserved share, largest first, then number of containers, highest first, then id.
    pub fn by_share_from_the_fullest(&self) -> impl Iterator<Item = NodeId> + '_ {
        let lowest = NodeId(uuid::Uuid::nil());
        let mut group = self.by_share.get_max().map(|(share, count, _)| (*share, *count));
        std::iter::from_fn(move || {
            let (share, count) = group?;
            let first = (share, count, lowest);
            group = self.by_share.range(..first).next_back().map(|(share, count, _)| (*share, *count));
            Some((share, count, first))
        })
        .flat_map(move |(share, count, first)| {
            let equals = self.by_share.range(first..);
            equals.take_while(move |(s, c, _)| (*s, *c) == (share, count)).map(|(_, _, id)| *id)
        })
    }

    /// The nodes with this label, by its value: all mounted nodes, eligible or not.
    #[must_use]
    pub fn with_label(&self, key: &str) -> Option<&OrdMap<Arc<str>, OrdSet<NodeId>>> {
        self.by_label.get(key)
    }

    /// Moves a node within the orders; `None`: not in them.
    pub fn replace(&mut self, id: NodeId, old: Option<Standing>, new: Option<Standing>) {
        self.replace_by_count(id, old, new);
        self.replace_by_share(id, old, new);
    }

    /// Like [`Self::replace`], in the order by count alone: for a plan that does not need the other one yet.
    pub fn replace_by_count(&mut self, id: NodeId, old: Option<Standing>, new: Option<Standing>) {
        let (old, new) = (old.map(|old| old.count), new.map(|new| new.count));
        if old == new {
            return;
        }
        if let Some(count) = old {
            self.by_count.remove(&(count, id));
        }
        if let Some(count) = new {
            self.by_count.insert((count, id));
        }
    }

    /// Like [`Self::replace`], in the order by share alone.
    pub fn replace_by_share(&mut self, id: NodeId, old: Option<Standing>, new: Option<Standing>) {
        if old == new {
            return;
        }
        if let Some(Standing { count, share }) = old {
            self.by_share.remove(&(share, count, id));
        }
        if let Some(Standing { count, share }) = new {
            self.by_share.insert((share, count, id));
        }
    }

    /// Changes a node's labels.
    pub(crate) fn relabel(
        &mut self,
        id: NodeId,
        old: &BTreeMap<String, String>,
        new: &BTreeMap<String, String>,
    ) {
        for (key, value) in old.iter().filter(|(key, value)| new.get(*key) != Some(value)) {
            self.remove_label(key, value, id);
        }
        for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(value)) {
            let values = self.by_label.entry(key.as_str().into()).or_default();
            values.entry(value.as_str().into()).or_default().insert(id);
        }
    }

    fn remove_label(&mut self, key: &str, value: &str, id: NodeId) {
        let Some(values) = self.by_label.get_mut(key) else { return };
        if let Some(nodes) = values.get_mut(value) {
            nodes.remove(&id);
            if nodes.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.by_label.remove(key);
        }
    }
}
