//! The routes that explain the state of a node or a container.

use super::input::{Query, Which};
use super::problem::Problem;
use super::resource::{ContainerResource, NodeResource, ReadQuery, Resource, answer, json};
use super::when::state_of;
use super::{Api, HandlerResult, Routes};
use crate::says::{self, Names};
use crate::store::{EventLog, EventQuery, StoreError};
use axum::extract::State;
use axum::http::StatusCode;
use kdaemon_api::{WhyReport, WhyStep};
use kdaemon_control::history::{About, Inquiry, Want, is_failed_probe};
use kdaemon_events::{Envelope, Kind, Seq, Subject};
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(why_node), routes!(why_container)]
}

/// Explain the state of a node
#[utoipa::path(get, path = "/why/nodes/{id}", tag = "history", params(("id" = String, Path, description = "Id or name"), ReadQuery),
    responses((status = 200, description = "Chain of causes, as sentences and as data", body = WhyReport)))]
async fn why_node(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<ReadQuery>,
) -> HandlerResult {
    why::<NodeResource>(&api, &which, &query).await
}

/// Explain the status and the placement of a container
#[utoipa::path(get, path = "/why/containers/{id}", tag = "history", params(("id" = String, Path, description = "Id or name"), ReadQuery),
    responses((status = 200, description = "Chain of causes, as sentences and as data", body = WhyReport)))]
async fn why_container(
    State(api): State<Api>,
    Which(which): Which,
    Query(query): Query<ReadQuery>,
) -> HandlerResult {
    why::<ContainerResource>(&api, &which, &query).await
}

async fn why<R: Resource>(api: &Api, which: &str, query: &ReadQuery) -> HandlerResult {
    let cluster = state_of(api, query.min_seq, query.seq.as_deref(), query.at.as_deref()).await?;
    let seq = cluster.seq();
    let id = R::find(&cluster, which).map(|item| R::id(item));
    let subject = id.map(R::subject).ok_or_else(|| Problem::not_found(R::KIND, which))?;
    let strategy = api.journal.policy().strategy;
    let mut inquiry =
        Inquiry::begin(cluster, subject, strategy).ok_or_else(|| Problem::not_found(R::KIND, which))?;
    while let Some(want) = inquiry.wants() {
        let found = read(api.journal.store().as_ref(), want).await?;
        inquiry.add(want, found);
    }
    Ok(answer(StatusCode::OK, seq, json(&report(&inquiry))))
}

fn report(inquiry: &Inquiry) -> WhyReport {
    let states = [inquiry.cluster()];
    let (id, name, kind, state) = match inquiry.about() {
        About::Node(node) => (node.id.0, node.name.clone(), "node", node.health.as_str()),
        About::Container(container) => {
            (container.id.0, container.name.clone(), "container", container.status().as_str())
        }
    };
    let steps = inquiry.steps().map(|(envelope, because)| WhyStep {
        seq: envelope.seq.0,
        at: envelope.at,
        kind: envelope.event.kind().as_str().to_owned(),
        actor: envelope.actor.clone(),
        says: says::event(Names::of(&states), envelope),
        cause: envelope.cause.map(|cause| cause.0),
        because: because.into_iter().rev().map(|seq| seq.0).collect(),
    });
    WhyReport {
        id,
        name,
        kind: kind.to_owned(),
        seq: inquiry.cluster().seq().0,
        state: state.to_owned(),
        sentences: says::why(inquiry),
        steps: steps.collect(),
    }
}

/// Reads the events that an inquiry needs next.
async fn read(store: &dyn EventLog, want: Want) -> Result<Vec<Envelope>, StoreError> {
    match want {
        Want::Event(seq) => {
            let Some(before) = seq.0.checked_sub(1) else { return Ok(Vec::new()) };
            let found = store.read(Seq(before), 1).await?;
            found.iter().filter(|text| text.seq == seq).map(|text| decode(&text.json)).collect()
        }
        Want::Latest { kind, node, until } => {
            let query = EventQuery { kinds: vec![kind], ..EventQuery::default() };
            let is_it = |event: &Envelope| event.event.subjects().contains(&Subject::Node(node));
            last(store, query, until, 1, is_it).await
        }
        Want::FailedProbes { node, until, count } => {
            let query = EventQuery {
                kinds: vec![Kind::NodeObserved],
                subject: Some(node.0),
                ..EventQuery::default()
            };
            let is_it = |event: &Envelope| is_failed_probe(&event.event, node);
            last(store, query, until, usize::try_from(count).unwrap_or(usize::MAX), is_it).await
        }
    }
}

/// Number of events searched first; the range grows eightfold until enough are found.
const LOOK_BACK: u64 = 2_000;
/// Number of events read from the store at once.
const PAGE: usize = 10_000;

/// The last `count` events up to `until` that match the query and the predicate, in order.
async fn last(
    store: &dyn EventLog,
    query: EventQuery,
    until: Seq,
    count: usize,
    is_wanted: impl Fn(&Envelope) -> bool,
) -> Result<Vec<Envelope>, StoreError> {
    let mut found: Vec<Envelope> = Vec::new();
    let (mut distance, mut end) = (LOOK_BACK, until);
    // Ranges are visited backwards, and each is read forwards.
    while end > Seq(0) && found.len() < count {
        let begin = Seq(until.0.saturating_sub(distance));
        let mut range = Vec::new();
        let mut after = begin;
        while after < end {
            let page = store.query(EventQuery { after, limit: PAGE, ..query.clone() }).await?;
            let is_last = page.len() < PAGE;
            for text in page.iter().take_while(|text| text.seq <= end) {
                let event = decode(&text.json)?;
                if is_wanted(&event) {
                    range.push(event);
                }
            }
            after = page.last().filter(|_| !is_last).map_or(end, |text| text.seq);
        }
        range.append(&mut found);
        found = range.split_off(range.len().saturating_sub(count));
        (end, distance) = (begin, distance.saturating_mul(8));
    }
    Ok(found)
}

fn decode(json: &str) -> Result<Envelope, StoreError> {
    Envelope::decode(json).map_err(|error| StoreError::Damaged(error.to_string()))
}
