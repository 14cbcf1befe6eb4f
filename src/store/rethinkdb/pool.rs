//! Sessions with the servers: all that `reql` 0.11 leaves to its user.
//!
//! - A query that is given up leaves its answer in the socket, and the next one on that session would wait for ever. So
//!   each query runs in a task that owns its session to the end; a caller that goes away drops only a channel.
//! - A session has no time-outs and does not know that its connection broke. So every query has a deadline, and after a
//!   deadline or any error of the driver the session is dropped, with all that lay idle beside it.
//! - A session carries one query at a time. So there are several, up to a limit.
//! - A login takes what one `read` returns for a whole message. So it has a time limit and is tried again, each time
//!   with more [`patience`]: what arrives in pieces is read when it is complete.

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

/// How many queries run at a time …
const SESSIONS_LIMIT: usize = 8;
/// … besides those that nothing else may hold up: an append, and the lease, which runs out.
const URGENT_LIMIT: usize = 2;
/// How long a login waits between a sign of life and a look at what arrived: longer with each try.
const PATIENCE: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500)];

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It was not done: it did not reach a server that could do it.
    #[error("{0}")]
    NotDone(String),
    /// It was sent, and no answer came that says what became of it.
    #[error("{0}")]
    Unknown(String),
    /// The server refuses it: it would refuse it again.
    #[error("{0}")]
    Refused(String),
}

/// What a query has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Those before it.
    Ordinary,
    /// Nothing that is ordinary.
    First,
}

/// The sessions.
pub(super) struct Pool {
    settings: RethinkdbSettings,
    idle: Mutex<Vec<Session>>,
    permits: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    /// Which of the hosts answered last.
    host: AtomicUsize,
    /// Whether nothing was answered since somebody gave up.
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

    /// How long what fails is tried again. Once somebody gave up in vain, others do not wait in vain after them: they try
    /// once, until somebody is answered.
    pub(super) fn patience(&self) -> Duration {
        if self.is_away.load(Ordering::Relaxed) { Duration::ZERO } else { self.settings.query_timeout }
    }

    /// Somebody gives up.
    pub(super) fn give_up(&self) {
        self.is_away.store(true, Ordering::Relaxed);
    }

    pub(super) fn settings(&self) -> &RethinkdbSettings {
        &self.settings
    }

    /// Sends a query and gathers its whole answer: a cursor that is not read to its end would block its session.
    ///
    /// # Errors
    /// [`Failure`], at the latest at the deadline.
    pub(super) async fn run<T>(
        self: &Arc<Self>,
        urgency: Urgency,
        query: Command,
        options: Options,
        deadline: Instant,
    ) -> Result<Vec<T>, Failure>
    where
        T: DeserializeOwned + Unpin + Send + 'static,
    {
        let permits = match urgency {
            Urgency::Ordinary => &self.permits,
            Urgency::First => &self.urgent,
        };
        let permit = timeout_at(deadline, Arc::clone(permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let what = if permits.is_closed() { "it is closed" } else { "too many queries wait" };
            return Err(Failure::NotDone(what.to_owned()));
        };
        let (answer, answered) = oneshot::channel();
        tokio::spawn(Arc::clone(self).carry_out(query, options, deadline, permit, answer));
        answered.await.unwrap_or_else(|_| Err(Failure::Unknown("the query was given up".to_owned())))
    }

    async fn carry_out<T>(
        self: Arc<Self>,
        query: Command,
        options: Options,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
        answer: oneshot::Sender<Result<Vec<T>, Failure>>,
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
                    // The server that this one lost has most likely taken the others with it. Another may do better.
                    self.lock().clear();
                    self.host.fetch_add(1, Ordering::Relaxed);
                }
                result
            }
        };
        drop(permit);
        let _ = answer.send(result); // the caller went away; the session is in good order
    }

    /// A session of its own, for a feed: it is never handed back.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Session, Failure> {
        let hosts = &self.settings.hosts;
        let last = self.host.load(Ordering::Relaxed);
        let mut why = String::from("no host is configured");
        for patience in PATIENCE {
            for turn in 0..hosts.len() {
                let index = last.wrapping_add(turn) % hosts.len();
                let (host, port) = &hosts[index];
                // A moment for each of the others, too.
                let until = deadline.min(Instant::now() + self.settings.connect_timeout);
                match timeout_at(until, self.log_in(host, *port, patience)).await {
                    Ok(Ok(session)) => {
                        self.host.store(index, Ordering::Relaxed);
                        return Ok(session);
                    }
                    Ok(Err(Error::Driver(Driver::Auth(message)))) => {
                        return Err(Failure::Refused(format!(
                            "{host}:{port} does not let the user {} in: {message}; check rethinkdb_user and rethinkdb_password_file",
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
        Err(Failure::NotDone(why))
    }

    async fn log_in(&self, host: &str, port: u16, patience: Duration) -> Result<Session, Error> {
        let options = connect::Options::new()
            .db(self.settings.dbname.clone())
            .user(self.settings.user.clone())
            .password(self.settings.password.clone());
        patiently(patience, r.connect(r.args(((host, port), options)))).await
    }

    /// Drops all sessions; later queries fail.
    pub(super) fn close(&self) {
        self.permits.close();
        self.urgent.close();
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls a future only some time after it could go on: a message that arrives in pieces lies in the socket's buffer as a
/// whole when it is looked at.
async fn patiently<F: Future>(patience: Duration, future: F) -> F::Output {
    if patience.is_zero() {
        return future.await;
    }
    let mut future = pin!(future);
    let mut pause: Option<std::pin::Pin<Box<Sleep>>> = Some(Box::pin(sleep(Duration::ZERO)));
    std::future::poll_fn(move |context| {
        // Woken while it did not rest: the socket has something.
        let resting = pause.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(resting.as_mut().poll(context));
        pause = None;
        future.as_mut().poll(context)
    })
    .await
}

/// Runs a query on a session to its end. Also tells whether the session and its server are good for another.
async fn ask<T: DeserializeOwned + Unpin>(
    session: &Session,
    query: Command,
    options: Options,
    deadline: Instant,
) -> (Result<Vec<T>, Failure>, bool) {
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
            let in_step = matches!(failure, Failure::Refused(_));
            (Err(failure), in_step)
        }
        Err(_) => (Err(Failure::Unknown("no answer came in time".to_owned())), false),
    }
}

fn explain(error: &Error) -> Failure {
    let text = error.to_string();
    match error {
        Error::Driver(_)
        | Error::Runtime(Runtime::Internal(_) | Runtime::Availability(Availability::OpIndeterminate(_))) => {
            Failure::Unknown(text)
        }
        Error::Runtime(Runtime::Availability(Availability::OpFailed(_))) => Failure::NotDone(text),
        Error::Compile(_) | Error::Runtime(_) => Failure::Refused(text),
    }
}
