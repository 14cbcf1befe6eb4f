//! Terms of the event index, and a checksum that compares an index with its log.

use super::StoredEvent;
use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use kdaemon_events::{Actor, Envelope, Seq, Subject};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use uuid::Uuid;

/// A term of the event index. Each event has a term for its kind, one for its kind and actor, and one for its kind and
/// each of its subjects. `Display` writes the text that the index stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexTerm<'a> {
    /// The events of a kind.
    Kind(&'a str),
    /// The events of a kind by an actor.
    By(&'a str, &'a str),
    /// The events of a kind about a node, application or container.
    Of(&'a str, Uuid),
}

impl fmt::Display for IndexTerm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Avoids the cost of `write!`: every event of a log has several terms.
        match self {
            Self::Kind(kind) => f.write_str(kind),
            Self::By(kind, actor) => [kind, " by ", actor].into_iter().try_for_each(|part| f.write_str(part)),
            Self::Of(kind, subject) => {
                let mut text = Uuid::encode_buffer();
                let subject = &*subject.hyphenated().encode_lower(&mut text);
                [kind, " of ", subject].into_iter().try_for_each(|part| f.write_str(part))
            }
        }
    }
}

/// The indexed attributes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// The event's seq.
    pub seq: Seq,
    /// The name of the event's kind.
    pub kind: &'static str,
    /// The actor's name.
    pub actor: String,
    /// The ids of the nodes, applications and containers that the event is about.
    pub subjects: Vec<Uuid>,
}

impl Indexed {
    /// Extracts the indexed attributes of an event.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        Self {
            seq: envelope.seq,
            kind: envelope.event.kind().as_str(),
            actor: envelope.actor.name().to_owned(),
            subjects: envelope.event.subjects().into_iter().map(Subject::uuid).collect(),
        }
    }

    /// The event's terms without duplicates.
    pub fn terms(&self) -> impl Iterator<Item = IndexTerm<'_>> {
        terms(self.kind, &self.actor, &self.subjects)
    }
}

impl From<StoredEvent> for Indexed {
    fn from(event: StoredEvent) -> Self {
        let StoredEvent { seq, kind, actor, subjects, .. } = event;
        Self { seq, kind: kind.as_str(), actor: Actor::name_in(&actor).to_owned(), subjects }
    }
}

/// The terms of an event without duplicates.
pub fn terms<'a>(kind: &'a str, actor: &'a str, subjects: &'a [Uuid]) -> impl Iterator<Item = IndexTerm<'a>> {
    let is_first = |index: usize, subject: &Uuid| !subjects.iter().take(index).any(|other| other == subject);
    let of = subjects.iter().enumerate().filter(move |(index, subject)| is_first(*index, subject));
    [IndexTerm::Kind(kind), IndexTerm::By(kind, actor)]
        .into_iter()
        .chain(of.map(move |(_, subject)| IndexTerm::Of(kind, *subject)))
}

/// The key of the checksum that compares an index with its log. Each comparison uses a random key, so that an index
/// cannot be altered without changing the checksum. A cryptographic hash would double the cost of verification.
#[derive(Debug, Clone)]
pub struct IndexKey(SeedableRandomState);

impl Default for IndexKey {
    fn default() -> Self {
        static SHARED: OnceLock<SharedSeed> = OnceLock::new();
        let seed = |what: &str| RandomState::new().hash_one(what);
        let shared = SHARED.get_or_init(|| SharedSeed::from_u64(seed("shared")));
        Self(SeedableRandomState::with_seed(seed("own"), shared))
    }
}

impl IndexKey {
    /// The keyed hash of a term, for [`IndexSum::add`].
    #[must_use]
    pub fn term(&self, term: &str) -> u64 {
        self.0.hash_one(term)
    }
}

/// A checksum over the rows of an index, independent of their order. Two sums with the same key are equal when the rows
/// are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexSum(u128);

impl IndexSum {
    /// Adds a row: the hash of a term, and an event that has the term.
    pub fn add(&mut self, key: &IndexKey, term: u64, seq: Seq) {
        self.0 += u128::from(key.0.hash_one((term, seq.0)));
    }
}
