//! A disk that is full.

use crate::program::create_container;
use crate::support::daemon::Daemon;
use reqwest::Method;
use serde_json::json;
use std::process::Command;

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(dir.path());
        assert!(mount.status().expect("mount runs").success(), "mounting a tmpfs needs root");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount file systems: scripts/test"]
async fn full_disk_refuses_commands_and_loses_nothing() {
    let disk = SmallDisk::mount();
    let filler = disk.0.path().join("filler");
    let mut daemon = Daemon::start_on(&disk.0.path().join("state")).await;
    assert!(create_container(&daemon, "first").await);
    std::fs::write(&filler, vec![0; 600 * 1024]).unwrap();
    let mut acknowledged = 1;
    let mut refusal = None;
    for number in 0..20_000 {
        let (status, problem) = daemon
            .ask(Method::POST, "/containers/create", Some(json!({"name": format!("c-{number}")})))
            .await;
        if status == 201 {
            acknowledged += 1;
        } else {
            refusal = Some((status, problem));
            break;
        }
    }
    let (status, problem) = refusal.expect("the disk is full at some time");
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("is full")), "{problem}");
    assert_eq!(
        daemon.get("/containers").await.as_array().unwrap().len(),
        acknowledged,
        "it can still be read"
    );

    std::fs::remove_file(&filler).unwrap();
    assert!(create_container(&daemon, "after").await, "it works again by itself");
    daemon.kill();
    daemon.begin().await;
    assert_eq!(daemon.get("/containers").await.as_array().unwrap().len(), acknowledged + 1);
}
