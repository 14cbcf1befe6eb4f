//! A log as a file: how it is moved from one store to another.
//!
//! JSON lines. The first says what follows; each other line is one commit: its identity, the root of the tree after it, the
//! exact text and the salt of its events (or what is left of those that were pruned), and the idempotency records of
//! it. Importing hashes the tree, event by event, and appends commit after commit as they were: afterwards both stores hold
//! the same log, byte for byte.

mod file;

pub use file::{Bar, NewFile, export_file, import_file};

use crate::store::{
    Body, Commit, Head, IdempotencyRecord, RawColumns, RawCommit, RawEvent, RawPosition, Store, StoreError,
    StoredEvent,
};
use crate::verify::{Expectation, Verifier};
use chrono::{DateTime, Utc};
use kdaemon_events::{CodecError, CommitId, Digest, Envelope, Salt, Seq};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _, Write};

/// The version of the form.
const FORM: u32 = 2;
/// The longest line that is read: a commit holds about 1 MB, a single larger event excepted.
const LINE_LIMIT: u64 = 64 << 20;

/// Why a log was not moved.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read or written.
    #[error("the file cannot be read or written: {0}")]
    File(#[from] io::Error),
    /// There is a file of that name.
    #[error("{0} is there already; name another file, or remove it")]
    Exists(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store failed in the middle of an import.
    #[error(
        "{error}; {done} of {commits} commits are imported: run the same import again to go on from there"
    )]
    Interrupted {
        /// Why.
        error: StoreError,
        /// How many commits the store has now.
        done: u64,
        /// How many the file has.
        commits: u64,
    },
    /// A line does not fit.
    #[error("line {line} of the file: {what}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The store holds something else already.
    #[error("the store holds another log already ({events} events); import into an empty one")]
    NotEmpty {
        /// How many events it holds.
        events: Seq,
    },
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Says what the file is: the version of its form.
    pub kdaemon_log: u32,
    /// How many commits follow.
    pub commits: u64,
    /// How many events they have.
    pub events: Seq,
    /// The root of the tree over them.
    pub root: Digest,
}

/// A line after it.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    commit: u64,
    id: CommitId,
    root: Digest,
    /// Of each event; `null` for a pruned one.
    salts: Vec<Option<Salt>>,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    idempotency: Vec<IdempotencyRecord>,
}

/// Writes the log of a store as it is now. Of the answers to `Idempotency-Key`s those since `idempotency_since` go with it.
/// `progress` is told the header, and again and again how many events are done.
///
/// # Errors
/// When the store cannot be read or the file cannot be written.
pub async fn export(
    store: &dyn Store,
    out: &mut (dyn Write + Send),
    idempotency_since: DateTime<Utc>,
    progress: &mut (dyn FnMut(&Header, Seq) + Send),
) -> Result<Head, ArchiveError> {
    let mut export = Export::new(store, idempotency_since).await?;
    while let Some(lines) = export.lines(store).await? {
        out.write_all(&lines)?;
        progress(&export.header, export.done());
    }
    out.flush()?;
    Ok(export.head)
}

/// A log on its way out.
pub struct Export {
    head: Head,
    header: Header,
    idempotency: BTreeMap<Seq, Vec<IdempotencyRecord>>,
    /// Behind what the next lines are; `None` before the first one.
    position: Option<RawPosition>,
    /// How many commits are done.
    commits: u64,
}

impl Export {
    /// Begins with the log as it is now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(store: &dyn Store, idempotency_since: DateTime<Utc>) -> Result<Self, StoreError> {
        let head = store.head().await?;
        let header = Header { kdaemon_log: FORM, commits: head.commits, events: head.seq, root: head.root };
        let mut idempotency = BTreeMap::<Seq, Vec<IdempotencyRecord>>::new();
        for record in store.idempotency_records(idempotency_since, Seq(0)).await? {
            idempotency.entry(record.seq).or_default().push(record);
        }
        Ok(Self { head, header, idempotency, position: None, commits: 0 })
    }

    /// The end of what is exported.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    fn done(&self) -> Seq {
        self.position.map_or(Seq(0), |position| Seq(u64::try_from(position.seq).unwrap_or(0)))
    }

    /// The next lines of the store that it began with, whole ones; `None` at the end.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what is not as it was written.
    pub async fn lines(&mut self, store: &dyn Store) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(position) = self.position else {
            self.position = Some(RawPosition::START);
            return Ok(Some(line(&self.header)));
        };
        let left = usize::try_from(self.head.commits - self.commits).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(None);
        }
        let page = store.raw_commits(position).await?;
        if page.commits.is_empty() {
            return Err(StoreError::Damaged(format!("commit {} is missing", self.commits + 1)));
        }
        let mut lines = Vec::new();
        for commit in page.commits.iter().take(left) {
            lines.extend(self.commit(commit)?);
        }
        Ok(Some(lines))
    }

    fn commit(&mut self, commit: &RawCommit) -> Result<Vec<u8>, StoreError> {
        let number = self.commits + 1;
        let Whole { id, root, salts, texts } = whole(commit, number)?;
        let raw = texts.iter().map(|text| serde_json::from_str(text)).collect();
        let not_json = |error| StoreError::Damaged(format!("an event of commit {number}: {error}"));
        let events: Vec<&RawValue> = Result::map_err(raw, not_json)?;
        let (first, last) = (Seq(commit.first_seq.unsigned_abs()), Seq(commit.last_seq.unsigned_abs()));
        let mut idempotency: Vec<_> =
            self.idempotency.range(first..=last).flat_map(|(_, records)| records.clone()).collect();
        idempotency.sort_by(|a, b| a.seq.cmp(&b.seq).then_with(|| a.key.cmp(&b.key)));
        self.commits = number;
        self.position = Some(RawPosition { number: commit.number, seq: commit.last_seq });
        Ok(line(&Line { commit: number, id, root, salts, events, idempotency }))
    }
}

