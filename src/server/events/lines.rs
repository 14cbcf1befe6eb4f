//! Events as lines for other programs: NDJSON and CSV (RFC 4180), streamed page by page in bounded memory.

use crate::says::{self, Names};
use crate::server::HandlerResult;
use crate::server::accept::Form;
use crate::store::{EventLog, EventQuery, EventText, StoreError};
use axum::body::Body;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use csv::Terminator;
use futures_util::stream;
use kdaemon_events::{Actor, Envelope, Seq};
use kdaemon_projections::Cluster;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// Number of events read from the store at once.
const PAGE: usize = 1_000;
/// The header row of CSV. New columns are added at the end.
const HEADER: &str = "seq,id,at,actor_type,actor,request_id,cause,kind,v,data,says\r\n";

/// Streams the events of a query, up to the seq of `cluster`.
pub(super) async fn answer(
    store: Arc<dyn EventLog>,
    asked: EventQuery,
    cluster: Arc<Cluster>,
    form: Form,
) -> HandlerResult {
    let (left, head) = (asked.limit, cluster.seq());
    let mut lines = EventLines { store, asked, left, cluster, head, form, done: false };
    // A failure of the first page is still reported with a status.
    let mut first = lines.piece().await?;
    if form == Form::Csv {
        first = [HEADER.as_bytes(), &first].concat().into();
    }
    let pieces = stream::unfold((Some(first), lines), |(first, mut lines)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, lines)));
        }
        if lines.done {
            return None;
        }
        let piece = lines.piece().await;
        if let Err(error) = &piece {
            tracing::warn!(%error, "event lines: reading the log failed");
            lines.done = true;
        }
        Some((piece, (None, lines)))
    });
    let mut response = crate::server::resource::answer(StatusCode::OK, head, Body::from_stream(pieces));
    response.headers_mut().insert(header::CONTENT_TYPE, form.content_type());
    Ok(response)
}

/// Event lines that are being streamed.
struct EventLines {
    store: Arc<dyn EventLog>,
    /// The query, whose `after` is the last event sent.
    asked: EventQuery,
    /// Maximum number of events left to send.
    left: usize,
    /// Resolves the names in sentences.
    cluster: Arc<Cluster>,
    head: Seq,
    form: Form,
    done: bool,
}

impl EventLines {
    async fn piece(&mut self) -> Result<Bytes, StoreError> {
        let limit = PAGE.min(self.left);
        let mut page = self.store.query(EventQuery { limit, ..self.asked.clone() }).await?;
        self.left -= page.len();
        self.done = page.len() < limit || self.left == 0;
        if let Some(last) = page.last() {
            self.asked.after = last.seq;
            self.done |= last.seq >= self.head;
        }
        page.retain(|event| event.seq <= self.head);
        let states = [&*self.cluster];
        let names = Names::of(&states);
        let mut text = Vec::new();
        match self.form {
            Form::Csv => {
                let mut table = csv::WriterBuilder::new().terminator(Terminator::CRLF).from_writer(&mut text);
                page.iter().try_for_each(|event| write_row(&mut table, names, event))?;
            }
            Form::Json | Form::Ndjson => {
                for event in &page {
                    let line =
                        says::with_sentence(names, &event.json).map_err(|error| damaged(event, &error))?;
                    text.extend_from_slice(line.as_bytes());
                    text.push(b'\n');
                }
            }
        }
        Ok(text.into())
    }
}

/// The fields of an event that are columns of CSV.
#[derive(Deserialize)]
struct EventColumns<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    at: Cow<'a, str>,
    actor: Actor,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    cause: Option<u64>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    v: u32,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn damaged(event: &EventText, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("event {}: {error}", event.seq))
}

fn write_row(
    table: &mut csv::Writer<&mut Vec<u8>>,
    names: Names<'_>,
    event: &EventText,
) -> Result<(), StoreError> {
    let row: EventColumns<'_> = serde_json::from_str(&event.json).map_err(|error| damaged(event, &error))?;
    let envelope = Envelope::decode(&event.json).map_err(|error| damaged(event, &error))?;
    let says = says::event(names, &envelope);
    let actor_type = match &row.actor {
        Actor::Token { .. } => "token",
        Actor::Anonymous => "anonymous",
        Actor::Reactor { .. } => "reactor",
    };
    let seq = event.seq.to_string();
    let cause = row.cause.map(|cause| cause.to_string()).unwrap_or_default();
    let version = row.v.to_string();
    let columns = [
        Cow::Borrowed(seq.as_str()),
        row.id,
        row.at,
        actor_type.into(),
        inert(row.actor.name()),
        row.request_id.as_deref().map_or(Cow::default(), inert),
        cause.into(),
        row.kind,
        version.into(),
        row.data.get().into(), // no formula: it begins with a brace
        inert(&says),
    ];
    table.write_record(columns.iter().map(|column| column.as_bytes())).map_err(|error| damaged(event, &error))
}

/// Prefixes a text that was chosen by a client, if a spreadsheet would evaluate it as a formula
/// (<https://owasp.org/www-community/attacks/CSV_Injection>).
fn inert(text: &str) -> Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}
