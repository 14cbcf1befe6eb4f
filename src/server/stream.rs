//! The route that streams new events as Server-Sent Events.

use super::events::{kinds, subject};
use super::input::{Query, QueryFields};
use super::lenient::LenientInteger;
use super::problem::Problem;
use super::when::{state, state_at};
use super::{Api, HandlerResult, Routes, SEQ_HEADER};
use crate::journal::{Committed, Lagged, Subscription};
use crate::says::{self, Names};
use crate::store::{EventQuery, EventText, StoreError};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use kdaemon_events::{Envelope, Kind, Seq};
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::Duration;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Routes {
    vec![routes!(stream_events)]
}

/// Interval of keep-alive comments, which let both sides detect a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Number of events read from the store at once.
const PAGE: usize = 1_000;

/// Selection of events to stream.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StreamQuery {
    /// Stream events after this seq; by default only new events. `Last-Event-ID` takes precedence.
    #[param(value_type = Option<u64>)]
    after: Option<LenientInteger>,
    /// Only events of these kinds, comma separated, or with the parameter repeated.
    #[serde(default, deserialize_with = "kinds")]
    #[param(value_type = Option<String>)]
    kind: Vec<Kind>,
    /// Only events about this resource: an id or a current name.
    subject: Option<String>,
    /// Seq of an event to wait for: the log includes it.
    #[param(value_type = Option<u64>)]
    min_seq: Option<LenientInteger>,
}

impl QueryFields for StreamQuery {
    const REPEATABLE: &'static [&'static str] = &["kind"];
}

/// Stream events
///
/// Server-Sent Events: `id` is the seq, `data` the event. A client resumes with `Last-Event-ID`.
#[utoipa::path(get, path = "/events/stream", tag = "events", params(StreamQuery),
    responses((status = 200, description = "Endless stream of events", body = String, content_type = "text/event-stream")))]
async fn stream_events(
    State(api): State<Api>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    let (after, field) = match headers.get("last-event-id").filter(|value| !value.is_empty()) {
        Some(value) => (Some(last_event_id(value)?), "Last-Event-ID"),
        None => (query.after, "after"),
    };
    // A client may know an event that this daemon does not have yet: wait for it, or older events would be sent again.
    state_at(&api, after, field).await?;
    let cluster = state(&api, query.min_seq).await?;
    let subject = query.subject.as_deref().map(|text| subject(&cluster, text)).transpose()?;
    let subscription = api.journal.subscribe();
    let position = after.map_or(subscription.cluster.seq(), |after| Seq(after.0));
    let follower = Follower::new(api.clone(), subscription, position, query.kind, subject);
    // The messages have no event name, so that a browser's `onmessage` receives all of them.
    let journal = api.journal.clone();
    let messages = follower.into_stream().map(move |event| {
        let cluster = journal.cluster();
        // An event of a kind that this version does not know has no sentence.
        let data = says::with_sentence(Names::of(&[&cluster]), &event.json).unwrap_or(event.json);
        Ok::<_, std::convert::Infallible>(Message::default().id(event.seq.to_string()).data(data))
    });
    let messages = messages.take_until(api.shutdown.clone().cancelled_owned());
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    let mut response = Sse::new(messages).keep_alive(keep_alive).into_response();
    response.headers_mut().insert(SEQ_HEADER, HeaderValue::from(cluster.seq().0));
    Ok(response)
}

fn last_event_id(value: &HeaderValue) -> Result<LenientInteger, Problem> {
    let seq = value.to_str().ok().and_then(|text| text.parse().ok());
    seq.map(LenientInteger)
        .ok_or_else(|| Problem::invalid("Last-Event-ID", "expected the seq of an event as a number"))
}

/// Follows the log from a position: reads the store until it has caught up with the live feed, and reads the store again
/// whenever the feed has dropped events.
struct Follower {
    api: Api,
    subscription: Subscription,
    /// Seq of the last event that was delivered or filtered out.
    position: Seq,
    kinds: Vec<Kind>,
    subject: Option<Uuid>,
    ready: VecDeque<EventText>,
}

impl Follower {
    fn new(
        api: Api,
        subscription: Subscription,
        position: Seq,
        kinds: Vec<Kind>,
        subject: Option<Uuid>,
    ) -> Self {
        Self { api, subscription, position, kinds, subject, ready: VecDeque::new() }
    }

    fn into_stream(self) -> impl Stream<Item = EventText> {
        stream::unfold(self, |mut follower| async move {
            match follower.next().await {
                Ok(event) => event.map(|event| (event, follower)),
                Err(error) => {
                    // The client reconnects and resumes after its last event.
                    tracing::warn!(%error, "event stream failed");
                    None
                }
            }
        })
    }

    async fn next(&mut self) -> Result<Option<EventText>, StoreError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let known = self.subscription.cluster.seq();
            if self.position < known {
                self.read_store(known).await?;
                continue;
            }
            match self.subscription.next().await {
                Ok(Some(committed)) => self.take(&committed),
                Ok(None) => return Ok(None),
                Err(Lagged) => self.subscription = self.api.journal.subscribe(),
            }
        }
    }

    /// Takes the events of a commit, unless events before it are missing: then the store is read.
    fn take(&mut self, committed: &Committed) {
        let follows = committed.events.first().is_some_and(|first| first.seq == self.position.next());
        if !follows {
            return;
        }
        for envelope in committed.events.iter() {
            self.position = envelope.seq;
            if self.is_wanted(envelope)
                && let Ok(json) = envelope.encode()
            {
                self.ready.push_back(EventText { seq: envelope.seq, json });
            }
        }
    }

    fn is_wanted(&self, envelope: &Envelope) -> bool {
        let subjects = envelope.event.subjects();
        (self.kinds.is_empty() || self.kinds.contains(&envelope.event.kind()))
            && self.subject.is_none_or(|wanted| subjects.iter().any(|subject| subject.uuid() == wanted))
    }

    /// Reads the next page of the store, whose log has at least the events up to `known`.
    async fn read_store(&mut self, known: Seq) -> Result<(), StoreError> {
        let query = EventQuery {
            after: self.position,
            limit: PAGE,
            kinds: self.kinds.clone(),
            subject: self.subject,
            ..EventQuery::default()
        };
        let page = self.api.journal.store().query(query).await?;
        let is_last = page.len() < PAGE;
        self.position = page.last().map_or(self.position, |last| last.seq);
        self.ready.extend(page);
        if is_last {
            self.position = self.position.max(known);
        }
        Ok(())
    }
}
