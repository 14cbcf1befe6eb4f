//! The whole state, its indexes and its queries.

use crate::eligible::{Eligible, Standing};
use crate::node::UnmountedNode;
use crate::{Application, Container, Desired, Node, PhaseKind};
use chrono::{DateTime, Utc};
use imbl::{OrdMap, OrdSet};
use kdaemon_events::{ApplicationId, ClusterId, ContainerId, Endpoint, NodeId, Protocol, Seq, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// The nodes, applications and containers at one moment.
///
/// Cloning costs a few reference counts: the maps are persistent, so that readers can keep the state of a
/// moment while the next one is computed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    pub(crate) id: Option<ClusterId>,
    pub(crate) seq: Seq,
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) term: Term,
    pub(crate) paused: Option<Pause>,
    pub(crate) nodes: OrdMap<NodeId, Arc<Node>>,
    pub(crate) applications: OrdMap<ApplicationId, Arc<Application>>,
    pub(crate) containers: OrdMap<ContainerId, Arc<Container>>,
    pub(crate) node_names: OrdMap<Arc<str>, NodeId>,
    pub(crate) application_names: OrdMap<Arc<str>, ApplicationId>,
    pub(crate) container_names: OrdMap<Arc<str>, ContainerId>,
    pub(crate) unsettled: OrdSet<ContainerId>,
    pub(crate) unsettled_nodes: OrdSet<NodeId>,
    pub(crate) migrating: OrdSet<ContainerId>,
    pub(crate) rolling: OrdSet<ApplicationId>,
    pub(crate) eligible: Eligible,
    pub(crate) counts_since: Option<DateTime<Utc>>,
    pub(crate) chance_at: Option<DateTime<Utc>>,
    pub(crate) data: OrdMap<Arc<str>, OrdSet<NodeId>>,
    pub(crate) unmounted: OrdMap<NodeId, UnmountedNode>,
    pub(crate) own_engines: OrdSet<Endpoint>,
}

/// A pause of migrations, because too many nodes are unhealthy at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Unhealthy nodes when the pause began.
    pub unhealthy: u32,
    /// Nodes of which they were.
    pub nodes: u32,
    /// The event that began it.
    pub seq: Seq,
}

/// The items that a range of events changed: their rows have to be written, pushed, or read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Nodes.
    pub nodes: BTreeSet<NodeId>,
    /// Applications.
    pub applications: BTreeSet<ApplicationId>,
    /// Containers.
    pub containers: BTreeSet<ContainerId>,
}

impl Touched {
    /// Adds the changes of another range.
    pub fn merge(&mut self, other: &Self) {
        self.nodes.extend(&other.nodes);
        self.applications.extend(&other.applications);
        self.containers.extend(&other.containers);
    }
}

impl Cluster {
    /// The cluster's id; `None` before its first event.
    #[must_use]
    pub fn id(&self) -> Option<ClusterId> {
        self.id
    }

    /// The last folded event.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The time of the last folded event.
    #[must_use]
    pub fn at(&self) -> Option<DateTime<Utc>> {
        self.at
    }

    /// The current leader's term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Why migrations are paused, if they are.
    #[must_use]
    pub fn paused(&self) -> Option<&Pause> {
        self.paused.as_ref()
    }

    /// A node by id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// An application by id.
    #[must_use]
    pub fn application(&self, id: ApplicationId) -> Option<&Arc<Application>> {
        self.applications.get(&id)
    }

    /// A container by id.
    #[must_use]
    pub fn container(&self, id: ContainerId) -> Option<&Arc<Container>> {
        self.containers.get(&id)
    }

    /// All nodes, ordered by id.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// All applications, ordered by id.
    pub fn applications(&self) -> impl ExactSizeIterator<Item = &Arc<Application>> {
        self.applications.values()
    }

    /// All containers, ordered by id.
    pub fn containers(&self) -> impl ExactSizeIterator<Item = &Arc<Container>> {
        self.containers.values()
    }

    /// The nodes with an id above `id`; all of them for `None`.
    pub fn nodes_after(&self, id: Option<NodeId>) -> impl Iterator<Item = &Arc<Node>> {
        after(&self.nodes, id)
    }

