//! The daemon: wires its parts together, and the order of start and stop.

use crate::config::{Config, ConfigError, StoreKind};
use crate::engine::docker::{DockerEngines, EngineLimits};
use crate::engine::{EngineError, Engines, Failure};
use crate::journal::{Journal, Runtime, Submission, SubmitError, SystemRuntime};
use crate::leader::Candidate;
use crate::reactors::{Reactors, Settings, Webhook};
use crate::server::{self, Api};
use crate::store::{RethinkdbSettings, RethinkdbStore, SqliteStore, Store, StoreError};
use kdaemon_control::commands::{Command, MountNode, Policy, Refusal};
use kdaemon_events::node::{Availability, LOCAL_NODE};
use kdaemon_events::{Actor, ClusterId, Endpoint, SpecError};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Why the daemon could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first commands could not be recorded.
    #[error("the log cannot be written: {0}")]
    Submit(#[from] SubmitError),
    /// Binding the API's address failed.
    #[error("cannot listen on {address}: {error}; choose another address with --bind")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: std::io::Error,
    },
    /// `rethinkdb_password_file` cannot be read.
    #[error("rethinkdb_password_file: {} cannot be read ({error})", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// No log exists where one is expected.
    #[error("there is no log in {place}; name the daemon's own with {hint}")]
    NoLog {
        /// Where it was looked for.
        place: String,
        /// The flag or settings that name another place.
        hint: &'static str,
    },
    /// `local_endpoint` is invalid.
    #[error("local_endpoint: {0}")]
    LocalEndpoint(#[from] SpecError),
    /// The webhook's settings cannot be used.
    #[error("{0}")]
    Webhook(String),
    /// Accepting connections failed after the start.
    #[error("the API stopped: {0}")]
    Serve(std::io::Error),
}

/// Opens the store that the configuration names.
///
/// # Errors
/// When it cannot be opened; the message says what to do.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, DaemonError> {
    match config.store {
        StoreKind::Embedded => Ok(Arc::new(SqliteStore::open(&config.data_dir)?)),
        StoreKind::Rethinkdb => Ok(Arc::new(RethinkdbStore::open(rethinkdb(config)?).await?)),
    }
}

/// Opens the existing store that the configuration names.
///
/// # Errors
/// As [`open_store`], and [`DaemonError::NoLog`] when there is none.
pub async fn open_existing_store(config: &Config) -> Result<Arc<dyn Store>, DaemonError> {
    match config.store {
        StoreKind::Embedded if !SqliteStore::exists(&config.data_dir) => {
            let place = config.data_dir.display().to_string();
            return Err(DaemonError::NoLog { place, hint: "--data-dir" });
        }
        StoreKind::Rethinkdb if !RethinkdbStore::exists(rethinkdb(config)?).await? => {
            let place = format!("the database {}", config.rethinkdb_dbname);
            return Err(DaemonError::NoLog { place, hint: "rethinkdb_host and rethinkdb_dbname" });
        }
        _ => {}
    }
    open_store(config).await
}

fn rethinkdb(config: &Config) -> Result<RethinkdbSettings, DaemonError> {
    let path = &config.rethinkdb_password_file;
    let password = if path.as_os_str().is_empty() {
        String::new()
    } else {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| DaemonError::Password { path: path.clone(), error })?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    };
    Ok(RethinkdbSettings {
        hosts: config.rethinkdb_servers(),
        dbname: config.rethinkdb_dbname.clone(),
        user: config.rethinkdb_user.clone(),
        password,
        replicas: config.rethinkdb_replicas,
        ..RethinkdbSettings::default()
    })
}

/// Runs the daemon until `shutdown` is cancelled. Calls `ready` with the bound address once the API answers.
///
/// # Errors
/// When it cannot start; the message says what to do.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), DaemonError> {
    let engines = Arc::new(DockerEngines::new(limits(&config)));
    run_on(engines, config, shutdown, ready).await
}

/// As [`run`], on the given engines.
///
/// Start order: store, journal, listener, this machine's engine, candidacy (and with it, sooner or later, the
/// reactors). Stop order is the reverse: no new requests, finish those in progress, reactors, journal, store.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    engines: Arc<dyn Engines>,
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), DaemonError> {
    let config = Arc::new(config);
    let store = open_store(&config).await?;
    let journal =
        Journal::open(Arc::clone(&store), Arc::new(SystemRuntime), Arc::new(policy(&config))).await?;
    let result = serve(engines, &config, &journal, shutdown, ready).await;
    journal.close().await;
    store.close().await;
    result
}

