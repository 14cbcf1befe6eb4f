//! The journal: the one writer of the log.
//!
//! It takes all commands that wait, decides them one after another on a working copy of the state, and
//! appends all their events as ONE commit. When the store says that it is durable, and only then, the new
//! state is published and the callers are answered: nobody ever sees what could still be lost.

use crate::commands::{Command, Context, Decision, Policy, Precondition, Refusal, decide};
use crate::store::{
    Answer, COMMIT_BYTES_LIMIT, COMMIT_EVENTS_LIMIT, Commit, EventStore, Head, StoreError, StoredEvent,
};
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::{Actor, CommitId, Envelope, RequestId, Seq, Term};
use kdaemon_projections::{Cluster, Touched};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use uuid::Uuid;

/// How many commands may wait for the writer. More are refused (people) or wait outside (reactors).
const QUEUE_LIMIT: usize = 4_096;
/// How many commands are decided for one commit at most.
const BATCH_LIMIT: usize = 512;
/// How many commits a subscriber may lag behind before it has to catch up from the store.
const FEED_LIMIT: usize = 4_096;
/// How many events are read at a time when the log is folded.
const PAGE: usize = 10_000;
/// How long the answer to an `Idempotency-Key` is kept.
const ANSWERS_KEPT: TimeDelta = TimeDelta::hours(24);

/// Where the time and random numbers come from: the machine, or a simulation.
pub trait Ambient: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> DateTime<Utc>;
    /// A random number.
    fn random(&self) -> Uuid;
}

/// The machine's own clock and random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Ambient for Machine {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
    fn random(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// Makes the status and the body of an answer from what was decided.
pub type MakeAnswer = Box<dyn FnOnce(&Decision) -> (u16, String) + Send>;

/// An answer that is to be kept under an `Idempotency-Key`.
pub struct Keep {
    /// The key.
    pub key: String,
    /// A digest of the request.
    pub fingerprint: String,
    /// Makes status and body from what was decided.
    pub answer: MakeAnswer,
}

/// A command with who asks and why.
pub struct Submission {
    /// What is asked.
    pub command: Command,
    /// By whom.
    pub actor: Actor,
    /// In which request.
    pub request_id: Option<RequestId>,
    /// In answer to which event.
    pub cause: Option<Seq>,
    /// Under which term, when a reactor asks.
    pub term: Option<Term>,
    /// What must not have changed.
    pub precondition: Option<Precondition>,
    /// The answer to keep.
    pub keep: Option<Keep>,
}

impl Submission {
    /// A command by an actor, and nothing else.
    #[must_use]
    pub fn new(command: Command, actor: Actor) -> Self {
        Self { command, actor, request_id: None, cause: None, term: None, precondition: None, keep: None }
    }
}

/// What became of a command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What happened; empty when the state was already as wanted.
    pub events: Arc<[Envelope]>,
    /// A state that includes it: durable and published.
    pub cluster: Arc<Cluster>,
    /// The seq of its last event, or of the state that was already as wanted.
    pub seq: Seq,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log cannot be written. Nothing was done.
    #[error("{0}")]
    Unavailable(String),
    /// Too many commands wait. Nothing was done.
    #[error("too many commands wait; try again in a moment")]
    Overloaded,
    /// The same `Idempotency-Key` came before: this was answered then.
    #[error("this request was answered before")]
    Repeated(Box<Answer>),
    /// The same `Idempotency-Key` came before with another request.
    #[error("this Idempotency-Key was used for another request; choose a new one")]
    KeyReused,
}

/// One commit, as subscribers get it.
#[derive(Debug)]
pub struct Committed {
    /// Its events.
    pub events: Arc<[Envelope]>,
    /// Whose rows it changed.
    pub touched: Touched,
    /// The state after it.
    pub cluster: Arc<Cluster>,
}

/// A state, and everything that is committed after it.
pub struct Subscription {
    /// The state.
    pub cluster: Arc<Cluster>,
    feed: broadcast::Receiver<Arc<Committed>>,
}

