//! Progress of the pulls in flight.

use crate::engine::{Identity, Pulling};
use bollard::models::CreateImageInfo;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The pulls in flight, by the launch that waits for each.
#[derive(Debug, Default)]
pub(super) struct Pulls(Mutex<BTreeMap<Identity, Pulling>>);

impl Pulls {
    pub(super) fn of(&self, identity: Identity) -> Option<Pulling> {
        self.all().get(&identity).cloned()
    }

    /// Registers a pull until the returned guard is dropped.
    pub(super) fn begin(&self, identity: Identity, image: &str) -> PullGuard<'_> {
        self.all().insert(identity, Pulling { image: image.to_owned(), ..Pulling::default() });
        PullGuard { pulls: self, identity, layers: HashMap::new() }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Identity, Pulling>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One pull.
pub(super) struct PullGuard<'a> {
    pulls: &'a Pulls,
    identity: Identity,
    /// Received and total bytes of each layer, once the engine has reported them.
    layers: HashMap<String, Option<(u64, u64)>>,
}

impl PullGuard<'_> {
    /// Records a progress message.
    pub(super) fn heard(&mut self, info: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&info.id, info.status.as_deref()) else { return };
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        match (status, &info.progress_detail) {
            ("Pulling fs layer" | "Waiting", _) => drop(self.layers.entry(id.clone()).or_default()),
            ("Downloading", Some(detail)) if count(detail.total) > 0 => {
                let of = count(detail.total);
                self.layers.insert(id.clone(), Some((count(detail.current).min(of), of)));
            }
            // A layer that is being unpacked has been received. One that arrives without a reported size is
            // small.
            ("Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete", _) => {
                let Some(layer) = self.layers.get_mut(id) else { return };
                let (_, of) = layer.unwrap_or_default();
                *layer = Some((of, of));
            }
            _ => return,
        }
        if let Some(pulling) = self.pulls.all().get_mut(&self.identity) {
            let known = || self.layers.values().flatten();
            let number = |layers: usize| u32::try_from(layers).unwrap_or(u32::MAX);
            pulling.bytes = known().map(|(bytes, _)| bytes).sum();
            pulling.of = known().map(|(_, of)| of).sum();
            pulling.layers = number(known().count());
            pulling.unknown_layers = number(self.layers.len()) - pulling.layers;
        }
    }
}

impl Drop for PullGuard<'_> {
    fn drop(&mut self) {
        self.pulls.all().remove(&self.identity);
    }
}
