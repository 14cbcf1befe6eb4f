//! Snapshots of the state.
//!
//! A snapshot is larger than a document should be: its bytes are split into pieces in the table `snapshots`. Its head
//! in `meta` is written last and removed first, so that a snapshot is either complete or absent.

use super::tables::META;
use super::{RethinkdbStore, write};
use crate::store::{Snapshot, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdaemon_events::Seq;
use reql::cmd::{Conflict, insert};
use reql::r;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The table of the pieces.
pub(super) const SNAPSHOTS: &str = "snapshots";
/// The size of a piece in bytes.
const PIECE: usize = 1_500_000;

#[derive(Serialize, Deserialize)]
struct SnapshotHead {
    id: String,
    snapshot: Seq,
    version: u32,
    pieces: usize,
}

#[derive(Deserialize)]
struct Piece {
    data: String,
}

fn head_id(seq: Seq) -> String {
    format!("snapshot {seq}")
}

fn piece_id(seq: Seq, piece: usize) -> Value {
    json!([seq, piece])
}

impl RethinkdbStore {
    /// Stores a snapshot, replacing the one of the same event.
    ///
    /// # Errors
    /// When the snapshot cannot be written completely.
    pub async fn write_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let Snapshot { seq, version, bytes } = snapshot;
        self.drop_snapshot(seq).await?;
        let replace = || insert::Options::new().conflict(Conflict::Replace);
        let mut pieces = 0;
        for piece in bytes.chunks(PIECE) {
            let document = json!({ "id": piece_id(seq, pieces), "data": STANDARD.encode(piece) });
            write(&self.pool, r.table(SNAPSHOTS).insert(r.args((r.expr(document), replace())))).await?;
            pieces += 1;
        }
        let head = SnapshotHead { id: head_id(seq), snapshot: seq, version, pieces };
        write(&self.pool, r.table(META).insert(r.args((r.expr(head), replace())))).await.map(drop)
    }

    /// The latest snapshot at or before `seq`.
    ///
    /// # Errors
    /// When the snapshot cannot be read.
    pub async fn snapshot_before(&self, seq: Seq) -> Result<Option<Snapshot>, StoreError> {
        let heads = self.snapshot_heads().await?;
        let Some(head) = heads.into_iter().rev().find(|head| head.snapshot <= seq) else { return Ok(None) };
        let mut bytes = Vec::new();
        for piece in 0..head.pieces {
            let query = r.table(SNAPSHOTS).get(piece_id(head.snapshot, piece));
            let found: Vec<Option<Piece>> = self.read_rows(query).await?;
            // Another daemon is dropping the snapshot: treat it as absent.
            let Some(found) = found.into_iter().flatten().next() else { return Ok(None) };
            let decoded = STANDARD.decode(found.data).map_err(|error| {
                StoreError::Damaged(format!(
                    "the snapshot of event {} cannot be read: {error}",
                    head.snapshot
                ))
            })?;
            bytes.extend(decoded);
        }
        Ok(Some(Snapshot { seq: head.snapshot, version: head.version, bytes }))
    }

    /// The events that have snapshots, in order.
    ///
    /// # Errors
    /// When the snapshots cannot be read.
    pub async fn snapshots(&self) -> Result<Vec<Seq>, StoreError> {
        Ok(self.snapshot_heads().await?.into_iter().map(|head| head.snapshot).collect())
    }

    /// Removes the snapshot of an event, if there is one.
    ///
    /// # Errors
    /// When the snapshot cannot be removed.
    pub async fn drop_snapshot(&self, seq: Seq) -> Result<(), StoreError> {
        write(&self.pool, r.table(META).get(head_id(seq)).delete(())).await?;
        let (first, last) = (piece_id(seq, 0), piece_id(seq, usize::MAX >> 11));
        write(&self.pool, r.table(SNAPSHOTS).between(r.args((first, last))).delete(())).await.map(drop)
    }

    async fn snapshot_heads(&self) -> Result<Vec<SnapshotHead>, StoreError> {
        let query = r.table(META).has_fields("snapshot");
        let mut heads: Vec<SnapshotHead> = self.read_rows(query).await?;
        heads.sort_by_key(|head| head.snapshot);
        Ok(heads)
    }
}
