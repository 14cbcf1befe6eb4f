//! The fold itself: what each event does to the state.
//!
//! Each arm takes the event as a fact and never asks whether it should have happened: that was decided
//! before it was recorded. An event about something that is not there changes nothing.

use crate::cluster::{Cluster, Pause, Touched};
use crate::{Application, Container, Desired, Health, Node, Phase, Placement, Retired};
use imbl::{OrdMap, OrdSet};
use kdaemon_events::container::{
    ContainerAdopted, ContainerCreated, ContainerExited, ContainerLaunchFailed, ContainerLaunched,
    ContainerMigrationCommanded, ContainerObserved, ContainerPlaced, ContainerStopRequested,
    ContainerUpdated, SeenState,
};
use kdaemon_events::node::{
    Availability, NodeMounted, NodeObserved, NodeUnhealthy, NodeUpdated, Orphan, ProbeOutcome,
};
use kdaemon_events::{Envelope, Event, Generation, NodeId, Seq, Spec};
use std::sync::Arc;

impl Cluster {
    /// Folds one event in and notes whose rows it changed.
    pub fn apply(&mut self, envelope: &Envelope, touched: &mut Touched) {
        self.seq = envelope.seq;
        self.at = Some(envelope.at);
        match &envelope.event {
            Event::ClusterCreated(e) => self.id = Some(e.cluster_id),
            Event::LeaderElected(e) => self.term = e.term,
            Event::MigrationsPaused(e) => {
                self.paused = Some(Pause { reason: e.reason.clone(), seq: envelope.seq });
            }
            Event::MigrationsResumed(_) => self.paused = None,

            Event::NodeMounted(e) => self.node_mounted(e, touched),
            Event::NodeUpdated(e) => self.node_updated(e, touched),
            Event::NodeObserved(e) => self.node_observed(e, touched),
            Event::NodeHealthy(e) => {
                self.change_node(e.node_id, touched, |node| {
                    node.health = Health::Up;
                    node.was_up = true;
                    node.reason = None;
                    node.unhealthy_seq = None;
                });
                // Its containers stay LOST until each was seen there: what runs now need not be what ran then.
            }
            Event::NodeUnhealthy(e) => self.node_unhealthy(e, envelope.seq, touched),
            Event::NodeCordoned(e) => {
                self.change_node(e.node_id, touched, |node| node.availability = Availability::Cordoned);
            }
            Event::NodeUncordoned(e) => self.change_node(e.node_id, touched, |node| {
                node.availability = Availability::Active;
                node.then_unmount = false;
                node.drained = false;
                node.drain_seq = None;
            }),
            Event::NodeDrainStarted(e) => self.change_node(e.node_id, touched, |node| {
                node.availability = Availability::Draining;
                node.then_unmount |= e.then_unmount;
                node.drained = false;
                node.drain_seq = Some(envelope.seq);
            }),
            Event::NodeDrained(e) => self.change_node(e.node_id, touched, |node| node.drained = true),
            Event::NodeUnmounted(e) => self.node_unmounted(e.node_id, touched),

            Event::ApplicationCreated(e) => {
                self.application_names.insert(e.name.as_str().into(), e.application_id);
                self.applications.insert(
                    e.application_id,
                    Arc::new(Application {
                        id: e.application_id,
                        name: e.name.clone(),
                        user_id: e.user_id.clone(),
                        spec: Arc::new(e.spec.clone()),
                        is_enabled: e.is_enabled,
                        dependencies: e.dependencies.clone(),
                        replicas: e.replicas,
                        update_policy: e.update_policy,
                        containers: OrdSet::new(),
                        up: 0,
                        seq: envelope.seq,
                    }),
                );
                touched.applications.insert(e.application_id);
            }
            Event::ApplicationUpdated(e) => self.application_updated(e, touched),
            Event::ApplicationDeleted(e) => {
                if let Some(old) = self.applications.remove(&e.application_id) {
                    self.application_names.remove(old.name.as_str());
                    touched.applications.insert(e.application_id);
                }
            }
            Event::ApplicationScaled(e) => {
                self.change_application(e.application_id, touched, |a| a.replicas = e.replicas);
            }

            Event::ContainerCreated(e) => self.container_created(e, envelope.seq, touched),
            Event::ContainerUpdated(e) => self.container_updated(e, touched),
            Event::ContainerLaunchRequested(e) => self.change_container(e.container_id, touched, |c| {
                c.desired = Desired::Running;
                c.phase = Phase::Waiting;
                c.attempts = 0;
                c.avoid = OrdSet::new();
                c.not_before = None;
                c.reason = None;
                c.restarts = 0;
                c.quick_exits = 0;
                c.lost = false;
                c.retire_placement(false);
                c.cause = envelope.seq;
            }),
            Event::ContainerPlaced(e) => self.container_placed(e, envelope.seq, touched),
            Event::ContainerLaunched(e) => self.container_launched(e, envelope, touched),
            Event::ContainerLaunchFailed(e) => self.container_launch_failed(e, envelope.seq, touched),
            Event::ContainerObserved(e) => self.container_observed(e, envelope.seq, touched),
            Event::ContainerExited(e) => self.container_exited(e, envelope, touched),
            Event::ContainerUnhealthy(e) => self.change_container(e.container_id, touched, |c| {
                if c.is_current(e.generation) {
                    c.phase = Phase::Restarting;
                    c.unhealthy = true;
                    c.restarts = c.restarts.saturating_add(1);
                    c.not_before = Some(e.restart_at);
                    c.reason = Some("its health check failed; it is restarted".into());
                    c.cause = envelope.seq;
                }
            }),
            Event::ContainerHealthy(e) => self.change_container(e.container_id, touched, |c| {
                if c.is_current(e.generation) {
                    c.unhealthy = false;
                }
            }),
            Event::ContainerMigrationCommanded(e) => {
                self.container_migration_commanded(e, envelope.seq, touched);
            }
            Event::ContainerMigrated(e) => self.change_container(e.container_id, touched, |c| {
                c.migrating = None;
                c.reason = None;
            }),
            Event::ContainerStopRequested(e) => self.container_stop_requested(e, envelope.seq, touched),
            Event::ContainerStopped(e) => self.change_container(e.container_id, touched, |c| {
                c.phase = Phase::Down;
                c.lost = false;
                c.reason = None;
                c.up_since = None;
                c.forget_addresses();
            }),
            Event::ContainerRemoved(e) => {
                let orphan = Orphan { container_id: e.container_id, generation: e.generation };
                self.note_node(e.node_id, |node| {
                    node.orphans.remove(&orphan);
                });
                self.change_container(e.container_id, touched, |c| c.drop_placement(e.generation));
            }
            Event::ContainerDeleted(e) => self.remove_container(e.container_id, touched),
            Event::ContainerAdopted(e) => self.container_adopted(e, touched),

            Event::RebalancePlanned(_)
            | Event::ObservationsPruned(_)
            | Event::TokenCreated(_)
            | Event::TokenRevoked(_) => {}
        }
    }

