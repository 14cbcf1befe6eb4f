//! The conformance suite of every engine, real or simulated.
//!
//! Each scenario has its own cluster, so that scenarios may share an engine and run side by side. [`run_all`]
//! runs them one after another; [`each_scenario`] lets a caller make a test of each.

use crate::support::{DEADLINE, eventually};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kdaemon::engine::{
    ContainerState, Engine, EngineError, EngineEvent, Identity, LaunchOrder, ListedContainer, LogRequest,
};
use kdaemon_events::{ClusterId, ContainerId, Generation, PublishedPort, Spec};
use std::sync::Arc;
use tokio::time::timeout;
use uuid::Uuid;

/// Images, commands and ports of a particular engine, for the scenarios.
#[derive(Debug, Clone)]
pub(crate) struct Env {
    /// An image that the engine has.
    pub(crate) image: String,
    /// An image that neither the engine nor any registry has.
    pub(crate) missing_image: String,
    /// A command that runs until it is stopped.
    pub(crate) forever: Vec<String>,
    /// A command that exits with code 3 at once.
    pub(crate) exits_with_3: Vec<String>,
    /// A command that writes the lines `one`, `two` and `three`, and exits with code 0.
    pub(crate) writes_three_lines: Vec<String>,
    /// A command that the image does not have.
    pub(crate) missing_command: Vec<String>,
    /// A port of the node that nothing else uses.
    pub(crate) free_port: u16,
}

/// Calls `$callback!` with the names of all scenarios.
macro_rules! each_scenario {
    ($callback:ident) => {
        $callback! {
            running_engine_answers,
            launched_container_runs_and_is_listed,
            repeated_launch_creates_nothing_new,
            concurrent_launches_create_one_container,
            launch_starts_an_exited_container,
            two_generations_of_a_container_coexist,
            missing_image_is_rejected,
            missing_command_is_rejected_without_a_trace,
            unfixed_port_is_chosen_by_the_engine,
            port_in_use_is_a_node_fault_without_a_trace,
            stopped_container_stays_and_can_be_started_again,
            exit_code_is_reported,
            missing_container_cannot_be_started_but_stop_and_remove_succeed,
            removed_container_is_gone,
            concurrent_removals_succeed,
            container_of_another_cluster_is_foreign_and_untouched,
            unused_networks_of_the_own_cluster_are_removed,
            events_describe_the_life_of_a_container,
            events_are_of_their_own_cluster_only,
            nothing_after_the_subscription_is_missed,
            output_is_read_complete_partial_and_followed,
            running_container_has_usage,
        }
    };
}
pub(crate) use each_scenario;

macro_rules! define_run_all {
    ($($scenario:ident),+ $(,)?) => {
        /// Runs all scenarios, one after another.
        pub(crate) async fn run_all(engine: Arc<dyn Engine>, env: &Env) {
            $(
                eprintln!(concat!("scenario ", stringify!($scenario)));
                $scenario(&*engine, env).await;
            )+
        }
    };
}
each_scenario!(define_run_all);

pub(crate) async fn running_engine_answers(engine: &dyn Engine, _: &Env) {
    engine.ping().await.unwrap();
    let facts = engine.facts().await.unwrap();
    assert!(["docker", "podman"].contains(&facts.kind.as_str()), "{facts:?}");
    assert!(
        !facts.version.is_empty() && !facts.api_version.is_empty() && !facts.engine_id.is_empty(),
        "{facts:?}"
    );
    assert!(facts.cpus.0 >= 1000 && facts.memory_bytes > 0, "{facts:?}");
    assert!(facts.platform.contains('/'), "{facts:?}");
    assert_eq!(engine.facts().await.unwrap(), facts, "an engine that has not changed says the same again");
}

pub(crate) async fn launched_container_runs_and_is_listed(engine: &dyn Engine, env: &Env) {
    let order = order(env, "runs", &env.forever);
    assert_eq!(engine.inspect(order.identity).await, Ok(None));
    let launched = engine.launch(&order).await.unwrap();
    assert!(!launched.engine_id.is_empty() && !launched.image_id.is_empty(), "{launched:?}");
    assert!(launched.started_at.is_some());
    assert_eq!(own(engine, &order).await, [listed(&order, &launched.engine_id, ContainerState::Running)]);
    let inspected = engine.inspect(order.identity).await.unwrap().unwrap();
    assert_eq!(
        (inspected.launched, inspected.state, inspected.exit),
        (launched, ContainerState::Running, None)
    );
    clean_up(engine, order.identity.cluster).await;
}

