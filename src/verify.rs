//! The audit: whether the log is as it was written. Every digest is computed anew from the first event on, and what
//! stands beside the events is compared with the events themselves.
//!
//! [`Chain`] checks one commit after another and takes nothing on trust; [`audit`] reads a store for it, page by page,
//! so that nothing is held up and whoever asked may go away at any time.

use crate::store::{
    EventStore, Head, IndexKey, IndexSum, RawBody, RawColumns, RawCommit, RawEvent, RawPage, RawPosition,
    StoreError, terms,
};
use chrono::{DateTime, Utc};
use kdaemon_events::{Actor, CommitId, Digest, Envelope, Event, Seq, Subject};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::pin::pin;
use std::str::FromStr;
use uuid::Uuid;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Whether everything fits.
    pub ok: bool,
    /// How many events were found to be as they were written.
    pub events: u64,
    /// In how many commits.
    pub commits: u64,
    /// The last of them. Kept elsewhere, it proves later that nothing up to it was altered or cut off.
    pub head: AuditHead,
    /// The first commit that does not fit.
    pub first_bad: Option<BadCommit>,
    /// What does not fit, when it is no single commit: the expectation, or what is derived from the log.
    pub detail: Option<String>,
}

/// A point of the log that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// The last event of a commit.
    pub seq: Seq,
    /// The digest of the chain there: 64 hexadecimal digits.
    pub digest: Digest,
}

/// A commit that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCommit {
    /// Its number, counted from 1.
    pub commit: u64,
    /// Its first event, as far as that can be told.
    pub first_seq: u64,
    /// Its last event, as far as that can be told.
    pub last_seq: u64,
    /// What is wrong with it.
    pub detail: String,
}

impl Audit {
    /// What does not fit, in one line; `None` when all fits.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match (&self.first_bad, &self.detail) {
            (Some(bad), _) => Some(format!(
                "commit {} (events {} to {}) does not fit: {}",
                bad.commit, bad.first_seq, bad.last_seq, bad.detail
            )),
            (None, Some(detail)) => Some(detail.clone()),
            (None, None) => None,
        }
    }
}

/// What somebody kept elsewhere: the chain's digest at an event that ended a commit. Written `SEQ:DIGEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// The event.
    pub seq: Seq,
    /// The digest.
    pub digest: Digest,
}

impl FromStr for Expectation {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (seq, digest) = text
            .split_once(':')
            .ok_or_else(|| "it is written SEQ:DIGEST, as an earlier verification gave the head".to_owned())?;
        let is_number = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = seq.parse().ok().filter(|seq| is_number && *seq > 0);
        let seq = seq.ok_or("before the colon stands the seq of an event, a number from 1 on")?;
        Ok(Self { seq: Seq(seq), digest: digest.parse()? })
    }
}

/// The chain, checked as far as it was read.
#[derive(Debug, Default)]
pub struct Chain {
    head: Head,
    expectation: Option<Expectation>,
    /// What is wrong with the expectation.
    disappointed: Option<String>,
    /// Up to this event the rows of an index are summed up.
    indexed_until: Seq,
    index_key: IndexKey,
    index: IndexSum,
    /// A term, written here.
    term: String,
    /// Pruned events of which nothing in the log has said so far that they were to go.
    pruned: Unexplained,
}

/// Stretches of events that are gone, by their first one.
#[derive(Debug, Default)]
struct Unexplained(BTreeMap<u64, u64>);

impl Unexplained {
    /// An event is gone; those before it came before.
    fn add(&mut self, seq: u64) {
        match self.0.last_entry() {
            Some(mut last) if *last.get() + 1 == seq => *last.get_mut() = seq,
            _ => drop(self.0.insert(seq, seq)),
        }
    }

    /// The log says of these that they were to go.
    fn explain(&mut self, first: u64, last: u64) {
        while let Some((from, to)) = self.0.range(..=last).next_back().map(|(from, to)| (*from, *to)) {
            if to < first {
                return;
            }
            self.0.remove(&from);
            if to > last {
                self.0.insert(last + 1, to);
            }
            if from < first {
                self.0.insert(from, first - 1);
                return;
            }
        }
    }
}

/// What an event says that is also said elsewhere. An event that a newer kDaemon wrote has it too.
#[derive(Deserialize)]
struct Gist {
    seq: Seq,
    at: DateTime<Utc>,
    actor: Actor,
    kind: String,
}

impl Chain {
    /// A chain that will be compared with an expectation when it comes there.
    #[must_use]
    pub fn new(expectation: Option<Expectation>) -> Self {
        Self { expectation, ..Self::default() }
    }