    /// The applications with an id above `id`; all of them for `None`.
    pub fn applications_after(&self, id: Option<ApplicationId>) -> impl Iterator<Item = &Arc<Application>> {
        after(&self.applications, id)
    }

    /// The containers with an id above `id`; all of them for `None`.
    pub fn containers_after(&self, id: Option<ContainerId>) -> impl Iterator<Item = &Arc<Container>> {
        after(&self.containers, id)
    }

    /// A node by the text of its id, or by its name.
    #[must_use]
    pub fn find_node(&self, text: &str) -> Option<&Arc<Node>> {
        let by_id = text.parse::<NodeId>().ok().and_then(|id| self.nodes.get(&id));
        by_id.or_else(|| self.node_names.get(text).and_then(|id| self.nodes.get(id)))
    }

    /// An application by the text of its id, or by its name.
    #[must_use]
    pub fn find_application(&self, text: &str) -> Option<&Arc<Application>> {
        let by_id = text.parse::<ApplicationId>().ok().and_then(|id| self.applications.get(&id));
        by_id.or_else(|| self.application_names.get(text).and_then(|id| self.applications.get(id)))
    }

    /// A container by the text of its id, or by its name.
    #[must_use]
    pub fn find_container(&self, text: &str) -> Option<&Arc<Container>> {
        let by_id = text.parse::<ContainerId>().ok().and_then(|id| self.containers.get(&id));
        by_id.or_else(|| self.container_names.get(text).and_then(|id| self.containers.get(id)))
    }

    /// The containers that need work.
    pub fn unsettled(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.unsettled.iter().filter_map(|id| self.containers.get(id))
    }

