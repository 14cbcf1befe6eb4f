//! What can go wrong with a machine, on command.

use super::machine::Machine;
use super::state::no_such_container;
use bytes::Bytes;
use kdaemon::engine::{EngineError, Exit, Identity};
use kdaemon_events::Protocol;
use std::sync::atomic::Ordering;

/// How much of a machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The engine alone: its containers run on, and are there when it is started again.
    EngineOnly,
    /// The whole machine: every process ends, and shows as exited with 255 when the engine is started again.
    Machine,
}

impl Machine {
    /// The engine stops: open connections and event streams break, new ones are refused, and what it was working
    /// on stays undone. (A machine without power would not even refuse: [`Machine::cut`] it, too.)
    pub fn crash(&self, crash: Crash) {
        self.with(|state, now| {
            match crash {
                Crash::EngineOnly => state.engine_dies(),
                Crash::Machine => state.machine_dies(now),
            }
            self.link.send_modify(|link| link.up = false);
        });
    }

    /// The engine starts after a crash. Nothing happens when it runs.
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

    /// The engine is restarted at once: its connections break.
    pub fn restart(&self, crash: Crash) {
        self.crash(crash);
        self.start();
    }

    /// Nothing passes the link any more. Nobody notices but by waiting: requests hang, and streams are silent.
    /// What waits passes when the link is healed, as with TCP.
    pub fn cut(&self) {
        self.set_link(false, false);
    }

    /// One way is cut: requests arrive and are executed, but neither answers nor events come back.
    pub fn cut_answers(&self) {
        self.set_link(true, false);
    }

    /// The link works again, both ways.
    pub fn heal(&self) {
        self.set_link(true, true);
    }

    fn set_link(&self, requests: bool, answers: bool) {
        self.link.send_modify(|link| {
            link.requests = requests;
            link.answers = answers;
        });
    }

    /// Everything takes `factor` times as long from now on; 1 is as it was.
    pub fn slow(&self, factor: u32) {
        self.slow.store(factor.max(1), Ordering::Relaxed);
    }

    /// So many of 1,000 connections come to nothing: the request is lost, or (as often) its answer.
    pub fn lose_messages(&self, per_mille: u32) {
        self.lossy_per_mille.store(per_mille, Ordering::Relaxed);
    }

    /// The disk is replaced by an empty one: all containers, images, networks and volumes are gone, foreign ones
    /// too, and no event tells of it.
    pub fn lose_disk(&self) {
        self.with(|state, _| state.lose_everything());
    }

    /// The disk is full: nothing can be pulled or made. What runs runs on.
    pub fn full_disk(&self) {
        self.with(|state, _| state.disk_is_full = true);
    }

    /// There is space again.
    pub fn free_disk(&self) {
        self.with(|state, _| state.disk_is_full = false);
    }

    /// This machine alone reaches no registry, or does again.
    pub fn set_registry_cut(&self, is_cut: bool) {
        self.with(|state, _| state.registry_is_cut = is_cut);
    }

    /// The image is removed; the next launch of it pulls. Says whether it was there.
    pub fn remove_image(&self, image: &str) -> bool {
        self.with(|state, _| state.images.remove(super::normal(image).as_str()))
    }

    /// The next `count` launches that reach the engine fail with `error`, and do nothing.
    pub fn fail_next_launches(&self, count: u32, error: EngineError) {
        self.with(|state, _| state.failing = (count > 0).then_some((count, error)));
    }

    /// The next `count` launches that reach the engine succeed, but their caller waits for the answer in vain.
    pub fn launch_succeeds_but_times_out(&self, count: u32) {
        self.with(|state, _| state.timing_out = count);
    }

    /// Somebody or something ends the process of a container.
    ///
    /// # Errors
    /// There is no such container.
    pub fn kill_container(&self, identity: Identity, code: i64) -> Result<(), EngineError> {
        self.end_container(identity, Exit { code, out_of_memory: false })
    }

    /// The kernel ends the process of a container for want of memory.
    ///
    /// # Errors
    /// There is no such container.
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

    /// Somebody starts a container that does not run, past kDaemon.
    ///
    /// # Errors
    /// What the engine says to it.
    pub fn start_container(&self, identity: Identity) -> Result<(), EngineError> {
        self.with(|state, now| state.start(identity, now).map(drop))
    }

    /// Somebody removes a container, past kDaemon.
    ///
    /// # Errors
    /// There is no such container.
    pub fn remove_container(&self, identity: Identity) -> Result<(), EngineError> {
        self.with(
            |state, now| if state.remove(identity, now) { Ok(()) } else { Err(no_such_container(identity)) },
        )
    }

    /// The engine's health check of a container changes its mind.
    ///
    /// # Errors
    /// There is no such container.
    pub fn set_health(&self, identity: Identity, healthy: bool) -> Result<(), EngineError> {
        self.with(|state, _| {
            state.get(identity)?;
            state.set_health(identity, healthy);
            Ok(())
        })
    }

    /// The container writes this.
    ///
    /// # Errors
    /// There is no such container.
    pub fn write_output(&self, identity: Identity, text: &str) -> Result<(), EngineError> {
        self.with(|state, now| {
            state.get(identity)?;
            state.write(identity, Bytes::copy_from_slice(text.as_bytes()), now);
            Ok(())
        })
    }

    /// Somebody runs a container of their own here, which holds these ports of the machine.
    ///
    /// # Errors
    /// Its name or one of its ports is taken.
    pub fn run_foreign(&self, name: &str, ports: &[(Protocol, u16)]) -> Result<(), EngineError> {
        self.with(|state, _| state.add_foreign(name, ports))
    }

    /// Somebody removes a container of their own. Says whether it was there.
    pub fn remove_foreign(&self, name: &str) -> bool {
        self.with(|state, _| state.remove_foreign(name))
    }
}