    /// Where it was checked up to.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Checks the next commit.
    ///
    /// # Errors
    /// What is wrong with it. The chain stays where it was.
    pub fn check(&mut self, commit: &RawCommit) -> Result<(), BadCommit> {
        self.head = self.next(commit).map_err(|detail| {
            let seq = |seq: i64| u64::try_from(seq).unwrap_or(0);
            BadCommit {
                commit: self.head.commits + 1,
                first_seq: self.head.seq.next().0,
                last_seq: seq(commit.last_seq).max(self.head.seq.next().0),
                detail,
            }
        })?;
        let (seq, digest) = (self.head.seq, self.head.digest);
        if let Some(expected) = self.expectation.take_if(|expected| expected.seq <= seq) {
            if expected.seq != seq {
                self.disappointed = Some(format!(
                    "no commit ends at event {}: the one around it ends at {seq}; the log is not the one whose digest was \
                     kept, or the number is another",
                    expected.seq
                ));
            } else if expected.digest != digest {
                self.disappointed = Some(format!(
                    "at event {seq} the chain's digest is {digest} and not {}: what is up to there was replaced",
                    expected.digest
                ));
            }
        }
        Ok(())
    }

    fn next(&mut self, commit: &RawCommit) -> Result<Head, String> {
        let number = self.head.commits + 1;
        if u64::try_from(commit.number) != Ok(number) {
            return Err(format!(
                "it is missing or out of order: commit {} comes in its place",
                commit.number
            ));
        }
        if let Some(unreadable) = &commit.unreadable {
            return Err(unreadable.clone());
        }
        let first = self.head.seq.next();
        if u64::try_from(commit.first_seq) != Ok(first.0) || commit.last_seq < commit.first_seq {
            let (from, to) = (commit.first_seq, commit.last_seq);
            return Err(format!("it claims events {from} to {to}, and {first} comes next"));
        }
        let mut seq = self.head.seq;
        for event in &commit.events {
            seq = seq.next();
            if u64::try_from(event.seq) != Ok(seq.0) {
                return Err(format!("event {seq} is missing: event {} comes in its place", event.seq));
            }
        }
        if u64::try_from(commit.last_seq) != Ok(seq.0) {
            return Err(format!("event {} is missing", seq.next()));
        }
        let id = commit.id.parse().map(CommitId).map_err(|_| format!("`{}` is no identity", commit.id))?;
        let digests = commit.events.iter().map(|event| match &event.body {
            RawBody::Text(json) => Digest::of_event(json.as_bytes()),
            RawBody::Pruned(digest) => *digest,
        });
        let recorded: Digest = commit.digest.parse()?;
        if Digest::of_commit(self.head.digest, digests, id) != recorded {
            return Err("its events do not fit its digest: it was altered".to_owned());
        }
        for event in &commit.events {
            self.compare(event).map_err(|detail| format!("event {}: {detail}", event.seq))?;
        }
        Ok(Head { seq, commits: number, commit_id: Some(id), digest: recorded })
    }

    /// Compares an event with its place, and with what stands beside it.
    fn compare(&mut self, event: &RawEvent) -> Result<(), String> {
        let json = match &event.body {
            RawBody::Text(json) => json,
            RawBody::Pruned(_) => {
                self.pruned.add(event.seq.unsigned_abs());
                return Ok(());
            }
        };
        match Envelope::decode(json) {
            Ok(envelope) => {
                if let Event::ObservationsPruned(pruned) = &envelope.event {
                    pruned.ranges.iter().for_each(|(first, last)| self.pruned.explain(first.0, last.0));
                }
                let kind = envelope.event.kind().as_str();
                let actor = envelope.actor.name();
                stands_beside(event, envelope.seq, kind, envelope.at, actor)?;
                if envelope.seq <= self.indexed_until {
                    self.note_terms(envelope.seq, kind, actor, &envelope.event);
                }
            }
            // The digest says that it is as it was written: by a newer kDaemon, then.
            Err(error) => {
                let gist: Gist = serde_json::from_str(json).map_err(|_| error.to_string())?;
                stands_beside(event, gist.seq, &gist.kind, gist.at, gist.actor.name())?;
            }
        }
        Ok(())
    }

    /// By what it has to be found in an index.
    fn note_terms(&mut self, seq: Seq, kind: &str, actor: &str, event: &Event) {
        let subjects: Vec<Uuid> = event.subjects().into_iter().map(Subject::uuid).collect();
        for term in terms(kind, actor, &subjects) {
            self.term.clear();
            let _ = write!(self.term, "{term}"); // writing into a string cannot fail
            self.index.add(&self.index_key, self.index_key.term(&self.term), seq);
        }
    }

