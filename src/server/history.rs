//! The history of one resource: its events, and the fields that each of them changed.
//!
//! The events that affect the resource are folded into a small cluster of their own; the changes are the differences between
//! its row before and after each event. A resource is found by its id, or by any name that it ever had.

use super::events::with_sentence;
use super::input::{Query, QueryFields, Which};
use super::lenient::{LenientBool, LenientInteger};
use super::problem::{Problem, Sort};
use super::resource::{
    ApplicationResource, ContainerResource, NodeResource, PAGE_LIMIT, Resource, answer, json, page_size,
};
use super::when::state;
use super::{Api, HandlerResult, Routes};
use crate::says::Names;
use crate::store::{EventQuery, EventText};
use axum::extract::State;
use axum::http::StatusCode;
use kdaemon_api::{FieldChange, FieldChanges, History, Namesake};
use kdaemon_control::history::{Change, Changes, changes, fields};
use kdaemon_events::{Envelope, Event, Kind, Seq, Subject};
use kdaemon_projections::{Cluster, Touched};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Routes {
    vec![routes!(of_node), routes!(of_application), routes!(of_container)]
}

/// Selection from a history.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// `true` to include raw observations that changed nothing.
    #[param(value_type = Option<bool>)]
    observations: Option<LenientBool>,
    /// Only events after this seq.
    #[param(value_type = Option<u64>)]
    after: Option<LenientInteger>,
    /// Maximum number of events (1 to 10,000); 10,000 by default.
    #[param(value_type = Option<u64>)]
    limit: Option<LenientInteger>,
    /// Seq of an event to wait for: the log includes it.
    #[param(value_type = Option<u64>)]
    min_seq: Option<LenientInteger>,
}

impl QueryFields for HistoryQuery {}

/// Get the history of a node
#[utoipa::path(get, path = "/history/nodes/{id}", tag = "history", params(("id" = String, Path, description = "Id or name"), HistoryQuery),
    responses((status = 200, description = "Events from mounting on", body = History)))]
async fn of_node(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<HistoryQuery>,
) -> HandlerResult {
    history::<NodeResource>(&api, &which, query).await
}

/// Get the history of an application
#[utoipa::path(get, path = "/history/applications/{id}", tag = "history", params(("id" = String, Path, description = "Id or name"), HistoryQuery),
    responses((status = 200, description = "Events from creation on", body = History)))]
async fn of_application(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<HistoryQuery>,
) -> HandlerResult {
    history::<ApplicationResource>(&api, &which, query).await
}

/// Get the history of a container
#[utoipa::path(get, path = "/history/containers/{id}", tag = "history", params(("id" = String, Path, description = "Id or name"), HistoryQuery),
    responses((status = 200, description = "Events from creation on", body = History)))]
async fn of_container(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<HistoryQuery>,
) -> HandlerResult {
    history::<ContainerResource>(&api, &which, query).await
}

async fn history<R: Resource>(api: &Api, which: &str, query: HistoryQuery) -> HandlerResult {
    let limit = query.limit.map_or(page_size(LenientInteger(PAGE_LIMIT)), page_size)?;
    let observations = query.observations == Some(LenientBool(true));
    let cluster = state(api, query.min_seq).await?;
    let (id, others) = find::<R>(api, &cluster, which).await?;
    let mut record = Record { api, until: cluster.seq(), observations, events: BTreeMap::new() };
    record.gather(R::subject(id)).await?;
    if !record.events.values().any(|event| is_birth_of(&event.envelope.event, R::subject(id))) {
        return Err(Problem::not_found(R::KIND, which));
    }
    let FoldedHistory { name, mut events } =
        fold::<R>(record, &cluster, id, query.after.map_or(Seq(0), |after| Seq(after.0)))?;
    let next = (events.len() > limit).then(|| events[limit - 1].0.0);
    events.truncate(limit);
    let events = events.into_iter().map(|(_, text)| text).collect();
    Ok(answer(StatusCode::OK, cluster.seq(), json(&History { id, name, events, next, others })))
}

