//! The common part of nodes, applications and containers: lookup by id or name, reads, lists and filters.

use super::input::{Pairs, QueryFields, parameter_names, unknown};
use super::lenient::LenientInteger;
use super::problem::Problem;
use super::when::state_of;
use super::{Api, SEQ_HEADER};
use crate::rows;
use crate::says::Names;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use kdaemon_api::{ApplicationRow, ContainerRow, ContainerStatus, DesiredState, NodeRow};
use kdaemon_events::{ApplicationId, ContainerId, Kind, NodeId, Seq, Subject};
use kdaemon_projections::{Application, Cluster, Container, Node};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::sync::Arc;
use utoipa::openapi::schema::{ArrayItems, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema as _, ToSchema};
use uuid::Uuid;

/// A kind of resource: nodes, applications or containers.
pub(super) trait Resource: Send + Sync + 'static {
    type Id;
    type Item: Send + Sync;
    type Row: Serialize + ToSchema + Clone + Send + Sync + 'static;
    /// Singular name, in messages.
    const KIND: &'static str;
    /// Plural name, in routes and messages.
    const PLURAL: &'static str;
    /// Kinds of the events that name and rename a resource.
    const NAMED_BY: [Kind; 2];

    fn find<'a>(cluster: &'a Cluster, text: &str) -> Option<&'a Arc<Self::Item>>;
    fn by_id(cluster: &Cluster, id: Uuid) -> Option<&Arc<Self::Item>>;
    /// Resources with a higher id, ordered by id.
    fn after(cluster: &Cluster, id: Option<Uuid>) -> impl Iterator<Item = &Arc<Self::Item>>;
    /// The row of an item of `cluster`; `names` resolves the ids in its reason.
    fn row(names: Names<'_>, cluster: &Cluster, item: &Self::Item) -> Self::Row;
    fn id(item: &Self::Item) -> Uuid;
    fn typed(id: Uuid) -> Self::Id;
    fn seq(item: &Self::Item) -> Seq;
    fn labels(item: &Self::Item) -> Option<&BTreeMap<String, String>>;
    fn subject(id: Uuid) -> Subject;
    /// Marks the last row of a deleted resource as deleted.
    fn mark_deleted(_row: &mut Self::Row) {}
}

pub(super) struct NodeResource;
pub(super) struct ApplicationResource;
pub(super) struct ContainerResource;

impl Resource for NodeResource {
    type Id = NodeId;
    type Item = Node;
    type Row = NodeRow;
    const KIND: &'static str = "node";
    const PLURAL: &'static str = "nodes";
    const NAMED_BY: [Kind; 2] = [Kind::NodeMounted, Kind::NodeUpdated];

    fn find<'a>(cluster: &'a Cluster, text: &str) -> Option<&'a Arc<Node>> {
        cluster.find_node(text)
    }
    fn by_id(cluster: &Cluster, id: Uuid) -> Option<&Arc<Node>> {
        cluster.node(NodeId(id))
    }
    fn after(cluster: &Cluster, id: Option<Uuid>) -> impl Iterator<Item = &Arc<Node>> {
        cluster.nodes_after(id.map(NodeId))
    }
    fn row(names: Names<'_>, _cluster: &Cluster, node: &Node) -> NodeRow {
        rows::node(names, node)
    }
    fn id(node: &Node) -> Uuid {
        node.id.0
    }
    fn typed(id: Uuid) -> NodeId {
        NodeId(id)
    }
    fn seq(node: &Node) -> Seq {
        node.seq
    }
    fn labels(node: &Node) -> Option<&BTreeMap<String, String>> {
        Some(&node.labels)
    }
    fn subject(id: Uuid) -> Subject {
        Subject::Node(NodeId(id))
    }
}

impl Resource for ApplicationResource {
    type Id = ApplicationId;
    type Item = Application;
    type Row = ApplicationRow;
    const KIND: &'static str = "application";
    const PLURAL: &'static str = "applications";
    const NAMED_BY: [Kind; 2] = [Kind::ApplicationCreated, Kind::ApplicationUpdated];

