//! Work in progress on the engines of a replay, in virtual time, and the durations of such work in the
//! record.

use crate::backoff::Backoff;
use crate::reconcile::{Act, Task};
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::{ApplicationId, ContainerId, Envelope, Event, NodeId, PlacementId};
use kdaemon_projections::Cluster;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Something that a simulated engine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// Carrying out a due task.
    Act(Act, PlacementId, NodeId),
    /// Found running a container that was LOST.
    Find(PlacementId),
}

/// The backoff of a task without effect. Longer than the daemon's: hours can pass between two recorded events, and a
/// replay has to get through them.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(60));

/// Work in progress, and the time of the next look at due tasks.
#[derive(Default)]
pub(super) struct ReplayWork {
    jobs: BTreeSet<Job>,
    by_end: BTreeSet<(DateTime<Utc>, Job)>,
    pauses: BTreeMap<Task, (DateTime<Utc>, u32)>,
    look_at: Option<DateTime<Utc>>,
}

impl ReplayWork {
    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<DateTime<Utc>> {
        let end = self.by_end.first().map(|(end, _)| *end);
        [end, self.look_at].into_iter().flatten().min()
    }

    /// An engine begins something, unless it is at it already.
    pub(super) fn begin(&mut self, job: Job, end: DateTime<Utc>) {
        if self.jobs.insert(job) {
            self.by_end.insert((end, job));
        }
    }

    /// Something that is finished by now.
    pub(super) fn finished(&mut self, now: DateTime<Utc>) -> Option<Job> {
        let (end, _) = self.by_end.first()?;
        if *end > now {
            return None;
        }
        let (_, job) = self.by_end.pop_first()?;
        self.jobs.remove(&job);
        Some(job)
    }

    /// Whether a look at due tasks is due; the next one has to be requested.
    pub(super) fn is_time_to_look(&mut self, now: DateTime<Utc>) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }

    /// Requests a look at that time at the latest.
    pub(super) fn look_by(&mut self, at: DateTime<Utc>) {
        self.look_at = Some(self.look_at.map_or(at, |other| other.min(at)));
    }

    /// Until when a task pauses, if it does.
    pub(super) fn pause(&self, task: Task, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.pauses.get(&task).map(|(until, _)| *until).filter(|until| *until > now)
    }

    /// A task was tried, with or without effect; returns when it may be tried again.
    pub(super) fn tried(&mut self, task: Task, now: DateTime<Utc>, had_effect: bool) -> DateTime<Utc> {
        if had_effect {
            self.pauses.remove(&task);
            return now;
        }
        let (until, failures) = self.pauses.entry(task).or_insert((now, 0));
        *failures = failures.saturating_add(1);
        *until = now + BACKOFF.pause(*failures);
        *until
    }

    /// Resets every backoff, after a change of the cluster that may help.
    pub(super) fn forget_pauses(&mut self) {
        self.pauses.clear();
    }
}

/// How many of the latest times are remembered of one sort.
const REMEMBERED: usize = 100;

/// The latest times that one sort of work took.
#[derive(Default)]
struct Times(VecDeque<TimeDelta>);

impl Times {
    fn add(&mut self, time: TimeDelta) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(time);
    }

    fn median(&self) -> Option<TimeDelta> {
        let mut times: Vec<_> = self.0.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }
}

/// For how long launches, stops and removals took in the record so far.
#[derive(Default)]
pub(super) struct Paces {
    launching: BTreeMap<ContainerId, DateTime<Utc>>,
    stopping: BTreeMap<ContainerId, DateTime<Utc>>,
    launches_of: BTreeMap<ApplicationId, Times>,
    launches: Times,
    stops: Times,
    removals: Times,
}

/// The duration of work without a record.
const UNKNOWN: TimeDelta = TimeDelta::seconds(1);

impl Paces {
    /// Takes note of a recorded event.
    pub(super) fn note(&mut self, cluster: &Cluster, envelope: &Envelope) {
        let at = envelope.at;
        match &envelope.event {
            Event::ContainerPlaced(e) => drop(self.launching.insert(e.container_id, at)),
            Event::ContainerMigrationCommanded(e) => drop(self.launching.insert(e.container_id, at)),
            Event::ContainerLaunchFailed(e) => drop(self.launching.remove(&e.container_id)),
            Event::ContainerLaunchAbandoned(e) => drop(self.launching.remove(&e.container_id)),
            Event::ContainerLaunched(e) => {
                let Some(began) = self.launching.remove(&e.container_id) else { return };
                self.launches.add(at - began);
                let application = cluster.container(e.container_id).and_then(|c| c.application_id);
                if let Some(application) = application {
                    self.launches_of.entry(application).or_default().add(at - began);
                }
            }
            Event::ContainerStopRequested(e) => {
                self.launching.remove(&e.container_id);
                self.stopping.insert(e.container_id, at);
            }
            Event::ContainerStopped(e) => {
                if let Some(began) = self.stopping.remove(&e.container_id) {
                    self.stops.add(at - began);
                }
            }
            Event::ContainerRemoved(e) => {
                if let Some(began) = self.stopping.remove(&e.container_id) {
                    self.removals.add(at - began);
                }
            }
            Event::ContainerDeleted(e) => {
                self.launching.remove(&e.container_id);
                self.stopping.remove(&e.container_id);
            }
            Event::ApplicationDeleted(e) => drop(self.launches_of.remove(&e.application_id)),
            _ => {}
        }
    }

    /// The median of the recorded launches of an application, else of all.
    pub(super) fn launch(&self, application: Option<ApplicationId>) -> TimeDelta {
        let own = application.and_then(|id| self.launches_of.get(&id)).and_then(Times::median);
        own.or_else(|| self.launches.median()).unwrap_or(UNKNOWN)
    }

    pub(super) fn stop(&self) -> TimeDelta {
        self.stops.median().unwrap_or(UNKNOWN)
    }

    pub(super) fn removal(&self) -> TimeDelta {
        self.removals.median().unwrap_or(UNKNOWN)
    }
}
