//! The writer: decides what waits, makes it durable, publishes it, answers.

use super::fold::catch_up;
use super::message::Message;
use super::time::LogTime;
use super::{ANSWERS_KEPT, Committed, Events, Outcome, Runtime, Submission, SubmitError, context};
use crate::latest as watch;
use crate::store::{
    Answer, COMMIT_BYTES_LIMIT, COMMIT_EVENTS_LIMIT, Commit, EventStore, Head, StoreError, StoredEvent,
};
use kdaemon_control::commands::{Decision, Policy, decide_owned};
use kdaemon_events::{CommitId, Envelope};
use kdaemon_projections::{Cluster, Touched};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{broadcast, oneshot};

/// With so many commits to write no more commands are decided before they are written.
const COMMITS_LIMIT: usize = 4;
/// How often a commit of which nothing is known is sent again.
const SENT_AGAIN: usize = 3;
/// How often commands are decided anew because another daemon's commit came first.
const CONFLICTS_LIMIT: usize = 16;

pub(super) struct Writer {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) runtime: Arc<LogTime>,
    pub(super) policy: Arc<Policy>,
    pub(super) head: Head,
    /// The number and identity of a commit of which it is not known whether it happened.
    pub(super) unsettled: Option<(u64, CommitId)>,
    /// Whether the log could not be read when it was looked at for what others appended.
    pub(super) is_unread: bool,
    pub(super) cluster: Arc<Cluster>,
    pub(super) answers: HashMap<String, Answer>,
    /// With so many answers the old ones are forgotten.
    pub(super) forget_at: usize,
    pub(super) state: watch::Sender<Arc<Cluster>>,
    pub(super) feed: Arc<Mutex<Option<broadcast::Sender<Arc<Committed>>>>>,
    pub(super) trouble: watch::Sender<Option<String>>,
}

type Reply = oneshot::Sender<Result<Outcome, SubmitError>>;
/// A command that waits to be decided, and who waits for it.
type Asked = (Box<Submission>, Reply);

/// What was decided and is not durable yet.
struct Pending {
    /// The state that all of it leads to.
    cluster: Cluster,
    touched: Touched,
    events: Vec<Envelope>,
    /// The events in groups that each become durable at once.
    commits: Vec<Group>,
    waiting: Vec<Waiting>,
    /// What is answered to commands of which nothing came, and after how many of the commits. There is no commit to keep such an
    /// answer with: it is kept in memory alone.
    vain: Vec<(Answer, usize)>,
}

#[derive(Default)]
struct Group {
    stored: Vec<StoredEvent>,
    bytes: usize,
    answers: Vec<Answer>,
}

/// A command that was decided, and who waits until that can be said.
struct Waiting {
    asked: Asked,
    verdict: Result<Range<usize>, SubmitError>,
    /// With how many of the commits done it can be said: what was decided stands on all that was decided before.
    after: usize,
}

impl Pending {
    fn on(cluster: &Cluster) -> Self {
        Self {
            cluster: cluster.clone(),
            touched: Touched::default(),
            events: Vec::new(),
            commits: Vec::new(),
            waiting: Vec::new(),
            vain: Vec::new(),
        }
    }

    /// The group that so much more goes into.
    fn group_for(&mut self, events: usize, bytes: usize) -> Option<&mut Group> {
        let fits = self.commits.last().is_some_and(|last| {
            last.stored.len() + events <= COMMIT_EVENTS_LIMIT && last.bytes + bytes <= COMMIT_BYTES_LIMIT
        });
        if !fits {
            self.commits.push(Group::default());
        }
        self.commits.last_mut()
    }

    fn add(&mut self, decision: Decision, stored: Vec<StoredEvent>, answer: Option<Answer>) -> Range<usize> {
        let first = self.events.len();
        if stored.is_empty() {
            self.vain.extend(answer.map(|answer| (answer, self.commits.len())));
        } else {
            let bytes = stored.iter().map(|event| event.json.len()).sum();
            if let Some(group) = self.group_for(stored.len(), bytes) {
                group.stored.extend(stored);
                group.bytes += bytes;
                group.answers.extend(answer);
            }
        }
        self.touched.merge(&decision.touched);
        self.events.extend(decision.events);
        self.cluster = decision.cluster;
        first..self.events.len()
    }

    fn answer_to(&self, key: &str) -> Option<&Answer> {
        let vain = self.vain.iter().map(|(answer, _)| answer);
        self.commits.iter().flat_map(|group| &group.answers).chain(vain).find(|answer| answer.key == key)
    }
}

