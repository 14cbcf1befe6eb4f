//! The HTTP API: the contract with people, scripts and the command line.
//!
//! One file per resource. Around the handlers: `guard` (what every request passes), `input` and `lenient`
//! (reading requests), `resource` (finding, reading, listing), `command` (how commands are answered),
//! `problem` (errors). A handler reads its request, names a command or a question, and leaves the rest to them.
//!
//! Architecture Invariant: the API decides nothing. Whether a command may happen is said by `commands`, and
//! what there is to see by the projections.

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

/// The seq of the state that an answer shows, or of a command's last event.
const SEQ_HEADER: HeaderName = HeaderName::from_static("x-kdaemon-seq");
/// Why what is answered may be out of date: the store cannot be reached.
const STALE_HEADER: HeaderName = HeaderName::from_static("x-kdaemon-stale");
/// The request's id.
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// What a handler answers.
type Answered = Result<Response, Problem>;

/// What the handlers work with. Cheap to clone, for every layer around a handler has its own.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

/// What all clones of an [`Api`] share.
pub struct Shared {
    journal: Journal,
    past: Past,
    /// A permit for each replay that may run.
    replays: Arc<Semaphore>,
    engines: Arc<dyn Engines>,
    config: Arc<Config>,
    /// Cancelled when the daemon stops: streams end, waiting commands are answered.
    shutdown: CancellationToken,
    /// Whether this daemon leads.
    role: watch::Receiver<Role>,
    metrics: health::Metrics,
    /// Places for verifications.
    audits: Arc<Semaphore>,
    /// The place for a backup.
    backups: Arc<Semaphore>,
    /// The place for an export.
    exports: Arc<Semaphore>,
    /// Where it is asked for that the tables are made anew.
    rebuilds: Rebuilds,
    /// What became of the events that are sent, where they are.
    deliveries: OnceLock<Arc<Deliveries>>,
    /// The answer of `/openapi.json`, once the router is built.
    document: OnceLock<bytes::Bytes>,
    /// The methods of each route, as an error names them, once the router is built.
    methods: OnceLock<BTreeMap<String, String>>,
}

impl std::ops::Deref for Api {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    /// The API of a daemon, which ends when `shutdown` is cancelled.
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
        let replays = Arc::new(Semaphore::new(replay::TOGETHER));
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

    /// Has `/metrics` tell what becomes of the events that are sent.
    pub fn count_deliveries(&self, deliveries: Arc<Deliveries>) {
        let _ = self.deliveries.set(deliveries); // by the one daemon that there is
    }
}

/// The routes of a resource.
type Routes = Vec<UtoipaMethodRouter<Api>>;

/// A route with the version before its path. (A router that is nested in another does it too, but for each request.)
fn under(version: &str, (schemas, mut paths, handlers): UtoipaMethodRouter<Api>) -> UtoipaMethodRouter<Api> {
    paths.paths = paths.paths.into_iter().map(|(path, item)| (format!("/{version}{path}"), item)).collect();
    (schemas, paths, handlers)
}

/// All routes with their descriptions; `version` prefixes the paths of all but a few.
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

/// The OpenAPI description of the API as indented JSON: what `openapi/kdaemon.json` holds.
#[must_use]
pub fn description(version: &str) -> String {
    let (_, document) = routes(version).split_for_parts();
    let document = openapi::complete(document);
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default(); // text keys: cannot fail
    text.push('\n');
    text
}

/// All routes with the layers around them.
pub fn router(api: Api) -> Router {
    let (router, document) = routes(&api.config.api_version).split_for_parts();
    // Both are set here alone, and a router is built once.
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
    Problem::new(Sort::NoSuchRoute, format!("there is no route `{path}`; /openapi.json has them all"))
}
