//! Transcripts of commands that need running containers.

use crate::cli::shell::Shell;
use crate::cli::transcript;
use crate::support::Cluster;
use crate::support::daemon::Daemon;

/// A daemon with `COUNT` real engines, the nodes `a`, `b` and so on.
async fn with_engines<const COUNT: usize>() -> (Cluster, Daemon) {
    let cluster = tokio::task::block_in_place(|| {
        let cluster = Cluster::up(COUNT);
        cluster.image("kdaemon/web");
        cluster
    });
    let daemon = Daemon::start().await;
    for (number, name) in (1..=COUNT).zip(["a", "b", "c"]) {
        daemon.mount(name, &cluster.endpoint(number).to_string()).await;
    }
    (cluster, daemon)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn containers_transcript() {
    let (_cluster, daemon) = with_engines::<2>().await;
    transcript!(Shell::new(&daemon.url("//")), "containers");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn compose_apply_transcript() {
    let (_cluster, daemon) = with_engines::<2>().await;
    transcript!(Shell::new(&daemon.url("//")), "apply");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn drain_of_several_nodes_moves_each_container_once() {
    let (_cluster, daemon) = with_engines::<3>().await;
    let shell = Shell::new(&daemon.url("//"));
    let line =
        "kdaemon apps add web --image kdaemon/web --replicas 3 --wait && kdaemon nodes drain a b --wait";
    let (code, _, stderr) = shell.told(line).await;
    assert_eq!(code, 0, "{stderr}");
    let target = daemon.get("/nodes/c").await["id"].clone();
    let mut generations = Vec::new();
    for container in daemon.until_all_up(3).await {
        assert_eq!(container["node_id"], target, "{container}");
        generations.push(container["generation"].as_u64().unwrap());
    }
    generations.sort_unstable();
    assert_eq!(generations, [1, 2, 2]);
}
