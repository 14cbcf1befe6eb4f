//! Arbitrary events of every kind, sensible or not. Ids come from a small pool, so that events refer to the
//! same subjects.

use chrono::{DateTime, Utc};
use kdaemon_events::application::*;
use kdaemon_events::cluster::*;
use kdaemon_events::container::*;
use kdaemon_events::failure::{Failure, ProbeFailure, Quote};
use kdaemon_events::node::*;
use kdaemon_events::scheduling::{
    Evaluation, LabelSpread, NoNodeFits, NodeRejection, NodeVerdict, Penalty, Preferences, Rejection,
    RejectionCounts, Score, Unschedulable, Verdict,
};
use kdaemon_events::volume::*;
use kdaemon_events::{
    Actor, ApplicationId, ClusterId, Constraint, ContainerId, DataPolicy, Endpoint, Envelope, Environment,
    Event, EventId, Generation, HealthCheck, HealthCommand, Kind, MilliCpus, NodeId, PlacementId, PortSpec,
    Protocol, PublishedPort, RequestId, Resources, RestartPolicy, Seq, Spec, Term, UpdatePolicy, Volume,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use std::num::{NonZeroU32, NonZeroU64};
use uuid::Uuid;

fn uuid() -> impl Strategy<Value = Uuid> {
    prop_oneof![9 => (0_u128..6).prop_map(Uuid::from_u128), 1 => any::<u128>().prop_map(Uuid::from_u128)]
}
pub fn node_id() -> impl Strategy<Value = NodeId> {
    uuid().prop_map(NodeId)
}
pub fn application_id() -> impl Strategy<Value = ApplicationId> {
    uuid().prop_map(ApplicationId)
}
pub fn container_id() -> impl Strategy<Value = ContainerId> {
    uuid().prop_map(ContainerId)
}
pub fn generation() -> impl Strategy<Value = Generation> {
    prop_oneof![9 => 0_u32..5, 1 => any::<u32>()].prop_map(Generation)
}
fn seq() -> impl Strategy<Value = Seq> {
    prop_oneof![9 => 0_u64..100, 1 => any::<u64>()].prop_map(Seq)
}
pub fn time() -> impl Strategy<Value = DateTime<Utc>> {
    // Times in whole nanoseconds, from the years 1900 to 2200.
    (-2_208_988_800_i64..7_258_118_400, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}
/// Text with difficult characters, and a few common words.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-d]", 1 => any::<String>()]
}
fn labels() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}
fn environment() -> impl Strategy<Value = Environment> {
    btree_map(text(), text(), 0..3)
}
fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}
fn port() -> impl Strategy<Value = PortSpec> {
    let host = prop_oneof![Just(8_080_u16), Just(8_081), 1_u16..];
    (1_u16.., of(host), protocol()).prop_map(|(container, host, protocol)| PortSpec {
        container,
        host,
        protocol,
    })
}
/// Values that can only be made by parsing text.
fn parsed<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>(
    pattern: &'static str,
) -> impl Strategy<Value = T> {
    pattern.prop_filter_map("does not parse", |text| text.parse().ok())
}
pub fn volume() -> impl Strategy<Value = Volume> {
    parsed("([a-z]{2,4}|/[a-z/]{0,4}):/[a-z]{1,4}(:ro|:rw)?")
}
pub fn constraint() -> impl Strategy<Value = Constraint> {
    parsed("!?[a-c]|[a-c] ?(==|!=) ?[a-c=!. ]{0,4}")
}
pub fn endpoint() -> impl Strategy<Value = Endpoint> {
    parsed("tcp://([a-c]{1,2}|10\\.0\\.0\\.[1-9]|\\[::[1-9]\\]):[1-9][0-9]{0,3}|unix:///[a-z/]{1,5}")
}
fn restart_policy() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::No),
        Just(RestartPolicy::Always),
        of(any::<u32>()).prop_map(|max| RestartPolicy::OnFailure { max })
    ]
}
fn update_policy() -> impl Strategy<Value = UpdatePolicy> {
    prop_oneof![Just(UpdatePolicy::Manual), Just(UpdatePolicy::Rolling)]
}
fn update_settings() -> impl Strategy<Value = UpdateSettings> {
    let order = prop_oneof![Just(UpdateOrder::StartFirst), Just(UpdateOrder::StopFirst)];
    let on_failure = prop::sample::select(vec![OnFailure::Pause, OnFailure::Rollback, OnFailure::Continue]);
    (order, 0_u32..4, prop_oneof![0_u64..10_000, any::<u64>()], 0_u32..4, on_failure).prop_map(
        |(order, parallelism, min_ready_ms, max_failures, on_failure)| UpdateSettings {
            order,
            parallelism,
            min_ready_ms,
            max_failures,
            on_failure,
        },
    )
}
fn millicpus() -> impl Strategy<Value = MilliCpus> {
    prop_oneof![0_u64..8_000, 0_u64..=100_000_000].prop_map(MilliCpus)
}
fn resources() -> impl Strategy<Value = Resources> {
    (of(millicpus()), of(any::<u64>()), of(millicpus()), of(any::<u64>())).prop_map(
        |(cpus, memory_bytes, reserved_cpus, reserved_memory_bytes)| Resources {
            cpus,
            memory_bytes,
            reserved_cpus,
            reserved_memory_bytes,
        },
    )
}
fn health_command() -> impl Strategy<Value = HealthCommand> {
    prop_oneof![
        Just(HealthCommand::Inherited),
        Just(HealthCommand::Disabled),
        text().prop_map(HealthCommand::Shell),
        (text(), vec(text(), 0..2))
            .prop_map(|(program, arguments)| HealthCommand::Exec { program, arguments }),
    ]
}
fn health_check() -> impl Strategy<Value = HealthCheck> {
    let ms = || any::<u64>().prop_map(NonZeroU64::new);
    let retries = any::<u32>().prop_map(NonZeroU32::new);
    (health_command(), of((ms(), ms(), retries, ms(), ms()))).prop_map(|(command, timing)| {
        let (interval_ms, timeout_ms, retries, start_period_ms, start_interval_ms) =
            timing.unwrap_or_default();
        HealthCheck { command, interval_ms, timeout_ms, retries, start_period_ms, start_interval_ms }
    })
}
pub fn spec() -> impl Strategy<Value = Spec> {
    let words = || vec(text(), 0..2);
    let first = (text(), vec(port(), 0..3), environment(), words(), words(), vec(volume(), 0..2));
    let second = (words(), labels(), restart_policy(), resources(), vec(constraint(), 0..2));
    let strategy = of(prop::sample::select(kdaemon_events::Strategy::ALL.to_vec()));
    let affinity = vec(application_id(), 0..2);
    let data = prop_oneof![Just(DataPolicy::Keep), Just(DataPolicy::Discard)];
    let data = (vec("/[a-z/]{0,4}", 0..2), data);
    let third =
        (strategy, vec(constraint(), 0..2), of("[a-c]"), any::<bool>(), affinity, of(any::<u32>()), data);
    (first, second, third, health_check(), of(text())).prop_map(
        |(first, second, third, health_check, registry_auth)| {
            let (strategy, preferences, spread_over, anti_affinity, affinity, disruption_limit, data) = third;
            let (shared_paths, data) = data;
            let (docker_image, exposed_ports, env_variables, command, entrypoint, volumes) = first;
            let (networks, labels, restart_policy, resources, constraints) = second;
            Spec {
                docker_image,
                exposed_ports,
                env_variables,
                command,
                entrypoint,
                volumes,
                networks,
                labels,
                restart_policy,
                resources,
                constraints,
                health_check,
                registry_auth,
                strategy,
                preferences,
                spread_over,
                anti_affinity,
                affinity,
                disruption_limit,
                shared_paths,
                data,
            }
        },
    )
}
fn facts() -> impl Strategy<Value = EngineFacts> {
    (text(), text(), millicpus(), any::<u64>()).prop_map(|(kind, version, cpus, memory_bytes)| EngineFacts {
        kind,
        version: version.clone(),
        api_version: version,
        cpus,
        memory_bytes,
        platform: "linux/amd64".into(),
        engine_id: "e".into(),
    })
}
fn orphan() -> impl Strategy<Value = PlacementId> {
    (container_id(), generation())
        .prop_map(|(container_id, generation)| PlacementId { container_id, generation })
}
fn quote() -> impl Strategy<Value = Quote> {
    text().prop_map(Quote::from)
}
fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        any::<u64>().prop_map(|limit_ms| Failure::Timeout { limit_ms }),
        quote().prop_map(|quote| Failure::NoConnection { quote }),
        quote().prop_map(|quote| Failure::Refused { quote }),
        vec(quote(), 0..3).prop_map(|names| Failure::NamesTaken { names }),
        (quote(), quote()).prop_map(|(image, quote)| Failure::PullFailed { image, quote }),
        Just(Failure::NoContainer),
    ]
}
fn probe_failure() -> impl Strategy<Value = ProbeFailure> {
    prop_oneof![
        node_id().prop_map(|node_id| ProbeFailure::DuplicateEngine { node_id }),
        any::<u64>().prop_map(|limit_ms| ProbeFailure::NotListed { limit_ms }),
        failure().prop_map(ProbeFailure::Engine),
    ]
}
fn rejection() -> impl Strategy<Value = Rejection> {
    prop_oneof![
        Just(Rejection::Down),
        Just(Rejection::Cordoned),
        constraint().prop_map(|constraint| Rejection::Constraint { constraint }),
        any::<u32>().prop_map(|capacity| Rejection::Full { capacity }),
        (any::<u16>(), protocol(), container_id())
            .prop_map(|(port, protocol, container_id)| Rejection::PortTaken { port, protocol, container_id }),
        (any::<u64>(), any::<u64>()).prop_map(|(wanted_millicpus, free_millicpus)| Rejection::Cpus {
            wanted_millicpus,
            free_millicpus
        }),
        (any::<u64>(), any::<u64>()).prop_map(|(limit_millicpus, engine_millicpus)| Rejection::CpuLimit {
            limit_millicpus,
            engine_millicpus
        }),
        application_id().prop_map(|application_id| Rejection::Affinity { application_id }),
    ]
}
fn score() -> impl Strategy<Value = Score> {
    let spread = (of(text()), any::<u32>()).prop_map(|(value, containers)| LabelSpread { value, containers });
    let preferences = (any::<u32>(), any::<u32>()).prop_map(|(satisfied, of)| Preferences { satisfied, of });
    let penalty = prop_oneof![Just(Penalty::Probation), Just(Penalty::LaunchFailed)];
    (of(penalty), of(preferences), of(spread), any::<u32>(), any::<u32>()).prop_map(
        |(penalty, preferences, spread, containers, reserved_ppm)| Score {
            penalty,
            preferences,
            spread,
            containers,
            reserved_ppm,
        },
    )
}
fn counts() -> impl Strategy<Value = RejectionCounts> {
    btree_map(rejection().prop_map(|rejection| rejection.kind()), any::<u32>(), 0..3)
}
fn evaluation() -> impl Strategy<Value = Evaluation> {
    let verdict = prop_oneof![score().prop_map(Verdict::Fits), rejection().prop_map(Verdict::Rejected)];
    let other = (node_id(), verdict).prop_map(|(node_id, verdict)| NodeVerdict { node_id, verdict });
    let strategy = prop::sample::select(kdaemon_events::Strategy::ALL.to_vec());
    (strategy, any::<bool>(), score(), any::<u32>(), vec(other, 0..3), counts()).prop_map(
        |(strategy, holds_volumes, score, eligible, others, rejections)| Evaluation {
            strategy,
            holds_volumes,
            score,
            eligible,
            others,
            rejections,
        },
    )
}
fn unschedulable() -> impl Strategy<Value = Unschedulable> {
    let rejected =
        (node_id(), rejection()).prop_map(|(node_id, rejection)| NodeRejection { node_id, rejection });
    let nodes = (any::<u32>(), vec(rejected, 0..3), counts());
    prop_oneof![
        Just(Unschedulable::ApplicationDisabled),
        application_id().prop_map(|application_id| Unschedulable::Dependency { application_id }),
        nodes.prop_map(|(nodes, rejected, rejections)| {
            Unschedulable::NoNodeFits(NoNodeFits { nodes, rejected, rejections })
        }),
    ]
}
fn outcome() -> impl Strategy<Value = ProbeOutcome> {
    prop_oneof![
        (of(any::<u32>()), of(any::<u32>()))
            .prop_map(|(running, foreign)| ProbeOutcome::Answered { running, foreign }),
        probe_failure().prop_map(|failure| ProbeOutcome::Failed { failure }),
    ]
}
fn published() -> impl Strategy<Value = PublishedPort> {
    (any::<u16>(), any::<u16>(), protocol()).prop_map(|(container, host, protocol)| PublishedPort {
        container,
        host,
        protocol,
    })
}
fn seen_state() -> impl Strategy<Value = SeenState> {
    prop::sample::select(vec![SeenState::Running, SeenState::Paused, SeenState::Stopped, SeenState::Missing])
}
fn migration_reason() -> impl Strategy<Value = MigrationReason> {
    prop_oneof![
        Just(MigrationReason::Unhealthy),
        Just(MigrationReason::Drain),
        Just(MigrationReason::Balance),
        Just(MigrationReason::Update)
    ]
}
fn a_move() -> impl Strategy<Value = Move> {
    (container_id(), node_id(), node_id()).prop_map(|(container_id, from_node_id, node_id)| Move {
        container_id,
        from_node_id,
        node_id,
    })
}

