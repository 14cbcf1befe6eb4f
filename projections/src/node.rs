//! The state of one node.

use chrono::{DateTime, TimeDelta, Utc};
use imbl::{OrdMap, OrdSet};
use kdaemon_events::failure::ProbeFailure;
use kdaemon_events::node::{Availability, EngineFacts};
use kdaemon_events::{ApplicationId, ContainerId, Endpoint, NodeId, PlacementId, Protocol, Seq};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a node works, concluded from several probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Health {
    /// Not probed yet.
    #[default]
    Unknown,
    /// It works.
    Up,
    /// It does not.
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
    /// Its identity.
    pub id: NodeId,
    /// Its name, unique among nodes.
    pub name: String,
    /// Whom it belongs to.
    pub user_id: Option<String>,
    /// Where its engine answers.
    pub endpoint: Endpoint,
    /// Labels for constraints.
    pub labels: BTreeMap<String, String>,
    /// How many containers it takes at most.
    pub capacity: Option<u32>,
    /// Whether the scheduler may use it.
    pub availability: Availability,
    /// Whether it is unmounted as soon as it is drained.
    pub then_unmount: bool,
    /// Whether it is drained and was told so.
    pub drained: bool,
    /// Whether it works.
    pub health: Health,
    /// Whether it ever worked: one that never did is not counted as failed when too many fail at once.
    pub was_up: bool,
    /// Why the last probe failed, while the node is unhealthy.
    #[serde(with = "crate::json_text")]
    pub failure: Option<ProbeFailure>,
    /// Failed probes in a row.
    pub failures: u32,
    /// Answered probes in a row.
    pub successes: u32,
    /// The last observation, which conclusions give as their cause.
    pub observed: Seq,
    /// When it was last judged unhealthy: the event that migrations give as their cause.
    pub unhealthy_seq: Option<Seq>,
    /// When its drain began: the event that migrations away from it and its end give as their cause.
    pub drain_seq: Option<Seq>,
    /// Which applications could not be launched here through the node's fault, and when that was last. Forgotten
    /// when a launch succeeds, and when the node returns.
    pub faults: OrdMap<ApplicationId, DateTime<Utc>>,
    /// What its engine told about itself.
    pub engine: Option<EngineFacts>,
    /// The containers whose wanted placement is here.
    pub residents: OrdSet<ContainerId>,
    /// The containers of which it has anything at all: also stopped ones, and placements that were replaced.
    pub holds: OrdSet<ContainerId>,
    /// The fixed ports that are taken here, and by whom: more than one while a placement that was stopped and
    /// replaced still waits for its removal beside the one that took its port meanwhile.
    pub ports: OrdMap<(Protocol, u16), OrdSet<ContainerId>>,
    /// Processors reserved here, in thousandths.
    pub reserved_millicpus: u64,
    /// Memory reserved here, in bytes.
    pub reserved_memory_bytes: u64,
    /// Containers of ours that answer to no record and have to go.
    pub orphans: OrdSet<PlacementId>,
    /// How often it came back lately, one time shortly after the other.
    pub returns: u32,
    /// When it came back last.
    pub returned_at: Option<DateTime<Utc>>,
    /// Its last change.
    pub seq: Seq,
}

/// A node that came back so long after it had come back before begins anew.
const RETURNS_REMEMBERED: TimeDelta = TimeDelta::hours(1);

impl Node {
    /// Takes note that it came back.
    pub(crate) fn note_return(&mut self, at: Option<DateTime<Utc>>) {
        let lately = match (self.returned_at, at) {
            (Some(before), Some(at)) => at - before < RETURNS_REMEMBERED,
            _ => false,
        };
        self.returns = if lately { self.returns.saturating_add(1) } else { 1 };
        self.returned_at = at;
    }

    /// Until when it is on probation: a node that keeps coming back and failing is not moved to, and comes last where
    /// something is placed. Its first return costs it nothing; the second a minute, each further one twice as long,
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

    /// The larger of the reserved shares of its processors and of its memory, in millionths; 0 as long as its
    /// engine has not told what it has.
    #[must_use]
    pub fn reserved_share(&self) -> u32 {
        self.share_with(self.reserved_millicpus, self.reserved_memory_bytes)
    }

    /// That share, were so much reserved.
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
    /// taken by somebody else, it cannot reach the registry, …) so shortly before `now` that others are to be
    /// preferred. Other applications are not concerned: the fault may lie in what only this one asks for.
    #[must_use]
    pub fn is_faulty(&self, application: Option<ApplicationId>, now: Option<DateTime<Utc>>) -> bool {
        const REMEMBERED: TimeDelta = TimeDelta::minutes(5);
        let fault = application.and_then(|application| self.faults.get(&application));
        matches!((fault, now), (Some(fault), Some(now)) if now - *fault < REMEMBERED)
    }

    /// Whether a reactor may have something to do about it: to move what it has, or to remove orphans.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.health == Health::Down || self.availability == Availability::Draining || !self.orphans.is_empty()
    }

    /// How many containers it has.
    #[must_use]
    pub fn container_count(&self) -> u32 {
        u32::try_from(self.residents.len()).unwrap_or(u32::MAX)
    }
}
