//! What differs between two moments, and which events did it.

use super::changes::{Changes, RowSource, changes, fields};
use kdaemon_events::{Digest, Envelope, Seq, Subject};
use kdaemon_projections::{Cluster, Touched};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use uuid::Uuid;

/// How many events are told of one thing: the last ones.
const EVENTS_LIMIT: usize = 1_000;

/// A comparison of two moments. It finds what differs at once; the events that caused it are found by following those
/// between the two. `S` makes the rows that are compared.
pub struct Comparison<S> {
    /// As far as it has followed.
    cluster: Cluster,
    from: Arc<Cluster>,
    to: Arc<Cluster>,
    differing: BTreeMap<Subject, Difference>,
    rows: PhantomData<S>,
}

/// What is known of a thing that differs.
struct Difference {
    /// The fields that differ; of a thing that came or went none are told.
    changes: Changes,
    /// Of what was followed so far.
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
            return; // there at both moments, and found from the first
        }
        let before = S::row(&self.from, subject);
        let after = S::row(&self.to, subject);
        let changes = match (&before, &after) {
            (Some(before), Some(after)) => {
                let changes = changes(Some(&fields(before)), Some(&fields(after)));
                if changes.is_empty() {
                    return; // what changed was changed back
                }
                changes
            }
            _ => Changes::new(),
        };
        let print = print(before.as_ref(), &changes);
        self.differing.insert(subject, Difference { changes, print, events: VecDeque::new() });
    }

    /// Whether nothing differs: then nothing need be followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.differing.is_empty()
    }

    /// The state that it has followed to.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Takes note of what the next event does.
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

    /// What differs.
    #[must_use]
    pub fn finish(self) -> Diff<S::Row> {
        let Self { from, to, differing, .. } = self;
        let mut diff = Diff::default();
        for (subject, Difference { changes, events, .. }) in differing {
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
                (None, None) => {} // it would not have been found
            }
        }
        diff
    }
}

/// What tells one state of a thing from another: of the fields that differ at the end, or of all when the thing came or
/// went.
fn print(row: Option<&impl Serialize>, changes: &Changes) -> Digest {
    let Some(row) = row else { return Digest::default() };
    let mut fields = fields(row);
    if !changes.is_empty() {
        fields.retain(|field, _| changes.contains_key(field));
    }
    Digest::of_event(serde_json::to_string(&fields).unwrap_or_default().as_bytes())
}

/// What differs between two moments.
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

/// What differs among things of one sort, each by id.
#[derive(Debug, PartialEq)]
pub struct Differences<R> {
    /// Those that came.
    pub added: Vec<Entry<R>>,
    /// Those that went.
    pub removed: Vec<Entry<R>>,
    /// Those that were there before and after, and are not the same.
    pub changed: Vec<Edited>,
}

impl<R> Default for Differences<R> {
    fn default() -> Self {
        Self { added: Vec::new(), removed: Vec::new(), changed: Vec::new() }
    }
}

/// A thing that came or went.
#[derive(Debug, PartialEq)]
pub struct Entry<R> {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// It as it is afterwards; of one that went, as it was before.
    pub row: R,
    /// The events that changed it on the way, the last 1,000 of them.
    pub events: Vec<u64>,
}

/// A thing that is not as it was.
#[derive(Debug, PartialEq)]
pub struct Edited {
    /// Its id.
    pub id: Uuid,
    /// Its name afterwards.
    pub name: String,
    /// What each field that differs was and became.
    pub fields: Changes,
    /// The events that changed one of these fields, the last 1,000 of them.
    pub events: Vec<u64>,
}
