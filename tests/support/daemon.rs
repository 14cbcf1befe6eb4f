//! A real daemon: the program in its own process, used over HTTP as any client would.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // each test binary uses its own part

use super::{DEADLINE, eventually};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A running daemon. Killed when dropped.
pub(crate) struct Daemon {
    child: Option<Child>,
    data_dir: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// The address given at the start: a free port, until [`Daemon::keep_address`].
    bind: String,
    address: String,
    client: reqwest::Client,
    /// The stderr of all its starts.
    pub(crate) log: Arc<Mutex<String>>,
    _owned_dir: Option<tempfile::TempDir>,
}

impl Daemon {
    /// Starts a daemon on a new data folder, without the machine's engine.
    pub(crate) async fn start() -> Self {
        Self::start_with(&["--no-local"], &[]).await
    }

    pub(crate) async fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut daemon = Self {
            child: None,
            data_dir: dir.path().join("state"),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            bind: "127.0.0.1:0".to_owned(),
            address: String::new(),
            client: reqwest::Client::new(),
            log: Arc::default(),
            _owned_dir: Some(dir),
        };
        daemon.begin().await;
        daemon
    }

    /// Starts a daemon on a given data folder.
    pub(crate) async fn start_on(data_dir: &Path) -> Self {
        let mut daemon = Self {
            child: None,
            data_dir: data_dir.to_owned(),
            arguments: vec!["--no-local".to_owned()],
            environment: Vec::new(),
            bind: "127.0.0.1:0".to_owned(),
            address: String::new(),
            client: reqwest::Client::new(),
            log: Arc::default(),
            _owned_dir: None,
        };
        daemon.begin().await;
        daemon
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The command line that starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kdaemon"));
        command.args(["serve", "--bind", &self.bind, "--data-dir"]).arg(&self.data_dir);
        command.args(&self.arguments);
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it (again) and waits for the line with its address.
    pub(crate) async fn begin(&mut self) {
        let mut child = self.command().spawn().expect("the daemon starts");
        let stdout = child.stdout.take().expect("stdout");
        let mut stderr = child.stderr.take().expect("stderr");
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read) = stderr.read(&mut buffer) {
                if read == 0 {
                    break;
                }
                log.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        self.child = Some(child);
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line =
            tokio::time::timeout(DEADLINE, line).await.expect("it says where it listens").unwrap().unwrap();
        let Some(address) = line.trim().strip_prefix("kdaemon listens on ") else {
            panic!("it did not start: {line:?}\n{}", self.log.lock().unwrap());
        };
        self.address = address.to_owned();
    }

    /// Makes it listen on its current address in later starts, too.
    pub(crate) fn keep_address(&mut self) {
        self.bind = self.address.trim_start_matches("http://").to_owned();
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it was started and not killed since.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The process id, for signals.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Waits until it exits by itself. Returns its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let child = self.child.as_mut().expect("it runs");
        let status = eventually("the daemon ended", async || child.try_wait().unwrap()).await;
        self.child = None;
        status.code()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        if path.starts_with("//") {
            format!("{}{}", self.address, &path[1..])
        } else {
            format!("{}/0.0{path}", self.address)
        }
    }

    /// Sends a request. Returns the status and the JSON of the answer.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.client.request(method, self.url(path));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap_or_else(|error| {
            panic!("{path}: {error:?}\n{}", self.log.lock().unwrap());
        });
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, json)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, json) = self.ask(Method::GET, path, None).await;
        assert!(status.is_success(), "GET {path}: {status} {json}");
        json
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, json) = self.ask(Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "POST {path}: {status} {json}");
        json
    }

    /// Mounts an engine and waits until it is UP. Returns the node's id.
    pub(crate) async fn mount(&self, name: &str, endpoint: &str) -> String {
        let node = self.post("/nodes/create", serde_json::json!({"name": name, "endpoint": endpoint})).await;
        let id = node["id"].as_str().expect("an id").to_owned();
        self.until(&format!("/nodes/{name}"), "it is UP", |node| node["state"] == "UP").await;
        id
    }

    /// Waits until the answer to a GET satisfies a condition, and returns it.
    pub(crate) async fn until(&self, path: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let last = Mutex::new(Value::Null);
        let deadline = tokio::time::Instant::now() + DEADLINE * 2;
        loop {
            let (_, json) = self.ask(Method::GET, path, None).await;
            if condition(&json) {
                return json;
            }
            *last.lock().unwrap() = json;
            if tokio::time::Instant::now() > deadline {
                let last = last.lock().unwrap().clone();
                panic!(
                    "{path}: timed out waiting until {what}; last: {last:#}\n{}",
                    self.log.lock().unwrap()
                );
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits until `count` containers are UP.
    pub(crate) async fn until_all_up(&self, count: usize) -> Vec<Value> {
        let all = self
            .until("/containers", "all are UP", |all| {
                all.as_array()
                    .is_some_and(|all| all.len() == count && all.iter().all(|c| c["status"] == "UP"))
            })
            .await;
        all.as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn events(&self, query: &str) -> Vec<Value> {
        let page = self.get(&format!("/events?limit=10000&{query}")).await;
        page["events"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