/// A subscriber was too slow and missed commits: it has to begin anew from [`Journal::subscribe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged;

impl Subscription {
    /// The next commit; `Ok(None)` when the journal was closed.
    ///
    /// # Errors
    /// [`Lagged`] when commits were missed.
    pub async fn next(&mut self) -> Result<Option<Arc<Committed>>, Lagged> {
        loop {
            match self.feed.recv().await {
                // Committed between taking the feed and taking the state: it is in the state already.
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
    queue: mpsc::Sender<Message>,
    state: watch::Receiver<Arc<Cluster>>,
    feed: Arc<Mutex<Option<broadcast::Sender<Arc<Committed>>>>>,
    store: Arc<dyn EventStore>,
    ambient: Arc<dyn Ambient>,
    policy: Arc<Policy>,
    trouble: watch::Receiver<Option<String>>,
}

enum Message {
    Submit(Box<Submission>, oneshot::Sender<Result<Outcome, SubmitError>>),
    Close(oneshot::Sender<()>),
}

impl Journal {
    /// Folds the log and starts the writer.
    ///
    /// # Errors
    /// When the log cannot be read or does not make sense; the message says what to do.
    pub async fn open(
        store: Arc<dyn EventStore>,
        ambient: Arc<dyn Ambient>,
        policy: Arc<Policy>,
    ) -> Result<Self, StoreError> {
        let (cluster, head) = fold_log(store.as_ref()).await?;
        let answers = store.answers(ambient.now() - ANSWERS_KEPT).await?;
        let cluster = Arc::new(cluster);
        let (queue, messages) = mpsc::channel(QUEUE_LIMIT);
        let (state_writer, state) = watch::channel(Arc::clone(&cluster));
        let (feed, _) = broadcast::channel(FEED_LIMIT);
        let feed = Arc::new(Mutex::new(Some(feed)));
        let (trouble_writer, trouble) = watch::channel(None);
        let writer = Writer {
            store: Arc::clone(&store),
            ambient: Arc::clone(&ambient),
            policy: Arc::clone(&policy),
            head,
            unsettled: None,
            cluster,
            answers: answers.into_iter().map(|answer| (answer.key.clone(), answer)).collect(),
            forget_at: 1_000,
            state: state_writer,
            feed: Arc::clone(&feed),
            trouble: trouble_writer,
        };
        tokio::spawn(writer.run(messages));
        Ok(Self { queue, state, feed, store, ambient, policy, trouble })
    }

    /// Submits a command and waits until what it does is durable.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was done then.
    pub async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        let (answer, answered) = oneshot::channel();
        match self.queue.try_send(Message::Submit(Box::new(submission), answer)) {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(closed())),
            Err(mpsc::error::TrySendError::Full(_)) => Err(SubmitError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
        }
    }

    /// As [`Self::submit`], but waits when the queue is full: for reactors, whose work is bounded already.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit_patiently(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Message::Submit(Box::new(submission), answer)).await.is_err() {
            return Err(closed());
        }
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Decides a command on the present state without doing anything.
    ///
    /// # Errors
    /// The refusal that the command would meet.
    pub fn dry_run(&self, submission: Submission) -> Result<Decision, Refusal> {
        let context = context(&submission, self.ambient.as_ref(), &self.policy);
        decide(&self.cluster(), submission.command, &context)
    }

    /// The present state: durable.
    #[must_use]
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.state.borrow())
    }

    /// Waits until the state includes an event. Cancel by dropping.
    pub async fn reached(&self, seq: Seq) -> Arc<Cluster> {
        let mut state = self.state.clone();
        match state.wait_for(|cluster| cluster.seq() >= seq).await {
            Ok(cluster) => Arc::clone(&cluster),
            Err(_) => self.cluster(), // closed: nothing more will come
        }
    }

    /// A receiver that sees every newest state, skipping those that it is too slow for.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Cluster>> {
        self.state.clone()
    }

    /// The present state and a feed of everything committed after it, without a gap between.
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
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.ambient.now()
    }

    /// The limits of decisions.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Why the log cannot be written at present, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// How many commands wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Answers what waits, then stops the writer. Later commands find the journal closed.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

