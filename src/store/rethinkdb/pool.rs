//! A pool of sessions with the servers. It works around limitations of `reql` 0.11:
//!
//! - A cancelled query leaves its response in the socket, and the next query on that session would wait indefinitely.
//!   So each query runs to completion in a task that owns its session; a caller that goes away only drops a channel.
//! - A session has no timeouts and does not notice a broken connection. So every query has a deadline, and a deadline
//!   or an error of the driver closes the session and all idle ones.
//! - A session carries one query at a time. So the pool opens several sessions, up to a limit.
//! - A login takes the result of one `read` for a complete message. So it has a timeout and is retried with increasing
//!   [`PATIENCE`]: a message that arrives in pieces is read once it is complete.

use super::RethinkdbSettings;
use futures_util::StreamExt as _;
use reql::cmd::connect;
use reql::cmd::run::Options;
use reql::{Availability, Command, Driver, Error, Runtime, Session, r};
use serde::de::DeserializeOwned;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::ready;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep, timeout_at};

/// The maximum number of concurrent ordinary queries.
const SESSIONS_LIMIT: usize = 8;
/// The maximum number of concurrent urgent queries (appends and lease renewals), in addition to [`SESSIONS_LIMIT`].
const URGENT_LIMIT: usize = 2;
/// The delay of a login between data arriving and reading it, increasing with each attempt.
const PATIENCE: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500)];

/// A failed query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryFailure {
    /// The query had no effect: it did not reach a server that could run it.
    #[error("{0}")]
    NotDone(String),
    /// The query was sent and its outcome is unknown.
    #[error("{0}")]
    Unknown(String),
    /// The server rejected the query. A retry would be rejected as well.
    #[error("{0}")]
    Refused(String),
}

/// The priority of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Waits for earlier queries.
    Ordinary,
    /// Does not wait for ordinary queries.
    First,
}

/// A pool of sessions.
pub(super) struct Pool {
    settings: RethinkdbSettings,
    idle: Mutex<Vec<Session>>,
    permits: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    /// The index of the host that responded last.
    host: AtomicUsize,
    /// Whether no query has succeeded since a caller gave up.
    is_away: AtomicBool,
}

