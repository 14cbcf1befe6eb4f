//! Properties over random clusters, commands and logs.

use crate::arbitrary;
use crate::check;
use crate::fixture::{Given, container, node};
use crate::world::{Op, World, op};
use kdaemon_control::commands::{Command, LaunchFailure, Listed, Probe, ProbeResult, Seen, decide};
use kdaemon_control::observed::{ContainerState, Exit, Launched};
use kdaemon_control::scheduler::plan;
use kdaemon_events::container::{
    ContainerLaunched, ContainerMigrationCommanded, ContainerRemoved, MigrationReason,
};
use kdaemon_events::failure::Failure;
use kdaemon_events::node::ProbeOutcome;
use kdaemon_events::{
    ApplicationId, Constraint, ContainerId, Endpoint, Envelope, Event, Generation, Kind, NodeId, PlacementId,
    PortSpec, RestartPolicy, Seq, Volume,
};
use kdaemon_projections::{Cluster, Touched};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::time::Duration;
use uuid::Uuid;

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn decisions_keep_every_rule_and_come_to_rest(ops in vec(op(false), 1..50)) {
        let mut world = World::new();
        for op in &ops {
            world.act(op);
        }
        world.settle();
        world.check_settled();
        let folded = Cluster::default().fold(&world.log);
        prop_assert!(folded == world.cluster, "the state is the fold of the log");
        let kept = Cluster::from_bytes(&world.cluster.to_bytes().unwrap()).unwrap();
        check::indexes(&kept);
        prop_assert!(kept == world.cluster, "as a snapshot keeps it, with all its indexes");
    }

    #[test]
    fn unconstrained_spread_ends_within_one(ops in vec(op(true), 1..50)) {
        let mut world = World::new();
        for op in &ops {
            world.act(op);
        }
        world.settle();
        world.check_settled();
        let (least, most) = world.spread();
        // While migrations are paused nothing is rebalanced.
        prop_assert!(world.cluster.paused().is_some() || most - least <= 1, "from {least} to {most}");
    }

    #[test]
    fn plan_uses_the_fewest_moves_and_leaves_nothing_to_plan(counts in vec(0_usize..9, 1..8)) {
        let mut given = Given::cluster().application("web");
        for (n, count) in counts.iter().enumerate() {
            given = given.node(&format!("n{n}")).up();
            for c in 0..*count {
                given = given.container(&format!("c{n}-{c}")).up_on(&format!("n{n}"));
            }
        }
        let first = plan(&given.cluster, kdaemon_events::Strategy::Spread);

        let (total, nodes) = (counts.iter().sum::<usize>(), counts.len());
        let mut sorted = counts.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let target = |rank: usize| total / nodes + usize::from(rank < total % nodes);
        let fewest: usize = sorted.iter().enumerate().map(|(rank, count)| count.saturating_sub(target(rank))).sum();
        let within_one = sorted[0] - sorted[nodes - 1] <= 1;
        prop_assert_eq!(first.moves().count(), if within_one { 0 } else { fewest });

        for step in first.moves() {
            let (container_id, generation) = (step.container_id, Generation(2));
            given = given
                .event(ContainerMigrationCommanded {
                    container_id,
                    from_node_id: step.from_node_id,
                    from_generation: Generation(1),
                    node_id: step.node_id,
                    generation,
                    reason: MigrationReason::Balance,
                    start_first: true,
                    evaluation: None,
                })
                .event(ContainerLaunched {
                    container_id,
                    generation,
                    node_id: step.node_id,
                    engine_id: String::new(),
                    image_id: String::new(),
                    ports: Vec::new(),
                    volumes: Vec::new(),
                    health_check: false,
            access_link: None,
                })
                .event(ContainerRemoved { container_id, generation: Generation(1), node_id: step.from_node_id });
        }
        check::indexes(&given.cluster);
        let after: Vec<_> = given.cluster.nodes().map(|node| node.container_count()).collect();
        prop_assert!(after.iter().max().unwrap() - after.iter().min().unwrap() <= 1, "{after:?}");
        prop_assert_eq!(plan(&given.cluster, kdaemon_events::Strategy::Spread).chains, [] as [Vec<_>; 0]);
    }

    #[test]
    fn folding_in_pieces_from_snapshots_or_at_once_agrees(log in arbitrary::log(0..80), cut in any::<prop::sample::Index>()) {
        let mut touched = Touched::default();
        let mut whole = Cluster::default();
        for envelope in &log {
            whole.apply(envelope, &mut touched);
        }
        let (first, second) = log.split_at(cut.index(log.len() + 1));
        let folded = Cluster::default().fold(first);
        // Folding from a snapshot gives the same.
        let bytes = folded.to_bytes().unwrap();
        let kept = Cluster::from_bytes(&bytes).unwrap();
        prop_assert!(kept == folded, "with all its indexes");
        prop_assert_eq!(kept.to_bytes().unwrap(), bytes, "the same state, the same bytes");
        prop_assert!(kept.fold(second) == whole);
        prop_assert!(folded.fold(second) == whole);
        let mut merged = Touched::default();
        let mut again = Cluster::default();
        for envelope in &log {
            let mut one = Touched::default();
            again.apply(envelope, &mut one);
            merged.merge(&one);
        }
        prop_assert_eq!(merged, touched);
        // Reading the state of an odd log fails as little as folding it.
        for id in whole.containers().map(|c| c.id) {
            let c = whole.container(id).unwrap();
            let _ = (c.status(), c.is_unsettled(), whole.spec_of(c), c.serving());
        }
        let _ = (whole.unsettled().count(), whole.failed_nodes(), plan(&whole, kdaemon_events::Strategy::Spread));
    }

    #[test]
    fn truncated_state_is_refused(log in arbitrary::log(0..80), cut in any::<prop::sample::Index>()) {
        let bytes = Cluster::default().fold(&log).to_bytes().unwrap();
        prop_assert!(Cluster::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read_as_a_state(bytes in vec(any::<u8>(), 0..200)) {
        // Without a panic, and without allocating what the bytes only announce.
        if let Ok(state) = Cluster::from_bytes(&bytes) {
            let read = Cluster::from_bytes(&state.to_bytes().unwrap());
            prop_assert!(read.is_ok_and(|read| read == state), "{bytes:?}");
        }
    }

    #[test]
    fn every_command_on_every_state_is_decided_or_refused(log in arbitrary::log(0..80)) {
        let cluster = Cluster::default().fold(&log);
        let context = Given::cluster().context;
        for command in commands() {
            if let Ok(decision) = decide(&cluster, command, &context) {
                prop_assert!(cluster.clone().fold(&decision.events) == decision.cluster);
            }
        }
    }

    #[test]
    fn event_about_a_missing_subject_changes_nothing(events in vec(arbitrary::event(), 1..20)) {
        let about_nothing = events.into_iter().filter(|event| {
            !matches!(
                event.kind(),
                Kind::ClusterCreated | Kind::LeaderElected | Kind::MigrationsPaused | Kind::MigrationsResumed
                    | Kind::NodeMounted | Kind::ApplicationCreated | Kind::ContainerCreated
            )
        });
        for event in about_nothing {
            let mut given = Given::nothing();
            given = given.event(event.clone());
            let mut empty = Given::nothing().event(kdaemon_events::cluster::TokenRevoked { name: String::new() });
            empty.context = given.context.clone();
            prop_assert!(given.cluster == empty.cluster, "{event:?}");
        }
    }

    #[test]
    fn specification_text_round_trips(
        port in "[0-9]{1,5}(:[0-9]{1,5})?(/tcp|/udp)?",
        volume in "([a-z. ]{1,4}|/[a-z/ ]{0,4}):[/a-z ]{1,5}(:ro|:rw| )?",
        policy in "no|always|on-failure(:[+0-9]{1,4})?",
        constraint in "!?[a-c ]{1,3}|[a-c ]{1,3}(==|!=)[a-c=! ]{0,4}",
        endpoint in "(tcp|unix)://[a-z0-9.:/\\[\\]-]{1,12}(:[0-9]{1,5})?/?",
    ) {
        reads_back::<PortSpec>(&port)?;
        reads_back::<Volume>(&volume)?;
        reads_back::<RestartPolicy>(&policy)?;
        reads_back::<Constraint>(&constraint)?;
        reads_back::<Endpoint>(&endpoint)?;
    }
}

/// At least this many cases; `PROPTEST_CASES` asks for more.
pub fn cases(least: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(least), ..asked }
}

