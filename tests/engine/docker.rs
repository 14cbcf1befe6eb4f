//! Real Docker engines: the conformance suite, and behaviour that only they can show.
//!
//! Engine 1 is shared by all tests that do not harm it; engine 2 belongs to one test at a time, which may
//! kill it.

use crate::engine::conformance::{self, Env, clean_up, each_scenario, next, order, own};
use crate::support::{Cluster, DEADLINE, eventually};
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HealthStatusEnum};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, KillContainerOptions, RemoveContainerOptions,
    StartContainerOptions,
};
use futures_util::StreamExt;
use kdaemon::engine::Failure;
use kdaemon::engine::docker::{DockerEngines, EngineLimits};
use kdaemon::engine::{
    ContainerState, Engine, EngineError, EngineEvent, Engines, LABEL_CLUSTER, LaunchOrder, LogRequest,
};
use kdaemon_events::{Endpoint, HealthCheck, HealthCommand, MilliCpus, Resources};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

/// Not dropped at the end; `scripts/engines` removes it when this process is gone.
static CLUSTER: LazyLock<(Cluster, Env)> = LazyLock::new(|| {
    let cluster = Cluster::up(2);
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let env = Env {
        image: cluster.image("kdaemon/busybox"),
        missing_image: format!("{}/kdaemon/missing:1", cluster.registry()),
        forever: words(&["sleep", "1000000"]),
        exits_with_3: words(&["sh", "-c", "exit 3"]),
        writes_three_lines: words(&["sh", "-c", "echo one; echo two; echo three"]),
        missing_command: words(&["no-such-command"]),
        free_port: 20080,
    };
    (cluster, env)
});

/// The holder may kill engine 2, and has it running again when it releases the lock.
static SECOND: Mutex<()> = Mutex::const_new(());

async fn second(cluster: &Cluster) -> MutexGuard<'static, ()> {
    let alone = SECOND.lock().await;
    // Cleans up after a test that failed.
    cluster.start(2);
    cluster.heal(2);
    alone
}

fn client(endpoint: &Endpoint) -> Arc<dyn Engine> {
    let limits = EngineLimits {
        probe: Duration::from_millis(500),
        connect: Duration::from_secs(1),
        request: Duration::from_secs(20),
        ..EngineLimits::default()
    };
    DockerEngines::new(limits).client(endpoint)
}

/// A plain bollard client, for requests that kDaemon never sends.
fn by_hand(endpoint: &Endpoint) -> Docker {
    Docker::connect_with_http(&endpoint.to_string(), 60, bollard::API_DEFAULT_VERSION).unwrap()
}

macro_rules! define_tests {
    ($($scenario:ident),+ $(,)?) => {
        /// The conformance suite.
        mod suite {
            $(
                #[tokio::test]
                #[ignore = "needs Docker engines: scripts/test"]
                async fn $scenario() {
                    let (cluster, env) = &*super::CLUSTER;
                    let engine = super::client(&cluster.endpoint(1));
                    super::conformance::$scenario(&*engine, env).await;
                }
            )+
        }
    };
}
each_scenario!(define_tests);

/// The cluster, engine 1 and what it offers.
macro_rules! engine_1 {
    () => {{
        let (cluster, env) = &*CLUSTER;
        (cluster, client(&cluster.endpoint(1)), env)
    }};
}

async fn inspect_by_hand(cluster: &Cluster, id: &str) -> bollard::models::ContainerInspectResponse {
    by_hand(&cluster.endpoint(1)).inspect_container(id, None::<InspectContainerOptions>).await.unwrap()
}

