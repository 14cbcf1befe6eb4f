//! Transcripts of commands that need running containers.

use crate::cli::shell::Shell;
use crate::cli::transcript;
use crate::support::Cluster;
use crate::support::daemon::Daemon;

/// A daemon with two real engines, the nodes `a` and `b`.
async fn with_engines() -> (Cluster, Daemon) {
    let cluster = tokio::task::block_in_place(|| {
        let cluster = Cluster::up(2);
        cluster.image("kdaemon/web");
        cluster
    });
    let daemon = Daemon::start().await;
    daemon.mount("a", &cluster.endpoint(1).to_string()).await;
    daemon.mount("b", &cluster.endpoint(2).to_string()).await;
    (cluster, daemon)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn containers_transcript() {
    let (_cluster, daemon) = with_engines().await;
    transcript!(Shell::new(&daemon.url("//")), "containers");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn compose_apply_transcript() {
    let (_cluster, daemon) = with_engines().await;
    transcript!(Shell::new(&daemon.url("//")), "apply");
}