    fn find<'a>(cluster: &'a Cluster, text: &str) -> Option<&'a Arc<Application>> {
        cluster.find_application(text)
    }
    fn by_id(cluster: &Cluster, id: Uuid) -> Option<&Arc<Application>> {
        cluster.application(ApplicationId(id))
    }
    fn after(cluster: &Cluster, id: Option<Uuid>) -> impl Iterator<Item = &Arc<Application>> {
        cluster.applications_after(id.map(ApplicationId))
    }
    fn row(names: Names<'_>, cluster: &Cluster, application: &Application) -> ApplicationRow {
        rows::application(names, cluster, application)
    }
    fn id(application: &Application) -> Uuid {
        application.id.0
    }
    fn typed(id: Uuid) -> ApplicationId {
        ApplicationId(id)
    }
    fn seq(application: &Application) -> Seq {
        application.seq
    }
    fn labels(application: &Application) -> Option<&BTreeMap<String, String>> {
        Some(&application.spec.labels)
    }
    fn subject(id: Uuid) -> Subject {
        Subject::Application(ApplicationId(id))
    }
}

impl Resource for ContainerResource {
    type Id = ContainerId;
    type Item = Container;
    type Row = ContainerRow;
    const KIND: &'static str = "container";
    const PLURAL: &'static str = "containers";
    const NAMED_BY: [Kind; 2] = [Kind::ContainerCreated, Kind::ContainerUpdated];

    fn find<'a>(cluster: &'a Cluster, text: &str) -> Option<&'a Arc<Container>> {
        cluster.find_container(text)
    }
    fn by_id(cluster: &Cluster, id: Uuid) -> Option<&Arc<Container>> {
        cluster.container(ContainerId(id))
    }
    fn after(cluster: &Cluster, id: Option<Uuid>) -> impl Iterator<Item = &Arc<Container>> {
        cluster.containers_after(id.map(ContainerId))
    }
    fn row(names: Names<'_>, cluster: &Cluster, container: &Container) -> ContainerRow {
        rows::container(names, cluster, container)
    }
    fn id(container: &Container) -> Uuid {
        container.id.0
    }
    fn typed(id: Uuid) -> ContainerId {
        ContainerId(id)
    }
    fn seq(container: &Container) -> Seq {
        container.seq
    }
    fn labels(_container: &Container) -> Option<&BTreeMap<String, String>> {
        None
    }
    fn subject(id: Uuid) -> Subject {
        Subject::Container(ContainerId(id))
    }
    fn mark_deleted(row: &mut ContainerRow) {
        row.desired = DesiredState::Deleted;
        row.status = ContainerStatus::Down;
    }
}

/// Resolves an id or a name. An id without a resource is returned as it is, so that commands can answer for it.
pub(super) fn resolve<R: Resource>(cluster: &Cluster, text: &str) -> Result<Uuid, Problem> {
    match R::find(cluster, text) {
        Some(item) => Ok(R::id(item)),
        None => Uuid::parse_str(text).map_err(|_| Problem::not_found(R::KIND, text)),
    }
}

/// Serializes a response body as JSON text.
pub(super) fn json(row: &impl Serialize) -> String {
    let mut text = Vec::with_capacity(1_024); // most rows are shorter, so the buffer does not grow
    let _ = serde_json::to_writer(&mut text, row); // into memory, and text keys: cannot fail
    String::from_utf8(text).unwrap_or_default()
}

/// Creates a JSON response that reflects the state at `seq`.
pub(super) fn answer(status: StatusCode, seq: Seq, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(12); // including the ones that `guard` adds, because growing rehashes all headers
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(SEQ_HEADER, HeaderValue::from(seq.0));
    response
}

/// The entity tag of a resource whose last change was `seq`.
pub(super) fn etag(seq: Seq) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{seq}\"")).ok()
}

/// Parameters of every read of the state.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// Seq of an event: read the state after it instead of the current one.
    #[param(value_type = Option<u64>)]
    pub(super) seq: Option<String>,
    /// Time (RFC 3339 with a time zone): read the state at that time, after the last event recorded at or before it.
    pub(super) at: Option<String>,
    /// Seq of an event to wait for: the state includes it.
    #[param(value_type = Option<u64>)]
    pub(super) min_seq: Option<LenientInteger>,
}

