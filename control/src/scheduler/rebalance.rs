//! The rebalance plan: the fewest moves that bring the counts of containers within one of each other.
//!
//! Which containers may run where is a bipartite graph, and evening the counts is the semi-matching problem: an
//! assignment is as even as it can be (by every convex measure of the counts) if and only if there is no *cost-reducing
//! path*, a chain of moves from a node to one that has at least two containers fewer (Harvey, Ladner, Lovász, Tamir:
//! Semi-matchings for bipartite graphs and load balancing, J. Algorithms 59, 2006). The plan takes such paths, shortest
//! first, until there is none. Without constraints each path is a single move from a fullest to an emptiest node, and no
//! plan is shorter: the surplus over the final counts has to leave its nodes, and each move takes one of it to a node
//! that lacks one.

use super::DisruptionBudget;
use super::filter::check;
use super::proposed_plan::ProposedPlan;
use super::request::Request;
use super::score::{score, spread_counts};
use kdaemon_events::cluster::Move;
use kdaemon_events::scheduling::Penalty;
use kdaemon_events::{ApplicationId, ContainerId, NodeId, RestartPolicy, Strategy};
use kdaemon_projections::{Cluster, Container, Desired, Node, PhaseKind};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The most checks whether a container fits on a node. A later plan evens out what is left uneven then.
const QUESTIONS: usize = 500_000;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The moves, in order, as chains, each of which evens out the counts as a whole. Most chains are a
    /// single move.
    pub chains: Vec<Vec<Move>>,
    /// Containers on the fullest node that takes part.
    pub most: u32,
    /// Containers on the emptiest node that takes part.
    pub fewest: u32,
}

impl Plan {
    /// The moves of all chains.
    pub fn moves(&self) -> impl Iterator<Item = &Move> {
        self.chains.iter().flatten()
    }

    /// The moves to start now: at most `limit`, and of each application as many as its disruption budget
    /// allows. Omitted moves change the effect of the others, so each chain is checked again.
    #[must_use]
    pub fn first_moves(&self, cluster: &Cluster, strategy: Strategy, limit: MoveLimit) -> Vec<Move> {
        feasible(cluster, strategy, &self.chains, limit, Some(DisruptionBudget::of(cluster))).concat()
    }
}

/// How many moves may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoveLimit {
    /// Now.
    pub now: usize,
    /// When no container moves: a chain that is longer is carried out step by step, a shorter one waits until it can be
    /// carried out as a whole.
    pub most: usize,
}

/// The chains that can be carried out one after another, within a limit in total.
fn feasible(
    cluster: &Cluster,
    strategy: Strategy,
    chains: &[Vec<Move>],
    limit: MoveLimit,
    mut disruption_budget: Option<DisruptionBudget<'_>>,
) -> Vec<Vec<Move>> {
    let mut proposed = ProposedPlan::on(cluster);
    let (mut taken, mut left) = (Vec::new(), limit.now);
    for chain in chains {
        // A chain that is too long for any round is carried out step by step: each step leaves a node for an
        // emptier one.
        let is_begun = taken.is_empty() && chain.len() > limit.most;
        let steps = if is_begun { &chain[..left.min(chain.len())] } else { chain.as_slice() };
        if steps.is_empty() || steps.len() > left || !evens(&proposed, chain) {
            continue;
        }
        let containers = || steps.iter().filter_map(|step| cluster.container(step.container_id));
        let mut after = disruption_budget.clone();
        if !containers().all(|container| after.as_mut().is_none_or(|after| after.admit(container))) {
            continue;
        }
        let before = (steps.len() > 1).then(|| proposed.clone());
        if steps.iter().all(|step| take_if_it_fits(&mut proposed, strategy, step)) {
            disruption_budget = after;
            left -= steps.len();
            taken.push(steps.to_vec());
        } else if let Some(before) = before {
            proposed = before;
        }
    }
    taken
}

