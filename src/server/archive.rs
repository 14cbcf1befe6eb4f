//! The log as `kdaemon export` writes it, and the tables made anew.

use super::problem::{Problem, Sort};
use super::resource::{answer, json};
use super::{Answered, Api, Routes};
use crate::archive::Export;
use crate::journal::IDEMPOTENCY_RETENTION;
use crate::reactors::Rebuilt;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use futures_util::stream;
use kdaemon_api::RebuiltTables;
use std::sync::Arc;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(export), routes!(rebuild)]
}

/// The whole log, to move it to another store
///
/// JSON lines as `kdaemon export` writes them and `kdaemon import` reads them: one that says what follows, then one for each
/// commit, with the exact text of its events. It ends with the commit that was the last one when it was asked for. One is
/// written at a time (429). An answer that breaks off is no log.
#[utoipa::path(get, path = "/export", tag = "events",
    responses((status = 200, description = "The log", body = String, content_type = "application/x-ndjson")))]
async fn export(State(api): State<Api>) -> Answered {
    let permit = Arc::clone(&api.exports)
        .try_acquire_owned()
        .map_err(|_| Problem::new(Sort::Overloaded, "another export is under way; try again later"))?;
    let since = api.journal.now() - IDEMPOTENCY_RETENTION;
    let store = Arc::clone(api.journal.store());
    let export = Export::new(store.as_ref(), since).await?;
    let seq = export.head().seq;
    // The place is taken as long as the answer is on its way.
    let pieces = stream::unfold(Some((store, export, permit)), |under_way| async {
        let (store, mut export, permit) = under_way?;
        match export.lines(store.as_ref()).await {
            Ok(lines) => Some((Ok(lines?), Some((store, export, permit)))),
            Err(error) => {
                // The status was sent before: that the answer breaks off is all that can be told.
                tracing::warn!(%error, "an export broke off");
                Some((Err(std::io::Error::other(error)), None))
            }
        }
    });
    let mut response = answer(StatusCode::OK, seq, Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let name = HeaderValue::from_static("attachment; filename=\"kdaemon-log.jsonl\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

impl From<Rebuilt> for RebuiltTables {
    fn from(rebuilt: Rebuilt) -> Self {
        Self { rows: rebuilt.rows, events: rebuilt.events }
    }
}

/// Drops the tables and folds them from the log anew
///
/// The tables `nodes`, `applications` and `containers` in the store, and the snapshots: what is derived from the log. The daemon
/// that leads does it (409 by the others), beside its other work.
#[utoipa::path(post, path = "/rebuild", tag = "cluster",
    responses((status = 200, description = "They are as the log has them", body = RebuiltTables)))]
async fn rebuild(State(api): State<Api>) -> Answered {
    let role = api.role.borrow().clone();
    if !role.leads {
        let who = role.leader.unwrap_or_else(|| "no other that is known".to_owned());
        return Err(Problem::conflict(format!(
            "the daemon that leads rebuilds the tables: {who}; ask that one"
        )));
    }
    let rebuilt = api.rebuilds.ask().await?;
    Ok(answer(StatusCode::OK, rebuilt.seq(), json(&RebuiltTables::from(rebuilt))))
}
