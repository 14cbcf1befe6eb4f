//! What every request passes: its id, who may ask from where, how long it may take, and the form of its answer.

use super::command::WAIT_LIMIT;
use super::lenient::LenientDuration;
use super::problem::{MEDIA_TYPE, Problem, Sort};
use super::{Api, REQUEST_ID_HEADER, SEQ_HEADER, STALE_HEADER};
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{Extensions, HeaderValue, Method, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use kdaemon_events::RequestId;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower_http::cors::CorsLayer;
use uuid::Uuid;

/// The connection that a request came over.
#[derive(Clone)]
pub(super) struct Connection {
    /// Our end of it.
    pub(super) local: SocketAddr,
    /// What it takes of `max_connections`, for as long as anybody holds this.
    pub(super) _permit: Arc<tokio::sync::OwnedSemaphorePermit>,
}

/// The longest request id that is taken over, in characters.
const REQUEST_ID_LIMIT: usize = 128;

/// The id of a request.
pub(super) fn request_id(extensions: &Extensions) -> RequestId {
    extensions.get::<RequestId>().cloned().unwrap_or_else(|| RequestId(Uuid::new_v4().to_string()))
}

/// A trailing slash means nothing: `/nodes/` is `/nodes`. Runs before routing.
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

/// All that stands around a handler where no pages of other origins may call. (In one piece, for each layer around a
/// handler is made anew for each request.)
pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let seen = Seen::of(&mut request);
    let response = match refuse(&api, &request) {
        Some(problem) => problem.into_response(),
        None => bound(&api, request, next).await,
    };
    seen.dress(&api, response).await
}

/// The outer part of [`guard`], for CORS to stand between.
pub(super) async fn outer(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let seen = Seen::of(&mut request);
    let response = match refuse(&api, &request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    seen.dress(&api, response).await
}

/// The inner part of [`guard`], for CORS to stand between.
pub(super) async fn inner(State(api): State<Api>, request: Request, next: Next) -> Response {
    bound(&api, request, next).await
}

/// A request, as it came in.
struct Seen {
    started: Instant,
    id: String,
    uri: Uri,
    method: Method,
    route: Option<MatchedPath>,
}

impl Seen {
    /// Gives the request its id.
    fn of(request: &mut Request) -> Self {
        let started = Instant::now();
        let given = request.headers().get(&REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
        let sane = given.filter(|id| (1..=REQUEST_ID_LIMIT).contains(&id.len()) && !id.contains('\t'));
        let id = sane.map_or_else(|| Uuid::new_v4().to_string(), ToOwned::to_owned);
        let uri = request.uri().clone();
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().cloned();
        request.extensions_mut().insert(RequestId(id.clone()));
        Self { started, id, uri, method, route }
    }

    /// Gives the answer its headers and, if it is an error, its body.
    async fn dress(self, api: &Api, response: Response) -> Response {
        // The Allow header is written outside of all layers: the methods have to come from elsewhere.
        let allowed = self.route.as_ref().and_then(|route| api.methods.get()?.get(route.as_str()));
        let allowed = allowed.map(String::as_str);
        let mut response = as_problem(response, self.uri.path(), &self.id, allowed).await;
        let headers = response.headers_mut();
        headers.reserve(8); // those that follow, at once
        headers.entry(&SEQ_HEADER).or_insert_with(|| HeaderValue::from(api.journal.cluster().seq().0));
        let trouble = api.journal.trouble().and_then(|trouble| HeaderValue::try_from(trouble).ok());
        headers.extend(trouble.map(|trouble| (STALE_HEADER, trouble)));
        headers.extend(HeaderValue::try_from(self.id).ok().map(|id| (REQUEST_ID_HEADER, id)));
        harden(headers);
        let route = self.route.as_ref().map_or("", MatchedPath::as_str);
        api.metrics.answered(route, &self.method, response.status(), self.started.elapsed());
        response
    }
}

/// Answers are data: no browser is to guess at them, show them in a frame or keep them.
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

/// Writes out a problem; makes one of an error that has none, as layers below us answer them.
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
        tracing::warn!(request_id = id, path, %status, ?problem, "not answered as asked");
    }
    *response.body_mut() = Body::from(problem.json(path, id));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.remove(header::CONTENT_LENGTH);
    response
}

/// Only names of this daemon are answered to: a web page that has its own name resolve to this address (DNS
/// rebinding) does not get through. And only its own pages, or those that `cors_origins` names, may command.
fn refuse(api: &Api, request: &Request) -> Option<Problem> {
    let detail = match foreign_host(api, request) {
        Some(host) => Some(format!("`{host}` is not a name of this daemon; server_names may add it")),
        None if is_plain_read(request) => None,
        None => foreign_origin(api, request.headers()).map(|origin| {
            format!("pages of {origin} may not command this daemon; cors_origins may allow it")
        }),
    };
    detail.map(|detail| Problem::new(Sort::Forbidden, detail))
}

/// A reading whose answer a page of another origin never sees: browsers keep it from them.
fn is_plain_read(request: &Request) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    reads && !request.headers().contains_key(header::UPGRADE)
}

/// The host that was asked for, if it is none of ours.
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

/// The origin of the page that asks, if it is neither ours nor one of `cors_origins`.
fn foreign_origin(api: &Api, headers: &HeaderMap) -> Option<String> {
    let origin = String::from_utf8_lossy(headers.get(header::ORIGIN)?.as_bytes()).into_owned();
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let page = origin.split_once("://").map(|(_, authority)| authority).unwrap_or_default();
    let own = !page.is_empty() && page.eq_ignore_ascii_case(host);
    let allowed = api.config.cors_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(&origin));
    (!own && !allowed).then_some(origin)
}

/// The layer that tells browsers which other pages may call; `None` when there are none.
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
            ])
            .max_age(Duration::from_secs(600)),
    )
}

/// What is worked out of any length of the log takes as long as that is. Whoever goes away ends it, and of each only a few
/// go on at one time.
const LONG: [&str; 3] = ["/diff", "/rebuild", "/replay"];

/// Bounds how long an answer may take to begin (what a `?wait=` asks for comes on top), and holds a panic.
async fn bound(api: &Api, request: Request, next: Next) -> Response {
    let limit = api.config.request_timeout + wait_of(request.uri());
    let route = request.extensions().get::<MatchedPath>();
    let is_long = route.is_some_and(|route| LONG.iter().any(|long| route.as_str().ends_with(long)));
    // Nothing of the request is used after a panic, and what it shares with others is changed whole or not at all.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let outcome = if is_long { Ok(answer.await) } else { tokio::time::timeout(limit, answer).await };
    match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            Problem::new(Sort::Internal, "the request was ended by a fault of the daemon; its log says more")
                .into_response()
        }
        Err(_) => Problem::new(
            Sort::Timeout,
            format!(
                "there was no answer within {}ms; what was asked for may still be done",
                limit.as_millis()
            ),
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