    /// Folds a stretch of events into a state.
    #[must_use]
    pub fn fold<'a>(mut self, events: impl IntoIterator<Item = &'a Envelope>) -> Self {
        let mut touched = Touched::default();
        for envelope in events {
            self.apply(envelope, &mut touched);
        }
        self
    }

    fn node_mounted(&mut self, e: &NodeMounted, touched: &mut Touched) {
        self.node_names.insert(e.name.as_str().into(), e.node_id);
        let node = Node {
            id: e.node_id,
            name: e.name.clone(),
            user_id: e.user_id.clone(),
            endpoint: e.endpoint.clone(),
            labels: e.labels.clone(),
            capacity: e.capacity,
            availability: Availability::Active,
            then_unmount: false,
            drained: false,
            health: Health::Unknown,
            was_up: false,
            reason: None,
            failures: 0,
            successes: 0,
            observed: self.seq,
            unhealthy_seq: None,
            drain_seq: None,
            faulted_at: None,
            engine: None,
            residents: OrdSet::new(),
            holds: OrdSet::new(),
            ports: OrdMap::new(),
            reserved_millicpus: 0,
            reserved_memory_bytes: 0,
            orphans: OrdSet::new(),
            seq: self.seq,
        };
        self.nodes.insert(e.node_id, Arc::new(node));
        self.reindex_node(e.node_id);
        touched.nodes.insert(e.node_id);
    }

    fn node_updated(&mut self, e: &NodeUpdated, touched: &mut Touched) {
        if let Some(name) = &e.name {
            if let Some(old) = self.nodes.get(&e.node_id) {
                self.node_names.remove(old.name.as_str());
                self.node_names.insert(name.as_str().into(), e.node_id);
            }
        }
        self.change_node(e.node_id, touched, |node| {
            set(&mut node.name, e.name.as_ref());
            set(&mut node.user_id, e.user_id.as_ref());
            set(&mut node.labels, e.labels.as_ref());
            set(&mut node.capacity, e.capacity.as_ref());
            if let Some(endpoint) = &e.endpoint {
                node.endpoint = endpoint.clone();
                // Another address may be another engine: what is known of the old one says nothing of it.
                node.failures = 0;
                node.successes = 0;
                node.health = Health::Unknown;
                node.engine = None;
                node.reason = None;
                node.orphans = OrdSet::new();
            }
        });
    }

    fn node_observed(&mut self, e: &NodeObserved, touched: &mut Touched) {
        let seq = self.seq;
        self.note_node(e.node_id, |node| {
            node.observed = seq;
            match &e.outcome {
                ProbeOutcome::Answered { .. } => {
                    node.failures = 0;
                    node.successes = node.successes.saturating_add(1);
                }
                ProbeOutcome::Failed { .. } => {
                    node.successes = 0;
                    node.failures = node.failures.saturating_add(1);
                }
            }
            if matches!(e.outcome, ProbeOutcome::Answered { running: Some(_), .. }) {
                node.orphans = OrdSet::new(); // this is the whole list of them
            }
            for orphan in &e.orphans {
                node.orphans.insert(*orphan);
            }
        });
        if let Some(engine) = &e.engine {
            self.change_node(e.node_id, touched, |node| node.engine = Some(engine.clone()));
        }
    }

    fn node_unhealthy(&mut self, e: &NodeUnhealthy, seq: Seq, touched: &mut Touched) {
        self.change_node(e.node_id, touched, |node| {
            node.health = Health::Down;
            node.reason = Some(e.reason.clone());
            node.unhealthy_seq = Some(seq);
        });
        let Some(node) = self.nodes.get(&e.node_id).cloned() else { return };
        for id in &node.residents {
            self.change_container(*id, touched, |c| {
                c.lost = true;
                c.up_since = None;
                c.reason = Some(format!("node {} is unhealthy: {}", node.name, e.reason));
                c.cause = seq;
                // A predecessor there can serve no longer either.
                c.release_held_on(e.node_id);
            });
        }
        // Those that are moving away from it ran on there: not any more.
        for id in &node.holds {
            let served_there = self.containers.get(id).is_some_and(|c| {
                c.retired.iter().any(|retired| retired.held && retired.placement.node_id == e.node_id)
            });
            if served_there {
                self.change_container(*id, touched, |c| c.release_held_on(e.node_id));
            }
        }
    }

    fn node_unmounted(&mut self, id: NodeId, touched: &mut Touched) {
        let Some(node) = self.nodes.get(&id).cloned() else { return };
        let seq = self.seq;
        for container in &node.holds {
            self.change_container(*container, touched, |c| {
                c.retired.retain(|retired| retired.placement.node_id != id);
                if c.placement.as_ref().is_some_and(|p| p.node_id == id) {
                    c.placement = None;
                    c.lost = false;
                    c.migrating = None;
                    c.cause = seq;
                    c.phase = match c.desired {
                        Desired::Running => Phase::Waiting,
                        Desired::Stopped if c.phase == Phase::Created => Phase::Created,
                        Desired::Stopped => Phase::Down,
                        Desired::Deleted => Phase::Deleting,
                    };
                }
            });
        }
        if self.node_names.get(node.name.as_str()) == Some(&id) {
            self.node_names.remove(node.name.as_str());
        }
        self.nodes.remove(&id);
        self.reindex_node(id);
        touched.nodes.insert(id);
    }

    fn application_updated(
        &mut self,
        e: &kdaemon_events::application::ApplicationUpdated,
        touched: &mut Touched,
    ) {
        if let Some(name) = &e.name
            && let Some(old) = self.applications.get(&e.application_id).cloned()
        {
            self.application_names.remove(old.name.as_str());
            self.application_names.insert(name.as_str().into(), e.application_id);
            // Rows of its dependents show its name.
            let dependents: Vec<_> = self
                .applications
                .values()
                .filter(|a| a.dependencies.contains(&e.application_id))
                .map(|a| a.id)
                .collect();
            for dependent in dependents {
                self.change_application(dependent, touched, |_| {});
            }
        }
        self.change_application(e.application_id, touched, |application| {
            set(&mut application.name, e.name.as_ref());
            set(&mut application.user_id, e.user_id.as_ref());
            set(&mut application.is_enabled, e.is_enabled.as_ref());
            set(&mut application.dependencies, e.dependencies.as_ref());
            set(&mut application.update_policy, e.update_policy.as_ref());
            if let Some(spec) = &e.spec {
                application.spec = Arc::new(spec.clone());
            }
        });
    }

    fn container_created(&mut self, e: &ContainerCreated, seq: Seq, touched: &mut Touched) {
        let container = Container {
            id: e.container_id,
            name: e.name.clone(),
            user_id: e.user_id.clone(),
            application_id: e.application_id,
            env_variables: e.env_variables.clone(),
            balance: e.balance,
            replica: e.replica,
            desired: Desired::Stopped,
            phase: Phase::Created,
            lost: false,
            generation: Generation::default(),
            placement: None,
            retired: Vec::new(),
            migrating: None,
            reason: None,
            attempts: 0,
            avoid: OrdSet::new(),
            not_before: None,
            unhealthy: false,
            restarts: 0,
            quick_exits: 0,
            up_since: None,
            bound_to: None,
            cause: seq,
            seq,
        };
        self.insert_container(container, touched);
    }

    fn container_updated(&mut self, e: &ContainerUpdated, touched: &mut Touched) {
        self.change_container(e.container_id, touched, |c| {
            set(&mut c.name, e.name.as_ref());
            set(&mut c.user_id, e.user_id.as_ref());
            set(&mut c.application_id, e.application_id.as_ref());
            set(&mut c.env_variables, e.env_variables.as_ref());
            set(&mut c.balance, e.balance.as_ref());
        });
    }

    /// What a container is made from now: its application's specification with its own variables on top.
    /// Containers without variables of their own share the application's.
    #[must_use]
    pub fn spec_of(&self, container: &Container) -> Arc<Spec> {
        let Some(application) = container.application_id.and_then(|id| self.applications.get(&id)) else {
            return Arc::default();
        };
        if container.env_variables.is_empty() {
            return Arc::clone(&application.spec);
        }
        let mut spec = (*application.spec).clone();
        spec.env_variables.extend(container.env_variables.clone());
        Arc::new(spec)
    }

    fn new_placement(&self, container: &Container, generation: Generation, node_id: NodeId) -> Placement {
        Placement {
            generation,
            node_id,
            spec: self.spec_of(container),
            engine_id: None,
            ports: Vec::new(),
            access_link: None,
        }
    }

    fn container_placed(&mut self, e: &ContainerPlaced, seq: Seq, touched: &mut Touched) {
        let Some(container) = self.containers.get(&e.container_id) else { return };
        let placement = self.new_placement(container, e.generation, e.node_id);
        self.change_container(e.container_id, touched, |c| {
            c.retire_placement(false);
            c.place(placement);
            c.cause = seq;
        });
    }

    fn container_launched(&mut self, e: &ContainerLaunched, envelope: &Envelope, touched: &mut Touched) {
        self.note_node(e.node_id, |node| node.faulted_at = None);
        self.change_container(e.container_id, touched, |c| {
            if !c.is_current(e.generation) {
                return;
            }
            if let Some(placement) = &mut c.placement {
                placement.engine_id = Some(e.engine_id.as_str().into());
                placement.ports.clone_from(&e.ports);
                placement.access_link = e.access_link.as_deref().map(Into::into);
                if placement.spec.is_bound_to_node() {
                    c.bound_to = Some(placement.node_id);
                }
            }
            if matches!(c.phase, Phase::Placed | Phase::Restarting | Phase::Up | Phase::Waiting) {
                c.phase = Phase::Up;
            }
            c.lost = false;
            c.reason = None;
            c.attempts = 0;
            c.avoid = OrdSet::new();
            c.not_before = None;
            c.unhealthy = false;
            c.up_since = Some(envelope.at);
            for retired in &mut c.retired {
                retired.held = false;
            }
            c.cause = envelope.seq;
        });
    }

    fn container_launch_failed(&mut self, e: &ContainerLaunchFailed, seq: Seq, touched: &mut Touched) {
        if let Some(node_id) = e.node_id.filter(|_| e.node_fault) {
            let at = self.at;
            self.note_node(node_id, |node| node.faulted_at = at);
        }
        self.change_container(e.container_id, touched, |c| {
            c.reason = Some(e.reason.clone());
            c.cause = seq;
            if e.attempt == 0 {
                return; // no node fits: it goes on waiting, and now says for what
            }
            if e.generation.is_some_and(|generation| !c.is_current(generation)) {
                return;
            }
            c.attempts = e.attempt;
            c.not_before = e.retry_at;
            if e.retry_at.is_none() {
                c.phase = Phase::Failed;
                c.migrating = None;
                c.retire_placement(false);
                for retired in &mut c.retired {
                    retired.held = false;
                }
            } else if e.node_fault {
                c.phase = Phase::Waiting;
                if let Some(node) = e.node_id {
                    c.avoid.insert(node);
                }
                c.retire_placement(false);
            }
        });
    }

    fn container_observed(&mut self, e: &ContainerObserved, seq: Seq, touched: &mut Touched) {
        self.change_container(e.container_id, touched, |c| match e.state {
            SeenState::Missing => {
                let was_current = c.is_current(e.generation);
                c.drop_placement(e.generation);
                if was_current {
                    c.lost = false;
                    c.cause = seq;
                    c.up_since = None;
                    if c.desired == Desired::Running {
                        c.phase = Phase::Waiting;
                        c.not_before = None;
                        c.reason = Some("it was removed from its node; it is launched again".into());
                    }
                }
            }
            SeenState::Running => {
                if c.is_current(e.generation) && c.desired == Desired::Stopped && c.phase == Phase::Down {
                    c.phase = Phase::Stopping;
                    c.reason = Some("somebody started it on its node; it is stopped again".into());
                    c.cause = seq;
                }
            }
            SeenState::Stopped => {}
        });
    }

    fn container_exited(&mut self, e: &ContainerExited, envelope: &Envelope, touched: &mut Touched) {
        self.change_container(e.container_id, touched, |c| {
            if !c.is_current(e.generation) {
                return;
            }
            let how = match (e.exit_code, e.out_of_memory) {
                (Some(code), true) => format!("it ran out of memory (exit code {code})"),
                (Some(code), false) => format!("it exited with code {code}"),
                (None, _) => "it does not run any more".to_owned(),
            };
            // Long enough up to be called stable: the pauses begin anew.
            let stable = c.up_since.is_some_and(|since| (envelope.at - since).num_seconds() >= 60);
            c.quick_exits = if stable { 1 } else { c.quick_exits.saturating_add(1) };
            c.lost = false;
            c.up_since = None;
            c.cause = envelope.seq;
            if let Some(restart_at) = e.restart_at {
                c.phase = Phase::Restarting;
                c.restarts = c.restarts.saturating_add(1);
                c.not_before = Some(restart_at);
                c.reason = Some(format!("{how}; start {} follows", c.restarts));
            } else {
                c.phase = Phase::Down;
                c.desired = Desired::Stopped;
                c.reason = Some(how);
                c.forget_addresses();
            }
        });
    }

    fn container_migration_commanded(
        &mut self,
        e: &ContainerMigrationCommanded,
        seq: Seq,
        touched: &mut Touched,
    ) {
        let Some(container) = self.containers.get(&e.container_id) else { return };
        let placement = self.new_placement(container, e.generation, e.node_id);
        let from =
            self.nodes.get(&e.from_node_id).map_or_else(|| e.from_node_id.to_string(), |n| n.name.clone());
        let to = self.nodes.get(&e.node_id).map_or_else(|| e.node_id.to_string(), |n| n.name.clone());
        self.change_container(e.container_id, touched, |c| {
            c.retire_placement(e.start_first);
            c.place(placement);
            c.attempts = 0;
            c.avoid = OrdSet::new();
            c.migrating = Some(e.reason);
            c.cause = seq;
            c.reason = Some(format!("it moves from {from} to {to}"));
        });
    }

    fn container_stop_requested(&mut self, e: &ContainerStopRequested, seq: Seq, touched: &mut Touched) {
        self.change_container(e.container_id, touched, |c| {
            c.cause = seq;
            c.migrating = None;
            c.not_before = None;
            c.reason = None;
            for retired in &mut c.retired {
                retired.held = false;
            }
            if e.then_delete {
                c.desired = Desired::Deleted;
                c.phase = Phase::Deleting;
                c.lost = false;
                c.retire_placement(false);
            } else {
                c.desired = Desired::Stopped;
                c.phase = Phase::Stopping;
            }
        });
    }

    fn container_adopted(&mut self, e: &ContainerAdopted, touched: &mut Touched) {
        let at = self.at;
        let seq = self.seq;
        self.change_container(e.container_id, touched, |c| {
            if !c.is_current(e.generation) {
                let Some(index) = c.retired.iter().position(|r| r.placement.generation == e.generation)
                else {
                    return;
                };
                let adopted = c.retired.remove(index).placement;
                c.retire_placement(false);
                c.placement = Some(adopted);
            }
            // It runs: no predecessor has to serve for it any longer.
            for retired in &mut c.retired {
                retired.held = false;
            }
            c.lost = false;
            c.migrating = None;
            c.reason = None;
            c.attempts = 0;
            c.not_before = None;
            c.cause = seq;
            if c.desired == Desired::Running {
                c.phase = Phase::Up;
                c.up_since = at;
            }
        });
    }
}

impl Container {
    /// Whether this generation is the wanted placement.
    fn is_current(&self, generation: Generation) -> bool {
        self.placement.as_ref().is_some_and(|p| p.generation == generation)
    }

    fn place(&mut self, placement: Placement) {
        self.generation = self.generation.max(placement.generation);
        self.placement = Some(placement);
        self.phase = Phase::Placed;
        self.lost = false;
        self.not_before = None;
        self.reason = None;
        self.up_since = None;
    }

    fn retire_placement(&mut self, held: bool) {
        if let Some(placement) = self.placement.take() {
            self.retired.push(Retired { placement, held });
        }
    }

    fn release_held_on(&mut self, node: NodeId) {
        for retired in self.retired.iter_mut().filter(|retired| retired.placement.node_id == node) {
            retired.held = false;
        }
    }

    fn drop_placement(&mut self, generation: Generation) {
        self.retired.retain(|retired| retired.placement.generation != generation);
        if self.is_current(generation) {
            self.placement = None;
        }
    }

    /// What does not run answers nowhere.
    fn forget_addresses(&mut self) {
        if let Some(placement) = &mut self.placement {
            placement.ports.clear();
            placement.access_link = None;
        }
    }
}

fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}
