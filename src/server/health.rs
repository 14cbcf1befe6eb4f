//! Liveness, readiness, and metrics for Prometheus.

use super::problem::{Problem, Sort};
use super::resource::{answer, json};
use super::{Api, HandlerResult, Routes};
use crate::reactors::Deliveries;
use crate::store::StoreError;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use kdaemon_api::{DaemonRole, Liveness, Readiness};
use kdaemon_events::Seq;
use kdaemon_projections::{Cluster, Health, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(healthz), routes!(readyz), routes!(metrics)]
}

/// Check liveness
#[utoipa::path(get, path = "/healthz", tag = "daemon", responses((status = 200, description = "Alive", body = Liveness)))]
async fn healthz(State(api): State<Api>) -> Response {
    let seq = api.journal.cluster().seq();
    answer(StatusCode::OK, seq, json(&Liveness { status: "ok".to_owned(), seq: seq.0 }))
}

/// Check readiness
///
/// Answers 503 while the daemon cannot accept commands.
#[utoipa::path(get, path = "/readyz", tag = "daemon", responses((status = 200, description = "Ready", body = Readiness)))]
async fn readyz(State(api): State<Api>) -> HandlerResult {
    let cluster = api.journal.cluster();
    if api.shutdown.is_cancelled() {
        return Err(Problem::new(Sort::Unavailable, "the daemon is stopping"));
    }
    if let Some(trouble) = api.journal.trouble() {
        return Err(Problem::new(Sort::Unavailable, format!("the log is not writable: {trouble}")));
    }
    if cluster.id().is_none() {
        return Err(Problem::new(Sort::Unavailable, "the daemon is starting: the log has no cluster yet"));
    }
    let (seq, role) = (cluster.seq(), api.role.borrow().clone());
    let readiness = Readiness {
        status: "ok".to_owned(),
        seq: seq.0,
        role: if role.leads { DaemonRole::Leader } else { DaemonRole::Follower },
        term: cluster.term().0,
        leader: role.leader,
        lag: lag(&api).await?,
    };
    Ok(answer(StatusCode::OK, seq, json(&readiness)))
}

/// Timeout of reading the head of the log from the store.
const HEAD_LIMIT: Duration = Duration::from_secs(2);

/// Number of events of the log that this daemon does not know yet.
async fn lag(api: &Api) -> Result<u64, Problem> {
    let head = tokio::time::timeout(HEAD_LIMIT, api.journal.store().head()).await;
    let head = head.unwrap_or_else(|_| {
        Err(StoreError::Unavailable("timed out reading the head of the log".to_owned()))
    })?;
    Ok(head.seq.0.saturating_sub(api.journal.cluster().seq().0))
}

/// Get metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "daemon",
    responses((status = 200, description = "Metrics in the OpenMetrics format", body = String, content_type = "application/openmetrics-text")))]
async fn metrics(State(api): State<Api>) -> HandlerResult {
    let cluster = api.journal.cluster();
    if let Some(deliveries) = api.deliveries.get() {
        api.metrics.take_deliveries(cluster.seq(), deliveries);
    }
    let lag = lag(&api).await.ok();
    let sample = Sample {
        waiting: api.journal.waiting(),
        writable: api.journal.trouble().is_none(),
        leads: api.role.borrow().leads,
        lag,
    };
    let text = api.metrics.text(&cluster, &sample)?;
    let mut response = answer(StatusCode::OK, cluster.seq(), text);
    let media = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(response)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone)]
struct Latencies;

impl MetricConstructor<Histogram> for Latencies {
    fn new_metric(&self) -> Histogram {
        // In seconds: from reads of memory to requests that wait.
        Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0])
    }
}

/// Values for the metrics that are not part of the cluster's state.
struct Sample {
    waiting: usize,
    writable: bool,
    leads: bool,
    /// `None` if the store is unavailable.
    lag: Option<u64>,
}

