//! The Docker Engine API, through bollard: the [`Engine`] for real engines.
//!
//! A container is found by its labels and never by its name: each call first asks the engine for the
//! containers with the identity's labels, checks the labels in the answer, and continues with the engine's
//! own id. So no request can affect a container that is not ours.
//!
//! Podman serves the same API; where it differs, it is supported as well as possible.

mod answers;
mod events;
mod failure;
mod image;
mod launch;
mod names;
mod network;
mod output;
mod page;
mod pulls;
mod wire;

use crate::engine::{
    ContainerState, Engine, EngineError, EngineEvent, EngineListing, Engines, Exit, Failure, Identity,
    Inspected, LABEL_CLUSTER, LABEL_CONTAINER, LABEL_GENERATION, LaunchOrder, Launched, ListedContainer,
    LogRequest, Pulling, Stats,
};
use answers::{container_state, exit, found, healthy, launched, listed_ports, state_when_listed};
use async_trait::async_trait;
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum as ListedState};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptions, RemoveContainerOptions, RemoveVolumeOptions,
    StartContainerOptions, StopContainerOptions,
};
use bytes::Bytes;
use failure::RequestError;
use futures_util::stream::BoxStream;
use kdaemon_events::node::EngineFacts;
use kdaemon_events::{ClusterId, Endpoint, MilliCpus};
use pulls::Pulls;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

/// Pause between two checks for something that an engine is about to finish.
const PAUSE: Duration = Duration::from_millis(50);

/// Timeouts of requests to one engine, and how many run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// A TCP connection.
    pub connect: Duration,
    /// The answer to a ping.
    pub probe: Duration,
    /// The answer to any request that is quick by nature: list, inspect, remove, …
    pub request: Duration,
    /// Creating a container, and again starting it.
    pub launch: Duration,
    /// A whole pull of an image.
    pub pull: Duration,
    /// A pull without progress, and a container's output that stalls.
    pub idle: Duration,
    /// The grace period from the stop signal until the container is killed. Docker's own default.
    pub stop_grace: Duration,
    /// The answer to a stop, on top of the grace period.
    pub stop: Duration,
    /// Concurrent changes on one engine, and as many concurrent reads.
    pub max_work: usize,
    /// Concurrent pulls on one engine.
    pub max_pulls: usize,
    /// Containers whose output is read from one engine at a time.
    pub max_streams: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            probe: Duration::from_millis(1500),
            request: Duration::from_secs(15),
            launch: Duration::from_secs(60),
            pull: Duration::from_secs(15 * 60),
            idle: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            stop: Duration::from_secs(15),
            max_work: 16,
            max_pulls: 4,
            max_streams: 32,
        }
    }
}

/// Clients for real engines: one per endpoint for as long as it is referenced.
#[derive(Debug)]
pub struct DockerEngines {
    limits: EngineLimits,
    /// Shared, so that the bounds of one engine hold however many parts of the daemon use it.
    known: Mutex<BTreeMap<Endpoint, Weak<DockerEngine>>>,
}

impl DockerEngines {
    /// Clients that keep to `limits`.
    #[must_use]
    pub fn new(limits: EngineLimits) -> Self {
        Self { limits, known: Mutex::default() }
    }
}

impl Engines for DockerEngines {
    fn client(&self, endpoint: &Endpoint) -> Arc<dyn Engine> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = known.get(endpoint).and_then(Weak::upgrade) {
            return engine;
        }
        known.retain(|_, engine| engine.strong_count() > 0);
        let engine = Arc::new(DockerEngine::new(endpoint.clone(), self.limits));
        known.insert(endpoint.clone(), Arc::downgrade(&engine));
        engine
    }
}