pub(crate) async fn repeated_launch_creates_nothing_new(engine: &dyn Engine, env: &Env) {
    let order = order(env, "twice", &env.forever);
    let first = engine.launch(&order).await.unwrap();
    assert_eq!(engine.launch(&order).await, Ok(first));
    assert_eq!(own(engine, &order).await.len(), 1);
    clean_up(engine, order.identity.cluster).await;
}

pub(crate) async fn concurrent_launches_create_one_container(engine: &dyn Engine, env: &Env) {
    let order = order(env, "at once", &env.forever);
    let launches = (0..6).map(|_| engine.launch(&order));
    let launched = futures_util::future::join_all(launches).await;
    for one in &launched {
        assert_eq!(one.as_ref().unwrap().engine_id, launched[0].as_ref().unwrap().engine_id);
    }
    assert_eq!(own(engine, &order).await.len(), 1);
    clean_up(engine, order.identity.cluster).await;
}

pub(crate) async fn launch_starts_an_exited_container(engine: &dyn Engine, env: &Env) {
    let order = order(env, "again", &env.forever);
    let first = engine.launch(&order).await.unwrap();
    engine.stop(order.identity).await.unwrap();
    let second = engine.launch(&order).await.unwrap();
    assert_eq!(second.engine_id, first.engine_id);
    assert_eq!(own(engine, &order).await, [listed(&order, &first.engine_id, ContainerState::Running)]);
    clean_up(engine, order.identity.cluster).await;
}

pub(crate) async fn two_generations_of_a_container_coexist(engine: &dyn Engine, env: &Env) {
    let older = order(env, "generations", &env.forever);
    let mut newer = older.clone();
    newer.identity.generation = older.identity.generation.next();
    let (first, second) = (engine.launch(&older).await.unwrap(), engine.launch(&newer).await.unwrap());
    assert_ne!(first.engine_id, second.engine_id);
    assert_eq!(own(engine, &older).await.len(), 2);
    engine.remove(older.identity).await.unwrap();
    assert_eq!(own(engine, &older).await, [listed(&newer, &second.engine_id, ContainerState::Running)]);
    clean_up(engine, older.identity.cluster).await;
}

pub(crate) async fn missing_image_is_rejected(engine: &dyn Engine, env: &Env) {
    let mut order = order(env, "no image", &env.forever);
    Arc::make_mut(&mut order.spec).docker_image.clone_from(&env.missing_image);
    let refused = engine.launch(&order).await;
    assert!(matches!(refused, Err(EngineError::Rejected(_))), "{refused:?}");
    assert_eq!(own(engine, &order).await, []);
}

pub(crate) async fn missing_command_is_rejected_without_a_trace(engine: &dyn Engine, env: &Env) {
    let order = order(env, "no command", &env.missing_command);
    let refused = engine.launch(&order).await;
    assert!(matches!(refused, Err(EngineError::Rejected(_))), "{refused:?}");
    assert_eq!(own(engine, &order).await, []);
}

pub(crate) async fn unfixed_port_is_chosen_by_the_engine(engine: &dyn Engine, env: &Env) {
    let mut order = order(env, "any port", &env.forever);
    Arc::make_mut(&mut order.spec).exposed_ports = vec!["80".parse().unwrap(), "53/udp".parse().unwrap()];
    let launched = engine.launch(&order).await.unwrap();
    let inner: Vec<String> =
        launched.ports.iter().map(|port| format!("{}/{}", port.container, port.protocol)).collect();
    assert_eq!(inner, ["53/udp", "80/tcp"], "each of them once");
    assert!(launched.ports.iter().all(|port| port.host > 0));
    clean_up(engine, order.identity.cluster).await;
}

