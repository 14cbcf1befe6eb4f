//! The log as it stands in the file, whatever stands there: for the audit.

use crate::store::{
    RAW_PAGE_BYTES, RAW_PAGE_EVENTS, RawBody, RawColumns, RawCommit, RawEvent, RawPage, RawPosition,
};
use kdaemon_events::Digest;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Rows, Statement, params};

/// No commit has so many events: one that claims it was altered, and is not to fill the memory.
const COMMIT_EVENTS_MOST: usize = 10_000;

/// The whole commits behind a position, as many as make a page.
pub(super) fn raw_commits(connection: &Connection, after: RawPosition) -> Result<RawPage, rusqlite::Error> {
    let transaction = connection.unchecked_transaction()?; // all of a page is of one moment
    let mut commits = transaction.prepare_cached(
        "SELECT number, id, first_seq, last_seq, digest FROM commits WHERE number > ?1 ORDER BY number",
    )?;
    let mut is_pruned = transaction.prepare_cached("SELECT EXISTS (SELECT 1 FROM pruned WHERE seq > ?1)")?;
    let mut events =
        transaction.prepare_cached(match is_pruned.query_row([after.seq], |row| row.get(0))? {
            true => {
                "SELECT seq, json, kind, at, actor FROM events WHERE seq > ?1
             UNION ALL SELECT seq, digest, NULL, NULL, NULL FROM pruned WHERE seq > ?1 ORDER BY seq"
            }
            false => "SELECT seq, json, kind, at, actor FROM events WHERE seq > ?1 ORDER BY seq",
        })?;
    let mut commits = commits.query([after.number])?;
    let mut events = Behind::new(&mut events, after.seq)?;
    let mut page = RawPage { is_last: true, ..RawPage::default() };
    let (mut count, mut bytes, mut last) = (0, 0, after.seq);
    while let Some(row) = commits.next()? {
        if count >= RAW_PAGE_EVENTS || bytes >= RAW_PAGE_BYTES {
            page.is_last = false;
            break;
        }
        let mut commit = raw_commit(row)?;
        events.up_to(&mut commit)?;
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
    }
    Ok(page)
}

fn raw_commit(row: &Row<'_>) -> Result<RawCommit, rusqlite::Error> {
    let (id, first, last, digest) =
        (text(row, 1)?, whole_number(row, 2)?, whole_number(row, 3)?, text(row, 4)?);
    let unreadable = id.is_none() || first.is_none() || last.is_none() || digest.is_none();
    Ok(RawCommit {
        number: row.get(0)?,
        id: id.unwrap_or_default(),
        first_seq: first.unwrap_or_default(),
        last_seq: last.unwrap_or_default(),
        digest: digest.unwrap_or_default(),
        events: Vec::new(),
        unreadable: unreadable.then(|| "its row has values of other types than kDaemon writes".to_owned()),
    })
}

/// The events behind a position, handed out commit by commit.
struct Behind<'s> {
    rows: Rows<'s>,
    /// The next one: of the next commit.
    next: Option<(RawEvent, bool)>,
}

impl<'s> Behind<'s> {
    fn new(statement: &'s mut Statement<'_>, after: i64) -> Result<Self, rusqlite::Error> {
        let mut behind = Self { rows: statement.query([after])?, next: None };
        behind.step()?;
        Ok(behind)
    }

    fn step(&mut self) -> Result<(), rusqlite::Error> {
        self.next = match self.rows.next()? {
            Some(row) => Some(raw_event(row)?),
            None => None,
        };
        Ok(())
    }

    /// Gives a commit the events up to its last one.
    fn up_to(&mut self, commit: &mut RawCommit) -> Result<(), rusqlite::Error> {
        while let Some((event, readable)) = self.next.take_if(|(event, _)| event.seq <= commit.last_seq) {
            if !readable {
                let what = || format!("event {} has values of other types than kDaemon writes", event.seq);
                commit.unreadable.get_or_insert_with(what);
            }
            commit.events.push(event);
            if commit.events.len() >= COMMIT_EVENTS_MOST {
                commit.unreadable = Some(format!("it claims events up to {}, far too many", commit.last_seq));
                return Ok(());
            }
            self.step()?;
        }
        Ok(())
    }
}

/// An event, and whether all of it could be read.
fn raw_event(row: &Row<'_>) -> Result<(RawEvent, bool), rusqlite::Error> {
    if let (ValueRef::Blob(digest), ValueRef::Null, ValueRef::Null, ValueRef::Null) =
        (row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?, row.get_ref(4)?)
    {
        let digest = digest.try_into().map(Digest);
        let is_one = digest.is_ok();
        let body = RawBody::Pruned(digest.unwrap_or_default());
        return Ok((RawEvent { seq: row.get(0)?, body, columns: None }, is_one));
    }
    let (json, kind, at, actor) = (text(row, 1)?, text(row, 2)?, whole_number(row, 3)?, text(row, 4)?);
    let readable = json.is_some() && kind.is_some() && at.is_some() && actor.is_some();
    let columns = RawColumns {
        kind: kind.unwrap_or_default(),
        at: at.unwrap_or_default(),
        actor: actor.unwrap_or_default(),
    };
    let event =
        RawEvent { seq: row.get(0)?, body: RawBody::Text(json.unwrap_or_default()), columns: Some(columns) };
    Ok((event, readable))
}

/// The text of a column; `None` when it is no text in UTF-8.
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