/// One engine.
#[derive(Debug)]
struct DockerEngine {
    endpoint: Endpoint,
    limits: EngineLimits,
    /// An error only for an endpoint that cannot be written as a request's address.
    client: Result<Docker, EngineError>,
    /// Bounds reads. Separate from `changes`, so that inspecting a busy engine never waits for its work.
    questions: Semaphore,
    /// Bounds changes.
    changes: Semaphore,
    /// Bounds pulls.
    pulls: Semaphore,
    /// Progress of the pulls.
    pulling: Pulls,
    /// Bounds readers of output; the streams keep their permits.
    streams: Arc<Semaphore>,
    /// Held while networks are looked up and created: Docker allows two of one name.
    networks: tokio::sync::Mutex<()>,
}

/// Which bound a request counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// None: a probe checks whether the engine answers, not whether it is busy with our requests.
    Probe,
    Question,
    Change,
}

/// A container of ours, found on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FoundContainer {
    id: String,
    identity: Identity,
    state: ListedState,
}

impl DockerEngine {
    fn new(endpoint: Endpoint, limits: EngineLimits) -> Self {
        let client = wire::client(&endpoint, &limits, wire::AnswerBegun::default())
            .map_err(|error| RequestError::from(error).error);
        Self {
            endpoint,
            limits,
            client,
            questions: Semaphore::new(limits.max_work.max(1)),
            changes: Semaphore::new(limits.max_work.max(1)),
            pulls: Semaphore::new(limits.max_pulls.max(1)),
            pulling: Pulls::default(),
            streams: Arc::new(Semaphore::new(limits.max_streams.max(1))),
            networks: tokio::sync::Mutex::default(),
        }
    }

    fn docker(&self) -> Result<&Docker, RequestError> {
        self.client.as_ref().map_err(|error| RequestError { status: None, error: error.clone() })
    }

