//! The journal: the only writer of the log.
//!
//! The journal takes all queued commands, decides them one after another on a working copy of the state, and
//! appends all their events as one commit. When the store reports it durable, and only then, the new state is
//! published and the callers are answered: no one ever sees a state that could still be lost.

mod fold;
mod message;
mod pending;
mod queue;
mod snapshots;
mod time;
mod writer;

pub use fold::{fold_log, fold_whole_log};
pub(crate) use fold::{fold_on, follower, walk_page};
pub(crate) use snapshots::{Keeper, latest as latest_snapshot};
pub use snapshots::{SNAPSHOT_INTERVAL, take_snapshot};

use crate::latest as watch;
use crate::store::{IdempotencyRecord, Store, StoreError};
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_control::commands::{Command, Context, Decision, Policy, Precondition, Refusal, decide};
use kdaemon_events::{Actor, Envelope, RequestId, Seq, Term};
use kdaemon_projections::{Cluster, Touched};
use message::Message;
use queue::Queue;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::LogTime;
use tokio::sync::{broadcast, oneshot};
use uuid::Uuid;
use writer::Writer;

/// How many commits a subscriber may lag before it has to catch up from the store.
const FEED_LIMIT: usize = 4_096;
/// Interval of reading the commits of other daemons without a notification of the store …
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// … and the shortest interval when notifications are frequent.
const FOLLOW_PACE: Duration = Duration::from_millis(20);
/// Retention of the records of requests with an `Idempotency-Key`.
pub const IDEMPOTENCY_RETENTION: TimeDelta = TimeDelta::hours(24);

/// The source of time and random numbers: the machine, or a simulation.
pub trait Runtime: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> DateTime<Utc>;
    /// A random number.
    fn random(&self) -> Uuid;
}

/// The machine's own clock and random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRuntime;

impl Runtime for SystemRuntime {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
    fn random(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// The `Idempotency-Key` of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key.
    pub key: String,
    /// A digest of the request.
    pub fingerprint: String,
}

/// A command with its context.
pub struct Submission {
    /// The command.
    pub command: Command,
    /// The principal.
    pub actor: Actor,
    /// The request that carried it.
    pub request_id: Option<RequestId>,
    /// The event that it responds to.
    pub cause: Option<Seq>,
    /// The term of the leader, if a reactor submits it.
    pub term: Option<Term>,
    /// The precondition, if any.
    pub precondition: Option<Precondition>,
    /// The key under which the command is recorded, so that it is carried out once.
    pub idempotency: Option<IdempotencyKey>,
}

impl Submission {
    /// A command of an actor, without further context.
    #[must_use]
    pub fn new(command: Command, actor: Actor) -> Self {
        Self {
            command,
            actor,
            request_id: None,
            cause: None,
            term: None,
            precondition: None,
            idempotency: None,
        }
    }
}

/// The outcome of a command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The events; empty if the state was already as requested.
    pub events: Events,
    /// A durable, published state that includes them.
    pub cluster: Arc<Cluster>,
    /// The seq of the last event, or of the state that was already as requested.
    pub seq: Seq,
    /// The states around the command's own events, if it has an `Idempotency-Key`: the first request and its repeats are
    /// answered from the same states.
    pub around: Option<Arc<Around>>,
}

/// The states right before and right after the events of one command, whatever else is in the same commit.
#[derive(Debug)]
pub struct Around {
    /// Before.
    pub before: Cluster,
    /// After.
    pub after: Cluster,
}

/// A range of the events of a commit.
#[derive(Debug, Clone)]
pub struct Events {
    commit: Arc<[Envelope]>,
    range: std::ops::Range<usize>,
}

impl std::ops::Deref for Events {
    type Target = [Envelope];
    fn deref(&self) -> &[Envelope] {
        self.commit.get(self.range.clone()).unwrap_or_default()
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// The decision refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log cannot be written. Nothing was done, unless the message says that the outcome is unknown.
    #[error("{0}")]
    Unavailable(String),
    /// The queue is full. Nothing was done.
    #[error("the command queue is full; retry in a moment")]
    Overloaded,
    /// The request was carried out before under the same `Idempotency-Key`.
    #[error("this request was carried out before")]
    Repeated(Box<IdempotencyRecord>),
    /// The `Idempotency-Key` was used for another request.
    #[error("this Idempotency-Key was used for another request; choose a new one")]
    KeyReused,
}

/// One or a few commits, as delivered to subscribers.
#[derive(Debug)]
pub struct Committed {
    /// The events.
    pub events: Arc<[Envelope]>,
    /// The items whose rows they changed.
    pub touched: Touched,
    /// The state after them.
    pub cluster: Arc<Cluster>,
}

/// A state, and every commit after it.
pub struct Subscription {
    /// The state.
    pub cluster: Arc<Cluster>,
    feed: broadcast::Receiver<Arc<Committed>>,
}

/// A subscriber was too slow and missed commits: it has to restart from [`Journal::subscribe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged;

impl Subscription {
    /// Number of undelivered commits.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.feed.len()
    }

    /// The next commit; `Ok(None)` once the journal is closed.
    ///
    /// # Errors
    /// [`Lagged`] when commits were missed.
    pub async fn next(&mut self) -> Result<Option<Arc<Committed>>, Lagged> {
        loop {
            match self.feed.recv().await {
                // Committed after the feed was taken and before the state was: the state includes it.
                Ok(committed) if committed.cluster.seq() <= self.cluster.seq() => {}
                Ok(committed) => {
                    self.cluster = Arc::clone(&committed.cluster);
                    return Ok(Some(committed));
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(None),
                Err(broadcast::error::RecvError::Lagged(_)) => return Err(Lagged),
            }
        }
    }
}

/// A handle to the journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    queue: Arc<Queue>,
    state: watch::Receiver<Arc<Cluster>>,
    feed: Arc<Mutex<Option<broadcast::Sender<Arc<Committed>>>>>,
    store: Arc<dyn Store>,
    runtime: Arc<LogTime>,
    policy: Arc<Policy>,
    trouble: watch::Receiver<Option<String>>,
}

