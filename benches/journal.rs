//! Durable commands over HTTP: the journal on SQLite against etcd, on the same disk, by the same load generator. The
//! duration of one fsync of that disk is measured alongside, without a limit: it says how much of a commit is the disk's.

use crate::figures::{Limit, Table, Value, median, median_number, progress};
use crate::http::{Connection, Request, post_as_fast_as_answered, post_one_after_another};
use crate::support::daemon::Daemon;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The number of rounds; each figure is the median over all of them.
const ROUNDS: usize = 5;
/// The number of concurrent clients of the throughput figure.
const CLIENTS: usize = 64;
/// Warm-up and measured time of each load.
const ALONE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1_500));
const TOGETHER: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));
/// The bytes of one fsync: what SQLite usually writes for one event, which is two pages with their headers in its WAL.
const SYNCED_BYTES: usize = 2 * 4_120;
/// The number of fsyncs per series; each round has two series.
const SYNCS: usize = 200;

/// Measures and enters the figures.
pub(crate) fn run(table: &mut Table) {
    // Both on the same disk; /tmp may be a tmpfs, target/ is not.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let etcd = match Etcd::start(dir.path()) {
        Ok(etcd) => etcd,
        Err(error) => {
            return table.skip(&format!("etcd does not start: {error}"));
        }
    };
    let daemon = runtime.block_on(Daemon::start_with(&["--no-local"], &[]));
    assert_same_disk(daemon.data_dir(), dir.path());
    let address: SocketAddr =
        daemon.url("//").trim_start_matches("http://").trim_end_matches('/').parse().expect("an address");

    let mut syncs = Vec::new();
    let (mut alone, mut etcd_alone) = (Vec::new(), Vec::new());
    let (mut together, mut etcd_together) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        progress(&format!("journal: round {round} of {ROUNDS}: one client"));
        syncs.extend(sync_times(dir.path()));
        let create = |clients: usize| {
            move |client: usize, number: usize| Request {
                path: "/0.0/containers/create".to_owned(),
                body: format!(r#"{{"name":"round-{round}-{clients}-client-{client:02}-{number:06}"}}"#),
            }
        };
        alone.extend(post_one_after_another(address, ALONE, create(1)));
        syncs.extend(sync_times(dir.path())); // before and after, because the speed of a disk varies
        etcd_alone.extend(post_one_after_another(etcd.address, ALONE, put(round)));
        progress(&format!("journal: round {round} of {ROUNDS}: {CLIENTS} clients"));
        together.push(post_as_fast_as_answered(address, CLIENTS, TOGETHER, create(CLIENTS)));
        etcd_together.push(post_as_fast_as_answered(etcd.address, CLIENTS, TOGETHER, put(round + 100)));
    }
    table.figure(
        &format!("journal: durable commands, {CLIENTS} clients over HTTP"),
        Value::PerSecond(median_number(&together)),
        Limit::RatioAtLeast("etcd", Value::PerSecond(median_number(&etcd_together)), 2.5),
    );
    table.figure(
        "journal: one durable command, one client over HTTP",
        Value::Time(median(&alone)),
        Limit::RatioAtMost("etcd", Value::Time(median(&etcd_alone)), 0.75),
    );
    let (alone, sync) = (Value::Time(median(&alone)), Value::Time(median(&syncs)));
    table.compared("  the same, compared with the disk", alone, "fsync", sync);
}

/// A put of about the size of the command that the daemon receives. etcd expects base64, which digits and letters are.
fn put(round: usize) -> impl Fn(usize, usize) -> Request {
    move |client, number| Request {
        path: "/v3/kv/put".to_owned(),
        body: format!(r#"{{"key":"{round:04}{client:04}{number:08}","value":"dmFsdWU0"}}"#),
    }
}

/// The durations of appending and syncing as many bytes as a commit of one event writes.
fn sync_times(dir: &Path) -> Vec<Duration> {
    let mut file = std::fs::File::create(dir.join("synced")).expect("a file");
    let event = vec![b'e'; SYNCED_BYTES];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&event).expect("room on the disk");
        file.sync_data().expect("a disk that syncs");
        times.push(began.elapsed());
    }
    times
}

fn assert_same_disk(one: &Path, other: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).expect("the folder").dev();
    assert_eq!(
        device(one),
        device(other),
        "{} and {} are on different disks: set TMPDIR to a folder on that of target/ (scripts/bench does)",
        one.display(),
        other.display()
    );
}

/// An etcd with one member. Dropping it kills the process.
struct Etcd {
    child: Child,
    address: SocketAddr,
}

impl Etcd {
    fn start(dir: &Path) -> std::io::Result<Self> {
        progress("journal: starting etcd and a daemon");
        let (client, peer) = (free_address()?, free_address()?);
        let log = std::fs::File::create(dir.join("etcd.log"))?;
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.join("etcd"))
            .args([format!("--listen-client-urls=http://{client}")])
            .args([format!("--advertise-client-urls=http://{client}")])
            .args([format!("--listen-peer-urls=http://{peer}")])
            .args([format!("--initial-advertise-peer-urls=http://{peer}")])
            .args([format!("--initial-cluster=default=http://{peer}")])
            .args(["--logger=zap", "--log-level=error"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut etcd = Self { child, address: client };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !etcd.is_healthy() {
            if let Some(status) = etcd.child.try_wait()? {
                return Err(std::io::Error::other(format!("etcd exited: {status}")));
            }
            if Instant::now() > deadline {
                return Err(std::io::Error::other("etcd is not healthy after 30 s"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(etcd)
    }

    fn is_healthy(&self) -> bool {
        let healthy = || {
            let mut connection = Connection::open(self.address)?;
            let answer = connection.ask("GET", "/health", "")?;
            std::io::Result::Ok(answer.json()["health"] == "true")
        };
        healthy().unwrap_or(false)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free local address.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
