//! The program as a process: its start, stop and kill, and its messages when it cannot work.

mod as_root;
mod backup;
mod on_engines;
mod retention;
mod rethinkdb;
mod webhook;

use crate::support::daemon::Daemon;
use crate::support::eventually;
use reqwest::Method;
use serde_json::json;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

fn kdaemon(arguments: &[&str], data_dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kdaemon"))
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .expect("it runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

async fn create_container(daemon: &Daemon, name: &str) -> bool {
    let (status, _) = daemon.ask(Method::POST, "/containers/create", Some(json!({"name": name}))).await;
    status == 201
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_without_configuration_with_its_log_in_the_state_folder() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let mut child = Command::new(env!("CARGO_BIN_EXE_kdaemon"))
        .args(["serve", "--no-local", "--bind", "127.0.0.1:0"])
        .env_clear()
        .env("XDG_STATE_HOME", &state)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    let address =
        line.trim().strip_prefix("kdaemon listens on ").expect("one line with the address").to_owned();
    assert_eq!(reqwest::get(format!("{address}/healthz")).await.unwrap().status(), 200);
    assert!(state.join("kdaemon/kdaemon.db").exists());
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_cleanly_on_sigterm_and_sigint_and_resumes() {
    let mut daemon = Daemon::start().await;
    for (number, name) in ["TERM", "INT"].iter().enumerate() {
        assert!(create_container(&daemon, &format!("c-{number}")).await);
        signal(daemon.pid(), name);
        assert_eq!(daemon.ended().await, Some(0), "after SIG{name}");
        daemon.begin().await;
        assert_eq!(daemon.get("/containers").await.as_array().unwrap().len(), number + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_daemon_on_the_same_data_folder_is_refused() {
    let daemon = Daemon::start().await;
    let output = daemon.command().output().unwrap();
    assert!(!output.status.success());
    assert!(stderr(&output).contains("another kdaemon uses the data folder"), "{}", stderr(&output));
    assert_eq!(stderr(&output).trim().lines().count(), 1, "one clear line: {}", stderr(&output));
}

#[test]
fn listening_beyond_loopback_needs_allow_unauthenticated() {
    let dir = tempfile::tempdir().unwrap();
    let output = kdaemon(&["serve", "--no-local", "--bind", "0.0.0.0:0"], dir.path());
    assert!(!output.status.success());
    assert!(stderr(&output).contains("allow_unauthenticated"), "{}", stderr(&output));
}

#[test]
fn silent_store_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap().to_string();
    drop(silent);
    for command in [&["serve", "--no-local"][..], &["verify"]] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_kdaemon"))
            .args(command)
            .env("KDAEMON_RETHINKDB_HOST", &host)
            .env("KDAEMON_DATA_DIR", dir.path())
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = stderr(&output);
        assert!(said.contains("the store is not available") && said.contains(&host), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn address_in_use_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let output = kdaemon(&["serve", "--no-local", "--bind", &address], dir.path());
    assert!(!output.status.success());
    assert!(stderr(&output).contains(&format!("cannot listen on {address}")), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_during_writes_loses_nothing_acknowledged() {
    let mut daemon = Daemon::start().await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for life in 0..4 {
        let url = daemon.url("/containers/create");
        let mut clients = Vec::new();
        for client in 0..8 {
            let (url, acknowledged) = (url.clone(), Arc::clone(&acknowledged));
            clients.push(tokio::spawn(async move {
                let http = reqwest::Client::new();
                for number in 0.. {
                    let name = format!("c-{life}-{client}-{number}");
                    match http.post(&url).json(&json!({"name": name})).send().await {
                        Ok(answer) if answer.status() == 201 => acknowledged.lock().unwrap().push(name),
                        _ => return,
                    }
                }
            }));
        }
        let enough = (life + 1) * 100;
        eventually("enough was written", async || {
            (acknowledged.lock().unwrap().len() >= enough).then_some(())
        })
        .await;
        daemon.kill();
        for client in clients {
            client.await.unwrap();
        }
        daemon.begin().await;
    }
    let all = daemon.get("/containers").await;
    let names: std::collections::BTreeSet<_> =
        all.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
    for name in acknowledged.lock().unwrap().iter() {
        assert!(names.contains(name), "{name} was acknowledged and is lost");
    }
    daemon.kill();
    let verified = kdaemon(&["verify"], daemon.data_dir());
    assert!(verified.status.success(), "{}", stderr(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_restores_tables_and_verify_finds_alterations() {
    let mut daemon = Daemon::start().await;
    for name in ["a", "b", "c"] {
        assert!(create_container(&daemon, name).await);
    }
    let rows = daemon.get("/containers").await;
    signal(daemon.pid(), "TERM");
    daemon.ended().await;
    let file = daemon.data_dir().join("tables.db");

    let table = || -> Vec<serde_json::Value> {
        let database = rusqlite::Connection::open(&file).unwrap();
        let mut statement = database.prepare("SELECT json FROM containers ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|json| serde_json::from_str(&json.unwrap()).unwrap()).collect()
    };
    assert_eq!(json!(table()), rows, "the projector has written what the API answers");
    rusqlite::Connection::open(&file).unwrap().execute("DELETE FROM containers", []).unwrap();
    let rebuilt = kdaemon(&["rebuild"], daemon.data_dir());
    assert!(rebuilt.status.success(), "{}", stderr(&rebuilt));
    assert_eq!(json!(table()), rows);

    // Dropped tables come back too, by a rebuild or by the daemon itself.
    rusqlite::Connection::open(&file).unwrap().execute("DROP TABLE containers", []).unwrap();
    let rebuilt = kdaemon(&["rebuild"], daemon.data_dir());
    assert!(rebuilt.status.success(), "{}", stderr(&rebuilt));
    assert_eq!(json!(table()), rows);
    rusqlite::Connection::open(&file).unwrap().execute("DROP TABLE containers", []).unwrap();
    daemon.begin().await;
    signal(daemon.pid(), "TERM");
    daemon.ended().await;
    assert_eq!(json!(table()), rows);

    // So does the whole file: missing, damaged, or of another program.
    for content in [None, Some("nonsense".repeat(1_000)), Some(String::new())] {
        std::fs::remove_file(&file).unwrap();
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let rebuilt = kdaemon(&["rebuild"], daemon.data_dir());
        assert!(rebuilt.status.success(), "{}", stderr(&rebuilt));
        assert_eq!(json!(table()), rows);
        assert!(kdaemon(&["verify"], daemon.data_dir()).status.success(), "the index is there again");
    }

    // So does a file whose damage shows only later: here in a page of the index.
    let mut pages = std::fs::read(&file).unwrap();
    let root: i64 = rusqlite::Connection::open(&file)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_master WHERE name = 'event_index'", [], |row| row.get(0))
        .unwrap();
    let page = usize::try_from(root - 1).unwrap() * 4_096;
    pages[page..page + 4_096].fill(0xa5);
    std::fs::write(&file, pages).unwrap();
    daemon.begin().await;
    assert!(create_container(&daemon, "d").await, "the log is not concerned");
    let (status, damaged) = daemon.ask(Method::GET, "/events?kind=ContainerCreated", None).await;
    assert_eq!(status, 500, "a lookup in the damaged page fails: {damaged}");
    assert!(damaged["detail"].as_str().unwrap().contains("restart the daemon"), "{damaged}");
    signal(daemon.pid(), "TERM");
    daemon.ended().await;
    daemon.begin().await;
    let found = daemon.get("/events?kind=ContainerCreated").await;
    assert_eq!(found["events"].as_array().unwrap().len(), 4, "the next start has rebuilt it");

    // The running daemon rebuilds, too.
    let server = daemon.url("").trim_end_matches("/0.0").to_owned();
    let mut rebuild = Command::new(env!("CARGO_BIN_EXE_kdaemon"));
    let rebuilt = rebuild.args(["rebuild", "--server", &server]).output().unwrap();
    assert!(rebuilt.status.success(), "{}", stderr(&rebuilt));
    assert!(String::from_utf8_lossy(&rebuilt.stdout).starts_with("rebuilt 4 rows from "));
    signal(daemon.pid(), "TERM");
    daemon.ended().await;
    assert_eq!(table().len(), 4);

    let verified = kdaemon(&["verify"], daemon.data_dir());
    assert!(verified.status.success());
    rusqlite::Connection::open(daemon.data_dir().join("kdaemon.db"))
        .unwrap()
        .execute("UPDATE events SET json = replace(json, '\"name\":\"b\"', '\"name\":\"x\"')", [])
        .unwrap();
    let verified = kdaemon(&["verify"], daemon.data_dir());
    assert!(!verified.status.success());
    assert!(stderr(&verified).contains("altered"), "{}", stderr(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_asks_a_running_daemon_and_checks_an_expected_head() {
    let mut daemon = Daemon::start().await;
    assert!(create_container(&daemon, "a").await);
    let server = daemon.url("").trim_end_matches("/0.0").to_owned();
    let ask = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_kdaemon"))
            .args(["verify", "--server", &server])
            .args(more)
            .output()
            .unwrap()
    };
    let verified = ask(&[]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    assert_eq!(stderr(&verified), "", "there is no bar where there is no terminal");
    let line = String::from_utf8(verified.stdout).unwrap();
    let kept = line.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(create_container(&daemon, "b").await);
    assert!(ask(&["--expect", &kept]).status.success());
    let verified = kdaemon(&["verify", "--expect", &kept], daemon.data_dir());
    assert!(verified.status.success(), "also while the daemon runs: {}", stderr(&verified));
    let (seq, root) = kept.split_once(':').unwrap();
    let other = format!("{seq}:{}", "0".repeat(64));
    for refused in [ask(&["--expect", &other]), kdaemon(&["verify", "--expect", &other], daemon.data_dir())] {
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            stderr(&refused).contains(&format!("up to event {seq} the root of the tree is {root}")),
            "{}",
            stderr(&refused)
        );
        assert_eq!(stderr(&refused).trim().lines().count(), 1);
    }
    for bad in ["x", "1", "0:00"] {
        assert!(!ask(&["--expect", bad]).status.success());
    }

    // A running daemon exports, too: the log until then, as an export from its folder afterwards.
    let folder = tempfile::tempdir().unwrap();
    let (of_daemon, of_folder) = (folder.path().join("daemon.jsonl"), folder.path().join("folder.jsonl"));
    let export = |file: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kdaemon"));
        command.arg("export").arg(file).args(["--server", &server]).output().unwrap()
    };
    let exported = export(&of_daemon);
    assert!(exported.status.success(), "{}", stderr(&exported));
    assert!(
        stderr(&exported).starts_with("exported 4 events in 4 commits; head 4:"),
        "{}",
        stderr(&exported)
    );
    assert_eq!(export(&of_daemon).status.code(), Some(3), "it is there already");

    daemon.kill();
    let file = of_folder.to_str().unwrap();
    let exported = kdaemon(&["export", file], daemon.data_dir());
    assert!(exported.status.success(), "{}", stderr(&exported));
    assert_eq!(std::fs::read(&of_daemon).unwrap(), std::fs::read(&of_folder).unwrap());
    for gone in [ask(&[]), export(&folder.path().join("none.jsonl"))] {
        assert_eq!(gone.status.code(), Some(5));
        assert!(stderr(&gone).contains("no answer from"), "{}", stderr(&gone));
    }
    // The remains of a crash are verified as they are, and nothing is written.
    let database = rusqlite::Connection::open(daemon.data_dir().join("kdaemon.db")).unwrap();
    database.execute("UPDATE events SET actor = 'no one' WHERE seq = 2", []).unwrap();
    drop(database);
    let verified = kdaemon(&["verify"], daemon.data_dir());
    assert!(!verified.status.success());
    assert!(stderr(&verified).contains("commit 2 (events 2 to 2)"), "{}", stderr(&verified));
}

#[test]
fn verify_and_rebuild_report_a_missing_log() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["verify", "rebuild"] {
        let output = kdaemon(&[command], dir.path());
        assert_eq!(output.status.code(), Some(4));
        assert!(stderr(&output).contains("there is no log in"), "{}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_foreign_files_are_refused_with_advice() {
    let mut daemon = Daemon::start().await;
    for number in 0..200 {
        assert!(create_container(&daemon, &format!("c-{number}")).await);
    }
    signal(daemon.pid(), "TERM");
    daemon.ended().await;
    let file = daemon.data_dir().join("kdaemon.db");
    let whole = std::fs::read(&file).unwrap();

    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let output = daemon.command().output().unwrap();
    assert!(!output.status.success());
    assert!(stderr(&output).contains("restore it from a backup"), "cut: {}", stderr(&output));

    std::fs::write(&file, "this is a shopping list, and not a short one at all\n".repeat(40)).unwrap();
    let output = daemon.command().output().unwrap();
    assert!(!output.status.success());
    assert!(stderr(&output).contains("not a database of kDaemon"), "no database: {}", stderr(&output));

    std::fs::remove_file(&file).unwrap();
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let output = daemon.command().output().unwrap();
    assert!(!output.status.success());
    assert!(stderr(&output).contains("another program"), "another's: {}", stderr(&output));

    std::fs::write(&file, &whole).unwrap();
    daemon.begin().await;
    assert_eq!(daemon.get("/containers").await.as_array().unwrap().len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_a_wrong_address_is_down_with_the_reason() {
    let daemon = Daemon::start().await;
    daemon.post("/nodes/create", json!({"name": "wrong", "d_ipaddr": "127.0.0.1", "d_port": "9"})).await;
    let node = daemon.until("/nodes/wrong", "it is DOWN", |n| n["state"] == "DOWN").await;
    assert!(node["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{node}");
}