pub(crate) async fn port_in_use_is_a_node_fault_without_a_trace(engine: &dyn Engine, env: &Env) {
    let port = format!("{}:80", env.free_port).parse().unwrap();
    let mut first = order(env, "has the port", &env.forever);
    Arc::make_mut(&mut first.spec).exposed_ports = vec![port];
    let launched = engine.launch(&first).await.unwrap();
    let wanted = PublishedPort { container: 80, host: env.free_port, protocol: port.protocol };
    assert_eq!(launched.ports, [wanted]);

    let mut second = order(env, "wants the port", &env.forever);
    Arc::make_mut(&mut second.spec).exposed_ports = vec![port];
    let refused = engine.launch(&second).await;
    assert!(matches!(refused, Err(EngineError::NodeFault(_))), "{refused:?}");
    assert_eq!(own(engine, &second).await, []);

    engine.remove(first.identity).await.unwrap();
    engine.launch(&second).await.unwrap();
    clean_up(engine, second.identity.cluster).await;
}

pub(crate) async fn stopped_container_stays_and_can_be_started_again(engine: &dyn Engine, env: &Env) {
    let order = order(env, "stops", &env.forever);
    let launched = engine.launch(&order).await.unwrap();
    let exit = engine.stop(order.identity).await.unwrap().expect("it ran, so it ended somehow");
    assert_eq!(own(engine, &order).await, [listed(&order, &launched.engine_id, ContainerState::Exited)]);
    let inspected = engine.inspect(order.identity).await.unwrap().unwrap();
    assert_eq!((inspected.state, inspected.exit), (ContainerState::Exited, Some(exit)));
    assert_eq!(engine.stop(order.identity).await, Ok(Some(exit)), "to stop it again changes nothing");

    let started = engine.start(order.identity).await.unwrap();
    assert_eq!(started.engine_id, launched.engine_id);
    assert_eq!(engine.start(order.identity).await, Ok(started), "to start it again changes nothing");
    assert_eq!(own(engine, &order).await, [listed(&order, &launched.engine_id, ContainerState::Running)]);
    clean_up(engine, order.identity.cluster).await;
}

pub(crate) async fn exit_code_is_reported(engine: &dyn Engine, env: &Env) {
    let order = order(env, "three", &env.exits_with_3);
    engine.launch(&order).await.expect("a container that ends at once was launched all the same");
    let exit = eventually("the container has ended", async || {
        engine.inspect(order.identity).await.unwrap().unwrap().exit
    })
    .await;
    assert_eq!((exit.code, exit.out_of_memory), (3, false));
    clean_up(engine, order.identity.cluster).await;
}

pub(crate) async fn missing_container_cannot_be_started_but_stop_and_remove_succeed(
    engine: &dyn Engine,
    env: &Env,
) {
    let identity = order(env, "not there", &env.forever).identity;
    assert!(matches!(engine.start(identity).await, Err(EngineError::NotFound(_))));
    assert_eq!(engine.stop(identity).await, Ok(None));
    assert_eq!(engine.remove(identity).await, Ok(()));
    assert_eq!(engine.inspect(identity).await, Ok(None));
    assert!(matches!(engine.stats(identity).await, Err(EngineError::NotFound(_))));
    assert!(matches!(
        engine.logs(identity, LogRequest::default()).await.err(),
        Some(EngineError::NotFound(_))
    ));
}

pub(crate) async fn removed_container_is_gone(engine: &dyn Engine, env: &Env) {
    let order = order(env, "goes", &env.forever);
    let first = engine.launch(&order).await.unwrap();
    engine.remove(order.identity).await.unwrap();
    assert_eq!(own(engine, &order).await, []);
    assert_eq!(engine.inspect(order.identity).await, Ok(None));
    let second = engine.launch(&order).await.unwrap();
    assert_ne!(second.engine_id, first.engine_id, "launched again it is a new one");
    clean_up(engine, order.identity.cluster).await;
}

pub(crate) async fn concurrent_removals_succeed(engine: &dyn Engine, env: &Env) {
    let order = order(env, "goes twice", &env.forever);
    engine.launch(&order).await.unwrap();
    let removals = (0..3).map(|_| engine.remove(order.identity));
    assert_eq!(futures_util::future::join_all(removals).await, [Ok(()), Ok(()), Ok(())]);
    assert_eq!(own(engine, &order).await, []);
}

