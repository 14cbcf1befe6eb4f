//! People at the API: what they request, and what they were promised.

use crate::invariants::Checker;
use crate::seed::Rng;
use crate::world::{World, endpoint};
use kdaemon::journal::{IdempotencyKey, Submission, SubmitError};
use kdaemon_control::commands::{
    Command, CreateApplication, CreateContainer, MountNode, UpdateApplication, UpdateContainer, UpdateNode,
};
use kdaemon_events::application::{OnFailure, UpdateOrder, UpdateSettings};
use kdaemon_events::{
    Actor, ApplicationId, Constraint, ContainerId, DataPolicy, HealthCheck, HealthCommand, MilliCpus, NodeId,
    PortSpec, Protocol, RequestId, Resources, RestartPolicy, SpecChanges, Strategy, UpdatePolicy,
};
use kdaemon_projections::Cluster;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The targets around which the numbers of applications and containers vary.
const APPLICATIONS: usize = 8;
const CONTAINERS: usize = 40;
/// How often a request with an `Idempotency-Key` is repeated.
const REPEATS: usize = 6;

/// The answers that people received.
#[derive(Default)]
pub struct Promises {
    /// Requests that were refused.
    refused: Vec<String>,
    /// Requests that found the log not writable.
    unavailable: Vec<String>,
    /// The requests of each `Idempotency-Key`.
    keys: BTreeMap<String, Vec<String>>,
}

impl Promises {
    /// Compares the answers with the log.
    pub fn check(&self, checker: &Checker) {
        for request in &self.refused {
            checker.not_done(request, true);
        }
        for request in &self.unavailable {
            checker.not_done(request, false);
        }
        for (key, requests) in &self.keys {
            let done = checker.done(requests);
            if done.len() > 1 {
                checker.find(format!("the Idempotency-Key {key} was carried out as {done:?}"));
            }
        }
    }
}

/// How a request ended, as far as its sender knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    Refused,
    /// Carried out or not.
    Unknown,
}

/// One person, who sends requests until `peace` is cancelled.
pub async fn run(world: Arc<World>, peace: CancellationToken, luck: u64) {
    let mut rng = Rng::new(luck, "person");
    for number in 0_u64.. {
        let most = u64::try_from(world.profile.command_every.as_millis()).unwrap_or(1_000) * 2;
        let pause = Duration::from_millis(rng.within(0..=most));
        if peace.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let Some(command) = choose(&world, &mut rng) else { continue };
        let name = format!("{luck:x}-{number}");
        if rng.chance(300) {
            for repeat in 0..REPEATS {
                let end =
                    ask(&world, &mut rng, command.clone(), format!("{name}-{repeat}"), Some(&name)).await;
                // A client that received a success may repeat the request all the same.
                if end == End::Refused || (end == End::Done && rng.chance(900)) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(rng.within(10..=3_000))).await;
            }
        } else {
            ask(&world, &mut rng, command, name, None).await;
        }
    }
}

/// Sends a command to a serving daemon, and records what it promised.
pub async fn ask(world: &World, rng: &mut Rng, command: Command, request: String, key: Option<&str>) -> End {
    let serving: Vec<_> = world.slots.iter().filter_map(crate::daemon::Slot::alive).collect();
    let serving: Vec<_> = serving.into_iter().filter(|alive| alive.journal.is_some()).collect();
    let Some(alive) = rng.pick(&serving) else { return End::Unknown };
    let Some(journal) = &alive.journal else { return End::Unknown };
    let mut submission = Submission::new(command, Actor::Token { name: "person".into() });
    submission.request_id = Some(RequestId(request.clone()));
    if let Some(key) = key {
        submission.idempotency = Some(IdempotencyKey { key: key.to_owned(), fingerprint: key.to_owned() });
        world.promises.lock().unwrap().keys.entry(key.to_owned()).or_default().push(request.clone());
    }
    let answer = tokio::select! {
        biased;
        () = alive.fence.death() => return End::Unknown,
        answer = journal.submit(submission) => answer,
    };
    let mut promises = world.promises.lock().unwrap();
    match answer {
        Ok(outcome) => {
            world.shared.checker().acknowledged(&alive.name, &outcome.events);
            End::Done
        }
        Err(SubmitError::Repeated(_)) => End::Done,
        Err(SubmitError::Refused(_) | SubmitError::Overloaded | SubmitError::KeyReused) => {
            promises.refused.push(request);
            End::Refused
        }
        Err(SubmitError::Unavailable(_)) => {
            promises.unavailable.push(request);
            End::Unknown
        }
    }
}

