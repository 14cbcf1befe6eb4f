//! Checks of every request (host and origin), its id and its timeout, and the headers and problems of every response.

use super::command::WAIT_LIMIT;
use super::lenient::LenientDuration;
use super::problem::{MEDIA_TYPE, Problem, Sort};
use super::{Api, CLOCK_AHEAD_HEADER, REQUEST_ID_HEADER, SEQ_HEADER, STALE_HEADER, request_id};
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower_http::cors::CorsLayer;

/// The connection of a request.
#[derive(Clone)]
pub(super) struct Connection {
    /// The daemon's address.
    pub(super) local: SocketAddr,
    /// The permit of `max_connections`, released with the last clone.
    pub(super) _permit: Arc<tokio::sync::OwnedSemaphorePermit>,
}

/// Removes trailing slashes from the path (`/nodes/` is `/nodes`). Runs before routing.
pub(super) fn without_trailing_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.len() == path.len() || trimmed.is_empty() {
        return request;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    if let Ok(path_and_query) = format!("{trimmed}{query}").try_into() {
        parts.path_and_query = Some(path_and_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The layer around all handlers where CORS is off. It is a single layer, because axum creates every layer again for each
/// request.
pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let facts = RequestFacts::of(&mut request);
    let response = match refuse(&api, &request) {
        Some(problem) => problem.into_response(),
        None => bound(&api, request, next).await,
    };
    facts.complete(&api, response).await
}

/// The part of [`guard`] outside of the CORS layer.
pub(super) async fn outer(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let facts = RequestFacts::of(&mut request);
    let response = match refuse(&api, &request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    facts.complete(&api, response).await
}

/// The part of [`guard`] inside of the CORS layer.
pub(super) async fn inner(State(api): State<Api>, request: Request, next: Next) -> Response {
    bound(&api, request, next).await
}

/// The facts about a request that its response needs.
struct RequestFacts {
    started: Instant,
    id: String,
    uri: Uri,
    method: Method,
    route: Option<MatchedPath>,
}

impl RequestFacts {
    /// Collects the facts, and gives the request its id.
    fn of(request: &mut Request) -> Self {
        let started = Instant::now();
        let id = request_id::assign(request);
        let uri = request.uri().clone();
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().cloned();
        Self { started, id, uri, method, route }
    }

    /// Adds the headers to a response and, if it is an error, its body.
    async fn complete(self, api: &Api, response: Response) -> Response {
        // The router adds the Allow header outside of all layers, so the methods are looked up here.
        let allowed = self.route.as_ref().and_then(|route| api.methods.get()?.get(route.as_str()));
        let allowed = allowed.map(String::as_str);
        let mut response = as_problem(response, self.uri.path(), &self.id, allowed).await;
        let headers = response.headers_mut();
        headers.reserve(8); // for the headers below, in one allocation
        headers.entry(&SEQ_HEADER).or_insert_with(|| HeaderValue::from(api.journal.cluster().seq().0));
        let trouble = api.journal.trouble().and_then(|trouble| HeaderValue::try_from(trouble).ok());
        headers.extend(trouble.map(|trouble| (STALE_HEADER, trouble)));
        let ahead = api.journal.clock_ahead();
        let ahead = (ahead >= CLOCK_AHEAD).then(|| format!("{:.3}", ahead.as_secs_f64()));
        let ahead = ahead.and_then(|ahead| HeaderValue::try_from(ahead).ok());
        headers.extend(ahead.map(|ahead| (CLOCK_AHEAD_HEADER, ahead)));
        headers.extend(HeaderValue::try_from(self.id).ok().map(|id| (REQUEST_ID_HEADER, id)));
        harden(headers);
        let route = self.route.as_ref().map_or("", MatchedPath::as_str);
        api.metrics.answered(route, &self.method, response.status(), self.started.elapsed());
        response
    }
}

/// How far the log's clock is ahead before responses say so: daemons whose clocks are kept by NTP differ by less.
const CLOCK_AHEAD: Duration = Duration::from_secs(5);

/// Adds security headers: responses are data, which browsers must not sniff, frame or cache.
fn harden(headers: &mut HeaderMap) {
    const DEFAULTS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Writes the body of a problem; converts an error response of a library into one.
async fn as_problem(mut response: Response, path: &str, id: &str, allowed: Option<&str>) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None => {
            let body = std::mem::take(response.body_mut());
            let text = to_bytes(body, 4096).await.unwrap_or_default();
            match allowed.filter(|_| status == StatusCode::METHOD_NOT_ALLOWED) {
                Some(methods) => Problem::method_not_allowed(methods),
                None => Problem::from_plain(status, String::from_utf8_lossy(&text).into_owned()),
            }
        }
    };
    if status.is_server_error() {
        tracing::warn!(request_id = id, path, %status, ?problem, "request failed");
    }
    *response.body_mut() = Body::from(problem.json(path, id));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.remove(header::CONTENT_LENGTH);
    response
}

/// Rejects requests to foreign host names, which stops DNS rebinding, and commands from web pages of foreign origins that
/// `cors_origins` does not list.
fn refuse(api: &Api, request: &Request) -> Option<Problem> {
    let detail = match foreign_host(api, request) {
        Some(host) => Some(format!("`{host}` is not a name of this daemon; add it to server_names to allow it")),
        None if is_plain_read(request) => None,
        None => foreign_origin(api, request.headers()).map(|origin| {
            format!("requests from pages of {origin} are not allowed; add the origin to cors_origins to allow them")
        }),
    };
    detail.map(|detail| Problem::new(Sort::Forbidden, detail))
}

/// `true` for a read, whose response browsers hide from pages of other origins.
fn is_plain_read(request: &Request) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    reads && !request.headers().contains_key(header::UPGRADE)
}

/// The requested host, if it is not a name or address of this daemon.
fn foreign_host(api: &Api, request: &Request) -> Option<String> {
    let mut hosts: Vec<String> = request
        .headers()
        .get_all(header::HOST)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    hosts.extend(request.uri().authority().map(ToString::to_string));
    if hosts.is_empty() {
        return (request.version() >= Version::HTTP_11).then(String::new);
    }
    let local = request.extensions().get::<Connection>().map(|connection| connection.local.ip());
    hosts.into_iter().find(|host| !is_own(api, bare_host(host), local))
}

fn bare_host(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn is_own(api: &Api, host: &str, local: Option<IpAddr>) -> bool {
    let host = host.trim_end_matches('.');
    if let Ok(ip) = host.parse::<IpAddr>() {
        let ip = ip.to_canonical();
        let is_bound = |bound: IpAddr| bound.to_canonical() == ip && !ip.is_unspecified();
        let is_named = api.config.server_names.iter().any(|name| name.parse() == Ok(ip));
        return ip.is_loopback() || is_named || is_bound(api.config.bind_ip) || local.is_some_and(is_bound);
    }
    host.eq_ignore_ascii_case("localhost")
        || api.config.server_names.iter().any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host))
}