fn reads_back<T>(text: &str) -> Result<(), TestCaseError>
where
    T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Display + PartialEq + std::fmt::Debug,
{
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        let read = written.parse::<T>();
        prop_assert!(read.as_ref().is_ok_and(|read| *read == value), "{text:?} -> {written:?} -> {read:?}");
    }
    Ok(())
}

/// Each kind by itself, so that none is drawn too rarely.
#[test]
fn every_event_round_trips_through_json() {
    for kind in Kind::ALL {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..cases(1_000)
        });
        let strategy = arbitrary::envelope(arbitrary::event_of(*kind));
        let outcome = runner.run(&strategy, |envelope| {
            prop_assert_eq!(envelope.event.kind(), *kind);
            let json = envelope.encode().unwrap();
            prop_assert!(!json.contains('\n'), "one event is one line");
            let read =
                Envelope::decode(&json).map_err(|error| TestCaseError::fail(format!("{error}: {json}")))?;
            prop_assert_eq!(&read, &envelope);
            prop_assert_eq!(read.encode().unwrap(), json);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

/// The canonical form is read without a parser, which must accept nothing that a parser would not, and give
/// the same result.
#[test]
fn damaged_event_is_read_as_by_a_json_parser() {
    let mut runner = proptest::test_runner::TestRunner::new(cases(3_000));
    let (read, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(b"\"\\{}[]:,0123456789 \ntn".to_vec())];
    let damage = (any::<proptest::sample::Index>(), 0..3_usize, byte);
    let strategy = (arbitrary::envelope(arbitrary::event()), damage);
    let outcome = runner.run(&strategy, |(envelope, (place, how, byte))| {
        let mut text = envelope.encode().unwrap().into_bytes();
        // Most damage is placed where no parser is used; the parser handles the rest.
        let end = text.windows(8).position(|part| part == b"\"data\":{").unwrap_or(text.len() - 1) + 9;
        let place = place.index(end.min(text.len()));
        match how {
            0 => text[place] = byte,
            1 => text.insert(place, byte),
            _ => drop(text.remove(place)),
        }
        let Ok(text) = String::from_utf8(text) else { return Ok(()) };
        let parsed = Envelope::decode(&format!(" {text}")).ok(); // with a leading space it is not in canonical form
        let count = if parsed.is_some() { &read } else { &refused };
        count.set(count.get() + 1);
        prop_assert_eq!(Envelope::decode(&text).ok(), parsed, "{}", text);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(read.get() > 100 && refused.get() > 1_000, "{} were read, {} refused", read.get(), refused.get());
}

#[test]
fn ops_reach_every_container_event() {
    // The sequences above are only worth the events that they reach.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let ops = vec(op(false), 60..70).new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        ops.iter().for_each(|op: &Op| world.act(op));
        world.settle();
        // Migrations that a mass failure paused are resumed.
        world.act(&Op::RepairAll);
        world.settle();
        reached.extend(world.log.iter().map(|envelope| envelope.event.kind()));
    }
    let missing: Vec<_> = Kind::ALL
        .iter()
        .filter(|kind| !reached.contains(kind))
        .filter(|kind| {
            !matches!(
                kind,
                Kind::LeaderElected
                    | Kind::NodeUpdated
                    | Kind::ContainerHealthy
                    | Kind::ObservationsPruned
                    | Kind::TokenCreated
                    | Kind::TokenRevoked
            )
        })
        .collect();
    assert_eq!(missing, [] as [&Kind; 0]);
}

/// Every command of reactors and people, for every id of the pool.
fn commands() -> Vec<Command> {
    let mut commands = vec![
        Command::CreateCluster(kdaemon_events::ClusterId(Uuid::nil())),
        Command::BecomeLeader { term: kdaemon_events::Term(1), daemon: String::new() },
        Command::MountNode(crate::fixture::mount("a")),
        Command::Rebalance,
    ];
    for id in (0..6).map(Uuid::from_u128) {
        let (node_id, application_id, container_id) = (NodeId(id), ApplicationId(id), ContainerId(id));
        commands.extend([
            Command::CordonNode(node_id),
            Command::UncordonNode(node_id),
            Command::DrainNode(node_id),
            Command::UnmountNode { node_id, force: true },
            Command::FinishDrain(node_id),
            Command::EvacuateNode(node_id),
            Command::UpdateNode(kdaemon_control::commands::UpdateNode {
                availability: None,
                node_id,
                endpoint: Some(crate::fixture::endpoint("new")),
                ..crate::fixture::update_node("x")
            }),
            Command::DeleteApplication(application_id),
            Command::ScaleApplication { application_id, replicas: 3 },
            Command::ScaleApplication { application_id, replicas: 0 },
            Command::RollApplication(application_id),
            Command::UpdateApplication(Box::new(kdaemon_control::commands::UpdateApplication {
                application_id,
                is_enabled: Some(true),
                ..crate::fixture::update_application("x")
            })),
            Command::LaunchContainer(container_id),
            Command::StopContainer(container_id),
            Command::DeleteContainer { container_id, volumes: false },
            Command::PlaceContainer(container_id),
            Command::FinishDelete(container_id),
        ]);
        for generation in (0..5).map(Generation) {
            let placement_id = PlacementId { container_id, generation };
            let failure = |node_fault| LaunchFailure { failure: Failure::refused("x"), node_fault };
            let launched = Launched {
                engine_id: "e".into(),
                image_id: "i".into(),
                ports: Vec::new(),
                volumes: Vec::new(),
                health_check: false,
                started_at: None,
            };
            commands.extend([
                Command::RecordLaunched(placement_id, launched),
                Command::RecordLaunchFailed(placement_id, failure(true)),
                Command::RecordLaunchFailed(placement_id, failure(false)),
                Command::RecordExited(placement_id, Some(Exit { code: 1, out_of_memory: false })),
                Command::RecordMissing(placement_id),
                Command::RecordHealth(placement_id, false),
                Command::RecordHealth(placement_id, true),
                Command::RecordStopped(placement_id, None),
                Command::RecordRemoved(placement_id, node_id),
            ]);
        }
    }
    commands
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn every_probe_on_every_state_is_recorded(
        log in arbitrary::log(0..80),
        seen in vec((arbitrary::container_id(), arbitrary::generation(), 0_u8..3), 0..6),
        as_of in 0_u64..90,
    ) {
        let cluster = Cluster::default().fold(&log);
        let context = Given::cluster().context;
        let own: Vec<_> = seen
            .into_iter()
            .map(|(container_id, generation, running)| {
                let states = [ContainerState::Created, ContainerState::Running, ContainerState::Exited];
                let exit = (running == 2).then_some(Exit { code: i64::from(generation.0 % 2), out_of_memory: false });
                let healthy = (generation.0 < 3).then_some(generation.0 == 1);
                let paused = generation.0 == 2;
                let placement_id = PlacementId { container_id, generation };
                Seen { placement_id, state: states[usize::from(running)], exit, healthy, paused }
            })
            .collect();
        for node in cluster.nodes() {
            let listed = Listed { own: own.clone(), foreign: 1, as_of: Seq(as_of) };
            let results = [
                ProbeResult::Failed(Failure::refused("x").into()),
                ProbeResult::Answered { engine: None, listed: None },
                ProbeResult::Answered { engine: None, listed: Some(listed) },
            ];
            for result in results {
                let answered = !matches!(result, ProbeResult::Failed(_));
                let endpoint = node.endpoint.clone();
                let probe = Probe { node_id: node.id, endpoint, latency: Duration::ZERO, result };
                let decision = decide(&cluster, Command::RecordProbe(probe), &context);
                let decision = decision.map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
                let Event::NodeObserved(observed) = &decision.events[0].event else { panic!("not observed") };
                prop_assert_eq!(matches!(observed.outcome, ProbeOutcome::Answered { .. }), answered);
            }
        }
    }
}

#[test]
fn test_names_sort_like_their_ids() {
    assert!(node("a") < node("b") && container("c1") < container("c2"));
}
