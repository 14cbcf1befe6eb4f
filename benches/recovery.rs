//! The time from the loss of a node until all its containers are UP on other nodes, at default settings.
//!
//! The parts come from the log: each is the time from the loss to an event. What lies between `placed` and `started` is the
//! engines' work; what lies before `decided` is the detection, which the probe settings bound.

use crate::figures::{Limit, Table, Value, progress};
use crate::site::{CONTAINERS, ENGINES, Site, is_up};
use crate::support::Cluster;
use chrono::{DateTime, Utc};
use kdaemon_events::node::ProbeOutcome;
use kdaemon_events::{Event, NodeId};
use serde_json::Value as Json;
use std::time::{Duration, Instant};

/// The interval at which the daemon is polled.
const POLL: Duration = Duration::from_millis(10);
/// The timeout of a recovery, after which the bench fails.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(120);

/// A way to lose a node.
struct Loss {
    what: &'static str,
    /// The limit of the whole recovery, if it has one.
    limit: Option<Duration>,
    begin: fn(&Cluster, usize),
    end: fn(&Cluster, usize),
}

const LOSSES: [Loss; 3] = [
    Loss {
        what: "engine killed",
        limit: Some(Duration::from_secs(5)),
        begin: Cluster::kill_engine,
        end: Cluster::start,
    },
    Loss { what: "link cut", limit: Some(Duration::from_secs(12)), begin: Cluster::cut, end: Cluster::heal },
    Loss { what: "machine without power", limit: None, begin: Cluster::kill, end: Cluster::start },
];

/// Measures and enters the figures.
pub(crate) fn run(table: &mut Table) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let site = match Site::up().await {
            Ok(site) => site,
            Err(why) => return table.skip(&format!("no Docker engines can be started: {why}")),
        };
        progress(&format!("recovery: launching {CONTAINERS} containers"));
        site.scale(CONTAINERS).await;
        for (number, loss) in LOSSES.iter().enumerate() {
            site.until_even().await;
            progress(&format!("recovery: {}", loss.what));
            let (parts, recovered) = lose(&site, number + 1, loss).await;
            let what = format!("{}: all {} containers UP elsewhere", loss.what, CONTAINERS / ENGINES);
            match loss.limit {
                Some(limit) => table.figure(&what, Value::Time(recovered), Limit::Below(Value::Time(limit))),
                None => table.note(&what, Value::Time(recovered)),
            }
            for (part, after) in parts.list() {
                table.note(
                    &format!("  {}, after: {part}", loss.what),
                    after.map_or("-".to_owned(), |t| Value::Time(t).to_string()),
                );
            }
            progress(&format!(
                "recovery: {} ends, waiting until all nodes have the same number of containers",
                loss.what
            ));
            let began = Instant::now();
            (loss.end)(&site.cluster, number + 1);
            site.until_even().await;
            table.note(&format!("{}: back, and all even again", loss.what), Value::Time(began.elapsed()));
        }
    });
}

/// The moments of a recovery; `None` until its event is found.
#[derive(Default)]
struct Moments {
    noticed: Option<DateTime<Utc>>,
    decided: Option<DateTime<Utc>>,
    placed: Option<DateTime<Utc>>,
    started: Option<DateTime<Utc>>,
}

/// The moments of a recovery, relative to the loss.
struct Parts {
    lost: DateTime<Utc>,
    moments: Moments,
}

impl Parts {
    fn list(&self) -> [(&'static str, Option<Duration>); 4] {
        let since = |moment: Option<DateTime<Utc>>| (moment? - self.lost).to_std().ok();
        let Moments { noticed, decided, placed, started } = self.moments;
        [
            ("noticed (first failed probe)", since(noticed)),
            ("decided (NodeUnhealthy)", since(decided)),
            ("placed (last ContainerMigrationCommanded)", since(placed)),
            ("started (last ContainerLaunched)", since(started)),
        ]
    }
}

/// Loses a node. Returns the parts of the recovery, and the time until all containers were UP elsewhere; all from the
/// moment at which the loss was ordered.
async fn lose(site: &Site, number: usize, loss: &Loss) -> (Parts, Duration) {
    let node = site.daemon.get(&format!("/nodes/node-{number}")).await;
    let node_id: NodeId = node["id"].as_str().and_then(|id| id.parse().ok()).expect("the id of the node");
    let is_elsewhere = |container: &Json| is_up(container) && container["node_id"] != node["id"];
    let head = site.daemon.get("/events?limit=1").await["head"].as_u64().expect("a head");
    let (lost, began) = (Utc::now(), Instant::now());
    (loss.begin)(&site.cluster, number);
    loop {
        let containers = site.containers().await;
        if containers.len() == CONTAINERS && containers.iter().all(is_elsewhere) {
            break;
        }
        assert!(
            began.elapsed() < RECOVERY_TIMEOUT,
            "{}: not recovered after {RECOVERY_TIMEOUT:?}",
            loss.what
        );
        tokio::time::sleep(POLL).await;
    }
    let recovered = began.elapsed();
    let events = site.daemon.events(&format!("after={head}")).await;
    (Parts { lost, moments: moments(&events, node_id) }, recovered)
}

/// Finds the moments at which `lost` was noticed, judged and replaced: the first of the failures, the last of the moves.
fn moments(events: &[Json], lost: NodeId) -> Moments {
    let mut moments = Moments::default();
    for json in events {
        let at: DateTime<Utc> =
            json["at"].as_str().and_then(|at| at.parse().ok()).expect("the time of an event");
        let kind = json["kind"].as_str().expect("the kind of an event");
        let version = json["v"].as_u64().and_then(|v| v.try_into().ok()).expect("the version of an event");
        let event = Event::decode(kind, version, &json["data"].to_string()).expect("an event");
        match event {
            Event::NodeObserved(observed)
                if observed.node_id == lost && matches!(observed.outcome, ProbeOutcome::Failed { .. }) =>
            {
                moments.noticed.get_or_insert(at);
            }
            Event::NodeUnhealthy(unhealthy) if unhealthy.node_id == lost => {
                moments.decided.get_or_insert(at);
            }
            Event::ContainerMigrationCommanded(commanded) if commanded.from_node_id == lost => {
                moments.placed = Some(at);
            }
            Event::ContainerLaunched(_) => moments.started = Some(at),
            _ => {}
        }
    }
    moments
}
