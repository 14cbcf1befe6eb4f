//! A simulated machine: its link to kDaemon, its clock and its random numbers.

use super::clock::WorldClock;
use super::image::normal;
use super::random::mix;
use super::state::EngineState;
use super::{CALLS, EngineCall, Identity, SimulatedMachine};
use kdaemon::latest as watch;
use kdaemon_events::node::EngineFacts;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// The link between kDaemon and an engine, and the engine's end of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MachineLink {
    /// Whether requests arrive.
    pub(super) requests: bool,
    /// Whether answers arrive.
    pub(super) answers: bool,
    /// Whether the engine runs.
    pub(super) up: bool,
    /// Number of starts: a connection lives as long as the engine process that accepted it.
    pub(super) boot: u32,
    /// Changes whenever something happens on the machine, to wake waiting tasks.
    tick: u32,
}

/// A simulated engine with its machine: methods to inject faults, and to read its true state.
pub struct Machine {
    pub(super) about: SimulatedMachine,
    pub(super) clock: WorldClock,
    pub(super) key: u64,
    pub(super) link: watch::Sender<MachineLink>,
    pub(super) slow: AtomicU32,
    pub(super) lossy_per_mille: AtomicU32,
    pub(super) calls: [AtomicU64; CALLS],
    pub(super) in_flight: AtomicU32,
    pub(super) most_in_flight: AtomicU32,
    /// Pulls in flight: the image, the start, and the duration in milliseconds.
    pub(super) pulls: Mutex<BTreeMap<Identity, (String, Instant, u64)>>,
    random: AtomicU64,
    state: Mutex<EngineState>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("link", &*self.link.borrow()).finish_non_exhaustive()
    }
}

impl Machine {
    pub(super) fn new(about: SimulatedMachine, clock: WorldClock, seed: u64) -> Self {
        let images = about.images.iter().map(|image| normal(image).into()).collect();
        let cpus = about.cpus.0;
        Self {
            about,
            clock,
            key: mix(seed),
            link: watch::Sender::new(MachineLink {
                requests: true,
                answers: true,
                up: true,
                boot: 0,
                tick: 0,
            }),
            slow: AtomicU32::new(1),
            lossy_per_mille: AtomicU32::new(0),
            calls: std::array::from_fn(|_| AtomicU64::new(0)),
            in_flight: AtomicU32::new(0),
            most_in_flight: AtomicU32::new(0),
            pulls: Mutex::default(),
            random: AtomicU64::new(seed),
            state: Mutex::new(EngineState::new(images, mix(seed), cpus)),
        }
    }

    /// Reads or changes the machine's state, after bringing it up to date.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut EngineState, u64) -> T) -> T {
        let now = self.clock.now_ms();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle(now);
        let result = look(&mut state, now);
        let changed = state.take_changed();
        drop(state);
        if changed {
            self.link.send_modify(|link| link.tick = link.tick.wrapping_add(1));
        }
        result
    }

    /// The next random number.
    pub(super) fn random(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        mix(self.random.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA))
    }

    /// A duration from `range`, multiplied when the machine is slow.
    pub(super) fn takes(&self, range: &RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        let ms = if high <= low { low } else { low + self.random() % (high - low + 1) };
        ms.saturating_mul(u64::from(self.slow.load(Ordering::Relaxed)))
    }

    pub(super) fn facts(&self) -> EngineFacts {
        EngineFacts {
            kind: "docker".into(),
            version: self.about.version.clone(),
            api_version: self.about.api_version.clone(),
            cpus: self.about.cpus,
            memory_bytes: self.about.memory_bytes,
            platform: "linux/amd64".into(),
            engine_id: format!("simulated-{:016x}", self.key),
        }
    }

    pub(super) fn count(&self, call: EngineCall) {
        self.calls[call as usize].fetch_add(1, Ordering::Relaxed);
    }
}
