//! The conformance suite against an engine named in the environment: Podman, another version of Docker.
//!
//! `KDAEMON_TEST_ENDPOINT=unix:///run/podman/podman.sock cargo test --test suite engine::given -- --ignored`. It needs an image with a
//! busybox: `scripts/image localhost/kdaemon/busybox unix:///run/podman/podman.sock`, or what `KDAEMON_TEST_IMAGE` names.

use crate::engine::conformance::{Env, run_all};
use kdaemon::engine::Engines;
use kdaemon::engine::docker::{DockerEngines, EngineLimits};

#[tokio::test]
#[ignore = "needs an engine, named by KDAEMON_TEST_ENDPOINT: scripts/test"]
async fn engine_named_in_the_environment_passes_the_suite() {
    let endpoint = std::env::var("KDAEMON_TEST_ENDPOINT").expect("KDAEMON_TEST_ENDPOINT names an engine");
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let env = Env {
        image: std::env::var("KDAEMON_TEST_IMAGE").unwrap_or_else(|_| "localhost/kdaemon/busybox".to_owned()),
        // A name that no registry can have, which every engine refuses.
        missing_image: "kDaemon/Missing".to_owned(),
        forever: words(&["sleep", "1000000"]),
        exits_with_3: words(&["sh", "-c", "exit 3"]),
        writes_three_lines: words(&["sh", "-c", "echo one; echo two; echo three"]),
        missing_command: words(&["no-such-command"]),
        free_port: 20080,
    };
    run_all(DockerEngines::new(EngineLimits::default()).client(&endpoint.parse().unwrap()), &env).await;
}