impl QueryFields for ReadQuery {}

/// Answers a read of one resource.
pub(super) async fn get<R: Resource>(
    api: &Api,
    which: &str,
    query: &ReadQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let cluster = state_of(api, query.min_seq, query.seq.as_deref(), query.at.as_deref()).await?;
    let item = R::find(&cluster, which).ok_or_else(|| Problem::not_found(R::KIND, which))?;
    let tag = etag(R::seq(item));
    let is_known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == "*" || tag.as_ref().is_some_and(|tag| tag.as_bytes() == known.as_bytes()));
    let mut response = if is_known {
        let mut response = answer(StatusCode::NOT_MODIFIED, cluster.seq(), Body::empty());
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    } else {
        answer(StatusCode::OK, cluster.seq(), json(&R::row(Names::of(&[&cluster]), &cluster, item)))
    };
    response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
    Ok(response)
}

/// Parameters of every list. In addition, every scalar field of a row is a filter.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Maximum number of rows (1 to 10,000); all rows by default. The `Link` header has the address of the next page.
    #[param(value_type = Option<u64>)]
    limit: Option<LenientInteger>,
    /// Id or name of the last row of the previous page: rows with a higher id follow.
    after: Option<String>,
    /// Seq of an event: read the state after it instead of the current one.
    #[param(value_type = Option<u64>)]
    seq: Option<String>,
    /// Time (RFC 3339 with a time zone): read the state at that time, after the last event recorded at or before it.
    at: Option<String>,
    /// Seq of an event to wait for: the state includes it.
    #[param(value_type = Option<u64>)]
    min_seq: Option<LenientInteger>,
}

impl QueryFields for PageQuery {}

/// Maximum number of rows or events on a page.
pub(super) const PAGE_LIMIT: u64 = 10_000;

/// Validates the size of a page.
pub(super) fn page_size(limit: LenientInteger) -> Result<usize, Problem> {
    match usize::try_from(limit.0) {
        Ok(size) if (1..=PAGE_LIMIT).contains(&limit.0) => Ok(size),
        _ => Err(Problem::invalid("limit", format!("a limit must be a number from 1 to {PAGE_LIMIT}"))),
    }
}

/// A list's parsed query string.
pub(super) struct ListQuery {
    page: PageQuery,
    /// Pairs of field and value.
    filters: Vec<(String, String)>,
    path: String,
}

impl FromRequestParts<Api> for ListQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _api: &Api) -> Result<Self, Problem> {
        let (page, filters) = Pairs::of(parts)?.read::<PageQuery>()?;
        Ok(Self { page, filters, path: parts.uri.path().to_owned() })
    }
}

/// The fields by which a list can be filtered (scalars and lists of scalars), with their possible values if these are
/// enumerated.
pub(super) fn filters<R: Resource>() -> BTreeMap<String, Vec<String>> {
    let mut referenced = Vec::new();
    R::Row::schemas(&mut referenced);
    let referenced: BTreeMap<_, _> = referenced.into_iter().collect();
    let RefOr::T(Schema::Object(row)) = R::Row::schema() else { return BTreeMap::new() };
    row.properties
        .into_iter()
        .filter(|(name, _)| name != "seq")
        .filter_map(|(name, schema)| choices(&schema, &referenced).map(|choices| (name, choices)))
        .collect()
}

/// The possible values of a field, empty if any value is possible; `None` if the field is no filter.
fn choices(schema: &RefOr<Schema>, referenced: &BTreeMap<String, RefOr<Schema>>) -> Option<Vec<String>> {
    let object = match schema {
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next()?;
            return choices(referenced.get(name)?, referenced);
        }
        RefOr::T(Schema::Object(object)) => object,
        RefOr::T(Schema::Array(list)) => {
            let ArrayItems::RefOrSchema(items) = &list.items else { return None };
            return choices(items, referenced).map(|_| Vec::new());
        }
        RefOr::T(_) => return None,
    };
    let is = |kind: &Type| match &object.schema_type {
        SchemaType::Type(one) => one == kind,
        SchemaType::Array(several) => several.contains(kind),
        SchemaType::AnyValue => false,
    };
    if is(&Type::Boolean) {
        return Some(vec!["true".to_owned(), "false".to_owned()]);
    }
    if is(&Type::Object) || is(&Type::Array) {
        return None;
    }
    let values = object.enum_values.iter().flatten().filter_map(Value::as_str);
    Some(values.map(str::to_owned).collect())
}

