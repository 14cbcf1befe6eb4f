//! Streams of an engine: its events, and the output of a container.

use super::clock::{WorldClock, moment};
use super::connection::{connection_lost, is_broken};
use super::machine::{Machine, MachineLink};
use super::state::{EngineState, Kept};
use bytes::Bytes;
use kdaemon::engine::{ContainerState, EngineError, EngineEvent, Identity, LogRequest};
use kdaemon::latest as watch;
use kdaemon_events::ClusterId;
use std::future::pending;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Waits until something happens on the machine: by itself at `due_ms`, or by a call.
async fn something(clock: WorldClock, link: &mut watch::Receiver<MachineLink>, due_ms: Option<u64>) {
    let due = async {
        match due_ms {
            Some(due_ms) => clock.sleep_until(due_ms).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        _ = link.changed() => {}
        () = due => {}
    }
}

/// An open event stream.
pub(super) struct OpenEvents {
    machine: Arc<Machine>,
    link: watch::Receiver<MachineLink>,
    events: mpsc::Receiver<EngineEvent>,
    has_ended: bool,
}

impl OpenEvents {
    pub(super) fn open(machine: &Arc<Machine>, state: &mut EngineState, cluster: ClusterId) -> Self {
        let (machine, link) = (Arc::clone(machine), machine.link.subscribe());
        Self { machine, link, events: state.subscribe(cluster), has_ended: false }
    }

    pub(super) async fn next(mut self) -> Option<(Result<EngineEvent, EngineError>, Self)> {
        if self.has_ended {
            return None;
        }
        loop {
            let passes = self.link.borrow_and_update().answers;
            let due = self.machine.with(|state, _| state.next_due());
            // Nothing passes a cut link, not even the end of the stream.
            if passes {
                match self.events.try_recv() {
                    Ok(event) => return Some((Ok(event), self)),
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        self.has_ended = true;
                        return Some((Err(connection_lost()), self));
                    }
                    Err(mpsc::error::TryRecvError::Empty) => {}
                }
            }
            something(self.machine.clock, &mut self.link, due).await;
        }
    }
}

/// An open stream of output.
pub(super) struct Logs {
    machine: Arc<Machine>,
    link: watch::Receiver<MachineLink>,
    boot: u32,
    identity: Identity,
    /// Lines not yet yielded.
    lines: std::vec::IntoIter<(u64, Bytes)>,
    /// Taken into `lines` so far: everything before this moment, and this many lines of this moment.
    seen: (u64, usize),
    follow: bool,
}

impl Logs {
    /// Begins with the output up to now.
    pub(super) fn open(
        machine: &Arc<Machine>,
        state: &EngineState,
        identity: Identity,
        request: LogRequest,
        now: u64,
    ) -> Self {
        let mut lines = state.output(identity, request.since.map_or(0, moment), now);
        let seen = (now, lines.iter().filter(|(at, _)| *at == now).count());
        if let Some(tail) = request.tail {
            let tail = usize::try_from(tail).unwrap_or(usize::MAX);
            lines.drain(..lines.len().saturating_sub(tail));
        }
        let (machine, link) = (Arc::clone(machine), machine.link.subscribe());
        let boot = link.borrow().boot;
        Self { machine, link, boot, identity, lines: lines.into_iter(), seen, follow: request.follow }
    }

    pub(super) async fn next(mut self) -> Option<(Result<Bytes, EngineError>, Self)> {
        loop {
            if let Some((_, line)) = self.lines.next() {
                return Some((Ok(line), self));
            }
            if !self.follow {
                return None;
            }
            let link = *self.link.borrow_and_update();
            let mut due = None;
            if link.answers {
                if is_broken(&link, self.boot) {
                    self.follow = false;
                    return Some((Err(connection_lost()), self));
                }
                let (at_ms, count) = self.seen;
                let (mut lines, runs, now, next): (Kept, bool, u64, Option<u64>) =
                    self.machine.with(|state, now| {
                        let container = state.containers.get(&self.identity);
                        let runs = container.is_some_and(|c| c.state() == ContainerState::Running);
                        let next = [state.next_due(), state.next_output(self.identity, now)];
                        let lines = state.output(self.identity, at_ms, now);
                        (lines, runs, now, next.into_iter().flatten().min())
                    });
                lines.drain(..count.min(lines.len()));
                let of_now = lines.iter().filter(|(at, _)| *at == now).count();
                self.seen = (now, if now == at_ms { count + of_now } else { of_now });
                self.follow = runs;
                self.lines = lines.into_iter();
                if self.lines.len() > 0 || !runs {
                    continue;
                }
                due = next;
            }
            something(self.machine.clock, &mut self.link, due).await;
        }
    }
}