fn closed() -> SubmitError {
    SubmitError::Unavailable("the daemon is stopping".to_owned())
}

fn context(submission: &Submission, ambient: &dyn Ambient, policy: &Arc<Policy>) -> Context {
    Context {
        actor: submission.actor.clone(),
        request_id: submission.request_id.clone(),
        cause: submission.cause,
        term: submission.term,
        precondition: submission.precondition,
        now: ambient.now(),
        seed: ambient.random(),
        policy: Arc::clone(policy),
    }
}

/// Folds a whole log.
///
/// # Errors
/// When it cannot be read, has a hole, or holds what this kDaemon does not understand.
pub async fn fold_log(store: &dyn EventStore) -> Result<(Cluster, Head), StoreError> {
    let head = store.head().await?;
    let mut cluster = Cluster::default();
    catch_up(store, &mut cluster, head.seq, drop).await?;
    Ok((cluster, head))
}

/// Folds what the state lacks, up to `until`, and hands each event on.
async fn catch_up(
    store: &dyn EventStore,
    cluster: &mut Cluster,
    until: Seq,
    mut folded: impl FnMut(Envelope),
) -> Result<Touched, StoreError> {
    let mut touched = Touched::default();
    while cluster.seq() < until {
        let page = store.read(cluster.seq(), PAGE).await?;
        if page.is_empty() {
            return Err(StoreError::Damaged(format!("event {} is missing", cluster.seq().next())));
        }
        for text in page {
            let envelope = Envelope::decode(&text.json)
                .map_err(|error| StoreError::Damaged(format!("event {}: {error}", text.seq)))?;
            if envelope.seq != cluster.seq().next() || text.seq != envelope.seq {
                return Err(StoreError::Damaged(format!("event {} is missing", cluster.seq().next())));
            }
            cluster.apply(&envelope, &mut touched);
            folded(envelope);
        }
    }
    Ok(touched)
}

struct Writer {
    store: Arc<dyn EventStore>,
    ambient: Arc<dyn Ambient>,
    policy: Arc<Policy>,
    head: Head,
    /// A commit of which it is not known whether it happened.
    unsettled: Option<CommitId>,
    cluster: Arc<Cluster>,
    answers: HashMap<String, Answer>,
    /// With so many answers the old ones are forgotten.
    forget_at: usize,
    state: watch::Sender<Arc<Cluster>>,
    feed: Arc<Mutex<Option<broadcast::Sender<Arc<Committed>>>>>,
    trouble: watch::Sender<Option<String>>,
}

type Reply = oneshot::Sender<Result<Outcome, SubmitError>>;

/// The commit in the making.
struct Pending {
    cluster: Cluster,
    touched: Touched,
    events: Vec<Envelope>,
    stored: Vec<StoredEvent>,
    bytes: usize,
    answers: Vec<Answer>,
    /// Who waits for it, and for which of its events.
    replies: Vec<(Reply, std::ops::Range<usize>)>,
    /// Who asked for what it holds an answer to, and what they are told once that is durable.
    repeats: Vec<(Reply, SubmitError)>,
}

impl Pending {
    fn on(cluster: &Cluster) -> Self {
        Self {
            cluster: cluster.clone(),
            touched: Touched::default(),
            events: Vec::new(),
            stored: Vec::new(),
            bytes: 0,
            answers: Vec::new(),
            replies: Vec::new(),
            repeats: Vec::new(),
        }
    }

    fn has_room_for(&self, decided: &Decided) -> bool {
        let events = self.events.len() + decided.stored.len();
        let bytes = self.bytes + decided.bytes();
        self.events.is_empty() || (events <= COMMIT_EVENTS_LIMIT && bytes <= COMMIT_BYTES_LIMIT)
    }

    fn add(&mut self, decided: Decided) {
        let first = self.events.len();
        self.bytes += decided.bytes();
        self.touched.merge(&decided.decision.touched);
        self.events.extend(decided.decision.events);
        self.stored.extend(decided.stored);
        self.answers.extend(decided.answer);
        self.cluster = decided.decision.cluster;
        self.replies.push((decided.reply, first..self.events.len()));
    }
}

