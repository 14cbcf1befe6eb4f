//! The reactors and the engines of a replay, where it has left the record: as those in `reactors`, in virtual time.

use super::work::{Asked, Task};
use super::{PACE, Replay};
use crate::commands::{Command, LaunchFailure, due_about, must_wait_for_removal, outdated_applications};
use crate::observed::{Exit, Launched};
use chrono::{DateTime, Utc};
use kdaemon_events::container::ContainerAdopted;
use kdaemon_events::failure::{Failure, Quote};
use kdaemon_events::node::Availability;
use kdaemon_events::{NodeId, PlacementId, Subject};
use kdaemon_projections::{Cluster, Container, Desired, Health, Node, Phase};

/// How often it is looked what is to be done between two recorded events: what goes in circles does so for a while.
const LOOKS_LIMIT: usize = 10_000;

impl Replay {
    /// Does what is to be done before the next recorded event, if the replay has left the record.
    pub(super) fn attend_until(&mut self, until: DateTime<Utc>) {
        for _ in 0..LOOKS_LIMIT {
            if self.differing.is_empty() {
                self.work = super::Work::default();
                return;
            }
            let Some(now) = self.work.next().filter(|now| *now < until) else { return };
            let now = self.at.map_or(now, |at| now.max(at));
            self.reach(now);
            while let Some(task) = self.work.finished(now) {
                self.finish_task(task, now);
            }
            if self.work.is_time_to_look(now) {
                self.look(now);
            }
        }
    }

    /// Looks what is to be done, has engines begin it, and asks for what reactors would ask for.
    fn look(&mut self, now: DateTime<Utc>) {
        let cluster = self.replayed.cluster.clone();
        for container in cluster.unsettled() {
            self.look_at_container(&cluster, container, now);
        }
        for node in cluster.unsettled_nodes() {
            if let Some(command) = due_about(&cluster, node) {
                self.ask_again(Asked::Node(node.id), command, now);
            }
            if node.availability == Availability::Draining && node.health == Health::Up {
                self.clear(&cluster, node, now);
            }
        }
        for application in outdated_applications(&cluster) {
            self.ask_again(Asked::Roll(application), Command::RollApplication(application), now);
        }
        self.even(now);
    }

    fn look_at_container(&mut self, cluster: &Cluster, container: &Container, now: DateTime<Utc>) {
        let id = container.id;
        let due = container.not_before.map_or(now, |not_before| not_before.max(now));
        if container.phase == Phase::Waiting && container.desired == Desired::Running {
            if due > now {
                self.work.look_by(due);
            } else {
                self.ask_again(Asked::Place(id), Command::PlaceContainer(id), now);
            }
        }
        if !self.differing.contains(&Subject::Container(id)) {
            return; // the record tells how it goes on
        }
        let mut is_held_up = false;
        for retired in container.retired.iter().filter(|retired| !retired.held) {
            let Some(node) = cluster.node(retired.placement.node_id).filter(|node| answers(node)) else {
                continue;
            };
            is_held_up = true;
            let placement_id = PlacementId { container_id: id, generation: retired.placement.generation };
            self.work.begin(Task::Remove(placement_id, node.id), now + self.paces.removal());
        }
        if container.desired == Desired::Deleted && !is_held_up {
            self.ask_again(Asked::Delete(id), Command::FinishDelete(id), now);
        }
        let Some(placement) = &container.placement else { return };
        let Some(node) = cluster.node(placement.node_id).filter(|node| node.health == Health::Up) else {
            return;
        };
        let placement_id = PlacementId { container_id: id, generation: placement.generation };
        match container.phase {
            Phase::Placed if must_wait_for_removal(cluster, container) => {}
            Phase::Placed | Phase::Restarting => {
                // Recorded launches are counted from their decision, which was a pace ago.
                let end = due + self.paces.launch(container.application_id) - PACE;
                self.work.begin(Task::Launch(placement_id), end.max(now));
            }
            Phase::Stopping => self.work.begin(Task::Stop(placement_id), now + self.paces.stop()),
            Phase::Up if container.lost && answers(node) => {
                self.work.begin(Task::Find(placement_id), now + PACE);
            }
            _ => {}
        }
    }