fn choose(world: &World, rng: &mut Rng) -> Option<Command> {
    let cluster = world.shared.checker().cluster().clone();
    let applications: Vec<ApplicationId> = cluster.applications().map(|a| a.id).collect();
    let containers: Vec<ContainerId> = cluster.containers().map(|c| c.id).collect();
    let nodes: Vec<NodeId> = cluster.nodes().map(|n| n.id).collect();
    // Occasionally an id that does not exist.
    let application = pick_or(rng, &applications, ApplicationId);
    let container = pick_or(rng, &containers, ContainerId);
    let node = pick_or(rng, &nodes, NodeId);
    if nodes.len() < world.profile.machines && rng.chance(500) {
        return mount_missing(world, rng, &cluster);
    }
    let few = |there: usize, enough: usize| if there < enough { 12 } else { 1 };
    let create_application = few(applications.len(), APPLICATIONS);
    let create_container = few(containers.len(), CONTAINERS);
    let command = match rng.weighted(&[
        (1, 0),
        (2, 1),
        (2, 2),
        (4, 3),
        (2, 4),
        (2, 5),
        (create_application, 6),
        (4, 7),
        (1, 8),
        (5, 9),
        (create_container, 10),
        (12, 11),
        (4, 12),
        (4, 13),
        (2, 14),
        (1, 15),
        (1, 16),
    ]) {
        0 => Command::UnmountNode { node_id: node, force: rng.chance(600) },
        1 => Command::CordonNode(node),
        2 => Command::DrainNode(node),
        3 => Command::UncordonNode(node),
        4 | 5 => update_node(world, rng, node),
        6 => create(world, rng, &cluster),
        7 => update_application(world, rng, application),
        8 => Command::DeleteApplication(application),
        9 => {
            let replicas = if rng.chance(30) { 100_000 } else { u32::try_from(rng.below(9)).unwrap_or(0) };
            Command::ScaleApplication { application_id: application, replicas }
        }
        10 => Command::CreateContainer(CreateContainer {
            name: rng.chance(300).then(|| format!("container-{}", rng.below(60))),
            user_id: None,
            application: rng.chance(950).then(|| application.to_string()),
            env_variables: BTreeMap::new(),
            balance: world.profile.plain || rng.chance(900),
        }),
        11 => Command::LaunchContainer(container),
        12 => Command::StopContainer(container),
        13 => Command::DeleteContainer { container_id: container, volumes: rng.chance(500) },
        14 => Command::UpdateContainer(UpdateContainer {
            container_id: container,
            name: rng.chance(200).then(|| format!("container-{}", rng.below(60))),
            user_id: None,
            application: None,
            env_variables: rng.chance(500).then(|| [("A".to_owned(), rng.below(3).to_string())].into()),
            balance: rng.chance(300).then(|| world.profile.plain || rng.chance(800)),
        }),
        15 if rng.chance(500) => Command::RestartApplication(application),
        15 if rng.chance(500) => Command::RollBackApplication { application_id: application, to: None },
        15 => Command::Rebalance,
        _ => {
            let number = 1 + rng.below(world.profile.machines);
            mount(world, rng, number, "twin")
        }
    };
    Some(command)
}

fn pick_or<T: Copy>(rng: &mut Rng, from: &[T], id: impl FnOnce(uuid::Uuid) -> T) -> T {
    match rng.pick(from) {
        Some(one) if !rng.chance(15) => *one,
        _ => id(rng.uuid()),
    }
}

/// Mounts one of the machines that are not mounted.
pub fn mount_missing(world: &World, rng: &mut Rng, cluster: &Cluster) -> Option<Command> {
    let is_missing = |number: &usize| cluster.nodes().all(|node| node.endpoint != endpoint(*number));
    let missing: Vec<usize> = (1..=world.profile.machines).filter(is_missing).collect();
    let number = *rng.pick(&missing)?;
    Some(mount(world, rng, number, "node"))
}

