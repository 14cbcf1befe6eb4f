//! Whether the log is as it was written.

use super::accept::{Form, negotiate};
use super::input::{Query, QueryFields};
use super::problem::{Problem, Sort};
use super::resource::{answer, json};
use super::{Answered, Api, Routes};
use crate::store::StoreError;
use crate::verify::{BadCommit, Expectation, Verification, verify_log};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use kdaemon_api::{AuditProgress, AuditReport, RejectedCommit, VerifiedHead};
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

/// How many verifications run at one time: each reads the whole log.
pub(super) const AT_ONCE: usize = 2;
/// A verification that takes no longer is answered like everything else; a longer one's answer begins, and goes on.
const SHORT: Duration = Duration::from_secs(5);
/// How often it is told how far a verification is.
const TELL: Duration = Duration::from_millis(250);

/// What to hold the log against.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct VerifyQuery {
    /// The head of an earlier verification, kept elsewhere: `SEQ:ROOT`. Without it a missing end or a replaced log is
    /// not noticed.
    expect: Option<String>,
}

impl QueryFields for VerifyQuery {}

/// Verifies the log
///
/// The Merkle tree is hashed again, from the first event on. Damage is reported with status 200 and `ok: false`.
/// With `Accept: application/x-ndjson` lines `{"checked": n, "of": n}` come before the result, which is the last line.
/// A verification ends when the client goes away; at most 2 run at one time (429). An answer that breaks off means that the
/// log could not be read to its end.
#[utoipa::path(get, path = "/audit/verify", tag = "events", params(VerifyQuery),
    responses((status = 200, description = "What was found", content((AuditReport = "application/json"), (String = "application/x-ndjson")))))]
async fn verify(State(api): State<Api>, Query(query): Query<VerifyQuery>, headers: HeaderMap) -> Answered {
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
            // Nobody waits for it any more: it is dropped, and so it ends.
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
    let running = Running { form, checked, of: seq, found: Some(found), tell_at: Instant::now() + TELL };
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
    tell_at: Instant,
}

impl From<Verification> for AuditReport {
    fn from(found: Verification) -> Self {
        Self {
            ok: found.ok,
            events: found.events,
            commits: found.commits,
            head: VerifiedHead { seq: found.head.seq, root: found.head.root },
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
            () = sleep_until(self.tell_at) => {
                self.tell_at = Instant::now() + TELL;
                let checked = *self.checked.borrow();
                let mut line = json(&AuditProgress { checked: checked.0, of: self.of.max(checked).0 });
                line.push('\n');
                // White space before a JSON text means nothing, and shows that the daemon is at work.
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
            // The status was sent long ago: that the answer breaks off is all that can be told.
            Ok(Err(error)) => {
                tracing::warn!(%error, "a verification broke off");
                Err(error.to_string())
            }
            Err(_) => Err("the daemon is stopping".to_owned()),
        })
    }
}
