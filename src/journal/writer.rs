//! The writer: decides queued commands, makes their events durable, publishes the state, and answers.

use super::fold::catch_up;
use super::message::Message;
use super::pending::{Asked, DecidedCommand, Pending, Waiting, store_events};
use super::time::LogTime;
use super::{
    Around, Committed, Events, IDEMPOTENCY_RETENTION, IdempotencyKey, Outcome, Runtime, Submission,
    SubmitError, context,
};
use crate::latest as watch;
use crate::store::{Head, IdempotencyRecord, Store, StoreError};
use kdaemon_control::commands::{Policy, decide_owned};
use kdaemon_events::{CommitId, Envelope, Salt};
use kdaemon_projections::{Cluster, Touched};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// The most commits decided ahead of being written.
const COMMITS_LIMIT: usize = 4;
/// How often a commit of unknown outcome is sent again.
const SENT_AGAIN: usize = 3;
/// How often commands are decided again because another daemon's commit came first.
const CONFLICTS_LIMIT: usize = 16;

pub(super) struct Writer {
    pub(super) store: Arc<dyn Store>,
    pub(super) runtime: Arc<LogTime>,
    pub(super) policy: Arc<Policy>,
    pub(super) head: Head,
    /// The number and id of a commit of unknown outcome.
    pub(super) unsettled: Option<(u64, CommitId)>,
    /// Whether the last read of other daemons' commits failed.
    pub(super) is_unread: bool,
    pub(super) cluster: Arc<Cluster>,
    pub(super) idempotency: HashMap<String, IdempotencyRecord>,
    /// The number of records at which old ones are dropped.
    pub(super) forget_at: usize,
    pub(super) state: watch::Sender<Arc<Cluster>>,
    pub(super) feed: Arc<Mutex<Option<broadcast::Sender<Arc<Committed>>>>>,
    pub(super) trouble: watch::Sender<Option<String>>,
}

/// Work that an inline write leaves for the journal's own thread.
pub(super) enum Unfinished {
    /// Messages that were not handled yet.
    Messages(Vec<Message>),
    /// An append that failed, and the commands that come after it.
    Failed { pending: Box<Pending>, id: CommitId, error: StoreError, rest: Vec<Asked> },
}

/// Decided commands whose callers are not answered yet.
struct Unanswered {
    events: Arc<[Envelope]>,
    waiting: Vec<Waiting>,
    /// How many of the commits are durable …
    durable: usize,
    /// … and how many there are.
    groups: usize,
}

impl Writer {
    /// Carries out commands in the caller's thread: the store writes there and waits for nothing but the disk.
    ///
    /// # Errors
    /// What is left to do in the journal's own thread: other messages, other kinds of stores, and appends that
    /// went wrong.
    pub(super) fn handle_inline(&mut self, batch: Vec<Message>) -> Result<(), Unfinished> {
        let store = Arc::clone(&self.store);
        let Some(log) = store.inline() else { return Err(Unfinished::Messages(batch)) };
        let is_command = |message: &Message| matches!(message, Message::Submit(..));
        if self.unsettled.is_some() || !batch.iter().all(is_command) {
            return Err(Unfinished::Messages(batch));
        }
        let mut asked: Vec<_> = batch.into_iter().filter_map(Message::into_command).collect();
        while !asked.is_empty() {
            let (mut pending, rest) = self.decide_all(asked);
            let mut id = CommitId(self.runtime.random());
            while let Some(commit) = pending.next_commit(id) {
                match log.append_inline(&self.head, commit) {
                    Ok(head) => self.head = head,
                    Err(error) => {
                        return Err(Unfinished::Failed { pending: Box::new(pending), id, error, rest });
                    }
                }
                pending.advance();
                id = CommitId(self.runtime.random());
            }
            let unanswered = self.publish_durable(pending);
            self.answer(unanswered, None);
            asked = rest;
        }
        Ok(())
    }

    /// Carries out what was left over by [`Self::handle_inline`]. Returns whether the journal has to be closed
    /// after it.
    pub(super) async fn resume(&mut self, work: Unfinished) -> bool {
        match work {
            Unfinished::Messages(batch) => self.handle(batch).await,
            Unfinished::Failed { pending, id, error, rest } => {
                let again = self.commit(*pending, Some((id, error))).await;
                self.carry_out(again.into_iter().chain(rest).collect()).await;
                false
            }
        }
    }