/// A filter of rows.
struct Filter {
    fields: BTreeMap<String, Vec<Value>>,
    /// Labels to match, with a value or any value.
    labels: Vec<(String, Option<String>)>,
}

impl Filter {
    fn new<R: Resource>(cluster: &Cluster, pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut filter = Self { fields: BTreeMap::new(), labels: Vec::new() };
        let has_labels = R::PLURAL != ContainerResource::PLURAL;
        let known = if pairs.is_empty() { BTreeMap::new() } else { filters::<R>() };
        let known = &known;
        for (name, text) in pairs {
            if name == "label" && has_labels {
                let (label, value) = match text.split_once('=') {
                    Some((label, value)) => (label, Some(value.trim_start_matches('=').to_owned())),
                    None => (text.as_str(), None),
                };
                filter.labels.push((label.to_owned(), value));
            } else if known.contains_key(name.as_str()) {
                filter.fields.entry(name.clone()).or_default().push(wanted::<R>(cluster, name, known, text)?);
            } else {
                let parameters = parameter_names::<PageQuery>();
                let known = known.keys().map(String::as_str).chain(parameters.iter().map(String::as_str));
                return Err(unknown(name, "filter", known.chain(has_labels.then_some("label"))));
            }
        }
        Ok(filter)
    }

    fn admits<R: Resource>(&self, item: &R::Item, row: &R::Row) -> bool {
        let labelled = self.labels.iter().all(|(label, value)| {
            R::labels(item)
                .and_then(|labels| labels.get(label))
                .is_some_and(|actual| value.as_ref().is_none_or(|value| value == actual))
        });
        if !labelled || self.fields.is_empty() {
            return labelled;
        }
        let Ok(Value::Object(row)) = serde_json::to_value(row) else { return false };
        self.fields.iter().all(|(name, values)| {
            let is_wanted = |actual: &Value| {
                let text = match actual {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    other => other.to_string(),
                };
                values.contains(&Value::String(text))
            };
            match row.get(name).unwrap_or(&Value::Null) {
                Value::Array(several) => several.iter().any(is_wanted),
                one => is_wanted(one),
            }
        })
    }
}

/// Parses the value of a filter. A list matches if one of its items does; references take an id or a name.
fn wanted<R: Resource>(
    cluster: &Cluster,
    field: &str,
    known: &BTreeMap<String, Vec<String>>,
    text: &str,
) -> Result<Value, Problem> {
    if let Some(choices) = known.get(field).filter(|choices| !choices.is_empty()) {
        let choice = choices.iter().find(|known| known.eq_ignore_ascii_case(text));
        return choice.map(|choice| Value::String(choice.clone())).ok_or_else(|| {
            let choices = choices.join(", ");
            Problem::invalid(
                field,
                format!("unknown {field} `{text}` of a {}; expected one of {choices}", R::KIND),
            )
        });
    }
    let id = match field {
        "node_id" => cluster.find_node(text).map(|node| node.id.to_string()),
        "application_id" => cluster.find_application(text).map(|application| application.id.to_string()),
        "dependencies" => cluster.find_application(text).map(|application| application.name.clone()),
        _ => None,
    };
    let text = if text == "null" { "" } else { text };
    Ok(Value::String(id.unwrap_or_else(|| text.to_owned())))
}

