//! The fold: the effect of each event on the state.
//!
//! Each arm takes the event as a fact and never checks whether it should have happened: that was decided
//! before it was recorded. An event about a missing subject changes nothing.

mod containers;

use crate::cluster::{Cluster, Pause, Touched};
use crate::node::UnmountedNode;
use crate::{Application, Attempts, Desired, Health, Node, Phase, PhaseKind, Reason, Rollout, RolloutState};
use imbl::{OrdMap, OrdSet};
use kdaemon_events::cluster::ObservationsPruned;
use kdaemon_events::node::{
    Availability, LOCAL_NODE, NodeMounted, NodeObserved, NodeUnhealthy, NodeUpdated, ProbeOutcome,
};
use kdaemon_events::{ApplicationId, Endpoint, Envelope, Event, NodeId, PlacementId, Seq};
use std::sync::Arc;

impl Cluster {
    /// Folds one event into the state and records whose rows it changed.
    pub fn apply(&mut self, envelope: &Envelope, touched: &mut Touched) {
        self.seq = envelope.seq;
        self.at = Some(envelope.at);
        match &envelope.event {
            Event::ClusterCreated(e) => self.id = Some(e.cluster_id),
            Event::LeaderElected(e) => self.term = e.term,
            Event::MigrationsPaused(e) => {
                self.paused = Some(Pause { unhealthy: e.unhealthy, nodes: e.nodes, seq: envelope.seq });
            }
            Event::MigrationsResumed(_) => self.paused = None,

            Event::NodeMounted(e) => self.node_mounted(e, touched),
            Event::NodeUpdated(e) => self.node_updated(e, touched),
            Event::NodeObserved(e) => self.node_observed(e, touched),
            Event::NodeHealthy(e) => {
                let at = self.at;
                self.change_node(e.node_id, touched, |node| {
                    if node.was_up && node.health == Health::Down {
                        node.note_return(at);
                    }
                    node.health = Health::Up;
                    node.was_up = true;
                    node.faults = OrdMap::new();
                    node.failure = None;
                    node.unhealthy_seq = None;
                });
                self.note_chance(e.node_id);
                // The node's containers stay LOST until each was seen there: what runs now need not be what
                // ran before.
            }
            Event::NodeUnhealthy(e) => self.node_unhealthy(e, envelope.seq, touched),
            Event::NodeCordoned(e) => {
                self.change_node(e.node_id, touched, |node| node.availability = Availability::Cordoned);
            }
            Event::NodeUncordoned(e) => {
                self.change_node(e.node_id, touched, |node| {
                    node.availability = Availability::Active;
                    node.then_unmount = false;
                    node.drained = false;
                    node.drain_seq = None;
                    node.drain_progress_at = None;
                });
                self.note_chance(e.node_id);
            }
            Event::NodeDrainStarted(e) => self.change_node(e.node_id, touched, |node| {
                node.availability = Availability::Draining;
                node.then_unmount |= e.then_unmount;
                node.drained = false;
                node.drain_seq = Some(envelope.seq);
                node.drain_progress_at = Some(envelope.at);
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
                        spec: Arc::new((*e.spec).clone()),
                        is_enabled: e.is_enabled,
                        dependencies: e.dependencies.clone(),
                        replicas: e.replicas,
                        update_policy: e.update_policy,
                        containers: OrdSet::new(),
                        serving: 0,
                        outdated: 0,
                        update: e.update,
                        rollout: None,
                        round: 0,
                        served: None,
                        served_before: None,
                        nodes: OrdMap::new(),
                        seq: envelope.seq,
                    }),
                );
                self.rolling.remove(&e.application_id);
                touched.applications.insert(e.application_id);
            }
            Event::ApplicationUpdated(e) => self.application_updated(e, touched),
            Event::ApplicationDeleted(e) => {
                if let Some(old) = self.applications.remove(&e.application_id) {
                    self.application_names.remove(old.name.as_str());
                    self.rolling.remove(&e.application_id);
                    touched.applications.insert(e.application_id);
                }
            }
            Event::ApplicationScaled(e) => {
                self.change_application(e.application_id, touched, |a| a.replicas = e.replicas);
            }

            Event::ApplicationRestarted(e) => {
                let before = self.outdated_of(e.application_id);
                self.change_application(e.application_id, touched, |application| {
                    application.round = application.round.saturating_add(1);
                    application.rollout = None;
                });
                self.recount_outdated(e.application_id, &before, touched);
            }
            Event::RolloutStarted(e) => self.change_application(e.application_id, touched, |application| {
                application.rollout = Some(Rollout {
                    state: RolloutState::Running,
                    since: envelope.seq,
                    of: e.outdated,
                    failures: 0,
                    failed: None,
                });
            }),
            Event::RolloutPaused(e) => self.end_rollout(e.application_id, touched, |rollout| {
                rollout.state = RolloutState::Paused;
                rollout.failures = e.failures;
                rollout.failed = Some(e.container_id);
            }),
            Event::RolloutCompleted(e) => self.end_rollout(e.application_id, touched, |rollout| {
                rollout.state = RolloutState::Completed;
            }),
            Event::RolloutRolledBack(e) => self.end_rollout(e.application_id, touched, |rollout| {
                rollout.state = RolloutState::RolledBack;
            }),