    /// Handles messages. Returns whether the journal has to be closed after them.
    pub(super) async fn handle(&mut self, batch: Vec<Message>) -> bool {
        let (mut close, mut follow) = (None, Vec::new());
        let mut asked = Vec::with_capacity(batch.len());
        for message in batch {
            match message {
                Message::Submit(submission, reply) => asked.push((submission, reply)),
                Message::Waited { key, until } => {
                    // The caller was answered before it waited, so the record is durable and stands here.
                    if let Some(record) = self.idempotency.get_mut(&key) {
                        record.waited_until = Some(until);
                    }
                }
                Message::Follow { commits, reply } => follow.push((commits, reply)),
                Message::Close(done) => close = Some(done),
            }
        }
        self.carry_out(asked).await;
        for (commits, followed) in follow {
            // Commits of this daemon need no notification.
            if commits > self.head.commits || self.is_unread {
                self.follow().await;
            }
            let _ = followed.send(self.head); // it stopped following
        }
        let Some(done) = close else { return false };
        // The feed ends, and with it every subscription.
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = done.send(());
        true
    }

    /// Decides commands, makes their events durable, and answers; decides again if another daemon's commit
    /// came first.
    async fn carry_out(&mut self, mut asked: Vec<Asked>) {
        let mut conflicts = 0;
        while !asked.is_empty() && conflicts <= CONFLICTS_LIMIT {
            let (pending, rest) = self.decide_all(asked);
            let again = self.commit(pending, None).await;
            conflicts = if again.is_empty() { 0 } else { conflicts + 1 };
            asked = again.into_iter().chain(rest).collect();
        }
        let busy = "other daemons write without a pause; send the command again".to_owned();
        for (_, reply) in asked {
            let _ = reply.send(Err(SubmitError::Unavailable(busy.clone())));
        }
    }

    /// Decides commands one after another on the state, until their events fill some commits. Returns the
    /// commands that are left, too.
    fn decide_all(&self, asked: Vec<Asked>) -> (Pending, Vec<Asked>) {
        let mut pending = Pending::on(&self.cluster);
        let mut rest = asked.into_iter();
        for command in rest.by_ref() {
            self.decide(&mut pending, command);
            if pending.groups() >= COMMITS_LIMIT {
                break;
            }
        }
        (pending, rest.collect())
    }

    /// Decides a command on the pending state.
    ///
    /// The pending state moves into the decision and back, so that parts that this batch has copied already
    /// are changed in place. Copying it for each command would take as long as the decision itself.
    fn decide(&self, pending: &mut Pending, asked: Asked) {
        let verdict = self.verdict(pending, &asked.0);
        let after = pending.groups();
        pending.waiting.push(Waiting { asked, verdict, after });
    }

    fn verdict(&self, pending: &mut Pending, submission: &Submission) -> Result<DecidedCommand, SubmitError> {
        let context = context(submission, self.runtime.as_ref(), &self.policy);
        if let Some(IdempotencyKey { key, fingerprint }) = &submission.idempotency {
            let durable =
                self.idempotency.get(key).filter(|record| record.at + IDEMPOTENCY_RETENTION > context.now);
            if let Some(earlier) = durable.or_else(|| pending.record_of(key)) {
                let is_same = earlier.fingerprint == *fingerprint;
                let repeated = || SubmitError::Repeated(Box::new(earlier.clone()));
                return Err(if is_same { repeated() } else { SubmitError::KeyReused });
            }
        }
        let cluster = std::mem::take(&mut pending.cluster);
        let before = submission.idempotency.is_some().then(|| cluster.clone());
        let decision = match decide_owned(cluster, submission.command.clone(), &context) {
            Ok(decision) => decision,
            Err(refused) => {
                pending.cluster = match refused.cluster {
                    Some(cluster) => cluster,
                    None => Cluster::clone(&self.cluster).fold(&pending.events),
                };
                return Err(refused.refusal.into());
            }
        };
        let salts: Vec<_> =
            decision.events.iter().map(|event| Salt::derive(context.seed, event.seq)).collect();
        let stored = match store_events(&decision.events, &salts) {
            Ok(stored) => stored,
            Err(error) => {
                pending.cluster = Cluster::clone(&self.cluster).fold(&pending.events);
                return Err(SubmitError::Unavailable(error.to_string()));
            }
        };
        let keyed = submission.idempotency.clone().zip(before);
        let (record, around) = keyed
            .map(|(IdempotencyKey { key, fingerprint }, before)| {
                let around = Around { before, after: decision.cluster.clone() };
                let (before, seq) = (around.before.seq(), around.after.seq());
                let at = context.now;
                let record = IdempotencyRecord { key, fingerprint, at, before, seq, waited_until: None };
                (record, Arc::new(around))
            })
            .unzip();
        Ok(DecidedCommand { range: pending.add(decision, stored, salts, record), around })
    }

