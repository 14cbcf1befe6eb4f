//! How soon a lost node is noticed, and how soon all its containers run elsewhere, at default settings.

use crate::figures::{Limit, Table, Value, progress};
use crate::site::{CONTAINERS, ENGINES, Site, is_up};
use crate::support::Cluster;
use std::time::{Duration, Instant};

/// How often the daemon is asked how far it is.
const POLL: Duration = Duration::from_millis(10);

/// What happens to a node.
struct Loss {
    what: &'static str,
    /// Until all runs elsewhere; `None` where no limit is set.
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

/// Prints the figures.
pub(crate) fn run(table: &mut Table) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let Some(site) = Site::up().await else { return };
        progress(&format!("recovery: launching {CONTAINERS} containers"));
        site.scale(CONTAINERS).await;
        for (number, loss) in LOSSES.iter().enumerate() {
            site.until_even().await;
            progress(&format!("recovery: {}", loss.what));
            let (noticed, recovered) = lose(&site, number + 1, loss).await;
            let what = format!("{}: all {} containers UP elsewhere", loss.what, CONTAINERS / ENGINES);
            table.note(&format!("{}: noticed", loss.what), Value::Time(noticed));
            match loss.limit {
                Some(limit) => table.figure(&what, Value::Time(recovered), Limit::Below(Value::Time(limit))),
                None => table.note(&what, Value::Time(recovered)),
            }
            progress(&format!("recovery: {} is over, waiting until all is even again", loss.what));
            let began = Instant::now();
            (loss.end)(&site.cluster, number + 1);
            site.until_even().await;
            table.note(&format!("{}: back, and all even again", loss.what), Value::Time(began.elapsed()));
        }
    });
}

/// Loses a node. How long it took until the daemon said so, and until all containers were UP elsewhere; both
/// from the moment at which the loss was ordered.
async fn lose(site: &Site, number: usize, loss: &Loss) -> (Duration, Duration) {
    let node = site.daemon.get(&format!("/nodes/node-{number}")).await;
    let is_elsewhere = |container: &serde_json::Value| is_up(container) && container["node_id"] != node["id"];
    let began = Instant::now();
    (loss.begin)(&site.cluster, number);
    let mut noticed = None;
    loop {
        let node = site.daemon.get(&format!("/nodes/node-{number}")).await;
        if noticed.is_none() && node["state"] != "UP" {
            noticed = Some(began.elapsed());
        }
        let containers = site.containers().await;
        if containers.len() == CONTAINERS && containers.iter().all(is_elsewhere) {
            let recovered = began.elapsed();
            return (noticed.unwrap_or(recovered), recovered);
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{}: not recovered in 2 minutes", loss.what);
        tokio::time::sleep(POLL).await;
    }
}
