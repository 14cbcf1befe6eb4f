//! Measurements of a cluster over time, the same for the recorded and the replayed side.

use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::{ContainerId, Envelope, Event, NodeId};
use kdaemon_projections::{Cluster, Desired, Status, Touched};
use std::collections::{BTreeMap, BTreeSet};

/// The most points of the imbalance chart.
const POINTS_LIMIT: usize = 500;

/// The figures of one side of a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Started moves of containers, for any reason.
    pub migrations: u64,
    /// Time during which wanted containers did not run, as far as the daemon knew: the sum over all of them,
    /// in seconds.
    pub down_seconds: f64,
    /// Starts of containers that succeeded; restarts too.
    pub launches: u64,
    /// Failed attempts to start one.
    pub failed: u64,
    /// The most containers that each node had at one time, by node name.
    pub peak: Vec<Peak>,
    /// The imbalance of container counts, at each change; of many changes the greatest and the last within
    /// each of 250 equal intervals.
    pub imbalance: Vec<Spread>,
}

/// The most containers that a node had at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peak {
    /// The node's name.
    pub node: String,
    /// The number.
    pub containers: u32,
}

/// The imbalance of container counts from one moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// The current moment.
    pub at: DateTime<Utc>,
    /// The highest minus the lowest number of containers on eligible nodes.
    pub spread: u32,
}

/// Watches one cluster between moments, so that several events of one moment count once.
#[derive(Default)]
pub(super) struct Meter {
    migrations: u64,
    launches: u64,
    failed: u64,
    /// Wanted containers that do not run.
    down: BTreeSet<ContainerId>,
    down_for: TimeDelta,
    peaks: BTreeMap<NodeId, Peak>,
    imbalance: Vec<Spread>,
    /// The time up to which everything but the touched containers is measured.
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

    /// Counts an event, and records what it touched.
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

    /// Advances to the next moment; `cluster` is the state that all earlier ones left.
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

/// The highest minus the lowest number of containers on eligible nodes.
pub(super) fn spread(cluster: &Cluster) -> u32 {
    cluster.eligible().extremes().map_or(0, |(fewest, most)| most - fewest)
}

/// The greatest and the last point of each of equal intervals, at most [`POINTS_LIMIT`] together.
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
        // The first of the greatest, because the value holds from then on.
        let greatest = group.iter().rev().max_by_key(|point| point.spread);
        let last = group.last();
        kept.extend(greatest.filter(|greatest| Some(*greatest) != last));
        kept.extend(last);
    }
    kept
}

/// A cluster that is watched.
pub(super) struct WatchedCluster {
    pub(super) cluster: Cluster,
    meter: Meter,
}

impl WatchedCluster {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { meter: Meter::new(&cluster), cluster }
    }

    pub(super) fn reach(&mut self, at: DateTime<Utc>) {
        self.meter.reach(at, &self.cluster);
    }

    /// Folds in an event. Returns what it touched.
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
    fn long_chart_is_thinned_but_keeps_peaks_and_end() {
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
