//! The route that verifies the log.

use super::accept::{Form, negotiate};
use super::input::{Query, QueryFields};
use super::problem::{Problem, Sort};
use super::resource::{answer, json};
use super::{Api, HandlerResult, Routes};
use crate::store::StoreError;
use crate::verify::{BadCommit, Expectation, Verification, verify_log};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use kdaemon_api::{AuditHead, AuditProgress, AuditReport, RejectedCommit};
use kdaemon_events::Seq;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use utoipa::IntoParams;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(verify)]
}

/// Maximum number of concurrent verifications. Each reads the whole log.
pub(super) const AT_ONCE: usize = 2;
/// A verification that ends within this duration gets an ordinary response; the response of a longer one begins earlier, with
/// progress.
const SHORT: Duration = Duration::from_secs(5);
/// Interval of progress reports.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Parameters of a verification.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct VerifyQuery {
    /// Head of an earlier verification, kept elsewhere: `SEQ:ROOT`. Without it a truncated or replaced log is not detected.
    expect: Option<String>,
}

impl QueryFields for VerifyQuery {}

/// Verify the log
///
/// Hashes the Merkle tree again, from the first event on. Damage is reported with status 200 and `ok: false`. With
/// `Accept: application/x-ndjson`, progress lines `{"checked": n, "of": n}` precede the result, which is the last line. A
/// verification is cancelled when the client disconnects; at most 2 run at once (429). A response that breaks off means that
/// reading the log failed.
#[utoipa::path(get, path = "/audit/verify", tag = "events", params(VerifyQuery),
    responses((status = 200, description = "Result of the verification", content((AuditReport = "application/json"), (String = "application/x-ndjson")))))]
async fn verify(
    State(api): State<Api>,
    Query(query): Query<VerifyQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    let form = negotiate(&headers, &[Form::Json, Form::Ndjson])?;
    let expectation = query.expect.as_deref().map(str::parse::<Expectation>).transpose();
    let expectation = expectation.map_err(|error| Problem::invalid("expect", error))?;
    let permit = Arc::clone(&api.audits).try_acquire_owned().map_err(|_| {
        Problem::new(Sort::Overloaded, format!("{AT_ONCE} verifications are running; try again later"))
    })?;
    let seq = api.journal.cluster().seq();
    let (progress, checked) = watch::channel(Seq(0));
    let (done, mut found) = oneshot::channel();
    let store = Arc::clone(api.journal.store());
    let shutdown = api.shutdown.clone();
    tokio::spawn(async move {
        let mut done = done;
        let _permit = permit;
        let work = verify_log(store.as_ref(), expectation, |seq| {
            progress.send_replace(seq);
        });
        tokio::select! {
            // The client has disconnected: the work is dropped.
            () = done.closed() => {}
            () = shutdown.cancelled() => {}
            found = work => drop(done.send(found)),
        }
    });
    if form == Form::Json
        && let Ok(found) = timeout(SHORT, &mut found).await
    {
        return Ok(answer(StatusCode::OK, seq, json(&AuditReport::from(found.map_err(|_| stopping())??))));
    }
    let running =
        Running { form, checked, of: seq, found: Some(found), report_at: Instant::now() + PROGRESS_INTERVAL };
    let lines =
        stream::unfold(running, |mut running| async { running.next().await.map(|line| (line, running)) });
    let mut response = answer(StatusCode::OK, seq, Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, form.content_type());
    Ok(response)
}

fn stopping() -> Problem {
    Problem::new(Sort::Unavailable, "the daemon is stopping")
}

/// A verification whose answer has begun.
struct Running {
    form: Form,
    checked: watch::Receiver<Seq>,
    of: Seq,
    /// `None` after the last line.
    found: Option<oneshot::Receiver<Result<Verification, StoreError>>>,
    report_at: Instant,
}

impl From<Verification> for AuditReport {
    fn from(found: Verification) -> Self {
        Self {
            ok: found.ok,
            events: found.events,
            commits: found.commits,
            head: AuditHead { seq: found.head.seq, root: found.head.root },
            first_bad: found.first_bad.map(RejectedCommit::from),
            detail: found.detail,
        }
    }
}

impl From<BadCommit> for RejectedCommit {
    fn from(bad: BadCommit) -> Self {
        Self { commit: bad.commit, first_seq: bad.first_seq, last_seq: bad.last_seq, detail: bad.detail }
    }
}

impl Running {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        let found = tokio::select! {
            biased;
            found = self.found.as_mut()? => found,
            () = sleep_until(self.report_at) => {
                self.report_at = Instant::now() + PROGRESS_INTERVAL;
                let checked = *self.checked.borrow();
                let mut line = json(&AuditProgress { checked: checked.0, of: self.of.max(checked).0 });
                line.push('\n');
                // White space before a JSON text is insignificant, and keeps the connection alive.
                return Some(Ok(if self.form == Form::Ndjson { line.into() } else { Bytes::from_static(b"\n") }));
            }
        };
        self.found = None;
        Some(match found {
            Ok(Ok(found)) => {
                let mut line = json(&AuditReport::from(found));
                line.push('\n');
                Ok(line.into())
            }
            // The status has already been sent, so the failure can only cut the response off.
            Ok(Err(error)) => {
                tracing::warn!(%error, "verification of the log failed");
                Err(error.to_string())
            }
            Err(_) => Err("the daemon is stopping".to_owned()),
        })
    }
}