    /// The nodes that may need work.
    pub fn unsettled_nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.unsettled_nodes.iter().filter_map(|id| self.nodes.get(id))
    }

    /// The containers that are being moved.
    pub fn migrating(&self) -> impl ExactSizeIterator<Item = ContainerId> + '_ {
        self.migrating.iter().copied()
    }

    /// The applications that may have a rollout to continue or to complete.
    pub fn rolling(&self) -> impl Iterator<Item = &Arc<Application>> {
        self.rolling.iter().filter_map(|id| self.applications.get(id))
    }

    /// Whether a container was made from another specification than it would be now.
    #[must_use]
    pub fn is_outdated(&self, container: &Container) -> bool {
        container.placement.as_ref().is_some_and(|placement| {
            let spec = self.spec_of(container);
            let application = container.application_id.and_then(|id| self.applications.get(&id));
            let is_same = Arc::ptr_eq(&placement.spec, &spec) || placement.spec.makes_the_same_as(&spec);
            !is_same || application.is_some_and(|application| application.round != placement.round)
        })
    }

    /// Since when the eligible nodes, and the count of containers on each of them, are what they are.
    #[must_use]
    pub fn counts_since(&self) -> Option<DateTime<Utc>> {
        self.counts_since
    }

    /// The nodes that the scheduler may use, in the orders in which it considers them.
    #[must_use]
    pub fn eligible(&self) -> &Eligible {
        &self.eligible
    }

    /// Whether an engine of the daemon's own machine was mounted at this endpoint at some time, even if it was
    /// unmounted since: a Unix socket, or the endpoint of a node with the name
    /// [`LOCAL_NODE`](kdaemon_events::node::LOCAL_NODE).
    #[must_use]
    pub fn had_own_engine(&self, endpoint: &Endpoint) -> bool {
        self.own_engines.contains(endpoint)
    }

    /// How many nodes that have worked before are down, of how many that have worked or wait for their first
    /// probe.
    #[must_use]
    pub fn failed_nodes(&self) -> (u32, u32) {
        let mut down = 0;
        let mut all = 0;
        for node in self.nodes.values().filter(|node| node.was_up) {
            all += 1;
            down += u32::from(node.health == crate::Health::Down);
        }
        (down, all)
    }

    /// Changes one container and updates every index. Nothing else writes to a container.
    pub(crate) fn change_container(
        &mut self,
        id: ContainerId,
        touched: &mut Touched,
        change: impl FnOnce(&mut Container),
    ) {
        let Some(old) = self.containers.get(&id).cloned() else { return };
        let mut new = (*old).clone();
        change(&mut new);
        // A move without a target whose origin has stopped serving is over.
        if new.phase.kind() == PhaseKind::Waiting
            && old.is_served_by_predecessor()
            && !new.is_served_by_predecessor()
        {
            new.migrating = None;
        }
        new.seq = self.seq;
        self.reindex(Some(&old), Some(&new), touched);
        self.containers.insert(id, Arc::new(new));
    }

    /// Adds a container.
    pub(crate) fn insert_container(&mut self, container: Container, touched: &mut Touched) {
        let old = self.containers.get(&container.id).cloned();
        self.reindex(old.as_deref(), Some(&container), touched);
        self.containers.insert(container.id, Arc::new(container));
    }

    /// Removes a container.
    pub(crate) fn remove_container(&mut self, id: ContainerId, touched: &mut Touched) {
        if let Some(old) = self.containers.remove(&id) {
            self.reindex(Some(&old), None, touched);
        }
    }

    /// Changes one node. [`Self::reindex`] alone writes its indexes.
    pub(crate) fn change_node(&mut self, id: NodeId, touched: &mut Touched, change: impl FnOnce(&mut Node)) {
        let seq = self.seq;
        touched.nodes.extend(self.nodes.contains_key(&id).then_some(id));
        self.note_node(id, |node| {
            change(node);
            node.seq = seq;
        });
    }

    /// Changes counters of a node that its row does not show, so that the row counts as unchanged.
    pub(crate) fn note_node(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let before = Standing::of(node);
        change(Arc::make_mut(node));
        let after = Standing::of(node);
        self.eligible.replace(id, before, after);
        if before.map(|before| before.count) != after.map(|after| after.count) {
            self.counts_since = self.at;
        }
        let is_unsettled = node.is_unsettled();
        self.set_unsettled(id, is_unsettled);
    }

    /// Updates the indexes of nodes after one was added, changed or removed; `old` is its former state.
    pub(crate) fn reindex_node(&mut self, id: NodeId, old: Option<&Node>) {
        let new = self.nodes.get(&id).map(Arc::clone);
        let (before, after) = (old.and_then(Standing::of), new.as_deref().and_then(Standing::of));
        self.eligible.replace(id, before, after);
        if before.map(|before| before.count) != after.map(|after| after.count) {
            self.counts_since = self.at;
        }
        let labels = |node: Option<&Node>| node.map(|node| node.labels.clone()).unwrap_or_default();
        self.eligible.relabel(id, &labels(old), &labels(new.as_deref()));
        self.set_unsettled(id, new.is_some_and(|node| node.is_unsettled()));
    }

    fn set_unsettled(&mut self, id: NodeId, is_unsettled: bool) {
        if is_unsettled != self.unsettled_nodes.contains(&id) {
            if is_unsettled {
                self.unsettled_nodes.insert(id);
            } else {
                self.unsettled_nodes.remove(&id);
            }
        }
    }

    pub(crate) fn change_application(
        &mut self,
        id: ApplicationId,
        touched: &mut Touched,
        change: impl FnOnce(&mut Application),
    ) {
        let seq = self.seq;
        if let Some(application) = self.applications.get_mut(&id) {
            let application = Arc::make_mut(application);
            change(application);
            application.seq = seq;
            let may_roll = application.may_roll();
            set_member(&mut self.rolling, id, may_roll);
            touched.applications.insert(id);
        }
    }

    /// Updates every index from the contribution of `old` to that of `new`.
    fn reindex(&mut self, old: Option<&Container>, new: Option<&Container>, touched: &mut Touched) {
        let Some(id) = new.or(old).map(|container| container.id) else { return };
        touched.containers.insert(id);

        if old.map(|c| &c.name) != new.map(|c| &c.name) {
            if let Some(old) = old
                && self.container_names.get(old.name.as_str()) == Some(&id)
            {
                self.container_names.remove(old.name.as_str());
            }
            if let Some(new) = new {
                self.container_names.insert(new.name.as_str().into(), id);
            }
        }

        set_member(&mut self.unsettled, id, new.is_some_and(Container::is_unsettled));
        set_member(&mut self.migrating, id, new.is_some_and(|c| c.migrating.is_some()));

        self.reindex_application(id, old, new);
        self.reindex_outdated(old, new, touched);
        self.reindex_residence(id, old, new, touched);
        self.reindex_ports(id, old, new);
        self.reindex_holds(id, old, new);
    }

    fn reindex_application(&mut self, id: ContainerId, old: Option<&Container>, new: Option<&Container>) {
        let member = |container: Option<&Container>| {
            container.and_then(|c| {
                let counts = c.is_serving() || c.phase.kind() == PhaseKind::Completed;
                c.application_id.map(|application| (application, counts))
            })
        };
        let (before, after) = (member(old), member(new));
        if before == after {
            return;
        }
        if let Some((application, serving)) = before
            && let Some(application) = self.applications.get_mut(&application)
        {
            let application = Arc::make_mut(application);
            application.containers.remove(&id);
            application.serving = application.serving.saturating_sub(u32::from(serving));
        }
        if let Some((application, serving)) = after
            && let Some(application) = self.applications.get_mut(&application)
        {
            let application = Arc::make_mut(application);
            application.containers.insert(id);
            application.serving += u32::from(serving);
        }
    }

    fn reindex_outdated(&mut self, old: Option<&Container>, new: Option<&Container>, touched: &mut Touched) {
        // Most changes leave what this depends on as it was, and to compare specifications takes long.
        if let (Some(old), Some(new)) = (old, new)
            && old.application_id == new.application_id
            && old.desired == new.desired
            && old.env_variables == new.env_variables
            && match (&old.placement, &new.placement) {
                (Some(old), Some(new)) => Arc::ptr_eq(&old.spec, &new.spec) && old.round == new.round,
                (old, new) => old.is_none() && new.is_none(),
            }
        {
            return;
        }
        let outdated = |container: Option<&Container>| {
            let counts = |c: &&Container| c.desired == Desired::Running && self.is_outdated(c);
            container.filter(counts).and_then(|c| c.application_id)
        };
        let (before, after) = (outdated(old), outdated(new));
        if before == after {
            return;
        }
        if let Some(id) = before {
            self.count_outdated(id, touched, |count| count.saturating_sub(1));
        }
        if let Some(id) = after {
            self.count_outdated(id, touched, |count| count.saturating_add(1));
        }
    }

    /// The containers scheduled to run of an application that were made from another specification than they would be now.
    pub(crate) fn outdated_of(&self, id: ApplicationId) -> BTreeSet<ContainerId> {
        let Some(application) = self.applications.get(&id) else { return BTreeSet::new() };
        let containers = application.containers.iter().filter_map(|id| self.containers.get(id));
        containers.filter(|c| c.desired == Desired::Running && self.is_outdated(c)).map(|c| c.id).collect()
    }

    /// Counts an application's outdated containers again, after what they are made from has changed; `before` are the ones
    /// that were outdated before.
    pub(crate) fn recount_outdated(
        &mut self,
        id: ApplicationId,
        before: &BTreeSet<ContainerId>,
        touched: &mut Touched,
    ) {
        let outdated = self.outdated_of(id);
        // Their rows show it.
        for changed in outdated.symmetric_difference(before) {
            if let Some(container) = self.containers.get_mut(changed) {
                Arc::make_mut(container).seq = self.seq;
                touched.containers.insert(*changed);
            }
        }
        self.count_outdated(id, touched, |_| u32::try_from(outdated.len()).unwrap_or(u32::MAX));
    }

    fn count_outdated(&mut self, id: ApplicationId, touched: &mut Touched, count: impl FnOnce(u32) -> u32) {
        let Some(application) = self.applications.get_mut(&id) else { return };
        let application = Arc::make_mut(application);
        application.outdated = count(application.outdated);
        if application.rollout.is_some() {
            application.seq = self.seq; // its row shows the progress
            touched.applications.insert(id);
        }
        set_member(&mut self.rolling, id, application.may_roll());
    }

    fn reindex_residence(
        &mut self,
        id: ContainerId,
        old: Option<&Container>,
        new: Option<&Container>,
        touched: &mut Touched,
    ) {
        let residence = |container: Option<&Container>| {
            container.and_then(Container::residence).map(|p| (p.node_id, p.spec.resources.reservation()))
        };
        self.reindex_application_nodes(old, new);
        let (before, after) = (residence(old), residence(new));
        if before == after {
            return;
        }
        if let Some((node, reserved)) = before {
            self.change_node(node, touched, |node| {
                node.residents.remove(&id);
                node.reserved_millicpus = node.reserved_millicpus.saturating_sub(reserved.millicpus);
                node.reserved_memory_bytes = node.reserved_memory_bytes.saturating_sub(reserved.memory_bytes);
            });
        }
        if let Some((node, reserved)) = after {
            self.change_node(node, touched, |node| {
                node.residents.insert(id);
                node.reserved_millicpus = node.reserved_millicpus.saturating_add(reserved.millicpus);
                node.reserved_memory_bytes = node.reserved_memory_bytes.saturating_add(reserved.memory_bytes);
            });
        }
    }

    /// Updates how many containers of an application each node has.
    fn reindex_application_nodes(&mut self, old: Option<&Container>, new: Option<&Container>) {
        let place = |container: Option<&Container>| {
            container.and_then(|c| Some((c.application_id?, c.residence()?.node_id)))
        };
        let (before, after) = (place(old), place(new));
        if before == after {
            return;
        }
        if let Some((application, node)) = before
            && let Some(application) = self.applications.get_mut(&application)
        {
            let nodes = &mut Arc::make_mut(application).nodes;
            match nodes.get(&node).copied() {
                Some(count) if count > 1 => drop(nodes.insert(node, count - 1)),
                _ => drop(nodes.remove(&node)),
            }
        }
        if let Some((application, node)) = after
            && let Some(application) = self.applications.get_mut(&application)
        {
            *Arc::make_mut(application).nodes.entry(node).or_default() += 1;
        }
    }

    fn reindex_holds(&mut self, id: ContainerId, old: Option<&Container>, new: Option<&Container>) {
        let nodes = |container: Option<&Container>| -> BTreeSet<NodeId> {
            let Some(container) = container else { return BTreeSet::new() };
            let retired = container.retired.iter().map(|retired| retired.placement.node_id);
            container.placement.iter().map(|placement| placement.node_id).chain(retired).collect()
        };
        let (before, after) = (nodes(old), nodes(new));
        let at = self.at;
        for node in before.difference(&after) {
            self.note_node(*node, |node| {
                node.holds.remove(&id);
                if node.drain_progress_at.is_some() {
                    node.drain_progress_at = at;
                }
            });
        }
        for node in after.difference(&before) {
            self.note_node(*node, |node| {
                node.holds.insert(id);
            });
        }
    }

    /// A fixed port is taken by the wanted placement and by every retired one, until it is removed.
    fn reindex_ports(&mut self, id: ContainerId, old: Option<&Container>, new: Option<&Container>) {
        let claims = |container: Option<&Container>| -> BTreeSet<(NodeId, (Protocol, u16))> {
            let Some(container) = container else { return BTreeSet::new() };
            let wanted = container
                .placement
                .iter()
                .filter(|_| !container.phase.kind().is_over() && container.phase.kind() != PhaseKind::Failed);
            wanted
                .chain(container.retired.iter().map(|retired| &retired.placement))
                .flat_map(|p| p.spec.fixed_ports().map(|port| (p.node_id, port)))
                .collect()
        };
        let (before, after) = (claims(old), claims(new));
        for (node, port) in before.difference(&after) {
            self.note_node(*node, |node| {
                let Some(mut by) = node.ports.remove(port) else { return };
                by.remove(&id);
                if !by.is_empty() {
                    node.ports.insert(*port, by);
                }
            });
        }
        for (node, port) in after.difference(&before) {
            self.note_node(*node, |node| {
                node.ports.entry(*port).or_default().insert(id);
            });
        }
    }
}

fn after<K: Ord + Clone, V: Clone>(map: &OrdMap<K, V>, key: Option<K>) -> impl Iterator<Item = &V> {
    map.range((key.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)).map(|(_, value)| value)
}

fn set_member<T: Ord + Clone>(set: &mut OrdSet<T>, id: T, member: bool) {
    if member {
        set.insert(id);
    } else {
        set.remove(&id);
    }
}