pub(crate) async fn container_of_another_cluster_is_foreign_and_untouched(engine: &dyn Engine, env: &Env) {
    let theirs = order(env, "theirs", &env.forever);
    let launched = engine.launch(&theirs).await.unwrap();
    // The same record and generation, of another cluster.
    let mut ours = theirs.clone();
    ours.identity.cluster = ClusterId(Uuid::now_v7());
    let listing = engine.list(ours.identity.cluster).await.unwrap();
    assert_eq!(listing.own, []);
    assert!(listing.foreign >= 1);
    assert_eq!(engine.inspect(ours.identity).await, Ok(None));
    assert_eq!(engine.stop(ours.identity).await, Ok(None));
    assert_eq!(engine.remove(ours.identity).await, Ok(()));
    // The foreign container has the name that ours would have.
    let beside = engine.launch(&ours).await.unwrap();
    assert_ne!(beside.engine_id, launched.engine_id);
    engine.remove(ours.identity).await.unwrap();
    assert_eq!(own(engine, &theirs).await, [listed(&theirs, &launched.engine_id, ContainerState::Running)]);
    clean_up(engine, theirs.identity.cluster).await;
}

pub(crate) async fn unused_networks_of_the_own_cluster_are_removed(engine: &dyn Engine, env: &Env) {
    let networked = |name: &str| {
        let mut order = order(env, name, &env.forever);
        let network = format!("net-{}", order.identity.container);
        Arc::make_mut(&mut order.spec).networks = vec![network.clone()];
        (order, network)
    };
    let ((ours, network), (foreign, foreign_network)) = (networked("ours"), networked("foreign"));
    let (cluster, other) = (ours.identity.cluster, foreign.identity.cluster);
    engine.launch(&ours).await.unwrap();
    engine.launch(&foreign).await.unwrap();
    engine.remove(foreign.identity).await.unwrap();
    assert_eq!(engine.networks(cluster).await, Ok(vec![network.clone()]));

    assert_eq!(engine.remove_network(cluster, &network).await, Ok(false), "a container runs in it");
    engine.stop(ours.identity).await.unwrap();
    assert_eq!(engine.remove_network(cluster, &network).await, Ok(false), "a stopped container needs it");
    engine.start(ours.identity).await.unwrap();
    engine.remove(ours.identity).await.unwrap();
    assert_eq!(engine.remove_network(cluster, &network).await, Ok(true));
    assert_eq!(engine.networks(cluster).await, Ok(vec![]));
    assert_eq!(engine.remove_network(cluster, &network).await, Ok(true), "it is gone already");

    assert_eq!(engine.remove_network(cluster, &foreign_network).await, Ok(true), "there is none of ours");
    assert_eq!(engine.networks(other).await, Ok(vec![foreign_network.clone()]), "it is another cluster's");
    assert_eq!(engine.remove_network(other, &foreign_network).await, Ok(true));
}

pub(crate) async fn events_describe_the_life_of_a_container(engine: &dyn Engine, env: &Env) {
    let order = order(env, "lives", &env.exits_with_3);
    let identity = order.identity;
    let mut events = engine.events(identity.cluster).await.unwrap();
    engine.launch(&order).await.unwrap();
    assert_eq!(next(&mut events).await, EngineEvent::Started(identity));
    let EngineEvent::Died(who, exit) = next(&mut events).await else { panic!("it did not die") };
    assert_eq!((who, exit.code, exit.out_of_memory), (identity, 3, false));
    engine.remove(identity).await.unwrap();
    assert_eq!(next(&mut events).await, EngineEvent::Removed(identity));
}

pub(crate) async fn events_are_of_their_own_cluster_only(engine: &dyn Engine, env: &Env) {
    let (ours, theirs) = (order(env, "ours", &env.forever), order(env, "theirs too", &env.forever));
    let mut events = engine.events(ours.identity.cluster).await.unwrap();
    engine.launch(&theirs).await.unwrap();
    engine.launch(&ours).await.unwrap();
    clean_up(engine, theirs.identity.cluster).await;
    assert_eq!(next(&mut events).await, EngineEvent::Started(ours.identity));
    engine.remove(ours.identity).await.unwrap();
    assert!(matches!(next(&mut events).await, EngineEvent::Died(who, _) if who == ours.identity));
    assert_eq!(next(&mut events).await, EngineEvent::Removed(ours.identity));
}

