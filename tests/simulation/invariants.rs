//! Invariants after every commit. They are checked where the log is written, on what was written, with an
//! independent fold: no daemon's view is used.

use crate::check;
use crate::rules;
use kdaemon::engine::Identity;
use kdaemon::journal::Committed;
use kdaemon::rows;
use kdaemon::says::Names;
use kdaemon::store::Table;
use kdaemon_events::cluster::Move;
use kdaemon_events::container::{
    ContainerMigrationCommanded as MovedEvent, ContainerPlaced as PlacedEvent, MigrationReason,
};
use kdaemon_events::{Actor, ContainerId, Endpoint, Envelope, Event, Generation, NodeId, RestartPolicy, Seq};
use kdaemon_projections::{Cluster, Container, Desired, Health, PhaseKind, Placement, Touched};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many states are remembered, for comparison with the past.
const REMEMBERED: usize = 2_048;
/// All indexes are recomputed after this many commits that changed something.
const INDEXES_EVERY: u64 = 32;

/// The violations found. The first one ends a run, because its consequences say nothing new.
#[derive(Default)]
pub struct Findings {
    list: Mutex<Vec<String>>,
    pub stop: CancellationToken,
}

impl Findings {
    pub fn add(&self, what: impl Into<String>) {
        self.list.lock().unwrap().push(what.into());
        self.stop.cancel();
    }

    pub fn all(&self) -> Vec<String> {
        self.list.lock().unwrap().clone()
    }
}

struct Written {
    daemon: String,
    last: Seq,
    /// Whether the daemon received the answer.
    confirmed: bool,
}

