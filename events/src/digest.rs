//! The integrity chain: each commit's digest covers the one before it and the digests of its own events.

use crate::CommitId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A BLAKE3 digest (<https://github.com/BLAKE3-team/BLAKE3-specs>), written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of an event: of the exact bytes of its JSON text in the store.
    #[must_use]
    pub fn of_event(json: &[u8]) -> Self {
        Self(*blake3::hash(json).as_bytes())
    }

    /// The digest of a commit: over the digest of the commit before it (all zero for the first), its events'
    /// digests, so that a pruned event keeps its digest and the chain still verifies, and its identity.
    #[must_use]
    pub fn of_commit(previous: Self, events: impl IntoIterator<Item = Self>, id: CommitId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&previous.0);
        for event in events {
            hasher.update(&event.0);
        }
        hasher.update(id.0.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| format!("`{text}` is not a digest: 64 hexadecimal digits are expected"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
