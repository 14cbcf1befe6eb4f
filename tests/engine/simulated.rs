//! Simulated engines pass the conformance suite, in virtual time.

use crate::engine::conformance::{self, Env, each_scenario};
use kdaemon_testing::engines::{SimulatedEngines, SimulatedMachine, Timing};
use kdaemon::engine::{Engine, Engines};
use std::sync::Arc;

fn env() -> Env {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    Env {
        image: "busybox".into(),
        missing_image: "busybox:missing".into(),
        forever: words(&["sleep", "1000000"]),
        exits_with_3: words(&["sh", "-c", "exit 3"]),
        writes_three_lines: words(&["sh", "-c", "echo one; echo two; echo three"]),
        missing_command: words(&["/no/such/command"]),
        free_port: 18_080,
    }
}

fn engine(seed: u64, timing: Timing) -> Arc<dyn Engine> {
    let engines = SimulatedEngines::new(seed);
    engines.lacks_image(&env().missing_image);
    let endpoints = engines.add_fleet(1, &SimulatedMachine { timing, ..SimulatedMachine::default() });
    engines.client(&endpoints[0])
}

macro_rules! scenarios_as_tests {
    ($($scenario:ident),+ $(,)?) => {$(
        #[tokio::test(start_paused = true)]
        async fn $scenario() {
            for seed in 0..20 {
                conformance::$scenario(&*engine(seed, Timing::default()), &env()).await;
            }
        }
    )+};
}
each_scenario!(scenarios_as_tests);

#[tokio::test(start_paused = true)]
async fn engine_without_delays_passes_the_suite() {
    conformance::run_all(engine(0, Timing::instant()), &env()).await;
}