/// The daemon's metrics.
pub(super) struct Metrics {
    registry: Registry,
    nodes: Family<StateLabel, Gauge>,
    containers: Family<StatusLabel, Gauge>,
    applications: Gauge,
    events: Gauge,
    waiting: Gauge,
    writable: Gauge,
    leads: Gauge,
    term: Gauge,
    lag: Gauge,
    requests: Family<AnswerLabels, Counter>,
    latencies: Family<RouteLabels, Histogram, Latencies>,
    webhook_lag: Gauge,
    webhook_deliveries: Family<OutcomeLabel, Counter>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("kdaemon"),
            nodes: Family::default(),
            containers: Family::default(),
            applications: Gauge::default(),
            events: Gauge::default(),
            waiting: Gauge::default(),
            writable: Gauge::default(),
            leads: Gauge::default(),
            term: Gauge::default(),
            lag: Gauge::default(),
            requests: Family::default(),
            latencies: Family::new_with_constructor(Latencies),
            webhook_lag: Gauge::default(),
            webhook_deliveries: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("nodes", "Mounted nodes by state", metrics.nodes.clone());
        registry.register("containers", "Containers by status", metrics.containers.clone());
        registry.register("applications", "Applications", metrics.applications.clone());
        registry.register("journal_seq", "Seq of the last event of the log", metrics.events.clone());
        registry.register("commands_waiting", "Commands queued for the journal", metrics.waiting.clone());
        registry.register("journal_writable", "1 if the log is writable", metrics.writable.clone());
        registry.register("leader", "1 if this daemon is the leader", metrics.leads.clone());
        registry.register("term", "Current leader term", metrics.term.clone());
        registry.register(
            "journal_lag",
            "Events of the log that this daemon does not know yet; keeps its last value while the store is unavailable",
            metrics.lag.clone(),
        );
        registry.register("http_requests", "HandlerResult requests", metrics.requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time until the response began",
            metrics.latencies.clone(),
        );
        registry.register(
            "webhook_lag_events",
            "Events of the log after the position of the webhook; 0 without a webhook",
            metrics.webhook_lag.clone(),
        );
        registry.register(
            "webhook_deliveries",
            "Attempts to deliver an event, by outcome",
            metrics.webhook_deliveries.clone(),
        );
        metrics
    }

    /// Updates the metrics of the webhook's deliveries.
    fn take_deliveries(&self, head: Seq, deliveries: &Deliveries) {
        let lag = head.0.saturating_sub(deliveries.position().0);
        self.webhook_lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
        for (outcome, count) in [("delivered", deliveries.delivered()), ("failed", deliveries.failed())] {
            let counter = self.webhook_deliveries.get_or_create(&OutcomeLabel { outcome });
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// Counts a response that began after the duration `after`.
    pub(super) fn answered(&self, route: &str, method: &Method, status: StatusCode, after: Duration) {
        let method = known_method(method);
        let route = route.to_owned();
        let labels = AnswerLabels { route: route.clone(), method, status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
        self.latencies.get_or_create(&RouteLabels { route, method }).observe(after.as_secs_f64());
    }

    fn text(&self, cluster: &Cluster, sample: &Sample) -> Result<String, Problem> {
        for state in [Health::Unknown, Health::Up, Health::Down] {
            let count = cluster.nodes().filter(|node| node.health == state).count();
            self.nodes.get_or_create(&StateLabel { state: state.as_str() }).set(gauge(count));
        }
        let mut counts = [0; STATUSES.len()];
        for container in cluster.containers() {
            let status = container.status();
            if let Some(index) = STATUSES.iter().position(|known| *known == status) {
                counts[index] += 1;
            }
        }
        for (status, count) in STATUSES.iter().zip(counts) {
            self.containers.get_or_create(&StatusLabel { status: status.as_str() }).set(gauge(count));
        }
        self.applications.set(gauge(cluster.applications().len()));
        self.events.set(i64::try_from(cluster.seq().0).unwrap_or(i64::MAX));
        self.waiting.set(gauge(sample.waiting));
        self.writable.set(i64::from(sample.writable));
        self.leads.set(i64::from(sample.leads));
        self.term.set(i64::try_from(cluster.term().0).unwrap_or(i64::MAX));
        if let Some(lag) = sample.lag {
            self.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error| {
            Problem::new(Sort::Internal, format!("failed to encode the metrics: {error}"))
        })?;
        Ok(text)
    }
}

const STATUSES: [Status; 9] = [
    Status::Created,
    Status::Launching,
    Status::Up,
    Status::Stopping,
    Status::Down,
    Status::Completed,
    Status::Failed,
    Status::Lost,
    Status::Paused,
];

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The label of a method. Clients can invent methods, so unknown ones share a time series.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::PUT => "PUT",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