impl Writer {
    /// Handles messages; answers whether the journal is to be closed after them.
    pub(super) async fn handle(&mut self, batch: Vec<Message>) -> bool {
        let (mut close, mut follow) = (None, Vec::new());
        let mut asked = Vec::with_capacity(batch.len());
        for message in batch {
            match message {
                Message::Submit(submission, reply) => asked.push((submission, reply)),
                Message::Amend { key, status, seq, body } => {
                    // Whoever amends was answered, so its own answer is durable and in here.
                    if let Some(answer) = self.answers.get_mut(&key) {
                        *answer = Answer { status, seq, body, ..answer.clone() };
                    }
                }
                Message::Follow { commits, reply } => follow.push((commits, reply)),
                Message::Close(done) => close = Some(done),
            }
        }
        self.carry_out(asked).await;
        for (commits, followed) in follow {
            // Of what this daemon wrote itself it need not be told.
            if commits > self.head.commits || self.is_unread {
                self.follow().await;
            }
            let _ = followed.send(self.head); // it stopped following
        }
        let Some(done) = close else { return false };
        // The feed ends: subscribers go home.
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = done.send(());
        true
    }

    /// Decides commands, makes that durable, and answers; decides again what another daemon's commit came before.
    async fn carry_out(&mut self, mut asked: Vec<Asked>) {
        let mut conflicts = 0;
        while !asked.is_empty() && conflicts <= CONFLICTS_LIMIT {
            let mut pending = Pending::on(&self.cluster);
            let mut rest = asked.into_iter();
            for command in rest.by_ref() {
                self.decide(&mut pending, command);
                if pending.commits.len() >= COMMITS_LIMIT {
                    break;
                }
            }
            let again = self.commit(pending).await;
            conflicts = if again.is_empty() { 0 } else { conflicts + 1 };
            asked = again.into_iter().chain(rest).collect();
        }
        let busy = "other daemons write without a pause; send the command again".to_owned();
        for (_, reply) in asked {
            let _ = reply.send(Err(SubmitError::Unavailable(busy.clone())));
        }
    }

    /// Decides a command on the state that what is pending leads to.
    ///
    /// The pending state goes over into the decision, and comes back with it: so what this batch has made anew already
    /// is changed in place. A copy of it for each command takes as long as the decision itself.
    fn decide(&self, pending: &mut Pending, mut asked: Asked) {
        let verdict = self.verdict(pending, &mut asked.0);
        let after = pending.commits.len();
        pending.waiting.push(Waiting { asked, verdict, after });
    }

