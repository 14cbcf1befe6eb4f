//! Retention: pruning records the aggregates of what it removes, and the pruned log folds to the same state.

use crate::arbitrary;
use crate::fixture::{Given, facts, node};
use kdaemon_control::commands::{Command, Prune, Refusal, decide};
use kdaemon_events::cluster::{NodeTally, ObservationsPruned};
use kdaemon_events::failure::Failure;
use kdaemon_events::node::{NodeObserved, ProbeOutcome};
use kdaemon_events::{ContainerId, Envelope, Event, Generation, NodeId, PlacementId, Seq};
use kdaemon_projections::Cluster;
use proptest::prelude::*;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Whether an event may be pruned.
fn may_go(envelope: &Envelope) -> Option<NodeId> {
    match &envelope.event {
        Event::NodeObserved(observed) if observed.engine.is_none() => Some(observed.node_id),
        _ => None,
    }
}

fn ranges(seqs: &BTreeSet<Seq>) -> Vec<(Seq, Seq)> {
    let mut ranges: Vec<(Seq, Seq)> = Vec::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some((_, last)) if last.next() == *seq => *last = *seq,
            _ => ranges.push((*seq, *seq)),
        }
    }
    ranges
}

/// Prunes these now: appends the event that records it.
fn prune(log: &mut Vec<Envelope>, cluster: &Cluster, gone: &BTreeSet<Seq>) {
    let nodes = log.iter().filter(|event| gone.contains(&event.seq)).filter_map(may_go).collect();
    let prune = Command::PruneObservations(Prune { ranges: ranges(gone), nodes });
    log.extend(decide(cluster, prune, &Given::nothing().context).unwrap().events);
}

fn without(log: &[Envelope], gone: &BTreeSet<Seq>) -> Vec<Envelope> {
    log.iter().filter(|event| !gone.contains(&event.seq)).cloned().collect()
}