/// The data of one kind: each field by its strategy.
macro_rules! data {
    ($kind:ident { $($field:ident : $strategy:expr),* $(,)? }) => {
        ($($strategy,)*).prop_map(|($($field,)*)| Event::from($kind { $($field),* })).boxed()
    };
}

/// Any event of a kind.
#[allow(clippy::redundant_closure_for_method_calls)]
pub fn event_of(kind: Kind) -> BoxedStrategy<Event> {
    let yes = any::<bool>;
    match kind {
        Kind::ClusterCreated => data!(ClusterCreated { cluster_id: uuid().prop_map(ClusterId) }),
        Kind::LeaderElected => data!(LeaderElected { term: any::<u64>().prop_map(Term), daemon: text() }),
        Kind::NodeMounted => data!(NodeMounted {
            node_id: node_id(),
            name: text(),
            user_id: of(text()),
            endpoint: endpoint(),
            labels: labels(),
            capacity: of(0_u32..9),
        }),
        Kind::NodeUpdated => data!(NodeUpdated {
            node_id: node_id(),
            name: of(text()),
            user_id: of(of(text())),
            endpoint: of(endpoint()),
            labels: of(labels()),
            capacity: of(of(any::<u32>())),
        }),
        Kind::NodeObserved => data!(NodeObserved {
            node_id: node_id(),
            outcome: outcome(),
            latency_ms: any::<u32>(),
            engine: of(facts().prop_map(Box::new)),
            orphans: vec(orphan(), 0..3),
        }),
        Kind::NodeHealthy => data!(NodeHealthy { node_id: node_id(), successes: any::<u32>() }),
        Kind::NodeUnhealthy => {
            data!(NodeUnhealthy { node_id: node_id(), failures: any::<u32>(), failure: probe_failure() })
        }
        Kind::NodeCordoned => data!(NodeCordoned { node_id: node_id() }),
        Kind::NodeUncordoned => data!(NodeUncordoned { node_id: node_id() }),
        Kind::NodeDrainStarted => data!(NodeDrainStarted { node_id: node_id(), then_unmount: yes() }),
        Kind::NodeDrained => data!(NodeDrained { node_id: node_id() }),
        Kind::NodeUnmounted => {
            data!(NodeUnmounted { node_id: node_id(), left: 0_u32..3, volumes: vec(text(), 0..3) })
        }
        Kind::ApplicationCreated => data!(ApplicationCreated {
            application_id: application_id(),
            name: text(),
            user_id: of(text()),
            spec: spec().prop_map(Box::new),
            is_enabled: yes(),
            dependencies: vec(application_id(), 0..2),
            replicas: of(any::<u32>()),
            update_policy: update_policy(),
            update: update_settings(),
        }),
        Kind::ApplicationUpdated => data!(ApplicationUpdated {
            application_id: application_id(),
            name: of(text()),
            user_id: of(of(text())),
            spec: of(spec().prop_map(Box::new)),
            is_enabled: of(yes()),
            dependencies: of(vec(application_id(), 0..2)),
            update_policy: of(update_policy()),
            update: of(update_settings()),
        }),
        Kind::ApplicationDeleted => data!(ApplicationDeleted { application_id: application_id() }),
        Kind::ApplicationScaled => {
            data!(ApplicationScaled { application_id: application_id(), replicas: of(any::<u32>()) })
        }
        Kind::ContainerCreated => data!(ContainerCreated {
            container_id: container_id(),
            name: text(),
            user_id: of(text()),
            application_id: of(application_id()),
            env_variables: environment(),
            balance: yes(),
            replica: yes(),
        }),
        Kind::ContainerUpdated => data!(ContainerUpdated {
            container_id: container_id(),
            name: of(text()),
            user_id: of(of(text())),
            application_id: of(of(application_id())),
            env_variables: of(environment()),
            balance: of(yes()),
        }),
        Kind::ContainerLaunchRequested => {
            data!(ContainerLaunchRequested { container_id: container_id(), generation: of(generation()) })
        }
        Kind::ContainerPlaced => data!(ContainerPlaced {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
            evaluation: evaluation().prop_map(Box::new),
        }),
        Kind::ContainerUnschedulable => data!(ContainerUnschedulable {
            container_id: container_id(),
            moving: of(migration_reason()),
            reason: unschedulable(),
        }),
        Kind::ContainerLaunchAbandoned => data!(ContainerLaunchAbandoned {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
            failure: failure(),
            node_fault: yes(),
            attempt: prop_oneof![0_u32..7, any::<u32>()],
            retry_at: time(),
        }),
        Kind::ContainerLaunched => data!(ContainerLaunched {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
            engine_id: text(),
            image_id: text(),
            ports: vec(published(), 0..3),
            volumes: anonymous_volumes(),
            health_check: yes(),
            access_link: of(text()),
        }),
        Kind::ContainerLaunchFailed => data!(ContainerLaunchFailed {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
            failure: failure(),
            node_fault: yes(),
            attempt: prop_oneof![0_u32..7, any::<u32>()],
            retry_at: time(),
        }),
        Kind::ContainerObserved => data!(ContainerObserved {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
            state: seen_state(),
        }),
        Kind::ContainerExited => data!(ContainerExited {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
            exit_code: of(any::<i64>()),
            out_of_memory: yes(),
            restart_at: of(time()),
        }),
        Kind::ContainerUnhealthy => data!(ContainerUnhealthy {
            container_id: container_id(),
            generation: generation(),
            restart_at: of(time()),
        }),
        Kind::ContainerReady => {
            data!(ContainerReady { container_id: container_id(), generation: generation() })
        }
        Kind::ContainerCompleted => data!(ContainerCompleted {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
        }),
        Kind::ApplicationRestarted => data!(ApplicationRestarted { application_id: application_id() }),
        Kind::RolloutStarted => {
            data!(RolloutStarted { application_id: application_id(), outdated: any::<u32>() })
        }
        Kind::RolloutPaused => data!(RolloutPaused {
            application_id: application_id(),
            container_id: container_id(),
            failures: any::<u32>(),
        }),
        Kind::RolloutCompleted => data!(RolloutCompleted { application_id: application_id() }),
        Kind::RolloutRolledBack => {
            data!(RolloutRolledBack { application_id: application_id(), to: of(seq()) })
        }
        Kind::ContainerHealthy => {
            data!(ContainerHealthy { container_id: container_id(), generation: generation() })
        }
        Kind::ContainerMigrationCommanded => data!(ContainerMigrationCommanded {
            container_id: container_id(),
            from_node_id: node_id(),
            from_generation: generation(),
            node_id: node_id(),
            generation: generation(),
            reason: migration_reason(),
            start_first: yes(),
            evaluation: of(evaluation().prop_map(Box::new)),
        }),
        Kind::ContainerMigrated => data!(ContainerMigrated {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
        }),
        Kind::ContainerStopRequested => {
            data!(ContainerStopRequested { container_id: container_id(), then_delete: yes(), volumes: yes() })
        }
        Kind::ContainerStopped => data!(ContainerStopped {
            container_id: container_id(),
            generation: of(generation()),
            exit_code: of(any::<i64>()),
        }),
        Kind::ContainerRemoved => data!(ContainerRemoved {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
        }),
        Kind::ContainerDeleted => data!(ContainerDeleted { container_id: container_id() }),
        Kind::ContainerAdopted => data!(ContainerAdopted {
            container_id: container_id(),
            generation: generation(),
            node_id: node_id(),
        }),
        Kind::VolumesRemoved => data!(VolumesRemoved {
            node_id: node_id(),
            container_id: of(container_id()),
            volumes: vec(text(), 0..3),
        }),
        Kind::RebalancePlanned => {
            data!(RebalancePlanned {
                moves: vec(a_move(), 0..3),
                remaining: any::<u32>(),
                most: any::<u32>(),
                fewest: any::<u32>(),
            })
        }
        Kind::MigrationsPaused => {
            data!(MigrationsPaused { unhealthy: any::<u32>(), nodes: any::<u32>() })
        }
        Kind::MigrationsResumed => data!(MigrationsResumed { unhealthy: any::<u32>(), nodes: any::<u32>() }),
        Kind::ObservationsPruned => data!(ObservationsPruned {
            up_to: seq(),
            count: any::<u64>(),
            ranges: vec((seq(), seq()), 0..3),
            tallies: vec(tally(), 0..3),
        }),
        Kind::TokenCreated => data!(TokenCreated { name: text() }),
        Kind::TokenRevoked => data!(TokenRevoked { name: text() }),
    }
}

