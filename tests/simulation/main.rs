//! The quick runs of the simulation of the whole daemon (see README.md); `scripts/simulate` does the long
//! ones.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../control/tests/commands/check.rs"]
mod check;
mod daemon;
mod faults;
mod fence;
mod invariants;
mod people;
mod replayed;
mod rest;
mod rules;
mod seed;
mod store;
mod world;

use std::time::Duration;

fn run_all(seeds: std::ops::RangeInclusive<u64>) {
    let mut failed = Vec::new();
    for seed in seeds {
        let report = world::run(seed, Duration::from_secs(600), 1);
        failed.extend(report.violations.first().map(|what| format!("seed {seed}: {what}")));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn invariants_hold_under_faults() {
    run_all(1..=6);
}

#[test]
fn invariants_hold_under_more_faults() {
    run_all(7..=12);
}

#[test]
fn one_seed_gives_one_log() {
    for seed in [3, 7] {
        let run = || world::run(seed, Duration::from_secs(300), 1);
        let (first, second) = (run(), run());
        assert_eq!(first.digest, second.digest, "seed {seed} was not the same twice");
        assert_eq!((first.faults, first.events), (second.faults, second.events));
        assert!(first.simulated >= Duration::from_secs(300) && first.faults > 0 && first.events > 100);
    }
}
