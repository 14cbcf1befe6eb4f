//! The behaviour that scripts rely on: exit codes, output formats, pipes, following, and help.

use crate::cli::past::Double;
use crate::cli::shell::Shell;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use chrono::{DateTime, TimeDelta, Utc};
use clap::CommandFactory as _;
use kdaemon::journal::{Journal, Runtime, Submission};
use kdaemon::store::SqliteStore;
use kdaemon::store::prelude::*;
use kdaemon_control::commands::{Command, Policy};
use kdaemon_events::{Actor, ClusterId};
use serde_json::Value;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_distinct() {
    let daemon = Daemon::start().await;
    let shell = Shell::new(&daemon.url("//"));
    for (line, expected) in [
        ("kdaemon status", 0),
        ("kdaemon --version", 0),
        ("kdaemon apps add a --image x", 0),
        ("kdaemon frobnicate", 2),
        ("kdaemon nodes ls --frobnicate", 2),
        ("kdaemon apps edit a", 2),
        ("kdaemon --server ftp://x status", 2),
        ("kdaemon apps add a --image x", 3),
        ("kdaemon apps edit a --replicas 301", 3),
        ("kdaemon apply -f /no/such/file --yes", 3),
        ("kdaemon apps get b", 4),
        ("kdaemon containers logs b", 4),
        ("kdaemon apps rm a b", 4),
        ("kdaemon --server http://127.0.0.1:1 status", 5),
        ("KDAEMON_SERVER=http://127.0.0.1:1 kdaemon apps add b --image x", 5),
        ("kdaemon apps add c --image x --replicas 1 --wait=1s", 1), // no node to launch it on
    ] {
        let (code, stdout, stderr) = shell.told(line).await;
        assert_eq!(code, expected, "{line}: {stdout}{stderr}");
        assert_eq!(stderr.is_empty(), expected == 0 && !line.contains("add"), "{line}: {stderr}");
        if expected != 0 {
            assert_eq!(stdout, "", "{line}: messages go to stderr");
        }
    }
}

/// A clock that is an hour ahead.
struct Fast;

