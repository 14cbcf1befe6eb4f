//! Proofs about the log: inclusion, consistency, and the checkpoint that they refer to.

use super::input::{Query, QueryFields};
use super::lenient::LenientInteger;
use super::problem::{Problem, Sort};
use super::resource::{answer, json};
use super::{Api, HandlerResult, Routes};
use crate::proof::{ProofError, consistency, inclusion};
use crate::store::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use kdaemon_api::{ConsistencyReport, InclusionReport, LeafHeaderReport};
use kdaemon_events::Seq;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(proof), routes!(consistent), routes!(checkpoint)]
}

/// Parameters of an inclusion proof.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct InclusionQuery {
    /// Seq of the event.
    #[param(value_type = u64)]
    seq: LenientInteger,
    /// Size of the tree, the number of events that it covers; the whole log by default.
    #[param(value_type = Option<u64>)]
    size: Option<LenientInteger>,
}

impl QueryFields for InclusionQuery {}

/// Prove that an event is in the log
///
/// The inclusion proof of RFC 6962, section 2.1.1, for the tree of the first `size` events. Hash `0x00`, the header's bytes
/// and the content hash with SHA-256 to get the leaf; the content hash is that of the salt followed by the body. A pruned event
/// has neither salt nor body, but its leaf can still be proved.
#[utoipa::path(get, path = "/audit/proof", tag = "events", params(InclusionQuery),
    responses((status = 200, description = "Inclusion proof", body = InclusionReport)))]
async fn proof(State(api): State<Api>, Query(query): Query<InclusionQuery>) -> HandlerResult {
    let store = api.journal.store().as_ref();
    let size = match query.size {
        Some(LenientInteger(size)) => size,
        None => store.head().await?.seq.0,
    };
    let seq = Seq(query.seq.0);
    let proof = inclusion(store, seq, size).await?;
    let header = proof.header.header(seq, proof.commit);
    let (salt, body) = match &proof.event.body {
        Body::Kept { json, salt } => (Some(salt.to_string()), Some(json.clone())),
        Body::Pruned { .. } => (None, None),
    };
    let report = InclusionReport {
        seq,
        size,
        header: LeafHeaderReport {
            bytes: STANDARD.encode(header.to_bytes()),
            commit_id: proof.commit,
            at: DateTime::from_timestamp_micros(header.at).unwrap_or_default(),
            kind: header.kind.to_owned(),
            actor: header.actor.to_owned(),
            prunable: header.is_prunable(),
        },
        salt,
        body,
        content: proof.event.body.content(),
        leaf: proof.leaf,
        path: proof.path,
        root: proof.root,
    };
    Ok(answer(StatusCode::OK, Seq(size), json(&report)))
}

/// Parameters of a consistency proof.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ConsistencyQuery {
    /// Size of the smaller tree.
    #[param(value_type = u64)]
    from: LenientInteger,
    /// Size of the larger tree; the whole log by default.
    #[param(value_type = Option<u64>)]
    to: Option<LenientInteger>,
}

impl QueryFields for ConsistencyQuery {}

/// Prove that the log only grew
///
/// The consistency proof of RFC 6962, section 2.1.2: the tree of the first `from` events is the beginning of the tree of the
/// first `to` events.
#[utoipa::path(get, path = "/audit/consistency", tag = "events", params(ConsistencyQuery),
    responses((status = 200, description = "Consistency proof", body = ConsistencyReport)))]
async fn consistent(State(api): State<Api>, Query(query): Query<ConsistencyQuery>) -> HandlerResult {
    let store = api.journal.store().as_ref();
    let to = match query.to {
        Some(LenientInteger(to)) => to,
        None => store.head().await?.seq.0,
    };
    let from = query.from.0;
    let proof = consistency(store, from, to).await?;
    let report =
        ConsistencyReport { from, to, from_root: proof.from_root, to_root: proof.to_root, path: proof.path };
    Ok(answer(StatusCode::OK, Seq(to), json(&report)))
}

/// Get a checkpoint of the log
///
/// The body of a C2SP tlog-checkpoint: three lines with the log's origin `kdaemon/CLUSTER_ID`, the size of its Merkle tree,
/// and the root in Base64. It carries no signature. Kept outside of this machine, it proves later that the log up to there
/// was not changed: `kdaemon verify --expect SEQ:ROOT` takes the root in hexadecimal digits.
#[utoipa::path(get, path = "/checkpoint", tag = "events",
    responses((status = 200, description = "Checkpoint", body = String, content_type = "text/plain")))]
async fn checkpoint(State(api): State<Api>) -> HandlerResult {
    let id = api.journal.cluster().id();
    let id =
        id.ok_or_else(|| Problem::new(Sort::Unavailable, "the log has no events yet; try again later"))?;
    let head = api.journal.store().head().await?;
    let text = format!("kdaemon/{id}\n{}\n{}\n", head.seq, STANDARD.encode(head.root.0));
    let mut response = answer(StatusCode::OK, head.seq, text);
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(response)
}

impl From<ProofError> for Problem {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::OutOfRange { field, .. } => Self::invalid(field, error.to_string()),
            ProofError::Store(error) => error.into(),
        }
    }
}
