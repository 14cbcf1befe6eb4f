//! The routes that read events from the log.

mod lines;

use super::accept::{Form, negotiate};
use super::input::{Query, QueryFields, Which};
use super::lenient::{CommaSeparated, LenientInteger, LenientText, TimeRef};
use super::problem::{Problem, Sort};
use super::resource::{answer, page_size};
use super::when::state;
use super::{Api, HandlerResult, Routes};
use crate::says::{self, Names};
use crate::store::{EventQuery, EventText};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use kdaemon_api::{EventPage, EventRow};
use kdaemon_events::{Kind, Seq};
use kdaemon_projections::Cluster;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Routes {
    vec![routes!(page), routes!(one)]
}

/// Default number of events on a page.
const DEFAULT_PAGE: usize = 100;

/// Selection of events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventPageQuery {
    /// Only events after this seq.
    #[param(value_type = Option<u64>)]
    after: Option<LenientInteger>,
    /// Maximum number of events. On a JSON page 1 to 10,000, by default 100; as lines any number, by default all.
    #[param(value_type = Option<u64>)]
    limit: Option<LenientInteger>,
    /// Only events of these kinds, comma separated, or with the parameter repeated.
    #[serde(default, deserialize_with = "kinds")]
    #[param(value_type = Option<String>)]
    kind: Vec<Kind>,
    /// Only events about this resource: an id, which may be that of a deleted one, or a current name.
    subject: Option<String>,
    /// Only events caused by the actor of this name.
    #[param(value_type = Option<String>)]
    actor: Option<LenientText>,
    /// Only events recorded at or after this time: RFC 3339, a Unix time in seconds, or a duration before now (`10m`).
    #[param(value_type = Option<String>)]
    since: Option<TimeRef>,
    /// Only events recorded before this time, in the form of `since`.
    #[param(value_type = Option<String>)]
    until: Option<TimeRef>,
    /// Seq of an event to wait for: the log includes it.
    #[param(value_type = Option<u64>)]
    min_seq: Option<LenientInteger>,
}

impl QueryFields for EventPageQuery {
    const REPEATABLE: &'static [&'static str] = &["kind"];
}

/// Deserializes event kinds; the error of an unknown one suggests the most similar known one.
pub(super) fn kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Kind>, D::Error> {
    let CommaSeparated(names) = CommaSeparated::<String>::deserialize(deserializer)?;
    let kind = |name: String| {
        name.parse().map_err(|_| {
            let likeness = |kind: &Kind| strsim::normalized_damerau_levenshtein(&name, kind.as_str());
            let nearest = Kind::ALL.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let hint = nearest.map(|nearest| format!("; the nearest known one is `{nearest}`"));
            let hint = hint.unwrap_or_default();
            serde::de::Error::custom(format!("unknown kind of event `{name}`{hint}"))
        })
    };
    names.into_iter().map(kind).collect()
}

/// Resolves a `subject` to an id.
pub(super) fn subject(cluster: &Cluster, text: &str) -> Result<Uuid, Problem> {
    let node = || cluster.find_node(text).map(|node| node.id.0);
    let application = || cluster.find_application(text).map(|application| application.id.0);
    let container = || cluster.find_container(text).map(|container| container.id.0);
    match Uuid::parse_str(text) {
        Ok(id) => Ok(id),
        Err(_) => node()
            .or_else(application)
            .or_else(container)
            .ok_or_else(|| Problem::not_found("node, application or container", text)),
    }
}

/// The JSON of a stored event with the additional field `says`.
pub(super) fn with_sentence(names: Names<'_>, event: &EventText) -> Result<String, Problem> {
    says::with_sentence(names, &event.json)
        .map_err(|error| Problem::new(Sort::Internal, format!("event {}: {error}", event.seq)))
}

/// The JSON of stored events, each with the additional field `says`.
fn raw(names: Names<'_>, events: &[EventText]) -> Result<Vec<Box<RawValue>>, Problem> {
    let raw = |event: &EventText| {
        RawValue::from_string(with_sentence(names, event)?)
            .map_err(|error| Problem::new(Sort::Internal, format!("event {}: {error}", event.seq)))
    };
    events.iter().map(raw).collect()
}

