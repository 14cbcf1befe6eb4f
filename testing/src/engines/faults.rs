//! Faults of a machine, injected by method calls.

use super::machine::Machine;
use super::state::no_such_container;
use bytes::Bytes;
use kdaemon::engine::{EngineError, Exit, Identity};
use kdaemon_events::Protocol;
use std::sync::atomic::Ordering;

/// How much of a machine crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The engine alone: its containers keep running, and are there when it starts again.
    EngineOnly,
    /// The whole machine: every process ends, and shows as exited with 255 when the engine starts again.
    Machine,
}

impl Machine {
    /// The engine crashes: open connections and event streams break, new ones are refused, and requests in
    /// progress are not finished. (A machine without power would not even refuse: [`Machine::cut`] it, too.)
    pub fn crash(&self, crash: Crash) {
        self.with(|state, now| {
            match crash {
                Crash::EngineOnly => state.engine_dies(),
                Crash::Machine => state.machine_dies(now),
            }
            self.link.send_modify(|link| link.up = false);
        });
    }

    /// Starts the engine after a crash; no effect if it runs.
    pub fn start(&self) {
        self.with(|_, _| {
            self.link.send_if_modified(|link| {
                let starts = !link.up;
                link.up = true;
                link.boot = link.boot.wrapping_add(u32::from(starts));
                starts
            });
        });
    }

    /// Restarts the engine: its connections break.
    pub fn restart(&self, crash: Crash) {
        self.crash(crash);
        self.start();
    }

    /// Cuts the link in both directions. Only a timeout reveals it: requests hang, and streams are silent.
    /// What is in flight passes when the link is healed, as with TCP.
    pub fn cut(&self) {
        self.set_link(false, false);
    }

    /// Cuts one direction: requests arrive and are executed, but neither answers nor events come back.
    pub fn cut_answers(&self) {
        self.set_link(true, false);
    }

    /// Heals the link in both directions.
    pub fn heal(&self) {
        self.set_link(true, true);
    }

    fn set_link(&self, requests: bool, answers: bool) {
        self.link.send_modify(|link| {
            link.requests = requests;
            link.answers = answers;
        });
    }

    /// Everything takes `factor` times as long from now on; 1 is normal speed.
    pub fn slow(&self, factor: u32) {
        self.slow.store(factor.max(1), Ordering::Relaxed);
    }

    /// `per_mille` of 1,000 connections fail: the request is lost, or (equally often) its answer.
    pub fn lose_messages(&self, per_mille: u32) {
        self.lossy_per_mille.store(per_mille, Ordering::Relaxed);
    }

    /// Replaces the disk by an empty one: all containers, images, networks and volumes are gone, foreign ones
    /// too, without events.
    pub fn lose_disk(&self) {
        self.with(|state, _| state.lose_everything());
    }

    /// Fills the disk: nothing can be pulled or created. What runs keeps running.
    pub fn full_disk(&self) {
        self.with(|state, _| state.disk_is_full = true);
    }

    /// Frees the disk again.
    pub fn free_disk(&self) {
        self.with(|state, _| state.disk_is_full = false);
    }

    /// Cuts this machine alone from all registries, or reconnects it.
    pub fn set_registry_cut(&self, is_cut: bool) {
        self.with(|state, _| state.registry_is_cut = is_cut);
    }

    /// Removes an image, so that its next launch pulls. Returns whether it was there.
    pub fn remove_image(&self, image: &str) -> bool {
        self.with(|state, _| state.images.remove(super::normal(image).as_str()))
    }

    /// The next `count` launches that reach the engine fail with `error` and have no effect.
    pub fn fail_next_launches(&self, count: u32, error: EngineError) {
        self.with(|state, _| state.failing = (count > 0).then_some((count, error)));
    }

    /// The next `count` launches that reach the engine succeed, but their callers never get the answer.
    pub fn launch_succeeds_but_times_out(&self, count: u32) {
        self.with(|state, _| state.timing_out = count);
    }

    /// Ends the process of a container with this exit code.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn kill_container(&self, identity: Identity, code: i64) -> Result<(), EngineError> {
        self.end_container(identity, Exit { code, out_of_memory: false })
    }

    /// Ends the process of a container as the kernel does when memory is exhausted.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn exhaust_memory(&self, identity: Identity) -> Result<(), EngineError> {
        self.end_container(identity, Exit { code: 137, out_of_memory: true })
    }

    fn end_container(&self, identity: Identity, exit: Exit) -> Result<(), EngineError> {
        self.with(|state, now| {
            state.get(identity)?;
            state.end(identity, exit, now);
            Ok(())
        })
    }

    /// Starts a stopped container directly on the engine, bypassing kDaemon.
    ///
    /// # Errors
    /// The engine's refusal.
    pub fn start_container(&self, identity: Identity) -> Result<(), EngineError> {
        self.with(|state, now| state.start(identity, now).map(drop))
    }

    /// Removes a container directly on the engine, bypassing kDaemon.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn remove_container(&self, identity: Identity) -> Result<(), EngineError> {
        self.with(|state, now| if state.remove(identity, now) { Ok(()) } else { Err(no_such_container()) })
    }

    /// Sets the result of the engine's health check of a container.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn set_health(&self, identity: Identity, healthy: bool) -> Result<(), EngineError> {
        self.with(|state, _| {
            state.get(identity)?;
            state.set_health(identity, healthy);
            Ok(())
        })
    }

    /// Pauses a container's process, or lets it continue, directly on the engine.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn set_paused(&self, identity: Identity, paused: bool) -> Result<(), EngineError> {
        self.with(|state, _| {
            state.get(identity)?;
            state.set_paused(identity, paused);
            Ok(())
        })
    }

    /// The container writes this text.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn write_output(&self, identity: Identity, text: &str) -> Result<(), EngineError> {
        self.with(|state, now| {
            state.get(identity)?;
            state.write(identity, Bytes::copy_from_slice(text.as_bytes()), now);
            Ok(())
        })
    }

    /// Runs a foreign container, which holds these ports of the machine.
    ///
    /// # Errors
    /// When its name or one of its ports is taken.
    pub fn run_foreign(&self, name: &str, ports: &[(Protocol, u16)]) -> Result<(), EngineError> {
        self.with(|state, _| state.add_foreign(name, ports))
    }

    /// Creates a foreign network.
    pub fn create_network(&self, name: &str) {
        let _ = self.with(|state, _| state.networks.insert(name.into(), None));
    }

    /// Removes a foreign container. Returns whether it was there.
    pub fn remove_foreign(&self, name: &str) -> bool {
        self.with(|state, _| state.remove_foreign(name))
    }
}
