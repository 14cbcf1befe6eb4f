//! Tests of each behaviour and each fault, with a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kdaemon::engine::{
    ContainerState, Credentials, Engine, EngineError, EngineEvent, Engines, Exit, Failure, Identity,
    LaunchOrder, LogRequest,
};
use kdaemon_events::{ClusterId, Generation, HealthCheck, HealthCommand, Protocol, Spec};
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::time::{Instant, advance, sleep, timeout};
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(7));

fn identity(n: u128) -> Identity {
    Identity { cluster: CLUSTER, container: ContainerId(Uuid::from_u128(n)), generation: Generation(1) }
}

fn spec(command: &[&str]) -> Spec {
    Spec {
        docker_image: "busybox".into(),
        command: command.iter().map(ToString::to_string).collect(),
        ..Spec::default()
    }
}

fn order(n: u128, spec: Spec) -> LaunchOrder {
    LaunchOrder {
        identity: identity(n),
        name: format!("c{n}"),
        spec: Arc::new(spec),
        volumes: Vec::new(),
        credentials: None,
    }
}

fn server(n: u128, ports: &[&str]) -> LaunchOrder {
    let exposed_ports = ports.iter().map(|port| port.parse().unwrap()).collect();
    order(n, Spec { exposed_ports, ..spec(&["sleep", "infinity"]) })
}

fn killed(code: i64) -> Exit {
    Exit { code, out_of_memory: false }
}

struct TestWorld {
    engines: SimulatedEngines,
    endpoint: Endpoint,
    machine: Arc<Machine>,
    client: Arc<dyn Engine>,
}

fn world() -> TestWorld {
    world_with(SimulatedMachine::default())
}

fn world_with(about: SimulatedMachine) -> TestWorld {
    let engines = SimulatedEngines::new(1);
    let endpoint: Endpoint = "tcp://node-1:2375".parse().unwrap();
    let machine = engines.add(&endpoint, about);
    let client = engines.client(&endpoint);
    TestWorld { engines, endpoint, machine, client }
}

async fn next<T>(stream: &mut BoxStream<'static, Result<T, EngineError>>) -> Option<Result<T, EngineError>> {
    timeout(Duration::from_secs(60), stream.next()).await.expect("something within a minute")
}

async fn is_silent<T>(stream: &mut BoxStream<'static, Result<T, EngineError>>) -> bool {
    timeout(Duration::from_secs(3600), stream.next()).await.is_err()
}

async fn text(mut stream: BoxStream<'static, Result<Bytes, EngineError>>) -> String {
    let mut text = String::new();
    while let Some(chunk) = next(&mut stream).await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    text
}

fn is_unreachable<T: std::fmt::Debug>(result: &Result<T, EngineError>) -> bool {
    matches!(result, Err(EngineError::Unreachable(_)))
}

