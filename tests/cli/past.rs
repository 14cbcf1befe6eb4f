//! Reads at other points in history, against a server that responds as the API contract says and records the requests.

use crate::cli::shell::Shell;
use crate::cli::transcript;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock, Mutex};

/// A server with canned responses.
pub(crate) struct Double {
    pub(crate) address: String,
    /// Method, path with query, and body of each request.
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Double {
    pub(crate) async fn start() -> Self {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&asked));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, asked, task }
    }

    /// The requests since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

const NODE: &str = "01a20457-372f-7001-9cc2-72d4c79e721e";
const OTHER_NODE: &str = "01a20457-3768-7001-ad46-fed124506553";
const APPLICATION: &str = "01a20457-3a02-7002-8b1c-5f6e7d8c9b0a";
const CONTAINER: &str = "01a20457-3c1e-7003-a542-dc1fe934bb2d";

/// Number of containers in the large list.
pub(crate) const MANY: usize = 100_000;

fn node() -> Value {
    json!({"id": NODE, "name": "node-a", "endpoint": "tcp://10.0.0.1:2375", "container_count": 1, "state": "DOWN",
        "availability": "active", "reason": "no connection", "labels": {}, "capacity": null, "engine": null, "seq": 811})
}

fn application() -> Value {
    json!({"id": APPLICATION, "name": "old", "exposed_ports": "", "docker_image": "busybox", "dependencies": [],
        "is_enabled": true, "env_variables": "", "command": [], "entrypoint": [], "volumes": [], "networks": [], "labels": {},
        "restart_policy": "always", "resources": {}, "constraints": [], "update_policy": "manual", "shared_paths": [], "data": "keep", "preferences": [],
        "update": {"order": "start-first", "parallelism": 1, "min_ready": "5s", "max_failures": 2, "on_failure": "pause"},
        "anti_affinity": false, "affinity": [], "seq": 9})
}

fn container(number: usize) -> Value {
    json!({"id": CONTAINER, "node_id": NODE, "application_id": null, "name": format!("web-{number}"), "status": "UP",
        "env_variables": "", "balance": true, "access_link": null, "restarts": 0, "desired": "running", "generation": 3, "ports": [], "serving": true, "health": "none", "outdated": false, "seq": 820})
}

async fn answer(State(asked): State<Arc<Mutex<Vec<String>>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    asked.lock().unwrap().push(format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body)));
    let is_large = path.starts_with("/large/");
    let json = match path.trim_start_matches("/0.0").trim_start_matches("/large") {
        "/readyz" => {
            json!({"status": "ok", "seq": 812, "role": "leader", "term": 3, "leader": "a", "lag": 0})
        }
        "/nodes" => json!([node()]),
        "/applications" => json!([]),
        "/containers" if is_large => return large(),
        "/containers" => json!([container(1)]),
        "/nodes/node-a" => node(),
        "/why/containers/web-1" => {
            json!({"id": CONTAINER, "name": "web-1", "kind": "container", "seq": 820, "state": "UP",
            "sentences": ["web-1 is UP on node-b since 03:02:11 (2026-11-22), generation 3.",
                "It was moved by the rebalancer (event 812) because node-a is DOWN."],
            "steps": [{"seq": 815, "at": "2026-11-22T02:02:11Z", "kind": "ContainerLaunched",
                "actor": {"type": "reactor", "name": "launcher"}, "says": "It was launched on node-b.", "cause": 812, "because": [812]},
                {"seq": 812, "at": "2026-11-22T02:02:10Z", "kind": "ContainerMigrationCommanded",
                "actor": {"type": "reactor", "name": "rebalancer"}, "says": "It was moved.", "cause": 811, "because": [809, 810, 811]}]})
        }
        "/diff" if parts.uri.query().is_some_and(|query| query.contains("from=820")) => json!({
            "from": {"seq": 820, "at": "2026-11-22T02:10:00Z"}, "to": {"seq": 820, "at": "2026-11-22T02:10:00Z"},
            "nodes": {"added": [], "removed": [], "changed": []}, "applications": {"added": [], "removed": [], "changed": []},
            "containers": {"added": [], "removed": [], "changed": []}}),
        "/diff" => {
            json!({"from": {"seq": 1, "at": "2026-11-22T02:00:00Z"}, "to": {"seq": 820, "at": "2026-11-22T02:10:00Z"},
            "nodes": {"added": [{"id": NODE, "name": "node-a", "row": node(), "events": [3]}], "removed": [],
                "changed": [{"id": OTHER_NODE, "name": "node-b", "fields": {"state": {"from": "UP", "to": "DOWN"}}, "events": [811]}]},
            "applications": {"added": [], "removed": [{"id": APPLICATION, "name": "old", "row": application(), "events": [9]}], "changed": []},
            "containers": {"added": [], "removed": [], "changed": [{"id": CONTAINER, "name": "web-1", "events": [812, 815],
                "fields": {"node_id": {"from": OTHER_NODE, "to": NODE}, "seq": {"from": 5, "to": 815}, "generation": {"from": 2, "to": 3}}}]}})
        }
        "/replay" => {
            json!({"from": {"seq": 1, "at": "2026-11-22T02:00:00Z"}, "to": {"seq": 820, "at": "2026-11-22T02:10:00Z"},
            "policy": {"strategy": "binpack", "unhealthy_after": 3, "healthy_after": 2, "launch_attempts": 5,
                "restart_pause_max": "5m", "max_migrations": 4},
            "recorded": {"migrations": 9, "down_seconds": 12.5, "launches": 30, "failed": 1,
                "peak": [{"node": "node-a", "containers": 9}, {"node": "node-b", "containers": 3}],
                "imbalance": [{"at": "2026-11-22T02:00:00Z", "spread": 2}, {"at": "2026-11-22T02:05:00Z", "spread": 6}]},
            "replayed": {"migrations": 2, "down_seconds": 10, "launches": 23, "failed": 1,
                "peak": [{"node": "node-a", "containers": 12}], "imbalance": []},
            "differences": [{"at": "2026-11-22T02:01:00Z", "seq": 30, "says": "web-7 was placed on node-b; under this policy on node-a"},
                {"at": "2026-11-22T02:02:00Z", "seq": null, "says": "web-8 would not have moved"}],
            "differences_count": 1200})
        }
        path if path.contains(OTHER_NODE) && path.starts_with("/nodes/") => {
            json!({"id": OTHER_NODE, "name": "node-b"})
        }
        path if path.contains(NODE) && path.starts_with("/nodes/") => node(),
        _ => {
            let problem = json!({"type": "/problems/not-found", "title": "Not found", "status": 404, "detail": "there is no such thing",
                    "instance": path, "request_id": "r"});
            let mut response = Response::new(Body::from(problem.to_string()));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
    };
    let mut response = Response::new(Body::from(json.to_string()));
    response.headers_mut().insert("x-kdaemon-seq", 812.into());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// A list of many containers, sent in pieces.
fn large() -> Response {
    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let row = container(0).to_string();
        let rows = (0..MANY).map(|number| row.replace("web-0", &format!("web-{number}")));
        format!("[{}]", rows.collect::<Vec<_>>().join(",")).into_bytes()
    });
    // Split at any byte, as a network does.
    let pieces =
        TEXT.chunks(16_001).map(|piece| Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(piece)));
    Response::new(Body::from_stream(stream::iter(pieces)))
}

