//! The edge of a daemon's process: all its effects on the outside world pass here, and none after its death,
//! whatever its tasks still do in memory.

use crate::store::Shared;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use kdaemon::engine::{
    ContainerState, Engine, EngineError, EngineEvent, EngineListing, Engines, Exit, Identity, Inspected,
    LaunchOrder, Launched, LogRequest, Pulling, Stats,
};
use kdaemon_events::node::EngineFacts;
use kdaemon_events::{ClusterId, Endpoint};
use kdaemon_testing::engines::SimulatedEngines;
use std::collections::BTreeSet;
use std::future::pending;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Never.
const NEVER: i64 = i64::MAX;
/// The longest time that an engine's client waits when nothing gets through.
const NO_ANSWER: Duration = Duration::from_secs(15);

pub struct Fence {
    dead: CancellationToken,
    /// The number of outward steps until it dies.
    steps: AtomicI64,
    /// Engines that this daemon alone cannot reach.
    cut: Mutex<BTreeSet<Endpoint>>,
}

impl Fence {
    pub fn new() -> Arc<Self> {
        let (dead, steps) = (CancellationToken::new(), AtomicI64::new(NEVER));
        Arc::new(Self { dead, steps, cut: Mutex::default() })
    }

    /// Kills the process, wherever it is.
    pub fn kill(&self) {
        self.dead.cancel();
    }

    /// Kills the process in `steps` steps: before a call to the outside world, or after the call was carried
    /// out and before its answer is seen.
    pub fn kill_after(&self, steps: i64) {
        self.steps.store(steps, Ordering::Relaxed);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    pub async fn death(&self) {
        self.dead.cancelled().await;
    }

    pub fn cut_off(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        self.cut.lock().unwrap().extend(endpoints);
    }

    pub fn reconnect(&self) {
        self.cut.lock().unwrap().clear();
    }

    /// Counts a step of a call that does not wait. `true` if the process is dead.
    pub fn step_inline(&self) -> bool {
        if self.steps.load(Ordering::Relaxed) != NEVER && self.steps.fetch_sub(1, Ordering::Relaxed) <= 0 {
            self.dead.cancel();
        }
        self.is_dead()
    }

    async fn step(&self) {
        if self.step_inline() {
            pending::<()>().await;
        }
    }

    /// Passes a call to the outside world, and its answer back, while the daemon lives.
    pub async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
        self.step().await;
        let answer = tokio::select! {
            biased;
            () = self.dead.cancelled() => pending().await,
            answer = call => answer,
        };
        self.step().await;
        answer
    }

    async fn reach<T>(
        &self,
        endpoint: &Endpoint,
        call: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        self.pass(async {
            if self.cut.lock().unwrap().contains(endpoint) {
                tokio::time::sleep(NO_ANSWER).await;
                return Err(EngineError::no_connection("no answer: the network is cut"));
            }
            call.await
        })
        .await
    }
}

/// The engines as one daemon reaches them.
pub struct FencedEngines {
    pub world: SimulatedEngines,
    pub fence: Arc<Fence>,
    pub shared: Arc<Shared>,
    /// The daemon's name.
    pub daemon: String,
    /// Whether it leads by a lease.
    pub has_lease: bool,
}

impl Engines for FencedEngines {
    fn client(&self, endpoint: &Endpoint) -> Arc<dyn Engine> {
        Arc::new(Fenced {
            inner: self.world.client(endpoint),
            world: self.world.clone(),
            fence: Arc::clone(&self.fence),
            shared: Arc::clone(&self.shared),
            endpoint: endpoint.clone(),
            daemon: self.daemon.clone(),
            has_lease: self.has_lease,
        })
    }
}

struct Fenced {
    inner: Arc<dyn Engine>,
    world: SimulatedEngines,
    fence: Arc<Fence>,
    shared: Arc<Shared>,
    endpoint: Endpoint,
    daemon: String,
    has_lease: bool,
}

impl Fenced {
    /// A daemon that leads by a lease begins no work on an engine after another took the lease. (A start may follow a
    /// stop that took long: the term keeps that from doing harm.)
    async fn begins(&self, what: &str) {
        if self.has_lease && !self.fence.is_dead() {
            self.shared.has_lease(&self.daemon, &format!("{what} on {}", self.endpoint)).await;
        }
    }

