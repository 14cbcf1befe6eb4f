//! The whole cluster at once, now or at any moment, and what differs between two.

use super::input::{Query, QueryFields};
use super::resource::state;
use super::resource::{Applications, Containers, Nodes, ReadQuery, Resource, answer, json};
use super::when::{state_of, stretch};
use super::{Answered, Api, Routes};
use crate::journal::follower;
use crate::store::StoreError;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use kdaemon_control::history::{Comparison, Diff};
use kdaemon_events::Seq;
use kdaemon_projections::{ApplicationRow, Cluster, ContainerRow, NodeRow};
use serde::{Deserialize, Serialize, Serializer};
use std::marker::PhantomData;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(whole), routes!(diff)]
}

/// All rows of one resource, made while they are written.
struct Rows<'a, R>(&'a Cluster, PhantomData<R>);

impl<R: Resource> Serialize for Rows<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(R::after(self.0, None).map(|item| R::row(self.0, item)))
    }
}

/// The cluster as it was after one event.
#[derive(Serialize, ToSchema)]
#[schema(as = State)]
struct Whole<'a> {
    /// The event.
    seq: u64,
    /// When it was recorded; null before the first one.
    at: Option<DateTime<Utc>>,
    /// As `/nodes` answers them.
    #[schema(value_type = Vec<NodeRow>)]
    nodes: Rows<'a, Nodes>,
    /// As `/applications` answers them.
    #[schema(value_type = Vec<ApplicationRow>)]
    applications: Rows<'a, Applications>,
    /// As `/containers` answers them.
    #[schema(value_type = Vec<ContainerRow>)]
    containers: Rows<'a, Containers>,
}

/// The whole cluster
///
/// Now, or as it was after the event `seq`, or at a time.
#[utoipa::path(get, path = "/state", tag = "history", params(ReadQuery),
    responses((status = 200, description = "All nodes, applications and containers", body = Whole<'_>)))]
async fn whole(State(api): State<Api>, Query(query): Query<ReadQuery>) -> Answered {
    let cluster = state_of(&api, query.min_seq, query.seq.as_deref(), query.at.as_deref()).await?;
    let seq = cluster.seq();
    let text = crate::journal::off_thread(move || {
        Ok(json(&Whole {
            seq: cluster.seq().0,
            at: cluster.at(),
            nodes: Rows(&cluster, PhantomData),
            applications: Rows(&cluster, PhantomData),
            containers: Rows(&cluster, PhantomData),
        }))
    });
    Ok(answer(StatusCode::OK, seq, text.await?))
}

/// Which moments are compared.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The earlier moment: the seq of an event, or a time (RFC 3339, with its zone).
    from: String,
    /// The later moment, written as `from`; now without it.
    to: Option<String>,
    /// Waits for a log that includes this event.
    #[param(value_type = Option<u64>)]
    min_seq: Option<super::shapes::Whole>,
}

impl QueryFields for DiffQuery {}

/// A moment.
#[derive(Serialize, ToSchema)]
pub(super) struct Moment {
    /// The last event until then.
    seq: u64,
    /// When it was recorded.
    at: Option<DateTime<Utc>>,
}

impl Moment {
    pub(super) fn of(cluster: &Cluster) -> Self {
        Self { seq: cluster.seq().0, at: cluster.at() }
    }
}

/// What differs between two moments.
#[derive(Serialize, ToSchema)]
#[schema(as = Diff)]
struct Differing {
    /// The earlier one.
    from: Moment,
    /// The later one.
    to: Moment,
    /// What came, went, and changed, and the events that did it.
    #[serde(flatten)]
    diff: Diff,
}

/// What differs between two moments
#[utoipa::path(get, path = "/diff", tag = "history", params(DiffQuery),
    responses((status = 200, description = "What was added, removed and changed, and by which events", body = Differing)))]
async fn diff(State(api): State<Api>, Query(query): Query<DiffQuery>) -> Answered {
    let present = state(&api, query.min_seq).await?;
    let (from, to) = stretch(&api, &present, &query.from, query.to.as_deref()).await?;
    let (before, after) = (api.past.state(from).await?, api.past.state(to).await?);
    let (first, last) = (Moment::of(&before), Moment::of(&after));
    let comparison = crate::journal::off_thread(move || Ok(Comparison::new(before, after))).await?;
    let comparison = match comparison.is_empty() {
        true => comparison,
        false => api.past.walk(from, to, comparison, follow).await?,
    };
    let text = crate::journal::off_thread(move || {
        Ok(json(&Differing { from: first, to: last, diff: comparison.finish() }))
    });
    Ok(answer(StatusCode::OK, to, text.await?))
}

fn follow(comparison: &mut Comparison, seq: Seq, json: &str) -> Result<(), StoreError> {
    let envelope = follower(comparison.cluster(), seq, json)?;
    comparison.follow(&envelope);
    Ok(())
}
