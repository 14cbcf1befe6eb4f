//! Old logs are read: lines that earlier versions wrote, kept as they were.

use crate::arbitrary;
use kdaemon_events::{Digest, Envelope, Kind, Seq};
use kdaemon_projections::Cluster;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;

/// Events of every kind as version 1 of each was written. Lines are added, never changed.
const WRITTEN: &str = include_str!("golden.jsonl");

#[test]
fn every_event_that_was_ever_written_is_read_and_loses_nothing() {
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
fn golden_lines_can_be_made() {
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
    (1, "f9d25c2142292a11583285efe08041569a8717728c44cf69f802aa0eddf909d6"),
    // A move ends when its origin ceases to serve while it waits: which this log has no case of.
    (2, "f9d25c2142292a11583285efe08041569a8717728c44cf69f802aa0eddf909d6"),
    // What is adopted avoids no node any more: which this log has no case of either.
    (3, "f9d25c2142292a11583285efe08041569a8717728c44cf69f802aa0eddf909d6"),
];

/// A state that was kept by one version of the program is read by the next one only if nothing about its form, and
/// nothing about the fold, is another: when this fails for a reason, `SNAPSHOT_VERSION` goes up and a line is added.
#[test]
fn a_snapshot_is_as_its_version_says() {
    let mut log: Vec<Envelope> = WRITTEN.lines().map(|line| Envelope::decode(line).unwrap()).collect();
    // First what makes things, then what happens to them.
    log.sort_by_key(|envelope| !envelope.event.kind().as_str().ends_with("Created"));
    for (envelope, seq) in log.iter_mut().zip(1..) {
        envelope.seq = Seq(seq);
    }
    let cluster = Cluster::default().fold(&log);
    assert!(cluster.nodes().len() > 0 && cluster.containers().len() > 1 && cluster.applications().len() > 0);
    let digest = Digest::of_event(&cluster.to_bytes().unwrap()).to_string();
    assert_eq!(SNAPSHOTS.last(), Some(&(Cluster::SNAPSHOT_VERSION, digest.as_str())));
}
