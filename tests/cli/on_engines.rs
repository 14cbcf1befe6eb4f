//! Transcripts of commands that need running containers.

use crate::cli::shell::Shell;
use crate::cli::transcript;
use crate::support::daemon::Daemon;
use crate::support::{Cluster, DEADLINE, eventually};

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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker engines: scripts/test"]
async fn followed_output_continues_with_the_next_generation_and_ends_with_the_container() {
    let (_cluster, daemon) = with_engines::<2>().await;
    let shell = Shell::new(&daemon.url("//"));
    let run = async |line: &str| {
        let (code, _, stderr) = shell.told(line).await;
        assert_eq!(code, 0, "{line}: {stderr}");
    };
    run("kdaemon apps add talker --image kdaemon/web -- sh -c 'echo begun; while :; do sleep 0.1; done'")
        .await;
    run("kdaemon containers add one --app talker --launch --wait").await;
    let from = daemon.get("/containers/one").await["node_id"].as_str().unwrap().to_owned();
    let read =
        |file: &str| std::fs::read_to_string(shell.folder.path().join("shop").join(file)).unwrap_or_default();
    // Each follower has files of its own: what an earlier one wrote is no sign that the next one reads yet.
    let follow = |follower: &str| {
        let line = format!("exec kdaemon containers logs -f one > output.{follower} 2> messages.{follower}");
        shell.command(&line).spawn().unwrap()
    };

    let mut followed = follow("1");
    eventually("the output is shown", async || (read("output.1") == "begun\n").then_some(())).await;
    run(&format!("kdaemon nodes drain {from} --wait=60s")).await;
    eventually("the next output is shown", async || (read("output.1") == "begun\nbegun\n").then_some(()))
        .await;
    run("kdaemon containers stop one --wait=60s").await;
    let status = tokio::time::timeout(DEADLINE, followed.wait()).await.expect("it ends with the container");
    assert!(status.unwrap().success());
    let to = daemon.get("/containers/one").await["node_id"].as_str().unwrap().to_owned();
    let node = daemon.get(&format!("/nodes/{to}")).await["name"].as_str().unwrap().to_owned();
    let messages = read("messages.1");
    let expected = format!("-- one: generation 2 on {node} --\n-- one: stopped");
    assert!(messages.starts_with(&expected) && messages.lines().count() == 2, "{messages}");

    run("kdaemon containers launch one --wait").await;
    let mut followed = follow("2");
    // The same container was started again, so its earlier output is there, too.
    eventually("the output is shown", async || (read("output.2") == "begun\nbegun\n").then_some(())).await;
    run("kdaemon containers rm one --wait=60s").await;
    let status = tokio::time::timeout(DEADLINE, followed.wait()).await.expect("it ends with the container");
    assert!(status.unwrap().success());
    assert_eq!(read("messages.2"), "-- one: deleted --\n");
}
