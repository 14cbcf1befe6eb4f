//! What is measured of a cluster while events go by: the same for what happened and for what would have.

use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::{ContainerId, Envelope, Event, NodeId};
use kdaemon_projections::{Cluster, Desired, Status, Touched};
use std::collections::{BTreeMap, BTreeSet};

/// How many points of the imbalance are told at most.
const POINTS_LIMIT: usize = 500;

/// The figures of one side of a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Moves of containers that were begun, for whatever reason.
    pub migrations: u64,
    /// For how long containers that were to run did not, as far as the daemon knew: the sum over all of them, in seconds.
    pub down_seconds: f64,
    /// Starts of containers that succeeded; restarts too.
    pub launches: u64,
    /// Tries to start one that failed.
    pub failed: u64,
    /// The most containers that each node had at one time, by the names of the nodes.
    pub peak: Vec<Peak>,
    /// How uneven the counts of containers were, at each change; of many changes the greatest and the last of each of
    /// 250 equal stretches.
    pub imbalance: Vec<Spread>,
}

/// The most containers that a node had at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peak {
    /// The node's name.
    pub node: String,
    /// How many.
    pub containers: u32,
}

/// How uneven the counts of containers were from one moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// The moment.
    pub at: DateTime<Utc>,
    /// The most minus the fewest containers of a node that takes containers.
    pub spread: u32,
}

/// Watches one cluster. It looks at it between moments: what several events of one moment lead to is seen once.
#[derive(Default)]
pub(super) struct Meter {
    migrations: u64,
    launches: u64,
    failed: u64,
    /// The containers that are to run and do not.
    down: BTreeSet<ContainerId>,
    down_for: TimeDelta,
    peaks: BTreeMap<NodeId, Peak>,
    imbalance: Vec<Spread>,
    /// Up to when all is measured, but for what is touched.
    at: Option<DateTime<Utc>>,
    touched: Touched,
}

impl Meter {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let touched = Touched {
            nodes: cluster.nodes().map(|node| node.id).collect(),
            containers: cluster.containers().map(|container| container.id).collect(),
            ..Touched::default()
        };
        Self { at: cluster.at(), touched, ..Self::default() }
    }

    /// Takes note of an event, and of what it touched.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::ContainerMigrationCommanded(_) => self.migrations += 1,
            Event::ContainerLaunched(_) => self.launches += 1,
            Event::ContainerLaunchFailed(_) | Event::ContainerLaunchAbandoned(_) => self.failed += 1,
            _ => {}
        }
    }

    pub(super) fn touch(&mut self, touched: &Touched) {
        self.touched.merge(touched);
    }

    /// Time goes on to the next moment; the cluster is as all earlier ones left it.
    pub(super) fn reach(&mut self, at: DateTime<Utc>, cluster: &Cluster) {
        let before = *self.at.get_or_insert(at);
        if before == at {
            return;
        }
        self.look(before, cluster);
        let down = i32::try_from(self.down.len()).unwrap_or(i32::MAX);
        let added = (at - before).checked_mul(down).and_then(|added| self.down_for.checked_add(&added));
        self.down_for = added.unwrap_or(TimeDelta::MAX);
        self.at = Some(at);
    }

    fn look(&mut self, at: DateTime<Utc>, cluster: &Cluster) {
        let touched = std::mem::take(&mut self.touched);
        for id in &touched.containers {
            let is_down = cluster
                .container(*id)
                .is_some_and(|c| c.desired == Desired::Running && c.status() != Status::Up);
            if is_down {
                self.down.insert(*id);
            } else {
                self.down.remove(id);
            }
        }
        for node in touched.nodes.iter().filter_map(|id| cluster.node(*id)) {
            let peak = self.peaks.entry(node.id).or_insert(Peak { node: String::new(), containers: 0 });
            peak.node.clone_from(&node.name);
            peak.containers = peak.containers.max(node.container_count());
        }
        if !touched.nodes.is_empty() {
            self.chart(Spread { at, spread: spread(cluster) });
        }
    }

    fn chart(&mut self, point: Spread) {
        if self.imbalance.last().is_none_or(|last| last.spread != point.spread) {
            self.imbalance.push(point);
            if self.imbalance.len() >= 4 * POINTS_LIMIT {
                self.imbalance = thinned(&self.imbalance);
            }
        }
    }

    pub(super) fn finish(mut self, at: DateTime<Utc>, cluster: &Cluster) -> Figures {
        self.reach(at, cluster);
        self.look(at, cluster);
        let mut peak: Vec<_> = self.peaks.into_values().collect();
        peak.sort_by(|a, b| a.node.cmp(&b.node));
        #[allow(clippy::cast_precision_loss)] // milliseconds of 285,000 years are exact
        let down_seconds = self.down_for.num_milliseconds() as f64 / 1_000.0;
        let imbalance =
            if self.imbalance.len() > POINTS_LIMIT { thinned(&self.imbalance) } else { self.imbalance };
        let Self { migrations, launches, failed, .. } = self;
        Figures { migrations, down_seconds, launches, failed, peak, imbalance }
    }
}