            Event::ContainerCreated(e) => self.container_created(e, envelope.seq, touched),
            Event::ContainerUpdated(e) => self.container_updated(e, touched),
            Event::ContainerLaunchRequested(e) => self.change_container(e.container_id, touched, |c| {
                c.desired = Desired::Running;
                let is_kept = e.generation.is_some_and(|generation| c.is_current(generation));
                c.phase = if is_kept {
                    Phase::Restarting { attempts: Attempts::default(), unhealthy: false }
                } else {
                    c.retire_placement(false);
                    Phase::Waiting(Attempts::default())
                };
                c.reason = None;
                c.restarts = 0;
                c.quick_exits = 0;
                c.lost = false;
                c.cause = envelope.seq;
            }),
            Event::ContainerPlaced(e) => self.container_placed(e, envelope.seq, touched),
            Event::ContainerLaunched(e) => self.container_launched(e, envelope, touched),
            Event::ContainerUnschedulable(e) => self.container_unschedulable(e, envelope.seq, touched),
            Event::ContainerLaunchFailed(e) => self.container_launch_failed(e, envelope.seq, touched),
            Event::ContainerLaunchAbandoned(e) => {
                self.container_launch_abandoned(e, envelope.seq, touched);
            }
            Event::ContainerObserved(e) => self.container_observed(e, envelope.seq, touched),
            Event::ContainerExited(e) => self.container_exited(e, envelope, touched),
            Event::ContainerUnhealthy(e) => self.container_unhealthy(e, envelope, touched),
            Event::ContainerHealthy(e) => self.container_healthy(e, envelope, touched),
            Event::ContainerReady(e) => self.container_ready(e.container_id, e.generation, envelope, touched),
            Event::ContainerCompleted(e) => self.container_completed(e, envelope.seq, touched),
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
                c.forget_addresses();
            }),
            Event::ContainerRemoved(e) => {
                let orphan = PlacementId { container_id: e.container_id, generation: e.generation };
                self.note_node(e.node_id, |node| {
                    node.orphans.remove(&orphan);
                });
                self.change_container(e.container_id, touched, |c| c.drop_placement(e.generation, e.node_id));
            }
            Event::ContainerDeleted(e) => self.remove_container(e.container_id, touched),
            Event::ContainerAdopted(e) => self.container_adopted(e, touched),

            Event::VolumesRemoved(e) => self.volumes_removed(e, touched),

            Event::ObservationsPruned(e) => self.observations_pruned(e),

            Event::RebalancePlanned(_) | Event::TokenCreated(_) | Event::TokenRevoked(_) => {}
        }
    }

    /// Folds a range of events into a state.
    #[must_use]
    pub fn fold<'a>(mut self, events: impl IntoIterator<Item = &'a Envelope>) -> Self {
        let mut touched = Touched::default();
        for envelope in events {
            self.apply(envelope, &mut touched);
        }
        self
    }

    /// A node takes containers again: what failed may succeed now.
    fn note_chance(&mut self, id: NodeId) {
        if self.nodes.contains_key(&id) {
            self.chance_at = self.at;
        }
    }

    /// Remembers an endpoint of the daemon's own machine, which is not mounted automatically again.
    fn note_own_engine(&mut self, name: &str, endpoint: &Endpoint) {
        if name == LOCAL_NODE || matches!(endpoint, Endpoint::Unix { .. }) {
            self.own_engines.insert(endpoint.clone());
        }
    }

    fn node_mounted(&mut self, e: &NodeMounted, touched: &mut Touched) {
        self.note_own_engine(&e.name, &e.endpoint);
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
            failure: None,
            failures: 0,
            successes: 0,
            observed: self.seq,
            unhealthy_seq: None,
            drain_seq: None,
            drain_progress_at: None,
            faults: OrdMap::new(),
            engine: None,
            residents: OrdSet::new(),
            holds: OrdSet::new(),
            ports: OrdMap::new(),
            reserved_millicpus: 0,
            reserved_memory_bytes: 0,
            orphans: OrdSet::new(),
            returns: 0,
            returned_at: None,
            seq: self.seq,
        };
        self.unmounted.remove(&e.node_id);
        let old = self.nodes.insert(e.node_id, Arc::new(node));
        self.reindex_node(e.node_id, old.as_deref());
        touched.nodes.insert(e.node_id);
    }

    fn node_updated(&mut self, e: &NodeUpdated, touched: &mut Touched) {
        if let Some(name) = &e.name
            && let Some(old) = self.nodes.get(&e.node_id)
        {
            self.node_names.remove(old.name.as_str());
            self.node_names.insert(name.as_str().into(), e.node_id);
        }
        if let (Some(labels), Some(old)) = (&e.labels, self.nodes.get(&e.node_id)) {
            self.eligible.relabel(e.node_id, &old.labels, labels);
        }
        if let (Some(endpoint), Some(old)) = (&e.endpoint, self.nodes.get(&e.node_id)) {
            let name = old.name.clone();
            self.note_own_engine(e.name.as_ref().unwrap_or(&name), endpoint);
        }
        self.change_node(e.node_id, touched, |node| {
            set(&mut node.name, e.name.as_ref());
            set(&mut node.user_id, e.user_id.as_ref());
            set(&mut node.labels, e.labels.as_ref());
            set(&mut node.capacity, e.capacity.as_ref());
            if let Some(endpoint) = &e.endpoint {
                node.endpoint = endpoint.clone();
                // Another address may be another engine: nothing known of the old one applies to it.
                node.failures = 0;
                node.successes = 0;
                node.health = Health::Unknown;
                node.engine = None;
                node.failure = None;
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
                node.orphans = OrdSet::new(); // the list is complete
            }
            for orphan in &e.orphans {
                node.orphans.insert(*orphan);
            }
        });
        if let Some(engine) = &e.engine {
            self.recognize(e.node_id, engine, touched);
            self.change_node(e.node_id, touched, |node| node.engine = Some((**engine).clone()));
        }
    }

    /// From here on the state is the same whether the observations were folded one by one or were pruned.
    fn observations_pruned(&mut self, e: &ObservationsPruned) {
        for tally in &e.tallies {
            self.note_node(tally.node_id, |node| {
                node.observed = tally.observed;
                node.failures = tally.failures;
                node.successes = tally.successes;
                node.orphans = tally.orphans.iter().copied().collect();
            });
        }
    }

    fn node_unhealthy(&mut self, e: &NodeUnhealthy, seq: Seq, touched: &mut Touched) {
        self.change_node(e.node_id, touched, |node| {
            node.health = Health::Down;
            node.failure = Some(e.failure.clone());
            node.unhealthy_seq = Some(seq);
        });
        let Some(node) = self.nodes.get(&e.node_id).cloned() else { return };
        for id in &node.residents {
            self.change_container(*id, touched, |c| {
                c.lost = true;
                if let Phase::Up { since } = &mut c.phase {
                    *since = None;
                }
                c.reason = Some(Reason::NodeUnhealthy { node_id: e.node_id, failure: e.failure.clone() });
                c.cause = seq;
                // A predecessor there can no longer serve either.
                c.release_held_on(e.node_id);
            });
        }
        // Containers that are moving away from it do not run there any more.
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
                        Desired::Running => Phase::Waiting(c.phase.take_attempts()),
                        Desired::Stopped if c.phase == Phase::Created => Phase::Created,
                        Desired::Stopped if c.phase.kind() == PhaseKind::Completed => Phase::Completed,
                        Desired::Stopped => Phase::Down,
                        Desired::Deleted => Phase::Deleting,
                    };
                }
            });
        }
        if self.node_names.get(node.name.as_str()) == Some(&id) {
            self.node_names.remove(node.name.as_str());
        }
        let engine_id = node.engine.as_ref().map(|engine| engine.engine_id.clone()).unwrap_or_default();
        self.unmounted.insert(id, UnmountedNode { name: node.name.clone(), engine_id });
        // Its state after its containers left, as the indexes know it.
        let removed = self.nodes.remove(&id);
        self.reindex_node(id, removed.as_deref());
        touched.nodes.insert(id);
    }

    fn end_rollout(&mut self, id: ApplicationId, touched: &mut Touched, change: impl FnOnce(&mut Rollout)) {
        self.change_application(id, touched, |application| {
            if let Some(rollout) = &mut application.rollout {
                change(rollout);
            }
        });
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
            // The rows of its dependents show its name.
            let dependents: Vec<_> = self
                .applications
                .values()
                .filter(|a| {
                    a.dependencies.contains(&e.application_id) || a.spec.affinity.contains(&e.application_id)
                })
                .map(|a| a.id)
                .collect();
            for dependent in dependents {
                self.change_application(dependent, touched, |_| {});
            }
        }
        let before = self.outdated_of(e.application_id);
        self.change_application(e.application_id, touched, |application| {
            set(&mut application.name, e.name.as_ref());
            set(&mut application.user_id, e.user_id.as_ref());
            set(&mut application.is_enabled, e.is_enabled.as_ref());
            set(&mut application.dependencies, e.dependencies.as_ref());
            set(&mut application.update_policy, e.update_policy.as_ref());
            set(&mut application.update, e.update.as_ref());
            if let Some(spec) = &e.spec {
                // A rollback keeps the rollout that it ends.
                if application
                    .rollout
                    .as_ref()
                    .is_some_and(|rollout| rollout.state != RolloutState::RolledBack)
                {
                    application.rollout = None;
                }
                application.spec = Arc::new((**spec).clone());
            }
        });
        if e.spec.is_some() {
            self.recount_outdated(e.application_id, &before, touched);
        }
    }
}

fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}