fn mount(world: &World, rng: &mut Rng, number: usize, name: &str) -> Command {
    Command::MountNode(MountNode {
        availability: kdaemon_events::node::Availability::Active,
        name: Some(format!("{name}-{number}")),
        user_id: None,
        endpoint: endpoint(number),
        labels: labels(rng),
        capacity: (!world.profile.plain && rng.chance(150))
            .then(|| u32::try_from(2 + rng.below(6)).unwrap_or(2)),
    })
}

fn labels(rng: &mut Rng) -> BTreeMap<String, String> {
    let zone = *rng.pick(&["a", "b"]).unwrap_or(&"a");
    [("zone".to_owned(), zone.to_owned())].into()
}

fn update_node(world: &World, rng: &mut Rng, node_id: NodeId) -> Command {
    Command::UpdateNode(UpdateNode {
        availability: None,
        node_id,
        name: None,
        user_id: None,
        endpoint: None,
        labels: rng.chance(500).then(|| labels(rng)),
        capacity: (!world.profile.plain)
            .then(|| rng.chance(300).then(|| u32::try_from(rng.below(8)).unwrap_or(0))),
    })
}

fn spec(world: &World, rng: &mut Rng) -> SpecChanges {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let images = ["busybox", "kdaemon/web:1", "kdaemon/web:2", "ghcr.io/kdaemon/job:3"];
    // Images that declare a volume.
    let databases = ["postgres:17", "redis:8"];
    let is_database = !world.profile.plain && rng.chance(100);
    let images = if is_database { &databases[..] } else { &images[..] };
    let mut changes = SpecChanges {
        docker_image: Some((*rng.pick(images).unwrap_or(&"busybox")).into()),
        command: Some(words("sleep infinity")),
        ..SpecChanges::default()
    };
    if rng.chance(100) {
        // Jobs, which end by themselves.
        let script = *rng.pick(&["sleep 4; exit 3", "sleep 30", "sleep 4; exit 3"]).unwrap_or(&"true");
        changes.command = Some(vec!["sh".into(), "-c".into(), script.into()]);
        let policy =
            if rng.chance(500) { RestartPolicy::No } else { RestartPolicy::OnFailure { max: Some(2) } };
        changes.restart_policy = Some(policy);
    }
    if world.profile.plain {
        return changes;
    }
    if rng.chance(200) {
        let host = Some(8_080 + u16::try_from(rng.below(3)).unwrap_or(0));
        changes.exposed_ports = Some(vec![PortSpec { container: 80, host, protocol: Protocol::Tcp }]);
    } else if rng.chance(200) {
        changes.exposed_ports = Some(vec![PortSpec { container: 80, host: None, protocol: Protocol::Tcp }]);
    }
    if rng.chance(200) {
        let zone = *rng.pick(&["a", "b"]).unwrap_or(&"a");
        changes.constraints = Some(vec![Constraint::Equals("zone".into(), zone.into())]);
    }
    if rng.chance(300) {
        changes.resources = Some(Resources {
            cpus: rng.pick(&[None, Some(MilliCpus(250)), Some(MilliCpus(1_500))]).copied().flatten(),
            memory_bytes: rng.pick(&[None, Some(64 << 20), Some(1 << 30)]).copied().flatten(),
            reserved_cpus: rng.pick(&[None, Some(MilliCpus(0)), Some(MilliCpus(200))]).copied().flatten(),
            reserved_memory_bytes: rng.pick(&[None, Some(0), Some(32 << 20)]).copied().flatten(),
        });
    }
    if rng.chance(100) {
        changes.anti_affinity = Some(rng.chance(700));
    }
    if rng.chance(150) {
        let wish = rng.pick(&["zone==a", "zone!=b", "disk==ssd"]).and_then(|text| text.parse().ok());
        changes.preferences = wish.map(|wish: Constraint| vec![wish]);
    }
    if rng.chance(150) {
        changes.spread_over = Some(rng.chance(800).then(|| "zone".to_owned()));
    }
    if rng.chance(150) {
        changes.strategy =
            Some(rng.pick(&[None, Some(Strategy::Binpack), Some(Strategy::Resources)]).copied().flatten());
    }
    if rng.chance(100) {
        changes.disruption_limit =
            Some(rng.chance(800).then(|| u32::try_from(1 + rng.below(3)).unwrap_or(1)));
    }
    if rng.chance(150) {
        changes.data = Some(if rng.chance(500) { DataPolicy::Discard } else { DataPolicy::Keep });
    }
    if rng.chance(80) {
        changes.volumes = "data:/data".parse().ok().map(|volume| vec![volume]);
    }
    if rng.chance(150) {
        changes.health_check = Some(HealthCheck {
            command: HealthCommand::Shell("true".into()),
            interval_ms: NonZeroU64::new(5_000),
            timeout_ms: NonZeroU64::new(1_000),
            ..HealthCheck::default()
        });
    }
    changes
}

