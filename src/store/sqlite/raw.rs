//! Unvalidated records of the log, for verification, proofs and backups.

use crate::store::{
    Body, RAW_PAGE_BYTES, RAW_PAGE_EVENTS, RawColumns, RawCommit, RawEvent, RawNode, RawPage, RawPosition,
};
use kdaemon_events::{Digest, NODE_LEVEL, Salt};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Rows, Statement, params};

/// The maximum number of events that are read for a commit. A commit that claims more was altered; the limit bounds
/// memory.
const COMMIT_EVENTS_LIMIT: usize = 10_000;

/// The page of raw commits after a position.
pub(super) fn raw_commits(connection: &Connection, after: RawPosition) -> Result<RawPage, rusqlite::Error> {
    raw_page(&*connection.unchecked_transaction()?, after) // reads the page in one transaction
}

/// Reads a page like [`raw_commits`] in an existing transaction.
pub(super) fn raw_page(transaction: &Connection, after: RawPosition) -> Result<RawPage, rusqlite::Error> {
    let mut commits = transaction.prepare_cached(
        "SELECT number, id, first_seq, last_seq, root FROM commits WHERE number > ?1 ORDER BY number",
    )?;
    let mut is_pruned = transaction.prepare_cached("SELECT EXISTS (SELECT 1 FROM pruned WHERE seq > ?1)")?;
    let mut events =
        transaction.prepare_cached(match is_pruned.query_row([after.seq], |row| row.get(0))? {
            true => {
                "SELECT seq, kind, at, actor, salt, json FROM events WHERE seq > ?1
             UNION ALL SELECT seq, kind, at, actor, content, NULL FROM pruned WHERE seq > ?1 ORDER BY seq"
            }
            false => "SELECT seq, kind, at, actor, salt, json FROM events WHERE seq > ?1 ORDER BY seq",
        })?;
    let mut commits = commits.query([after.number])?;
    let mut events = EventRows::new(&mut events, after.seq)?;
    let mut page = RawPage { is_last: true, ..RawPage::default() };
    let (mut count, mut bytes, mut last) = (0, 0, after.seq);
    while let Some(row) = commits.next()? {
        if count >= RAW_PAGE_EVENTS || bytes >= RAW_PAGE_BYTES {
            page.is_last = false;
            break;
        }
        let mut commit = raw_commit(row)?;
        events.up_to(&mut commit)?;
        commit.nodes = Some(nodes_of(transaction, &commit)?);
        count += commit.events.len();
        bytes += commit.events.iter().map(|event| event.body.size()).sum::<usize>();
        last = last.max(commit.last_seq);
        page.commits.push(commit);
    }
    if page.is_last {
        let mut stray = transaction.prepare_cached(
            "SELECT min(seq) FROM (SELECT min(seq) AS seq FROM events WHERE seq > ?1
             UNION ALL SELECT min(seq) FROM pruned WHERE seq > ?1)",
        )?;
        page.stray = stray.query_row(params![last], |row| row.get(0))?;
        let nodes: i64 = transaction.query_row("SELECT count(*) FROM tree", [], |row| row.get(0))?;
        page.nodes = Some(nodes.unsigned_abs());
    }
    Ok(page)
}

/// The stored subtrees that a commit completes: the subtrees that end within it.
fn nodes_of(connection: &Connection, commit: &RawCommit) -> Result<Vec<RawNode>, rusqlite::Error> {
    let mut nodes = Vec::new();
    // `first_seq` and `last_seq` are unverified: the limit below bounds the rows of a commit that was altered.
    let (before, last) = (commit.first_seq.max(1) - 1, commit.last_seq);
    let mut level = i64::from(NODE_LEVEL);
    let most = i64::try_from(COMMIT_EVENTS_LIMIT).unwrap_or(i64::MAX);
    while level < 63 && before >> level < last >> level {
        let (from, until) = (before >> level, last >> level);
        let mut find = connection.prepare_cached(
            "SELECT level, number, hash FROM tree WHERE level = ?1 AND number >= ?2 AND number < ?3 LIMIT ?4",
        )?;
        let found = find.query_map(params![level, from, until, most], |row| {
            let hash = digest(row.get_ref(2)?);
            Ok(RawNode { level: row.get(0)?, number: row.get(1)?, hash })
        })?;
        nodes.extend(found.collect::<Result<Vec<_>, _>>()?);
        level += 1;
    }
    nodes.sort_by_key(|node| (node.end(), node.level));
    Ok(nodes)
}

