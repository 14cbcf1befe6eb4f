//! The pulls that are under way, and how far they are.

use crate::engine::{Identity, Pulling};
use bollard::models::CreateImageInfo;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The pulls under way, by the launch that waits for each.
#[derive(Debug, Default)]
pub(super) struct Pulls(Mutex<BTreeMap<Identity, Pulling>>);

impl Pulls {
    pub(super) fn of(&self, identity: Identity) -> Option<Pulling> {
        self.all().get(&identity).cloned()
    }

    /// Notes a pull, until what is returned is dropped.
    pub(super) fn begin(&self, identity: Identity, image: &str) -> Pull<'_> {
        self.all().insert(identity, Pulling { image: image.to_owned(), bytes: 0, of: 0 });
        Pull { pulls: self, identity, layers: HashMap::new() }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Identity, Pulling>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One pull.
pub(super) struct Pull<'a> {
    pulls: &'a Pulls,
    identity: Identity,
    /// The bytes of each layer: those that have come, and all.
    layers: HashMap<String, (u64, u64)>,
}

impl Pull<'_> {
    /// Takes in what the engine tells of a layer.
    pub(super) fn heard(&mut self, info: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&info.id, info.status.as_deref()) else { return };
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        match (status, &info.progress_detail) {
            ("Downloading", Some(detail)) if count(detail.total) > 0 => {
                let of = count(detail.total);
                self.layers.insert(id.clone(), (count(detail.current).min(of), of));
            }
            // What is unpacked has come.
            ("Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete", _) => {
                if let Some((bytes, of)) = self.layers.get_mut(id) {
                    *bytes = *of;
                }
            }
            _ => return,
        }
        if let Some(pulling) = self.pulls.all().get_mut(&self.identity) {
            pulling.bytes = self.layers.values().map(|(bytes, _)| bytes).sum();
            pulling.of = self.layers.values().map(|(_, of)| of).sum();
        }
    }
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        self.pulls.all().remove(&self.identity);
    }
}