/// List events
///
/// The form is selected by `Accept`: `application/json` is a page; `application/x-ndjson` has one event per line; `text/csv`
/// begins with a header row (columns `seq,id,at,actor_type,actor,request_id,cause,kind,v,data,says`; a text from a client that a
/// spreadsheet would evaluate as a formula is prefixed with `'`). Lines are streamed up to the last event at the time of the
/// request, whose seq is in X-KDaemon-Seq; the seq of the last line is the `after` of the next request. A response that breaks
/// off means that reading the log failed.
#[utoipa::path(get, path = "/events", tag = "events", params(EventPageQuery),
    responses((status = 200, description = "Page of events, or lines", content((EventPage = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")))))]
async fn page(
    State(api): State<Api>,
    Query(query): Query<EventPageQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    let form = negotiate(&headers, &[Form::Json, Form::Ndjson, Form::Csv])?;
    let limit = match (form, query.limit) {
        (Form::Json, limit) => limit.map_or(Ok(DEFAULT_PAGE), page_size)?,
        (_, Some(LenientInteger(0))) => return Err(Problem::invalid("limit", "`limit` must be at least 1")),
        (_, limit) => limit.map_or(usize::MAX, |limit| usize::try_from(limit.0).unwrap_or(usize::MAX)),
    };
    let cluster = state(&api, query.min_seq).await?;
    let subject = query.subject.as_deref().map(|text| subject(&cluster, text)).transpose()?;
    let now = api.journal.now();
    let asked = EventQuery {
        after: Seq(query.after.map_or(0, |after| after.0)),
        limit,
        kinds: query.kind,
        subject,
        actor: query.actor.map(|actor| actor.0),
        since: query.since.map(|since| since.moment(now)),
        until: query.until.map(|until| until.moment(now)),
    };
    if form != Form::Json {
        let store = Arc::clone(api.journal.store());
        return lines::answer(store, asked, cluster, form).await;
    }
    let asked = EventQuery { limit: limit + 1, ..asked }; // one more, to detect the last page
    let mut events = api.journal.store().query(asked).await?;
    let has_more = events.len() > limit;
    events.truncate(limit);
    let last = events.last().map(|event| event.seq);
    // The page may include events that were appended after the state was read.
    let head = last.unwrap_or_default().max(cluster.seq());
    let next = last.filter(|_| has_more).map(|seq| seq.0);
    let page = EventPage { events: raw(Names::of(&[&cluster]), &events)?, next, head: head.0 };
    Ok(answer(StatusCode::OK, head, super::resource::json(&page)))
}

/// Parameters of the read of one event.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OneQuery {
    /// Seq of an event to wait for: the log includes it.
    #[param(value_type = Option<u64>)]
    min_seq: Option<LenientInteger>,
}

impl QueryFields for OneQuery {}

/// Get an event
#[utoipa::path(get, path = "/events/{seq}", tag = "events", params(("seq" = u64, Path, description = "Position in the log"), OneQuery),
    responses((status = 200, description = "The event", body = EventRow)))]
async fn one(State(api): State<Api>, Which(which): Which, Query(query): Query<OneQuery>) -> HandlerResult {
    let seq: u64 = which
        .parse()
        .map_err(|_| Problem::invalid("seq", format!("expected the seq of an event, got `{which}`")))?;
    let cluster = state(&api, query.min_seq).await?;
    let found = match seq.checked_sub(1).filter(|before| i64::try_from(*before).is_ok()) {
        Some(before) => api.journal.store().read(Seq(before), 1).await?,
        None => Vec::new(),
    };
    match found.into_iter().next().filter(|event| event.seq.0 == seq) {
        Some(event) => {
            let text = with_sentence(Names::of(&[&cluster]), &event)?;
            Ok(answer(StatusCode::OK, cluster.seq(), text))
        }
        None if api.journal.store().pruned(Seq(seq), Seq(seq)).await? > 0 => Err(Problem::new(
            Sort::Gone,
            format!("event {seq} was an observation and has been pruned (observation_retention)"),
        )),
        None => {
            let head = cluster.seq();
            Err(Problem::new(Sort::NotFound, format!("no event {seq}: the log ends at event {head}")))
        }
    }
}