    /// Checks a page. `Err` is the commit that does not fit.
    ///
    /// # Errors
    /// As [`Self::check`], and when the log goes on behind its last commit.
    pub fn check_page(&mut self, page: &RawPage) -> Result<(), BadCommit> {
        page.commits.iter().try_for_each(|commit| self.check(commit))?;
        match page.stray.filter(|_| page.is_last) {
            Some(stray) => {
                let seq = u64::try_from(stray).unwrap_or(0);
                let detail = format!("there is an event {stray} that belongs to no commit");
                Err(BadCommit { commit: self.head.commits + 1, first_seq: seq, last_seq: seq, detail })
            }
            None => Ok(()),
        }
    }

    /// What was found, at the end of the log or where it first did not fit.
    #[must_use]
    pub fn verdict(&self, first_bad: Option<BadCommit>) -> Audit {
        let mut detail = self.disappointed.clone();
        if let Some((first, last)) = self.pruned.0.first_key_value().filter(|_| first_bad.is_none()) {
            detail = Some(format!(
                "events {first} to {last} were removed, and nothing in the log says that they were to go"
            ));
        }
        if let Some(expected) = self.expectation.filter(|_| first_bad.is_none()) {
            let end = self.head.seq;
            detail = Some(format!(
                "the log ends at event {end}: {} was there once, so its end is missing",
                expected.seq
            ));
        }
        Audit {
            ok: first_bad.is_none() && detail.is_none(),
            events: self.head.seq.0,
            commits: self.head.commits,
            head: AuditHead { seq: self.head.seq, digest: self.head.digest },
            first_bad,
            detail,
        }
    }
}

/// Compares what an event says with what stands beside it.
fn stands_beside(
    event: &RawEvent,
    seq: Seq,
    kind: &str,
    at: DateTime<Utc>,
    actor: &str,
) -> Result<(), String> {
    if u64::try_from(event.seq) != Ok(seq.0) {
        return Err(format!("it says that it is event {seq}"));
    }
    let fits = |beside: &RawColumns| {
        beside.kind == kind && beside.at == at.timestamp_micros() && beside.actor == actor
    };
    if !event.columns.as_ref().is_none_or(fits) {
        return Err("its columns are not as the event says: they were altered".to_owned());
    }
    Ok(())
}

/// Verifies a store's whole log, up to what was appended last when it comes there. `progress` is told after each page
/// how many events were checked. Dropping the future ends it at the next page.
///
/// # Errors
/// When the log cannot be read. That it does not fit is an answer and no error.
pub async fn audit<S: EventStore + ?Sized>(
    store: &S,
    expectation: Option<Expectation>,
    mut progress: impl FnMut(Seq) + Send,
) -> Result<Audit, StoreError> {
    let mut chain = Chain::new(expectation);
    chain.indexed_until = store.indexed().await?;
    let (key, until) = (chain.index_key.clone(), chain.indexed_until);
    // The index is summed up beside all that.
    let mut index = pin!(store.index_sum(&key, until));
    let mut indexed = None;
    let pruned = store.pruned(Seq(0), Seq(u64::MAX)).await?;
    let mut page = store.raw_commits(RawPosition::START).await?;
    loop {
        let is_last = page.is_last;
        let position =
            page.commits.last().map(|last| RawPosition { number: last.number, seq: last.last_seq });
        let check = tokio::task::spawn_blocking(move || {
            let checked = chain.check_page(&page);
            (chain, checked)
        });
        // The next page is read while this one is checked.
        let read = async {
            match position.filter(|_| !is_last) {
                Some(position) => store.raw_commits(position).await,
                None => Ok(RawPage { is_last: true, ..RawPage::default() }),
            }
        };
        let both = async { tokio::join!(read, check) };
        let mut both = pin!(both);
        let (next, checked) = loop {
            tokio::select! {
                biased;
                done = &mut both => break done,
                sum = &mut index, if indexed.is_none() => indexed = Some(sum?),
            }
        };
        let given_up = |error| StoreError::Unavailable(format!("the verification was given up: {error}"));
        let (checked_chain, checked) = checked.map_err(given_up)?;
        chain = checked_chain;
        progress(chain.head.seq);
        if let Err(bad) = checked {
            return Ok(chain.verdict(Some(bad)));
        }
        if is_last {
            break;
        }
        page = next?;
    }
    let mut found = chain.verdict(None);
    // What was pruned meanwhile went out of the one and not out of the other.
    if found.ok && until > Seq(0) {
        let sum = match indexed {
            Some(sum) => sum,
            None => index.await?,
        };
        if sum != chain.index && store.pruned(Seq(0), Seq(u64::MAX)).await? == pruned {
            found.ok = false;
            found.detail = Some(
                "the log is whole, but the index by which it is looked up is not as the log says: it was altered; stop \
                 the daemon, delete tables.db, and it is made anew"
                    .to_owned(),
            );
        }
    }
    Ok(found)
}
