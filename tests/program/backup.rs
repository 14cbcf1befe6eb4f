//! Backup while the daemon works, and restore.

use crate::program::{create_container, signal, stderr};
use crate::support::daemon::Daemon;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn server(daemon: &Daemon) -> String {
    daemon.url("").trim_end_matches('/').trim_end_matches("/0.0").to_owned()
}

fn run(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdaemon"));
    command.args(arguments).args(paths).output().unwrap()
}

fn backup(daemon: &Daemon, file: &Path, more: &[&str]) -> Output {
    let server = server(daemon);
    run(&[&["backup", "--server", &server], more].concat(), &[file])
}

fn restore(file: &Path, into: &Path, more: &[&str]) -> Output {
    run(&[&["restore"], more, &["--data-dir"]].concat(), &[into, file])
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_during_writes_is_complete_and_of_one_moment() {
    let daemon = Daemon::start().await;
    for number in 0..20 {
        assert!(create_container(&daemon, &format!("before-{number}")).await);
    }
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (over, url) = (Arc::clone(&over), daemon.url("/containers/create"));
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    let body = serde_json::json!({"name": format!("during-{writer}-{number}")});
                    assert_eq!(client.post(&url).json(&body).send().await.unwrap().status(), 201);
                    number += 1;
                }
                number
            })
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log.backup");
    let taken = tokio::task::block_in_place(|| backup(&daemon, &file, &[]));
    over.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    assert!(taken.status.success(), "{}", stderr(&taken));
    assert!(written > 0, "they went on writing");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(dir.path()), ["log.backup"], "nothing else is left");
    let leftovers: Vec<_> =
        names(daemon.data_dir()).into_iter().filter(|name| name.contains("copy")).collect();
    assert_eq!(leftovers, Vec::<String>::new());

    // The restored folder is a log that ends at a moment of the original.
    let state = dir.path().join("state");
    let head = String::from_utf8(taken.stdout).unwrap().trim().rsplit(' ').next().unwrap().to_owned();
    let restored = restore(&file, &state, &["--expect", &head]);
    assert!(restored.status.success(), "{}", stderr(&restored));
    assert!(String::from_utf8_lossy(&restored.stdout).contains(&head));
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(std::fs::metadata(state.join("kdaemon.db")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(&state), ["kdaemon.db"]);
    let other = Daemon::start_on(&state).await;
    let seq: u64 = head.split(':').next().unwrap().parse().unwrap();
    let page = format!("/events?limit=10000&after={}", seq - 20);
    let (first, second) = (daemon.get(&page).await, other.get(&page).await);
    let upto = |page: &serde_json::Value| {
        let events = page["events"].as_array().unwrap();
        events.iter().filter(|event| event["seq"].as_u64().unwrap() <= seq).cloned().collect::<Vec<_>>()
    };
    assert_eq!(upto(&first).len(), 20);
    assert_eq!(upto(&first), upto(&second));
    let rows = other.get("/containers").await.as_array().unwrap().len();
    assert!(rows >= 20, "its state is folded from it: {rows}");
    let found = other.get(&format!("/audit/verify?expect={head}")).await;
    assert_eq!(found["ok"], true, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_overwrites_nothing_and_restore_needs_an_empty_folder() {
    let mut daemon = Daemon::start().await;
    assert!(create_container(&daemon, "a").await);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    std::fs::write(&file, "precious").unwrap();
    let refused = backup(&daemon, &file, &[]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("exists; choose another file"), "{}", stderr(&refused));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let forced = backup(&daemon, &file, &["--force"]);
    assert!(forced.status.success(), "{}", stderr(&forced));
    let nowhere = backup(&daemon, &dir.path().join("no/such/folder"), &[]);
    assert!(stderr(&nowhere).contains("cannot write"), "{}", stderr(&nowhere));

    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("mine"), "precious").unwrap();
    let refused = restore(&file, &state, &[]);
    assert!(stderr(&refused).contains("is not empty"), "{}", stderr(&refused));
    assert_eq!(names(&state), ["mine"]);
    std::fs::remove_file(state.join("mine")).unwrap();

    // A backup that does not verify is not restored.
    let whole = std::fs::read(&file).unwrap();
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute("UPDATE events SET actor = 'x' WHERE seq = 2", [])
        .unwrap();
    let refused = restore(&file, &state, &[]);
    assert!(
        stderr(&refused).contains("commit 2 (events 2 to 2) failed verification"),
        "{}",
        stderr(&refused)
    );
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert!(!restore(&file, &state, &[]).status.success(), "half a file");
    std::fs::write(&file, "no database at all").unwrap();
    assert!(stderr(&restore(&file, &state, &[])).contains("not a "), "no database");
    let gone = restore(&dir.path().join("nothing"), &state, &[]);
    assert!(stderr(&gone).contains("nothing"), "{}", stderr(&gone));
    std::fs::write(&file, &whole).unwrap();
    let other = format!("2:{}", "0".repeat(64));
    let refused = restore(&file, &state, &["--expect", &other]);
    assert!(stderr(&refused).contains("the root of the tree is"), "{}", stderr(&refused));
    assert_eq!(names(&state), Vec::<String>::new(), "nothing is left of what failed");
    assert!(restore(&file, &state, &[]).status.success());

    // A log that does not verify is not backed up.
    let database = rusqlite::Connection::open(daemon.data_dir().join("kdaemon.db")).unwrap();
    database.execute("UPDATE events SET actor = 'x' WHERE seq = 2", []).unwrap();
    drop(database);
    let third = dir.path().join("third");
    let refused = backup(&daemon, &third, &[]);
    assert!(stderr(&refused).contains("the daemon's log failed verification"), "{}", stderr(&refused));
    assert!(!third.exists());
    signal(daemon.pid(), "TERM");
    daemon.ended().await;
    let refused = backup(&daemon, &third, &[]);
    assert!(stderr(&refused).contains("no answer from"), "{}", stderr(&refused));
    let leftovers: Vec<_> =
        names(dir.path()).into_iter().filter(|name| name.contains("kdaemon-backup")).collect();
    assert_eq!(leftovers, Vec::<String>::new());
}
