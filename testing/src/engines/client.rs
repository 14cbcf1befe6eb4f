//! The client of one simulated engine: requests and answers, with their timeouts.

use super::connection::{REFUSAL, no_answer, operate, read};
use super::image::normal;
use super::machine::Machine;
use super::random::mix;
use super::state::{EngineState, ProcessPhase, no_such_container};
use super::streams::{Logs, OpenEvents};
use super::{EngineCall, EngineWorld};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use kdaemon::engine::{
    ContainerState, Engine, EngineError, EngineEvent, EngineListing, Exit, Identity, Inspected, LaunchOrder,
    Launched, LogRequest, Pulling, Stats,
};
use kdaemon_events::node::EngineFacts;
use kdaemon_events::{ClusterId, Endpoint};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The speed of image pulls.
const BYTES_PER_MS: u64 = 10_000;

pub(super) struct SimulatedEngine {
    world: Arc<EngineWorld>,
    endpoint: Endpoint,
}

/// Counts a call while it is in flight.
struct UnderWay(Arc<Machine>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Registers a pull while it is in flight.
struct PullInFlight<'a>(&'a Machine, Identity);

impl<'a> PullInFlight<'a> {
    fn begin(machine: &'a Machine, order: &LaunchOrder, takes_ms: u64) -> Self {
        let pull = (order.spec.docker_image.clone(), Instant::now(), takes_ms);
        machine.pulls.lock().unwrap_or_else(PoisonError::into_inner).insert(order.identity, pull);
        Self(machine, order.identity)
    }
}

