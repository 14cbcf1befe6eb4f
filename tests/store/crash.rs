//! After `kill -9` at any moment, every acknowledged commit is in the log.

use crate::store::events::*;
use kdaemon::store::SqliteStore;
use kdaemon::store::prelude::*;
use kdaemon::verify::VerifyLog as _;
use kdaemon_events::Seq;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const FOLDER: &str = "KDAEMON_TEST_STORE_CRASH";
/// The name of the test below. The killed process is this test binary with [`FOLDER`] set, which makes it write.
const THIS_TEST: &str = "store::crash::acknowledged_commits_survive_a_kill";
const ACKNOWLEDGED: &str = "acknowledged ";

/// Writes commits to the store in `folder` until the process is killed, and prints each acknowledged one.
fn write_until_killed(folder: PathBuf) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&folder).unwrap();
        let mut head = store.head().await.unwrap();
        let mut out = std::io::stdout();
        loop {
            let size = usize::try_from(head.commits % 5 + 1).unwrap();
            let events = vec![token(&"x".repeat(500 * size)); size];
            head = store.append(&head, commit(&head, events)).await.unwrap();
            writeln!(out, "{ACKNOWLEDGED}{}", head.seq).unwrap();
            out.flush().unwrap();
        }
    })
}

#[test]
fn acknowledged_commits_survive_a_kill() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        write_until_killed(PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut last = Seq(0);
    for round in 0..12 {
        // A different delay each time, so that the kill falls anywhere in a write.
        let wait_for = 1 + u128::from(uuid::Uuid::new_v4().as_u128() as u64 % 60);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", THIS_TEST, "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Seq(0);
        let mut count = 0;
        // All output before the death counts, also while the kill is in flight.
        while let Some(line) = lines.next().and_then(Result::ok) {
            // The test harness prints a line of its own before the first.
            let Some((_, seq)) = line.split_once(ACKNOWLEDGED) else { continue };
            let Ok(seq) = seq.parse() else { continue };
            acknowledged = Seq(seq);
            count += 1;
            if count == wait_for {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(
            count >= wait_for,
            "round {round}: the process ended by itself after {count} of {wait_for} commits"
        );
        let head = runtime.block_on(async {
            let store = SqliteStore::open(folder.path()).unwrap();
            let head = store.verify().await.unwrap();
            store.close().await;
            head
        });
        assert!(
            head.seq >= acknowledged,
            "round {round}: event {acknowledged} was acknowledged, the log ends at {}",
            head.seq
        );
        assert!(head.seq > last);
        last = head.seq;
    }
}