/// Checks that two logs lead to the same state after every event from one on.
fn same_from(whole: &[Envelope], pruned: &[Envelope], from: Seq) -> Result<(), TestCaseError> {
    let (mut rest, mut first, mut second) =
        (pruned.iter().peekable(), Cluster::default(), Cluster::default());
    for event in whole {
        first = first.fold([event]);
        if let Some(same) = rest.next_if(|kept| kept.seq == event.seq) {
            second = second.fold([same]);
        }
        prop_assert!(event.seq < from || first == second, "after event {}", event.seq);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn pruned_log_folds_to_the_same_state(
        parts in (arbitrary::log(1..60), arbitrary::log(0..60), arbitrary::log(0..30)),
        chosen in any::<u64>(),
    ) {
        let mut log: Vec<Envelope> = Vec::new();
        let mut gone: Vec<BTreeSet<Seq>> = vec![BTreeSet::new()];
        let mut recorded = Vec::new();
        for (turn, part) in [parts.0, parts.1].into_iter().enumerate() {
            let next = log.len() as u64 + 1;
            log.extend((next..).zip(part).map(|(seq, event)| Envelope { seq: Seq(seq), ..event }));
            let mut all = gone.last().cloned().unwrap();
            let earlier = all.clone();
            // Some now, some of the others the next time.
            let takes = |seq: Seq| (chosen >> (seq.0 % 64)) & 1 == turn as u64 % 2;
            all.extend(log.iter().filter(|event| may_go(event).is_some() && takes(event.seq)).map(|event| event.seq));
            let now: BTreeSet<_> = all.difference(&earlier).copied().collect();
            let whole = Cluster::default().fold(&log);
            // The recorded aggregates do not depend on earlier pruning.
            let mut again = log.clone();
            prune(&mut again, &Cluster::default().fold(&without(&log, &earlier)), &now);
            prune(&mut log, &whole, &now);
            if recorded.is_empty() || !now.is_empty() {
                prop_assert_eq!(again.last().map(|event| &event.event), log.last().map(|event| &event.event));
            }
            recorded.push(log.last().map_or(Seq(0), |event| event.seq));
            gone.push(all);
        }
        let next = log.len() as u64 + 1;
        log.extend((next..).zip(parts.2).map(|(seq, event)| Envelope { seq: Seq(seq), ..event }));
        for (from, gone) in recorded.iter().zip(&gone[1..]) {
            same_from(&log, &without(&log, gone), *from)?;
        }
    }
}

fn failed(given: Given, name: &str) -> Given {
    let outcome = ProbeOutcome::Failed { failure: Failure::refused("no answer").into() };
    given.event(NodeObserved {
        node_id: node(name),
        outcome,
        latency_ms: 1,
        engine: None,
        orphans: Vec::new(),
    })
}

#[test]
fn pruning_records_the_aggregates_of_observations() {
    let given = Given::cluster().node("a").up().node("b").up();
    let first = given.cluster.seq().next();
    let mut given = failed(failed(given, "a"), "a");
    let orphan = PlacementId { container_id: ContainerId(Uuid::from_u128(5)), generation: Generation(2) };
    let outcome = ProbeOutcome::Answered { running: Some(1), foreign: Some(0) };
    given = given.event(NodeObserved {
        node_id: node("b"),
        outcome,
        latency_ms: 1,
        engine: None,
        orphans: vec![orphan],
    });
    let last = given.cluster.seq();
    let given = failed(given, "a"); // not old enough
    let (a, b) = (given.cluster.node(node("a")).unwrap(), given.cluster.node(node("b")).unwrap());
    let prune = Prune { ranges: vec![(first, last)], nodes: [node("a"), node("b"), node("gone")].into() };
    let decision = decide(&given.cluster, Command::PruneObservations(prune), &given.context).unwrap();
    let [event] = &decision.events[..] else { panic!("{:?}", decision.events) };
    let tally = |node: &kdaemon_projections::Node, orphans| NodeTally {
        node_id: node.id,
        observed: node.observed,
        failures: node.failures,
        successes: node.successes,
        orphans,
    };
    assert_eq!((a.failures, a.observed), (3, last.next()), "the last one counts too");
    let expected = ObservationsPruned {
        up_to: last,
        count: 3,
        ranges: vec![(first, last)],
        tallies: vec![tally(a, Vec::new()), tally(b, vec![orphan])],
    };
    assert_eq!(event.event, expected.into());
    let mut after = given.cluster.clone();
    after.apply(event, &mut kdaemon_projections::Touched::default());
    assert_eq!(after.node(node("a")), given.cluster.node(node("a")), "it changes nothing");
}

#[test]
fn observation_with_engine_facts_is_a_fact() {
    let given = Given::cluster().node("a").up();
    let outcome = ProbeOutcome::Answered { running: None, foreign: None };
    let engine = Some(Box::new(facts("a")));
    let given =
        given.event(NodeObserved { node_id: node("a"), outcome, latency_ms: 1, engine, orphans: Vec::new() });
    assert_eq!(may_go(given.log.last().unwrap()), None);
}

#[test]
fn impossible_ranges_are_refused_and_empty_ones_do_nothing() {
    let given = Given::cluster().node("a").up();
    let head = given.cluster.seq();
    let ask = |ranges| {
        let prune = Prune { ranges, nodes: BTreeSet::new() };
        decide(&given.cluster, Command::PruneObservations(prune), &given.context)
    };
    assert_eq!(ask(Vec::new()).unwrap().events, []);
    for bad in [
        vec![(Seq(0), Seq(1))],
        vec![(Seq(2), Seq(1))],
        vec![(Seq(1), head.next())],
        vec![(Seq(1), Seq(2)), (Seq(2), Seq(2))],
        vec![(Seq(2), Seq(2)), (Seq(1), Seq(1))],
    ] {
        assert!(matches!(ask(bad.clone()), Err(Refusal::Invalid { .. })), "{bad:?}");
    }
}