    /// Makes pending events durable, publishes the state, and answers the callers. Returns the commands that
    /// have to be decided again because another daemon's commit came first. `failed`: the id of the first commit
    /// and how its append failed, if it was tried inline.
    async fn commit(
        &mut self,
        mut pending: Pending,
        mut failed: Option<(CommitId, StoreError)>,
    ) -> Vec<Asked> {
        let mut failure = None;
        while pending.durable < pending.groups() {
            if let Err(error) = self.append(&mut pending, failed.take()).await {
                failure = Some(error);
                break;
            }
            pending.advance();
        }
        let unanswered = self.publish_durable(pending);
        let failure = match failure {
            Some(StoreError::Conflict { actual }) => self.catch_up(actual).await.err(),
            other => other,
        };
        self.answer(unanswered, failure)
    }

    /// Publishes the state after the durable ones of the pending events.
    fn publish_durable(&mut self, mut pending: Pending) -> Unanswered {
        self.idempotency.extend(by_key(pending.take_records()));
        let groups = pending.groups();
        let Pending { cluster, touched, events, durable, durable_events, waiting, .. } = pending;
        let events: Arc<[Envelope]> = events.into();
        if durable == groups && groups > 0 {
            self.drop_old_records();
            self.publish(cluster, Arc::clone(&events), touched);
        } else if durable > 0 {
            let mut cluster = Cluster::clone(&self.cluster);
            let mut touched = Touched::default();
            let events = events.get(..durable_events).unwrap_or_default();
            events.iter().for_each(|envelope| cluster.apply(envelope, &mut touched));
            self.publish(cluster, events.into(), touched);
        }
        Unanswered { events, waiting, durable, groups }
    }

    /// Answers the callers of commands; returns the commands to be decided again. `failure`: why the log could
    /// not be written or caught up with.
    fn answer(&mut self, unanswered: Unanswered, failure: Option<StoreError>) -> Vec<Asked> {
        let Unanswered { events, waiting, durable, groups } = unanswered;
        // Without a write, nothing is known about whether the log can be written.
        if groups > 0 || failure.is_some() {
            self.tell_trouble(failure.as_ref());
        }
        let unavailable = failure.map(|error| SubmitError::Unavailable(error.to_string()));
        let mut again = Vec::new();
        for Waiting { asked, verdict, after } in waiting {
            let verdict = match &unavailable {
                _ if after <= durable => verdict,
                Some(unavailable) => Err(unavailable.clone()),
                None => {
                    again.push(asked); // another daemon's commit came first, and was folded
                    continue;
                }
            };
            let outcome = verdict.map(|DecidedCommand { range, around }| {
                let events = Events { commit: Arc::clone(&events), range };
                let seq = events.last().map_or(self.cluster.seq(), |envelope| envelope.seq);
                Outcome { events, cluster: Arc::clone(&self.cluster), seq, around }
            });
            let _ = asked.1.send(outcome); // the caller is gone; its command was carried out
        }
        again
    }

    fn tell_trouble(&self, failure: Option<&StoreError>) {
        match failure {
            Some(error) => {
                let news = Some(error.to_string());
                if *self.trouble.borrow() != news {
                    tracing::error!(%error, "the log is not usable");
                }
                self.trouble.send_replace(news);
            }
            None => {
                self.trouble.send_if_modified(|trouble| trouble.take().is_some());
            }
        }
    }

