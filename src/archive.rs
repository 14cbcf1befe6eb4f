//! Export of a log to a file, and import into another store.
//!
//! The file has JSON lines. The first is a header; each other line is one commit: its id, the root of the tree after
//! it, the exact text and the salt of its events (or the header and content hash of pruned ones), and its idempotency
//! records. An import hashes the tree event by event and appends the commits unchanged: afterwards both stores hold the
//! same log, byte for byte.

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

/// The version of the file format.
const FORMAT_VERSION: u32 = 2;
/// The maximum length of a line in bytes. A commit holds about 1 MB, or a single larger event.
const LINE_LIMIT: u64 = 64 << 20;

/// A failed export or import.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read or written.
    #[error("cannot read or write the file: {0}")]
    File(#[from] io::Error),
    /// The file to be written already exists.
    #[error("{0} already exists; name another file or remove it")]
    Exists(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store failed in the middle of an import.
    #[error("{error}; {done} of {commits} commits are imported: run the same import again to continue")]
    Interrupted {
        /// The failure of the store.
        error: StoreError,
        /// The number of commits that the store has now.
        done: u64,
        /// The number of commits in the file.
        commits: u64,
    },
    /// A line is invalid.
    #[error("line {line} of the file: {what}")]
    Line {
        /// The line's number, counted from 1.
        line: u64,
        /// The problem.
        what: String,
    },
    /// The store already holds another log.
    #[error("the store already holds another log ({events} events); import into an empty store")]
    NotEmpty {
        /// The number of events in the store.
        events: Seq,
    },
}

/// The first line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the file format. The field's name identifies the file.
    pub kdaemon_log: u32,
    /// The number of commits that follow.
    pub commits: u64,
    /// The number of events in these commits.
    pub events: Seq,
    /// The root of the tree over these events.
    pub root: Digest,
}

/// A commit's line in the file.
#[derive(Serialize, Deserialize)]
struct CommitLine<'a> {
    commit: u64,
    id: CommitId,
    root: Digest,
    /// One salt per event; `null` for a pruned one.
    salts: Vec<Option<Salt>>,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    idempotency: Vec<IdempotencyRecord>,
}

/// Writes the current log of a store, with the idempotency records since `idempotency_since`. `progress` receives the
/// header and the last written event after each page.
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

/// A running export.
pub struct Export {
    head: Head,
    header: Header,
    idempotency: BTreeMap<Seq, Vec<IdempotencyRecord>>,
    /// The position after which the next lines are read; `None` before the first line.
    position: Option<RawPosition>,
    /// The number of exported commits.
    commits: u64,
}

impl Export {
    /// Begins an export of the current log.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(store: &dyn Store, idempotency_since: DateTime<Utc>) -> Result<Self, StoreError> {
        let head = store.head().await?;
        let header =
            Header { kdaemon_log: FORMAT_VERSION, commits: head.commits, events: head.seq, root: head.root };
        let mut idempotency = BTreeMap::<Seq, Vec<IdempotencyRecord>>::new();
        for record in store.idempotency_records(idempotency_since, Seq(0)).await? {
            idempotency.entry(record.seq).or_default().push(record);
        }
        Ok(Self { head, header, idempotency, position: None, commits: 0 })
    }

    /// The last head that is exported.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    fn done(&self) -> Seq {
        self.position.map_or(Seq(0), |position| Seq(u64::try_from(position.seq).unwrap_or(0)))
    }

    /// The next complete lines, read from the store that the export began with; `None` at the end.
    ///
    /// # Errors
    /// When the store cannot be read or its log is damaged.
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
        let CommitParts { id, root, salts, texts } = parts_of(commit, number)?;
        let raw = texts.iter().map(|text| serde_json::from_str(text)).collect();
        let not_json = |error| StoreError::Damaged(format!("an event of commit {number}: {error}"));
        let events: Vec<&RawValue> = Result::map_err(raw, not_json)?;
        let (first, last) = (Seq(commit.first_seq.unsigned_abs()), Seq(commit.last_seq.unsigned_abs()));
        let mut idempotency: Vec<_> =
            self.idempotency.range(first..=last).flat_map(|(_, records)| records.clone()).collect();
        idempotency.sort_by(|a, b| a.seq.cmp(&b.seq).then_with(|| a.key.cmp(&b.key)));
        self.commits = number;
        self.position = Some(RawPosition { number: commit.number, seq: commit.last_seq });
        Ok(line(&CommitLine { commit: number, id, root, salts, events, idempotency }))
    }
}

fn line(line: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default(); // text keys: cannot fail
    text.push(b'\n');
    text
}

/// A pruned event in a line: its header and content hash.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pruned {
    pruned: PrunedFields,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrunedFields {
    kind: String,
    /// In microseconds since 1970.
    at: i64,
    actor: String,
    content: Digest,
}

/// The parts of a commit that go into its line.
struct CommitParts {
    id: CommitId,
    root: Digest,
    salts: Vec<Option<Salt>>,
    texts: Vec<String>,
}

