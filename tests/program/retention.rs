//! Retention, in a daemon that is killed at any moment of it.

use crate::program::{create_container, kdaemon, signal, stderr};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use serde_json::{Value, json};

/// No server listens here: each probe is an observation.
const NOBODY: &str = "tcp://127.0.0.1:1";

async fn events(daemon: &Daemon, query: &str) -> Vec<Value> {
    let page = daemon.get(&format!("/events?limit=10000{query}")).await;
    page["events"].as_array().unwrap().clone()
}

async fn status(daemon: &Daemon, path: &str) -> (u16, Value) {
    let (status, body) = daemon.ask(reqwest::Method::GET, path, None).await;
    (status.as_u16(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_observations_loses_no_state() {
    let quick = [
        ("KDAEMON_OBSERVATION_RETENTION", "1s"),
        ("KDAEMON_HEALTH_INTERVAL", "10ms"),
        ("KDAEMON_PROBE_RETRY_INTERVAL", "10ms"),
    ];
    let mut daemon = Daemon::start_with(&["--no-local"], &quick).await;
    for name in ["a", "b", "c"] {
        daemon.post("/nodes/create", json!({"name": name, "endpoint": NOBODY})).await;
        assert!(create_container(&daemon, name).await);
    }
    let first: Vec<_> = events(&daemon, "&kind=NodeObserved").await;
    let first = first[0]["seq"].as_u64().unwrap();
    let mut pruned = 0;
    for _ in 0..5 {
        // Killed while some are recorded as pruned, some are removed, and some are neither.
        pruned = eventually("more were pruned", async || {
            let recorded = events(&daemon, "&kind=ObservationsPruned").await;
            let count: u64 = recorded.iter().map(|event| event["data"]["count"].as_u64().unwrap()).sum();
            (count > pruned).then_some(count)
        })
        .await;
        daemon.kill();
        let verified = kdaemon(&["verify"], daemon.data_dir());
        assert!(verified.status.success(), "{}", stderr(&verified));
        daemon.begin().await;
    }
    eventually("the first one is gone", async || {
        (status(&daemon, &format!("/events/{first}")).await.0 == 410).then_some(())
    })
    .await;
    let (_, problem) = status(&daemon, &format!("/events/{first}")).await;
    assert!(problem["detail"].as_str().unwrap().contains("observation_retention"), "{problem}");
    let found = daemon.get("/audit/verify").await;
    assert_eq!(found["ok"], true, "{found}");

    // Everything but observations is still there, and few of those are left.
    let all = events(&daemon, "").await;
    let seqs: Vec<_> = all.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted() && !seqs.contains(&first));
    assert_eq!(all.iter().filter(|event| event["kind"] == "NodeMounted").count(), 3);
    assert_eq!(all.iter().filter(|event| event["kind"] == "ContainerCreated").count(), 3);
    assert_eq!(status(&daemon, "/events/999999999").await.0, 404);
    let history = daemon.get("/history/nodes/a").await;
    assert_eq!(history["events"][0]["kind"], "NodeMounted", "{history}");
    assert!(history["events"].as_array().unwrap().iter().any(|event| event["kind"] == "NodeUnhealthy"));
    for name in ["a", "b", "c"] {
        assert_eq!(daemon.get(&format!("/nodes/{name}")).await["state"], "DOWN");
    }

    // Folded again from the rest, the tables are as before.
    let rows = (daemon.get("/nodes").await, daemon.get("/containers").await);
    signal(daemon.pid(), "TERM");
    assert_eq!(daemon.ended().await, Some(0));
    let rebuilt = kdaemon(&["rebuild"], daemon.data_dir());
    assert!(rebuilt.status.success(), "{}", stderr(&rebuilt));
    let database = rusqlite::Connection::open(daemon.data_dir().join("tables.db")).unwrap();
    for (table, expected) in [("nodes", &rows.0), ("containers", &rows.1)] {
        let mut statement = database.prepare(&format!("SELECT json FROM {table} ORDER BY id")).unwrap();
        let found = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let found: Vec<Value> = found.map(|json| serde_json::from_str(&json.unwrap()).unwrap()).collect();
        assert_eq!(&json!(found), expected);
    }
}