impl Pool {
    pub(super) fn new(settings: RethinkdbSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(SESSIONS_LIMIT)),
            urgent: Arc::new(Semaphore::new(URGENT_LIMIT)),
            host: AtomicUsize::new(0),
            is_away: AtomicBool::new(false),
        })
    }

    /// The maximum duration of retries. After a caller has given up, other callers try once only, until a query
    /// succeeds.
    pub(super) fn patience(&self) -> Duration {
        if self.is_away.load(Ordering::Relaxed) { Duration::ZERO } else { self.settings.query_timeout }
    }

    /// Records that a caller gave up.
    pub(super) fn give_up(&self) {
        self.is_away.store(true, Ordering::Relaxed);
    }

    pub(super) fn settings(&self) -> &RethinkdbSettings {
        &self.settings
    }

    /// Sends a query and collects its complete response: a cursor that is not read to its end would block its session.
    ///
    /// # Errors
    /// [`QueryFailure`], at the deadline at the latest.
    pub(super) async fn run<T>(
        self: &Arc<Self>,
        urgency: Urgency,
        query: Command,
        options: Options,
        deadline: Instant,
    ) -> Result<Vec<T>, QueryFailure>
    where
        T: DeserializeOwned + Unpin + Send + 'static,
    {
        let permits = match urgency {
            Urgency::Ordinary => &self.permits,
            Urgency::First => &self.urgent,
        };
        let permit = timeout_at(deadline, Arc::clone(permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let what =
                if permits.is_closed() { "the store is closed" } else { "too many queries are waiting" };
            return Err(QueryFailure::NotDone(what.to_owned()));
        };
        let (answer, answered) = oneshot::channel();
        tokio::spawn(Arc::clone(self).carry_out(query, options, deadline, permit, answer));
        answered.await.unwrap_or_else(|_| Err(QueryFailure::Unknown("the query was aborted".to_owned())))
    }

    async fn carry_out<T>(
        self: Arc<Self>,
        query: Command,
        options: Options,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
        answer: oneshot::Sender<Result<Vec<T>, QueryFailure>>,
    ) where
        T: DeserializeOwned + Unpin + Send + 'static,
    {
        let kept = self.lock().pop();
        let session = match kept {
            Some(session) => Ok(session),
            None => self.connect(deadline).await,
        };
        let result = match session {
            Err(failure) => Err(failure),
            Ok(session) => {
                let (result, in_step) = ask(&session, query, options, deadline).await;
                if in_step {
                    self.lock().push(session);
                    self.is_away.store(false, Ordering::Relaxed);
                } else {
                    // The idle sessions have most likely lost the same server. Another host may be up.
                    self.lock().clear();
                    self.host.fetch_add(1, Ordering::Relaxed);
                }
                result
            }
        };
        drop(permit);
        let _ = answer.send(result); // fails when the caller went away; the session is in order
    }

    /// Opens a session that does not return to the pool, for a changefeed.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Session, QueryFailure> {
        let hosts = &self.settings.hosts;
        let last = self.host.load(Ordering::Relaxed);
        let mut why = String::from("no host is configured");
        for patience in PATIENCE {
            for turn in 0..hosts.len() {
                let index = last.wrapping_add(turn) % hosts.len();
                let (host, port) = &hosts[index];
                // Leaves time for the other hosts.
                let until = deadline.min(Instant::now() + self.settings.connect_timeout);
                match timeout_at(until, self.log_in(host, *port, patience)).await {
                    Ok(Ok(session)) => {
                        self.host.store(index, Ordering::Relaxed);
                        return Ok(session);
                    }
                    Ok(Err(Error::Driver(Driver::Auth(message)))) => {
                        return Err(QueryFailure::Refused(format!(
                            "{host}:{port} rejected the login of user `{}`: {message}; check rethinkdb_user and rethinkdb_password_file",
                            self.settings.user
                        )));
                    }
                    Ok(Err(error)) => why = format!("{host}:{port} cannot be used: {error}"),
                    Err(_) => why = format!("{host}:{port} does not answer"),
                }
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(QueryFailure::NotDone(why))
    }

    async fn log_in(&self, host: &str, port: u16, patience: Duration) -> Result<Session, Error> {
        let options = connect::Options::new()
            .db(self.settings.dbname.clone())
            .user(self.settings.user.clone())
            .password(self.settings.password.clone());
        patiently(patience, r.connect(r.args(((host, port), options)))).await
    }

    /// Closes all sessions. Later queries fail.
    pub(super) fn close(&self) {
        self.permits.close();
        self.urgent.close();
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls a future only some time after it was woken, so that a message that arrives in pieces is complete in the
/// socket's buffer when it is read.
async fn patiently<F: Future>(patience: Duration, future: F) -> F::Output {
    if patience.is_zero() {
        return future.await;
    }
    let mut future = pin!(future);
    let mut pause: Option<std::pin::Pin<Box<Sleep>>> = Some(Box::pin(sleep(Duration::ZERO)));
    std::future::poll_fn(move |context| {
        // Woken while no pause was running: the socket has data.
        let resting = pause.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(resting.as_mut().poll(context));
        pause = None;
        future.as_mut().poll(context)
    })
    .await
}

/// Runs a query on a session to its end, and returns whether the session can be used for another query.
async fn ask<T: DeserializeOwned + Unpin>(
    session: &Session,
    query: Command,
    options: Options,
    deadline: Instant,
) -> (Result<Vec<T>, QueryFailure>, bool) {
    let gather = async {
        let mut answers = pin!(query.run::<_, T>(r.args((session, options))));
        let mut gathered = Vec::new();
        while let Some(answer) = answers.next().await {
            gathered.push(answer?);
        }
        Ok(gathered)
    };
    match timeout_at(deadline, gather).await {
        Ok(Ok(gathered)) => (Ok(gathered), true),
        Ok(Err(error)) => {
            let failure = explain(&error);
            let in_step = matches!(failure, QueryFailure::Refused(_));
            (Err(failure), in_step)
        }
        Err(_) => (Err(QueryFailure::Unknown("no response before the deadline".to_owned())), false),
    }
}

fn explain(error: &Error) -> QueryFailure {
    let text = error.to_string();
    match error {
        Error::Driver(_)
        | Error::Runtime(Runtime::Internal(_) | Runtime::Availability(Availability::OpIndeterminate(_))) => {
            QueryFailure::Unknown(text)
        }
        Error::Runtime(Runtime::Availability(Availability::OpFailed(_))) => QueryFailure::NotDone(text),
        Error::Compile(_) | Error::Runtime(_) => QueryFailure::Refused(text),
    }
}