pub(crate) async fn nothing_after_the_subscription_is_missed(engine: &dyn Engine, env: &Env) {
    let order = order(env, "watched", &env.forever);
    for _ in 0..5 {
        engine.launch(&order).await.unwrap();
        let mut events = engine.events(order.identity.cluster).await.unwrap();
        engine.remove(order.identity).await.unwrap();
        // Events from before the subscription are not sent: no `Started`.
        assert!(matches!(next(&mut events).await, EngineEvent::Died(who, _) if who == order.identity));
        assert_eq!(next(&mut events).await, EngineEvent::Removed(order.identity));
    }
}

pub(crate) async fn output_is_read_complete_partial_and_followed(engine: &dyn Engine, env: &Env) {
    let order = order(env, "writes", &env.writes_three_lines);
    engine.launch(&order).await.unwrap();
    let read = async |request| {
        let mut output = engine.logs(order.identity, request).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = timeout(DEADLINE, output.next()).await.expect("output that ends") {
            text.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(text).unwrap()
    };
    // A followed stream ends when the container does.
    assert_eq!(read(LogRequest { follow: true, ..Default::default() }).await, "one\ntwo\nthree\n");
    assert_eq!(read(LogRequest::default()).await, "one\ntwo\nthree\n");
    assert_eq!(read(LogRequest { tail: Some(1), ..Default::default() }).await, "three\n");
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    assert_eq!(read(LogRequest { since: Some(later), ..Default::default() }).await, "");
    clean_up(engine, order.identity.cluster).await;
}

pub(crate) async fn running_container_has_usage(engine: &dyn Engine, env: &Env) {
    let order = order(env, "uses", &env.forever);
    engine.launch(&order).await.unwrap();
    let stats = engine.stats(order.identity).await.unwrap();
    assert!(stats.memory_bytes > 0 && stats.memory_limit_bytes >= stats.memory_bytes, "{stats:?}");
    assert!(stats.pids >= 1 && stats.cpus >= 0.0 && stats.cpus.is_finite(), "{stats:?}");
    clean_up(engine, order.identity.cluster).await;
}

/// An order for a container of a new cluster. Its name is different in each process and scenario.
pub(crate) fn order(env: &Env, name: &str, command: &[String]) -> LaunchOrder {
    let container = ContainerId(Uuid::now_v7());
    let spec = Spec { docker_image: env.image.clone(), command: command.to_vec(), ..Default::default() };
    LaunchOrder {
        identity: Identity { cluster: ClusterId(Uuid::now_v7()), container, generation: Generation(1) },
        name: format!("{name} {container}"),
        spec: Arc::new(spec),
        volumes: Vec::new(),
        credentials: None,
    }
}

/// The containers that the engine lists for the order's cluster.
pub(crate) async fn own(engine: &dyn Engine, order: &LaunchOrder) -> Vec<ListedContainer> {
    let mut own = engine.list(order.identity.cluster).await.unwrap().own;
    own.iter_mut().for_each(|listed| listed.ports.clear()); // scenarios about ports look at them
    own
}

pub(crate) fn listed(order: &LaunchOrder, engine_id: &str, state: ContainerState) -> ListedContainer {
    let (engine_id, ports) = (engine_id.to_owned(), Vec::new());
    ListedContainer { identity: order.identity, engine_id, state, paused: false, ports }
}

/// The next event; panics when none comes.
pub(crate) async fn next(events: &mut BoxStream<'static, Result<EngineEvent, EngineError>>) -> EngineEvent {
    timeout(DEADLINE, events.next()).await.expect("an event in time").expect("an event").unwrap()
}

/// Removes all of a cluster's containers.
pub(crate) async fn clean_up(engine: &dyn Engine, cluster: ClusterId) {
    for listed in engine.list(cluster).await.unwrap().own {
        engine.remove(listed.identity).await.unwrap();
    }
}