/// Sometimes an affinity to some application.
fn affinity(world: &World, rng: &mut Rng) -> Option<Vec<String>> {
    let is_set = !world.profile.plain && rng.chance(100);
    is_set.then(|| vec![format!("app-{}", rng.below(APPLICATIONS))])
}

fn create(world: &World, rng: &mut Rng, cluster: &Cluster) -> Command {
    let all: Vec<String> = cluster.applications().map(|a| a.name.clone()).collect();
    let dependency = rng.pick(&all).filter(|_| !world.profile.plain).cloned();
    Command::CreateApplication(CreateApplication {
        name: if rng.chance(20) {
            " bad name".into()
        } else {
            format!("app-{}", rng.below(APPLICATIONS + 2))
        },
        user_id: None,
        spec: spec(world, rng),
        is_enabled: rng.chance(950),
        affinity: affinity(world, rng).unwrap_or_default(),
        dependencies: dependency.filter(|_| rng.chance(150)).into_iter().collect(),
        replicas: rng.chance(500).then(|| u32::try_from(rng.below(7)).unwrap_or(0)),
        update_policy: if rng.chance(400) { UpdatePolicy::Rolling } else { UpdatePolicy::Manual },
        update: update_settings(rng),
    })
}

/// Gives an application a command that runs, and replaces what runs another one.
pub fn mend(application_id: ApplicationId) -> Command {
    Command::UpdateApplication(Box::new(UpdateApplication {
        application_id,
        name: None,
        user_id: None,
        spec: SpecChanges {
            command: Some(vec!["sleep".to_owned(), "infinity".to_owned()]),
            ..SpecChanges::default()
        },
        is_enabled: Some(true),
        affinity: None,
        dependencies: None,
        replicas: None,
        update: Some(UpdateSettings::default()),
        update_policy: Some(UpdatePolicy::Rolling),
    }))
}

fn update_settings(rng: &mut Rng) -> UpdateSettings {
    if rng.chance(500) {
        return UpdateSettings::default();
    }
    let reactions = [OnFailure::Pause, OnFailure::Rollback, OnFailure::Continue];
    UpdateSettings {
        order: if rng.chance(300) { UpdateOrder::StopFirst } else { UpdateOrder::StartFirst },
        parallelism: 1 + u32::try_from(rng.below(3)).unwrap_or(0),
        min_ready_ms: 1_000 * rng.below(12) as u64,
        max_failures: 1 + u32::try_from(rng.below(3)).unwrap_or(0),
        on_failure: rng.pick(&reactions).copied().unwrap_or_default(),
    }
}

fn update_application(world: &World, rng: &mut Rng, application_id: ApplicationId) -> Command {
    let spec = if rng.chance(500) { spec(world, rng) } else { SpecChanges::default() };
    // Settings that only make sense for a job stay with it; now and then an edit is a mistake.
    let mistake = || vec!["sh".to_owned(), "-c".to_owned(), "sleep 2; exit 1".to_owned()];
    let command = (!world.profile.plain && rng.chance(60)).then(mistake);
    let command =
        command.or_else(|| rng.chance(200).then(|| vec!["sleep".to_owned(), "infinity".to_owned()]));
    let spec = SpecChanges { command, restart_policy: None, ..spec };
    Command::UpdateApplication(Box::new(UpdateApplication {
        application_id,
        name: None,
        user_id: None,
        spec,
        is_enabled: rng.chance(300).then(|| rng.chance(800)),
        affinity: if rng.chance(500) { affinity(world, rng) } else { None },
        dependencies: None,
        replicas: rng.chance(200).then(|| rng.chance(800).then(|| u32::try_from(rng.below(6)).unwrap_or(0))),
        update: rng.chance(100).then(|| update_settings(rng)),
        update_policy: rng.chance(200).then(|| {
            *rng.pick(&[UpdatePolicy::Rolling, UpdatePolicy::Manual]).unwrap_or(&UpdatePolicy::Manual)
        }),
    }))
}
