//! The daemon: wires the parts together; the order of start and stop.

use crate::api::{self, Api};
use crate::commands::{Command, MountNode, Policy, Refusal};
use crate::config::{Config, ConfigError, StoreKind};
use crate::engine::docker::{DockerEngines, Limits};
use crate::engine::{EngineError, Engines};
use crate::journal::{Ambient, Journal, Machine, Submission, SubmitError};
use crate::reactors::{Reactors, Settings, Webhook};
use crate::store::{EventStore, SqliteStore, StoreError};
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
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first commands could not be recorded.
    #[error("the log cannot be written: {0}")]
    Submit(#[from] SubmitError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; choose another address with --bind")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The store that the configuration names is not there yet.
    #[error("store = rethinkdb is not available in this version; use store = embedded")]
    NoRethinkdb,
    /// There is no log where one is expected.
    #[error("there is no log in {}; name the daemon's data folder with --data-dir", folder.display())]
    NoLog {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// `local_endpoint` is wrong.
    #[error("local_endpoint: {0}")]
    LocalEndpoint(#[from] SpecError),
    /// Events cannot be sent as the configuration says.
    #[error("{0}")]
    Webhook(String),
    /// Listening failed later.
    #[error("the API stopped: {0}")]
    Serve(std::io::Error),
}

/// Opens the store that the configuration names.
///
/// # Errors
/// When it cannot be opened; the message says what to do.
pub fn open_store(config: &Config) -> Result<Arc<dyn EventStore>, DaemonError> {
    match config.store {
        StoreKind::Embedded => Ok(Arc::new(SqliteStore::open(&config.data_dir)?)),
        StoreKind::Rethinkdb => Err(DaemonError::NoRethinkdb),
    }
}

/// Opens the store of a daemon that has run before.
///
/// # Errors
/// As [`open_store`], and when there is none.
pub fn open_existing_store(config: &Config) -> Result<Arc<dyn EventStore>, DaemonError> {
    if config.store == StoreKind::Embedded && !SqliteStore::exists(&config.data_dir) {
        return Err(DaemonError::NoLog { folder: config.data_dir.clone() });
    }
    open_store(config)
}

/// Runs the daemon until `shutdown` is cancelled. `ready` is called with the address once it answers.
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

/// As [`run`], on engines that somebody brings.
///
/// Start: store, journal, leadership, listening, this machine's engine, reactors. Stop, in the other
/// direction: no new requests, those under way are answered, reactors, journal, store.
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
    let store = open_store(&config)?;
    let journal = Journal::open(Arc::clone(&store), Arc::new(Machine), Arc::new(policy(&config))).await?;
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
    let daemon = Actor::reactor("daemon");
    if journal.cluster().id().is_none() {
        let create = Command::CreateCluster(ClusterId(Machine.random()));
        journal.submit(Submission::new(create, daemon.clone())).await?;
    }
    // The embedded store admits one daemon at a time: it leads as soon as it has the store.
    let term = journal.cluster().term().next();
    let lead = Command::BecomeLeader { term, daemon: format!("kdaemon[{}]", std::process::id()) };
    journal.submit(Submission::new(lead, daemon)).await?;

    let address = config.bind_address();
    let listener =
        TcpListener::bind(address).await.map_err(|error| DaemonError::Listen { address, error })?;
    let address = listener.local_addr().map_err(|error| DaemonError::Listen { address, error })?;
    if config.local_node {
        mount_local_engine(config, journal, engines.as_ref()).await?;
    }
    let settings = settings(config)?;
    if let Some(webhook) = &settings.webhook {
        // Before anybody can command anything: a new receiver misses nothing either.
        webhook.begin(journal.store().as_ref(), journal.cluster().seq()).await?;
    }
    let deliveries = settings.webhook.as_ref().map(|webhook| Arc::clone(&webhook.deliveries));
    let reactors = Reactors::start(journal.clone(), Arc::clone(&engines), settings, term);
    let api = Api::new(journal.clone(), engines, Arc::clone(config), shutdown);
    if let Some(deliveries) = deliveries {
        api.count_deliveries(deliveries);
    }
    ready(address);
    let served = api::serve(listener, api).await;
    reactors.stop().await;
    served.map_err(DaemonError::Serve)
}

/// Mounts this machine's own engine as the node `local`, when it answers and is not mounted yet.
async fn mount_local_engine(
    config: &Config,
    journal: &Journal,
    engines: &dyn Engines,
) -> Result<(), DaemonError> {
    let endpoint: Endpoint = config.local_endpoint.parse()?;
    if journal.cluster().nodes().any(|node| node.endpoint == endpoint) {
        return Ok(());
    }
    let ping = async {
        match tokio::time::timeout(config.probe_timeout, engines.client(&endpoint).ping()).await {
            Ok(answer) => answer,
            Err(_) => Err(EngineError::Unreachable("no answer in time".to_owned())),
        }
    };
    if let Err(error) = ping.await {
        tracing::info!(%endpoint, %error, "no engine of this machine is mounted");
        return Ok(());
    }
    let mount = MountNode {
        name: Some("local".to_owned()),
        user_id: None,
        endpoint,
        labels: BTreeMap::new(),
        capacity: None,
    };
    match journal.submit(Submission::new(Command::MountNode(mount), Actor::reactor("daemon"))).await {
        Ok(_) => Ok(()),
        Err(SubmitError::Refused(Refusal::Conflict { detail, .. })) => {
            tracing::warn!("this machine's engine is not mounted: {detail}");
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

fn limits(config: &Config) -> Limits {
    Limits {
        probe: config.probe_timeout,
        launch: config.launch_timeout,
        pull: config.pull_timeout,
        stop_grace: config.stop_timeout,
        stop: config.stop_timeout + Duration::from_secs(5),
        max_work: config.max_node_work,
        ..Limits::default()
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
