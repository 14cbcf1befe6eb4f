//! Read-only and full disks. The tests mount file systems, which needs root.

use crate::store::events::*;
use kdaemon::store::prelude::*;
use kdaemon::store::{Commit, SqliteStore, StoreError};
use kdaemon::verify::VerifyLog as _;
use std::path::Path;
use std::process::Command;

/// A mount, unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("mount").args(arguments).arg(folder.path()).output().expect("mount runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn again(&self, options: &str) {
        let status = Command::new("mount").args(["-o", options]).arg(self.path()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a failed test may have files open there.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
#[ignore = "needs root to mount file systems: scripts/test"]
async fn unwritable_folder_is_named() {
    let disk = Mount::new(&["-t", "tmpfs", "-o", "size=8m", "kdaemon-test"]);
    let store = SqliteStore::open(disk.path()).unwrap();
    fill(&store, 2).await;
    store.close().await;
    disk.again("remount,ro");
    for folder in [disk.path().to_owned(), disk.path().join("new")] {
        let Err(error) = SqliteStore::open(&folder) else { panic!("the store opened") };
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&folder.display().to_string()), "{text}");
        assert!(text.contains("Read-only file system") && text.contains("--data-dir"), "{text}");
    }
}

#[test]
fn impossible_folder_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for folder in [file.path().to_owned(), file.path().join("below"), Path::new("/proc/kdaemon").to_owned()] {
        let Err(error) = SqliteStore::open(&folder) else { panic!("the store opened") };
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(error.to_string().contains(&folder.display().to_string()), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs root to mount file systems: scripts/test"]
async fn full_disk_loses_nothing_and_is_recovered_from() {
    let disk = Mount::new(&["-t", "tmpfs", "-o", "size=3m", "kdaemon-test"]);
    let store = SqliteStore::open(disk.path()).unwrap();
    let mut head = fill(&store, 3).await;
    let large = |head: &_| Commit {
        idempotency: vec![record("k", at(1), "{}")],
        ..commit(head, vec![token(&"x".repeat(100_000)); 3])
    };
    let error = loop {
        match store.append(&head, large(&head)).await {
            Ok(next) => head = next,
            Err(error) => break error,
        }
        assert!(head.seq.0 < 100, "the disk did not fill up");
    };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("full"), "{error}");
    // The failed commits are absent, and everything before them is present.
    for _ in 0..3 {
        assert_eq!(store.head().await.unwrap(), head);
        assert_eq!(store.verify().await.unwrap(), head);
        assert!(store.append(&head, large(&head)).await.is_err());
    }
    // Space is available again.
    disk.again("remount,size=64m");
    let head = store.append(&head, large(&head)).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), head);
    store.close().await;
    let store = SqliteStore::open(disk.path()).unwrap();
    assert_eq!(store.verify().await.unwrap(), head);
    store.close().await;
}

#[tokio::test]
#[ignore = "needs root to mount file systems: scripts/test"]
async fn store_on_a_full_disk_can_be_read() {
    let disk = Mount::new(&["-t", "tmpfs", "-o", "size=3m", "kdaemon-test"]);
    let store = SqliteStore::open(disk.path()).unwrap();
    let head = fill(&store, 3).await;
    store.close().await;
    let ballast = disk.path().join("ballast");
    let mut size = 3_000_000;
    while size > 0 && std::fs::write(&ballast, vec![1; size]).is_err() {
        size -= 4_096;
    }
    match SqliteStore::open(disk.path()) {
        Ok(store) => {
            assert_eq!(store.verify().await.unwrap(), head);
            store.close().await;
        }
        // SQLite's shared memory needs a page of the disk.
        Err(error) => assert!(error.to_string().contains("full"), "{error}"),
    }
    std::fs::remove_file(&ballast).unwrap();
    let store = SqliteStore::open(disk.path()).unwrap();
    assert_eq!(store.verify().await.unwrap(), head);
    store.close().await;
}