fn anonymous_volumes() -> impl Strategy<Value = Vec<AnonymousVolume>> {
    vec((text(), text()).prop_map(|(name, target)| AnonymousVolume { name, target }), 0..3)
}

fn tally() -> impl Strategy<Value = NodeTally> {
    let orphan = (container_id(), generation())
        .prop_map(|(container_id, generation)| PlacementId { container_id, generation });
    (node_id(), seq(), any::<u32>(), any::<u32>(), vec(orphan, 0..3)).prop_map(
        |(node_id, observed, failures, successes, orphans)| NodeTally {
            node_id,
            observed,
            failures,
            successes,
            orphans,
        },
    )
}

/// Any event.
pub fn event() -> impl Strategy<Value = Event> {
    proptest::sample::select(Kind::ALL).prop_flat_map(event_of)
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        Just(Actor::Anonymous),
        text().prop_map(|name| Actor::Token { name }),
        text().prop_map(|name| Actor::Reactor { name })
    ]
}

/// An envelope around an event.
pub fn envelope(event: impl Strategy<Value = Event>) -> impl Strategy<Value = Envelope> {
    (seq(), uuid(), time(), actor(), of(text()), of(seq()), event).prop_map(
        |(seq, id, at, actor, request_id, cause, event)| Envelope {
            seq,
            id: EventId(id),
            at,
            actor,
            request_id: request_id.map(RequestId),
            cause,
            event,
        },
    )
}

/// A log: any events at all, numbered in order.
pub fn log(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Envelope>> {
    vec(envelope(event()), length).prop_map(|mut log| {
        for (index, envelope) in log.iter_mut().enumerate() {
            envelope.seq = Seq(index as u64 + 1);
        }
        log
    })
}
