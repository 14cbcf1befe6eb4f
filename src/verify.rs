//! Verification of the log's integrity. Recomputes the Merkle tree from the first event on, and compares the columns
//! next to the events with the events.
//!
//! [`Verifier`] checks one commit after another without any state of the daemon. [`verify_log`] reads the commits from
//! a store page by page, so that it does not block other work and can be cancelled at any time.

use crate::store::{
    Body, Head, HeaderFields, IndexKey, IndexSum, Indexed, RawColumns, RawCommit, RawEvent, RawLog, RawNode,
    RawPage, RawPosition, StoreError,
};
use async_trait::async_trait;
use kdaemon_events::{CommitId, Digest, Envelope, Event, Frontier, Seq, TreeNode};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::pin::pin;
use std::str::FromStr;

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Whether the log passed all checks.
    pub ok: bool,
    /// The number of verified events.
    pub events: u64,
    /// The number of verified commits.
    pub commits: u64,
    /// The head at the last verified commit. Kept elsewhere, it proves later that the log up to it was not altered or
    /// cut off.
    pub head: TreeHead,
    /// The first commit that failed.
    pub first_bad: Option<BadCommit>,
    /// A failure that does not concern a single commit: of the expectation, or of data derived from the log.
    pub detail: Option<String>,
}

/// The size and root of the verified tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// The last event. Also the size of the tree.
    pub seq: Seq,
    /// The root of the Merkle tree over all events up to `seq`.
    pub root: Digest,
}

/// A commit that failed verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCommit {
    /// The commit's number, counted from 1.
    pub commit: u64,
    /// The commit's first event, as far as it can be determined.
    pub first_seq: u64,
    /// The commit's last event, as far as it can be determined.
    pub last_seq: u64,
    /// The problem.
    pub detail: String,
}

impl Verification {
    /// The failure in one line; `None` when the log passed all checks.
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

/// A head that was kept elsewhere. Parses from `SEQ:ROOT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// The last event. Also the size of the tree.
    pub seq: Seq,
    /// The root of the tree over all events up to `seq`.
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
        let seq = seq.ok_or("expected a positive number before the colon: the seq of an event")?;
        Ok(Self { seq: Seq(seq), root: root.parse()? })
    }
}

/// Checks a log commit by commit.
#[derive(Debug, Default)]
pub struct Verifier {
    head: Head,
    /// The tree up to `head`, hashed from the events.
    tree: Frontier,
    /// The number of subtrees that the store must have up to `head`.
    nodes: u64,
    expectation: Option<Expectation>,
    /// The contradiction between the log and the expectation, if any.
    contradiction: Option<String>,
    /// The last event whose rows are added to `index`.
    indexed_until: Seq,
    index_key: IndexKey,
    index: IndexSum,
    /// A buffer for the text of a term.
    term: String,
    /// The pruned events that no `ObservationsPruned` has named so far.
    pruned: Unexplained,
}

/// Ranges of pruned events, by their first event.
#[derive(Debug, Default)]
struct Unexplained(BTreeMap<u64, u64>);

impl Unexplained {
    /// Adds a pruned event. Events must be added in order.
    fn add(&mut self, seq: u64) {
        match self.0.last_entry() {
            Some(mut last) if *last.get() + 1 == seq => *last.get_mut() = seq,
            _ => drop(self.0.insert(seq, seq)),
        }
    }

    /// Removes a range that an `ObservationsPruned` names.
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
    /// Creates a verifier that compares the log with an expectation, if there is one.
    #[must_use]
    pub fn new(expectation: Option<Expectation>) -> Self {
        Self { expectation, ..Self::default() }
    }

    /// The head at the last verified commit.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The contradiction between the log and the expectation, if one was found so far.
    #[must_use]
    pub fn contradiction(&self) -> Option<&str> {
        self.contradiction.as_deref()
    }