impl Runtime for Fast {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::hours(1)
    }
    fn random(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_relative_to_a_log_whose_clock_is_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).unwrap());
    let journal = Journal::open(store.clone(), Arc::new(Fast), Arc::new(Policy::default())).await.unwrap();
    let create = Command::CreateCluster(ClusterId(uuid::Uuid::now_v7()));
    journal.submit(Submission::new(create, Actor::Anonymous)).await.unwrap();
    journal.close().await;
    store.close().await;
    drop(store);

    let daemon = Daemon::start_on(folder.path()).await;
    let shell = Shell::new(&daemon.url("//"));
    let run = async |line: &str| {
        let (code, stdout, stderr) = shell.told(line).await;
        assert_eq!(code, 0, "{line}: {stderr}");
        stdout
    };
    run("kdaemon apps add web --image x").await;
    let status = run("kdaemon status").await;
    assert!(status.contains("s ahead of the daemon's machine"), "{status}");
    let ahead: u64 = run("kdaemon status -o json | jq .clock_ahead_seconds").await.trim().parse().unwrap();
    assert!((3_500..=3_600).contains(&ahead), "{ahead}");
    assert_eq!(run("kdaemon at now apps ls -o name").await, "web\n");
    assert_eq!(run("kdaemon events --since '5m ago' --kind ApplicationCreated -o name | wc -l").await, "1\n");
    assert_eq!(run("kdaemon events --since '0s ago' -n all -o name").await, "");
    // Without the difference the application would be from the future, which is shown as `now`.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let row = run("kdaemon apps ls").await;
    assert!(row.contains("s ago"), "{row}");
    let event = run("kdaemon events --kind ApplicationCreated").await;
    assert!(event.contains("s ago"), "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_daemon_is_reported_in_one_line() {
    let shell = Shell::new("http://127.0.0.1:1");
    std::fs::write(shell.folder.path().join("shop/c.yml"), "services: {a: {image: x}}").unwrap();
    for command in [
        "status",
        "nodes ls",
        "nodes add tcp://x:1",
        "apps get a",
        "apps edit a --env A=1",
        "apps scale a 1",
        "containers logs -f a",
        "containers stats a",
        "containers history a",
        "events",
        "events -f",
        "event 1",
        "at 1 nodes ls",
        "diff 1",
        "replay",
        "rebalance",
        "rebalance --wait",
        "apply -f c.yml --yes",
    ] {
        let (code, stdout, stderr) = shell.told(&format!("kdaemon {command}")).await;
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (5, "", 1), "{command}: {stderr}");
        assert!(stderr.starts_with("kdaemon: no answer from http://127.0.0.1:1: "), "{command}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_yaml_and_names_are_machine_readable() {
    let daemon = Daemon::start().await;
    let shell = Shell::new(&daemon.url("//"));
    // Names with a meaning in YAML, in shells or for terminals.
    let names = ["true", "1.50", "a: b", "- x", "ü ☃", "#no", "multi\u{2028}line", "'q'", "null"];
    for name in names {
        daemon.post("/applications/create", serde_json::json!({"name": name, "docker_image": "x"})).await;
    }
    let of = |rows: Value| -> Vec<String> {
        let rows = rows.as_array().expect("a list").clone();
        rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    };
    let (_, json, _) = shell.told("kdaemon apps ls -o json").await;
    assert_eq!(of(serde_json::from_str(&json).unwrap()), names);
    let (_, yaml, _) = shell.told("kdaemon apps ls -o yaml").await;
    assert_eq!(of(serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))), names);
    let (_, list, _) = shell.told("kdaemon apps ls -o name").await;
    assert_eq!(list.lines().collect::<Vec<_>>(), names);
    for name in names {
        let name = name.replace('\'', "'\\''");
        let (code, one, stderr) = shell.told(&format!("kdaemon apps get -o yaml -- '{name}'")).await;
        assert_eq!(code, 0, "{stderr}");
        let one: Value = serde_saphyr::from_str(&one).unwrap();
        let (_, same, _) = shell.told(&format!("kdaemon apps get -o json -- '{name}'")).await;
        assert_eq!(one, serde_json::from_str::<Value>(&same).unwrap());
    }
    for empty in ["nodes ls", "containers ls"] {
        assert_eq!(shell.told(&format!("kdaemon {empty} -o json")).await.1, "[]\n");
        assert_eq!(shell.told(&format!("kdaemon {empty} -o yaml")).await.1, "[]\n");
        assert_eq!(shell.told(&format!("kdaemon {empty} -o name")).await.1, "");
    }
    let (_, status, _) = shell.told("kdaemon status -o yaml").await;
    assert_eq!(
        serde_saphyr::from_str::<Value>(&status).unwrap()["applications"].as_array().unwrap().len(),
        names.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_output_ends_a_command_silently() {
    let double = Double::start().await;
    let shell = Shell::new(&format!("{}/large", double.address));
    for command in
        ["containers ls", "containers ls -o json", "containers ls -o yaml", "completions bash", "--help"]
    {
        let (code, stdout, stderr) =
            shell.told(&format!("kdaemon {command} | head -1; exit ${{PIPESTATUS[0]}}")).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{command}");
        assert_eq!(stdout.lines().count(), 1, "{command}");
    }
    let daemon = Daemon::start().await;
    for number in 0..50 {
        daemon.post("/containers/create", serde_json::json!({"name": format!("c-{number}")})).await;
    }
    let shell = Shell::new(&daemon.url("//"));
    let (code, _, stderr) = shell.told("kdaemon events -n all | head -1; exit ${PIPESTATUS[0]}").await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let closed =
        shell.told("kdaemon events -n all >&-; kdaemon nope 2>&-; kdaemon status 2>&- | wc -l").await;
    assert!(!closed.2.contains("panic"), "{}", closed.2);
}

fn lines_of(child: &mut Child) -> tokio::io::Lines<BufReader<tokio::process::ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_events_survive_restarts_without_gap_or_duplicate() {
    let mut daemon = Daemon::start().await;
    daemon.keep_address();
    let shell = Shell::new(&daemon.url("//"));
    let mut child = shell
        .command("exec kdaemon events -f -n 0 --kind ContainerCreated -o json")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = lines_of(&mut child);
    let mut number = 0;
    // The stream may not be established before the first event arrives.
    let first = loop {
        let name = format!("c-{number}");
        daemon.post("/containers/create", serde_json::json!({"name": name})).await;
        number += 1;
        let line = tokio::time::timeout(std::time::Duration::from_millis(200), lines.next_line()).await;
        if let Ok(Ok(Some(line))) = line {
            break serde_json::from_str::<Value>(&line).unwrap()["data"]["name"].as_str().unwrap().to_owned();
        }
    };
    let mut next: usize = first.trim_start_matches("c-").parse().unwrap();
    next += 1;
    for _ in 0..2 {
        daemon.kill();
        daemon.begin().await;
        for _ in 0..3 {
            daemon.post("/containers/create", serde_json::json!({"name": format!("c-{number}")})).await;
            number += 1;
        }
        while next < number {
            let line =
                tokio::time::timeout(crate::support::DEADLINE, lines.next_line()).await.expect("an event");
            let event: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
            assert_eq!(event["data"]["name"], format!("c-{next}"), "in order, each once");
            next += 1;
        }
    }
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_is_live_and_restores_the_terminal() {
    let daemon = Daemon::start().await;
    let shell = Shell::new(&daemon.url("//"));
    // `script` provides a terminal.
    let mut child = shell
        .command("exec script -qefc 'stty rows 24 cols 80; echo pid $$; exec kdaemon watch' /dev/null")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    let mut read_until = async |wanted: &str, seen: &mut String| {
        let deadline = tokio::time::Instant::now() + crate::support::DEADLINE;
        while !seen.contains(wanted) {
            let read = tokio::time::timeout_at(deadline, stdout.read(&mut buffer)).await;
            let read = read.unwrap_or_else(|_| panic!("timed out waiting for {wanted:?}: {seen}")).unwrap();
            assert!(read > 0, "output ended before {wanted:?}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    read_until("Containers: none", &mut seen).await;
    daemon
        .post("/applications/create", serde_json::json!({"name": "hello-there", "docker_image": "x"}))
        .await;
    read_until("ApplicationCreated  hello-there", &mut seen).await;
    assert!(seen.contains("\u{1b}[?1049h"), "the alternate screen");
    let pid = seen.split("pid ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    read_until("\u{1b}[?25h\u{1b}[?1049l", &mut seen).await;
    let status = eventually("watch ended", async || child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_appear_only_on_terminals_without_no_color() {
    let double = Double::start().await;
    let shell = Shell::new(&double.address);
    let escape = '\u{1b}';
    assert!(!shell.told("kdaemon nodes ls").await.1.contains(escape), "a pipe has no colours");
    let coloured = shell.told("script -qefc 'TERM=xterm kdaemon nodes ls' /dev/null").await.1;
    assert!(coloured.contains("\u{1b}[31mDOWN"), "{coloured:?}");
    let plain = shell.told("script -qefc 'TERM=xterm NO_COLOR=1 kdaemon nodes ls' /dev/null").await.1;
    assert!(plain.contains("DOWN") && !plain.contains(escape), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_asks_for_confirmation_at_a_terminal() {
    let daemon = Daemon::start().await;
    let shell = Shell::new(&daemon.url("//"));
    std::fs::write(shell.folder.path().join("shop/c.yml"), "services: {a: {image: x, scale: 0}}").unwrap();
    for (answer, count) in [("n", 0), ("", 0), ("y", 1)] {
        let line = format!("(sleep 0.5; echo {answer}) | script -qefc 'kdaemon apply -f c.yml' /dev/null");
        let (code, stdout, _) = shell.told(&line).await;
        assert!(code == 0 && stdout.contains("Apply these changes? [y/N]"), "{stdout}");
        assert_eq!(daemon.get("/applications").await.as_array().unwrap().len(), count, "{answer}: {stdout}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_help_with_examples() {
    fn commands(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        for command in command.get_subcommands() {
            commands(command, &format!("{path} {}", command.get_name()), found);
        }
    }
    let mut found = Vec::new();
    commands(&kdaemon::cli::Cli::command(), "kdaemon", &mut found);
    assert!(found.len() > 40, "{found:?}");
    let shell = Shell::new("http://127.0.0.1:1");
    for command in found {
        let (code, stdout, stderr) = shell.told(&format!("{command} --help")).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{command}");
        assert!(stdout.contains("Usage: kdaemon") && stdout.contains("Example"), "{command}: {stdout}");
        assert!(stdout.lines().all(|line| line.chars().count() <= 130), "{command}: too wide");
    }
    let help = shell.told("kdaemon --help").await.1;
    assert!(help.contains("Exit codes:"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_work_in_each_shell() {
    let shell = Shell::new("http://127.0.0.1:1");
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, stderr) = shell.told(&format!("kdaemon completions {name}")).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{name}");
        assert!(script.contains("uncordon"), "{name}");
    }
    let (code, ..) = shell.told("bash -n <(kdaemon completions bash)").await;
    assert_eq!(code, 0);
}
