//! The daemon is killed with SIGKILL between every two steps of a launch and of a migration.
//!
//! A proxy between the daemon and each engine sees every request. A test names a request; the daemon is
//! killed before it reaches the engine, or after the engine carried it out and before the daemon gets the
//! answer. Then the daemon is started again, and everything must run exactly once.

use crate::cluster::Site;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
}

/// The request to wait for: the beginning of its request line, and a part of it.
type Step = (&'static str, &'static str);

#[derive(Default)]
struct Trap {
    armed: Mutex<Option<(Step, When)>>,
    sprung: AtomicBool,
    pid: Mutex<Option<u32>>,
}

impl Trap {
    fn matches(&self, chunk: &[u8], when: When) -> bool {
        let Some(((method, part), armed_when)) = *self.armed.lock().unwrap() else { return false };
        let text = String::from_utf8_lossy(chunk);
        armed_when == when
            && text
                .lines()
                .any(|line| line.starts_with(method) && line.contains(part) && line.ends_with("HTTP/1.1"))
    }

    fn spring(&self) {
        *self.armed.lock().unwrap() = None;
        if let Some(pid) = self.pid.lock().unwrap().take() {
            let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
            assert!(killed.success());
        }
        self.sprung.store(true, Ordering::SeqCst);
    }
}

/// Forwards connections to an engine. Returns the proxy's address.
async fn proxy(target: String, trap: Arc<Trap>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (target, trap) = (target.clone(), Arc::clone(&trap));
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(target).await else { return };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let after = Arc::new(AtomicBool::new(false));
                let (trap2, after2) = (Arc::clone(&trap), Arc::clone(&after));
                let up = tokio::spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                        if trap2.matches(&buffer[..read], When::Before) {
                            trap2.spring();
                            return;
                        }
                        if trap2.matches(&buffer[..read], When::After) {
                            after2.store(true, Ordering::SeqCst);
                        }
                        if to_server.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
                let mut buffer = vec![0; 65_536];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    if after.load(Ordering::SeqCst) && trap.armed.lock().unwrap().is_some() {
                        trap.spring();
                        break;
                    }
                    if to_client.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
                up.abort();
            });
        }
    });
    address
}

async fn through_proxies(engines: usize) -> (Site, Arc<Trap>) {
    let mut site = Site::with_engines(engines).await;
    // Another daemon, with its own log, that reaches the engines through proxies.
    site.daemon = Daemon::start().await;
    let trap = Arc::new(Trap::default());
    for number in 1..=engines {
        let target = site.cluster.endpoint(number).to_string().replace("tcp://", "");
        let address = proxy(target, Arc::clone(&trap)).await;
        site.daemon.mount(&format!("node-{number}"), &format!("tcp://{address}")).await;
    }
    let web = json!({"name": "web", "docker_image": site.image, "exposed_ports": "80"});
    site.daemon.post("/applications/create", web).await;
    (site, trap)
}

async fn killed_and_started_again(site: &mut Site, trap: &Trap, what: &str) {
    eventually(&format!("the daemon is killed {what}"), async || {
        trap.sprung.swap(false, Ordering::SeqCst).then_some(())
    })
    .await;
    site.daemon.kill();
    site.daemon.begin().await;
}

const STEPS_OF_A_LAUNCH: &[Step] =
    &[("GET", "/images/"), ("POST", "/containers/create"), ("POST", "/start"), ("GET", "/json")];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn kill_at_any_step_of_a_launch_runs_the_container_once() {
    let (mut site, trap) = through_proxies(1).await;
    for (number, step) in STEPS_OF_A_LAUNCH.iter().enumerate() {
        for when in [When::Before, When::After] {
            let name = format!("c-{number}-{when:?}");
            let made =
                site.daemon.post("/containers/create", json!({"name": name, "application_id": "web"})).await;
            let id = made["id"].as_str().unwrap().to_owned();
            *trap.pid.lock().unwrap() = Some(site.daemon.pid());
            *trap.armed.lock().unwrap() = Some((*step, when));
            // It may be killed before it answers: what was not acknowledged may or may not have happened.
            let launch = reqwest::Client::new().post(site.daemon.url(&format!("/containers/launch/{name}")));
            let acknowledged = launch.send().await.is_ok_and(|answer| answer.status().is_success());
            killed_and_started_again(&mut site, &trap, &format!("{when:?} {step:?}")).await;
            if !acknowledged {
                site.daemon.post(&format!("/containers/launch/{name}"), json!({})).await;
            }
            let path = format!("/containers/{name}");
            site.daemon.until(&path, "it is UP", |c| c["status"] == "UP").await;
            eventually("it runs exactly once", async || {
                (site.places(&id, 1..=1).await == (1, 1)).then_some(())
            })
            .await;
        }
    }
}

const STEPS_OF_A_MIGRATION: &[Step] =
    &[("POST", "/containers/create"), ("POST", "/start"), ("POST", "/stop"), ("DELETE", "/containers/")];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn kill_at_any_step_of_a_migration_runs_the_container_once() {
    let (mut site, trap) = through_proxies(2).await;
    let made = site.daemon.post("/containers/create", json!({"name": "c", "application_id": "web"})).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let mut container = site.daemon.post("/containers/launch/c?wait=30s", json!({})).await;
    for step in STEPS_OF_A_MIGRATION {
        for when in [When::Before, When::After] {
            let from = container["node_id"].as_str().unwrap().to_owned();
            *trap.pid.lock().unwrap() = Some(site.daemon.pid());
            *trap.armed.lock().unwrap() = Some((*step, when));
            let drain = reqwest::Client::new().post(site.daemon.url(&format!("/nodes/drain/{from}")));
            let acknowledged = drain.send().await.is_ok_and(|answer| answer.status().is_success());
            killed_and_started_again(&mut site, &trap, &format!("{when:?} {step:?}")).await;
            if !acknowledged {
                site.daemon.post(&format!("/nodes/drain/{from}"), json!({})).await;
            }
            container = site
                .daemon
                .until("/containers/c", "it is UP on the other node", |c| {
                    c["status"] == "UP" && c["node_id"] != from.as_str() && c["reason"].is_null()
                })
                .await;
            eventually("it runs exactly once", async || {
                (site.places(&id, 1..=2).await == (1, 1)).then_some(())
            })
            .await;
            site.daemon.post(&format!("/nodes/uncordon/{from}"), json!({})).await;
        }
    }
}