/// A command that was decided on the state that the pending commit leads to.
struct Decided {
    decision: Decision,
    stored: Vec<StoredEvent>,
    answer: Option<Answer>,
    reply: Reply,
}

impl Decided {
    fn bytes(&self) -> usize {
        self.stored.iter().map(|event| event.json.len()).sum()
    }
}

impl Writer {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut batch = Vec::new();
        while messages.recv_many(&mut batch, BATCH_LIMIT).await > 0 {
            let mut close = None;
            let mut pending = Pending::on(&self.cluster);
            for message in batch.drain(..) {
                match message {
                    Message::Submit(submission, reply) => {
                        let Some(decided) = self.decide(&mut pending, *submission, reply) else { continue };
                        if !pending.has_room_for(&decided) {
                            // What was decided stands on it: if it fails, that fails with it.
                            let full = std::mem::replace(&mut pending, Pending::on(&self.cluster));
                            if let Err(error) = self.commit(full).await {
                                let _ = decided.reply.send(Err(error));
                                pending = Pending::on(&self.cluster);
                                continue;
                            }
                            pending = Pending::on(&self.cluster);
                        }
                        pending.add(decided);
                    }
                    Message::Close(done) => close = Some(done),
                }
            }
            let _ = self.commit(pending).await; // those who wait for it have been told
            if let Some(done) = close {
                messages.close();
                // The feed ends: subscribers go home.
                self.feed.lock().unwrap_or_else(PoisonError::into_inner).take();
                let _ = done.send(());
                return;
            }
        }
    }

    /// Decides a command; a refusal is answered at once.
    fn decide(&self, pending: &mut Pending, submission: Submission, reply: Reply) -> Option<Decided> {
        let context = context(&submission, self.ambient.as_ref(), &self.policy);
        if let Some(keep) = &submission.keep {
            let repeated = |earlier: &Answer| {
                if earlier.fingerprint == keep.fingerprint {
                    SubmitError::Repeated(Box::new(earlier.clone()))
                } else {
                    SubmitError::KeyReused
                }
            };
            let durable = self.answers.get(&keep.key);
            if let Some(earlier) = durable.filter(|answer| answer.at + ANSWERS_KEPT > context.now) {
                let _ = reply.send(Err(repeated(earlier)));
                return None;
            }
            // Answered in this very commit: that can be said only when it is durable.
            if let Some(earlier) = pending.answers.iter().find(|answer| answer.key == keep.key) {
                pending.repeats.push((reply, repeated(earlier)));
                return None;
            }
        }
        let decision = match decide(&pending.cluster, submission.command, &context) {
            Ok(decision) => decision,
            Err(refusal) => {
                let _ = reply.send(Err(refusal.into()));
                return None;
            }
        };
        let mut stored = Vec::with_capacity(decision.events.len());
        for envelope in &decision.events {
            match StoredEvent::new(envelope) {
                Ok(event) => stored.push(event),
                Err(error) => {
                    let _ = reply.send(Err(SubmitError::Unavailable(error.to_string())));
                    return None;
                }
            }
        }
        let answer = submission.keep.filter(|_| !decision.events.is_empty()).map(|keep| {
            let (status, body) = (keep.answer)(&decision);
            let seq = decision.cluster.seq();
            Answer { key: keep.key, fingerprint: keep.fingerprint, at: context.now, status, seq, body }
        });
        Some(Decided { decision, stored, answer, reply })
    }

    /// Makes a commit durable, publishes the state that it leads to, and answers those who wait for it.
    async fn commit(&mut self, pending: Pending) -> Result<(), SubmitError> {
        let Pending { cluster, touched, events, stored, answers, replies, repeats, .. } = pending;
        let events: Arc<[Envelope]> = events.into();
        if !events.is_empty() {
            let commit =
                Commit { id: CommitId(self.ambient.random()), events: stored, answers: answers.clone() };
            if let Err(error) = self.append(commit).await {
                tracing::error!(%error, "the log cannot be written");
                self.trouble.send_replace(Some(error.to_string()));
                let error = SubmitError::Unavailable(error.to_string());
                let repeated = repeats.into_iter().map(|(reply, _)| reply);
                for reply in replies.into_iter().map(|(reply, _)| reply).chain(repeated) {
                    let _ = reply.send(Err(error.clone()));
                }
                return Err(error);
            }
            self.trouble.send_if_modified(|trouble| trouble.take().is_some());
            self.cluster = Arc::new(cluster);
            self.answers.extend(answers.into_iter().map(|answer| (answer.key.clone(), answer)));
            self.forget_old_answers();
            self.state.send_replace(Arc::clone(&self.cluster));
            let committed =
                Committed { events: Arc::clone(&events), touched, cluster: Arc::clone(&self.cluster) };
            if let Some(feed) = &*self.feed.lock().unwrap_or_else(PoisonError::into_inner) {
                let _ = feed.send(Arc::new(committed)); // nobody subscribes at present
            }
        }
        for (reply, range) in replies {
            let mine = &events[range];
            let seq = mine.last().map_or(self.cluster.seq(), |envelope| envelope.seq);
            let outcome = Outcome { events: mine.into(), cluster: Arc::clone(&self.cluster), seq };
            let _ = reply.send(Ok(outcome)); // the caller went away; what it asked for is done
        }
        for (reply, repeated) in repeats {
            let _ = reply.send(Err(repeated));
        }
        Ok(())
    }

    /// Appends a commit; when the store fails in the middle, finds out whether it happened.
    async fn append(&mut self, commit: Commit) -> Result<(), StoreError> {
        self.settle().await?;
        let id = commit.id;
        match self.store.append(&self.head, commit).await {
            Ok(head) => {
                self.head = head;
                Ok(())
            }
            Err(StoreError::Unavailable(reason)) => {
                self.unsettled = Some(id);
                match self.store.head().await {
                    Ok(head) if head.commit_id == Some(id) => {
                        self.unsettled = None;
                        self.head = head;
                        Ok(())
                    }
                    Ok(head) if head == self.head => {
                        self.unsettled = None;
                        Err(StoreError::Unavailable(reason))
                    }
                    _ => Err(StoreError::Unavailable(reason)),
                }
            }
            Err(other) => Err(other),
        }
    }

    /// Before anything new is appended: did the commit happen whose outcome was not known?
    ///
    /// If it did, its callers were told that it was not done. It is in the log all the same, so the state
    /// takes it in; the commands that are being decided on the old state are refused once.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let Some(id) = self.unsettled else { return Ok(()) };
        let head = self.store.head().await?;
        if head.commit_id != Some(id) {
            self.unsettled = None;
            return Ok(());
        }
        let mut cluster = (*self.cluster).clone();
        let mut events = Vec::new();
        let keep = |envelope| events.push(envelope);
        let touched = catch_up(self.store.as_ref(), &mut cluster, head.seq, keep).await?;
        let answers = self.store.answers(self.ambient.now() - ANSWERS_KEPT).await?;
        self.unsettled = None;
        self.head = head;
        self.cluster = Arc::new(cluster);
        self.answers.extend(answers.into_iter().map(|answer| (answer.key.clone(), answer)));
        self.state.send_replace(Arc::clone(&self.cluster));
        let committed = Committed { events: events.into(), touched, cluster: Arc::clone(&self.cluster) };
        if let Some(feed) = &*self.feed.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = feed.send(Arc::new(committed));
        }
        Err(StoreError::Unavailable("it was interrupted and is back; send the command again".to_owned()))
    }

    fn forget_old_answers(&mut self) {
        // When they have doubled is soon enough; each look at a key checks its age.
        if self.answers.len() >= self.forget_at {
            let oldest = self.ambient.now() - ANSWERS_KEPT;
            self.answers.retain(|_, answer| answer.at > oldest);
            self.forget_at = (self.answers.len() * 2).max(1_000);
        }
    }
}