    /// One request. Waiting for a permit does not count against `limit`: the requests before it have a limit
    /// too.
    async fn call<T>(
        &self,
        bound: Bound,
        limit: Duration,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, RequestError> {
        // The semaphores are never closed, so there is always a permit to be had.
        let _permit = match bound {
            Bound::Probe => None,
            Bound::Question => self.questions.acquire().await.ok(),
            Bound::Change => self.changes.acquire().await.ok(),
        };
        match timeout(limit, request).await {
            Ok(answer) => answer.map_err(RequestError::from),
            Err(_) => Err(RequestError::late(limit)),
        }
    }

    async fn question<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, RequestError> {
        self.call(Bound::Question, self.limits.request, request).await
    }

    async fn change<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, RequestError> {
        self.call(Bound::Change, self.limits.request, request).await
    }

    async fn containers(
        &self,
        filters: Option<HashMap<String, Vec<String>>>,
    ) -> Result<Vec<ContainerSummary>, RequestError> {
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        let deadline = Instant::now() + self.limits.request;
        loop {
            match self.question(self.docker()?.list_containers(Some(options.clone()))).await {
                Err(failure) if failure.is_passing_state() && Instant::now() < deadline => sleep(PAUSE).await,
                listed => return listed,
            }
        }
    }

    /// The containers with this identity: one, or none. (More only if someone copied our labels by hand.)
    async fn find(&self, identity: Identity) -> Result<Vec<FoundContainer>, RequestError> {
        let labels = vec![
            format!("{LABEL_CLUSTER}={}", identity.cluster),
            format!("{LABEL_CONTAINER}={}", identity.container),
            format!("{LABEL_GENERATION}={}", identity.generation),
        ];
        let listed = self.containers(Some(HashMap::from([("label".to_owned(), labels)]))).await?;
        // However the engine interprets the filter, the labels decide.
        Ok(listed.into_iter().filter_map(found).filter(|found| found.identity == identity).collect())
    }

    /// The engine's id of the container with this identity.
    async fn find_one(&self, identity: Identity) -> Result<Option<FoundContainer>, RequestError> {
        Ok(self.find(identity).await?.into_iter().next())
    }

    async fn must_find(&self, identity: Identity) -> Result<FoundContainer, EngineError> {
        self.find_one(identity).await?.ok_or_else(absent)
    }

    /// Waits until the engine has finished removing these containers, which have this identity.
    async fn wait_until_gone(&self, identity: Identity, going: &[FoundContainer]) -> Result<(), EngineError> {
        let deadline = Instant::now() + self.limits.request;
        while self.find(identity).await?.iter().any(|left| going.iter().any(|going| going.id == left.id)) {
            if Instant::now() >= deadline {
                let limit_ms = kdaemon_events::failure::limit_ms(self.limits.request);
                return Err(EngineError::NodeFault(Failure::StillRemoving { limit_ms }));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// By the engine's id or by name. `None`: there is no such container.
    async fn inspect_raw(&self, id: &str) -> Result<Option<ContainerInspectResponse>, RequestError> {
        let deadline = Instant::now() + self.limits.request;
        loop {
            let request = self.docker()?.inspect_container(id, None::<InspectContainerOptions>);
            match self.question(request).await {
                Ok(inspected) => return Ok(Some(inspected)),
                Err(failure) if failure.is_not_found() => return Ok(None),
                Err(failure) if failure.is_passing_state() && Instant::now() < deadline => sleep(PAUSE).await,
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn start_raw(&self, id: &str) -> Result<(), RequestError> {
        let request = self.docker()?.start_container(id, None::<StartContainerOptions>);
        self.call(Bound::Change, self.limits.launch, request).await
    }

    async fn stop_raw(&self, id: &str) -> Result<(), RequestError> {
        let grace_s = i32::try_from(self.limits.stop_grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(grace_s), ..Default::default() };
        let request = self.docker()?.stop_container(id, Some(options));
        self.call(Bound::Change, self.limits.stop_grace + self.limits.stop, request).await
    }

    /// Without its volumes, running or not.
    async fn remove_raw(&self, id: &str) -> Result<(), RequestError> {
        let options = RemoveContainerOptions { v: false, force: true, ..Default::default() };
        self.change(self.docker()?.remove_container(id, Some(options))).await
    }

    /// The state right after the start, even if the container has exited already: the event stream reports
    /// that.
    async fn after_start(&self, id: &str) -> Result<Launched, EngineError> {
        match self.inspect_raw(id).await? {
            Some(inspected) => Ok(launched(&inspected)),
            None => Err(EngineError::NodeFault(Failure::RemovedMeanwhile)),
        }
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn ping(&self) -> Result<(), EngineError> {
        let limit = self.limits.probe;
        match self.call(Bound::Probe, limit, self.docker()?.ping()).await {
            Ok(answer) if answer.trim() == "OK" => Ok(()),
            Ok(_) => Err(failure::no_engine("it does not answer a ping with OK")),
            // An engine that is there answers a ping; so who answers anything else is no engine, or a sick one.
            Err(RequestError { status: Some(status), error }) => {
                Err(failure::no_engine(&format!("HTTP status {status}, {error}")))
            }
            Err(failure) => Err(failure.error),
        }
    }

    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let docker = self.docker()?;
        // Keeps bollard from using features that an older engine does not know, should it begin to send a
        // version.
        let negotiated = self.question(docker.clone().negotiate_version()).await?;
        let version = self.question(negotiated.version()).await?;
        let info = self.question(negotiated.info()).await?;
        let podman = version
            .components
            .iter()
            .flatten()
            .any(|component| component.name.to_lowercase().contains("podman"));
        let processors = u64::try_from(info.ncpu.unwrap_or(0)).unwrap_or(0);
        Ok(EngineFacts {
            kind: if podman { "podman" } else { "docker" }.to_owned(),
            version: version.version.unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            cpus: MilliCpus(processors * 1000),
            memory_bytes: u64::try_from(info.mem_total.unwrap_or(0)).unwrap_or(0),
            platform: format!(
                "{}/{}",
                version.os.as_deref().unwrap_or("linux"),
                version.arch.as_deref().unwrap_or("unknown")
            ),
            // Podman returns a different id for each request.
            engine_id: if podman { self.endpoint.to_string() } else { info.id.unwrap_or_default() },
        })
    }

    async fn list(&self, cluster: ClusterId) -> Result<EngineListing, EngineError> {
        let mut listing = EngineListing::default();
        for container in self.containers(None).await? {
            let ports = listed_ports(container.ports.as_deref().unwrap_or_default());
            match found(container) {
                Some(FoundContainer { id, identity, state }) if identity.cluster == cluster => {
                    listing.own.push(ListedContainer {
                        identity,
                        engine_id: id,
                        state: state_when_listed(state),
                        paused: state == ListedState::PAUSED,
                        ports,
                    });
                }
                _ => listing.foreign = listing.foreign.saturating_add(1),
            }
        }
        listing.own.sort_by(|a, b| (a.identity, &a.engine_id).cmp(&(b.identity, &b.engine_id)));
        Ok(listing)
    }

    async fn networks(&self, cluster: ClusterId) -> Result<Vec<String>, EngineError> {
        let mut names: Vec<_> = self.own_networks(cluster).await?.into_iter().map(|own| own.name).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn remove_network(&self, cluster: ClusterId, name: &str) -> Result<bool, EngineError> {
        self.remove_own_network(cluster, name).await
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Launched, EngineError> {
        self.launch_order(order).await
    }

    fn pulling(&self, identity: Identity) -> Option<Pulling> {
        self.pulling.of(identity)
    }

    async fn start(&self, identity: Identity) -> Result<Launched, EngineError> {
        let found = self.must_find(identity).await?;
        // The engine answers "not modified" if it runs already.
        self.start_raw(&found.id).await?;
        self.after_start(&found.id).await
    }

    async fn stop(&self, identity: Identity) -> Result<Option<Exit>, EngineError> {
        let Some(found) = self.find_one(identity).await? else { return Ok(None) };
        if state_when_listed(found.state) == ContainerState::Running {
            match self.stop_raw(&found.id).await {
                Err(failure) if failure.is_not_found() => return Ok(None),
                stopped => stopped?,
            }
        }
        let inspected = self.inspect_raw(&found.id).await?;
        Ok(inspected.and_then(|inspected| exit(inspected.state.as_ref())))
    }

    async fn remove(&self, identity: Identity) -> Result<(), EngineError> {
        let going = self.find(identity).await?;
        for found in &going {
            if state_when_listed(found.state) == ContainerState::Running {
                // Whatever keeps it from ending in peace, it is removed by force. If the engine is away, that tells.
                if let Err(RequestError { error, .. }) = self.stop_raw(&found.id).await {
                    tracing::debug!(endpoint = %self.endpoint, container = found.id, %error,
                        "container did not stop; removing it by force");
                }
            }
            match self.remove_raw(&found.id).await {
                Err(failure) if failure.is_not_found() || failure.is_being_removed() => {}
                removed => removed?,
            }
        }
        if going.is_empty() { Ok(()) } else { self.wait_until_gone(identity, &going).await }
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let options = Some(RemoveVolumeOptions { force: false });
        match self.change(self.docker()?.remove_volume(name, options)).await {
            Err(failure) if failure.is_not_found() => Ok(()),
            removed => Ok(removed?),
        }
    }

    async fn inspect(&self, identity: Identity) -> Result<Option<Inspected>, EngineError> {
        let Some(found) = self.find_one(identity).await? else { return Ok(None) };
        Ok(self.inspect_raw(&found.id).await?.map(|inspected| Inspected {
            launched: launched(&inspected),
            state: container_state(inspected.state.as_ref()),
            exit: exit(inspected.state.as_ref()),
            healthy: healthy(inspected.state.as_ref()),
        }))
    }

    async fn events(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        Ok(self.subscribe(cluster).await?)
    }

    async fn logs(
        &self,
        identity: Identity,
        request: LogRequest,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        let found = self.must_find(identity).await?;
        self.read_logs(&found.id, request).await
    }

    async fn stats(&self, identity: Identity) -> Result<Stats, EngineError> {
        let found = self.must_find(identity).await?;
        Ok(self.measure(&found.id).await?)
    }
}

fn absent() -> EngineError {
    EngineError::NotFound(Failure::NoContainer)
}

fn absent_by_id() -> RequestError {
    RequestError { status: Some(404), error: EngineError::NotFound(Failure::NoContainer) }
}
