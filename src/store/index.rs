//! By what events are looked up: the terms of an index, and a sum by which an index is compared with its log.

use super::StoredEvent;
use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use kdaemon_events::{Actor, Envelope, Seq, Subject};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use uuid::Uuid;

/// A term of an index: each event has one of its kind, one of who did it, and one of each thing that it is about, the
/// latter two kind by kind. Displayed, it is what the index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term<'a> {
    /// The events of a kind.
    Kind(&'a str),
    /// The events of a kind by somebody.
    By(&'a str, &'a str),
    /// The events of a kind about something.
    Of(&'a str, Uuid),
}

impl fmt::Display for Term<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without `write!`, for each event of a log has some.
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

/// What an index has of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// Its place in the log.
    pub seq: Seq,
    /// Its kind.
    pub kind: &'static str,
    /// The name of who did it.
    pub actor: String,
    /// What it is about.
    pub subjects: Vec<Uuid>,
}

impl Indexed {
    /// What an index has of this event.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        Self {
            seq: envelope.seq,
            kind: envelope.event.kind().as_str(),
            actor: envelope.actor.name().to_owned(),
            subjects: envelope.event.subjects().into_iter().map(Subject::uuid).collect(),
        }
    }

    /// By what it is looked up, each term once.
    pub fn terms(&self) -> impl Iterator<Item = Term<'_>> {
        terms(self.kind, &self.actor, &self.subjects)
    }
}

impl From<StoredEvent> for Indexed {
    fn from(event: StoredEvent) -> Self {
        let StoredEvent { seq, kind, actor, subjects, .. } = event;
        Self { seq, kind: kind.as_str(), actor: Actor::name_in(&actor).to_owned(), subjects }
    }
}

/// By what an event is looked up, each term once.
pub fn terms<'a>(kind: &'a str, actor: &'a str, subjects: &'a [Uuid]) -> impl Iterator<Item = Term<'a>> {
    let is_first = |index: usize, subject: &Uuid| !subjects.iter().take(index).any(|other| other == subject);
    let of = subjects.iter().enumerate().filter(move |(index, subject)| is_first(*index, subject));
    [Term::Kind(kind), Term::By(kind, actor)]
        .into_iter()
        .chain(of.map(move |(_, subject)| Term::Of(kind, *subject)))
}

/// What a comparison of an index with its log is keyed by: drawn at random for each, so that nobody can alter an index in
/// a way that the sums do not show. A hash that resists more than that would cost as much as all else that is compared.
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
    /// Stands for a term in a sum.
    #[must_use]
    pub fn term(&self, term: &str) -> u64 {
        self.0.hash_one(term)
    }
}

/// A sum over rows of an index, in whatever order they come: two sums by one key are equal when the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexSum(u128);

impl IndexSum {
    /// Adds a row.
    pub fn add(&mut self, key: &IndexKey, term: u64, seq: Seq) {
        self.0 += u128::from(key.0.hash_one((term, seq.0)));
    }
}
