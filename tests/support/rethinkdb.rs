//! Real RethinkDB servers for tests.

use kdaemon::store::{RethinkdbSettings, RethinkdbStore};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(60);

/// The variable that names an existing server, `host:port`.
const SERVER: &str = "KDAEMON_TEST_RETHINKDB";

fn is_on_path() -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join("rethinkdb").is_file())
}

/// Settings for a database of its own on a server, with limits that a test can wait for.
pub(crate) fn settings(address: SocketAddr) -> RethinkdbSettings {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    RethinkdbSettings {
        hosts: vec![(address.ip().to_string(), address.port())],
        dbname: format!("test_{}_{number}", std::process::id()),
        ..RethinkdbSettings::default()
    }
}

/// A server that is there for one test: that of the environment, or one of its own.
pub(crate) enum Rethinkdb {
    /// An existing server.
    Theirs(SocketAddr),
    /// Ends with this.
    Ours(Server),
}

impl Rethinkdb {
    /// Whether there is one to be had.
    pub(crate) fn is_possible() -> bool {
        std::env::var_os(SERVER).is_some() || is_on_path()
    }

    /// Panics when there is none to be had.
    pub(crate) fn get() -> Self {
        match std::env::var(SERVER) {
            Ok(address) => Self::Theirs(address.parse().expect("host:port, the host by its address")),
            Err(_) => Self::Ours(Server::start()),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Theirs(address) => *address,
            Self::Ours(server) => server.address,
        }
    }

    /// A store in a new database. Call [`Self::forget`] with it when it is done.
    pub(crate) async fn store(&self) -> RethinkdbStore {
        RethinkdbStore::open(settings(self.address())).await.expect("the store opens")
    }
}

/// Drops a test's database on a server that others use, too.
pub(crate) async fn forget(settings: &RethinkdbSettings) {
    use futures_util::StreamExt as _;
    use reql::r;
    let (host, port) = &settings.hosts[0];
    let options = reql::cmd::connect::Options::new();
    let session = r.connect(r.args(((host.as_str(), *port), options))).await.expect("a session");
    let mut dropped = Box::pin(r.db_drop(settings.dbname.clone()).run::<_, serde_json::Value>(&session));
    let _ = dropped.next().await;
}

/// A server of our own. It is killed when this is dropped.
pub(crate) struct Server {
    /// Where clients reach it.
    pub(crate) address: SocketAddr,
    cluster: SocketAddr,
    name: String,
    join: Option<SocketAddr>,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Server {
    /// A server that is alone.
    pub(crate) fn start() -> Self {
        Self::start_as("alone", None)
    }

    /// Servers that know each other.
    pub(crate) fn cluster(count: usize) -> Vec<Self> {
        let first = Self::start_as("server1", None);
        let join = Some(first.cluster);
        let others: Vec<_> = (2..=count).map(|n| Self::start_as(&format!("server{n}"), join)).collect();
        std::iter::once(first).chain(others).collect()
    }

    fn start_as(name: &str, join: Option<SocketAddr>) -> Self {
        assert!(is_on_path(), "no `rethinkdb` on the PATH");
        let folder = tempfile::tempdir().expect("a folder");
        let (address, cluster) = (free_address(), free_address());
        let mut server = Self { address, cluster, name: name.to_owned(), join, folder, child: None };
        server.restart();
        server
    }

    /// Runs it (again), on its old data and its old ports.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let data = self.folder.path().join("data");
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a file");
        let mut command = Command::new("rethinkdb");
        command.arg("serve").arg("--directory").arg(&data);
        if !data.exists() {
            let mut create = Command::new("rethinkdb");
            create.args(["create", "--server-name", &self.name, "--directory"]).arg(&data);
            let output = create.output().expect("rethinkdb runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        command.args(["--driver-port", &self.address.port().to_string()]);
        command.args(["--cluster-port", &self.cluster.port().to_string()]);
        command.args(["--bind", "127.0.0.1", "--no-http-admin", "--no-update-check", "--cache-size", "100"]);
        if let Some(join) = self.join {
            command.args(["--join", &join.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log).spawn();
        self.child = Some(child.expect("rethinkdb runs"));
        let deadline = Instant::now() + START;
        while std::net::TcpStream::connect(self.address).is_err() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let child = self.child.as_mut().expect("it runs");
            let ended = child.try_wait().expect("its status");
            assert!(ended.is_none() && Instant::now() < deadline, "rethinkdb does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it without a warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Freezes it: it receives and sends nothing …
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// … until now.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A free address.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
