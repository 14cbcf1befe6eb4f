//! Verification: whether the log is as it was written. The Merkle tree is hashed again from the first event on, and what
//! stands next to the events is compared with the events themselves.
//!
//! [`Verifier`] checks one commit after another and uses nothing that the daemon believes; [`verify_log`] reads a store for
//! it, page by page, so that nothing is held up and the caller may go away at any time.

use crate::store::{
    Body, Gist, Head, IndexKey, IndexSum, Indexed, RawColumns, RawCommit, RawEvent, RawLog, RawNode, RawPage,
    RawPosition, StoreError,
};
use async_trait::async_trait;
use kdaemon_events::{CommitId, Digest, Envelope, Event, Frontier, Node, Seq};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::pin::pin;
use std::str::FromStr;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Whether everything fits.
    pub ok: bool,
    /// How many events were found to be as they were written.
    pub events: u64,
    /// In how many commits.
    pub commits: u64,
    /// The last of them. Kept elsewhere, it proves later that nothing up to it was altered or cut off.
    pub head: VerifiedHead,
    /// The first commit that does not fit.
    pub first_bad: Option<BadCommit>,
    /// What does not fit, when it is no single commit: the expectation, or what is derived from the log.
    pub detail: Option<String>,
}

/// A point of the log that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedHead {
    /// The last event of a commit, which is also the size of the tree.
    pub seq: Seq,
    /// The root of the Merkle tree over all events up to there.
    pub root: Digest,
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

impl Verification {
    /// What does not fit, in one line; `None` when all fits.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match (&self.first_bad, &self.detail) {
            (Some(bad), _) => Some(format!(
                "commit {} (events {} to {}) failed verification: {}",
                bad.commit, bad.first_seq, bad.last_seq, bad.detail
            )),
            (None, Some(detail)) => Some(detail.clone()),
            (None, None) => None,
        }
    }
}

/// A head that was kept elsewhere: the root of the tree over all events up to one. Written `SEQ:ROOT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// The event.
    pub seq: Seq,
    /// The root.
    pub root: Digest,
}

impl FromStr for Expectation {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (seq, root) = text
            .split_once(':')
            .ok_or_else(|| "expected SEQ:ROOT, the head that an earlier verification printed".to_owned())?;
        let is_number = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = seq.parse().ok().filter(|seq| is_number && *seq > 0);
        let seq = seq.ok_or("expected the seq of an event before the colon, a number from 1 on")?;
        Ok(Self { seq: Seq(seq), root: root.parse()? })
    }
}

/// A log, checked as far as it was read.
#[derive(Debug, Default)]
pub struct Verifier {
    head: Head,
    /// The tree up to there, hashed from the events.
    tree: Frontier,
    /// How many subtrees the store must have up to there.
    nodes: u64,
    expectation: Option<Expectation>,
    /// How the log contradicts the expectation.
    contradiction: Option<String>,
    /// Up to this event the rows of an index are summed up.
    indexed_until: Seq,
    index_key: IndexKey,
    index: IndexSum,
    /// A term, written here.
    term: String,
    /// Pruned events that no `ObservationsPruned` has named so far.
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

impl Verifier {
    /// One that compares the log with an expectation when it gets there.
    #[must_use]
    pub fn new(expectation: Option<Expectation>) -> Self {
        Self { expectation, ..Self::default() }
    }

    /// Where it was checked up to.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// How the log contradicts the expectation, if it does so up to here.
    #[must_use]
    pub fn contradiction(&self) -> Option<&str> {
        self.contradiction.as_deref()
    }

