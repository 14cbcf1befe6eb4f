//! The differences between two moments, and the events that caused them.

use super::changes::{Changes, RowSource, changes, fields};
use kdaemon_events::{Digest, Envelope, Seq, Subject};
use kdaemon_projections::{Cluster, Touched};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use uuid::Uuid;

/// The most events listed for one item: the last ones.
const EVENTS_LIMIT: usize = 1_000;

/// A comparison of two moments. The differences are found at once; the events that caused them are found by
/// following the events between the two. `S` makes the rows that are compared.
pub struct Comparison<S> {
    /// The state folded so far.
    cluster: Cluster,
    from: Arc<Cluster>,
    to: Arc<Cluster>,
    differing: BTreeMap<Subject, ChangedItem>,
    rows: PhantomData<S>,
}

/// The knowledge about an item that differs.
struct ChangedItem {
    /// The fields that differ; empty for an item that was added or removed.
    changes: Changes,
    /// The events followed so far that changed it.
    print: Digest,
    events: VecDeque<Seq>,
}

impl<S: RowSource> Comparison<S> {
    /// Compares the states of two moments of one log.
    #[must_use]
    pub fn new(from: Arc<Cluster>, to: Arc<Cluster>) -> Self {
        let mut comparison =
            Self { cluster: Cluster::clone(&from), from, to, differing: BTreeMap::new(), rows: PhantomData };
        let ends = [Arc::clone(&comparison.from), Arc::clone(&comparison.to)];
        for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            for node in end.nodes() {
                if other.node(node.id).is_none_or(|same| same.seq != node.seq) {
                    comparison.compare(Subject::Node(node.id));
                }
            }
            for one in end.applications() {
                if other.application(one.id).is_none_or(|same| same.seq != one.seq) {
                    comparison.compare(Subject::Application(one.id));
                }
            }
            for one in end.containers() {
                if other.container(one.id).is_none_or(|same| same.seq != one.seq) {
                    comparison.compare(Subject::Container(one.id));
                }
            }
        }
        comparison
    }

    fn compare(&mut self, subject: Subject) {
        if self.differing.contains_key(&subject) {
            return; // exists at both moments
        }
        let before = S::row(&self.from, subject);
        let after = S::row(&self.to, subject);
        let changes = match (&before, &after) {
            (Some(before), Some(after)) => {
                let changes = changes(Some(&fields(before)), Some(&fields(after)));
                if changes.is_empty() {
                    return; // a change was undone
                }
                changes
            }
            _ => Changes::new(),
        };
        let print = print(before.as_ref(), &changes);
        self.differing.insert(subject, ChangedItem { changes, print, events: VecDeque::new() });
    }

    /// Whether nothing differs, so that no events need be followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.differing.is_empty()
    }

    /// The state after the last followed event.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Follows the next event.
    pub fn follow(&mut self, envelope: &Envelope) {
        let mut touched = Touched::default();
        self.cluster.apply(envelope, &mut touched);
        let nodes = touched.nodes.into_iter().map(Subject::Node);
        let applications = touched.applications.into_iter().map(Subject::Application);
        let containers = touched.containers.into_iter().map(Subject::Container);
        for subject in nodes.chain(applications).chain(containers) {
            let Some(difference) = self.differing.get_mut(&subject) else { continue };
            let print = print(S::row(&self.cluster, subject).as_ref(), &difference.changes);
            if print != difference.print {
                difference.print = print;
                difference.events.push_back(envelope.seq);
                if difference.events.len() > EVENTS_LIMIT {
                    difference.events.pop_front();
                }
            }
        }
    }

    /// The differences.
    #[must_use]
    pub fn finish(self) -> Diff<S::Row> {
        let Self { from, to, differing, .. } = self;
        let mut diff = Diff::default();
        for (subject, ChangedItem { changes, events, .. }) in differing {
            let of_its_sort = match subject {
                Subject::Node(_) => &mut diff.nodes,
                Subject::Application(_) => &mut diff.applications,
                Subject::Container(_) => &mut diff.containers,
            };
            let id = subject.uuid();
            let events = events.into_iter().map(|seq| seq.0).collect();
            let entry = |row: S::Row, events| Entry { id, name: S::name(&row).to_owned(), row, events };
            match (S::row(&from, subject), S::row(&to, subject)) {
                (None, Some(row)) => of_its_sort.added.push(entry(row, events)),
                (Some(row), None) => of_its_sort.removed.push(entry(row, events)),
                (Some(_), Some(row)) => {
                    let name = S::name(&row).to_owned();
                    of_its_sort.changed.push(Edited { id, name, fields: changes, events });
                }
                (None, None) => {} // otherwise it would not have been found
            }
        }
        diff
    }
}

/// The parts by which two states of an item are compared: the fields that differ at the end, or all if the
/// item was added or removed.
fn print(row: Option<&impl Serialize>, changes: &Changes) -> Digest {
    let Some(row) = row else { return Digest::default() };
    let mut fields = fields(row);
    if !changes.is_empty() {
        fields.retain(|field, _| changes.contains_key(field));
    }
    Digest::of(serde_json::to_string(&fields).unwrap_or_default().as_bytes())
}

/// The differences between two moments.
#[derive(Debug, PartialEq)]
pub struct Diff<R> {
    /// Nodes.
    pub nodes: Differences<R>,
    /// Applications.
    pub applications: Differences<R>,
    /// Containers.
    pub containers: Differences<R>,
}

impl<R> Default for Diff<R> {
    fn default() -> Self {
        Self {
            nodes: Differences::default(),
            applications: Differences::default(),
            containers: Differences::default(),
        }
    }
}

/// The differences among items of one kind, by id.
#[derive(Debug, PartialEq)]
pub struct Differences<R> {
    /// Added items.
    pub added: Vec<Entry<R>>,
    /// Removed items.
    pub removed: Vec<Entry<R>>,
    /// Changed items.
    pub changed: Vec<Edited>,
}

impl<R> Default for Differences<R> {
    fn default() -> Self {
        Self { added: Vec::new(), removed: Vec::new(), changed: Vec::new() }
    }
}

/// An added or removed item.
#[derive(Debug, PartialEq)]
pub struct Entry<R> {
    /// The id.
    pub id: Uuid,
    /// The name.
    pub name: String,
    /// The row afterwards; for a removed item, before.
    pub row: R,
    /// The events between that changed it, the last 1,000 of them.
    pub events: Vec<u64>,
}

/// A changed item.
#[derive(Debug, PartialEq)]
pub struct Edited {
    /// The id.
    pub id: Uuid,
    /// The name afterwards.
    pub name: String,
    /// The old and new value of each field that differs.
    pub fields: Changes,
    /// The events that changed one of these fields, the last 1,000 of them.
    pub events: Vec<u64>,
}