pub struct Checker {
    cluster: Cluster,
    states: VecDeque<Cluster>,
    ids: HashSet<Uuid>,
    /// A digest of each event's text.
    texts: Vec<u64>,
    commits: Vec<Written>,
    /// The commit that holds the events of a request.
    requests: BTreeMap<String, usize>,
    /// The leader according to the log.
    leader: String,
    changes: u64,
    /// The last event that is not an observation of a node.
    last_change: Seq,
    max_migrations: usize,
    /// When each node was last judged, and which older placements have to be gone before a placement is
    /// launched.
    judged: BTreeMap<NodeId, Seq>,
    in_the_way: BTreeMap<ContainerId, (Generation, Seq, Vec<Placement>)>,
    /// Placements that were replaced and then kept after all.
    adopted: BTreeSet<(ContainerId, Generation)>,
    /// The last plan of the rebalancer, and its event.
    planned: Option<(Seq, Vec<Move>)>,
    findings: Arc<Findings>,
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Checker {
    pub fn new(max_migrations: usize, findings: Arc<Findings>) -> Self {
        Self {
            cluster: Cluster::default(),
            states: VecDeque::new(),
            ids: HashSet::new(),
            texts: Vec::new(),
            commits: Vec::new(),
            requests: BTreeMap::new(),
            leader: String::new(),
            changes: 0,
            last_change: Seq(0),
            max_migrations,
            judged: BTreeMap::new(),
            in_the_way: BTreeMap::new(),
            adopted: BTreeSet::new(),
            planned: None,
            findings,
        }
    }

    /// The state folded from the log.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The last commit that changed something.
    pub fn last_change(&self) -> Seq {
        self.last_change
    }

    pub fn events(&self) -> u64 {
        self.texts.len() as u64
    }

    pub fn find(&self, what: impl std::fmt::Display) {
        self.findings.add(format!("event {}: {what}", self.cluster.seq()));
    }

    /// Records a commit. Returns its number.
    pub fn committed(&mut self, daemon: &str, texts: &[String]) -> usize {
        let number = self.commits.len();
        let mut touched = Touched::default();
        let (mut only_observations, mut a_node_failed) = (true, false);
        for text in texts {
            match Envelope::decode(text) {
                Ok(envelope) => {
                    only_observations &= matches!(envelope.event, Event::NodeObserved(_));
                    a_node_failed |= matches!(envelope.event, Event::NodeUnhealthy(_));
                    self.texts.push(digest(text));
                    self.event(daemon, number, &envelope, &mut touched);
                }
                Err(error) => self.find(format!("{error}: {text}")),
            }
        }
        let last = self.cluster.seq();
        self.commits.push(Written { daemon: daemon.to_owned(), last, confirmed: false });
        if a_node_failed && rules::is_mass_failure(&self.cluster) && self.cluster.paused().is_none() {
            self.find("most nodes are down, and containers keep moving");
        }
        if !only_observations {
            self.changes += 1;
            self.last_change = last;
            self.shapes(&touched.containers);
            if self.changes.is_multiple_of(INDEXES_EVERY) {
                self.indexes();
            }
        }
        if self.states.len() == REMEMBERED {
            self.states.pop_front();
        }
        self.states.push_back(self.cluster.clone());
        number
    }

    fn event(&mut self, daemon: &str, commit: usize, envelope: &Envelope, touched: &mut Touched) {
        if envelope.seq != self.cluster.seq().next() {
            self.find(format!("event {} follows", envelope.seq));
        }
        if self.cluster.at().is_some_and(|at| envelope.at < at) {
            self.find("the next event is older than this one");
        }
        if !self.ids.insert(envelope.id.0) {
            self.find(format!("two events have the id {}", envelope.id));
        }
        if let Actor::Reactor { name } = &envelope.actor
            && name != "daemon"
            && daemon != self.leader
        {
            self.find(format!(
                "the {name} of {daemon} wrote {:?}, but {} leads",
                envelope.event, self.leader
            ));
        }
        if let Some(request) = &envelope.request_id
            && *self.requests.entry(request.0.clone()).or_insert(commit) != commit
        {
            self.find(format!("the events of request {} are in two commits", request.0));
        }
        for breach in rules::breaches(&self.cluster, &envelope.event, self.max_migrations) {
            self.find(format!("{breach}, yet {:?} follows", envelope.event));
        }
        self.workloads(envelope);
        match &envelope.event {
            Event::RebalancePlanned(e) => self.planned = Some((envelope.seq, e.moves.clone())),
            Event::ContainerMigrationCommanded(e) if e.reason == MigrationReason::Balance => {
                let is_it = |step: &Move| {
                    (step.container_id, step.from_node_id, step.node_id)
                        == (e.container_id, e.from_node_id, e.node_id)
                };
                let plan = self.planned.as_ref().filter(|(seq, _)| envelope.cause == Some(*seq));
                if !plan.is_some_and(|(_, moves)| moves.iter().any(is_it)) {
                    self.find(format!("no plan has {e:?}"));
                }
            }
            _ => {}
        }
        if let Event::LeaderElected(e) = &envelope.event {
            if e.term <= self.cluster.term() {
                self.find(format!("term {} follows term {}", e.term, self.cluster.term()));
            }
            self.leader.clone_from(&e.daemon);
        }
        self.cluster.apply(envelope, touched);
        self.one_after_the_other(&envelope.event);
    }

    /// A daemon orders an engine to delete a volume: a person has asked for it, with its container.
    pub fn to_be_deleted(&self, volume: &str) {
        let is_asked = |cluster: &Cluster| {
            cluster.containers().any(|c| {
                let is_its_own =
                    c.home.as_ref().is_some_and(|home| home.volumes.iter().any(|v| v.name == volume));
                is_its_own && c.delete_volumes && c.desired == Desired::Deleted
            })
        };
        if !self.states.iter().any(is_asked) && !is_asked(&self.cluster) {
            self.find(format!("the volume {volume} is deleted, and no person asked for it"));
        }
    }

    /// Checks what rollouts, jobs and containers with data must not do.
    fn workloads(&mut self, envelope: &Envelope) {
        let person = !matches!(envelope.actor, Actor::Reactor { .. });
        match &envelope.event {
            Event::ContainerLaunchRequested(e) => {
                let is_done = |c: &&Arc<Container>| c.phase.kind() == PhaseKind::Completed;
                if let Some(done) = self.cluster.container(e.container_id).filter(is_done)
                    && !person
                {
                    self.find(format!(
                        "{} has completed, and is launched again by {}",
                        done.name, envelope.actor
                    ));
                }
            }
            Event::ContainerMigrationCommanded(e) => {
                let Some(container) = self.cluster.container(e.container_id).cloned() else { return };
                let spec = container.placement.as_ref().map(|p| p.spec.restart_policy);
                let stays = container.home.is_some() || spec != Some(RestartPolicy::Always);
                if e.reason == MigrationReason::Balance && stays {
                    self.find(format!("{} has data or is a job, and is moved for balance", container.name));
                }
                let application = container.application_id.and_then(|id| self.cluster.application(id));
                let paused = application.is_some_and(|application| application.is_paused());
                if e.reason == MigrationReason::Update && paused {
                    self.find(format!("the rollout of {} is paused and continues", container.name));
                }
            }
            Event::ContainerReady(e) => {
                let Some(container) = self.cluster.container(e.container_id) else { return };
                let application = container.application_id.and_then(|id| self.cluster.application(id));
                let min_ready_ms = application.map_or(0, |application| application.update.min_ready_ms);
                let up_ms = container.up_since().map_or(0, |since| (envelope.at - since).num_milliseconds());
                if u64::try_from(up_ms).unwrap_or(0) < min_ready_ms {
                    self.find(format!("{} serves after {up_ms} of {min_ready_ms} ms", container.name));
                }
            }
            _ => {}
        }
    }

    /// A placement that stopped serving when its successor was placed, on a node that stays healthy, is gone
    /// before the successor is launched: the two never run at once.
    fn one_after_the_other(&mut self, event: &Event) {
        let seq = self.cluster.seq();
        match event {
            Event::ContainerAdopted(e) => drop(self.adopted.insert((e.container_id, e.generation))),
            Event::NodeHealthy(e) => drop(self.judged.insert(e.node_id, seq)),
            Event::NodeUnhealthy(e) => drop(self.judged.insert(e.node_id, seq)),
            Event::NodeMounted(e) => drop(self.judged.insert(e.node_id, seq)),
            Event::ContainerPlaced(PlacedEvent { container_id: id, generation, .. })
            | Event::ContainerMigrationCommanded(MovedEvent { container_id: id, generation, .. }) => {
                let Some(container) = self.cluster.container(*id) else { return };
                let is_up = |id| self.cluster.node(id).is_some_and(|node| node.health == Health::Up);
                let old = container.retired.iter().filter(|r| !r.held && r.placement.engine_id.is_some());
                let old: Vec<Placement> =
                    old.map(|r| r.placement.clone()).filter(|p| is_up(p.node_id)).collect();
                self.in_the_way.insert(*id, (*generation, seq, old));
            }
            Event::ContainerLaunched(e) => {
                let Some((generation, since, old)) = self.in_the_way.remove(&e.container_id) else { return };
                let Some(container) = self.cluster.container(e.container_id) else { return };
                let left = old.into_iter().filter(|_| generation == e.generation).find(|old| {
                    self.judged.get(&old.node_id).is_none_or(|judged| *judged < since)
                        && container.retired.iter().any(|r| r.placement.generation == old.generation)
                });
                if let Some(left) = left {
                    self.find(format!("{:?} runs although {:?} was not removed", e, left.generation));
                }
            }
            _ => {}
        }
    }

    /// Records that the commit's daemon received the answer.
    pub fn confirmed(&mut self, number: usize) {
        self.commits[number].confirmed = true;
    }

    fn shapes(&self, ids: &BTreeSet<ContainerId>) {
        for id in ids {
            let Some(container) = self.cluster.container(*id) else { continue };
            if let Some(why) = misshapen(container) {
                self.find(format!("{why}: {container:?}"));
            }
        }
    }

    /// Every index agrees with the containers.
    pub fn indexes(&self) {
        let checked = catch_unwind(AssertUnwindSafe(|| check::indexes(&self.cluster)));
        if checked.is_err() {
            self.find("an index is not what its containers say (see the panic above)");
        }
    }

    /// A daemon is about to start a container that runs and fails its health check. Where the log says the latter, too,
    /// this is why it is started again, and it should have been stopped.
    pub fn starts_while_unhealthy(&self, endpoint: &Endpoint, identity: Identity) {
        let Some(container) = self.cluster.container(identity.container) else { return };
        if container.is_unhealthy() && container.generation == identity.generation {
            self.find(format!(
                "{endpoint} receives the order to start {identity:?}, which is unhealthy and was not stopped"
            ));
        }
    }

    /// Checks that a daemon that removes a container from an engine never removes a wanted one.
    pub fn to_be_removed(&self, endpoint: &Endpoint, identity: Identity) {
        let Some(container) = self.cluster.container(identity.container) else { return };
        let wanted = container.placement.as_ref().filter(|placement| {
            placement.generation == identity.generation
                && self.cluster.node(placement.node_id).is_some_and(|node| node.endpoint == *endpoint)
        });
        if wanted.is_some()
            && container.desired == Desired::Running
            && !self.adopted.contains(&(identity.container, identity.generation))
        {
            self.find(format!("{endpoint} receives the order to remove {identity:?}, which is wanted there"));
        }
    }

    /// Checks that a published state is durable, and the fold of the log.
    pub fn published(&self, daemon: &str, committed: &Committed) {
        let seq = committed.cluster.seq();
        if seq > self.cluster.seq() {
            self.find(format!("{daemon} published event {seq}, which is not durable"));
        }
        if committed.events.iter().all(|e| matches!(e.event, Event::NodeObserved(_))) {
            return;
        }
        if let Some(state) = self.state_at(seq)
            && *state != *committed.cluster
        {
            self.find(format!("what {daemon} published at event {seq} is not the fold of the log"));
        }
    }

    fn state_at(&self, seq: Seq) -> Option<&Cluster> {
        let at = self.states.partition_point(|state| state.seq() < seq);
        self.states.get(at).filter(|state| state.seq() == seq)
    }

    /// Checks that the tables equal the fold of the log at the seq that they state.
    pub fn tables_written(&self, daemon: &str, reflects: Seq, tables: &[Vec<(Uuid, String)>]) {
        let Some(state) = self.state_at(reflects) else { return };
        for (table, rows) in Table::ALL.into_iter().zip(tables) {
            let expected = rows_of(state, table);
            if let Some((id, row)) = rows.iter().find(|(id, row)| expected.get(id) != Some(row)) {
                let wanted = expected.get(id).map_or("nothing", String::as_str);
                self.find(format!(
                    "{daemon} wrote {} at {reflects}: {row}, where the log says {wanted}",
                    table.name()
                ));
            }
            if expected.len() > rows.len() {
                self.find(format!("{daemon} left out rows of {} at {reflects}", table.name()));
            }
        }
    }

    /// Checks that the events of an acknowledged command are in the log as reported.
    pub fn acknowledged(&self, daemon: &str, events: &[Envelope]) {
        for envelope in events {
            let index = usize::try_from(envelope.seq.0 - 1).unwrap_or(usize::MAX);
            let told = envelope.encode().map(|text| digest(&text)).ok();
            if self.texts.get(index).copied() != told || told.is_none() {
                self.find(format!("{daemon} acknowledged {envelope:?}, which is not in the log"));
            }
        }
    }

    /// Checks that a request that was reported as not done is not in the log. `knew`: whether its daemon
    /// could know.
    pub fn not_done(&self, request: &str, knew: bool) {
        let Some(commit) = self.requests.get(request).map(|number| &self.commits[*number]) else { return };
        if knew || commit.confirmed {
            self.find(format!(
                "{} said that request {request} was not done, but it is in the commit that ends at {}",
                commit.daemon, commit.last
            ));
        }
    }

    /// The requests among these that were carried out.
    pub fn done<'a>(&self, requests: &'a [String]) -> Vec<&'a String> {
        requests.iter().filter(|request| self.requests.contains_key(*request)).collect()
    }

    /// Checks that the log, read again at the end, is what was written.
    pub fn unchanged(&self, texts: impl Iterator<Item = String>) {
        let now: Vec<u64> = texts.map(|text| digest(&text)).collect();
        if now != self.texts {
            self.find("the log is not what was written");
        }
    }
}

