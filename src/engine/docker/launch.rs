//! Launching: from an order to a running container, once per identity however often it is requested.

use super::answers::identity_of;
use super::{Bound, DockerEngine, FoundContainer, PAUSE, RequestError, image, network};
use crate::engine::Failure;
use crate::engine::{EngineError, Identity, LaunchOrder, Launched, engine_name, identity_labels};
use bollard::models::{
    ContainerCreateBody, ContainerSummaryStateEnum as ListedState, HealthConfig, HostConfig,
    NetworkConnectRequest, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::CreateContainerOptions;
use kdaemon_events::{HealthCheck, Spec};
use std::collections::HashMap;
use std::num::NonZeroU64;
use tokio::time::{Instant, sleep};

/// The outcome of an attempt to create a container.
enum Made {
    /// Created, with this engine id, and never started.
    Fresh(String),
    /// Another launch created it at the same time.
    Already,
}

impl DockerEngine {
    pub(super) async fn launch_order(&self, order: &LaunchOrder) -> Result<Launched, EngineError> {
        network::check_names(&order.spec.networks)?;
        // When another launch was faster, the next round finds its container. Finding it removed each time
        // would be a strange accident.
        for _ in 0..3 {
            match self.find_one(order.identity).await? {
                Some(found) if matches!(found.state, ListedState::REMOVING | ListedState::DEAD) => {
                    self.sweep(&found).await?;
                }
                Some(found) => return self.bring_up(&found, order).await,
                None => {}
            }
            self.ensure_image(order).await?;
            self.ensure_networks(order.identity.cluster, &order.spec.networks).await?;
            match self.make(order).await? {
                Made::Fresh(id) => return self.finish(&id, order).await,
                Made::Already => {}
            }
        }
        Err(EngineError::NodeFault(Failure::RemovedMeanwhile))
    }

    /// Removes a container that cannot be started any more, or waits until its removal by others is finished.
    async fn sweep(&self, found: &FoundContainer) -> Result<(), EngineError> {
        match self.remove_raw(&found.id).await {
            Err(failure) if !failure.is_not_found() && !failure.is_being_removed() => Err(failure.error),
            _ => self.wait_until_gone(found.identity, std::slice::from_ref(found)).await,
        }
    }

    /// Starts a container that an earlier launch left, unless it runs.
    async fn bring_up(&self, found: &FoundContainer, order: &LaunchOrder) -> Result<Launched, EngineError> {
        match found.state {
            // The earlier launch may have been interrupted at any point after the creation.
            ListedState::CREATED => self.finish(&found.id, order).await,
            ListedState::EXITED => {
                self.start_raw(&found.id).await.map_err(gone_is_a_fault)?;
                self.after_start(&found.id).await
            }
            _ => self.after_start(&found.id).await,
        }
    }

    /// Joins the networks and starts the container. If it cannot be started it is removed again, so that the
    /// next attempt, here or on another node, finds nothing left of it.
    async fn finish(&self, id: &str, order: &LaunchOrder) -> Result<Launched, EngineError> {
        let started = async {
            self.join_networks(id, &order.spec).await?;
            self.start_raw(id).await
        };
        if let Err(failure) = started.await {
            // Without an answer it may have been started: the next launch will find it.
            if !matches!(failure.error, EngineError::Unreachable(_))
                && let Err(left) = self.remove_raw(id).await
            {
                tracing::warn!(endpoint = %self.endpoint, container = id, error = %left.error,
                    "cannot remove a container that failed to start");
            }
            return Err(gone_is_a_fault(failure));
        }
        self.after_start(id).await
    }

    /// Joins all networks but the first one, which a container is made with.
    async fn join_networks(&self, id: &str, spec: &Spec) -> Result<(), RequestError> {
        if spec.networks.len() < 2 {
            return Ok(());
        }
        let inspected = self.inspect_raw(id).await?;
        let joined = inspected.and_then(|inspected| inspected.network_settings?.networks).unwrap_or_default();
        for network in spec.networks.iter().skip(1).filter(|network| !joined.contains_key(*network)) {
            let request = NetworkConnectRequest { container: id.to_owned(), endpoint_config: None };
            match self.change(self.docker()?.connect_network(network, request)).await {
                // Another launch of the same container was faster.
                Err(failure) if failure.error.to_string().contains("already exists") => {}
                joined => joined?,
            }
        }
        Ok(())
    }

    /// Creates the container under the first of its names that is free.
    async fn make(&self, order: &LaunchOrder) -> Result<Made, EngineError> {
        for name in names(order) {
            let deadline = Instant::now() + self.limits.request;
            loop {
                let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
                let request = self.docker()?.create_container(Some(options), body(order)?);
                match self.call(Bound::Change, self.limits.launch, request).await {
                    Ok(made) => return Ok(Made::Fresh(made.id)),
                    Err(failure) if failure.is_name_conflict() => {}
                    Err(failure) => return Err(gone_is_a_fault(failure)),
                }
                match self.holder(&name).await? {
                    Holder::Is(Some(identity)) if identity == order.identity => return Ok(Made::Already),
                    Holder::Is(_) => break,
                    // A name is taken a moment before its container is visible, and that may be one of the
                    // same identity, of a concurrent launch. Using the next name now would create a second
                    // one.
                    Holder::Unseen if Instant::now() < deadline => sleep(PAUSE).await,
                    Holder::Unseen => break,
                }
            }
        }
        Err(EngineError::NodeFault(Failure::NamesTaken {
            names: names(order).iter().map(|name| name.as_str().into()).collect(),
        }))
    }

    /// Which container has the name.
    async fn holder(&self, name: &str) -> Result<Holder, EngineError> {
        let Some(inspected) = self.inspect_raw(name).await? else { return Ok(Holder::Unseen) };
        // A name that looks like the beginning of an id would match a container by its id.
        if inspected.name.as_deref().map(|found| found.trim_start_matches('/')) != Some(name) {
            return Ok(Holder::Unseen);
        }
        let labels = inspected.config.and_then(|config| config.labels).unwrap_or_default();
        Ok(Holder::Is(identity_of(&labels)))
    }
}

/// Which container has a name.
enum Holder {
    /// A container, of this identity or a foreign one.
    Is(Option<Identity>),
    /// No visible container.
    Unseen,
}

/// The names to try, in this order. They depend on the identity alone, so that two launches of one container
/// always try the same name, and the engine lets only one of them succeed.
fn names(order: &LaunchOrder) -> [String; 3] {
    let Identity { container, generation, .. } = order.identity;
    let name = engine_name(&order.name, container);
    let id = container.0.simple().to_string();
    let digits = &id[id.len() - 8..];
    [name.clone(), format!("{name}-g{generation}"), format!("{name}-{digits}-g{generation}")]
}

/// Maps "no such container" during a launch to a fault of the node: the order is not wrong, another request
/// removed the container.
fn gone_is_a_fault(failure: RequestError) -> EngineError {
    match failure.error {
        EngineError::NotFound(_) => EngineError::NodeFault(Failure::RemovedMeanwhile),
        other => other,
    }
}

/// The order as the engine's request body.
fn body(order: &LaunchOrder) -> Result<ContainerCreateBody, EngineError> {
    let spec = &order.spec;
    // The identity's labels are added last, so that no label of an application replaces them.
    let mut labels: HashMap<String, String> = spec.labels.clone().into_iter().collect();
    labels.extend(identity_labels(order.identity, &order.name));

    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &spec.exposed_ports {
        let inner = format!("{}/{}", port.container, port.protocol);
        // No address means all of the node's; no port means that the engine chooses.
        let host_port = port.host.map(|port| port.to_string()).unwrap_or_default();
        let binding = PortBinding { host_ip: None, host_port: Some(host_port) };
        bindings.entry(inner).or_default().get_or_insert_default().push(binding);
    }
    let exposed: Vec<String> = bindings.keys().cloned().collect();

    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    Ok(ContainerCreateBody {
        image: Some(image::reference(&spec.docker_image)?.to_owned()),
        labels: Some(labels),
        env: Some(spec.env_variables.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        cmd: some(&spec.command),
        entrypoint: some(&spec.entrypoint),
        healthcheck: health_check(&spec.health_check),
        exposed_ports: (!exposed.is_empty()).then_some(exposed),
        host_config: Some(HostConfig {
            // As with `docker run -v`: a path that is missing on the node is created.
            binds: Some(spec.volumes.iter().map(ToString::to_string).chain(returning(order)).collect()),
            port_bindings: (!bindings.is_empty()).then_some(bindings),
            network_mode: spec.networks.first().cloned(),
            nano_cpus: spec.resources.cpus.map(|cpus| whole(cpus.0.saturating_mul(1_000_000))),
            memory: spec.resources.memory_bytes.map(whole),
            memory_reservation: spec.resources.reserved_memory_bytes.map(whole),
            // The daemon decides about restarts. An engine that restarts by itself would start what was moved
            // away already.
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// The anonymous volumes that the container has from before, as mounts; a mount of the specification comes first.
fn returning(order: &LaunchOrder) -> impl Iterator<Item = String> + '_ {
    let is_free = |target: &str| order.spec.volumes.iter().all(|volume| volume.target != target);
    let volumes = order.volumes.iter().filter(move |volume| is_free(&volume.target));
    volumes.map(|volume| format!("{}:{}", volume.name, volume.target))
}

/// The health check as Docker's API has it; `None` leaves the image's own one as it is.
fn health_check(check: &HealthCheck) -> Option<HealthConfig> {
    if check.is_default() {
        return None;
    }
    let nanoseconds = |ms: Option<NonZeroU64>| ms.map(|ms| whole(ms.get().saturating_mul(1_000_000)));
    Some(HealthConfig {
        test: Some(check.command.to_docker()),
        interval: nanoseconds(check.interval_ms),
        timeout: nanoseconds(check.timeout_ms),
        retries: check.retries.map(|retries| i64::from(retries.get())),
        start_period: nanoseconds(check.start_period_ms),
        start_interval: nanoseconds(check.start_interval_ms),
    })
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn health_checks_have_the_form_of_dockers_api() {
        let of = |check: Value| {
            let check: HealthCheck = serde_json::from_value(check).unwrap();
            serde_json::to_value(health_check(&check)).unwrap()
        };
        for (check, expected) in [
            (json!({}), json!(null)),
            (json!({"command": ["CMD", "/check", "a b"]}), json!({"Test": ["CMD", "/check", "a b"]})),
            (json!({"command": ["CMD-SHELL", "a | b"]}), json!({"Test": ["CMD-SHELL", "a | b"]})),
            (json!({"disable": true}), json!({"Test": ["NONE"]})),
            (json!({"interval_ms": 1_500}), json!({"Test": [], "Interval": 1_500_000_000_u64})),
            (
                json!({"command": ["CMD", "true"], "interval_ms": 1, "timeout_ms": 2, "retries": 3,
                    "start_period_ms": 4, "start_interval_ms": 5}),
                json!({"Test": ["CMD", "true"], "Interval": 1_000_000, "Timeout": 2_000_000, "Retries": 3,
                    "StartPeriod": 4_000_000, "StartInterval": 5_000_000}),
            ),
            (json!({"timeout_ms": u64::MAX}), json!({"Test": [], "Timeout": i64::MAX})),
        ] {
            assert_eq!(of(check.clone()), expected, "{check}");
        }
    }
}
