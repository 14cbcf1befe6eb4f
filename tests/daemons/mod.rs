//! Several daemons on one RethinkDB: processes of their own on a real server, spoken to over HTTP alone.

mod clients;
mod leaders;
mod on_engines;

use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::rethinkdb::Server;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// The servers of a RethinkDB cluster, and daemons on it.
struct Fleet {
    daemons: Vec<Daemon>,
    servers: Vec<Server>,
}

impl Fleet {
    async fn start(servers: usize, daemons: usize) -> Self {
        Self::start_with(servers, daemons, |_| Vec::new()).await
    }

    /// As [`Self::start`], with more variables for each daemon.
    async fn start_with(
        servers: usize,
        daemons: usize,
        more: impl Fn(usize) -> Vec<(&'static str, String)>,
    ) -> Self {
        let servers = tokio::task::spawn_blocking(move || Server::cluster(servers)).await.expect("servers");
        let hosts: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();
        let mut fleet = Self { daemons: Vec::new(), servers };
        for number in 0..daemons {
            let mut environment = vec![
                ("KDAEMON_STORE", "rethinkdb".to_owned()),
                ("KDAEMON_RETHINKDB_HOST", hosts.join(",")),
                ("KDAEMON_RETHINKDB_REPLICAS", fleet.servers.len().to_string()),
            ];
            environment.extend(more(number));
            let environment: Vec<_> =
                environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
            fleet.daemons.push(Daemon::start_with(&["--no-local"], &environment).await);
        }
        fleet
    }

    /// The readiness of a daemon, if it runs and answers.
    async fn readiness(&self, number: usize) -> Option<Value> {
        let daemon = &self.daemons[number];
        if !daemon.is_running() {
            return None;
        }
        let answer = reqwest::get(daemon.url("//readyz")).await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.json().await.ok()
    }

    /// Waits until one daemon, and no other, says that it leads.
    async fn leader(&self) -> usize {
        eventually("one daemon leads", async || {
            let mut leaders = Vec::new();
            for number in 0..self.daemons.len() {
                let readiness = self.readiness(number).await;
                if readiness.is_some_and(|readiness| readiness["role"] == "leader") {
                    leaders.push(number);
                }
            }
            (leaders.len() == 1).then(|| leaders[0])
        })
        .await
    }

    /// Waits until all daemons know the same, and all that is in the log. Returns the last event.
    async fn agree(&self) -> u64 {
        eventually("all daemons know the same", async || {
            let mut seqs = Vec::new();
            for number in 0..self.daemons.len() {
                let readiness = self.readiness(number).await?;
                (readiness["lag"] == 0).then_some(())?;
                seqs.push(readiness["seq"].as_u64()?);
            }
            // Probes continue: a few events may have come between the requests.
            let (least, most) = (*seqs.iter().min()?, *seqs.iter().max()?);
            (most - least < 20).then_some(least)
        })
        .await
    }

    /// The whole log as a daemon tells it: dense, and with terms that only grow.
    async fn log(&self, number: usize) -> Vec<Value> {
        let (mut log, mut after): (Vec<Value>, u64) = (Vec::new(), 0);
        loop {
            let page = self.daemons[number].get(&format!("/events?limit=10000&after={after}")).await;
            let events = page["events"].as_array().cloned().unwrap_or_default();
            log.extend(events);
            match page["next"].as_u64() {
                Some(next) => after = next,
                None => break,
            }
        }
        for (event, seq) in log.iter().zip(1_u64..) {
            assert_eq!(event["seq"], seq, "the log is dense");
        }
        let terms: Vec<u64> = log
            .iter()
            .filter(|event| event["kind"] == "LeaderElected")
            .filter_map(|event| event["data"]["term"].as_u64())
            .collect();
        assert!(terms.is_sorted_by(|one, next| one < next), "terms grow: {terms:?}");
        let time = |event: &Value| chrono::DateTime::parse_from_rfc3339(event["at"].as_str()?).ok();
        let times: Vec<_> = log.iter().map(|event| time(event).expect("a time")).collect();
        assert!(times.is_sorted(), "the time of the log never steps back");
        log
    }

    /// `kdaemon verify` on the database.
    fn verify(&self) {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_kdaemon"));
        verify.arg("verify").env("KDAEMON_STORE", "rethinkdb");
        verify.env("KDAEMON_RETHINKDB_HOST", self.servers[0].address.to_string());
        let output = verify.output().expect("kdaemon runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn signal(&self, number: usize, signal: &str) {
        let pid = self.daemons[number].pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }
}

/// Debian's libfaketime, which gives a process another clock.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib").filter_map(Result::ok);
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|path| path.exists()).expect("libfaketime: scripts/test installs it")
}