#[tokio::test(start_paused = true)]
async fn launched_container_runs_until_removed() {
    let TestWorld { client, machine, .. } = world();
    let order = server(1, &["80", "53/udp", "8080:81"]);
    let launched = client.launch(&order).await.unwrap();
    let port = |container, host, protocol| PublishedPort { container, host, protocol };
    let tcp = [port(80, 32768, Protocol::Tcp), port(81, 8080, Protocol::Tcp)];
    assert_eq!(launched.ports, [[port(53, 32768, Protocol::Udp)].as_slice(), &tcp].concat());
    assert_eq!(launched.engine_id.len(), 64);
    let inspected = client.inspect(identity(1)).await.unwrap().unwrap();
    assert_eq!(
        (inspected.state, inspected.exit, inspected.launched),
        (ContainerState::Running, None, launched)
    );
    // As process 1 it ignores SIGTERM.
    let before = Instant::now();
    assert_eq!(client.stop(identity(1)).await, Ok(Some(killed(137))));
    assert!(before.elapsed() >= Duration::from_secs(10));
    assert_eq!(machine.containers()[0].ports, []);
    client.remove(identity(1)).await.unwrap();
    client.remove(identity(1)).await.unwrap();
    assert_eq!(client.stop(identity(1)).await, Ok(None));
    assert_eq!(client.inspect(identity(1)).await, Ok(None));
    assert!(matches!(client.start(identity(1)).await, Err(EngineError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn concurrent_launches_are_idempotent() {
    let TestWorld { client, machine, .. } = world();
    let order = server(1, &["80"]);
    let (a, b) = tokio::join!(client.launch(&order), client.launch(&order));
    assert_eq!(a.unwrap().engine_id, b.unwrap().engine_id);
    machine.kill_container(identity(1), 9).unwrap();
    client.launch(&order).await.unwrap();
    assert_eq!(machine.running(), [identity(1)]);
    assert_eq!((machine.containers().len(), machine.calls(EngineCall::Launch)), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn commands_behave_as_in_busybox() {
    let TestWorld { client, machine, .. } = world();
    let cases: [(&[&str], i64, u64, &str); 12] = [
        (&["true"], 0, 0, ""),
        (&["false"], 1, 0, ""),
        (&["sleep", "3"], 0, 3_000, ""),
        (&["sh", "-c", "exit 3"], 3, 0, ""),
        (&["/bin/sh", "-c", "echo a  b; sleep 0.5 && echo 'c;  d' && exit 4"], 4, 500, "a b\nc;  d\n"),
        (
            &["sh", "-c", "false || echo \"x=$X ${X}y $?\"; echo no > /tmp/f; echo err >&2"],
            0,
            0,
            "x=1 1y 1\nerr\n",
        ),
        (&["echo", "hi"], 0, 0, "hi\n"),
        (&["printenv", "X"], 0, 0, "1\n"),
        (&["sh", "-c", "for i in 1 2 3; do echo $i; sleep 1; done; false"], 1, 3_000, "1\n2\n3\n"),
        (&["sh", "-c", "sleep 1; kill -9 $$"], 137, 1_000, ""),
        (&["sh", "-c", "while true; do echo x; sleep 1; exit 2; done"], 2, 1_000, "x\n"),
        (&["sh", "-c", "no-such-command; echo $?"], 0, 0, "127\n"),
    ];
    for (n, (command, code, after_ms, output)) in (1..).zip(cases) {
        let env_variables = [("X".to_owned(), "1".to_owned())].into();
        client.launch(&order(n, Spec { env_variables, ..spec(command) })).await.unwrap();
        let seen = || machine.containers().into_iter().find(|c| c.identity == identity(n)).unwrap();
        let ends_at = seen().started_at.unwrap() + Duration::from_millis(after_ms);
        sleep(Duration::from_millis(after_ms)).await;
        assert_eq!(seen().exit, Some(killed(code)), "{command:?}");
        let events = client.logs(identity(n), LogRequest::default()).await.unwrap();
        assert_eq!(text(events).await, output, "{command:?}");
        let since = LogRequest { since: Some(ends_at + Duration::from_millis(1)), ..LogRequest::default() };
        assert_eq!(text(client.logs(identity(n), since).await.unwrap()).await, "", "{command:?}");
    }
    let oom = Exit { code: 137, out_of_memory: true };
    client.launch(&order(99, spec(&["tail", "/dev/zero"]))).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(client.inspect(identity(99)).await.unwrap().unwrap().exit, Some(oom));
}

#[tokio::test(start_paused = true)]
async fn process_that_traps_sigterm_exits_cleanly() {
    let TestWorld { client, .. } = world();
    let script = "trap 'echo bye; exit 5' TERM; while true; do sleep 1; done";
    client.launch(&order(1, spec(&["sh", "-c", script]))).await.unwrap();
    client.launch(&order(2, spec(&[]))).await.unwrap();
    assert_eq!(client.stop(identity(1)).await, Ok(Some(killed(5))));
    assert_eq!(client.stop(identity(2)).await, Ok(Some(killed(0))));
    assert_eq!(text(client.logs(identity(1), LogRequest::default()).await.unwrap()).await, "bye\n");
}

#[tokio::test(start_paused = true)]
async fn followed_output_streams_and_ends_with_the_process() {
    let TestWorld { client, machine, .. } = world();
    client.launch(&order(1, spec(&["sh", "-c", "while :; do echo tick; sleep 10; done"]))).await.unwrap();
    sleep(Duration::from_secs(1_000_000)).await;
    let request = LogRequest { follow: true, tail: Some(2), since: None };
    let mut logs = client.logs(identity(1), request).await.unwrap();
    for _ in 0..5 {
        assert_eq!(next(&mut logs).await.unwrap().unwrap(), "tick\n");
    }
    machine.write_output(identity(1), "one\n").unwrap();
    assert_eq!(next(&mut logs).await.unwrap().unwrap(), "one\n");
    machine.write_output(identity(1), "two\n").unwrap();
    assert_eq!(next(&mut logs).await.unwrap().unwrap(), "two\n");
    machine.kill_container(identity(1), 1).unwrap();
    assert_eq!(next(&mut logs).await, None);
    assert!(matches!(client.logs(identity(2), request).await.err(), Some(EngineError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn impossible_order_is_rejected_without_a_trace() {
    let TestWorld { client, machine, engines, .. } = world();
    engines.lacks_image("ghost:none");
    let image = |image: &str| Spec { docker_image: image.into(), ..spec(&[]) };
    let orders = [order(1, spec(&["no-such-command"])), order(2, image("ghost:none"))];
    for order in orders {
        assert!(matches!(client.launch(&order).await, Err(EngineError::Rejected(_))));
    }
    let unknown_host = client.launch(&order(3, image("registry.invalid/x"))).await;
    assert!(matches!(unknown_host, Err(EngineError::NodeFault(_))));
    assert_eq!(machine.containers(), []);
}

#[tokio::test(start_paused = true)]
async fn image_is_pulled_once_and_not_during_an_outage() {
    let TestWorld { client, machine, engines, .. } = world();
    let ghost = |n| order(n, Spec { docker_image: "ghost:5".into(), ..spec(&[]) });
    engines.set_registry_down(true);
    assert!(matches!(client.launch(&ghost(1)).await, Err(EngineError::NodeFault(_))));
    engines.set_registry_down(false);
    machine.set_registry_cut(true);
    assert!(matches!(client.launch(&ghost(1)).await, Err(EngineError::NodeFault(_))));
    machine.set_registry_cut(false);
    let before = Instant::now();
    client.launch(&ghost(1)).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(500));
    machine.set_registry_cut(true);
    client.launch(&ghost(2)).await.unwrap();
    assert!(machine.remove_image("docker.io/library/ghost:5"));
}

#[tokio::test(start_paused = true)]
async fn private_image_needs_its_credentials() {
    let TestWorld { client, engines, .. } = world();
    engines.make_private("reg.example/secret", "alice", "wonder");
    let mut order = order(1, Spec { docker_image: "reg.example/secret:latest".into(), ..spec(&[]) });
    assert!(matches!(client.launch(&order).await, Err(EngineError::Rejected(_))));
    order.credentials = Some(Credentials { username: "alice".into(), password: "wonder".into() });
    client.launch(&order).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn taken_port_is_a_node_fault_without_a_trace() {
    let TestWorld { client, machine, .. } = world();
    machine.run_foreign("web", &[(Protocol::Tcp, 8080)]).unwrap();
    let refused = client.launch(&server(1, &["80", "8080:80"])).await;
    assert!(
        matches!(refused, Err(EngineError::NodeFault(Failure::Refused { quote })) if quote.as_str().contains("port is already allocated"))
    );
    assert_eq!(machine.containers(), []);
    client.launch(&server(1, &["8080:80/udp"])).await.unwrap();
    assert!(machine.remove_foreign("web"));
    client.launch(&server(2, &["8080:80"])).await.unwrap();
    // A stopped container holds no ports, and may find them taken when it is started again.
    machine.kill_container(identity(2), 0).unwrap();
    client.launch(&server(3, &["8080:80"])).await.unwrap();
    assert!(matches!(client.start(identity(2)).await, Err(EngineError::NodeFault(_))));
    assert_eq!(machine.containers().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn foreign_containers_are_counted_and_keep_their_names() {
    let TestWorld { client, machine, .. } = world();
    machine.run_foreign("c1", &[]).unwrap();
    client.launch(&server(1, &[])).await.unwrap();
    let mut other = server(2, &[]);
    other.identity.cluster = ClusterId(Uuid::from_u128(8));
    client.launch(&other).await.unwrap();
    let listing = client.list(CLUSTER).await.unwrap();
    assert_eq!((listing.own.len(), listing.foreign), (1, 2));
    assert_eq!(machine.containers()[0].name, "c1-g1");
    assert_eq!(machine.foreign(), ["c1"]);
}

#[tokio::test(start_paused = true)]
async fn events_tell_of_what_happens_and_of_what_happens_by_itself() {
    let TestWorld { client, machine, .. } = world();
    let mut events = client.events(CLUSTER).await.unwrap();
    client.launch(&order(1, spec(&["sleep", "30"]))).await.unwrap();
    assert_eq!(next(&mut events).await, Some(Ok(EngineEvent::Started(identity(1)))));
    // No request reaches the engine meanwhile.
    assert_eq!(next(&mut events).await, Some(Ok(EngineEvent::Died(identity(1), killed(0)))));
    client.start(identity(1)).await.unwrap();
    machine.exhaust_memory(identity(1)).unwrap();
    machine.remove_container(identity(1)).unwrap();
    let oom = Exit { code: 137, out_of_memory: true };
    assert_eq!(next(&mut events).await, Some(Ok(EngineEvent::Started(identity(1)))));
    assert_eq!(next(&mut events).await, Some(Ok(EngineEvent::Died(identity(1), oom))));
    assert_eq!(next(&mut events).await, Some(Ok(EngineEvent::Removed(identity(1)))));
    assert!(is_silent(&mut events).await);
    let mut others = client.events(ClusterId(Uuid::from_u128(8))).await.unwrap();
    client.launch(&server(2, &[])).await.unwrap();
    assert!(is_silent(&mut others).await);
}

#[tokio::test(start_paused = true)]
async fn health_check_reports_its_result() {
    let TestWorld { client, machine, .. } = world();
    let mut events = client.events(CLUSTER).await.unwrap();
    for (n, (test, healthy)) in (1..).zip([
        (&["CMD-SHELL", "true"] as &[_], Some(true)),
        (&["CMD-SHELL", "false || exit 1"], Some(false)),
        (&["CMD", "sh", "-c", "exit 0"], Some(true)),
        // Without a shell there is no such program.
        (&["CMD", "exit 0"], Some(false)),
        (&["CMD", "sleep", "2"], Some(false)),
        (&["NONE"], None),
        (&[], None),
    ]) {
        let health_check = HealthCheck {
            command: HealthCommand::from_docker(test.iter().map(ToString::to_string).collect()).unwrap(),
            interval_ms: NonZeroU64::new(1_000),
            timeout_ms: NonZeroU64::new(1_000),
            ..HealthCheck::default()
        };
        client.launch(&order(n, Spec { health_check, ..spec(&["sleep", "infinity"]) })).await.unwrap();
        assert_eq!(next(&mut events).await, Some(Ok(EngineEvent::Started(identity(n)))), "{test:?}");
        match healthy {
            Some(healthy) => {
                let reported = Some(Ok(EngineEvent::Health(identity(n), healthy)));
                assert_eq!(next(&mut events).await, reported, "{test:?}");
            }
            None => assert!(is_silent(&mut events).await, "{test:?}"),
        }
    }
    machine.set_health(identity(1), false).unwrap();
    assert_eq!(next(&mut events).await, Some(Ok(EngineEvent::Health(identity(1), false))));
}

#[tokio::test(start_paused = true)]
async fn crashed_machine_returns_with_exited_containers() {
    let TestWorld { client, machine, engines, endpoint } = world();
    let mut events = client.events(CLUSTER).await.unwrap();
    client.launch(&server(1, &[])).await.unwrap();
    assert!(next(&mut events).await.unwrap().is_ok());
    machine.crash(Crash::Machine);
    assert!(is_unreachable(&next(&mut events).await.unwrap()));
    assert_eq!(events.next().await, None);
    assert_eq!(client.ping().await, Err(EngineError::no_connection("connection refused")));
    assert_eq!(engines.running(&endpoint), []);
    machine.start();
    let inspected = client.inspect(identity(1)).await.unwrap().unwrap();
    assert_eq!((inspected.state, inspected.exit), (ContainerState::Exited, Some(killed(255))));
}

#[tokio::test(start_paused = true)]
async fn containers_outlive_a_crash_of_the_engine_alone() {
    let TestWorld { client, machine, engines, endpoint } = world();
    client.launch(&server(1, &[])).await.unwrap();
    client.launch(&order(2, spec(&["sleep", "5"]))).await.unwrap();
    machine.crash(Crash::EngineOnly);
    sleep(Duration::from_secs(10)).await;
    assert!(is_unreachable(&client.list(CLUSTER).await));
    assert_eq!(engines.running(&endpoint), [identity(1)]);
    machine.start();
    let own = client.list(CLUSTER).await.unwrap().own;
    assert_eq!(
        own.iter().map(|c| c.state).collect::<Vec<_>>(),
        [ContainerState::Running, ContainerState::Exited]
    );
}

#[tokio::test(start_paused = true)]
async fn crash_breaks_requests_in_progress() {
    let TestWorld { client, machine, .. } = world();
    machine.slow(100);
    let before = Instant::now();
    let crash = async {
        sleep(Duration::from_secs(1)).await;
        machine.restart(Crash::EngineOnly);
    };
    let order = server(1, &[]);
    let (launched, ()) = tokio::join!(client.launch(&order), crash);
    assert!(is_unreachable(&launched));
    assert_eq!(before.elapsed().as_secs(), 1);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(machine.running(), []);
}

#[tokio::test(start_paused = true)]
async fn cut_link_is_silent_until_the_timeout_and_delays_events() {
    let TestWorld { client, machine, .. } = world();
    client.launch(&server(1, &[])).await.unwrap();
    let mut events = client.events(CLUSTER).await.unwrap();
    machine.cut();
    let before = Instant::now();
    assert!(is_unreachable(&client.ping().await));
    assert_eq!(before.elapsed(), Duration::from_millis(1_500));
    machine.kill_container(identity(1), 1).unwrap();
    assert!(is_silent(&mut events).await);
    machine.heal();
    assert_eq!(next(&mut events).await, Some(Ok(EngineEvent::Died(identity(1), killed(1)))));
    // Even the engine's crash goes unnoticed until the link is healed.
    machine.cut();
    machine.restart(Crash::EngineOnly);
    assert!(is_silent(&mut events).await);
    machine.heal();
    assert!(is_unreachable(&next(&mut events).await.unwrap()));
    assert_eq!(client.ping().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn requests_pass_when_a_link_heals_in_time() {
    let TestWorld { client, machine, .. } = world();
    machine.cut();
    let heal = async {
        sleep(Duration::from_secs(1)).await;
        machine.heal();
    };
    assert_eq!(tokio::join!(client.ping(), heal).0, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn over_a_link_without_answers_requests_are_still_executed() {
    let TestWorld { client, machine, .. } = world();
    client.launch(&server(1, &[])).await.unwrap();
    machine.cut_answers();
    assert!(is_unreachable(&client.stop(identity(1)).await));
    assert_eq!(machine.containers()[0].state, ContainerState::Exited);
    assert!(is_unreachable(&client.launch(&server(2, &[])).await));
    machine.heal();
    assert_eq!(client.remove(identity(1)).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn slow_engine_finishes_abandoned_requests() {
    let timing = Timing { answer_ms: 2..=2, create_ms: 50..=50, ..Timing::default() };
    let TestWorld { client, machine, .. } =
        world_with(SimulatedMachine { timing, ..SimulatedMachine::default() });
    machine.slow(1_000);
    assert!(is_unreachable(&client.ping().await));
    machine.slow(200);
    let order = server(1, &[]);
    // The creation alone takes 10 seconds.
    assert!(timeout(Duration::from_secs(5), client.launch(&order)).await.is_err());
    assert_eq!(machine.containers(), []);
    sleep(Duration::from_secs(60)).await;
    // The creation went on without its caller, but no request started the container.
    assert_eq!(machine.containers()[0].state, ContainerState::Created);
    machine.slow(1);
    client.launch(&order).await.unwrap();
    assert_eq!(machine.running(), [identity(1)]);
}

#[tokio::test(start_paused = true)]
async fn lost_disk_is_empty() {
    let TestWorld { client, machine, .. } = world();
    client.launch(&server(1, &["8080:80"])).await.unwrap();
    machine.run_foreign("web", &[]).unwrap();
    machine.lose_disk();
    assert_eq!(client.list(CLUSTER).await, Ok(kdaemon::engine::EngineListing::default()));
    client.launch(&server(2, &["8080:80"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn full_disk_takes_nothing_new() {
    let TestWorld { client, machine, .. } = world();
    machine.full_disk();
    let refused = client.launch(&server(1, &[])).await;
    assert!(
        matches!(refused, Err(EngineError::NodeFault(Failure::Refused { quote })) if quote.as_str().contains("no space left on device"))
    );
    machine.free_disk();
    client.launch(&server(1, &[])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn launches_fail_and_time_out_on_command() {
    let TestWorld { client, machine, .. } = world();
    let fault = EngineError::node_fault("on command");
    machine.fail_next_launches(2, fault.clone());
    for _ in 0..2 {
        assert_eq!(client.launch(&server(1, &[])).await, Err(fault.clone()));
    }
    machine.launch_succeeds_but_times_out(1);
    assert!(is_unreachable(&client.launch(&server(1, &[])).await));
    assert_eq!(machine.running(), [identity(1)]);
    client.launch(&server(1, &[])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unknown_endpoints_and_replaced_machines_are_noticed() {
    let TestWorld { client, engines, endpoint, .. } = world();
    let message = |endpoint: &str| {
        let client = engines.client(&endpoint.parse().unwrap());
        async move { client.ping().await.unwrap_err().to_string() }
    };
    assert_eq!(message("tcp://node-1:1").await, "no connection: connection refused");
    assert_eq!(message("tcp://nowhere:2375").await, "no connection: nowhere: name or service not known");
    assert_eq!(message("unix:///x.sock").await, "no connection: /x.sock: no such file or directory");
    let before = client.facts().await.unwrap();
    client.launch(&server(1, &[])).await.unwrap();
    engines.add(&endpoint, SimulatedMachine::default());
    assert_ne!(client.facts().await.unwrap().engine_id, before.engine_id);
    assert_eq!(engines.containers(&endpoint), []);
}

#[tokio::test(start_paused = true)]
async fn lost_messages_are_lost_before_or_after_the_work() {
    let TestWorld { client, machine, .. } = world();
    machine.lose_messages(500);
    let (mut made, mut answered) = (0, 0);
    for n in 1..=60 {
        let result = client.launch(&server(n, &[])).await;
        assert!(result.is_ok() || is_unreachable(&result));
        answered += usize::from(result.is_ok());
        made = machine.running().len();
    }
    assert!(answered > 0 && made > answered && made < 60, "{answered} of {made}");
}

#[tokio::test(start_paused = true)]
async fn same_seed_gives_the_same_world() {
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let engines = SimulatedEngines::new(seed);
        let endpoints = engines.add_fleet(3, &SimulatedMachine::default());
        let mut times = Vec::new();
        for (n, endpoint) in (1..).zip(&endpoints) {
            let launched = engines.client(endpoint).launch(&server(n, &["80"])).await.unwrap();
            times.push((launched.started_at, launched.engine_id));
        }
        assert_eq!(
            (engines.calls(EngineCall::Launch), engines.places_of(identity(2).container).len()),
            (3, 1)
        );
        runs.push(times);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test(start_paused = true)]
async fn stats_keep_to_the_limits() {
    let TestWorld { client, machine, .. } = world();
    client.launch(&server(1, &[])).await.unwrap();
    advance(Duration::from_secs(10)).await;
    let stats = client.stats(identity(1)).await.unwrap();
    assert!(stats.cpus > 0.0 && stats.memory_bytes > 0 && stats.pids > 0);
    assert_eq!(stats.memory_limit_bytes, SimulatedMachine::default().memory_bytes);
    machine.kill_container(identity(1), 0).unwrap();
    assert_eq!(client.stats(identity(1)).await.unwrap().pids, 0);
    assert_eq!(machine.most_in_flight(), 1);
}

#[tokio::test]
async fn containers_of_an_instant_machine_are_cheap() {
    // A container with its name, ports and bookkeeping takes less than 300 bytes in total.
    assert!(size_of::<Identity>() + size_of::<EngineContainer>() <= 128);
    let about = SimulatedMachine { timing: Timing::instant(), ..SimulatedMachine::default() };
    let TestWorld { client, machine, .. } = world_with(about);
    for n in 0..100 {
        client.launch(&server(n, &["80"])).await.unwrap();
    }
    assert_eq!(machine.running().len(), 100);
}