impl Journal {
    /// Folds the log and starts the writer.
    ///
    /// # Errors
    /// When the log cannot be read or is impossible; the message says what to do.
    pub async fn open(
        store: Arc<dyn Store>,
        runtime: Arc<dyn Runtime>,
        policy: Arc<Policy>,
    ) -> Result<Self, StoreError> {
        let (cluster, head) = fold_log(store.as_ref()).await?;
        let runtime = Arc::new(LogTime::new(runtime));
        cluster.at().into_iter().for_each(|at| runtime.reached(at));
        let records = store.idempotency_records(runtime.now() - IDEMPOTENCY_RETENTION, Seq(0)).await?;
        let cluster = Arc::new(cluster);
        let (state_writer, state) = watch::channel(Arc::clone(&cluster));
        let (feed, _) = broadcast::channel(FEED_LIMIT);
        let feed = Arc::new(Mutex::new(Some(feed)));
        let (trouble_writer, trouble) = watch::channel(None);
        let writer = Writer {
            store: Arc::clone(&store),
            runtime: Arc::clone(&runtime),
            policy: Arc::clone(&policy),
            head,
            unsettled: None,
            is_unread: false,
            cluster,
            idempotency: writer::by_key(records).collect(),
            forget_at: 1_000,
            state: state_writer,
            feed: Arc::clone(&feed),
            trouble: trouble_writer,
        };
        let queue = Arc::new(Queue::new(writer)?);
        Ok(Self { queue, state, feed, store, runtime, policy, trouble })
    }

    /// Submits a command and waits until its events are durable.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was done then.
    pub async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Message::Submit(Box::new(submission), answer))?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Like [`Self::submit`], but waits while the queue is full: for reactors, whose work is bounded already.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit_patiently(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Message::Submit(Box::new(submission), answer)).await?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Records that the caller of a request with an `Idempotency-Key` waited for the effect and was answered from the
    /// state after event `until`. A repeat of the request is answered from the same state.
    pub async fn waited_until(&self, key: String, until: Seq) {
        // A closed journal answers no one.
        let _ = self.queue.send(Message::Waited { key, until }).await;
    }

    /// Reads the commits of other daemons, until the journal is closed. Not needed where there is no other
    /// daemon.
    pub async fn follow(&self) {
        // The known number of commits; unknown at first, which makes the writer look.
        let mut commits = u64::MAX;
        loop {
            let (reply, followed) = oneshot::channel();
            if self.queue.send(Message::Follow { commits, reply }).await.is_err() {
                return;
            }
            let Ok(head) = followed.await else { return };
            tokio::time::sleep(FOLLOW_PACE).await;
            commits = match self.store.wait_for_commit(&head, FOLLOW_EVERY).await {
                Ok(commits) => commits,
                Err(_) => {
                    tokio::time::sleep(FOLLOW_EVERY).await;
                    u64::MAX
                }
            };
        }
    }

    /// Decides a command on the current state without any effect.
    ///
    /// # Errors
    /// The refusal that the command would get.
    pub fn dry_run(&self, submission: Submission) -> Result<Decision, Refusal> {
        let context = context(&submission, self.runtime.as_ref(), &self.policy);
        decide(&self.cluster(), submission.command, &context)
    }

    /// The current, durable state.
    #[must_use]
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.state.borrow())
    }

    /// Waits until the state includes an event. Cancel by dropping.
    pub async fn reached(&self, seq: Seq) -> Arc<Cluster> {
        let mut state = self.state.clone();
        match state.wait_for(|cluster| cluster.seq() >= seq).await {
            Ok(cluster) => Arc::clone(&cluster),
            Err(_) => self.cluster(), // closed: there will be no further state
        }
    }

    /// A receiver of the latest state, which skips states that it is too slow for.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Cluster>> {
        self.state.clone()
    }

    /// The current state and a feed of every commit after it, without a gap.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = match &*feed {
            Some(feed) => feed.subscribe(),
            None => broadcast::channel(1).1, // closed: the receiver's sender is gone already
        };
        drop(feed);
        Subscription { feed: receiver, cluster: self.cluster() }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.runtime.now()
    }

    /// How far the log's clock is ahead of this machine's; zero if it is not.
    #[must_use]
    pub fn clock_ahead(&self) -> Duration {
        self.runtime.ahead()
    }

    /// The limits of decisions.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Why the log cannot be written at present, or `None` if it can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Number of queued commands.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Answers queued commands, then stops the writer. Later commands find the journal closed.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// Whether the current runtime is single-threaded, as in tests and the simulation.
fn is_one_thread() -> bool {
    use tokio::runtime::{Handle, RuntimeFlavor};
    Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}

/// Runs long work on a blocking thread; in a single-threaded runtime (tests, the simulation) in place, so
/// that the order of events does not depend on the machine's speed.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    if is_one_thread() {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Unavailable(format!("it was given up: {error}")))?
}

fn closed() -> SubmitError {
    SubmitError::Unavailable("the daemon is stopping".to_owned())
}

fn context(submission: &Submission, runtime: &dyn Runtime, policy: &Arc<Policy>) -> Context {
    Context {
        actor: submission.actor.clone(),
        request_id: submission.request_id.clone(),
        cause: submission.cause,
        term: submission.term,
        precondition: submission.precondition,
        now: runtime.now(),
        seed: runtime.random(),
        policy: Arc::clone(policy),
    }
}