    fn verdict(
        &self,
        pending: &mut Pending,
        submission: &mut Submission,
    ) -> Result<Range<usize>, SubmitError> {
        let context = context(submission, self.runtime.as_ref(), &self.policy);
        if let Some(keep) = &submission.keep {
            let durable = self.answers.get(&keep.key).filter(|answer| answer.at + ANSWERS_KEPT > context.now);
            if let Some(earlier) = durable.or_else(|| pending.answer_to(&keep.key)) {
                let is_same = earlier.fingerprint == keep.fingerprint;
                let repeated = || SubmitError::Repeated(Box::new(earlier.clone()));
                return Err(if is_same { repeated() } else { SubmitError::KeyReused });
            }
        }
        let cluster = std::mem::take(&mut pending.cluster);
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
        let stored: Result<Vec<_>, _> = decision.events.iter().map(StoredEvent::new).collect();
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                pending.cluster = Cluster::clone(&self.cluster).fold(&pending.events);
                return Err(SubmitError::Unavailable(error.to_string()));
            }
        };
        let answer = submission.keep.as_mut().map(|keep| {
            let (status, body) = (keep.answer)(&decision);
            let (key, fingerprint) = (keep.key.clone(), keep.fingerprint.clone());
            Answer { key, fingerprint, at: context.now, status, seq: decision.cluster.seq(), body }
        });
        Ok(pending.add(decision, stored, answer))
    }

    /// Makes what is pending durable, publishes it, and answers those who wait for it. Returns those commands that are
    /// to be decided again, for another daemon's commit came first.
    async fn commit(&mut self, pending: Pending) -> Vec<Asked> {
        let Pending { cluster, touched, events, commits, waiting, vain } = pending;
        let groups = commits.len();
        let (mut done, mut done_events, mut failure) = (0, 0, None);
        for Group { stored, answers, .. } in commits {
            let length = stored.len();
            let commit =
                Commit { id: CommitId(self.runtime.random()), events: stored, answers: answers.clone() };
            let envelopes = &events[done_events..done_events + length];
            if let Err(error) = self.append(commit, envelopes).await {
                failure = Some(error);
                break;
            }
            done += 1;
            done_events += length;
            self.answers.extend(answers.into_iter().map(|answer| (answer.key.clone(), answer)));
        }
        let vain = vain.into_iter().filter(|(_, after)| *after <= done);
        self.answers.extend(vain.map(|(answer, _)| (answer.key.clone(), answer)));
        let events: Arc<[Envelope]> = events.into();
        if done == groups && groups > 0 {
            self.forget_old_answers();
            self.publish(cluster, Arc::clone(&events), touched);
        } else if done > 0 {
            let mut cluster = Cluster::clone(&self.cluster);
            let mut touched = Touched::default();
            events[..done_events].iter().for_each(|envelope| cluster.apply(envelope, &mut touched));
            self.publish(cluster, events[..done_events].into(), touched);
        }
        let failure = match failure {
            Some(StoreError::Conflict { actual }) => self.catch_up(actual).await.err(),
            other => other,
        };
        // Where nothing was written, nothing is known of whether something could be.
        if groups > 0 || failure.is_some() {
            self.tell_trouble(failure.as_ref());
        }
        let unavailable = failure.map(|error| SubmitError::Unavailable(error.to_string()));
        let mut again = Vec::new();
        for Waiting { asked, verdict, after } in waiting {
            let verdict = match &unavailable {
                _ if after <= done => verdict,
                Some(unavailable) => Err(unavailable.clone()),
                None => {
                    again.push(asked); // another daemon's commit came first, and was taken in
                    continue;
                }
            };
            let outcome = verdict.map(|range| {
                let events = Events { commit: Arc::clone(&events), range };
                let seq = events.last().map_or(self.cluster.seq(), |envelope| envelope.seq);
                Outcome { events, cluster: Arc::clone(&self.cluster), seq }
            });
            let _ = asked.1.send(outcome); // the caller went away; what it asked for is done
        }
        again
    }

    fn tell_trouble(&self, failure: Option<&StoreError>) {
        match failure {
            Some(error) => {
                let news = Some(error.to_string());
                if *self.trouble.borrow() != news {
                    tracing::error!(%error, "the log cannot be used");
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
            let _ = feed.send(Arc::new(committed)); // nobody subscribes at present
        }
    }

    /// Looks whether others appended something.
    async fn follow(&mut self) {
        let outcome = match self.store.head().await {
            Ok(head) if head.commits != self.head.commits => self.catch_up(head).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        // That the log can be read says nothing about whether it can be written.
        if outcome.is_err() || self.is_unread {
            self.is_unread = outcome.is_err();
            self.tell_trouble(outcome.as_ref().err());
        }
    }

    /// Takes in what others appended.
    async fn catch_up(&mut self, head: Head) -> Result<(), StoreError> {
        if head.seq < self.cluster.seq() {
            let (had, has) = (self.cluster.seq(), head.seq);
            return Err(StoreError::Damaged(format!("the log had {had} events and now has {has}")));
        }
        let before = Cluster::clone(&self.cluster);
        let (cluster, touched, events) = catch_up(self.store.as_ref(), before, head.seq).await?;
        let answers = self.store.answers(self.runtime.now() - ANSWERS_KEPT, self.cluster.seq()).await?;
        self.answers.extend(answers.into_iter().map(|answer| (answer.key.clone(), answer)));
        self.head = head;
        self.publish(cluster, events.into(), touched);
        Ok(())
    }

    /// Appends a commit; `envelopes` are its events, from which it can be made once more.
    ///
    /// When the store fails in the middle, nobody is answered before it is known whether the commit happened. Not to
    /// find it does not mean that it will not happen: it may be on its way still. So it is sent again: it takes its
    /// place now, or finds that taken, by itself or by another daemon's.
    async fn append(&mut self, commit: Commit, envelopes: &[Envelope]) -> Result<(), StoreError> {
        self.settle().await?;
        let (id, after, answers) = (commit.id, commit.head_after(&self.head), commit.answers.clone());
        let mut outcome = self.store.append(&self.head, commit).await;
        for _ in 0..SENT_AGAIN {
            let Err(StoreError::Unavailable(_) | StoreError::Unsettled(_)) = &outcome else { break };
            self.unsettled = Some((after.commits, id));
            let Ok(found) = self.store.commit_at(after.commits).await else { break };
            if found == Some(id) {
                outcome = Ok(after);
                break;
            }
            let stored = envelopes.iter().map(StoredEvent::new).collect::<Result<_, _>>()?;
            outcome =
                self.store.append(&self.head, Commit { id, events: stored, answers: answers.clone() }).await;
        }
        if self.unsettled.is_some()
            && let Err(StoreError::Conflict { .. }) = &outcome
            && self.store.commit_at(after.commits).await? == Some(id)
        {
            outcome = Ok(after); // the first one had only been late
        }
        if matches!(outcome, Ok(_) | Err(StoreError::Conflict { .. })) {
            self.unsettled = None;
        }
        self.head = outcome?;
        Ok(())
    }

    /// Before anything new is appended: did the commit happen whose outcome was not known?
    ///
    /// If it did, its callers were told that this is not known. It is in the log all the same, so the state
    /// takes it in; the commands that were decided on the old state are decided again. If it did not, the commit that is
    /// appended now has its number, and only one of the two can be.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let Some((number, id)) = self.unsettled else { return Ok(()) };
        if self.head.commits < number {
            let found = self.store.commit_at(number).await?;
            if found == Some(id) {
                let actual = self.store.head().await?;
                self.unsettled = None;
                return Err(StoreError::Conflict { actual });
            }
        }
        self.unsettled = None;
        Ok(())
    }

    fn forget_old_answers(&mut self) {
        // When they have doubled is soon enough; each look at a key checks its age.
        if self.answers.len() >= self.forget_at {
            let oldest = self.runtime.now() - ANSWERS_KEPT;
            self.answers.retain(|_, answer| answer.at > oldest);
            self.forget_at = (self.answers.len() * 2).max(1_000);
        }
    }
}
