//! Hearing of other daemons' commits.
//!
//! A changefeed on a session of its own says that there is something new. It is a hint and no more: it tells of writes that no
//! majority has yet, and nothing tells that it was cut. What counts is the log itself, which is looked at after each
//! hint, and every now and then without one.

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

/// How often the log is looked at without a hint.
const POLL: Duration = Duration::from_millis(500);
/// A hint comes before a majority has the commit: how soon it is looked at again.
const SOON: Duration = Duration::from_millis(10);
/// The pause before a feed that broke is begun again.
const PAUSE: Duration = Duration::from_secs(1);

/// The server gathers hints for so many seconds.
const SQUASH: f32 = 0.02;

/// The feed, begun when somebody first waits.
pub(super) struct Feed {
    pool: Arc<Pool>,
    /// Counts the hints.
    hints: Arc<latest::Sender<u64>>,
    task: Mutex<Option<AbortHandle>>,
}

impl Feed {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, hints: Arc::new(latest::Sender::new(0)), task: Mutex::default() }
    }

    /// A commit of our own: others in this process wait, too.
    pub(super) fn appended(&self, _number: u64) {
        self.hints.send_modify(|hints| *hints += 1);
    }

    /// See [`crate::store::EventLog::wait_for_commit`].
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
            // Seen before the log is looked at: a hint that comes meanwhile is not missed.
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

/// Keeps a feed open.
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

/// Hands on hints until the feed breaks; returns why. The session goes with it.
async fn listen(session: &Session, hints: &latest::Sender<u64>) -> String {
    // Each message makes the server wait for a word from us: several commits in one cost it less.
    let options = changes::Options::new().squash(Squash::Float(SQUASH));
    let feed = r.table(EVENTS).pluck(r.expr(["id"])).changes(options);
    let mut changes = pin!(feed.run::<_, Value>(session));
    loop {
        match changes.next().await {
            Some(Ok(_)) => hints.send_modify(|hints| *hints += 1),
            Some(Err(error)) => return error.to_string(),
            None => return "it ended".to_owned(),
        }
    }
}
