//! One connection to an engine, and what can happen to it.

use super::machine::{Machine, MachineLink};
use super::state::EngineState;
use kdaemon::engine::{EngineError, Failure};
use kdaemon::latest as watch;
use std::future::{Future, pending};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a refused connection takes.
pub(super) const REFUSAL: Duration = Duration::from_millis(1);

pub(super) async fn wait_for(
    link: &mut watch::Receiver<MachineLink>,
    condition: impl FnMut(&MachineLink) -> bool,
) -> MachineLink {
    match link.wait_for(condition).await.map(|link| *link) {
        Ok(link) => link,
        // The waiting task holds the machine, and the machine holds the sender.
        Err(_) => pending().await,
    }
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(no_answer(limit)))
}

pub(super) fn no_answer(limit: Duration) -> EngineError {
    EngineError::Unreachable(Failure::timeout(limit))
}

pub(super) fn connection_lost() -> EngineError {
    EngineError::no_connection("connection reset by peer")
}

/// One connection to an engine: it lives no longer than the engine process that accepted it.
pub(super) struct EngineConnection<'a> {
    machine: &'a Machine,
    link: watch::Receiver<MachineLink>,
    boot: u32,
    back_ms: u64,
    loses_answer: bool,
}

impl<'a> EngineConnection<'a> {
    /// Connects and sends the request, which has arrived when this returns.
    async fn open(machine: &'a Machine) -> Result<Self, EngineError> {
        let mut link = machine.link.subscribe();
        let seen = wait_for(&mut link, |link| link.requests).await;
        if !seen.up {
            wait_for(&mut link, |link| link.answers).await;
            tokio::time::sleep(REFUSAL).await;
            return Err(EngineError::no_connection("connection refused"));
        }
        let lossy = machine.lossy_per_mille.load(Ordering::Relaxed);
        let is_lost = lossy > 0 && machine.random() % 1_000 < u64::from(lossy);
        let loses_answer = is_lost && machine.random().is_multiple_of(2);
        if is_lost && !loses_answer {
            return pending().await;
        }
        let both_ways_ms = machine.takes(&machine.about.timing.answer_ms);
        let back_ms = both_ways_ms - both_ways_ms / 2;
        let mut connection = Self { machine, link, boot: seen.boot, back_ms, loses_answer };
        connection.pass(both_ways_ms / 2).await?;
        Ok(connection)
    }

    fn is_broken(&self) -> bool {
        is_broken(&self.machine.link.borrow(), self.boot)
    }

    /// Waits until the connection breaks, and until the client can notice.
    async fn broken(&mut self) -> EngineError {
        let boot = self.boot;
        wait_for(&mut self.link, |link| is_broken(link, boot) && link.answers).await;
        connection_lost()
    }

    /// Lets time pass, during which the connection may break.
    async fn pass(&mut self, ms: u64) -> Result<(), EngineError> {
        if ms == 0 {
            return Ok(());
        }
        tokio::select! {
            biased;
            error = self.broken() => Err(error),
            () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(()),
        }
    }

    /// Delivers the answer.
    async fn answer<T>(mut self, answer: T) -> Result<T, EngineError> {
        if self.loses_answer {
            return pending().await;
        }
        self.pass(self.back_ms).await?;
        let link = wait_for(&mut self.link, |link| link.answers).await;
        if is_broken(&link, self.boot) { Err(connection_lost()) } else { Ok(answer) }
    }
}

pub(super) fn is_broken(link: &MachineLink, boot: u32) -> bool {
    !link.up || link.boot != boot
}

/// A request that is answered after `after_ms`; dropped with its caller.
pub(super) async fn read<T: Send>(
    machine: &Machine,
    limit: Duration,
    after_ms: u64,
    look: impl FnOnce(&mut EngineState, u64) -> Result<T, EngineError> + Send,
) -> Result<T, EngineError> {
    within(limit, async {
        let mut connection = EngineConnection::open(machine).await?;
        connection.pass(after_ms).await?;
        match machine.with(|state, now| (!connection.is_broken()).then(|| look(state, now))) {
            Some(answer) => connection.answer(answer).await?,
            None => Err(connection.broken().await),
        }
    })
    .await
}

/// A request that the engine works on for `takes_ms`, and finishes whether or not its caller still waits;
/// only a crash prevents that.
pub(super) async fn operate<T: Send + 'static>(
    machine: &Machine,
    limit: Duration,
    takes_ms: impl FnOnce(&EngineState) -> u64 + Send,
    act: impl FnOnce(&mut EngineState, u64) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    within(limit, async {
        let mut connection = EngineConnection::open(machine).await?;
        let (done, mut answer) = oneshot::channel();
        let due = machine.with(|state, now| {
            if connection.is_broken() {
                return None;
            }
            let due = now.saturating_add(takes_ms(state));
            // The caller may be gone.
            state.work(now, due, Box::new(move |state, at| drop(done.send(act(state, at)))));
            Some(due)
        });
        let Some(due) = due else { return Err(connection.broken().await) };
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                () = machine.clock.sleep_until(due) => machine.with(|_, _| ()),
            }
        };
        match answer {
            Ok(answer) => connection.answer(answer).await?,
            Err(_) => Err(connection.broken().await),
        }
    })
    .await
}
