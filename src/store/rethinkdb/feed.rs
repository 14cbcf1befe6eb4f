//! Notifications of other daemons' commits.
//!
//! A changefeed on a dedicated session gives hints of new commits. A hint is not authoritative: it may precede the
//! acknowledgement by a majority, and a broken feed goes unnoticed. The log itself is read after each hint, and
//! periodically without one.

use super::pool::Pool;
use super::{EVENTS, EventLog as _, Head, RethinkdbStore, StoreError};
use crate::latest;
use futures_util::StreamExt as _;
use reql::cmd::changes::{self, Squash};
use reql::{Session, r};
use serde_json::Value;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

/// The interval of reads without a hint.
const POLL: Duration = Duration::from_millis(500);
/// The pause before the next read after a hint, which may arrive before a majority has the commit.
const SOON: Duration = Duration::from_millis(10);
/// The pause before a broken feed is reopened.
const PAUSE: Duration = Duration::from_secs(1);

/// The time for which the server collects changes into one message, in seconds.
const SQUASH: f32 = 0.02;

/// The changefeed, opened on the first wait.
pub(super) struct Feed {
    pool: Arc<Pool>,
    /// The number of hints received.
    hints: Arc<latest::Sender<u64>>,
    task: Mutex<Option<AbortHandle>>,
}

impl Feed {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, hints: Arc::new(latest::Sender::new(0)), task: Mutex::default() }
    }

    /// Wakes the waiting tasks of this process after a commit of its own.
    pub(super) fn appended(&self, _number: u64) {
        self.hints.send_modify(|hints| *hints += 1);
    }

    /// Implements [`crate::store::EventLog::wait_for_commit`].
    pub(super) async fn wait(
        &self,
        store: &RethinkdbStore,
        after: &Head,
        at_most: Duration,
    ) -> Result<u64, StoreError> {
        self.begin();
        let deadline = Instant::now() + at_most;
        let mut hints = self.hints.subscribe();
        let mut pause = POLL;
        loop {
            // Taken before the log is read: a hint that arrives meanwhile is not missed.
            let seen = *hints.borrow_and_update();
            let known = store.known().commits;
            let known = if known > after.commits { known } else { store.head().await?.commits };
            let left = deadline.saturating_duration_since(Instant::now());
            if known > after.commits || left.is_zero() {
                return Ok(known);
            }
            let hint = hints.wait_for(|hints| *hints != seen);
            pause = match timeout(pause.min(left), hint).await {
                Ok(_) => SOON,
                Err(_) => (pause * 2).min(POLL),
            };
        }
    }

    fn begin(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            let (pool, hints) = (Arc::clone(&self.pool), Arc::clone(&self.hints));
            *task = Some(tokio::spawn(follow(pool, hints)).abort_handle());
        }
    }

    pub(super) fn close(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

/// Keeps a changefeed open, and reopens it when it breaks.
async fn follow(pool: Arc<Pool>, hints: Arc<latest::Sender<u64>>) {
    loop {
        let session = pool.connect(Instant::now() + pool.settings().query_timeout).await;
        let why = match session {
            Ok(session) => listen(&session, &hints).await,
            Err(failure) => failure.to_string(),
        };
        tracing::debug!(why, "the changefeed broke; the log is polled until it is back");
        sleep(PAUSE).await;
    }
}

/// Counts hints until the feed breaks, and returns the reason. The session cannot be used afterwards.
async fn listen(session: &Session, hints: &latest::Sender<u64>) -> String {
    // The server waits for a response to each message: batching several commits into one is cheaper.
    let options = changes::Options::new().squash(Squash::Float(SQUASH));
    let feed = r.table(EVENTS).pluck(r.expr(["id"])).changes(options);
    let mut changes = pin!(feed.run::<_, Value>(session));
    loop {
        match changes.next().await {
            Some(Ok(_)) => hints.send_modify(|hints| *hints += 1),
            Some(Err(error)) => return error.to_string(),
            None => return "the feed ended".to_owned(),
        }
    }
}
