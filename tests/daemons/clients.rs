//! Many clients, daemons that die, servers that die and are cut off: nothing acknowledged is lost, nothing is
//! done twice.

use crate::daemons::Fleet;
use crate::support::DEADLINE;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CLIENTS: usize = 64;

/// The duration; longer for a soak test.
fn duration() -> Duration {
    let seconds = std::env::var("KDAEMON_TEST_FLEET_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(25))
}

/// The answers that a client received.
#[derive(Default)]
struct Record {
    /// Acknowledged names with their ids.
    acknowledged: BTreeMap<String, String>,
    /// Names without an answer: they may exist, once.
    unknown: Vec<String>,
}

/// Creates applications until the time is over, on one daemon after another. A request without an answer is
/// repeated under the same `Idempotency-Key`.
async fn client(
    number: usize,
    urls: Arc<Vec<String>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> Record {
    let http = reqwest::Client::builder().timeout(DEADLINE).build().unwrap();
    let mut record = Record::default();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return record;
        }
        let name = format!("app-{number}-{turn}");
        let body = json!({"name": name, "docker_image": "nginx", "is_enabled": false});
        let began = Instant::now();
        let mut tries = number + turn;
        loop {
            let url = &urls[tries % urls.len()];
            tries += 1;
            let request = http.post(format!("{url}/applications/create")).header("Idempotency-Key", &name);
            let answer = match request.json(&body).send().await {
                Ok(answer) => Some((answer.status(), answer.json::<Value>().await.unwrap_or_default())),
                Err(_) => None, // that daemon died
            };
            match answer {
                Some((StatusCode::CREATED | StatusCode::OK, body)) => {
                    record.acknowledged.insert(name, body["id"].as_str().expect("an id").to_owned());
                    done.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Some((StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, _)) | None => {
                    if began.elapsed() > DEADLINE {
                        record.unknown.push(name);
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Some((status, body)) => panic!("{name}: {status} {body}"),
            }
        }
    }
    record
}

/// The running clients of a fleet.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: JoinSet<Record>,
}

impl Load {
    fn on(fleet: &Fleet) -> Self {
        let urls = Arc::new(fleet.daemons.iter().map(|daemon| daemon.url("")).collect::<Vec<_>>());
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(client(number, Arc::clone(&urls), Arc::clone(&stop), Arc::clone(&done)));
        }
        Self { stop, done, clients }
    }

    /// Waits until `count` more commands were acknowledged.
    async fn more(&self, count: u64) {
        let wanted = self.done.load(Ordering::Relaxed) + count;
        let more = async {
            while self.done.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE * 2, more).await.expect("commands are acknowledged");
    }

    async fn end(self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Record::default();
        for record in self.clients.join_all().await {
            all.acknowledged.extend(record.acknowledged);
            all.unknown.extend(record.unknown);
        }
        all
    }
}

/// Every acknowledged application is in the log once, under its id, and on every daemon.
async fn check(fleet: &Fleet, record: &Record) {
    fleet.agree().await;
    let log = fleet.log(0).await;
    let mut created: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in log.iter().filter(|event| event["kind"] == "ApplicationCreated") {
        let (name, id) = (event["data"]["name"].as_str(), event["data"]["application_id"].as_str());
        created.entry(name.expect("a name")).or_default().push(id.expect("an id"));
    }
    for (name, id) in &record.acknowledged {
        assert_eq!(created.get(name.as_str()), Some(&vec![id.as_str()]), "{name} was acknowledged as {id}");
    }
    for name in &record.unknown {
        assert!(created.get(name.as_str()).is_none_or(|ids| ids.len() == 1), "{name} is there twice");
    }
    let known = record.acknowledged.len() + record.unknown.len();
    assert!(created.len() <= known, "more applications exist than were requested");
    for daemon in &fleet.daemons {
        let all = daemon.get("/applications").await;
        let all: BTreeMap<&str, &str> = all
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|row| Some((row["name"].as_str()?, row["id"].as_str()?)))
            .collect();
        assert!(record.acknowledged.iter().all(|(name, id)| all.get(name.as_str()) == Some(&id.as_str())));
        assert_eq!(all.len(), created.len());
    }
    fleet.verify();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program `rethinkdb`: scripts/test"]
async fn killing_leaders_loses_nothing_acknowledged() {
    let mut fleet = Fleet::start(1, 3).await;
    let load = Load::on(&fleet);
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() < duration() {
        load.more(200).await;
        let leader = fleet.leader().await;
        fleet.daemons[leader].kill();
        let killed = Instant::now();
        fleet.leader().await;
        eprintln!("leader killed; another led after {:.1} s", killed.elapsed().as_secs_f64());
        kills += 1;
        // On its old port, because clients know it by that.
        fleet.daemons[leader].keep_address();
        fleet.daemons[leader].begin().await;
        tokio::time::sleep(Duration::from_secs(10).saturating_sub(killed.elapsed())).await;
    }
    let record = load.end().await;
    eprintln!(
        "{kills} leaders killed in {:.0} s; {} commands acknowledged, {} without an answer",
        began.elapsed().as_secs_f64(),
        record.acknowledged.len(),
        record.unknown.len()
    );
    check(&fleet, &record).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program `rethinkdb`: scripts/test"]
async fn losing_a_database_server_loses_nothing() {
    let mut fleet = Fleet::start(3, 2).await;
    let load = Load::on(&fleet);
    load.more(200).await;
    fleet.servers[0].kill();
    load.more(200).await;
    fleet.servers[0].restart();
    load.more(200).await;
    // To the others a frozen server looks like one that is cut off: its connections exist, and nothing comes.
    fleet.servers[1].freeze();
    load.more(200).await;
    fleet.servers[1].thaw();
    load.more(200).await;
    let record = load.end().await;
    check(&fleet, &record).await;
}