fn line(line: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default(); // text keys: cannot fail
    text.push(b'\n');
    text
}

/// What there is of an event that was pruned: its header, and the hash of its content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pruned {
    pruned: PrunedLeaf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrunedLeaf {
    kind: String,
    /// In microseconds since 1970.
    at: i64,
    actor: String,
    content: Digest,
}

/// The parts of a commit that go into its line.
struct Whole {
    id: CommitId,
    root: Digest,
    salts: Vec<Option<Salt>>,
    texts: Vec<String>,
}

/// Takes a commit apart, which has as many events as it says.
fn whole(commit: &RawCommit, number: u64) -> Result<Whole, StoreError> {
    let damaged =
        |what: &str| StoreError::Damaged(format!("commit {number} {what}; `kdaemon verify` says more"));
    if u64::try_from(commit.number) != Ok(number) {
        return Err(damaged("is missing"));
    }
    let seqs = commit.first_seq..=commit.last_seq;
    if commit.unreadable.is_some() || !commit.events.iter().map(|event| event.seq).eq(seqs) {
        return Err(damaged("is not as it was written"));
    }
    let id = commit.id.parse().map(CommitId).map_err(|_| damaged("has no identity"))?;
    let root = commit.root.parse().map_err(|_| damaged("has no root"))?;
    let mut whole = Whole { id, root, salts: Vec::new(), texts: Vec::new() };
    for event in &commit.events {
        match (&event.body, &event.columns) {
            (Body::Kept { json, salt }, _) => {
                whole.salts.push(Some(*salt));
                whole.texts.push(json.clone());
            }
            (Body::Pruned { content }, Some(RawColumns { kind, at, actor })) => {
                let (kind, actor) = (kind.clone(), actor.clone());
                let pruned = Pruned { pruned: PrunedLeaf { kind, at: *at, actor, content: *content } };
                let text = serde_json::to_string(&pruned).map_err(|error| damaged(&error.to_string()))?;
                whole.salts.push(None);
                whole.texts.push(text);
            }
            (Body::Pruned { .. }, None) => return Err(damaged("has a pruned event without a header")),
        }
    }
    Ok(whole)
}

