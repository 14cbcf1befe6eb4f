//! The leaf of an event in the log's Merkle tree: what is proved about it, and what still is after it was pruned.
//!
//! `content = SHA-256(salt ‖ body)` and `leaf = SHA-256(0x00 ‖ header ‖ content)`: a leaf of RFC 6962, section 2.1,
//! whose entry is `header ‖ content`. Pruning removes salt and body and keeps header and content hash, so the leaf
//! can still be computed, and it still says what kind of event was there. The salt keeps anyone from guessing a pruned
//! body of which little is unknown.

use crate::digest::{read_hex, write_hex};
use crate::{CommitId, Digest, Kind, Seq};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// 16 secret bytes that are hashed before an event's body; written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Salt(pub [u8; 16]);

impl Salt {
    /// The salt of an event: derived from the random seed of the decision that made it, as its identity is, so that
    /// decisions stay pure. The seed itself is never stored.
    #[must_use]
    pub fn derive(seed: Uuid, seq: Seq) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("kDaemon 2026 salt of an event");
        hasher.update(seed.as_bytes()).update(&seq.0.to_be_bytes());
        let mut salt = [0; 16];
        hasher.finalize_xof().fill(&mut salt);
        Self(salt)
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salt({self})")
    }
}

impl FromStr for Salt {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        read_hex(text)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a salt: expected 32 hexadecimal digits"))
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The header of an event's leaf: proved in addition to the content, and kept when the event is pruned.
///
/// The commit is part of it so that the tree also proves which events were committed together: a commit is a run of
/// leaves with one commit id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafHeader<'a> {
    /// The event's place in the log.
    pub seq: Seq,
    /// The commit that it is part of.
    pub commit: CommitId,
    /// When it was recorded, in microseconds since 1970.
    pub at: i64,
    /// The name of its kind.
    pub kind: &'a str,
    /// The actor, as written by [`crate::Actor::label`].
    pub actor: &'a str,
}

impl LeafHeader<'_> {
    /// Whether the event may be pruned: a property of its kind. A kind that this program does not know is a fact.
    #[must_use]
    pub fn is_prunable(&self) -> bool {
        self.kind.parse().is_ok_and(Kind::is_observation)
    }

    /// The header's bytes: numbers big-endian and of fixed width, each text after its length in bytes. No two headers
    /// have the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(41 + self.kind.len() + self.actor.len());
        bytes.extend(self.seq.0.to_be_bytes());
        bytes.extend(self.commit.0.as_bytes());
        bytes.extend(self.at.to_be_bytes());
        bytes.push(u8::from(self.is_prunable()));
        for text in [self.kind, self.actor] {
            // A text of 4 GiB is refused long before it gets here.
            bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    /// The hash of the event's leaf.
    #[must_use]
    pub fn leaf(&self, content: Digest) -> Digest {
        Digest::of_parts(&[&[0], &self.to_bytes(), &content.0])
    }
}

/// The content hash of an event with this JSON text.
#[must_use]
pub fn content_digest(salt: Salt, json: &str) -> Digest {
    Digest::of_parts(&[&salt.0, json.as_bytes()])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    fn header<'a>(kind: &'a str, actor: &'a str) -> LeafHeader<'a> {
        LeafHeader { seq: Seq(1), commit: CommitId(Uuid::from_u128(2)), at: 3, kind, actor }
    }

    #[test]
    fn a_header_has_the_bytes_that_the_documentation_gives() {
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 1];
        expected.extend(2_u128.to_be_bytes());
        expected.extend([0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 12]);
        expected.extend(b"NodeObserved");
        expected.extend([0, 0, 0, 3]);
        expected.extend(b"a/b");
        assert_eq!(header("NodeObserved", "a/b").to_bytes(), expected);
    }

    #[test]
    fn headers_that_differ_in_any_field_have_other_bytes() {
        let one = header("NodeCordoned", "token/a");
        let all = [
            one,
            LeafHeader { seq: Seq(2), ..one },
            LeafHeader { commit: CommitId(Uuid::from_u128(3)), ..one },
            LeafHeader { at: 4, ..one },
            LeafHeader { kind: "NodeCordone", actor: "dtoken/a", ..one },
            LeafHeader { kind: "NodeCordonedtoken", actor: "/a", ..one },
            LeafHeader { kind: "NodeObserved", ..one },
            LeafHeader { actor: "token/b", ..one },
            LeafHeader { actor: "", ..one },
        ];
        let bytes: BTreeSet<_> = all.iter().map(LeafHeader::to_bytes).collect();
        assert_eq!(bytes.len(), all.len());
    }

    #[test]
    fn only_observations_are_prunable() {
        for kind in Kind::ALL {
            assert_eq!(header(kind.as_str(), "").is_prunable(), kind.is_observation(), "{kind}");
        }
        assert!(!header("OfANewerKDaemon", "").is_prunable());
    }

    #[test]
    fn salts_differ_by_seed_and_by_event_and_are_read_back() {
        let seeds = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let salts: BTreeSet<_> = seeds
            .iter()
            .flat_map(|seed| (1..9).map(|seq| Salt::derive(*seed, Seq(seq)).to_string()))
            .collect();
        assert_eq!(salts.len(), 16);
        for text in salts {
            assert_eq!(text.parse::<Salt>().unwrap().to_string(), text);
        }
        assert!("00".parse::<Salt>().is_err());
    }
}
