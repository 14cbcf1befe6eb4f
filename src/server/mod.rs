//! The HTTP API: the contract with people, scripts and the command line.
//!
//! There is one file per resource. The handlers share `guard` (checks of every request), `input` and `lenient` (request
//! parsing), `resource` (lookup, reads, lists), `command` (responses to commands) and `problem` (errors). A handler parses its
//! request, names a command or a query, and leaves the rest to them.
//!
//! Architecture Invariant: the API decides nothing. Commands are decided by `kdaemon_control::commands`, and reads are answered
//! from the projections.

mod accept;
mod applications;
mod archive;
mod audit;
mod backup;
mod command;
mod containers;
mod events;
mod guard;
mod health;
mod history;
mod input;
mod lenient;
mod nodes;
mod openapi;
mod problem;
mod proof;
mod rebalance;
mod replay;
mod request_id;
mod resource;
mod serve;
mod state;
mod stream;
mod ui;
mod value;
mod websocket;
mod when;
mod why;

pub use serve::serve;

use crate::config::Config;
use crate::engine::Engines;
use crate::journal::Journal;
use crate::latest as watch;
use crate::leader::Role;
use crate::past::Past;
use crate::reactors::{Deliveries, Rebuilds};
use axum::Router;
use axum::extract::Request;
use axum::http::HeaderName;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use problem::{Problem, Sort};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

/// Seq of the state that a response reflects, or of a command's last event.
const SEQ_HEADER: HeaderName = HeaderName::from_static("x-kdaemon-seq");
/// Generation of the container whose output a response has.
const GENERATION_HEADER: HeaderName = HeaderName::from_static("x-kdaemon-generation");
/// Set while the log's clock is ahead of the daemon's machine by more than a few seconds: by how many seconds.
const CLOCK_AHEAD_HEADER: HeaderName = HeaderName::from_static("x-kdaemon-clock-ahead");
/// Set while the store is unavailable: the reason why a response may be out of date.
const STALE_HEADER: HeaderName = HeaderName::from_static("x-kdaemon-stale");
/// Id of the request.
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The result of a handler.
type HandlerResult = Result<Response, Problem>;

/// The shared state of the handlers. Cheap to clone, because every layer around a handler holds a clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

/// The state of an [`Api`].
pub struct Shared {
    journal: Journal,
    past: Past,
    /// Permits for concurrent replays.
    replays: Arc<Semaphore>,
    engines: Arc<dyn Engines>,
    config: Arc<Config>,
    /// Cancelled when the daemon stops: streams end, and waiting commands are answered.
    shutdown: CancellationToken,
    /// Role of this daemon.
    role: watch::Receiver<Role>,
    metrics: health::Metrics,
    /// Permits for concurrent verifications.
    audits: Arc<Semaphore>,
    /// The permit for a backup.
    backups: Arc<Semaphore>,
    /// The permit for an export.
    exports: Arc<Semaphore>,
    /// Requests to rebuild the tables.
    rebuilds: Rebuilds,
    /// Counts of the webhook's deliveries, if there is a webhook.
    deliveries: OnceLock<Arc<Deliveries>>,
    /// The body of `/openapi.json`, once the router is built.
    document: OnceLock<bytes::Bytes>,
    /// The methods of each route, as errors list them, once the router is built.
    methods: OnceLock<BTreeMap<String, String>>,
}

impl std::ops::Deref for Api {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    /// Creates the API of a daemon, which ends when `shutdown` is cancelled.
    #[must_use]
    pub fn new(
        journal: Journal,
        engines: Arc<dyn Engines>,
        config: Arc<Config>,
        shutdown: CancellationToken,
        role: watch::Receiver<Role>,
        rebuilds: Rebuilds,
    ) -> Self {
        let metrics = health::Metrics::new();
        let audits = Arc::new(Semaphore::new(audit::AT_ONCE));
        let (backups, exports) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        let (document, methods) = (OnceLock::new(), OnceLock::new());
        let past = Past::new(journal.clone());
        let replays = Arc::new(Semaphore::new(replay::AT_ONCE));
        Self(Arc::new(Shared {
            journal,
            past,
            replays,
            engines,
            config,
            shutdown,
            role,
            metrics,
            audits,
            backups,
            exports,
            rebuilds,
            deliveries: OnceLock::new(),
            document,
            methods,
        }))
    }

    /// Adds the counts of the webhook's deliveries to `/metrics`.
    pub fn count_deliveries(&self, deliveries: Arc<Deliveries>) {
        let _ = self.deliveries.set(deliveries); // set once, by the one daemon of this process
    }
}

/// The routes of a resource.
type Routes = Vec<UtoipaMethodRouter<Api>>;

/// Prefixes the path of a route with the version. A nested router would do the same work for every request.
fn under(version: &str, (schemas, mut paths, handlers): UtoipaMethodRouter<Api>) -> UtoipaMethodRouter<Api> {
    paths.paths = paths.paths.into_iter().map(|(path, item)| (format!("/{version}{path}"), item)).collect();
    (schemas, paths, handlers)
}

/// All routes with their descriptions. `version` prefixes the paths of the versioned ones.
fn routes(version: &str) -> OpenApiRouter<Api> {
    let versioned = [
        nodes::routes(),
        applications::routes(),
        containers::routes(),
        rebalance::routes(),
        events::routes(),
        stream::routes(),
        audit::routes(),
        proof::routes(),
        backup::routes(),
        archive::routes(),
        history::routes(),
        state::routes(),
        why::routes(),
        replay::routes(),
    ];
    let versioned = versioned.into_iter().flatten().map(|route| under(version, route));
    let unversioned = [health::routes(), openapi::routes(), websocket::routes()].into_iter().flatten();
    unversioned.chain(versioned).fold(ui::routes(), OpenApiRouter::routes)
}

/// The OpenAPI description of the API as indented JSON, the content of `openapi/kdaemon.json`.
#[must_use]
pub fn description(version: &str) -> String {
    let (_, document) = routes(version).split_for_parts();
    let document = openapi::complete(document);
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default(); // text keys: cannot fail
    text.push('\n');
    text
}

/// Creates the router: all routes and the layers around them.
pub fn router(api: Api) -> Router {
    let (router, document) = routes(&api.config.api_version).split_for_parts();
    // Set only here, and a router is built once.
    let _ = api.methods.set(openapi::methods(&document));
    let _ = api.document.set(resource::json(&openapi::complete(document)).into());
    let router = router.fallback(no_such_route);
    let router = match guard::cors(&api) {
        None => router.layer(from_fn_with_state(api.clone(), guard::guard)),
        Some(cors) => router
            .layer(from_fn_with_state(api.clone(), guard::inner))
            .layer(cors)
            .layer(from_fn_with_state(api.clone(), guard::outer)),
    };
    router.with_state(api)
}

async fn no_such_route(request: Request) -> Problem {
    let path = request.uri().path();
    Problem::new(Sort::NoSuchRoute, format!("no route `{path}`; see /openapi.json for all routes"))
}