/// The most minus the fewest containers of a node that takes containers.
pub(super) fn spread(cluster: &Cluster) -> u32 {
    cluster.eligible().extremes().map_or(0, |(fewest, most)| most - fewest)
}

/// The greatest and the last point of each of equal stretches, at most [`POINTS_LIMIT`] together.
fn thinned(points: &[Spread]) -> Vec<Spread> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let stretches = i64::try_from(POINTS_LIMIT / 2).unwrap_or(i64::MAX);
    let whole = (last.at - first.at).num_milliseconds().max(1);
    let stretch = |point: &Spread| {
        let ratio = i128::from((point.at - first.at).num_milliseconds()) * i128::from(stretches);
        (ratio / i128::from(whole)).min(i128::from(stretches) - 1)
    };
    let mut kept = Vec::new();
    for group in points.chunk_by(|a, b| stretch(a) == stretch(b)) {
        // The first of the greatest: from then on it was so.
        let greatest = group.iter().rev().max_by_key(|point| point.spread);
        let last = group.last();
        kept.extend(greatest.filter(|greatest| Some(*greatest) != last));
        kept.extend(last);
    }
    kept
}

/// A cluster that is watched.
pub(super) struct Watched {
    pub(super) cluster: Cluster,
    meter: Meter,
}

impl Watched {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { meter: Meter::new(&cluster), cluster }
    }

    pub(super) fn reach(&mut self, at: DateTime<Utc>) {
        self.meter.reach(at, &self.cluster);
    }

    /// Folds in an event; says what it touched.
    pub(super) fn apply(&mut self, envelope: &Envelope) -> Touched {
        let mut touched = Touched::default();
        self.cluster.apply(envelope, &mut touched);
        self.meter.note(&envelope.event);
        self.meter.touch(&touched);
        touched
    }

    /// Takes over a state that events led to.
    pub(super) fn take(&mut self, events: &[Envelope], cluster: Cluster, touched: &Touched) {
        self.cluster = cluster;
        for envelope in events {
            self.meter.note(&envelope.event);
        }
        self.meter.touch(touched);
    }

    pub(super) fn finish(self, at: DateTime<Utc>) -> Figures {
        self.meter.finish(at, &self.cluster)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_long_chart_is_thinned_and_keeps_its_peaks_and_its_end() {
        let at = |second: i64| DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap();
        let mut meter = Meter::default();
        for second in 0..100_000_u32 {
            let spread = if second == 41_234 { 99 } else { second % 2 };
            meter.chart(Spread { at: at(i64::from(second)), spread });
        }
        let figures = meter.finish(at(100_000), &Cluster::default());
        let points = figures.imbalance;
        assert!((250..=POINTS_LIMIT).contains(&points.len()), "{}", points.len());
        assert!(points.is_sorted_by_key(|point| point.at));
        assert_eq!(points.iter().find(|point| point.spread == 99).unwrap().at, at(41_234));
        assert_eq!(*points.last().unwrap(), Spread { at: at(99_999), spread: 1 });
    }
}
