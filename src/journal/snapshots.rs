//! Snapshots: states kept in the store, so that neither a start nor a read of the past folds the log from its
//! beginning.
//!
//! Snapshots are derived from the log. One is used only if its bytes are intact and the log still holds the
//! event after which it was taken; otherwise it is dropped with a warning, and the log is folded.

use super::off_thread;
use crate::store::{EventLog, FoldStore, Snapshot, StoreError};
use kdaemon_events::{Digest, Seq};
use kdaemon_projections::Cluster;
use std::sync::Arc;

/// The version of the layout around the state's bytes.
const LAYOUT: u32 = 2;
/// The mark of this program's snapshots.
const VERSION: u32 = LAYOUT << 16 | Cluster::SNAPSHOT_VERSION;
/// The least number of events between two snapshots.
pub const SNAPSHOT_INTERVAL: u64 = 10_000;
/// Bytes of snapshots per event, of which one has about 400: large states are kept less often.
const BYTES_PER_EVENT: u64 = 20;
/// The most snapshots kept. Beyond that, the one whose absence leaves the smallest gap for its age is
/// dropped.
const KEPT: usize = 1_000;
/// The length of a digest, in bytes.
const DIGEST: usize = 32;

/// Takes snapshots of a growing log, at intervals that keep them cheap.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    interval: u64,
    last: Seq,
    /// Events until the next snapshot is due.
    wait: u64,
}

impl Keeper {
    /// Continues after the last snapshot before `from`.
    pub(crate) async fn new(store: &dyn FoldStore, from: Seq, interval: u64) -> Result<Self, StoreError> {
        let mut keeper = Self { interval, last: Seq(0), wait: interval };
        if let Some(last) = store.snapshot_before(from).await? {
            keeper.kept(last.seq, last.bytes.len());
        }
        Ok(keeper)
    }

    fn kept(&mut self, seq: Seq, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        (self.last, self.wait) = (seq, self.interval.max(bytes / BYTES_PER_EVENT));
    }

    /// The first event after which a snapshot is due.
    pub(crate) fn due(&self) -> Seq {
        Seq(self.last.0.saturating_add(self.wait))
    }

    /// Takes a snapshot if one is due.
    pub(crate) async fn look(&mut self, store: &dyn FoldStore, cluster: &Arc<Cluster>) {
        if cluster.seq() < self.due() {
            return;
        }
        match take_snapshot(store, cluster).await {
            Ok(bytes) => self.kept(cluster.seq(), bytes),
            Err(error) => {
                tracing::warn!(seq = cluster.seq().0, %error, "cannot take a snapshot");
                self.kept(cluster.seq(), 0); // do not retry with every commit
            }
        }
    }
}

/// Stores a snapshot. Returns its size in bytes.
///
/// # Errors
/// When the store fails.
pub async fn take_snapshot(store: &dyn FoldStore, cluster: &Arc<Cluster>) -> Result<usize, StoreError> {
    let Some(event) = event_digest(store, cluster.seq()).await? else { return Ok(0) };
    let state = Arc::clone(cluster);
    let snapshot = off_thread(move || pack(&state, event)).await?;
    let bytes = snapshot.bytes.len();
    store.write_snapshot(snapshot).await?;
    let kept = store.snapshots().await?;
    if let Some(superfluous) = superfluous(&kept) {
        store.drop_snapshot(superfluous).await?;
    }
    Ok(bytes)
}

/// The snapshot to drop when there are too many: the one whose absence leaves the smallest gap for its age,
/// so that the recent past is reached fastest.
fn superfluous(kept: &[Seq]) -> Option<Seq> {
    let head = kept.last().filter(|_| kept.len() > KEPT)?.0;
    let before = std::iter::once(Seq(0)).chain(kept.iter().copied());
    let gap_for_age = |(before, at, after): &(Seq, Seq, Seq)| {
        u128::from(after.0 - before.0) * 1_000_000 / u128::from((head - at.0).max(1))
    };
    let all = before.zip(kept).zip(kept.iter().skip(1)).map(|((before, at), after)| (before, *at, *after));
    all.min_by_key(gap_for_age).map(|(_, at, _)| at)
}