/// Finds a resource by id or name, and other resources that had the name. The current holder of the name comes first, then
/// the latest former one; both may be deleted.
async fn find<R: Resource>(
    api: &Api,
    cluster: &Cluster,
    which: &str,
) -> Result<(Uuid, Vec<Namesake>), Problem> {
    let present = R::find(cluster, which).map(|item| R::id(item));
    if let Ok(id) = Uuid::parse_str(which)
        && present.is_none_or(|present| present == id)
    {
        return Ok((id, Vec::new()));
    }
    let mut namesakes: BTreeMap<Uuid, u64> = BTreeMap::new();
    for kind in R::NAMED_BY {
        each_named(api, kind, which, cluster.seq(), |id, seq| {
            let latest = namesakes.entry(id).or_default();
            *latest = seq.0.max(*latest);
        })
        .await?;
    }
    let mut namesakes: Vec<_> = namesakes.into_iter().map(|(id, seq)| Namesake { id, seq }).collect();
    namesakes.sort_by_key(|namesake| (present != Some(namesake.id), std::cmp::Reverse(namesake.seq)));
    match namesakes.split_first() {
        Some((found, others)) => Ok((found.id, others.to_vec())),
        None => Err(Problem::not_found(R::KIND, which)),
    }
}

/// Calls `found` for every event of a kind that gave the name to a resource.
async fn each_named(
    api: &Api,
    kind: Kind,
    name: &str,
    until: Seq,
    mut found: impl FnMut(Uuid, Seq),
) -> Result<(), Problem> {
    let written = format!("\"name\":{}", json(&name));
    let mut after = Seq(0);
    while after < until {
        let query = EventQuery { after, limit: PAGE, kinds: vec![kind], ..EventQuery::default() };
        let page = api.journal.store().query(query).await?;
        after = page.last().filter(|_| page.len() == PAGE).map_or(until, |text| text.seq);
        // Searching the text avoids decoding most events.
        for text in page.iter().filter(|text| text.seq <= until && text.json.contains(&written)) {
            let envelope = decode(text)?;
            if let (true, Some(subject)) =
                (name_given(&envelope.event) == Some(name), envelope.event.subjects().first())
            {
                found(subject.uuid(), text.seq);
            }
        }
    }
    Ok(())
}

/// The name that an event gives to its subject.
fn name_given(event: &Event) -> Option<&str> {
    match event {
        Event::NodeMounted(e) => Some(&e.name),
        Event::ApplicationCreated(e) => Some(&e.name),
        Event::ContainerCreated(e) => Some(&e.name),
        Event::NodeUpdated(e) => e.name.as_deref(),
        Event::ApplicationUpdated(e) => e.name.as_deref(),
        Event::ContainerUpdated(e) => e.name.as_deref(),
        _ => None,
    }
}

fn decode(text: &EventText) -> Result<Envelope, Problem> {
    Envelope::decode(&text.json)
        .map_err(|error| Problem::new(Sort::Internal, format!("event {}: {error}", text.seq)))
}

fn is_birth_of(event: &Event, subject: Subject) -> bool {
    matches!(event, Event::NodeMounted(_) | Event::ApplicationCreated(_) | Event::ContainerCreated(_))
        && event.subjects().first() == Some(&subject)
}

/// An event with its recorded text.
struct RecordedEvent {
    text: EventText,
    envelope: Envelope,
}

/// The events that affect one resource, and the selection from them.
struct Record<'a> {
    api: &'a Api,
    until: Seq,
    observations: bool,
    events: BTreeMap<Seq, RecordedEvent>,
}

/// Number of events read from the store at once.
const PAGE: usize = 10_000;

