//! A restored daemon takes over what runs.

use crate::cluster::Site;
use crate::support::daemon::Daemon;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn restored_daemon_takes_over_and_starts_nothing_twice() {
    let mut site = Site::with_engines(2).await;
    let mut before = Vec::new();
    for name in ["c-1", "c-2", "c-3", "c-4"] {
        before.push(site.launch(name).await);
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, state) = (dir.path().join("backup"), dir.path().join("state"));
    let server = site.daemon.url("").replace("/0.0", "");
    let backup = Command::new(env!("CARGO_BIN_EXE_kdaemon"))
        .args(["backup", "--server", server.trim_end_matches('/')])
        .arg(&file)
        .output()
        .unwrap();
    assert!(backup.status.success(), "{backup:?}");
    site.daemon.kill();
    let restore = Command::new(env!("CARGO_BIN_EXE_kdaemon"))
        .arg("restore")
        .arg(&file)
        .arg("--data-dir")
        .arg(&state)
        .output()
        .unwrap();
    assert!(restore.status.success(), "{restore:?}");
    let restored_at = site_events(&restore.stdout);

    site.daemon = Daemon::start_on(&state).await;
    // The new daemon has probed both nodes and listed their containers.
    for node in ["node-1", "node-2"] {
        let id = site.daemon.get(&format!("/nodes/{node}")).await["id"].as_str().unwrap().to_owned();
        let path = format!("/events?kind=NodeObserved&subject={id}&after={restored_at}&limit=10");
        let listed = |page: &serde_json::Value| {
            let events = page["events"].as_array().unwrap();
            events.iter().filter(|event| !event["data"]["outcome"]["running"].is_null()).count() >= 2
        };
        site.daemon.until(&path, "it was listed twice", listed).await;
    }
    for old in &before {
        let name = old["name"].as_str().unwrap();
        let now = site.daemon.get(&format!("/containers/{name}")).await;
        for field in ["id", "node_id", "container_id", "generation", "status", "access_link"] {
            assert_eq!(now[field], old[field], "{field} of {name}");
        }
        assert_eq!(site.places(now["id"].as_str().unwrap(), 1..=2).await, (1, 1), "{name} runs exactly once");
    }
    let kinds = "ContainerLaunched,ContainerPlaced,ContainerStopped,ContainerRemoved,ContainerExited";
    let acted = site.daemon.get(&format!("/events?after={restored_at}&kind={kinds}")).await;
    assert_eq!(acted["events"].as_array().unwrap().len(), 0, "{acted}");
    // And it keeps working.
    let new = site.launch("c-5").await;
    assert_eq!(new["status"], "UP");
}

/// The number of restored events.
fn site_events(stdout: &[u8]) -> u64 {
    let line = String::from_utf8_lossy(stdout).into_owned();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}