    /// Checks that a container that failed its health check is stopped before it is started again.
    fn starts(&self, identity: Identity) {
        let all = self.world.machine(&self.endpoint).map(|machine| machine.containers()).unwrap_or_default();
        let still_runs = all.iter().any(|seen| {
            seen.identity == identity && seen.state == ContainerState::Running && seen.healthy == Some(false)
        });
        if still_runs && !self.fence.is_dead() {
            self.shared.checker().starts_while_unhealthy(&self.endpoint, identity);
        }
    }

    /// A stream that ends for this daemon when it dies, and is silent while it is cut off.
    fn stream<T: Send + 'static>(
        &self,
        stream: BoxStream<'static, Result<T, EngineError>>,
    ) -> BoxStream<'static, Result<T, EngineError>> {
        let (fence, endpoint) = (Arc::clone(&self.fence), self.endpoint.clone());
        Box::pin(stream.filter_map(move |item| {
            let passes = !fence.is_dead() && !fence.cut.lock().unwrap().contains(&endpoint);
            async move { passes.then_some(item) }
        }))
    }
}

#[async_trait]
impl Engine for Fenced {
    async fn ping(&self) -> Result<(), EngineError> {
        self.fence.reach(&self.endpoint, self.inner.ping()).await
    }
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        self.fence.reach(&self.endpoint, self.inner.facts()).await
    }
    async fn list(&self, cluster: ClusterId) -> Result<EngineListing, EngineError> {
        self.fence.reach(&self.endpoint, self.inner.list(cluster)).await
    }
    async fn networks(&self, cluster: ClusterId) -> Result<Vec<String>, EngineError> {
        self.fence.reach(&self.endpoint, self.inner.networks(cluster)).await
    }
    async fn remove_network(&self, cluster: ClusterId, name: &str) -> Result<bool, EngineError> {
        self.begins("the removal of a network").await;
        self.fence.reach(&self.endpoint, self.inner.remove_network(cluster, name)).await
    }
    async fn launch(&self, order: &LaunchOrder) -> Result<Launched, EngineError> {
        self.begins("a launch").await;
        self.fence.reach(&self.endpoint, self.inner.launch(order)).await
    }
    fn pulling(&self, identity: Identity) -> Option<Pulling> {
        self.inner.pulling(identity)
    }
    async fn start(&self, identity: Identity) -> Result<Launched, EngineError> {
        self.starts(identity);
        self.fence.reach(&self.endpoint, self.inner.start(identity)).await
    }
    async fn stop(&self, identity: Identity) -> Result<Option<Exit>, EngineError> {
        self.fence.reach(&self.endpoint, self.inner.stop(identity)).await
    }
    async fn remove(&self, identity: Identity) -> Result<(), EngineError> {
        if !self.fence.is_dead() {
            self.shared.checker().to_be_removed(&self.endpoint, identity);
        }
        self.begins("a removal").await;
        self.fence.reach(&self.endpoint, self.inner.remove(identity)).await
    }
    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        if !self.fence.is_dead() {
            self.shared.checker().to_be_deleted(name);
        }
        self.begins("the deletion of a volume").await;
        self.fence.reach(&self.endpoint, self.inner.remove_volume(name)).await
    }
    async fn inspect(&self, identity: Identity) -> Result<Option<Inspected>, EngineError> {
        self.fence.reach(&self.endpoint, self.inner.inspect(identity)).await
    }
    async fn events(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        let stream = self.fence.reach(&self.endpoint, self.inner.events(cluster)).await?;
        Ok(self.stream(stream))
    }
    async fn logs(
        &self,
        identity: Identity,
        request: LogRequest,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        let stream = self.fence.reach(&self.endpoint, self.inner.logs(identity, request)).await?;
        Ok(self.stream(stream))
    }
    async fn stats(&self, identity: Identity) -> Result<Stats, EngineError> {
        self.fence.reach(&self.endpoint, self.inner.stats(identity)).await
    }
}
