//! Reads of commits by their numbers.

use super::{EVENTS, HeadRow, Numbered, RethinkdbStore, missing};
use crate::store::StoreError;
use reql::{Command, r};
use serde::de::DeserializeOwned;

/// The maximum number of commits that one query reads.
const PAGE_COMMITS: u64 = 2_048;
/// The target size of the result of one query.
const PAGE_BYTES: usize = 4_000_000;

impl RethinkdbStore {
    /// The commits from `from` up to `until` (exclusive), in order. Fails when one is missing.
    pub(super) async fn range<T>(&self, from: u64, until: u64, fields: &[&str]) -> Result<Vec<T>, StoreError>
    where
        T: DeserializeOwned + Numbered + Unpin + Send + 'static,
    {
        let query = r.table(EVENTS).between(r.args((from, until))).pluck(r.expr(fields));
        match self.settled(query, from, Numbered::number).await? {
            (rows, None) => Ok(rows),
            (_, Some(number)) => Err(missing(number)),
        }
    }

    /// Reads commits from a number on, in order, and returns them with the first missing number among them, if any.
    ///
    /// A read is not a snapshot: the shards of a table are read one after the other, so a read may see a commit and
    /// miss the previous one when both were written during the read. As commits are written in order, a second read
    /// finds both.
    pub(super) async fn settled<T>(
        &self,
        query: Command,
        from: u64,
        number: impl Fn(&T) -> u64,
    ) -> Result<(Vec<T>, Option<u64>), StoreError>
    where
        T: DeserializeOwned + Unpin + Send + 'static,
    {
        let mut was_missing = None;
        loop {
            let mut rows: Vec<T> = self.read_rows(query.clone()).await?;
            rows.sort_by_key(&number);
            let missing = rows.iter().zip(from..).find(|(row, place)| number(row) != *place);
            let missing = missing.map(|(_, place)| place);
            if missing <= was_missing {
                return Ok((rows, missing)); // nothing is missing, or a second read has confirmed it
            }
            was_missing = missing;
        }
    }

    pub(super) async fn heads(&self, from: u64, until: u64) -> Result<Vec<HeadRow>, StoreError> {
        self.range(from, until, &["id", "commit_id", "last_seq", "root"]).await
    }

    /// Passes the commits from a number on to `each` until it returns `false` or the log ends.
    pub(super) async fn scan<T>(
        &self,
        mut number: u64,
        fields: &[&str],
        mut each: impl FnMut(T) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError>
    where
        T: DeserializeOwned + Numbered + Unpin + Send + 'static,
    {
        let mut count = 16;
        loop {
            let rows: Vec<T> = self.range(number, number + count, fields).await?;
            let (read, bytes) = (rows.len() as u64, rows.iter().map(Numbered::bytes).sum::<usize>());
            for row in rows {
                if !each(row)? {
                    return Ok(());
                }
            }
            if read < count {
                return Ok(());
            }
            number += read;
            count = if bytes < PAGE_BYTES / 2 { (count * 2).min(PAGE_COMMITS) } else { count };
            count = if bytes > PAGE_BYTES { (count / 2).max(1) } else { count };
        }
    }
}