/// Answers a list: one page, or the whole list streamed in chunks.
pub(super) async fn list<R: Resource>(api: &Api, query: ListQuery) -> Result<Response, Problem> {
    let PageQuery { seq, at, min_seq, .. } = &query.page;
    let cluster = state_of(api, *min_seq, seq.as_deref(), at.as_deref()).await?;
    let is_past = seq.is_some() || at.is_some();
    let filter = Filter::new::<R>(&cluster, &query.filters)?;
    let after = query.page.after.as_deref().map(|text| resolve::<R>(&cluster, text)).transpose();
    let after = after
        .map_err(|_| Problem::invalid("after", format!("`after` must be the id or name of a {}", R::KIND)))?;
    let seq = cluster.seq();
    let mut listing =
        Listing::<R> { resource: PhantomData, cluster, filter, last: after, begun: false, done: false };
    let Some(limit) = query.page.limit else {
        let first = listing.piece();
        if listing.done {
            return Ok(answer(StatusCode::OK, seq, first));
        }
        let pieces = stream::unfold((Some(first), listing), |(first, mut listing)| async move {
            let piece = match first {
                Some(first) => first,
                None if listing.done => return None,
                None => {
                    tokio::task::yield_now().await;
                    listing.piece()
                }
            };
            Some((Ok::<_, std::convert::Infallible>(piece), (None, listing)))
        });
        return Ok(answer(StatusCode::OK, seq, Body::from_stream(pieces)));
    };
    let size = page_size(limit)?;
    // With a selective filter this visits every row, so it does not run on an I/O thread.
    let (body, next) = crate::journal::off_thread(move || Ok(listing.page(size))).await?;
    let mut response = answer(StatusCode::OK, seq, body);
    if let Some(next) = next {
        let mut link = format!("<{}?limit={}&after={next}", query.path, limit.0);
        if is_past {
            let _ = write!(link, "&seq={seq}"); // of the same state
        }
        for (name, value) in &query.filters {
            let _ = write!(
                link,
                "&{}={}",
                utf8_percent_encode(name, NON_ALPHANUMERIC),
                utf8_percent_encode(value, NON_ALPHANUMERIC)
            );
        }
        link.push_str(">; rel=\"next\"");
        response.headers_mut().extend(HeaderValue::try_from(link).ok().map(|link| (header::LINK, link)));
    }
    Ok(response)
}

/// A list that is being streamed.
struct Listing<R> {
    resource: PhantomData<R>,
    cluster: Arc<Cluster>,
    filter: Filter,
    last: Option<Uuid>,
    begun: bool,
    done: bool,
}

/// Approximate size of a chunk of a streamed list, in bytes.
const PIECE: usize = 64 * 1024;
/// Maximum number of rows visited per chunk, so that a long list does not delay other requests.
const PIECE_ROWS: usize = 2_000;

impl<R: Resource> Listing<R> {
    /// Returns the next chunk of the array. The last chunk closes it.
    fn piece(&mut self) -> Bytes {
        let mut text = Vec::with_capacity(PIECE + 4096);
        if !self.begun {
            text.push(b'[');
        }
        self.done = true;
        for (looked_at, item) in R::after(&self.cluster, self.last).enumerate() {
            if looked_at == PIECE_ROWS || text.len() >= PIECE {
                self.done = false;
                break;
            }
            self.last = Some(R::id(item));
            let row = R::row(Names::of(&[&self.cluster]), &self.cluster, item);
            if !self.filter.admits::<R>(item, &row) {
                continue;
            }
            if self.begun {
                text.push(b',');
            }
            self.begun = true;
            let _ = serde_json::to_writer(&mut text, &row); // into memory: cannot fail
        }
        if self.done {
            text.push(b']');
        } else if !self.begun {
            text.clear(); // no match yet: the array opens with its first row
        }
        text.into()
    }

    /// Returns at most `limit` rows, and the `after` of the next page.
    fn page(&mut self, limit: usize) -> (Bytes, Option<Uuid>) {
        let mut rows = Vec::new();
        let mut next = None;
        for item in R::after(&self.cluster, self.last) {
            let row = R::row(Names::of(&[&self.cluster]), &self.cluster, item);
            if !self.filter.admits::<R>(item, &row) {
                continue;
            }
            if rows.len() == limit {
                next = self.last;
                break;
            }
            self.last = Some(R::id(item));
            rows.push(row);
        }
        (serde_json::to_vec(&rows).unwrap_or_default().into(), next)
    }
}
