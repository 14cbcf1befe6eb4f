//! Shared by the test binaries and the benches: clusters of real engines, RethinkDB servers, daemons, and waiting for
//! conditions.

// Each test binary uses its own part of this.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub(crate) mod daemon;
pub(crate) mod engine_api;
pub(crate) mod proxy;
pub(crate) mod rethinkdb;
pub(crate) mod rethinkdb_double;

use kdaemon_events::Endpoint;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a test waits for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something; panics with `what` when it has not by the deadline.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A cluster of real Docker engines, each on a "machine" of its own (see `scripts/engines`). They are numbered
/// from 1. It ends when this is dropped, and at the latest when this process ends.
#[derive(Debug)]
pub(crate) struct Cluster {
    name: String,
    /// The output of `engines env`: names and values.
    env: Vec<(String, String)>,
}

impl Cluster {
    /// Whether real engines can be started here, or why not.
    pub(crate) fn possible() -> Result<(), &'static str> {
        let status = std::fs::read_to_string("/proc/self/status").map_err(|_| "this is not Linux")?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
        if uid != Some("0") {
            return Err("not root");
        }
        let dockerd = ["/usr/sbin/dockerd", "/usr/bin/dockerd"]
            .iter()
            .any(|path| std::fs::exists(path).unwrap_or(false));
        if dockerd { Ok(()) } else { Err("no dockerd (apt install docker.io)") }
    }

    /// Starts `n` engines; panics where that is not possible. Tests that call this are ignored unless they are asked
    /// for, which `scripts/test` does where [`Self::possible`] holds.
    pub(crate) fn up(n: usize) -> Self {
        if let Err(why) = Self::possible() {
            panic!("no Docker engines can be started here: {why}");
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let name = format!("t-{pid}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut cluster = Self { name, env: Vec::new() };
        let printed = cluster.run("engines", &["up", &n.to_string(), "--owner", &pid.to_string()]);
        cluster.env = printed
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        cluster
    }

    /// Where engine `i` listens.
    pub(crate) fn endpoint(&self, i: usize) -> Endpoint {
        self.value(&format!("ENGINE_{i}")).parse().expect("an endpoint")
    }

    /// The unix socket of engine `i`.
    pub(crate) fn socket(&self, i: usize) -> Endpoint {
        self.value(&format!("ENGINE_{i}_SOCKET")).parse().expect("an endpoint")
    }

    /// The address of this machine as the engines see it.
    pub(crate) fn host(&self) -> &str {
        self.value("KDAEMON_ENGINES_HOST")
    }

    /// Machine `i` loses its power: its link goes silent, all that ran there is gone, its disk stays.
    pub(crate) fn kill(&self, i: usize) {
        self.run("engines", &["kill", &i.to_string()]);
    }

    /// Engine `i` is killed; its machine refuses connections.
    pub(crate) fn kill_engine(&self, i: usize) {
        self.run("engines", &["kill", &i.to_string(), "--engine-only"]);
    }

    /// Engine `i` is stopped in good order, and its containers with it.
    pub(crate) fn stop(&self, i: usize) {
        self.run("engines", &["stop", &i.to_string()]);
    }

    /// Engine `i` runs again, on its old data, and answers.
    pub(crate) fn start(&self, i: usize) {
        self.run("engines", &["start", &i.to_string()]);
    }

    /// Pulls the network cable of machine `i`.
    pub(crate) fn cut(&self, i: usize) {
        self.run("engines", &["cut", &i.to_string()]);
    }

    /// Plugs it in again.
    pub(crate) fn heal(&self, i: usize) {
        self.run("engines", &["heal", &i.to_string()]);
    }

    /// Engine `i` accepts connections and never answers …
    pub(crate) fn freeze(&self, i: usize) {
        self.run("engines", &["freeze", &i.to_string()]);
    }

    /// … until now.
    pub(crate) fn thaw(&self, i: usize) {
        self.run("engines", &["thaw", &i.to_string()]);
    }

    /// Puts a small image of busybox into all engines, and gives its name back.
    pub(crate) fn image(&self, name: &str) -> String {
        self.first_line("image", &[name])
    }

    /// The same with an instruction of a Dockerfile added, into engine `i` alone.
    pub(crate) fn image_with(&self, name: &str, i: usize, change: &str) -> String {
        self.first_line("image", &[name, &self.socket(i).to_string(), "--change", change])
    }

    /// Starts the cluster's registry; its address.
    pub(crate) fn registry(&self) -> String {
        self.first_line("registry", &["up"])
    }

    /// Pushes an image that engine `i` has into the registry; the name to pull it by.
    pub(crate) fn push(&self, i: usize, image: &str, tag: &str) -> String {
        self.first_line("registry", &["push", image, tag, "--engine", &i.to_string()])
    }

    fn value(&self, name: &str) -> &str {
        let found = self.env.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("the cluster has no {name}")).1
    }

    fn first_line(&self, script: &str, arguments: &[&str]) -> String {
        self.run(script, arguments).lines().next().expect("a line").to_owned()
    }

    fn run(&self, script: &str, arguments: &[&str]) -> String {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "scripts", script].iter().collect();
        let output = Command::new(path)
            .args(arguments)
            .env("KDAEMON_ENGINES", &self.name)
            .output()
            .expect("the script runs");
        assert!(
            output.status.success(),
            "{script} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "scripts", "engines"].iter().collect();
        // Without a panic: this may be one already.
        let _ = Command::new(path).arg("down").env("KDAEMON_ENGINES", &self.name).output();
    }
}
