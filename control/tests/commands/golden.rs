//! Compatibility: lines that earlier versions wrote are still read.

use crate::arbitrary;
use kdaemon_events::{Envelope, Kind, Seq};
use kdaemon_projections::Cluster;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;

/// Events of every kind in version 1. Lines are added, never changed.
const WRITTEN: &str = include_str!("golden.jsonl");

#[test]
fn every_golden_event_round_trips() {
    let mut kinds = BTreeSet::new();
    for line in WRITTEN.lines() {
        let envelope = Envelope::decode(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(envelope.encode().unwrap(), line);
        kinds.insert(envelope.event.kind());
    }
    let missing: Vec<_> = Kind::ALL.iter().filter(|kind| !kinds.contains(kind)).collect();
    assert_eq!(missing, [] as [&Kind; 0], "add lines for them: KDAEMON_PRINT_GOLDEN=1 prints some");
}

/// Prints lines to add to the file when there is a new kind of event.
#[test]
fn golden_lines_can_be_generated() {
    let mut runner = TestRunner::deterministic();
    for kind in Kind::ALL {
        for _ in 0..3 {
            let tree = arbitrary::envelope(arbitrary::event_of(*kind)).new_tree(&mut runner).unwrap();
            let line = tree.current().encode().unwrap();
            assert!(line.contains(kind.as_str()));
            if std::env::var_os("KDAEMON_PRINT_GOLDEN").is_some() {
                println!("golden: {line}");
            }
        }
    }
}

/// The digests of what [`Cluster::to_bytes`] makes of the log above, by version.
const SNAPSHOTS: &[(u32, &str)] = &[
    (1, "c422ebd9eaf2ae6a6af27d8d183855f0b221f0cbb5fc07d152a511b69d0da572"),
    (2, "d0282e6e5f8c66f2a9e7788b5573c5696f7ebcbdb8267698ad9287a5b4a03dd0"),
    (3, "df4f5aa72e07545c2f2db5541cf2fd6853a8c39851288e39a40e393de865ea1a"),
];

/// A snapshot of one version of the program is read by the next only if neither its format nor the fold has
/// changed. If this test fails for a good reason, raise `SNAPSHOT_VERSION` and add a line.
#[test]
fn snapshot_bytes_match_their_version() {
    let mut log: Vec<Envelope> = WRITTEN.lines().map(|line| Envelope::decode(line).unwrap()).collect();
    // First the events that create subjects, then the others; none removes a subject.
    let ends = |envelope: &Envelope, ends: &[&str]| {
        ends.iter().any(|end| envelope.event.kind().as_str().ends_with(end))
    };
    log.retain(|envelope| !ends(envelope, &["Deleted", "Unmounted"]));
    log.sort_by_key(|envelope| !ends(envelope, &["Created", "Mounted"]));
    for (envelope, seq) in log.iter_mut().zip(1..) {
        envelope.seq = Seq(seq);
    }
    let cluster = Cluster::default().fold(&log);
    assert!(cluster.nodes().len() > 0 && cluster.containers().len() > 1 && cluster.applications().len() > 0);
    let digest = blake3::hash(&cluster.to_bytes().unwrap()).to_string();
    assert_eq!(SNAPSHOTS.last(), Some(&(Cluster::SNAPSHOT_VERSION, digest.as_str())));
}
