//! The program on RethinkDB: moving a log there, and a server that goes away.

use crate::program::{create_container, signal, stderr};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::rethinkdb::{Rethinkdb, Server, forget, settings};
use kdaemon::store::RethinkdbSettings;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The settings of the database as environment variables.
fn environment(settings: &RethinkdbSettings) -> [(String, String); 2] {
    let (host, port) = &settings.hosts[0];
    [
        ("KDAEMON_RETHINKDB_HOST".to_owned(), format!("{host}:{port}")),
        ("KDAEMON_RETHINKDB_DBNAME".to_owned(), settings.dbname.clone()),
    ]
}

async fn daemon_on(settings: &RethinkdbSettings) -> Daemon {
    let environment = environment(settings);
    let environment = environment.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    Daemon::start_with(&["--no-local"], &environment).await
}

#[track_caller]
fn succeeds(output: Output) -> Output {
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

/// Runs the program on the database.
fn on(settings: &RethinkdbSettings, arguments: &[&str], file: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdaemon"));
    command.args(arguments).args(file).envs(environment(settings));
    command.output().expect("it runs")
}

/// Runs the program on a data folder.
fn embedded(arguments: &[&str], file: Option<&Path>, data_dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdaemon"));
    command.args(arguments).args(file).arg("--data-dir").arg(data_dir);
    command.output().expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn stop(daemon: &mut Daemon) {
    signal(daemon.pid(), "TERM");
    assert_eq!(daemon.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program `rethinkdb`: scripts/test"]
async fn log_moves_to_rethinkdb_and_back_with_the_daemon() {
    let server = Rethinkdb::get();
    let settings = settings(server.address());
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name);

    let no_log = on(&settings, &["verify"], None);
    assert!(!no_log.status.success());
    assert!(stderr(&no_log).contains("there is no log in the database"), "{}", stderr(&no_log));

    let mut one = Daemon::start().await;
    for name in ["a", "b", "c"] {
        assert!(create_container(&one, name).await);
    }
    let before = one.get("/containers").await;
    stop(&mut one).await;
    let exported = succeeds(embedded(&["export"], Some(&file("up")), one.data_dir()));
    assert!(stderr(&exported).starts_with("exported "), "{}", stderr(&exported));
    let again = embedded(&["export"], Some(&file("up")), one.data_dir());
    assert!(!again.status.success() && stderr(&again).contains("already exists"), "{}", stderr(&again));
    succeeds(on(&settings, &["import"], Some(&file("up"))));
    let verified = |output: Output| stdout(&succeeds(output));
    assert_eq!(
        verified(embedded(&["verify"], None, one.data_dir())),
        verified(on(&settings, &["verify"], None))
    );

    let mut many = daemon_on(&settings).await;
    assert_eq!(many.get("/containers").await, before);
    assert!(create_container(&many, "d").await);
    let after = many.get("/containers").await;
    stop(&mut many).await;
    let rebuilt = stdout(&succeeds(on(&settings, &["rebuild"], None)));
    assert!(rebuilt.starts_with("rebuilt 4 rows"), "{rebuilt}");

    succeeds(on(&settings, &["export"], Some(&file("down"))));
    let back = files.path().join("back");
    succeeds(embedded(&["import"], Some(&file("down")), &back));
    succeeds(embedded(&["export"], Some(&file("same")), &back));
    assert_eq!(std::fs::read(file("down")).unwrap(), std::fs::read(file("same")).unwrap());
    let daemon = Daemon::start_on(&back).await;
    assert_eq!(daemon.get("/containers").await, after);
    forget(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program `rethinkdb`: scripts/test"]
async fn absent_server_stops_commands_and_nothing_else() {
    let mut server = Server::start();
    let settings = settings(server.address);
    let daemon = daemon_on(&settings).await;
    assert!(create_container(&daemon, "before").await);
    let create = async |name: &str| {
        let (status, _) = daemon.ask(Method::POST, "/containers/create", Some(json!({"name": name}))).await;
        status.as_u16()
    };
    for round in 0..2 {
        server.kill();
        let begun = Instant::now();
        assert_eq!(create(&format!("lost-{round}")).await, 503);
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        let rows: Value = daemon.get("/containers").await;
        assert_eq!(rows.as_array().unwrap().len(), 1 + round);
        tokio::task::block_in_place(|| server.restart());
        let name = format!("after-{round}");
        eventually("it writes again", async || (create(&name).await == 201).then_some(())).await;
    }
    let names: Vec<_> =
        daemon.get("/containers").await.as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    assert!(names.iter().all(|name| !name.as_str().unwrap().starts_with("lost")), "{names:?}");
    let verified = on(&settings, &["verify"], None);
    assert!(verified.status.success(), "{}", stderr(&verified));
}