async fn serve(
    engines: Arc<dyn Engines>,
    config: &Arc<Config>,
    journal: &Journal,
    shutdown: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), DaemonError> {
    create_cluster(journal).await?;
    let address = config.bind_address();
    let listener =
        TcpListener::bind(address).await.map_err(|error| DaemonError::Listen { address, error })?;
    let address = listener.local_addr().map_err(|error| DaemonError::Listen { address, error })?;
    // `unix://` means another engine on each machine; several daemons need an address that all of them reach.
    if config.local_node && config.store == StoreKind::Embedded {
        mount_local_engine(config, journal, engines.as_ref()).await?;
    }
    let settings = settings(config)?;
    if let Some(webhook) = &settings.webhook {
        // Before any command is accepted, so that a new receiver misses nothing.
        webhook.begin(journal.store().as_ref(), journal.cluster().seq()).await?;
    }
    let deliveries = settings.webhook.as_ref().map(|webhook| Arc::clone(&webhook.deliveries));
    let name = format!("{}[{}]", host_name(), std::process::id());
    let (candidate, role) =
        Candidate::new(journal.clone(), SystemRuntime.random(), name, config.leader_lease);
    let rebuilds = settings.rebuilds.clone();
    let start = {
        let (journal, engines) = (journal.clone(), Arc::clone(&engines));
        move |leadership| Reactors::start(journal.clone(), Arc::clone(&engines), settings.clone(), leadership)
    };
    let served = CancellationToken::new();
    let candidate = tokio::spawn(candidate.run(start, served.clone()));
    if config.store == StoreKind::Rethinkdb {
        let journal = journal.clone();
        tokio::spawn(async move { journal.follow().await }); // ends with the journal
    }
    let api = Api::new(journal.clone(), engines, Arc::clone(config), shutdown, role, rebuilds);
    if let Some(deliveries) = deliveries {
        api.count_deliveries(deliveries);
    }
    ready(address);
    let result = server::serve(listener, api).await;
    served.cancel();
    let _ = candidate.await; // it can only have panicked, which was logged
    result.map_err(DaemonError::Serve)
}

/// Creates the cluster, unless it exists or another daemon creates it at the same time.
async fn create_cluster(journal: &Journal) -> Result<(), DaemonError> {
    if journal.cluster().id().is_some() {
        return Ok(());
    }
    let create = Command::CreateCluster(ClusterId(SystemRuntime.random()));
    match journal.submit(Submission::new(create, Actor::reactor("daemon"))).await {
        Err(SubmitError::Refused(Refusal::Conflict { .. })) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

/// This machine's name, for messages.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "kdaemon".to_owned() } else { name.to_owned() }
}

/// Mounts this machine's own engine as the node `local`, if it answers and was never mounted. An engine that a
/// person unmounted stays unmounted.
async fn mount_local_engine(
    config: &Config,
    journal: &Journal,
    engines: &dyn Engines,
) -> Result<(), DaemonError> {
    let endpoint: Endpoint = config.local_endpoint.parse()?;
    let cluster = journal.cluster();
    if cluster.nodes().any(|node| node.endpoint == endpoint) {
        return Ok(());
    }
    if cluster.had_own_engine(&endpoint) {
        tracing::info!(%endpoint, "the local engine was unmounted before and is not mounted again; to mount it, \
            run `kdaemon nodes add {endpoint} --name {LOCAL_NODE}`");
        return Ok(());
    }
    let ping = async {
        match tokio::time::timeout(config.probe_timeout, engines.client(&endpoint).ping()).await {
            Ok(answer) => answer,
            Err(_) => Err(EngineError::Unreachable(Failure::timeout(config.probe_timeout))),
        }
    };
    if let Err(error) = ping.await {
        tracing::info!(%endpoint, %error, "the local engine does not answer and is not mounted");
        return Ok(());
    }
    let mount = MountNode {
        availability: Availability::Active,
        name: Some(LOCAL_NODE.to_owned()),
        user_id: None,
        endpoint,
        labels: BTreeMap::new(),
        capacity: None,
    };
    match journal.submit(Submission::new(Command::MountNode(mount), Actor::reactor("daemon"))).await {
        Ok(_) => Ok(()),
        Err(SubmitError::Refused(Refusal::Conflict { detail, .. })) => {
            tracing::warn!("the local engine is not mounted: {detail}");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn policy(config: &Config) -> Policy {
    Policy {
        unhealthy_after: config.unhealthy_after,
        healthy_after: config.healthy_after,
        launch_attempts: config.launch_attempts,
        restart_pause_max: config.restart_pause_max,
        max_migrations: config.max_migrations,
        strategy: config.strategy,
        ..Policy::default()
    }
}

fn limits(config: &Config) -> EngineLimits {
    EngineLimits {
        probe: config.probe_timeout,
        launch: config.launch_timeout,
        pull: config.pull_timeout,
        stop_grace: config.stop_timeout,
        stop: config.stop_timeout + Duration::from_secs(5),
        max_work: config.max_node_work,
        ..EngineLimits::default()
    }
}

fn settings(config: &Config) -> Result<Settings, DaemonError> {
    let secret_file = Some(config.webhook_secret_file.clone()).filter(|path| path.as_os_str() != "");
    let webhook = match config.webhook_url.as_str() {
        "" => None,
        url => Some(Webhook::new(url, &config.webhook_events, secret_file).map_err(DaemonError::Webhook)?),
    };
    Ok(Settings {
        health_interval: config.health_interval,
        probe_timeout: config.probe_timeout,
        probe_retry_interval: config.probe_retry_interval,
        registry_auth_dir: Some(config.data_dir.join("registry-auth")),
        observation_retention: Some(config.observation_retention),
        webhook,
        ..Settings::default()
    })
}