    /// Checks the next commit.
    ///
    /// # Errors
    /// What is wrong with it. The head stays where it was.
    pub fn check(&mut self, commit: &RawCommit) -> Result<(), BadCommit> {
        let next = self.next(commit);
        self.head = next.map_err(|detail| {
            let seq = |seq: i64| u64::try_from(seq).unwrap_or(0);
            BadCommit {
                commit: self.head.commits + 1,
                first_seq: self.head.seq.next().0,
                last_seq: seq(commit.last_seq).max(self.head.seq.next().0),
                detail,
            }
        })?;
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
        if self.head.commit_id == Some(id) {
            return Err("it has the identity of the commit before it: one commit was split in two".to_owned());
        }
        let mut nodes = Vec::new();
        for event in &commit.events {
            let leaf = self.leaf(id, event).map_err(|detail| format!("event {}: {detail}", event.seq))?;
            self.tree.push(leaf, &mut nodes);
            self.compare_expectation();
        }
        let recorded: Digest = commit.root.parse()?;
        if self.tree.root() != recorded {
            return Err("the tree up to it does not have its root: it was altered".to_owned());
        }
        if let Some(stored) = &commit.nodes {
            compare_nodes(stored, &nodes)?;
        }
        self.nodes += nodes.len() as u64;
        Ok(Head { seq, commits: number, commit_id: Some(id), root: recorded })
    }

    /// The hash of an event's leaf. The event is compared with its place, and with what stands next to it.
    fn leaf(&mut self, commit: CommitId, event: &RawEvent) -> Result<Digest, String> {
        let seq = Seq(event.seq.unsigned_abs());
        let json = match &event.body {
            Body::Kept { json, .. } => json,
            Body::Pruned { content } => {
                let columns = event.columns.as_ref().ok_or("it was pruned, and has no header")?;
                let header = columns.header(seq, commit);
                if !header.is_prunable() {
                    return Err(format!("it is a {}, which is never pruned: it was removed", columns.kind));
                }
                self.pruned.add(seq.0);
                return Ok(header.leaf(*content));
            }
        };
        let (columns, said) = match Envelope::decode(json) {
            Ok(envelope) => {
                if let Event::ObservationsPruned(pruned) = &envelope.event {
                    pruned.ranges.iter().for_each(|(first, last)| self.pruned.explain(first.0, last.0));
                }
                if envelope.seq <= self.indexed_until {
                    self.note_terms(&Indexed::of(&envelope));
                }
                let kind = envelope.event.kind().as_str();
                (RawColumns::of(kind, envelope.at, envelope.actor.label()), envelope.seq)
            }
            // If the root says that it is as it was written, a newer kDaemon wrote it.
            Err(_) => {
                let gist = Gist::read(json)?;
                (RawColumns::of(&gist.kind, gist.at, gist.actor.label()), gist.seq)
            }
        };
        if said != seq {
            return Err(format!("it says that it is event {said}"));
        }
        if event.columns.as_ref().is_some_and(|beside| *beside != columns) {
            return Err("its columns are not as the event says: they were altered".to_owned());
        }
        Ok(columns.header(seq, commit).leaf(event.body.content()))
    }

    /// Compares the tree with the expectation when it has just the expected size.
    fn compare_expectation(&mut self) {
        let size = self.tree.size();
        if let Some(expected) = self.expectation.take_if(|expected| expected.seq.0 == size) {
            let root = self.tree.root();
            if root != expected.root {
                self.contradiction = Some(format!(
                    "up to event {size} the root of the tree is {root}, expected {}: events up to there were replaced, or the \
                     expected head is of another log",
                    expected.root
                ));
            }
        }
    }

    /// By what it has to be found in an index.
    fn note_terms(&mut self, event: &Indexed) {
        for term in event.terms() {
            self.term.clear();
            let _ = write!(self.term, "{term}"); // writing into a string cannot fail
            self.index.add(&self.index_key, self.index_key.term(&self.term), event.seq);
        }
    }

    /// Checks a page. `Err` is the commit that does not fit.
    ///
    /// # Errors
    /// As [`Self::check`], and when the log goes on behind its last commit.
    pub fn check_page(&mut self, page: &RawPage) -> Result<(), BadCommit> {
        page.commits.iter().try_for_each(|commit| self.check(commit))?;
        if !page.is_last {
            return Ok(());
        }
        let beyond = |seq: u64, detail: String| {
            Err(BadCommit { commit: self.head.commits + 1, first_seq: seq, last_seq: seq, detail })
        };
        if let Some(stray) = page.stray {
            let seq = u64::try_from(stray).unwrap_or(0);
            return beyond(seq, format!("there is an event {stray} that belongs to no commit"));
        }
        match page.nodes.filter(|nodes| *nodes != self.nodes) {
            Some(nodes) => {
                let expected = self.nodes;
                beyond(
                    self.head.seq.0,
                    format!("the store has {nodes} subtrees, expected {expected}: some were added"),
                )
            }
            None => Ok(()),
        }
    }

