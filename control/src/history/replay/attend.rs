//! Executes the tasks of a replay where it has left the record, on simulated engines in virtual time.

use super::work::Job;
use super::{PACE, Replay};
use crate::commands::{Command, LaunchFailure};
use crate::observed::{Exit, Launched};
use crate::reconcile::{self, Act, Task};
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::container::ContainerAdopted;
use kdaemon_events::failure::{Failure, Quote};
use kdaemon_events::{ContainerId, PlacementId, Subject};
use kdaemon_projections::{Cluster, Container, Health, Node, PhaseKind};

/// How often it is looked what is to be done between two recorded events: what goes in circles does so for a while.
const LOOKS_LIMIT: usize = 10_000;

impl Replay {
    /// Does what is to be done before the next recorded event, if the replay has left the record.
    pub(super) fn attend_until(&mut self, until: DateTime<Utc>) {
        for _ in 0..LOOKS_LIMIT {
            if self.differing.is_empty() {
                self.work = super::ReplayWork::default();
                return;
            }
            let Some(now) = self.work.next().filter(|now| *now < until) else { return };
            let now = self.at.map_or(now, |at| now.max(at));
            self.reach(now);
            while let Some(job) = self.work.finished(now) {
                self.finish_job(job, now);
            }
            if self.work.is_time_to_look(now) {
                self.look(now);
            }
        }
    }

    /// Begins what is due where the replay has left the record.
    fn look(&mut self, now: DateTime<Utc>) {
        let cluster = self.replayed.cluster.clone();
        let due = reconcile::due(&cluster, now, &self.pacing);
        for task in due.tasks {
            self.begin(&cluster, task, now);
        }
        if let Some(next) = due.next {
            self.work.look_by(next);
        }
        for container in cluster.unsettled().filter(|c| c.lost && c.phase.kind() == PhaseKind::Up) {
            self.find(&cluster, container, now);
        }
    }

    fn begin(&mut self, cluster: &Cluster, task: Task, now: DateTime<Utc>) {
        let Task::Act(act, own, node_id) = task else {
            // The recorded events show whether a record is gone, where they are about the same container.
            let is_recorded = matches!(task, Task::FinishDelete(id) if !self.is_differing(id));
            if let Some(command) = task.command().filter(|_| !is_recorded) {
                self.try_again(task, command, now);
            }
            return;
        };
        let is_differing = self.is_differing(own.container_id);
        let time = match act {
            Act::Launch | Act::Start | Act::Restart if is_differing => {
                let application = cluster.container(own.container_id).and_then(|c| c.application_id);
                // Recorded launches are counted from their decision, which was a pace ago.
                self.paces.launch(application) - PACE
            }
            Act::Stop if is_differing => self.paces.stop(),
            Act::Remove if is_differing || self.differing.contains(&Subject::Node(node_id)) => {
                if !cluster.node(node_id).is_some_and(|node| answers(node)) {
                    return;
                }
                self.paces.removal()
            }
            _ => return, // the record tells what came of it
        };
        self.work.begin(Job::Act(act, own, node_id), now + time.max(TimeDelta::zero()));
    }

    /// Finds the containers on a node that answers again, as the health reactor does.
    fn find(&mut self, cluster: &Cluster, container: &Container, now: DateTime<Utc>) {
        let Some(placement) = &container.placement else { return };
        if self.is_differing(container.id) && cluster.node(placement.node_id).is_some_and(|n| answers(n)) {
            let found = PlacementId { container_id: container.id, generation: placement.generation };
            self.work.begin(Job::Find(found), now + PACE);
        }
    }

    /// Whether a container differs from the record; otherwise the record describes its next steps.
    fn is_differing(&self, id: ContainerId) -> bool {
        self.differing.contains(&Subject::Container(id))
    }

    /// Puts a task's command, unless it had no effect a moment ago.
    fn try_again(&mut self, task: Task, command: Command, now: DateTime<Utc>) {
        let next = match self.work.pause(task, now) {
            Some(until) => Some(until),
            None => {
                let had_effect = self.ask(command, now);
                let next = self.work.tried(task, now, had_effect);
                (!had_effect).then_some(next) // else what came of it is looked at
            }
        };
        if let Some(next) = next {
            self.work.look_by(next);
        }
    }

    /// An engine is done with something.
    fn finish_job(&mut self, job: Job, now: DateTime<Utc>) {
        match job {
            Job::Act(Act::Launch | Act::Start | Act::Restart, own, _) => self.launched(own, now),
            Job::Act(Act::Stop, own, _) => {
                let exit = Exit { code: 0, out_of_memory: false };
                self.ask(Command::RecordStopped(own, Some(exit)), now);
            }
            Job::Act(Act::Remove, own, node_id) => {
                let is_wanted = self.replayed.cluster.container(own.container_id).is_some_and(|c| {
                    c.residence().is_some_and(|p| p.generation == own.generation && p.node_id == node_id)
                });
                if !is_wanted {
                    self.ask(Command::RecordRemoved(own, node_id), now);
                }
            }
            Job::Act(Act::RemoveVolumes, ..) => {} // never begun: the record tells
            Job::Find(PlacementId { container_id, generation }) => {
                let found = self.replayed.cluster.container(container_id).and_then(|container| {
                    let placement = container.placement.as_ref().filter(|p| p.generation == generation)?;
                    let node = self.replayed.cluster.node(placement.node_id)?;
                    (container.lost && answers(node)).then_some(node.id)
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
                volumes: container.home.as_ref().map(|home| home.volumes.clone()).unwrap_or_default(),
                health_check: false,
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