/// A value as a digest; `None` when it is not a blob of the right length.
pub(super) fn digest(value: ValueRef<'_>) -> Option<Digest> {
    match value {
        ValueRef::Blob(bytes) => bytes.try_into().ok().map(Digest),
        _ => None,
    }
}

fn raw_commit(row: &Row<'_>) -> Result<RawCommit, rusqlite::Error> {
    let (id, first, last, root) =
        (text(row, 1)?, whole_number(row, 2)?, whole_number(row, 3)?, text(row, 4)?);
    let unreadable = id.is_none() || first.is_none() || last.is_none() || root.is_none();
    Ok(RawCommit {
        number: row.get(0)?,
        id: id.unwrap_or_default(),
        first_seq: first.unwrap_or_default(),
        last_seq: last.unwrap_or_default(),
        root: root.unwrap_or_default(),
        events: Vec::new(),
        nodes: None,
        unreadable: unreadable.then(|| "its row has values of other types than kDaemon writes".to_owned()),
    })
}

/// The events after a position, read commit by commit.
struct EventRows<'s> {
    rows: Rows<'s>,
    /// The next event and whether it is readable; it belongs to the next commit.
    next: Option<(RawEvent, bool)>,
}

impl<'s> EventRows<'s> {
    fn new(statement: &'s mut Statement<'_>, after: i64) -> Result<Self, rusqlite::Error> {
        let mut events = Self { rows: statement.query([after])?, next: None };
        events.step()?;
        Ok(events)
    }

    fn step(&mut self) -> Result<(), rusqlite::Error> {
        self.next = match self.rows.next()? {
            Some(row) => Some(raw_event(row)?),
            None => None,
        };
        Ok(())
    }

    /// Moves the events up to the commit's last one into the commit.
    fn up_to(&mut self, commit: &mut RawCommit) -> Result<(), rusqlite::Error> {
        while let Some((event, readable)) = self.next.take_if(|(event, _)| event.seq <= commit.last_seq) {
            if !readable {
                let what = || format!("event {} has values of other types than kDaemon writes", event.seq);
                commit.unreadable.get_or_insert_with(what);
            }
            commit.events.push(event);
            if commit.events.len() >= COMMIT_EVENTS_LIMIT {
                commit.unreadable =
                    Some(format!("it claims events up to {}, more than a commit can hold", commit.last_seq));
                return Ok(());
            }
            self.step()?;
        }
        Ok(())
    }
}

/// Reads an event, and returns whether all of its values are readable.
fn raw_event(row: &Row<'_>) -> Result<(RawEvent, bool), rusqlite::Error> {
    let (kind, at, actor) = (text(row, 1)?, whole_number(row, 2)?, text(row, 3)?);
    let mut readable = kind.is_some() && at.is_some() && actor.is_some();
    let body = match (row.get_ref(4)?, row.get_ref(5)?) {
        (content, ValueRef::Null) => {
            let content = digest(content);
            readable &= content.is_some();
            Body::Pruned { content: content.unwrap_or_default() }
        }
        (salt, _) => {
            let json = text(row, 5)?;
            let salt = salt.as_blob().ok().and_then(|bytes| bytes.try_into().ok()).map(Salt);
            readable &= json.is_some() && salt.is_some();
            Body::Kept { json: json.unwrap_or_default(), salt: salt.unwrap_or_default() }
        }
    };
    let columns = RawColumns {
        kind: kind.unwrap_or_default(),
        at: at.unwrap_or_default(),
        actor: actor.unwrap_or_default(),
    };
    Ok((RawEvent { seq: row.get(0)?, body, columns: Some(columns) }, readable))
}

/// The text of a column; `None` when the value is not UTF-8 text.
fn text(row: &Row<'_>, column: usize) -> Result<Option<String>, rusqlite::Error> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok().map(ToOwned::to_owned),
        _ => None,
    })
}

fn whole_number(row: &Row<'_>, column: usize) -> Result<Option<i64>, rusqlite::Error> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => Some(number),
        _ => None,
    })
}