impl Record<'_> {
    /// Collects the events of a resource, and the events of other resources that can change its row.
    async fn gather(&mut self, subject: Subject) -> Result<(), Problem> {
        self.read(subject.uuid(), &[]).await?;
        let mentioned: BTreeSet<Subject> =
            self.events.values().flat_map(|event| mentions(&event.envelope.event)).collect();
        for other in mentioned {
            match (subject, other) {
                (own, other) if own == other => {}
                // A node's row counts its containers, which any of their events can change.
                (Subject::Node(_), Subject::Container(id)) => self.read(id.0, &[]).await?,
                // A container inherits from its application and is lost with its node; an application's row has the names
                // of others.
                (Subject::Container(_) | Subject::Application(_), Subject::Application(id)) => {
                    self.read(id.0, APPLICATION_KINDS).await?;
                }
                (Subject::Container(_), Subject::Node(id)) => self.read(id.0, NODE_KINDS).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn read(&mut self, subject: Uuid, kinds: &[Kind]) -> Result<(), Problem> {
        let mut after = Seq(0);
        loop {
            let query = EventQuery {
                after,
                limit: PAGE,
                kinds: kinds.to_vec(),
                subject: Some(subject),
                ..EventQuery::default()
            };
            let page = self.api.journal.store().query(query).await?;
            let is_last = page.len() < PAGE;
            for text in page {
                after = text.seq;
                // Observations are frequent, and most change nothing.
                let is_noise = !self.observations && is_bare_observation(&text.json);
                if is_noise || text.seq > self.until || self.events.contains_key(&text.seq) {
                    continue;
                }
                let envelope = decode(&text)?;
                self.events.insert(text.seq, RecordedEvent { text, envelope });
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Kinds of an application's events that can change the rows of its containers and dependents.
const APPLICATION_KINDS: &[Kind] =
    &[Kind::ApplicationCreated, Kind::ApplicationUpdated, Kind::ApplicationDeleted];
/// Kinds of a node's events that can change the rows of its containers.
const NODE_KINDS: &[Kind] =
    &[Kind::NodeMounted, Kind::NodeUpdated, Kind::NodeHealthy, Kind::NodeUnhealthy, Kind::NodeUnmounted];

/// `true` for an observation without news about the engine. Searching the text avoids decoding it.
fn is_bare_observation(json: &str) -> bool {
    json.contains("\"kind\":\"NodeObserved\"") && !json.contains("\"engine\":{")
}

/// The subjects of an event, and all other resources that it mentions.
fn mentions(event: &Event) -> Vec<Subject> {
    let mut subjects = event.subjects();
    let applications = match event {
        Event::ContainerUpdated(e) => e.application_id.flatten().into_iter().collect(),
        Event::ApplicationCreated(e) => e.dependencies.clone(),
        Event::ApplicationUpdated(e) => e.dependencies.clone().unwrap_or_default(),
        _ => Vec::new(),
    };
    subjects.extend(applications.into_iter().map(Subject::Application));
    subjects
}

/// The result of folding a history.
struct FoldedHistory {
    /// Last name of the resource.
    name: String,
    events: Vec<(Seq, Box<RawValue>)>,
}

/// Folds the events, and selects the ones that are about the resource or changed its row.
fn fold<R: Resource>(
    record: Record<'_>,
    present: &Cluster,
    id: Uuid,
    after: Seq,
) -> Result<FoldedHistory, Problem> {
    let mut cluster = Cluster::default();
    let mut touched = Touched::default();
    let mut before = None;
    let mut folded = FoldedHistory { name: String::new(), events: Vec::new() };
    for (seq, RecordedEvent { text, envelope }) in record.events {
        cluster.apply(&envelope, &mut touched);
        let row = R::by_id(&cluster, id)
            .map(|item| fields(&R::row(Names::of(&[&cluster, present]), &cluster, item)));
        if let Some(name) = row.as_ref().and_then(|row| row.get("name")).and_then(Value::as_str) {
            name.clone_into(&mut folded.name);
        }
        let changes = changes(before.as_ref(), row.as_ref());
        before = row;
        let is_own = envelope.event.subjects().iter().any(|subject| subject.uuid() == id);
        if seq > after && (is_own || !changes.is_empty()) {
            folded
                .events
                .push((seq, with_changes(Names::of(&[&cluster, present]), text, &field_changes(changes))?));
        }
    }
    Ok(folded)
}

/// Converts changes into their wire type.
pub(super) fn field_changes(changes: Changes) -> FieldChanges {
    changes.into_iter().map(|(field, Change { from, to })| (field, FieldChange { from, to })).collect()
}

/// The recorded text of an event, with `says` and `changes` after its own fields.
fn with_changes(names: Names<'_>, text: EventText, changes: &FieldChanges) -> Result<Box<RawValue>, Problem> {
    let mut written = with_sentence(names, &text)?;
    written.pop(); // the closing brace
    written.push_str(",\"changes\":");
    written.push_str(&json(changes));
    written.push('}');
    RawValue::from_string(written)
        .map_err(|error| Problem::new(Sort::Internal, format!("event {}: {error}", text.seq)))
}