    /// Checks the next commit.
    ///
    /// # Errors
    /// The commit's problem. The head stays unchanged.
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
            return Err(format!("missing or out of order: found commit {} in its place", commit.number));
        }
        if let Some(unreadable) = &commit.unreadable {
            return Err(unreadable.clone());
        }
        let first = self.head.seq.next();
        if u64::try_from(commit.first_seq) != Ok(first.0) || commit.last_seq < commit.first_seq {
            let (from, to) = (commit.first_seq, commit.last_seq);
            return Err(format!("it claims events {from} to {to}, expected {first} next"));
        }
        let mut seq = self.head.seq;
        for event in &commit.events {
            seq = seq.next();
            if u64::try_from(event.seq) != Ok(seq.0) {
                return Err(format!("event {seq} is missing: found event {} in its place", event.seq));
            }
        }
        if u64::try_from(commit.last_seq) != Ok(seq.0) {
            return Err(format!("event {} is missing", seq.next()));
        }
        let id = commit.id.parse().map(CommitId).map_err(|_| format!("invalid commit id `{}`", commit.id))?;
        if self.head.commit_id == Some(id) {
            return Err("it has the id of the previous commit: one commit was split in two".to_owned());
        }
        let mut nodes = Vec::new();
        for event in &commit.events {
            let leaf = self.leaf(id, event).map_err(|detail| format!("event {}: {detail}", event.seq))?;
            self.tree.push(leaf, &mut nodes);
            self.compare_expectation();
        }
        let recorded: Digest = commit.root.parse()?;
        if self.tree.root() != recorded {
            return Err("the tree up to this commit does not have the recorded root: the commit was altered"
                .to_owned());
        }
        if let Some(stored) = &commit.nodes {
            compare_nodes(stored, &nodes)?;
        }
        self.nodes += nodes.len() as u64;
        Ok(Head { seq, commits: number, commit_id: Some(id), root: recorded })
    }

    /// The hash of an event's leaf. Compares the event with its position in the log and with its columns.
    fn leaf(&mut self, commit: CommitId, event: &RawEvent) -> Result<Digest, String> {
        let seq = Seq(event.seq.unsigned_abs());
        let json = match &event.body {
            Body::Kept { json, .. } => json,
            Body::Pruned { content } => {
                let columns = event.columns.as_ref().ok_or("it was pruned and has no header")?;
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
            // If the root matches, a newer kDaemon wrote the event.
            Err(_) => {
                let fields = HeaderFields::read(json)?;
                (RawColumns::of(&fields.kind, fields.at, fields.actor.label()), fields.seq)
            }
        };
        if said != seq {
            return Err(format!("its text has seq {said}"));
        }
        if event.columns.as_ref().is_some_and(|stored| *stored != columns) {
            return Err("its columns do not match its text: they were altered".to_owned());
        }
        Ok(columns.header(seq, commit).leaf(event.body.content()))
    }

    /// Compares the tree with the expectation when the tree has the expected size.
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

    /// Adds the rows that an index must have for an event.
    fn note_terms(&mut self, event: &Indexed) {
        for term in event.terms() {
            self.term.clear();
            let _ = write!(self.term, "{term}"); // writing into a string cannot fail
            self.index.add(&self.index_key, self.index_key.term(&self.term), event.seq);
        }
    }

    /// Checks the commits of a page.
    ///
    /// # Errors
    /// Like [`Self::check`], and when the store has events or subtrees beyond its last commit.
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

    /// The result at the end of the log, or at the first commit that failed.
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
            head: TreeHead { seq: self.head.seq, root: self.head.root },
            first_bad,
            detail,
        }
    }
}

/// Compares the stored subtrees that a commit completes with the expected ones.
fn compare_nodes(stored: &[RawNode], expected: &[TreeNode]) -> Result<(), String> {
    let same = |stored: &RawNode, node: &TreeNode| {
        stored.level == i64::from(node.place.level)
            && u64::try_from(stored.number) == Ok(node.place.number)
            && stored.hash == Some(node.hash)
    };
    let differs = expected
        .iter()
        .enumerate()
        .find(|(index, node)| !stored.get(*index).is_some_and(|it| same(it, node)));
    match differs {
        Some((_, TreeNode { place, .. })) => Err(format!(
            "the stored subtree at level {}, number {} does not match its events: it was altered or removed",
            place.level, place.number
        )),
        None if stored.len() > expected.len() => {
            Err(format!("it has {} stored subtrees, expected {}", stored.len(), expected.len()))
        }
        None => Ok(()),
    }
}

/// Verification as a method of every log.
#[async_trait]
pub trait VerifyLog: RawLog {
    /// Verifies the whole log like [`verify_log`], and returns its head.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first commit that failed verification.
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

/// Verifies a store's whole log, including commits that are appended meanwhile. `progress` receives the last verified
/// event after each page. Dropping the future cancels the verification at the next page.
///
/// # Errors
/// When the log cannot be read. A log that fails verification is a result rather than an error.
pub async fn verify_log<S: RawLog + ?Sized>(
    store: &S,
    expectation: Option<Expectation>,
    mut progress: impl FnMut(Seq) + Send,
) -> Result<Verification, StoreError> {
    let mut verifier = Verifier::new(expectation);
    verifier.indexed_until = store.indexed().await?;
    let (key, until) = (verifier.index_key.clone(), verifier.indexed_until);
    // Computes the checksum of the index concurrently.
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
        let given_up = |error| StoreError::Unavailable(format!("the verification was aborted: {error}"));
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
    // An event pruned during the verification is in only one of the sums: then they are not compared.
    if found.ok && until > Seq(0) {
        let sum = match indexed {
            Some(sum) => sum,
            None => index.await?,
        };
        if sum != verifier.index && store.pruned(Seq(0), Seq(u64::MAX)).await? == pruned {
            found.ok = false;
            found.detail = Some(
                "the log is intact, but its index does not match it: the index was altered; stop the daemon and delete \
                 tables.db, and the next start rebuilds it"
                    .to_owned(),
            );
        }
    }
    Ok(found)
}
