//! 40 containers launched on 4 real engines through the daemon, and the same 40 through the engines' own API.

use crate::figures::{Limit, Table, Value, median, progress};
use crate::http::Connection;
use crate::site::{CONTAINERS, ENGINES, Site};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The number of rounds; each figure is the median.
const ROUNDS: usize = 3;
/// Numbers of concurrent requests per engine without a daemon; the fastest of these is the peer.
const CONCURRENCIES: [usize; 3] = [2, 4, CONTAINERS / ENGINES];

/// Measures and enters the figures.
pub(crate) fn run(table: &mut Table) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let site = match runtime.block_on(Site::up()) {
        Ok(site) => site,
        Err(why) => return table.skip(&format!("no Docker engines can be started: {why}")),
    };
    let bare = BareEngine::new(&site);
    // The first containers of an engine take longer: warm up before both.
    runtime.block_on(site.scale(ENGINES));
    runtime.block_on(site.scale(0));
    let mut tries = Vec::new();
    for concurrency in CONCURRENCIES {
        let (launched, _) = bare.round(concurrency);
        progress(&format!(
            "launch: without a daemon, {concurrency} concurrent requests per engine: {}",
            Value::Time(launched)
        ));
        tries.push((launched, concurrency));
    }
    let (_, concurrency) = tries.iter().min().copied().expect("tries");
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let began = Instant::now();
        runtime.block_on(site.scale(CONTAINERS));
        let launched = began.elapsed();
        let began = Instant::now();
        runtime.block_on(site.scale(0));
        ours.push((launched, began.elapsed()));
        theirs.push(bare.round(concurrency));
        progress(&format!(
            "launch: round {round} of {ROUNDS}: kDaemon {}, without a daemon {}",
            Value::Time(launched),
            Value::Time(theirs[round - 1].0)
        ));
    }
    let launched = |rounds: &[(Duration, Duration)]| median(&rounds.iter().map(|r| r.0).collect::<Vec<_>>());
    let deleted = |rounds: &[(Duration, Duration)]| median(&rounds.iter().map(|r| r.1).collect::<Vec<_>>());
    table.figure(
        &format!("launch {CONTAINERS} containers on {ENGINES} engines"),
        Value::Time(launched(&ours)),
        Limit::RatioAtMost("bare engine API", Value::Time(launched(&theirs)), 1.3),
    );
    let (ours, theirs) = (Value::Time(deleted(&ours)), Value::Time(deleted(&theirs)));
    table.compared("delete them", ours, "bare engine API", theirs);
}

/// A client of the engines' own API, without a daemon.
struct BareEngine {
    engines: Vec<SocketAddr>,
    /// The body of the create request, like that of the daemon.
    order: String,
}

impl BareEngine {
    fn new(site: &Site) -> Self {
        let address = |number| {
            let endpoint = site.cluster.endpoint(number).to_string();
            endpoint.trim_start_matches("tcp://").parse().expect("an address")
        };
        let order = json!({
            "Image": site.image,
            "Labels": {"bench": "launch", "bench.id": "0197f3a2-7d3c-7b1e-9a55-5d1c2f3e4a5b"},
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": ""}]}, "RestartPolicy": {"Name": "no"}},
        });
        Self { engines: (1..=ENGINES).map(address).collect(), order: order.to_string() }
    }

    /// Launches all containers and deletes them again; returns the durations of both.
    fn round(&self, concurrency: usize) -> (Duration, Duration) {
        let began = Instant::now();
        let made = self.in_parallel(concurrency, |connection, number| {
            let made =
                ask(connection, "POST", &format!("/containers/create?name=bench-{number}"), &self.order);
            let id = made["Id"].as_str().expect("an id").to_owned();
            ask(connection, "POST", &format!("/containers/{id}/start"), "");
            let inspected = ask(connection, "GET", &format!("/containers/{id}/json"), "");
            assert_eq!(inspected["State"]["Running"], true, "{inspected}");
        });
        assert_eq!(made, CONTAINERS, "all were launched");
        let launched = began.elapsed();
        let began = Instant::now();
        self.in_parallel(concurrency, |connection, number| {
            ask(connection, "POST", &format!("/containers/bench-{number}/stop?t=10"), "");
            ask(connection, "DELETE", &format!("/containers/bench-{number}?force=true&v=true"), "");
        });
        (launched, began.elapsed())
    }

    /// Runs `work` for each container of each engine with `concurrency` threads per engine; returns the number of runs.
    fn in_parallel(&self, concurrency: usize, work: impl Fn(&mut Connection, usize) + Sync) -> usize {
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for engine in &self.engines {
                let next = std::sync::Arc::new(AtomicUsize::new(0));
                for _ in 0..concurrency {
                    let (next, done, work) = (std::sync::Arc::clone(&next), &done, &work);
                    scope.spawn(move || {
                        let mut connection = Connection::open(*engine).expect("the engine accepts");
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= CONTAINERS / ENGINES {
                                return;
                            }
                            work(&mut connection, number);
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            }
        });
        done.into_inner()
    }
}

fn ask(connection: &mut Connection, method: &str, path: &str, body: &str) -> serde_json::Value {
    let answer = connection.ask(method, path, body).expect("an answer");
    assert!(answer.is_success(), "{path}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
    answer.json()
}
