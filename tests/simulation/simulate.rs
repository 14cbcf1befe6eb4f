//! `scripts/simulate`: many seeds, for hours of virtual time.

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

use clap::Parser;
use mimalloc::MiMalloc;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Simulates the whole daemon.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// Number of seeds
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Least simulated hours per seed; 5 and 120 times as many for the calmer ones
    #[arg(long, default_value_t = 0.5)]
    hours: f64,
    /// Seeds run at a time, each in its own thread
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Starts no further seed after this many minutes
    #[arg(long)]
    minutes: Option<f64>,
    /// Ends with the first seed that fails.
    #[arg(long)]
    until_failure: bool,
    /// Prints the digest of each seed's log.
    #[arg(long)]
    digests: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let next = AtomicU64::new(arguments.seed);
    let end = arguments.seed.saturating_add(arguments.seeds);
    let (sender, reports) = mpsc::channel();
    let mut seeds = 0;
    let (mut simulated, mut faults, mut events, mut violations) = (Duration::ZERO, 0, 0, 0_usize);
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            let (sender, next, arguments) = (sender.clone(), &next, &arguments);
            let length = Duration::from_secs_f64(arguments.hours.max(0.0) * 3_600.0);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_over =
                        arguments.minutes.is_some_and(|limit| began.elapsed().as_secs_f64() > limit * 60.0);
                    if seed >= end || is_over {
                        return;
                    }
                    let _ = sender.send((seed, world::run(seed, length, u32::MAX)));
                }
            });
        }
        drop(sender);
        for (done, (seed, report)) in (1_u64..).zip(&reports) {
            seeds = done;
            simulated += report.simulated;
            faults += report.faults;
            events += report.events;
            violations += report.violations.len();
            if let Some(first) = report.violations.first() {
                println!("seed {seed}: {first}");
                if arguments.until_failure {
                    next.store(end, Ordering::Relaxed);
                }
            }
            if arguments.digests {
                println!("seed {seed}: {}", report.digest);
            }
            if done.is_multiple_of(10) {
                let (hours, seconds) = (simulated.as_secs() / 3_600, began.elapsed().as_secs());
                eprintln!("{done} of {} seeds, {hours} hours in {seconds} s", arguments.seeds);
            }
        }
    });
    println!(
        "simulated {:.0} hours, {} seeds, {faults} faults, {events} events, {violations} violations",
        simulated.as_secs_f64() / 3_600.0,
        seeds
    );
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