impl Drop for PullInFlight<'_> {
    fn drop(&mut self) {
        self.0.pulls.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// The result of the first request of a launch.
struct FirstLook {
    running: Option<ContainerState>,
    has_image: bool,
    is_answered: bool,
}

impl SimulatedEngine {
    pub(super) fn new(world: Arc<EngineWorld>, endpoint: Endpoint) -> Self {
        Self { world, endpoint }
    }

    /// Finds the machine and counts the call.
    async fn enter(&self, call: EngineCall) -> Result<UnderWay, EngineError> {
        let found = {
            let machines = self.world.machines();
            let host_exists = || machines.keys().any(|known| known.host() == self.endpoint.host());
            machines.get(&self.endpoint).map(Arc::clone).ok_or_else(|| {
                EngineError::no_connection(match &self.endpoint {
                    Endpoint::Unix { path } => format!("{path}: no such file or directory"),
                    Endpoint::Tcp { .. } if host_exists() => "connection refused".to_owned(),
                    Endpoint::Tcp { host, .. } => format!("{host}: name or service not known"),
                })
            })
        };
        match found {
            Ok(machine) => {
                machine.count(call);
                let under_way = machine.in_flight.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                machine.most_in_flight.fetch_max(under_way, Ordering::Relaxed);
                Ok(UnderWay(machine))
            }
            Err(error) => {
                tokio::time::sleep(REFUSAL).await;
                Err(error)
            }
        }
    }

    /// The registry's error for a pull, if any.
    fn registry_refuses(&self, order: &LaunchOrder, is_cut: bool) -> Option<EngineError> {
        let image = normal(&order.spec.docker_image);
        let host = image.split(['/', ':']).next().unwrap_or_default();
        let registry = self.world.registry();
        if registry.is_down || is_cut {
            return Some(EngineError::node_fault(format!(
                "Get \"https://{host}/v2/\": dial tcp: connect: connection refused"
            )));
        }
        // A name that never resolves (RFC 2606).
        if host.ends_with(".invalid") {
            return Some(EngineError::node_fault(format!(
                "Get \"https://{host}/v2/\": dial tcp: lookup {host}: no such host"
            )));
        }
        if registry.missing.contains(&image) {
            return Some(EngineError::rejected(format!(
                "manifest for {} not found",
                order.spec.docker_image
            )));
        }
        let (username, password) = registry.private.get(&image)?;
        let fits =
            order.credentials.as_ref().is_some_and(|c| c.username == *username && c.password == *password);
        (!fits).then(|| {
            EngineError::rejected(format!(
                "pull access denied for {}, repository does not exist or may require 'docker login'",
                order.spec.docker_image
            ))
        })
    }

    async fn pull(&self, machine: &Machine, order: &LaunchOrder) -> Result<(), EngineError> {
        let pull_ms = machine.takes(&machine.about.timing.pull_ms);
        let _pull = PullInFlight::begin(machine, order, pull_ms);
        read(machine, self.world.limits.pull, pull_ms, |state, _| {
            if let Some(refusal) = self.registry_refuses(order, state.registry_is_cut) {
                return Err(refusal);
            }
            if state.disk_is_full {
                return Err(EngineError::node_fault("failed to register layer: no space left on device"));
            }
            state.images.insert(normal(&order.spec.docker_image).into());
            Ok(())
        })
        .await
    }

    async fn start_on(&self, machine: &Machine, identity: Identity) -> Result<Launched, EngineError> {
        let start_ms = machine.takes(&machine.about.timing.start_ms);
        operate(machine, self.world.limits.work, |_| start_ms, move |state, now| state.start(identity, now))
            .await
    }

    async fn launch_on(&self, machine: &Machine, order: &LaunchOrder) -> Result<Launched, EngineError> {
        let identity = order.identity;
        let limits = self.world.limits;
        let found = read(machine, limits.read, 0, |state, _| {
            if let Some((count, error)) = state.failing.take() {
                state.failing = (count > 1).then(|| (count - 1, error.clone()));
                return Err(error);
            }
            let is_answered = state.timing_out == 0;
            state.timing_out = state.timing_out.saturating_sub(1);
            Ok(FirstLook {
                running: state.containers.get(&identity).map(|container| container.state()),
                has_image: state.images.contains(normal(&order.spec.docker_image).as_str()),
                is_answered,
            })
        })
        .await?;
        if found.running.is_none() {
            if !found.has_image {
                self.pull(machine, order).await?;
            }
            let (name, spec, kept) = (order.name.clone(), Arc::clone(&order.spec), order.volumes.clone());
            let create_ms = machine.takes(&machine.about.timing.create_ms);
            operate(
                machine,
                limits.work,
                |_| create_ms,
                move |state, _| state.create(identity, &name, &spec, &kept),
            )
            .await?;
        }
        let launched = self.start_on(machine, identity).await;
        if let (
            Err(EngineError::NodeFault(_) | EngineError::Rejected(_)),
            None | Some(ContainerState::Created),
        ) = (&launched, found.running)
        {
            // A container that never ran is of no use, and would hold its name.
            let remove_ms = machine.takes(&machine.about.timing.remove_ms);
            let removed = operate(
                machine,
                limits.work,
                |_| remove_ms,
                move |state, now| Ok(state.remove(identity, now)),
            );
            // The reason why it did not start says more than the reason why it could not be removed.
            drop(removed.await);
        }
        if found.is_answered {
            launched
        } else {
            tokio::time::sleep(limits.work).await;
            Err(no_answer(limits.work))
        }
    }
}

#[async_trait]
impl Engine for SimulatedEngine {
    async fn ping(&self) -> Result<(), EngineError> {
        let call = self.enter(EngineCall::Ping).await?;
        read(&call.0, self.world.limits.ping, 0, |_, _| Ok(())).await
    }

    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let call = self.enter(EngineCall::Facts).await?;
        read(&call.0, self.world.limits.read, 0, |_, _| Ok(call.0.facts())).await
    }

    async fn list(&self, cluster: ClusterId) -> Result<EngineListing, EngineError> {
        let call = self.enter(EngineCall::List).await?;
        read(&call.0, self.world.limits.read, 0, |state, _| Ok(state.list(cluster))).await
    }

    async fn networks(&self, cluster: ClusterId) -> Result<Vec<String>, EngineError> {
        let call = self.enter(EngineCall::Networks).await?;
        read(&call.0, self.world.limits.read, 0, |state, _| {
            let own = state.networks.iter().filter(|(_, of)| **of == Some(cluster));
            Ok(own.map(|(name, _)| name.to_string()).collect())
        })
        .await
    }

    async fn remove_network(&self, cluster: ClusterId, name: &str) -> Result<bool, EngineError> {
        let call = self.enter(EngineCall::RemoveNetwork).await?;
        let remove_ms = call.0.takes(&call.0.about.timing.remove_ms);
        let name = name.to_owned();
        operate(
            &call.0,
            self.world.limits.work,
            |_| remove_ms,
            move |state, _| Ok(state.remove_network(cluster, &name)),
        )
        .await
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Launched, EngineError> {
        let call = self.enter(EngineCall::Launch).await?;
        self.launch_on(&call.0, order).await
    }

    fn pulling(&self, identity: Identity) -> Option<Pulling> {
        let machine = self.world.machines().get(&self.endpoint).map(Arc::clone)?;
        let pulls = machine.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        let (image, since, takes_ms) = pulls.get(&identity)?;
        let passed_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).min(*takes_ms);
        let bytes = |ms: u64| ms.saturating_mul(BYTES_PER_MS);
        Some(Pulling {
            image: image.clone(),
            bytes: bytes(passed_ms),
            of: bytes(*takes_ms),
            layers: 1,
            unknown_layers: 0,
        })
    }

    async fn start(&self, identity: Identity) -> Result<Launched, EngineError> {
        let call = self.enter(EngineCall::Start).await?;
        self.start_on(&call.0, identity).await
    }

    async fn stop(&self, identity: Identity) -> Result<Option<Exit>, EngineError> {
        let call = self.enter(EngineCall::Stop).await?;
        let machine = &call.0;
        let (heeds_ms, grace_ms) =
            (machine.takes(&machine.about.timing.stop_ms), machine.about.timing.grace_ms);
        let limit = self.world.limits.work + Duration::from_millis(grace_ms);
        let takes_ms =
            |state: &EngineState| state.stopping(identity, heeds_ms, grace_ms).map_or(0, |(ms, _)| ms);
        operate(machine, limit, takes_ms, move |state, now| {
            if let Some((_, exit)) = state.stopping(identity, heeds_ms, grace_ms) {
                state.stop(identity, exit, now);
            }
            Ok(state.containers.get(&identity).and_then(|container| container.exit()))
        })
        .await
    }

    async fn remove(&self, identity: Identity) -> Result<(), EngineError> {
        let call = self.enter(EngineCall::Remove).await?;
        let machine = &call.0;
        let (heeds_ms, grace_ms) =
            (machine.takes(&machine.about.timing.stop_ms), machine.about.timing.grace_ms);
        let remove_ms = machine.takes(&machine.about.timing.remove_ms);
        let limit = self.world.limits.work + Duration::from_millis(grace_ms);
        let takes_ms = |state: &EngineState| {
            remove_ms + state.stopping(identity, heeds_ms, grace_ms).map_or(0, |(ms, _)| ms)
        };
        operate(machine, limit, takes_ms, move |state, now| {
            if let Some((_, exit)) = state.stopping(identity, heeds_ms, grace_ms) {
                state.stop(identity, exit, now);
            }
            state.remove(identity, now);
            Ok(())
        })
        .await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let call = self.enter(EngineCall::RemoveVolume).await?;
        let name = name.to_owned();
        operate(&call.0, self.world.limits.work, |_| 0, move |state, _| state.remove_volume(&name)).await
    }

    async fn inspect(&self, identity: Identity) -> Result<Option<Inspected>, EngineError> {
        let call = self.enter(EngineCall::Inspect).await?;
        read(&call.0, self.world.limits.read, 0, |state, _| {
            Ok(state.containers.get(&identity).map(|container| Inspected {
                launched: state.launched(identity, container),
                state: container.state(),
                exit: container.exit(),
                healthy: container.healthy,
            }))
        })
        .await
    }

    async fn events(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        let call = self.enter(EngineCall::OpenEvents).await?;
        let machine = Arc::clone(&call.0);
        let events = read(&machine, self.world.limits.read, 0, |state, _| {
            Ok(OpenEvents::open(&machine, state, cluster))
        })
        .await?;
        Ok(Box::pin(stream::unfold(events, OpenEvents::next)))
    }

    async fn logs(
        &self,
        identity: Identity,
        request: LogRequest,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        let call = self.enter(EngineCall::Logs).await?;
        let machine = Arc::clone(&call.0);
        let logs = read(&machine, self.world.limits.read, 0, |state, now| {
            state.get(identity)?;
            Ok(Logs::open(&machine, state, identity, request, now))
        })
        .await?;
        Ok(Box::pin(stream::unfold(logs, Logs::next)))
    }

    async fn stats(&self, identity: Identity) -> Result<Stats, EngineError> {
        let call = self.enter(EngineCall::Stats).await?;
        let memory_bytes = call.0.about.memory_bytes;
        let milli_cpus = call.0.about.cpus.0;
        read(&call.0, self.world.limits.read, 0, |state, now| {
            let Some(container) = state.containers.get(&identity) else {
                return Err(no_such_container());
            };
            let memory_limit_bytes = container.spec.resources.memory_bytes.unwrap_or(memory_bytes);
            let limit = container.spec.resources.cpus.map_or(milli_cpus, |cpus| cpus.0);
            let chance = mix(identity.container.0.as_u64_pair().1 ^ (now / 1_000));
            let ProcessPhase::Running { since_ms } = container.phase else {
                return Ok(Stats {
                    cpus: 0.0,
                    memory_bytes: 0,
                    memory_limit_bytes,
                    network_received_bytes: 0,
                    network_sent_bytes: 0,
                    pids: 0,
                });
            };
            // From 1% to 60% of the limit, and from 1 to 32 MB.
            let in_use = u32::try_from(limit * (1 + chance % 60) / 100).unwrap_or(u32::MAX);
            let uptime_s = (now - since_ms) / 1_000;
            Ok(Stats {
                cpus: f64::from(in_use) / 1_000.0,
                memory_bytes: ((1 + (chance >> 8) % 32) << 20).min(memory_limit_bytes),
                memory_limit_bytes,
                network_received_bytes: uptime_s * 1_000,
                network_sent_bytes: uptime_s * 4_000,
                pids: 1 + (chance >> 16) % 8,
            })
        })
        .await
    }
}
