//! The effect of each event on containers.

use super::set;
use crate::cluster::{Cluster, Touched};
use crate::{
    Attempts, Container, ContainerHealth, Desired, Home, Phase, PhaseKind, Placement, Reason, Retired,
};
use kdaemon_events::container::{
    ContainerAdopted, ContainerCompleted, ContainerCreated, ContainerExited, ContainerHealthy,
    ContainerLaunchAbandoned, ContainerLaunchFailed, ContainerLaunched, ContainerMigrationCommanded,
    ContainerObserved, ContainerPlaced, ContainerStopRequested, ContainerUnhealthy, ContainerUnschedulable,
    ContainerUpdated, SeenState,
};
use kdaemon_events::{ContainerId, Envelope, Generation, NodeId, Seq, Spec};
use std::sync::Arc;

impl Cluster {
    pub(super) fn container_created(&mut self, e: &ContainerCreated, seq: Seq, touched: &mut Touched) {
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
            restarts: 0,
            quick_exits: 0,
            home: None,
            delete_volumes: false,
            cause: seq,
            seq,
        };
        self.insert_container(container, touched);
    }

    pub(super) fn container_updated(&mut self, e: &ContainerUpdated, touched: &mut Touched) {
        self.change_container(e.container_id, touched, |c| {
            set(&mut c.name, e.name.as_ref());
            set(&mut c.user_id, e.user_id.as_ref());
            set(&mut c.application_id, e.application_id.as_ref());
            set(&mut c.env_variables, e.env_variables.as_ref());
            set(&mut c.balance, e.balance.as_ref());
        });
    }

    /// The current specification of a container: the application's with the container's own variables on top.
    /// Containers without own variables share the application's.
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

    pub(super) fn new_placement(
        &self,
        container: &Container,
        generation: Generation,
        node_id: NodeId,
    ) -> Placement {
        Placement {
            generation,
            node_id,
            spec: self.spec_of(container),
            engine_id: None,
            ports: Vec::new(),
            access_link: None,
            health: ContainerHealth::None,
            ready_at: None,
            paused: false,
            round: container
                .application_id
                .and_then(|id| self.applications.get(&id))
                .map_or(0, |application| application.round),
        }
    }

    pub(super) fn container_placed(&mut self, e: &ContainerPlaced, seq: Seq, touched: &mut Touched) {
        let Some(container) = self.containers.get(&e.container_id) else { return };
        let placement = self.new_placement(container, e.generation, e.node_id);
        self.change_container(e.container_id, touched, |c| {
            c.retire_placement(false);
            let attempts = Attempts { not_before: None, ..c.phase.take_attempts() };
            c.place(placement, attempts);
            c.cause = seq;
        });
    }

    pub(super) fn container_launched(
        &mut self,
        e: &ContainerLaunched,
        envelope: &Envelope,
        touched: &mut Touched,
    ) {
        let Some(container) = self.containers.get(&e.container_id) else { return };
        let spec = container
            .placement
            .as_ref()
            .filter(|p| p.generation == e.generation)
            .map(|p| Arc::clone(&p.spec));
        if let Some(spec) = &spec {
            self.note_data(spec, e.node_id);
        }
        if let Some(application) = self.containers.get(&e.container_id).and_then(|c| c.application_id) {
            self.note_node(e.node_id, |node| {
                node.faults.remove(&application);
            });
        }
        self.change_container(e.container_id, touched, |c| {
            if !c.is_current(e.generation) {
                return;
            }
            if let Some(placement) = &mut c.placement {
                placement.engine_id = Some(e.engine_id.as_str().into());
                placement.ports.clone_from(&e.ports);
                placement.access_link = e.access_link.as_deref().map(Into::into);
                placement.health =
                    if e.health_check { ContainerHealth::Starting } else { ContainerHealth::None };
                placement.ready_at = None;
                placement.paused = false;
                let has_data = placement.spec.has_local_data() || !e.volumes.is_empty();
                c.home = has_data.then(|| Home { node_id: e.node_id, volumes: e.volumes.clone() });
            }
            if matches!(
                c.phase,
                Phase::Placed(_) | Phase::Restarting { .. } | Phase::Up { .. } | Phase::Waiting(_)
            ) {
                c.phase = Phase::Up { since: Some(envelope.at) };
            }
            c.lost = false;
            // A predecessor serves until this one does.
            if !c.is_served_by_predecessor() {
                c.reason = None;
            }
            c.cause = envelope.seq;
        });
    }

    /// The wanted placement serves: no predecessor has to any more.
    pub(super) fn container_ready(
        &mut self,
        id: ContainerId,
        generation: Generation,
        envelope: &Envelope,
        touched: &mut Touched,
    ) {
        let mut served = None;
        self.change_container(id, touched, |c| {
            if c.phase.kind() != PhaseKind::Up {
                return;
            }
            let Some(placement) = c.placement.as_mut().filter(|p| p.generation == generation) else { return };
            placement.ready_at.get_or_insert(envelope.at);
            served = Some((c.application_id, Arc::clone(&placement.spec)));
            c.reason = None;
            c.cause = envelope.seq;
            for retired in &mut c.retired {
                retired.held = false;
            }
        });
        if let Some((Some(id), spec)) = served
            && let Some(application) = self.applications.get_mut(&id)
            && application.spec.makes_the_same_as(&spec)
            && application.served.as_ref() != Some(&application.spec)
        {
            let application = Arc::make_mut(application);
            let present = Arc::clone(&application.spec);
            application.note_served(&present);
        }
    }

    pub(super) fn container_healthy(
        &mut self,
        e: &ContainerHealthy,
        envelope: &Envelope,
        touched: &mut Touched,
    ) {
        let at = envelope.at;
        self.change_container(e.container_id, touched, |c| {
            let Some(placement) = c.placement.as_mut().filter(|p| p.generation == e.generation) else {
                return;
            };
            placement.health = ContainerHealth::Healthy;
            // It recovered before it was restarted.
            if c.is_unhealthy() {
                c.phase = Phase::Up { since: Some(at) };
            }
        });
        self.container_ready(e.container_id, e.generation, envelope, touched);
    }

    pub(super) fn container_unhealthy(
        &mut self,
        e: &ContainerUnhealthy,
        envelope: &Envelope,
        touched: &mut Touched,
    ) {
        self.note_failure_of(e.container_id, e.generation, touched);
        self.change_container(e.container_id, touched, |c| {
            if !c.is_current(e.generation) {
                return;
            }
            let stable = c.is_stable(envelope.at);
            c.quick_exits = if stable { 1 } else { c.quick_exits.saturating_add(1) };
            if let Some(placement) = &mut c.placement {
                placement.health = ContainerHealth::Unhealthy;
                placement.ready_at = None;
            }
            if let Some(restart_at) = e.restart_at {
                let attempts = Attempts { not_before: Some(restart_at), ..c.phase.take_attempts() };
                c.phase = Phase::Restarting { attempts, unhealthy: true };
                c.restarts = c.restarts.saturating_add(1);
            }
            c.reason = Some(Reason::Unhealthy);
            c.cause = envelope.seq;
        });
    }

    pub(super) fn container_completed(&mut self, e: &ContainerCompleted, seq: Seq, touched: &mut Touched) {
        self.change_container(e.container_id, touched, |c| {
            if !c.is_current(e.generation) {
                return;
            }
            c.phase = Phase::Completed;
            c.desired = Desired::Stopped;
            c.lost = false;
            c.migrating = None;
            c.reason = None;
            c.cause = seq;
            c.forget_addresses();
            for retired in &mut c.retired {
                retired.held = false;
            }
        });
    }

    /// Counts a failure of a container of the specification that is being rolled out, if it has not served.
    fn note_failure_of(&mut self, id: ContainerId, generation: Generation, touched: &mut Touched) {
        let Some(container) = self.containers.get(&id) else { return };
        let placement = container.placement.as_ref().filter(|placement| placement.generation == generation);
        let is_new =
            placement.is_some_and(|placement| placement.ready_at.is_none()) && !self.is_outdated(container);
        let Some(id) = container.application_id.filter(|_| is_new) else { return };
        if self.applications.get(&id).is_some_and(|application| application.is_rolling()) {
            self.change_application(id, touched, |application| {
                if let Some(rollout) = &mut application.rollout {
                    rollout.failures = rollout.failures.saturating_add(1);
                }
            });
        }
    }

    pub(super) fn container_unschedulable(
        &mut self,
        e: &ContainerUnschedulable,
        seq: Seq,
        touched: &mut Touched,
    ) {
        self.change_container(e.container_id, touched, |c| {
            c.reason = Some(Reason::Unschedulable { moving: e.moving, because: e.reason.clone() });
            c.cause = seq;
            // A move without a target that left no serving predecessor is over, and must not count as a move
            // while it waits.
            if matches!(c.phase, Phase::Waiting(_)) && !c.is_served_by_predecessor() {
                c.migrating = None;
            }
        });
    }

    pub(super) fn container_launch_failed(
        &mut self,
        e: &ContainerLaunchFailed,
        seq: Seq,
        touched: &mut Touched,
    ) {
        self.note_launch_fault(e.container_id, e.node_id, e.node_fault);
        if !e.node_fault {
            self.note_failure_of(e.container_id, e.generation, touched);
        }
        let failed_at = self.at;
        self.change_container(e.container_id, touched, |c| {
            c.reason = Some(Reason::LaunchFailed { failure: e.failure.clone() });
            c.cause = seq;
            if !c.is_current(e.generation) {
                return;
            }
            let not_before = Some(e.retry_at);
            if e.node_fault {
                let mut avoid = c.phase.take_attempts().avoid;
                avoid.insert(e.node_id);
                c.phase = Phase::Waiting(Attempts { failed: e.attempt, avoid, not_before, failed_at });
                c.lost = false; // it has no node any more
                c.retire_placement(false);
            } else if let Some(attempts) = c.phase.attempts_mut() {
                attempts.failed = e.attempt;
                attempts.not_before = not_before;
                attempts.failed_at = failed_at;
            }
        });
    }

    pub(super) fn container_launch_abandoned(
        &mut self,
        e: &ContainerLaunchAbandoned,
        seq: Seq,
        touched: &mut Touched,
    ) {
        self.note_launch_fault(e.container_id, e.node_id, e.node_fault);
        self.note_failure_of(e.container_id, e.generation, touched);
        let failed_at = self.at;
        self.change_container(e.container_id, touched, |c| {
            c.reason = Some(Reason::LaunchFailed { failure: e.failure.clone() });
            c.cause = seq;
            if !c.is_current(e.generation) {
                return;
            }
            // The next time any node may be tried again.
            let (failed, not_before) = (e.attempt, Some(e.retry_at));
            c.phase = Phase::Failed(Attempts { failed, not_before, failed_at, ..Attempts::default() });
            c.lost = false;
            c.migrating = None;
            c.retire_placement(false);
            for retired in &mut c.retired {
                retired.held = false;
            }
        });
    }

    /// Remembers that a launch of a container's application failed through the node's fault.
    fn note_launch_fault(&mut self, container: ContainerId, node: NodeId, node_fault: bool) {
        let application = self.containers.get(&container).and_then(|c| c.application_id);
        if let (Some(application), Some(at), true) = (application, self.at, node_fault) {
            self.note_node(node, |node| {
                node.faults.insert(application, at);
            });
        }
    }

    pub(super) fn container_observed(&mut self, e: &ContainerObserved, seq: Seq, touched: &mut Touched) {
        self.change_container(e.container_id, touched, |c| match e.state {
            SeenState::Missing => {
                let was_current = c
                    .placement
                    .as_ref()
                    .is_some_and(|p| p.generation == e.generation && p.node_id == e.node_id);
                c.drop_placement(e.generation, e.node_id);
                if was_current {
                    c.lost = false;
                    c.cause = seq;
                    if c.desired == Desired::Running {
                        c.phase = Phase::Waiting(Attempts { not_before: None, ..c.phase.take_attempts() });
                        c.reason = Some(Reason::Missing);
                    }
                }
            }
            SeenState::Running => {
                if !c.is_current(e.generation) {
                    return;
                }
                if let Some(placement) = &mut c.placement {
                    placement.paused = false;
                }
                if c.desired == Desired::Stopped && c.phase.kind().is_over() {
                    c.phase = Phase::Stopping;
                    c.reason = Some(Reason::StartedElsewhere);
                    c.cause = seq;
                }
            }
            SeenState::Paused => {
                if let Some(placement) = c.placement.as_mut().filter(|p| p.generation == e.generation) {
                    placement.paused = true;
                }
            }
            SeenState::Stopped => {}
        });
    }

    pub(super) fn container_exited(
        &mut self,
        e: &ContainerExited,
        envelope: &Envelope,
        touched: &mut Touched,
    ) {
        self.note_failure_of(e.container_id, e.generation, touched);
        self.change_container(e.container_id, touched, |c| {
            if !c.is_current(e.generation) {
                // An exited predecessor no longer serves.
                for retired in c.retired.iter_mut().filter(|r| r.placement.generation == e.generation) {
                    retired.held = false;
                }
                return;
            }
            let (exit_code, out_of_memory) = (e.exit_code, e.out_of_memory);
            // Up long enough to be stable: the backoff is reset.
            let stable = c.is_stable(envelope.at);
            c.quick_exits = if stable { 1 } else { c.quick_exits.saturating_add(1) };
            c.lost = false;
            c.cause = envelope.seq;
            if let Some(placement) = &mut c.placement {
                placement.ready_at = None;
                placement.paused = false;
            }
            // What ends before it serves takes no turn of the moves any more, unless a predecessor serves for it.
            if !c.is_served_by_predecessor() {
                c.migrating = None;
            }
            if let Some(restart_at) = e.restart_at {
                let unhealthy = c.is_unhealthy();
                let attempts = Attempts { not_before: Some(restart_at), ..c.phase.take_attempts() };
                c.phase = Phase::Restarting { attempts, unhealthy };
                c.restarts = c.restarts.saturating_add(1);
                c.reason = Some(Reason::Exited { exit_code, out_of_memory, restart: Some(c.restarts) });
            } else if c.is_served_by_predecessor() {
                // The predecessor, which still serves, is adopted next.
                c.phase = Phase::Waiting(Attempts::default());
                c.reason = Some(Reason::Exited { exit_code, out_of_memory, restart: None });
                c.retire_placement(false);
            } else {
                c.phase = Phase::Down;
                c.desired = Desired::Stopped;
                c.migrating = None;
                c.reason = Some(Reason::Exited { exit_code, out_of_memory, restart: None });
                c.forget_addresses();
            }
        });
    }

    pub(super) fn container_migration_commanded(
        &mut self,
        e: &ContainerMigrationCommanded,
        seq: Seq,
        touched: &mut Touched,
    ) {
        let Some(container) = self.containers.get(&e.container_id) else { return };
        let placement = self.new_placement(container, e.generation, e.node_id);
        self.change_container(e.container_id, touched, |c| {
            c.retire_placement(e.start_first);
            c.place(placement, Attempts::default());
            c.migrating = Some(e.reason);
            c.cause = seq;
            c.reason = Some(Reason::Moving { from_node_id: e.from_node_id, node_id: e.node_id });
        });
    }

    pub(super) fn container_stop_requested(
        &mut self,
        e: &ContainerStopRequested,
        seq: Seq,
        touched: &mut Touched,
    ) {
        self.change_container(e.container_id, touched, |c| {
            c.cause = seq;
            c.migrating = None;
            c.reason = None;
            for retired in &mut c.retired {
                retired.held = false;
            }
            c.delete_volumes = e.volumes;
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

    pub(super) fn container_adopted(&mut self, e: &ContainerAdopted, touched: &mut Touched) {
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
            // The container runs: no predecessor has to serve for it any more.
            for retired in &mut c.retired {
                retired.held = false;
            }
            c.lost = false;
            c.migrating = None;
            c.reason = None;
            c.cause = seq;
            if c.desired == Desired::Running {
                c.phase = Phase::Up { since: at };
            }
        });
    }
}