/// Extracts the parts of a commit, and checks that its events match its range.
fn parts_of(commit: &RawCommit, number: u64) -> Result<CommitParts, StoreError> {
    let damaged =
        |what: &str| StoreError::Damaged(format!("commit {number} {what}; run `kdaemon verify` for details"));
    if u64::try_from(commit.number) != Ok(number) {
        return Err(damaged("is missing"));
    }
    let seqs = commit.first_seq..=commit.last_seq;
    if commit.unreadable.is_some() || !commit.events.iter().map(|event| event.seq).eq(seqs) {
        return Err(damaged("is damaged"));
    }
    let id = commit.id.parse().map(CommitId).map_err(|_| damaged("has an invalid id"))?;
    let root = commit.root.parse().map_err(|_| damaged("has an invalid root"))?;
    let mut parts = CommitParts { id, root, salts: Vec::new(), texts: Vec::new() };
    for event in &commit.events {
        match (&event.body, &event.columns) {
            (Body::Kept { json, salt }, _) => {
                parts.salts.push(Some(*salt));
                parts.texts.push(json.clone());
            }
            (Body::Pruned { content }, Some(RawColumns { kind, at, actor })) => {
                let (kind, actor) = (kind.clone(), actor.clone());
                let pruned = Pruned { pruned: PrunedFields { kind, at: *at, actor, content: *content } };
                let text = serde_json::to_string(&pruned).map_err(|error| damaged(&error.to_string()))?;
                parts.salts.push(None);
                parts.texts.push(text);
            }
            (Body::Pruned { .. }, None) => return Err(damaged("has a pruned event without a header")),
        }
    }
    Ok(parts)
}

/// Imports a log into an empty store, or resumes an interrupted import of the same log. With an expectation, the log
/// must have that root at that event; otherwise nothing from the commit of that event on is imported.
///
/// # Errors
/// At the first invalid line; the lines before it are imported. When the store holds another log.
pub async fn import(
    store: &dyn Store,
    input: &mut (dyn BufRead + Send),
    expectation: Option<Expectation>,
    progress: &mut (dyn FnMut(&Header, Seq) + Send),
) -> Result<Head, ArchiveError> {
    let there = store.head().await?;
    let mut lines = LineReader { input, number: 0, text: String::new() };
    let header: Header = match lines.next()? {
        Some(text) => serde_json::from_str(text).ok(),
        None => None,
    }
    .ok_or_else(|| lines.unfit("the file is not a log written by `kdaemon export`"))?;
    if header.kdaemon_log != FORMAT_VERSION {
        let what = format!(
            "the file has format version {}, this kDaemon reads version {FORMAT_VERSION}: use a newer kDaemon",
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
            let what = format!(
                "the file ends after {} of {} commits: it was truncated",
                head.commits, header.commits
            );
            return Err(lines.unfit(&what));
        };
        let (commit, raw) = read_commit(text, &head).map_err(|what| lines.unfit(&what))?;
        verifier.check(&raw).map_err(|bad| lines.unfit(&format!("commit {}: {}", bad.commit, bad.detail)))?;
        if let Some(contradiction) = verifier.contradiction() {
            return Err(lines.unfit(contradiction));
        }
        let after = verifier.head();
        if after.commits == header.commits && after.root != header.root {
            return Err(
                lines.unfit("the root of the log differs from the first line: one of them was altered")
            );
        }
        if after.commits > there.commits {
            // The store's log is a prefix of the file: the store's last commit was in the file.
            let appended = store.append(&head, commit).await.map_err(|error| match error {
                StoreError::Conflict { .. } => StoreError::InUse(
                    "another process writes to this store; stop its daemons and run the import again"
                        .to_owned(),
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
        Some(_) => Err(lines.unfit("there is more in the file than its first line declares")),
        None => match verifier.verdict(None).trouble() {
            Some(trouble) => Err(lines.unfit(&trouble)),
            None => Ok(head),
        },
    }
}

/// Parses the line of the commit after `head`, and returns the commit both for appending and for verification.
fn read_commit(text: &str, head: &Head) -> Result<(Commit, RawCommit), String> {
    let line: CommitLine<'_> =
        serde_json::from_str(text).map_err(|error| format!("not a commit: {error}"))?;
    let CommitLine { commit: number, id, root, salts, events, idempotency } = line;
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

/// Parses an event of a line.
fn read_event(json: &str, seq: Seq, salt: Option<Salt>) -> Result<StoredEvent, String> {
    let Some(salt) = salt else {
        let Pruned { pruned } = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let PrunedFields { kind, at, actor, content } = pruned;
        let kind = kind.parse().map_err(|error: CodecError| error.to_string())?;
        let at = DateTime::from_timestamp_micros(at).ok_or("its time is out of range")?;
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
        return Err(format!("found event {} in its place", envelope.seq));
    }
    let event = StoredEvent::new(&envelope, salt).map_err(|error| error.to_string())?;
    // Keeps the exact text rather than encoding the event again.
    Ok(StoredEvent { body: Body::Kept { json: json.to_owned(), salt }, ..event })
}

/// Reads the lines of a file and counts them.
struct LineReader<'a> {
    input: &'a mut (dyn BufRead + Send),
    number: u64,
    text: String,
}

impl LineReader<'_> {
    fn next(&mut self) -> Result<Option<&str>, ArchiveError> {
        self.text.clear();
        self.number += 1;
        let read = (&mut *self.input).take(LINE_LIMIT).read_line(&mut self.text)?;
        if read as u64 == LINE_LIMIT {
            return Err(self.unfit("the line is longer than any commit"));
        }
        Ok((read > 0).then_some(self.text.as_str()))
    }

    fn unfit(&self, what: &str) -> ArchiveError {
        ArchiveError::Line { line: self.number, what: what.to_owned() }
    }
}