    fn publish(&mut self, cluster: Cluster, events: Arc<[Envelope]>, touched: Touched) {
        cluster.at().into_iter().for_each(|at| self.runtime.reached(at));
        self.cluster = Arc::new(cluster);
        self.state.send_replace(Arc::clone(&self.cluster));
        let committed = Committed { events, touched, cluster: Arc::clone(&self.cluster) };
        if let Some(feed) = &*self.feed.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = feed.send(Arc::new(committed)); // there is no subscriber
        }
    }

    /// Checks for commits of other daemons.
    async fn follow(&mut self) {
        let outcome = match self.store.head().await {
            Ok(head) if head.commits != self.head.commits => self.catch_up(head).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        // A readable log need not be writable.
        if outcome.is_err() || self.is_unread {
            self.is_unread = outcome.is_err();
            self.tell_trouble(outcome.as_ref().err());
        }
    }

    /// Folds the commits of other daemons.
    async fn catch_up(&mut self, head: Head) -> Result<(), StoreError> {
        if head.seq < self.cluster.seq() {
            let (had, has) = (self.cluster.seq(), head.seq);
            return Err(StoreError::Damaged(format!("the log had {had} events and now has {has}")));
        }
        let before = Cluster::clone(&self.cluster);
        let (cluster, touched, events) = catch_up(self.store.as_ref(), before, head.seq).await?;
        let records = self
            .store
            .idempotency_records(self.runtime.now() - IDEMPOTENCY_RETENTION, self.cluster.seq())
            .await?;
        self.idempotency.extend(by_key(records));
        self.head = head;
        self.publish(cluster, events.into(), touched);
        Ok(())
    }

    /// Appends the next pending commit. `failed`: its id and how its first append failed, if it was tried inline.
    ///
    /// When the store fails in between, no caller is answered before it is known whether the commit happened.
    /// Not finding it does not mean that it will not happen: it may be in flight. So it is sent again: it
    /// takes its place now, or finds the place taken, by itself or by another daemon's commit.
    async fn append(
        &mut self,
        pending: &mut Pending,
        failed: Option<(CommitId, StoreError)>,
    ) -> Result<(), StoreError> {
        let number = self.head.commits + 1;
        let (id, mut outcome) = match failed {
            Some((id, error)) => (id, Err(error)),
            None => {
                self.settle().await?;
                let id = CommitId(self.runtime.random());
                let Some(commit) = pending.next_commit(id) else { return Ok(()) };
                (id, self.store.append(&self.head, commit).await)
            }
        };
        for _ in 0..SENT_AGAIN {
            let Err(StoreError::Unavailable(_) | StoreError::Unsettled(_)) = &outcome else { break };
            self.unsettled = Some((number, id));
            let Ok(found) = self.store.commit_at(number).await else { break };
            if let Some(after) = found.filter(|head| head.commit_id == Some(id)) {
                outcome = Ok(after);
                break;
            }
            outcome = self.store.append(&self.head, pending.same_commit(id)?).await;
        }
        if self.unsettled.is_some()
            && let Err(StoreError::Conflict { .. }) = &outcome
            && let Some(after) = self.store.commit_at(number).await?.filter(|head| head.commit_id == Some(id))
        {
            outcome = Ok(after); // the first attempt was only late
        }
        if matches!(outcome, Ok(_) | Err(StoreError::Conflict { .. })) {
            self.unsettled = None;
        }
        self.head = outcome?;
        Ok(())
    }

    /// Settles a commit of unknown outcome before anything new is appended.
    ///
    /// If it happened, its callers got an error that says the outcome is unknown; the state folds it, and
    /// commands decided on the old state are decided again. If it did not, the next commit has the same
    /// number, and only one of the two can exist.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let Some((number, id)) = self.unsettled else { return Ok(()) };
        if self.head.commits < number {
            let found = self.store.commit_at(number).await?;
            if found.and_then(|head| head.commit_id) == Some(id) {
                let actual = self.store.head().await?;
                self.unsettled = None;
                return Err(StoreError::Conflict { actual });
            }
        }
        self.unsettled = None;
        Ok(())
    }

    fn drop_old_records(&mut self) {
        // Dropping old records when their number has doubled is enough, because each lookup checks the age.
        if self.idempotency.len() >= self.forget_at {
            let oldest = self.runtime.now() - IDEMPOTENCY_RETENTION;
            self.idempotency.retain(|_, record| record.at > oldest);
            self.forget_at = (self.idempotency.len() * 2).max(1_000);
        }
    }
}

/// Records by their keys.
pub(super) fn by_key(
    records: impl IntoIterator<Item = IdempotencyRecord>,
) -> impl Iterator<Item = (String, IdempotencyRecord)> {
    records.into_iter().map(|record| (record.key.clone(), record))
}