impl Container {
    /// Whether this generation is the wanted placement.
    pub(super) fn is_current(&self, generation: Generation) -> bool {
        self.placement.as_ref().is_some_and(|p| p.generation == generation)
    }

    pub(super) fn place(&mut self, placement: Placement, attempts: Attempts) {
        self.generation = self.generation.max(placement.generation);
        self.placement = Some(placement);
        self.phase = Phase::Placed(attempts);
        self.lost = false;
        self.reason = None;
    }

    pub(super) fn retire_placement(&mut self, held: bool) {
        if let Some(placement) = self.placement.take() {
            self.retired.push(Retired { placement, held });
        }
    }

    pub(super) fn release_held_on(&mut self, node: NodeId) {
        for retired in self.retired.iter_mut().filter(|retired| retired.placement.node_id == node) {
            retired.held = false;
        }
    }

    /// Removes a placement from a node. The same container and generation on another node would be a foreign
    /// copy.
    pub(super) fn drop_placement(&mut self, generation: Generation, node_id: NodeId) {
        let is_it =
            |placement: &Placement| placement.generation == generation && placement.node_id == node_id;
        self.retired.retain(|retired| !is_it(&retired.placement));
        if self.placement.as_ref().is_some_and(is_it) {
            self.placement = None;
        }
    }

    /// A container that does not run has no address.
    pub(super) fn forget_addresses(&mut self) {
        if let Some(placement) = &mut self.placement {
            placement.ports.clear();
            placement.access_link = None;
        }
    }
}
