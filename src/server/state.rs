//! The state of the whole cluster, now or in the past, and the difference between two moments.

use super::history::field_changes;
use super::input::{Query, QueryFields};
use super::resource::{
    ApplicationResource, ContainerResource, NodeResource, ReadQuery, Resource, answer, json,
};
use super::when::{range, state, state_of};
use super::{Api, HandlerResult, Routes};
use crate::journal::follower;
use crate::rows::ApiRows;
use crate::says::Names;
use crate::store::StoreError;
use axum::extract::State;
use axum::http::StatusCode;
use kdaemon_api::{AddedOrRemovedRow, AnyRow, ChangedRow, ClusterState, DiffReport, KindDiff, Moment};
use kdaemon_control::history::{Comparison, Diff, Differences, Edited, Entry};
use kdaemon_events::Seq;
use kdaemon_projections::Cluster;
use serde::{Deserialize, Serialize, Serializer};
use std::marker::PhantomData;
use utoipa::IntoParams;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(whole), routes!(diff)]
}

/// All rows of one kind of resource, created during serialization.
struct Rows<'a, R>(&'a Cluster, PhantomData<R>);

impl<R: Resource> Serialize for Rows<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(R::after(self.0, None).map(|item| R::row(Names::of(&[self.0]), self.0, item)))
    }
}

/// Get the state of the whole cluster
///
/// The current state, or the state after the event `seq` or at the time `at`.
#[utoipa::path(get, path = "/state", tag = "history", params(ReadQuery),
    responses((status = 200, description = "All nodes, applications and containers", body = ClusterState)))]
async fn whole(State(api): State<Api>, Query(query): Query<ReadQuery>) -> HandlerResult {
    let cluster = state_of(&api, query.min_seq, query.seq.as_deref(), query.at.as_deref()).await?;
    let seq = cluster.seq();
    let text = crate::journal::off_thread(move || {
        Ok(json(&ClusterState {
            seq: cluster.seq().0,
            at: cluster.at(),
            nodes: Rows::<NodeResource>(&cluster, PhantomData),
            applications: Rows::<ApplicationResource>(&cluster, PhantomData),
            containers: Rows::<ContainerResource>(&cluster, PhantomData),
        }))
    });
    Ok(answer(StatusCode::OK, seq, text.await?))
}

/// The moments to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// Earlier moment: the seq of an event, or a time (RFC 3339 with a time zone).
    from: String,
    /// Later moment, in the form of `from`; now by default.
    to: Option<String>,
    /// Seq of an event to wait for: the log includes it.
    #[param(value_type = Option<u64>)]
    min_seq: Option<super::lenient::LenientInteger>,
}

impl QueryFields for DiffQuery {}

/// Compare two moments
#[utoipa::path(get, path = "/diff", tag = "history", params(DiffQuery),
    responses((status = 200, description = "Added, removed and changed rows, and the events that changed them", body = DiffReport)))]
async fn diff(State(api): State<Api>, Query(query): Query<DiffQuery>) -> HandlerResult {
    let present = state(&api, query.min_seq).await?;
    let (from, to) = range(&api, &present, &query.from, query.to.as_deref()).await?;
    let (before, after) = (api.past.state(from).await?, api.past.state(to).await?);
    let (first, last) = (moment(&before), moment(&after));
    let comparison =
        crate::journal::off_thread(move || Ok(Comparison::<ApiRows>::new(before, after))).await?;
    let comparison = match comparison.is_empty() {
        true => comparison,
        false => api.past.walk(from, to, comparison, follow).await?,
    };
    let text = crate::journal::off_thread(move || Ok(json(&report(first, last, comparison.finish()))));
    Ok(answer(StatusCode::OK, to, text.await?))
}

/// The moment of a state.
pub(super) fn moment(cluster: &Cluster) -> Moment {
    Moment { seq: cluster.seq().0, at: cluster.at() }
}

fn report(from: Moment, to: Moment, diff: Diff<AnyRow>) -> DiffReport {
    let Diff { nodes, applications, containers } = diff;
    DiffReport {
        from,
        to,
        nodes: of_kind(nodes),
        applications: of_kind(applications),
        containers: of_kind(containers),
    }
}

fn of_kind(differences: Differences<AnyRow>) -> KindDiff {
    let one_sided =
        |Entry { id, name, row, events }: Entry<AnyRow>| AddedOrRemovedRow { id, name, row, events };
    let both = |Edited { id, name, fields, events }: Edited| ChangedRow {
        id,
        name,
        fields: field_changes(fields),
        events,
    };
    KindDiff {
        added: differences.added.into_iter().map(one_sided).collect(),
        removed: differences.removed.into_iter().map(one_sided).collect(),
        changed: differences.changed.into_iter().map(both).collect(),
    }
}

fn follow(comparison: &mut Comparison<ApiRows>, seq: Seq, json: &str) -> Result<(), StoreError> {
    let envelope = follower(comparison.cluster(), seq, json)?;
    comparison.follow(&envelope);
    Ok(())
}