/// The origin of the request, if it is neither this daemon nor listed in `cors_origins`.
fn foreign_origin(api: &Api, headers: &HeaderMap) -> Option<String> {
    let origin = String::from_utf8_lossy(headers.get(header::ORIGIN)?.as_bytes()).into_owned();
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let page = origin.split_once("://").map(|(_, authority)| authority).unwrap_or_default();
    let own = !page.is_empty() && page.eq_ignore_ascii_case(host);
    let allowed = api.config.cors_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(&origin));
    (!own && !allowed).then_some(origin)
}

/// The CORS layer; `None` if `cors_origins` is empty.
pub(super) fn cors(api: &Api) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> =
        api.config.cors_origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect();
    if origins.is_empty() {
        return None;
    }
    let idempotency_key = HeaderName::from_static("idempotency-key");
    let last_event_id = HeaderName::from_static("last-event-id");
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_MATCH,
                header::IF_NONE_MATCH,
                idempotency_key,
                last_event_id,
                REQUEST_ID_HEADER,
            ])
            .expose_headers([
                header::ETAG,
                header::LINK,
                header::LOCATION,
                header::RETRY_AFTER,
                REQUEST_ID_HEADER,
                SEQ_HEADER,
                STALE_HEADER,
                CLOCK_AHEAD_HEADER,
            ])
            .max_age(Duration::from_secs(600)),
    )
}

/// Suffixes of the routes without a timeout: their work grows with the log. They end when the client disconnects, and are
/// limited in number.
const LONG: [&str; 3] = ["/diff", "/rebuild", "/replay"];

/// Runs a request with a timeout until its response begins (`request_timeout` plus `?wait=`), and catches panics.
async fn bound(api: &Api, request: Request, next: Next) -> Response {
    let limit = api.config.request_timeout + wait_of(request.uri());
    let route = request.extensions().get::<MatchedPath>();
    let is_long = route.is_some_and(|route| LONG.iter().any(|long| route.as_str().ends_with(long)));
    // Nothing of the request is used after a panic, and shared state is replaced as a whole or not at all.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let outcome = if is_long { Ok(answer.await) } else { tokio::time::timeout(limit, answer).await };
    match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            Problem::new(Sort::Internal, "the handler panicked; see the log of the daemon").into_response()
        }
        Err(_) => Problem::new(
            Sort::Timeout,
            format!("timed out after {} ms; the request may still take effect", limit.as_millis()),
        )
        .into_response(),
    }
}

fn wait_of(uri: &Uri) -> Duration {
    let pairs = uri.query().unwrap_or_default().split('&');
    let wait = pairs.filter_map(|pair| pair.strip_prefix("wait=")).next_back();
    wait.and_then(|text| {
        serde_json::from_value::<LenientDuration>(serde_json::Value::String(text.to_owned())).ok()
    })
    .map_or(Duration::ZERO, |span| span.or_seconds().min(WAIT_LIMIT))
}