    /// What was found, at the end of the log or where it first did not fit.
    #[must_use]
    pub fn verdict(&self, first_bad: Option<BadCommit>) -> Verification {
        let mut detail = self.contradiction.clone();
        if let Some((first, last)) = self.pruned.0.first_key_value().filter(|_| first_bad.is_none()) {
            detail = Some(format!(
                "events {first} to {last} were removed, and no event of the log names them as pruned"
            ));
        }
        if let Some(expected) = self.expectation.filter(|_| first_bad.is_none()) {
            let end = self.head.seq;
            detail = Some(format!(
                "the log ends at event {end}, expected {} or more: its end was cut off",
                expected.seq
            ));
        }
        Verification {
            ok: first_bad.is_none() && detail.is_none(),
            events: self.head.seq.0,
            commits: self.head.commits,
            head: VerifiedHead { seq: self.head.seq, root: self.head.root },
            first_bad,
            detail,
        }
    }
}

/// Compares the stored subtrees that a commit completes with what its events hash to.
fn compare_nodes(stored: &[RawNode], expected: &[Node]) -> Result<(), String> {
    let same = |stored: &RawNode, node: &Node| {
        stored.level == i64::from(node.place.level)
            && u64::try_from(stored.number) == Ok(node.place.number)
            && stored.hash == Some(node.hash)
    };
    let differs = expected
        .iter()
        .enumerate()
        .find(|(index, node)| !stored.get(*index).is_some_and(|it| same(it, node)));
    match differs {
        Some((_, Node { place, .. })) => Err(format!(
            "the stored subtree of level {}, number {}, is not what its events hash to: it was altered or removed",
            place.level, place.number
        )),
        None if stored.len() > expected.len() => {
            Err(format!("{} subtrees are stored for it, expected {}", stored.len(), expected.len()))
        }
        None => Ok(()),
    }
}

/// Verification as a method of every log.
#[async_trait]
pub trait VerifyLog: RawLog {
    /// Verifies the whole log: [`verify_log`] in short.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the first commit that does not fit.
    async fn verify(&self) -> Result<Head, StoreError> {
        let head = self.head().await?;
        let found = verify_log(self, None, drop).await?;
        match found.trouble() {
            Some(trouble) => Err(StoreError::Damaged(trouble)),
            None => Ok(Head { seq: found.head.seq, commits: found.commits, root: found.head.root, ..head }),
        }
    }
}

impl<S: RawLog + ?Sized> VerifyLog for S {}

/// Verifies a store's whole log, up to what was appended last when it comes there. `progress` receives the last event
/// that was checked after each page. Dropping the future ends it at the next page.
///
/// # Errors
/// When the log cannot be read. That it does not fit is an answer and no error.
pub async fn verify_log<S: RawLog + ?Sized>(
    store: &S,
    expectation: Option<Expectation>,
    mut progress: impl FnMut(Seq) + Send,
) -> Result<Verification, StoreError> {
    let mut verifier = Verifier::new(expectation);
    verifier.indexed_until = store.indexed().await?;
    let (key, until) = (verifier.index_key.clone(), verifier.indexed_until);
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
            let checked = verifier.check_page(&page);
            (verifier, checked)
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
        let (checked_verifier, checked) = checked.map_err(given_up)?;
        verifier = checked_verifier;
        progress(verifier.head.seq);
        if let Err(bad) = checked {
            return Ok(verifier.verdict(Some(bad)));
        }
        if is_last {
            break;
        }
        page = next?;
    }
    let mut found = verifier.verdict(None);
    // What was pruned meanwhile went out of the one and not out of the other.
    if found.ok && until > Seq(0) {
        let sum = match indexed {
            Some(sum) => sum,
            None => index.await?,
        };
        if sum != verifier.index && store.pruned(Seq(0), Seq(u64::MAX)).await? == pruned {
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