/// Whether a chain leads from a node to one that has at least two containers fewer.
fn evens(proposed: &ProposedPlan<'_>, chain: &[Move]) -> bool {
    let count = |id: NodeId| proposed.cluster.node(id).map(|node| proposed.count(node));
    let from = chain.last().and_then(|step| count(step.from_node_id));
    let to = chain.first().and_then(|step| count(step.node_id));
    matches!((from, to), (Some(from), Some(to)) if from >= to + 2)
}

fn take_if_it_fits(proposed: &mut ProposedPlan<'_>, strategy: Strategy, step: &Move) -> bool {
    let cluster = proposed.cluster;
    let (Some(container), Some(target)) = (cluster.container(step.container_id), cluster.node(step.node_id))
    else {
        return false;
    };
    let spec = cluster.spec_of(container);
    let request = Request::new(cluster, container, &spec, None, strategy);
    if check(proposed, target, &request).is_err() {
        return false;
    }
    proposed.send(step.from_node_id, target, &request);
    true
}

/// Plans the moves that even out the counts of the eligible nodes. Only containers under the strategy
/// `spread` are moved; `strategy` is the cluster's. Nodes on probation are excluded: a flapping node receives
/// no moves.
#[must_use]
pub fn plan(cluster: &Cluster, strategy: Strategy) -> Plan {
    let nodes: Vec<&Arc<Node>> =
        cluster.nodes().filter(|node| node.is_eligible() && !node.is_on_probation(cluster.at())).collect();
    let counts: BTreeMap<NodeId, u32> = nodes.iter().map(|node| (node.id, node.container_count())).collect();
    let (Some(fewest), Some(most)) = (counts.values().min().copied(), counts.values().max().copied()) else {
        return Plan::default();
    };
    if most - fewest <= 1 {
        return Plan::default();
    }
    let chains_by = |paths| {
        let mut planner = Planner {
            proposed: ProposedPlan::on(cluster),
            strategy,
            paths,
            order: counts.iter().map(|(id, count)| (*count, *id)).collect(),
            counts: counts.clone(),
            sent: BTreeMap::new(),
            began: Vec::new(),
            questions: Cell::new(0),
        };
        planner.even();
        feasible(cluster, strategy, &planner.chains(), MoveLimit { now: usize::MAX, most: usize::MAX }, None)
    };
    let mut found = chains_by(Paths::Any);
    if found.is_empty() {
        // The planned assignment cannot be reached, because a container that has to leave is one that another
        // needs on its node (affinity). Single moves, each of which fits when it is made, lead as far as
        // possible.
        found = chains_by(Paths::Single);
    }
    Plan { chains: found, most, fewest }
}

/// Which paths a plan takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Paths {
    /// Of any length.
    Any,
    /// Of one move, and no container moves twice.
    Single,
}

struct Planner<'a> {
    proposed: ProposedPlan<'a>,
    strategy: Strategy,
    paths: Paths,
    /// The counts in the plan, and the nodes in their order.
    counts: BTreeMap<NodeId, u32>,
    order: BTreeSet<(u32, NodeId)>,
    /// The plan's target of each moved container, in the order of the first move.
    sent: BTreeMap<ContainerId, NodeId>,
    began: Vec<ContainerId>,
    questions: Cell<usize>,
}

/// A class of containers that fit on the same nodes: all of one application that have no variables of their own, or a
/// single container.
type ContainerClass = Result<ApplicationId, ContainerId>;

