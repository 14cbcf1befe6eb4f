//! The state as bytes, so that a log need not be folded from its beginning.
//!
//! Reading returns exactly the state that was written, indexes included, for any log. The format is
//! [postcard](https://postcard.jamesmunns.com/wire-format), in which fields have positions and no names: a
//! change of the state's types, or of what the fold makes of an event, needs a new
//! [`Cluster::SNAPSHOT_VERSION`].

use crate::cluster::{Cluster, Pause};
use crate::eligible::{Eligible, Standing};
use crate::node::UnmountedNode;
use crate::{Application, Container, Node, Placement};
use chrono::{DateTime, Utc};
use imbl::{OrdMap, OrdSet};
use kdaemon_events::{ApplicationId, ClusterId, ContainerId, Endpoint, NodeId, Seq, Spec, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why bytes could not be read as a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not a state: {0}")]
pub struct SnapshotError(String);

/// The serialized parts of a state; `N`, `A` and `C` are borrowed when writing.
#[derive(Serialize, Deserialize)]
struct SnapshotParts<N, A, C> {
    id: Option<ClusterId>,
    seq: Seq,
    at: Option<DateTime<Utc>>,
    term: Term,
    paused: Option<Pause>,
    counts_since: Option<DateTime<Utc>>,
    chance_at: Option<DateTime<Utc>>,
    own_engines: Vec<Endpoint>,
    nodes: Vec<N>,
    applications: Vec<A>,
    containers: Vec<C>,
    /// All specifications, each once, in the JSON form of events.
    specs: Vec<String>,
    /// Index into `specs` for each application, then for each placement of each container.
    spec_of: Vec<u32>,
    /// Index into `specs` of the last two specifications that served, for each application.
    served: Vec<[Option<u32>; 2]>,
    data: Vec<(Arc<str>, Vec<NodeId>)>,
    unmounted: Vec<(NodeId, UnmountedNode)>,
    node_names: Correction<NodeId>,
    application_names: Correction<ApplicationId>,
    container_names: Correction<ContainerId>,
}

impl Cluster {
    /// The version of the format that [`Self::to_bytes`] writes; other versions are not read.
    pub const SNAPSHOT_VERSION: u32 = 3;

    /// Serializes the state: equal states give equal bytes.
    ///
    /// # Errors
    /// Never for a state that was folded from events.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut specs = Specs::default();
        let mut spec_of = Vec::new();
        for application in self.applications.values() {
            spec_of.push(specs.number(&application.spec)?);
        }
        let mut served = Vec::new();
        for application in self.applications.values() {
            let mut number =
                |spec: &Option<Arc<Spec>>| spec.as_ref().map(|spec| specs.number(spec)).transpose();
            served.push([number(&application.served)?, number(&application.served_before)?]);
        }
        for placement in self.containers.values().flat_map(|container| placements(container)) {
            spec_of.push(specs.number(&placement.spec)?);
        }
        let state = SnapshotParts {
            id: self.id,
            seq: self.seq,
            at: self.at,
            term: self.term,
            paused: self.paused,
            counts_since: self.counts_since,
            own_engines: self.own_engines.iter().cloned().collect(),
            nodes: self.nodes.values().map(|node| &**node).collect(),
            applications: self.applications.values().map(|application| &**application).collect(),
            containers: self.containers.values().map(|container| &**container).collect(),
            specs: specs.texts,
            spec_of,
            served,
            chance_at: self.chance_at,
            data: self
                .data
                .iter()
                .map(|(source, nodes)| (Arc::clone(source), nodes.iter().copied().collect()))
                .collect(),
            unmounted: self.unmounted.iter().map(|(id, node)| (*id, node.clone())).collect(),
            node_names: Correction::between(&names_of_nodes(&self.nodes), &self.node_names),
            application_names: Correction::between(
                &names_of_applications(&self.applications),
                &self.application_names,
            ),
            container_names: Correction::between(
                &names_of_containers(&self.containers),
                &self.container_names,
            ),
        };
        postcard::to_stdvec(&state).map_err(|error| SnapshotError(error.to_string()))
    }

    /// Reads a state.
    ///
    /// # Errors
    /// When the bytes have another version, or are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut state: SnapshotParts<Node, Application, Container> =
            postcard::from_bytes(bytes).map_err(|error| SnapshotError(error.to_string()))?;
        let specs = state.specs.iter().map(|text| serde_json::from_str(text).map(Arc::new));
        let specs: Vec<Arc<Spec>> =
            specs.collect::<Result<_, _>>().map_err(|error| SnapshotError(error.to_string()))?;
        let mut spec_of = state.spec_of.iter().map(|number| specs.get(*number as usize).map(Arc::clone));
        let mut next = || -> Result<Arc<Spec>, SnapshotError> {
            spec_of.next().flatten().ok_or_else(|| SnapshotError("a spec is missing".into()))
        };
        let mut served = state.served.into_iter();
        for application in &mut state.applications {
            application.spec = next()?;
            let missing = || SnapshotError("a spec is missing".into());
            let spec = |number: Option<u32>| match number {
                None => Ok(None),
                Some(number) => {
                    specs.get(number as usize).map(|spec| Some(Arc::clone(spec))).ok_or_else(missing)
                }
            };
            let [last, before] = served.next().ok_or_else(missing)?;
            (application.served, application.served_before) = (spec(last)?, spec(before)?);
        }
        for container in &mut state.containers {
            for placement in placements_mut(container) {
                placement.spec = next()?;
            }
        }
        let nodes: OrdMap<NodeId, Arc<Node>> =
            state.nodes.into_iter().map(|node| (node.id, Arc::new(node))).collect();
        let applications: OrdMap<ApplicationId, Arc<Application>> =
            state.applications.into_iter().map(|one| (one.id, Arc::new(one))).collect();
        let containers: OrdMap<ContainerId, Arc<Container>> =
            state.containers.into_iter().map(|container| (container.id, Arc::new(container))).collect();
        let members = |wanted: fn(&Container) -> bool| -> OrdSet<ContainerId> {
            containers.values().filter(|container| wanted(container)).map(|container| container.id).collect()
        };
        Ok(Self {
            id: state.id,
            seq: state.seq,
            at: state.at,
            term: state.term,
            paused: state.paused,
            node_names: state.node_names.apply(names_of_nodes(&nodes)),
            application_names: state.application_names.apply(names_of_applications(&applications)),
            container_names: state.container_names.apply(names_of_containers(&containers)),
            unsettled: members(Container::is_unsettled),
            unsettled_nodes: nodes.values().filter(|node| node.is_unsettled()).map(|node| node.id).collect(),
            migrating: members(|container| container.migrating.is_some()),
            rolling: applications.values().filter(|one| one.may_roll()).map(|one| one.id).collect(),
            eligible: eligible(&nodes),
            counts_since: state.counts_since,
            chance_at: state.chance_at,
            data: state
                .data
                .into_iter()
                .map(|(source, nodes)| (source, nodes.into_iter().collect::<OrdSet<_>>()))
                .collect(),
            unmounted: state.unmounted.into_iter().collect(),
            own_engines: state.own_engines.into_iter().collect(),
            nodes,
            applications,
            containers,
        })
    }
}

