//! The web UI in a real browser (Debian's Chromium), driven by playwright-core against the program itself.
//!
//! The steps are JavaScript, in the files beside this one; Rust starts what they need, and does what a page cannot do (kill
//! an engine, restart the daemon). `scripts/test` installs Chromium, Node.js and the two npm packages; where they are
//! not, each test is left out, and one line says so.

mod door;

use crate::support::Cluster;
use crate::support::daemon::Daemon;
use door::Door;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// How long all steps of a test may take together.
const DEADLINE: Duration = Duration::from_secs(420);

/// What drives a browser.
struct Driver {
    node: PathBuf,
    chromium: PathBuf,
    /// The folder with `node_modules`.
    modules: PathBuf,
}

impl Driver {
    /// `None`, and one line that says why, where there is no browser.
    fn find() -> Option<Self> {
        let found = Self::look();
        if let Err(missing) = &found {
            eprintln!("left out, tests in a browser: there is no {missing} (scripts/test installs it)");
        }
        found.ok()
    }

    fn look() -> Result<Self, &'static str> {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
        let has = |name: &str| modules.join("node_modules").join(name).exists();
        if !has("playwright-core") || !has("axe-core") {
            return Err("playwright-core or no axe-core in target/browser");
        }
        let node = in_path(&["node", "nodejs"]).ok_or("Node.js")?;
        let chromium = in_path(&["chromium", "chromium-browser"]).ok_or("Chromium")?;
        Ok(Self { node, chromium, modules })
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
async fn people_work_a_cluster_see_a_machine_fail_and_travel_back_to_before_it() {
    let Some(driver) = Driver::find() else { return };
    let engines = tokio::task::spawn_blocking(|| {
        let cluster = Cluster::up(3)?;
        let image = cluster.image("kdaemon/web:latest");
        Some((cluster, image))
    });
    let Some((cluster, image)) = engines.await.expect("engines") else { return };
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

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_small_safe_and_usable_by_keys_on_narrow_screens_and_enlarged() {
    let Some(driver) = Driver::find() else { return };
    let daemon = Daemon::start().await;
    let url = daemon.url("//").trim_end_matches('/').to_owned();
    driver.run("pages.mjs", &url, &[], async |request| panic!("`{request}` is not known")).await;
}

#[test]
fn what_was_taken_from_others_is_as_it_was_taken() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ui/vendor");
    let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let listed: Vec<_> =
        sums.lines().map(|line| line.split_once("  ").expect("a sum and a name").1).collect();
    let mut found: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "SHA256SUMS" && name != "README.md")
        .collect();
    found.sort();
    let mut expected = listed.clone();
    expected.sort_unstable();
    assert_eq!(found, expected, "each file has its sum");
    let output = std::process::Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(&folder)
        .output();
    let output = output.expect("sha256sum runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for name in listed.iter().filter(|name| name.ends_with(".js")) {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(!text.contains("from\"preact") && !text.contains("from\"@"), "{name} has a bare import");
    }
}

#[test]
fn a_file_of_the_web_ui_holds_one_concept_and_says_which() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ui")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("vendor") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "js") {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.starts_with("// "), "{} begins with a line on what it is", path.display());
                assert!(text.lines().count() < 600, "{} holds two concepts", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 20);
}