#[tokio::test(flavor = "multi_thread")]
async fn past_transcript() {
    let double = Double::start().await;
    transcript!(Shell::new(&double.address), "past");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_map_to_query_parameters() {
    let double = Double::start().await;
    let shell = Shell::new(&double.address);
    for (line, expected) in [
        ("kdaemon at 812 nodes ls -f state=UP", "GET /0.0/nodes?state=UP&seq=812 "),
        (
            "kdaemon at 2026-11-22T03:02:11+01:00 nodes get node-a",
            "GET /0.0/nodes/node-a?at=2026-11-22T02%3A02%3A11.000Z ",
        ),
        // The time zone of the shell is Berlin: UTC+1 in winter, UTC+2 in summer.
        ("kdaemon at '2026-11-22 03:02' nodes ls -o name", "GET /0.0/nodes?at=2026-11-22T02%3A02%3A00.000Z "),
        ("kdaemon at '2026-07-22 03:02' nodes ls -o name", "GET /0.0/nodes?at=2026-07-22T01%3A02%3A00.000Z "),
        ("kdaemon at 812 containers why web-1", "GET /0.0/why/containers/web-1?seq=812 "),
        ("kdaemon diff 1 2026-11-22T02:10:00Z", "GET /0.0/diff?from=1&to=2026-11-22T02%3A10%3A00.000Z "),
        (
            "kdaemon replay --from 1 --to 2026-11-22T02:10:00Z --strategy binpack --set unhealthy-after=5",
            r#"POST /0.0/replay {"from":1,"policy":{"strategy":"binpack","unhealthy_after":5},"to":"2026-11-22T02:10:00.000Z"}"#,
        ),
    ] {
        let (code, _, stderr) = shell.told(line).await;
        assert_eq!(code, 0, "{line}: {stderr}");
        let asked = double.asked();
        assert!(asked.iter().any(|request| request == expected), "{line}: {asked:#?}");
    }
    // All requests of one status refer to the same time, by the clock that the daemon has told first.
    let (code, ..) = shell.told("kdaemon at '10m ago' status").await;
    let mut asked = double.asked();
    assert_eq!((code, asked.remove(0).as_str(), asked.len()), (0, "GET /readyz ", 3), "{asked:?}");
    let times: std::collections::BTreeSet<_> =
        asked.iter().map(|request| request.split("?at=").nth(1)).collect();
    assert_eq!(times.len(), 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_are_read_completely() {
    let double = Double::start().await;
    let shell = Shell::new(&format!("{}/large", double.address));
    let (code, stdout, stderr) = shell.told("kdaemon containers ls -o json | jq length").await;
    assert_eq!((code, stdout.trim()), (0, "100000"), "{stderr}");
    let (_, stdout, _) = shell.told("kdaemon containers ls -o name | wc -l").await;
    assert_eq!(stdout.trim(), "100000");
    let (_, stdout, _) = shell.told("kdaemon containers ls | sed -n '2p;$p' | awk '{print $1, $3}'").await;
    assert_eq!(stdout, "web-0 node-a\nweb-99999 node-a\n", "sorted by number");
    let (_, stdout, _) = shell.told("kdaemon status | head -2 | tail -1").await;
    assert_eq!(stdout, "Nodes: 0 of 1 UP   Containers: 100000 UP\n");
}
