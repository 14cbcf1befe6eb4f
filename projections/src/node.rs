//! The state of one node.

use chrono::{DateTime, TimeDelta, Utc};
use imbl::{OrdMap, OrdSet};
use kdaemon_events::failure::ProbeFailure;
use kdaemon_events::node::{Availability, EngineFacts};
use kdaemon_events::{ApplicationId, ContainerId, Endpoint, NodeId, PlacementId, Protocol, Seq};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The health of a node, concluded from several probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Health {
    /// Not probed yet.
    #[default]
    Unknown,
    /// Healthy.
    Up,
    /// Unhealthy.
    Down,
}

impl Health {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Up => "UP",
            Self::Down => "DOWN",
        }
    }
}

/// A mounted node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The event's id.
    pub id: NodeId,
    /// The node's name, unique among nodes.
    pub name: String,
    /// The owner, as given by the client.
    pub user_id: Option<String>,
    /// The address of the engine.
    pub endpoint: Endpoint,
    /// Labels for constraints.
    pub labels: BTreeMap<String, String>,
    /// The most containers that it takes.
    pub capacity: Option<u32>,
    /// Whether the scheduler may use it.
    pub availability: Availability,
    /// Whether the node is unmounted once it is drained.
    pub then_unmount: bool,
    /// Whether `NodeDrained` was recorded.
    pub drained: bool,
    /// The concluded health.
    pub health: Health,
    /// Whether it was ever healthy: a node that never was does not count as failed in a mass failure.
    pub was_up: bool,
    /// Why the last probe failed, while the node is unhealthy.
    #[serde(with = "crate::json_text")]
    pub failure: Option<ProbeFailure>,
    /// Consecutive failed probes.
    pub failures: u32,
    /// Consecutive successful probes.
    pub successes: u32,
    /// The last observation, which conclusions name as their cause.
    pub observed: Seq,
    /// The last `NodeUnhealthy`, which migrations name as their cause.
    pub unhealthy_seq: Option<Seq>,
    /// The start of its drain, which migrations away from it and `NodeDrained` name as their cause.
    pub drain_seq: Option<Seq>,
    /// The last progress of its drain: its start, or when a container was gone from the node.
    pub drain_progress_at: Option<DateTime<Utc>>,
    /// Applications whose launch failed here through the node's fault, with the last time. Cleared when a
    /// launch succeeds, and when the node returns.
    pub faults: OrdMap<ApplicationId, DateTime<Utc>>,
    /// The engine's description of itself.
    pub engine: Option<EngineFacts>,
    /// Containers whose wanted placement is here.
    pub residents: OrdSet<ContainerId>,
    /// Containers with any placement here: also stopped ones, and replaced placements.
    pub holds: OrdSet<ContainerId>,
    /// The fixed ports taken here, with their containers: more than one while a stopped and replaced
    /// placement waits for its removal next to the one that took its port meanwhile.
    pub ports: OrdMap<(Protocol, u16), OrdSet<ContainerId>>,
    /// Processors reserved here, in thousandths.
    pub reserved_millicpus: u64,
    /// Memory reserved here, in bytes.
    pub reserved_memory_bytes: u64,
    /// Our containers here without a record, which have to be removed.
    pub orphans: OrdSet<PlacementId>,
    /// Consecutive returns, each within an hour of the previous one.
    pub returns: u32,
    /// The time of the last return.
    pub returned_at: Option<DateTime<Utc>>,
    /// The event of the last change.
    pub seq: Seq,
}

/// A node that was unmounted: its machine may still hold data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmountedNode {
    /// The name that it had.
    pub name: String,
    /// The id of its engine, by which the machine is recognized when it is mounted again; empty if unknown.
    pub engine_id: String,
}

/// A return later than this after the previous one starts a new series.
const RETURNS_REMEMBERED: TimeDelta = TimeDelta::hours(1);

impl Node {
    /// Records a return.
    pub(crate) fn note_return(&mut self, at: Option<DateTime<Utc>>) {
        let lately = match (self.returned_at, at) {
            (Some(before), Some(at)) => at - before < RETURNS_REMEMBERED,
            _ => false,
        };
        self.returns = if lately { self.returns.saturating_add(1) } else { 1 };
        self.returned_at = at;
    }

    /// The end of its probation. A node that keeps failing and returning receives no moves and comes last in
    /// placement: no probation for its first return, one minute for the second, doubled for each further one,
    /// 16 minutes at most.
    #[must_use]
    pub fn on_probation_until(&self) -> Option<DateTime<Utc>> {
        let doublings = self.returns.checked_sub(2)?.min(4);
        Some(self.returned_at? + TimeDelta::minutes(1 << doublings))
    }

    /// Whether it is on probation.
    #[must_use]
    pub fn is_on_probation(&self, now: Option<DateTime<Utc>>) -> bool {
        matches!((self.on_probation_until(), now), (Some(until), Some(now)) if now < until)
    }

    /// The larger of the reserved shares of processors and memory, in millionths; 0 until the engine has
    /// reported its capacity.
    #[must_use]
    pub fn reserved_share(&self) -> u32 {
        self.share_with(self.reserved_millicpus, self.reserved_memory_bytes)
    }

    /// The share if this much were reserved.
    #[must_use]
    pub fn share_with(&self, millicpus: u64, memory_bytes: u64) -> u32 {
        let Some(engine) = &self.engine else { return 0 };
        let share = |reserved: u64, all: u64| {
            let all = all.max(1);
            let millionths = reserved.checked_mul(1_000_000).map_or_else(
                || u128::from(reserved) * 1_000_000 / u128::from(all), // rare, and much slower
                |reserved| u128::from(reserved / all),
            );
            u32::try_from(millionths).unwrap_or(u32::MAX)
        };
        share(millicpus, engine.cpus.0).max(share(memory_bytes, engine.memory_bytes))
    }

    /// Whether the scheduler may place something here, constraints aside.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.health == Health::Up && self.availability == Availability::Active
    }

    /// Whether a launch of this application failed here through the node's fault (its disk is full, a port is
    /// taken by a foreign process, it cannot reach the registry, …) so recently that other nodes are
    /// preferred. Other applications are not affected: the fault may lie in something that only this one
    /// needs.
    #[must_use]
    pub fn is_faulty(&self, application: Option<ApplicationId>, now: Option<DateTime<Utc>>) -> bool {
        const REMEMBERED: TimeDelta = TimeDelta::minutes(5);
        let fault = application.and_then(|application| self.faults.get(&application));
        matches!((fault, now), (Some(fault), Some(now)) if now - *fault < REMEMBERED)
    }

    /// Whether a reactor may have work to do for it: containers to move, or orphans to remove.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.health == Health::Down || self.availability == Availability::Draining || !self.orphans.is_empty()
    }

    /// Number of its containers.
    #[must_use]
    pub fn container_count(&self) -> u32 {
        u32::try_from(self.residents.len()).unwrap_or(u32::MAX)
    }
}