/// Appends a log to an empty store, or continues an import of the same log that was cut short. With an expectation the
/// log must have that root at that event: nothing from there on is imported if it has not.
///
/// # Errors
/// At the first line that does not fit; what stands before it is imported. When the store holds another log.
pub async fn import(
    store: &dyn Store,
    input: &mut (dyn BufRead + Send),
    expectation: Option<Expectation>,
    progress: &mut (dyn FnMut(&Header, Seq) + Send),
) -> Result<Head, ArchiveError> {
    let there = store.head().await?;
    let mut lines = Lines { input, number: 0, text: String::new() };
    let header: Header = match lines.next()? {
        Some(text) => serde_json::from_str(text).ok(),
        None => None,
    }
    .ok_or_else(|| lines.unfit("this is no log that `kdaemon export` wrote"))?;
    if header.kdaemon_log != FORM {
        let what = format!(
            "the file has form {}, this kDaemon knows form {FORM}: use a newer one",
            header.kdaemon_log
        );
        return Err(lines.unfit(&what));
    }
    if there.commits > header.commits {
        return Err(ArchiveError::NotEmpty { events: there.seq });
    }
    if let Some(expected) = expectation.filter(|expected| expected.seq > header.events) {
        let what = format!("the file has {} events, expected {} or more", header.events, expected.seq);
        return Err(lines.unfit(&what));
    }
    progress(&header, Seq(0));
    let mut verifier = Verifier::new(expectation);
    let mut head = Head::default();
    while head.commits < header.commits {
        let Some(text) = lines.next()? else {
            let what =
                format!("the file ends after {} of {} commits: it was cut", head.commits, header.commits);
            return Err(lines.unfit(&what));
        };
        let (commit, raw) = read_commit(text, &head).map_err(|what| lines.unfit(&what))?;
        verifier.check(&raw).map_err(|bad| lines.unfit(&format!("commit {}: {}", bad.commit, bad.detail)))?;
        if let Some(contradiction) = verifier.contradiction() {
            return Err(lines.unfit(contradiction));
        }
        let after = verifier.head();
        if after.commits == header.commits && after.root != header.root {
            return Err(lines.unfit("it does not fit the first line: one of them was altered"));
        }
        if after.commits > there.commits {
            // What the store has is the beginning of this file, for its last commit was the same.
            let appended = store.append(&head, commit).await.map_err(|error| match error {
                StoreError::Conflict { .. } => StoreError::InUse(
                    "somebody else writes into this store; stop the daemons on it".to_owned(),
                ),
                error => error,
            });
            head = appended.map_err(|error| ArchiveError::Interrupted {
                error,
                done: head.commits,
                commits: header.commits,
            })?;
        } else {
            head = after;
            if head.commits == there.commits && head != there {
                return Err(ArchiveError::NotEmpty { events: there.seq });
            }
        }
        progress(&header, head.seq);
    }
    match lines.next()? {
        Some(_) => Err(lines.unfit("there is more in the file than its first line says")),
        None => match verifier.verdict(None).trouble() {
            Some(trouble) => Err(lines.unfit(&trouble)),
            None => Ok(head),
        },
    }
}

/// The commit of a line, which comes after `head`, and the same as verification reads it.
fn read_commit(text: &str, head: &Head) -> Result<(Commit, RawCommit), String> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| format!("this is no commit: {error}"))?;
    let Line { commit: number, id, root, salts, events, idempotency } = line;
    if number != head.commits + 1 || events.is_empty() || salts.len() != events.len() {
        return Err(format!("commit {} is missing", head.commits + 1));
    }
    let mut seq = head.seq;
    let mut stored = Vec::with_capacity(events.len());
    for (event, salt) in events.iter().zip(salts) {
        seq = seq.next();
        stored.push(read_event(event.get(), seq, salt).map_err(|what| format!("event {seq}: {what}"))?);
    }
    let raw = RawCommit {
        number: i64::try_from(number).unwrap_or(i64::MAX),
        id: id.to_string(),
        first_seq: i64::try_from(head.seq.next().0).unwrap_or(i64::MAX),
        last_seq: i64::try_from(seq.0).unwrap_or(i64::MAX),
        root: root.to_string(),
        events: stored.iter().map(RawEvent::from).collect(),
        nodes: None,
        unreadable: None,
    };
    Ok((Commit { id, events: stored, idempotency }, raw))
}

/// An event of a line.
fn read_event(json: &str, seq: Seq, salt: Option<Salt>) -> Result<StoredEvent, String> {
    let Some(salt) = salt else {
        let Pruned { pruned } = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let PrunedLeaf { kind, at, actor, content } = pruned;
        let kind = kind.parse().map_err(|error: CodecError| error.to_string())?;
        let at = DateTime::from_timestamp_micros(at).ok_or("its time is no time")?;
        return Ok(StoredEvent {
            seq,
            kind,
            at,
            actor,
            subjects: Vec::new(),
            body: Body::Pruned { content },
        });
    };
    let envelope = Envelope::decode(json).map_err(|error| error.to_string())?;
    if envelope.seq != seq {
        return Err(format!("it is missing: event {} comes in its place", envelope.seq));
    }
    let event = StoredEvent::new(&envelope, salt).map_err(|error| error.to_string())?;
    // Its own text, whatever this kDaemon would write.
    Ok(StoredEvent { body: Body::Kept { json: json.to_owned(), salt }, ..event })
}

/// The lines of a file, each with its number.
struct Lines<'a> {
    input: &'a mut (dyn BufRead + Send),
    number: u64,
    text: String,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<&str>, ArchiveError> {
        self.text.clear();
        self.number += 1;
        let read = (&mut *self.input).take(LINE_LIMIT).read_line(&mut self.text)?;
        if read as u64 == LINE_LIMIT {
            return Err(self.unfit("it is longer than any commit"));
        }
        Ok((read > 0).then_some(self.text.as_str()))
    }

    fn unfit(&self, what: &str) -> ArchiveError {
        ArchiveError::Line { line: self.number, what: what.to_owned() }
    }
}