async fn output(engine: &dyn Engine, order: &LaunchOrder) -> String {
    let follow = LogRequest { follow: true, ..Default::default() };
    let mut output = engine.logs(order.identity, follow).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = timeout(DEADLINE, output.next()).await.expect("output that ends") {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    text
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn engine_is_the_same_by_its_socket() {
    let (cluster, engine, env) = engine_1!();
    let by_socket = client(&cluster.socket(1));
    assert_eq!(by_socket.facts().await, engine.facts().await);
    let order = order(env, "by socket", &env.forever);
    by_socket.launch(&order).await.unwrap();
    assert_eq!(own(&*engine, &order).await.len(), 1);
    clean_up(&*by_socket, order.identity.cluster).await;
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn engines_have_distinct_identities() {
    let (cluster, engine, _) = engine_1!();
    let _alone = second(cluster).await;
    let other = client(&cluster.endpoint(2));
    let (one, two) = (engine.facts().await.unwrap(), other.facts().await.unwrap());
    assert_eq!(one.kind, "docker");
    assert_ne!(one.engine_id, two.engine_id);
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn spec_arrives_complete() {
    let (cluster, engine, env) = engine_1!();
    let command =
        ["-c".to_owned(), "echo $GREETING; echo kept >/data/file; cat /data/file; sleep 1000".to_owned()];
    let mut order = order(env, "whole", &command);
    let spec = Arc::make_mut(&mut order.spec);
    spec.entrypoint = vec!["sh".into()];
    spec.env_variables = [("GREETING".to_owned(), "a=b, c".to_owned())].into();
    spec.labels = [
        ("org.example.tier".to_owned(), "web".to_owned()),
        // An application's label does not make its container part of another cluster.
        (LABEL_CLUSTER.to_owned(), "mine".to_owned()),
    ]
    .into();
    spec.volumes = vec![
        format!("data-{}:/data", order.identity.container).parse().unwrap(),
        "/tmp:/host:ro".parse().unwrap(),
    ];
    spec.resources = Resources {
        cpus: Some(MilliCpus(500)),
        memory_bytes: Some(64 << 20),
        reserved_cpus: Some(MilliCpus(100)),
        reserved_memory_bytes: Some(32 << 20),
    };
    spec.exposed_ports =
        vec!["20081:80".parse().unwrap(), "20082:80".parse().unwrap(), "53/udp".parse().unwrap()];
    let launched = engine.launch(&order).await.unwrap();

    let inner: Vec<_> = launched.ports.iter().map(|port| (port.container, port.host)).collect();
    assert_eq!(inner[1..], [(80, 20081), (80, 20082)]);
    let inspected = inspect_by_hand(cluster, &launched.engine_id).await;
    let host = inspected.host_config.unwrap();
    assert_eq!((host.nano_cpus, host.memory), (Some(500_000_000), Some(64 << 20)));
    assert_eq!(host.memory_reservation, Some(32 << 20));
    assert_eq!(host.restart_policy.unwrap().name.unwrap().to_string(), "no");
    let labels = inspected.config.unwrap().labels.unwrap();
    assert_eq!(labels["org.example.tier"], "web");
    assert_eq!(labels[LABEL_CLUSTER], order.identity.cluster.to_string());
    eventually("it has written", async || {
        let mut output = engine.logs(order.identity, LogRequest::default()).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = output.next().await {
            text.extend_from_slice(&chunk.unwrap());
        }
        (text == b"a=b, c\nkept\n").then_some(())
    })
    .await;
    clean_up(&*engine, order.identity.cluster).await;
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn missing_networks_are_created_and_joined() {
    let (cluster, engine, env) = engine_1!();
    let mut first = order(env, "networked", &env.forever);
    let (front, back) =
        (format!("front-{}", first.identity.container), format!("back-{}", first.identity.container));
    Arc::make_mut(&mut first.spec).networks = vec![front.clone(), back.clone()];
    let mut second = order(env, "networked too", &env.forever);
    second.identity.cluster = first.identity.cluster;
    second.spec = Arc::clone(&first.spec);
    // Concurrently: each network is still created once.
    let (one, two) = tokio::join!(engine.launch(&first), engine.launch(&second));
    for launched in [one.unwrap(), two.unwrap()] {
        let inspected = inspect_by_hand(cluster, &launched.engine_id).await;
        let joined = inspected.network_settings.unwrap().networks.unwrap();
        let mut joined: Vec<_> = joined.keys().collect();
        joined.sort();
        assert_eq!(joined, [&back, &front]);
    }
    let docker = by_hand(&cluster.endpoint(1));
    for network in [&front, &back] {
        let options = None::<bollard::query_parameters::InspectNetworkOptions>;
        let made = docker.inspect_network(network, options).await.expect("one network of that name");
        assert_eq!(made.labels.unwrap()[LABEL_CLUSTER], first.identity.cluster.to_string());
    }
    clean_up(&*engine, first.identity.cluster).await;
    for network in [&front, &back] {
        docker.remove_network(network).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn interrupted_launch_is_finished_by_the_next_one() {
    let (cluster, engine, env) = engine_1!();
    let mut order = order(env, "interrupted", &env.forever);
    let networks = ["a", "b"].map(|name| format!("{name}-{}", order.identity.container));
    Arc::make_mut(&mut order.spec).networks = networks.to_vec();
    let docker = by_hand(&cluster.endpoint(1));
    // An interrupted launch: created, on its first network, not on its second, not started.
    let launched = engine.launch(&order).await.unwrap();
    engine.remove(order.identity).await.unwrap();
    assert!(!launched.engine_id.is_empty());
    let labels = kdaemon::engine::identity_labels(order.identity, &order.name);
    let body = ContainerCreateBody {
        image: Some(env.image.clone()),
        cmd: Some(env.forever.clone()),
        labels: Some(labels.into_iter().collect()),
        host_config: Some(bollard::models::HostConfig {
            network_mode: Some(networks[0].clone()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let made = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap();
    assert_eq!(own(&*engine, &order).await, [conformance::listed(&order, &made.id, ContainerState::Created)]);
    assert_eq!(engine.launch(&order).await.unwrap().engine_id, made.id);
    let inspected = inspect_by_hand(cluster, &made.id).await;
    assert_eq!(inspected.network_settings.unwrap().networks.unwrap().len(), 2);
    clean_up(&*engine, order.identity.cluster).await;
    for network in &networks {
        docker.remove_network(network).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn foreign_container_of_the_same_name_is_left_alone() {
    let (cluster, engine, env) = engine_1!();
    let mut order = order(env, "x", &env.forever);
    order.name = format!("taken-{}", order.identity.container);
    let docker = by_hand(&cluster.endpoint(1));
    let mut foreign = Vec::new();
    for suffix in ["", "-g1"] {
        let options =
            CreateContainerOptions { name: Some(format!("{}{suffix}", order.name)), ..Default::default() };
        // The foreign container even has the cluster's label, but not the container's.
        let labels = [(LABEL_CLUSTER.to_owned(), order.identity.cluster.to_string())].into();
        let body = ContainerCreateBody {
            image: Some(env.image.clone()),
            cmd: Some(env.forever.clone()),
            labels: Some(labels),
            ..Default::default()
        };
        let made = docker.create_container(Some(options), body).await.unwrap();
        docker.start_container(&made.id, None::<StartContainerOptions>).await.unwrap();
        foreign.push(made.id);
    }
    let launches = (0..4).map(|_| engine.launch(&order));
    let launched = futures_util::future::join_all(launches).await;
    let launched: Vec<_> = launched.into_iter().map(|one| one.unwrap().engine_id).collect();
    assert!(launched.iter().all(|id| *id == launched[0]), "{launched:?}");
    let inspected = inspect_by_hand(cluster, &launched[0]).await;
    assert!(inspected.name.unwrap().starts_with(&format!("/{}-", order.name)));
    assert!(engine.list(order.identity.cluster).await.unwrap().foreign >= 2);
    engine.stop(order.identity).await.unwrap();
    engine.remove(order.identity).await.unwrap();
    engine.remove(order.identity).await.unwrap();
    for id in foreign {
        assert_eq!(inspect_by_hand(cluster, &id).await.state.unwrap().running, Some(true));
        let options = RemoveContainerOptions { force: true, ..Default::default() };
        docker.remove_container(&id, Some(options)).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn missing_image_is_pulled() {
    let (cluster, _, env) = engine_1!();
    // Pushed from engine 1, so that engine 2 does not have it.
    let image = cluster.push(1, "kdaemon/busybox", "latest");
    let _alone = second(cluster).await;
    let engine = client(&cluster.endpoint(2));
    let mut order = order(env, "pulled", &env.forever);
    Arc::make_mut(&mut order.spec).docker_image = image;
    engine.launch(&order).await.unwrap();
    clean_up(&*engine, order.identity.cluster).await;
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn unreachable_registry_is_a_node_fault() {
    let (cluster, engine, env) = engine_1!();
    let mut order = order(env, "unpulled", &env.forever);
    Arc::make_mut(&mut order.spec).docker_image = format!("{}:1/kdaemon/busybox:1", cluster.host());
    let refused = engine.launch(&order).await;
    assert!(matches!(refused, Err(EngineError::NodeFault(_))), "{refused:?}");
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn port_in_use_by_the_machine_is_a_node_fault() {
    let (_, engine, env) = engine_1!();
    let mut order = order(env, "wants the engine's port", &env.forever);
    Arc::make_mut(&mut order.spec).exposed_ports = vec!["2375:80".parse().unwrap()];
    let refused = engine.launch(&order).await;
    assert!(matches!(refused, Err(EngineError::NodeFault(_))), "{refused:?}");
    assert_eq!(own(&*engine, &order).await, []);
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn too_few_processors_are_a_node_fault() {
    let (_, engine, env) = engine_1!();
    let mut order = order(env, "greedy", &env.forever);
    Arc::make_mut(&mut order.spec).resources =
        Resources { cpus: Some(MilliCpus(9_000_000)), ..Resources::default() };
    let refused = engine.launch(&order).await;
    assert!(matches!(refused, Err(EngineError::NodeFault(_))), "{refused:?}");
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn health_check_changes_are_in_the_event_stream() {
    let (cluster, engine, env) = engine_1!();
    let mut order = order(env, "checked", &["sh", "-c", "touch /tmp/well; sleep 1000"].map(str::to_owned));
    Arc::make_mut(&mut order.spec).health_check = HealthCheck {
        command: HealthCommand::Shell("test -e /tmp/well && rm /tmp/well".into()),
        interval_ms: NonZeroU64::new(1000),
        timeout_ms: NonZeroU64::new(5000),
        retries: NonZeroU32::new(1),
        ..HealthCheck::default()
    };
    let mut events = engine.events(order.identity.cluster).await.unwrap();
    let launched = engine.launch(&order).await.unwrap();
    assert_eq!(next(&mut events).await, EngineEvent::Started(order.identity));
    assert_eq!(next(&mut events).await, EngineEvent::Health(order.identity, true));
    assert_eq!(next(&mut events).await, EngineEvent::Health(order.identity, false));
    let health = inspect_by_hand(cluster, &launched.engine_id).await.state.unwrap().health.unwrap();
    assert_eq!(health.status, Some(HealthStatusEnum::UNHEALTHY));
    clean_up(&*engine, order.identity.cluster).await;
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn health_check_keeps_its_form() {
    let (cluster, engine, env) = engine_1!();
    let check = |command| HealthCheck {
        command,
        interval_ms: NonZeroU64::new(1000),
        // An engine before Docker 25 ignores it.
        start_interval_ms: NonZeroU64::new(500),
        ..HealthCheck::default()
    };
    // The shell would read `a b` as two words, and `&&` as an operator.
    let exec = HealthCommand::Exec {
        program: "test".into(),
        arguments: ["a b", "=", "a b", "-a", "&&", "=", "&&"].map(str::to_owned).into(),
    };
    for (name, command, is_checked) in [
        ("exec", exec, true),
        ("shell", HealthCommand::Shell("true | true".into()), true),
        ("disabled", HealthCommand::Disabled, false),
        // The image has no check of its own.
        ("inherited", HealthCommand::Inherited, false),
    ] {
        let mut order = order(env, name, &env.forever);
        Arc::make_mut(&mut order.spec).health_check = check(command.clone());
        let mut events = engine.events(order.identity.cluster).await.unwrap();
        let launched = engine.launch(&order).await.unwrap();
        assert_eq!(next(&mut events).await, EngineEvent::Started(order.identity), "{name}");
        if is_checked {
            assert_eq!(next(&mut events).await, EngineEvent::Health(order.identity, true), "{name}");
        }
        let inspected = inspect_by_hand(cluster, &launched.engine_id).await;
        let config = inspected.config.unwrap().healthcheck.unwrap();
        assert_eq!(config.test.unwrap_or_default(), command.to_docker(), "{name}");
        assert_eq!(config.interval, Some(1_000_000_000), "{name}");
        assert_eq!(inspected.state.unwrap().health.is_some(), is_checked, "{name}");
        clean_up(&*engine, order.identity.cluster).await;
    }
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn exit_for_lack_of_memory_is_reported() {
    let (_, engine, env) = engine_1!();
    let mut order = order(env, "hungry", &["sh", "-c", "tail -f /dev/zero"].map(str::to_owned));
    Arc::make_mut(&mut order.spec).resources =
        Resources { memory_bytes: Some(16 << 20), ..Resources::default() };
    let mut events = engine.events(order.identity.cluster).await.unwrap();
    engine.launch(&order).await.unwrap();
    assert_eq!(next(&mut events).await, EngineEvent::Started(order.identity));
    let EngineEvent::Died(_, exit) = next(&mut events).await else { panic!("it did not die") };
    assert!(exit.out_of_memory, "{exit:?}");
    let inspected = engine.inspect(order.identity).await.unwrap().unwrap();
    assert_eq!(inspected.exit, Some(exit));
    clean_up(&*engine, order.identity.cluster).await;
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn kill_right_after_subscribing_is_reported() {
    let (cluster, engine, env) = engine_1!();
    let docker = by_hand(&cluster.endpoint(1));
    let order = order(env, "killed", &env.forever);
    for _ in 0..20 {
        let launched = engine.launch(&order).await.unwrap();
        let mut events = engine.events(order.identity.cluster).await.unwrap();
        docker.kill_container(&launched.engine_id, None::<KillContainerOptions>).await.unwrap();
        let EngineEvent::Died(who, exit) = next(&mut events).await else { panic!("it did not die") };
        assert_eq!((who, exit.code), (order.identity, 137));
    }
    clean_up(&*engine, order.identity.cluster).await;
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn stats_show_a_busy_container() {
    let (_, engine, env) = engine_1!();
    let mut order = order(env, "busy", &["sh", "-c", "while :; do :; done"].map(str::to_owned));
    Arc::make_mut(&mut order.spec).resources =
        Resources { cpus: Some(MilliCpus(200)), memory_bytes: Some(64 << 20), ..Resources::default() };
    engine.launch(&order).await.unwrap();
    let stats = engine.stats(order.identity).await.unwrap();
    assert_eq!(stats.memory_limit_bytes, 64 << 20);
    // The limit is a fifth of a processor, in periods of a tenth of a second.
    eventually("it uses its share", async || {
        let used = engine.stats(order.identity).await.unwrap().cpus;
        (0.05..0.4).contains(&used).then_some(())
    })
    .await;
    clean_up(&*engine, order.identity.cluster).await;
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn stdout_and_stderr_are_read_in_order() {
    let (_, engine, env) = engine_1!();
    let order = order(
        env,
        "both",
        &["sh", "-c", "for i in 1 2 3; do echo out $i; usleep 20000; echo err $i >&2; usleep 20000; done"]
            .map(str::to_owned),
    );
    engine.launch(&order).await.unwrap();
    assert_eq!(output(&*engine, &order).await, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
    clean_up(&*engine, order.identity.cluster).await;
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn container_that_ignores_sigterm_is_killed_after_the_grace_period() {
    let (cluster, _, env) = engine_1!();
    let image = cluster.image_with("kdaemon/polite", 1, "STOPSIGNAL SIGTERM");
    let limits = EngineLimits { stop_grace: Duration::from_secs(1), ..EngineLimits::default() };
    let engine = DockerEngines::new(limits).client(&cluster.endpoint(1));
    let mut order = order(env, "stubborn", &["sh", "-c", "trap '' TERM; sleep 1000"].map(str::to_owned));
    Arc::make_mut(&mut order.spec).docker_image = image;
    engine.launch(&order).await.unwrap();
    let exit = engine.stop(order.identity).await.unwrap().unwrap();
    assert_eq!(exit.code, 137);
    clean_up(&*engine, order.identity.cluster).await;
}

#[tokio::test]
#[ignore = "needs Docker engines: scripts/test"]
async fn launch_interrupted_anywhere_can_be_repeated() {
    let (_, engine, env) = engine_1!();
    let order = order(env, "broken off", &env.forever);
    for ms in [1, 5, 10, 20, 40, 80, 160] {
        let _ = timeout(Duration::from_millis(ms), engine.launch(&order)).await;
    }
    engine.launch(&order).await.unwrap();
    let own = own(&*engine, &order).await;
    assert_eq!((own.len(), own[0].state), (1, ContainerState::Running));
    clean_up(&*engine, order.identity.cluster).await;
}

/// Does harm to engine 2, waits until the event stream has ended, and repairs the engine.
async fn events_end_when(harm: fn(&Cluster), mend: fn(&Cluster), limit: Duration) {
    let (cluster, env) = &*CLUSTER;
    let _alone = second(cluster).await;
    let engine = client(&cluster.endpoint(2));
    let order = order(env, "left alone", &env.forever);
    let mut events = engine.events(order.identity.cluster).await.unwrap();
    engine.launch(&order).await.unwrap();
    assert_eq!(next(&mut events).await, EngineEvent::Started(order.identity));
    let mut output =
        engine.logs(order.identity, LogRequest { follow: true, ..Default::default() }).await.unwrap();
    tokio::task::block_in_place(|| harm(cluster));
    let ended = async {
        let mut errors = 0;
        while let Some(event) = events.next().await {
            assert_eq!(errors, 0, "an error is the last item");
            errors += usize::from(event.is_err());
        }
        while output.next().await.is_some() {}
    };
    let ended = timeout(limit, ended).await;
    let answer = engine.ping().await;
    tokio::task::block_in_place(|| mend(cluster));
    assert!(ended.is_ok(), "the event stream did not end");
    assert!(matches!(answer, Err(EngineError::Unreachable(_))), "{answer:?}");
    eventually("the engine answers again", async || engine.ping().await.ok()).await;
    engine.launch(&order).await.unwrap();
    assert_eq!(own(&*engine, &order).await.len(), 1);
    clean_up(&*engine, order.identity.cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn event_stream_ends_when_the_engine_is_killed() {
    events_end_when(|cluster| cluster.kill_engine(2), |cluster| cluster.start(2), Duration::from_secs(5))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn event_stream_ends_when_the_engine_is_stopped() {
    events_end_when(|cluster| cluster.stop(2), |cluster| cluster.start(2), Duration::from_secs(5)).await;
}

/// No packet announces that the machine is gone: the keep-alive finds out.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn event_stream_ends_when_the_machine_loses_power() {
    events_end_when(|cluster| cluster.kill(2), |cluster| cluster.start(2), Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn frozen_engine_and_cut_link_are_unreachable_until_repaired() {
    let (cluster, env) = &*CLUSTER;
    let _alone = second(cluster).await;
    let engine = client(&cluster.endpoint(2));
    let order = order(env, "out of reach", &env.forever);
    let launched = engine.launch(&order).await.unwrap();

    tokio::task::block_in_place(|| cluster.freeze(2));
    let frozen = engine.ping().await;
    tokio::task::block_in_place(|| cluster.thaw(2));
    assert_eq!(frozen, Err(EngineError::Unreachable(Failure::Timeout { limit_ms: 500 })));
    engine.ping().await.unwrap();

    tokio::task::block_in_place(|| cluster.cut(2));
    let cut = engine.ping().await;
    tokio::task::block_in_place(|| cluster.heal(2));
    assert!(matches!(cut, Err(EngineError::Unreachable(_))), "{cut:?}");
    eventually("the engine answers again", async || engine.ping().await.ok()).await;
    assert_eq!(engine.launch(&order).await.unwrap(), launched, "it kept running while the link was cut");
    clean_up(&*engine, order.identity.cluster).await;
}