impl Planner<'_> {
    fn even(&mut self) {
        // A move can open a path for a node that had none, so all are searched again until none has one.
        loop {
            let mut is_better = false;
            let mut below = None;
            while let Some((count, from)) = self.fullest(below) {
                if self.relieve(count, from) {
                    is_better = true;
                } else {
                    below = Some((count, from));
                }
            }
            if !is_better || self.questions.get() >= QUESTIONS {
                return;
            }
        }
    }

    /// The fullest node, or the next one before `below` in the order, if the emptiest has at least two containers fewer.
    fn fullest(&self, below: Option<(u32, NodeId)>) -> Option<(u32, NodeId)> {
        let candidate = match below {
            None => self.order.last().copied(),
            Some(below) => self.order.range(..below).next_back().copied(),
        }?;
        let fewest = self.order.first()?.0;
        (candidate.0 > fewest + 1).then_some(candidate)
    }

    /// Takes the shortest cost-reducing path from a node, if there is one.
    fn relieve(&mut self, count: u32, from: NodeId) -> bool {
        let mut came_by: BTreeMap<NodeId, (NodeId, ContainerId)> = BTreeMap::new();
        let mut open = VecDeque::from([from]);
        while let Some(at) = open.pop_front() {
            let residents = self.movable(at);
            if residents.is_empty() {
                continue;
            }
            let mut end = None;
            for &(low, to) in &self.order {
                if to == from || to == at || came_by.contains_key(&to) {
                    continue;
                }
                let Some(container) = self.one_that_fits(&residents, to) else { continue };
                came_by.insert(to, (at, container));
                if low + 1 < count {
                    end = Some(to);
                    break;
                }
                if self.paths == Paths::Any {
                    open.push_back(to);
                }
            }
            if let Some(to) = end {
                self.take(from, to, &came_by);
                return true;
            }
            if self.questions.get() >= QUESTIONS {
                return false;
            }
        }
        false
    }

    /// The containers of a node that may be moved for the sake of balance: one of each class.
    fn movable(&self, node: NodeId) -> Vec<Arc<Container>> {
        let cluster = self.proposed.cluster;
        let mut sorts: BTreeSet<ContainerClass> = BTreeSet::new();
        let residents = cluster.node(node).into_iter().flat_map(|node| &node.residents);
        let left = residents.filter(|id| !self.sent.contains_key(id));
        let came =
            self.began.iter().filter(|id| self.paths == Paths::Any && self.sent.get(id) == Some(&node));
        let containers = left.chain(came).filter_map(|id| cluster.container(*id));
        let mut movable = Vec::new();
        for container in containers.filter(|container| self.is_movable(container)) {
            let sort = match container.application_id {
                Some(application) if container.env_variables.is_empty() => Ok(application),
                _ => Err(container.id),
            };
            if sorts.insert(sort) {
                movable.push(Arc::clone(container));
            }
        }
        movable
    }

    fn is_movable(&self, container: &Container) -> bool {
        let placed = container.placement.as_ref().map(|placement| &placement.spec);
        let spec = self.proposed.cluster.spec_of(container);
        container.balance
            && container.desired == Desired::Running
            && container.phase.kind() == PhaseKind::Up
            && !container.lost
            && container.migrating.is_none()
            && placed.is_some_and(|placed| placed.restart_policy == RestartPolicy::Always)
            && !container.has_data()
            && spec.strategy.unwrap_or(self.strategy) == Strategy::Spread
    }

    fn one_that_fits(&self, containers: &[Arc<Container>], to: NodeId) -> Option<ContainerId> {
        let target = self.proposed.cluster.node(to)?;
        for container in containers {
            self.questions.set(self.questions.get() + 1);
            if self.fits(container, target) {
                return Some(container.id);
            }
        }
        None
    }

    /// Whether a container may move there without a loss in its application's preferences.
    fn fits(&self, container: &Container, target: &Node) -> bool {
        let cluster = self.proposed.cluster;
        let spec = cluster.spec_of(container);
        let Some(placement) = &container.placement else { return false };
        let Some(source) = cluster.node(placement.node_id) else { return false };
        let request = Request::new(cluster, container, &spec, None, self.strategy);
        if check(&self.proposed, target, &request).is_err() {
            return false;
        }
        let spread = spread_counts(&self.proposed, &request);
        let there = score(&self.proposed, target, &request, spread.as_ref());
        let here = score(&self.proposed, source, &request, spread.as_ref());
        let is_even = match (&there.spread, &here.spread) {
            (Some((there, in_there)), Some((here, in_here))) => {
                there == here || (there.is_some() && (here.is_none() || in_there <= in_here))
            }
            _ => true,
        };
        there.penalty != Some(Penalty::LaunchFailed) && there.preferences.0 >= here.preferences.0 && is_even
    }

    /// Takes the path to a node, the last move first, because it makes room for the one before. A node on the
    /// path that is as full as its start is a better start: the same effect with fewer moves.
    fn take(&mut self, from: NodeId, to: NodeId, came_by: &BTreeMap<NodeId, (NodeId, ContainerId)>) {
        let count = |id: NodeId| self.counts.get(&id).copied();
        let mut begin = to;
        while let Some((source, _)) = came_by.get(&begin) {
            begin = *source;
            if begin == from || count(begin) >= count(from) {
                break;
            }
        }
        let from = begin;
        let mut at = to;
        while at != from
            && let Some((source, container_id)) = came_by.get(&at).copied()
        {
            if self.sent.insert(container_id, at).is_none() {
                self.began.push(container_id);
            }
            let cluster = self.proposed.cluster;
            if let (Some(container), Some(target)) = (cluster.container(container_id), cluster.node(at)) {
                let spec = cluster.spec_of(container);
                self.proposed.send(
                    source,
                    target,
                    &Request::new(cluster, container, &spec, None, self.strategy),
                );
            }
            at = source;
        }
        self.recount(from, |count| count - 1);
        self.recount(to, |count| count + 1);
    }

    /// The net move of each container.
    fn moves(&self) -> impl Iterator<Item = Move> {
        self.began.iter().filter_map(|id| {
            let from_node_id = self.proposed.cluster.container(*id)?.placement.as_ref()?.node_id;
            let node_id = self.sent.get(id).copied().filter(|to| *to != from_node_id)?;
            Some(Move { container_id: *id, from_node_id, node_id })
        })
    }

    /// The net moves as chains from nodes that end up with fewer containers to nodes that end up with more.
    /// Paths may have moved containers repeatedly, or in circles, which are omitted.
    fn chains(&self) -> Vec<Vec<Move>> {
        if self.paths == Paths::Single {
            return self.moves().map(|step| vec![step]).collect();
        }
        let mut leaving: BTreeMap<NodeId, VecDeque<Move>> = BTreeMap::new();
        let mut gains: BTreeMap<NodeId, i64> = BTreeMap::new();
        let mut sources: Vec<NodeId> = Vec::new();
        for step in self.moves() {
            *gains.entry(step.node_id).or_default() += 1;
            *gains.entry(step.from_node_id).or_default() -= 1;
            sources.push(step.from_node_id);
            leaving.entry(step.from_node_id).or_default().push_back(step);
        }
        let mut chains = Vec::new();
        for source in sources {
            if gains.get(&source).is_none_or(|gain| *gain >= 0) {
                continue;
            }
            let (mut at, mut chain): (NodeId, Vec<Move>) = (source, Vec::new());
            while gains.get(&at).is_none_or(|gain| *gain <= 0)
                && let Some(step) = leaving.get_mut(&at).and_then(VecDeque::pop_front)
            {
                at = step.node_id;
                chain.push(step);
                if let Some(circle) = chain.iter().position(|step| step.from_node_id == at) {
                    chain.truncate(circle);
                }
            }
            if let (Some(gain), false) = (gains.get_mut(&at), chain.is_empty()) {
                *gain -= 1;
                *gains.entry(source).or_default() += 1;
                // The last move first: it makes room for the one before.
                chains.push(chain.into_iter().rev().collect());
            }
        }
        chains
    }

    fn recount(&mut self, id: NodeId, change: impl FnOnce(u32) -> u32) {
        if let Some(count) = self.counts.get_mut(&id) {
            self.order.remove(&(*count, id));
            *count = change(*count);
            self.order.insert((*count, id));
        }
    }
}