/// Collects specifications, each once.
#[derive(Default)]
struct Specs {
    texts: Vec<String>,
    by_text: BTreeMap<String, u32>,
    /// Most are shared, and recognized by their address without serializing them.
    by_address: BTreeMap<*const Spec, u32>,
}

impl Specs {
    fn number(&mut self, spec: &Arc<Spec>) -> Result<u32, SnapshotError> {
        if let Some(number) = self.by_address.get(&Arc::as_ptr(spec)) {
            return Ok(*number);
        }
        let text = serde_json::to_string(&**spec).map_err(|error| SnapshotError(error.to_string()))?;
        let next = u32::try_from(self.texts.len()).map_err(|error| SnapshotError(error.to_string()))?;
        let number = *self.by_text.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        });
        self.by_address.insert(Arc::as_ptr(spec), number);
        Ok(number)
    }
}

fn placements(container: &Container) -> impl Iterator<Item = &Placement> {
    container.placement.iter().chain(container.retired.iter().map(|retired| &retired.placement))
}

fn placements_mut(container: &mut Container) -> impl Iterator<Item = &mut Placement> {
    container.placement.iter_mut().chain(container.retired.iter_mut().map(|retired| &mut retired.placement))
}

type NameIndex<T> = OrdMap<Arc<str>, T>;

fn names_of_nodes(nodes: &OrdMap<NodeId, Arc<Node>>) -> NameIndex<NodeId> {
    nodes.values().map(|node| (Arc::from(node.name.as_str()), node.id)).collect()
}

fn names_of_applications(applications: &OrdMap<ApplicationId, Arc<Application>>) -> NameIndex<ApplicationId> {
    applications.values().map(|application| (Arc::from(application.name.as_str()), application.id)).collect()
}

fn names_of_containers(containers: &OrdMap<ContainerId, Arc<Container>>) -> NameIndex<ContainerId> {
    containers.values().map(|container| (Arc::from(container.name.as_str()), container.id)).collect()
}

/// The differences between an index of names and the items themselves: none, unless a log gave one name to
/// two items.
#[derive(Serialize, Deserialize)]
struct Correction<T> {
    /// Names with another owner.
    set: Vec<(Arc<str>, T)>,
    /// Names without an owner.
    unset: Vec<Arc<str>>,
}

impl<T: Copy + Eq> Correction<T> {
    fn between(made: &NameIndex<T>, wanted: &NameIndex<T>) -> Self {
        let set = wanted.iter().filter(|(name, id)| made.get(*name) != Some(*id));
        let unset = made.keys().filter(|name| !wanted.contains_key(*name));
        Self {
            set: set.map(|(name, id)| (Arc::clone(name), *id)).collect(),
            unset: unset.map(Arc::clone).collect(),
        }
    }

    fn apply(self, mut made: NameIndex<T>) -> NameIndex<T> {
        for name in &self.unset {
            made.remove(name);
        }
        made.extend(self.set);
        made
    }
}

fn eligible(nodes: &OrdMap<NodeId, Arc<Node>>) -> Eligible {
    let mut eligible = Eligible::default();
    for node in nodes.values() {
        eligible.replace(node.id, None, Standing::of(node));
        eligible.relabel(node.id, &BTreeMap::new(), &node.labels);
    }
    eligible
}