/// The latest usable snapshot at or before an event.
pub(crate) async fn latest(store: &dyn FoldStore, until: Seq) -> Result<Option<Cluster>, StoreError> {
    let mut until = until;
    while let Some(snapshot) = store.snapshot_before(until).await? {
        let seq = snapshot.seq;
        let unpacked = off_thread(move || Ok(unpack(&snapshot))).await?;
        let good = match unpacked {
            Ok((cluster, event)) => match event_digest(store, seq).await? {
                // An observation that was pruned meanwhile can neither confirm nor refute it.
                Some(actual) if actual != event => Err("it is of another log".to_owned()),
                _ => Ok(cluster),
            },
            Err(why) => Err(why),
        };
        match good {
            Ok(cluster) => return Ok(Some(cluster)),
            Err(why) => {
                tracing::warn!(%seq, %why, "snapshot is not usable; folding the log instead");
                if let Err(error) = store.drop_snapshot(seq).await {
                    tracing::warn!(%seq, %error, "cannot drop the snapshot");
                }
                until = Seq(seq.0.saturating_sub(1));
            }
        }
    }
    Ok(None)
}

/// The digest of an event in the log.
async fn event_digest(store: &dyn EventLog, seq: Seq) -> Result<Option<Digest>, StoreError> {
    let Some(before) = seq.0.checked_sub(1) else { return Ok(None) };
    let found = store.read(Seq(before), 1).await?;
    Ok(found.first().filter(|text| text.seq == seq).map(|text| Digest::of(text.json.as_bytes())))
}

/// Encodes a snapshot: the digest of everything that follows, the digest of the last event, and the
/// compressed state.
fn pack(cluster: &Cluster, event: Digest) -> Result<Snapshot, StoreError> {
    let state = cluster.to_bytes().map_err(|error| StoreError::Damaged(error.to_string()))?;
    let mut bytes = vec![0; DIGEST];
    bytes.extend(event.0);
    bytes.extend(lz4_flex::block::compress_prepend_size(&state));
    let digest = digest(cluster.seq(), &bytes[DIGEST..]);
    bytes[..DIGEST].copy_from_slice(&digest.0);
    Ok(Snapshot { seq: cluster.seq(), version: VERSION, bytes })
}

/// Decodes a snapshot into the state and the digest of its last event.
fn unpack(snapshot: &Snapshot) -> Result<(Cluster, Digest), String> {
    if snapshot.version != VERSION {
        let version = snapshot.version;
        return Err(format!("its version is {version:#x}, and this kDaemon reads {VERSION:#x}"));
    }
    let damaged = || "its bytes are damaged".to_owned();
    let (seal, sealed) = snapshot.bytes.split_first_chunk::<DIGEST>().ok_or_else(damaged)?;
    if digest(snapshot.seq, sealed) != Digest(*seal) {
        return Err(damaged());
    }
    let (event, state) = sealed.split_first_chunk::<DIGEST>().ok_or_else(damaged)?;
    let state = lz4_flex::block::decompress_size_prepended(state).map_err(|error| error.to_string())?;
    let cluster = Cluster::from_bytes(&state).map_err(|error| error.to_string())?;
    match cluster.seq() == snapshot.seq {
        true => Ok((cluster, Digest(*event))),
        false => Err(damaged()),
    }
}

fn digest(seq: Seq, sealed: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seq.0.to_le_bytes()).update(&VERSION.to_le_bytes()).update(sealed);
    Digest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn snapshots_thin_out_with_age() {
        let mut kept: Vec<Seq> = Vec::new();
        for number in 1..=5_000 {
            kept.push(Seq(number * 20_000));
            if let Some(superfluous) = superfluous(&kept) {
                kept.retain(|seq| *seq != superfluous);
            }
        }
        assert_eq!(kept.len(), KEPT);
        assert_eq!(*kept.last().unwrap(), Seq(5_000 * 20_000), "never the newest");
        let gaps: Vec<u64> = kept.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        let (first, last) = (&gaps[..100], &gaps[gaps.len() - 100..]);
        assert!(last.iter().all(|gap| *gap == 20_000), "{last:?}");
        assert!(first.iter().sum::<u64>() > 3 * last.iter().sum::<u64>(), "{first:?}");
        assert!(gaps.iter().max().unwrap() < &(5_000 * 20_000 / 100), "no great gap");
    }

    #[test]
    fn bytes_that_were_changed_anywhere_are_not_taken_for_a_state() {
        let snapshot = pack(&Cluster::default(), Digest([7; 32])).unwrap();
        assert_eq!(unpack(&snapshot).unwrap(), (Cluster::default(), Digest([7; 32])));
        for at in 0..snapshot.bytes.len() {
            let mut changed = snapshot.clone();
            changed.bytes[at] ^= 1;
            assert!(unpack(&changed).is_err(), "byte {at}");
            changed.bytes.truncate(at);
            assert!(unpack(&changed).is_err(), "cut to {at}");
        }
        assert!(unpack(&Snapshot { seq: Seq(1), ..snapshot.clone() }).is_err());
        assert!(unpack(&Snapshot { version: VERSION + 1, ..snapshot }).unwrap_err().contains("version"));
    }
}