/// Why this container's state is impossible; `None` if it is not.
fn misshapen(container: &Container) -> Option<&'static str> {
    let has_node = matches!(
        container.phase.kind(),
        PhaseKind::Placed | PhaseKind::Up | PhaseKind::Restarting | PhaseKind::Stopping
    );
    if has_node && container.placement.is_none() {
        return Some("it is on no node");
    }
    if matches!(container.phase.kind(), PhaseKind::Waiting | PhaseKind::Created | PhaseKind::Deleting)
        && container.placement.is_some()
    {
        return Some("it has a placement that its phase rules out");
    }
    if container.phase.kind() == PhaseKind::Failed && container.not_before().is_none() {
        return Some("it has failed, and no time is set for the next try");
    }
    let mut generations = BTreeSet::new();
    let all = container.placement.iter().chain(container.retired.iter().map(|retired| &retired.placement));
    for placement in all {
        if !generations.insert(placement.generation) {
            return Some("a generation is there twice");
        }
        if placement.generation > container.generation {
            return Some("it has a generation that was never given");
        }
    }
    if container.retired.iter().filter(|retired| retired.held).count() > 1 {
        return Some("two predecessors serve");
    }
    None
}

/// The rows of a table, folded.
pub fn rows_of(cluster: &Cluster, table: Table) -> BTreeMap<Uuid, String> {
    let text = |row: serde_json::Result<String>| row.unwrap_or_default();
    match table {
        Table::Nodes => cluster
            .nodes()
            .map(|n| (n.id.0, text(serde_json::to_string(&rows::node(Names::ids(), n)))))
            .collect(),
        Table::Applications => cluster
            .applications()
            .map(|a| (a.id.0, text(serde_json::to_string(&rows::application(Names::ids(), cluster, a)))))
            .collect(),
        Table::Containers => cluster
            .containers()
            .map(|c| (c.id.0, text(serde_json::to_string(&rows::container(Names::ids(), cluster, c)))))
            .collect(),
    }
}
