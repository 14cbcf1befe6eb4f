//! The web UI in a real browser (Debian's Chromium), driven by playwright-core against the program itself.
//!
//! The steps are JavaScript, in the files next to this one; Rust starts what they need, and does what a page cannot do
//! (kill an engine, restart the daemon). `scripts/test` installs Chromium, Node.js and the two npm packages.

use super::door::Door;
use crate::support::Cluster;
use crate::support::daemon::Daemon;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// How long all steps of a test may take together.
const DEADLINE: Duration = Duration::from_secs(420);

/// The program that drives a browser.
struct Driver {
    node: PathBuf,
    chromium: PathBuf,
    /// The folder with `node_modules`.
    modules: PathBuf,
}

impl Driver {
    fn find() -> Self {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
        let has = |name: &str| modules.join("node_modules").join(name).exists();
        assert!(
            has("playwright-core") && has("axe-core"),
            "no playwright-core or axe-core in target/browser: scripts/test installs them"
        );
        let node = in_path(&["node", "nodejs"]).expect("Node.js on the PATH");
        let chromium = in_path(&["chromium", "chromium-browser"]).expect("Chromium on the PATH");
        Self { node, chromium, modules }
    }

    /// Runs the steps of a file; `answer` does what they ask for.
    async fn run(
        &self,
        file: &str,
        url: &str,
        environment: &[(&str, String)],
        mut answer: impl AsyncFnMut(&str),
    ) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(file);
        let mut child = tokio::process::Command::new(&self.node)
            .arg(path)
            .env("KDAEMON_URL", url)
            .env("CHROMIUM", &self.chromium)
            .env("BROWSER_MODULES", &self.modules)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let mut stdin = child.stdin.take().expect("stdin");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let steps = async {
            while let Some(line) = lines.next_line().await.expect("text") {
                match line.strip_prefix('@') {
                    Some(request) => {
                        answer(request).await;
                        stdin.write_all(b"done\n").await.expect("it listens");
                    }
                    None => println!("{line}"),
                }
            }
            child.wait().await.expect("it ends")
        };
        let ended = tokio::time::timeout(DEADLINE, steps).await.expect("the steps end in time");
        assert!(ended.success(), "{file}: {ended}; its output says where");
    }
}

fn in_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let candidates =
        std::env::split_paths(&path).flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: scripts/test"]
async fn pages_are_small_safe_and_accessible() {
    let driver = Driver::find();
    let daemon = Daemon::start().await;
    let url = daemon.url("//").trim_end_matches('/').to_owned();
    driver.run("pages.mjs", &url, &[], async |request| panic!("`{request}` is not known")).await;
}

mod on_engines {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs Chromium, Node.js and Docker engines: scripts/test"]
    async fn cluster_journey_through_a_failure_and_back() {
        let driver = Driver::find();
        let engines = tokio::task::spawn_blocking(|| {
            let cluster = Cluster::up(3);
            let image = cluster.image("kdaemon/web:latest");
            (cluster, image)
        });
        let (cluster, image) = engines.await.expect("engines");
        let mut daemon = Daemon::start().await;
        let door = Door::open(&daemon.url("//")).await;
        let endpoints: Vec<_> = (1..=3).map(|number| cluster.endpoint(number).to_string()).collect();
        let environment = [("ENGINES", endpoints.join(",")), ("IMAGE", image)];
        let url = door.url().to_owned();
        driver
            .run("journey.mjs", &url, &environment, async |request| match request {
                "kill-engine 2" => tokio::task::block_in_place(|| cluster.kill_engine(2)),
                "kill-daemon" => daemon.kill(),
                "start-daemon" => {
                    daemon.begin().await;
                    door.lead_to(&daemon.url("//"));
                }
                other => panic!("`{other}` is not known"),
            })
            .await;
    }
}
