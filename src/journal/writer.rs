//! The writer: decides what waits, makes it durable as one commit, publishes it, answers.

use super::fold::catch_up;
use super::{ANSWERS_KEPT, Ambient, Committed, Message, Outcome, Submission, SubmitError, context};
use crate::commands::{Decision, Policy, decide};
use crate::latest as watch;
use crate::store::{
    Answer, COMMIT_BYTES_LIMIT, COMMIT_EVENTS_LIMIT, Commit, EventStore, Head, StoreError, StoredEvent,
};
use kdaemon_events::{CommitId, Envelope};
use kdaemon_projections::{Cluster, Touched};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{broadcast, mpsc, oneshot};

/// How many commands are decided for one commit at most.
const BATCH_LIMIT: usize = 512;

pub(super) struct Writer {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) ambient: Arc<dyn Ambient>,
    pub(super) policy: Arc<Policy>,
    pub(super) head: Head,
    /// A commit of which it is not known whether it happened.
    pub(super) unsettled: Option<CommitId>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) answers: HashMap<String, Answer>,
    /// With so many answers the old ones are forgotten.
    pub(super) forget_at: usize,
    pub(super) state: watch::Sender<Arc<Cluster>>,
    pub(super) feed: Arc<Mutex<Option<broadcast::Sender<Arc<Committed>>>>>,
    pub(super) trouble: watch::Sender<Option<String>>,
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
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
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
                    Message::Amend { key, status, seq, body } => {
                        // Whoever amends was answered, so its own answer is durable and in here.
                        if let Some(answer) = self.answers.get_mut(&key) {
                            *answer = Answer { status, seq, body, ..answer.clone() };
                        }
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