    /// Has removed what a drained node still holds and does not run.
    fn clear(&mut self, cluster: &Cluster, node: &Node, now: DateTime<Utc>) {
        let stopped = node.holds.iter().filter_map(|id| cluster.container(*id)).filter(|container| {
            matches!(container.phase, Phase::Down | Phase::Failed | Phase::Waiting)
                && self.differs(container.id, node.id)
        });
        let here: Vec<_> = stopped
            .filter_map(|container| {
                let placement = container.placement.as_ref().filter(|p| p.node_id == node.id)?;
                Some(PlacementId { container_id: container.id, generation: placement.generation })
            })
            .collect();
        for placement_id in here {
            self.work.begin(Task::Remove(placement_id, node.id), now + self.paces.removal());
        }
    }

    fn differs(&self, container: kdaemon_events::ContainerId, node: NodeId) -> bool {
        self.differing.contains(&Subject::Container(container))
            || self.differing.contains(&Subject::Node(node))
    }

    /// Has the counts evened when they have been uneven for long enough.
    fn even(&mut self, now: DateTime<Utc>) {
        let Some(after) = self.balance_after else { return };
        let cluster = &self.replayed.cluster;
        if super::meter::spread(cluster) <= 1 || cluster.paused().is_some() {
            return;
        }
        let due = self.counts_since.map_or(now, |since| since + after);
        if due > now {
            self.work.look_by(due);
        } else {
            self.ask_again(Asked::Balance, Command::Rebalance, now);
        }
    }

    /// Asks for something, unless it was in vain a moment ago.
    fn ask_again(&mut self, asked: Asked, command: Command, now: DateTime<Utc>) {
        let next = match self.work.pause(asked, now) {
            Some(until) => Some(until),
            None => {
                let in_vain = !self.ask(command, now);
                let next = self.work.asked(asked, now, in_vain);
                in_vain.then_some(next) // else what came of it is looked at
            }
        };
        if let Some(next) = next {
            self.work.look_by(next);
        }
    }

    /// An engine is done with something.
    fn finish_task(&mut self, task: Task, now: DateTime<Utc>) {
        match task {
            Task::Launch(placement_id) => self.launched(placement_id, now),
            Task::Stop(placement_id) => {
                let exit = Exit { code: 0, out_of_memory: false };
                self.ask(Command::RecordStopped(placement_id, Some(exit)), now);
            }
            Task::Remove(placement_id, node_id) => {
                let is_wanted =
                    self.replayed.cluster.container(placement_id.container_id).is_some_and(|c| {
                        c.residence().is_some_and(|p| p.generation == placement_id.generation)
                    });
                if !is_wanted {
                    self.ask(Command::RecordRemoved(placement_id, node_id), now);
                }
            }
            Task::Find(PlacementId { container_id, generation }) => {
                let found = self.replayed.cluster.container(container_id).and_then(|container| {
                    let placement = container.placement.as_ref().filter(|p| p.generation == generation)?;
                    let node = self.replayed.cluster.node(placement.node_id)?;
                    let is_found = container.lost && node.health == Health::Up && answers(node);
                    is_found.then_some(node.id)
                });
                if let Some(node_id) = found {
                    self.happen(ContainerAdopted { container_id, generation, node_id }.into(), now, None);
                }
            }
        }
        self.work.look_by(now + PACE); // what became of it
    }

    /// A launch is over: it succeeded if the node answered then.
    fn launched(&mut self, placement_id: PlacementId, now: DateTime<Utc>) {
        let cluster = &self.replayed.cluster;
        let Some(container) = cluster.container(placement_id.container_id) else { return };
        let Some(placement) =
            container.placement.as_ref().filter(|p| p.generation == placement_id.generation)
        else {
            return;
        };
        let Some(node) = cluster.node(placement.node_id).filter(|node| node.health == Health::Up) else {
            return; // it is LOST, and moved
        };
        let command = if answers(node) {
            let engine_id = placement.engine_id.as_deref().unwrap_or("replayed").to_owned();
            let launched = Launched {
                engine_id,
                image_id: String::new(),
                ports: placement.ports.clone(),
                started_at: None,
            };
            Command::RecordLaunched(placement_id, launched)
        } else {
            let failure = Failure::NoConnection { quote: Quote::default() };
            Command::RecordLaunchFailed(placement_id, LaunchFailure { failure, node_fault: true })
        };
        self.ask(command, now);
    }
}

/// Whether a node's last recorded probe was answered.
fn answers(node: &Node) -> bool {
    node.health == Health::Up && node.failures == 0
}
