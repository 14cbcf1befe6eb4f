//! The routes that export the log and rebuild the tables.

use super::problem::{Problem, Sort};
use super::resource::{answer, json};
use super::{Api, HandlerResult, Routes};
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

/// Export the log
///
/// JSON lines in the format of `kdaemon export` and `kdaemon import`: a header line, then one line per commit with the exact
/// text of its events, up to the last commit at the time of the request. Only one export runs at a time (429). A response that
/// breaks off is not a complete log.
#[utoipa::path(get, path = "/export", tag = "events",
    responses((status = 200, description = "Log", body = String, content_type = "application/x-ndjson")))]
async fn export(State(api): State<Api>) -> HandlerResult {
    let permit = Arc::clone(&api.exports)
        .try_acquire_owned()
        .map_err(|_| Problem::new(Sort::Overloaded, "another export is running; try again later"))?;
    let since = api.journal.now() - IDEMPOTENCY_RETENTION;
    let store = Arc::clone(api.journal.store());
    let export = Export::new(store.as_ref(), since).await?;
    let seq = export.head().seq;
    // The permit is held until the response has been sent.
    let pieces = stream::unfold(Some((store, export, permit)), |under_way| async {
        let (store, mut export, permit) = under_way?;
        match export.lines(store.as_ref()).await {
            Ok(lines) => Some((Ok(lines?), Some((store, export, permit)))),
            Err(error) => {
                // The status has already been sent, so the failure can only cut the response off.
                tracing::warn!(%error, "export failed");
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

/// Rebuild the tables
///
/// Drops everything that is derived from the log (the tables `nodes`, `applications` and `containers` of the store, and the
/// snapshots) and folds it from the log again, concurrently with other work. Only the leader does it; other daemons answer
/// 409.
#[utoipa::path(post, path = "/rebuild", tag = "cluster",
    responses((status = 200, description = "Rebuilt", body = RebuiltTables)))]
async fn rebuild(State(api): State<Api>) -> HandlerResult {
    let role = api.role.borrow().clone();
    if !role.leads {
        let who = role.leader.unwrap_or_else(|| "unknown".to_owned());
        return Err(Problem::conflict(format!(
            "only the leader rebuilds the tables; send the request to the leader (currently {who})"
        )));
    }
    let rebuilt = api.rebuilds.ask().await?;
    Ok(answer(StatusCode::OK, rebuilt.seq(), json(&RebuiltTables::from(rebuilt))))
}
