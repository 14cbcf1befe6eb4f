//! Data decides where containers run.

use crate::fixture::*;
use kdaemon_control::commands::Command;
use kdaemon_control::reconcile::{self, Act, Pacing, Task};
use kdaemon_events::container::{
    AnonymousVolume, ContainerLaunched, ContainerReady, ContainerStopRequested, MigrationReason,
};
use kdaemon_events::node::NodeMounted;
use kdaemon_events::{DataPolicy, Generation, NodeId, Volume};
use kdaemon_projections::PhaseKind;

fn volumes(texts: &[&str]) -> Vec<Volume> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Nodes a, b and c, and an application with these mounts.
fn with(mounts: &[&str]) -> Given {
    Given::cluster().nodes(["a", "b", "c"]).application("db").spec(|spec| spec.volumes = volumes(mounts))
}

/// `db-1` runs on b, and its image made an anonymous volume there.
fn with_anonymous_volume() -> Given {
    with(&[])
        .container("db-1")
        .placed_on("b")
        .event(ContainerLaunched {
            container_id: container("db-1"),
            generation: Generation(1),
            node_id: node("b"),
            engine_id: "e".into(),
            image_id: "i".into(),
            ports: Vec::new(),
            volumes: vec![AnonymousVolume { name: "f".repeat(64), target: "/data".into() }],
            access_link: None,
            health_check: false,
        })
        .event(ContainerReady { container_id: container("db-1"), generation: Generation(1) })
}

#[track_caller]
fn placed_on(then: &Then, name: &str) -> NodeId {
    then.container(name).placement.as_ref().map(|placement| placement.node_id).expect("it is placed")
}

fn due(given: &Given) -> Vec<Task> {
    let pacing = Pacing { rebalance_after: None };
    reconcile::due(&given.cluster, given.context.now, &pacing).tasks
}

#[test]
fn data_stays_on_its_node_whatever_happens_to_the_container() {
    for (what, given) in [
        ("a named volume", with(&["data:/data"]).container("db-1").up_on("b")),
        ("a bound path", with(&["/srv/db:/data"]).container("db-1").up_on("b")),
        ("an anonymous volume", with_anonymous_volume()),
    ] {
        // Its node is drained, or fails: it waits.
        let then = given.clone().draining("b").when(evacuate("b")).then_kinds(["ContainerUnschedulable"]);
        assert_eq!(placed_on(&then, "db-1"), node("b"), "{what}");
        let then = given.clone().node_down("b").when(evacuate("b")).then_kinds(["ContainerUnschedulable"]);
        assert_eq!(placed_on(&then, "db-1"), node("b"), "{what}");
        // Evening moves nothing of it.
        let full = given.clone().application("web").running(["w1", "w2", "w3"], "b");
        let moved = full.when(Command::Rebalance);
        assert!(moved.container("db-1").migrating.is_none(), "{what}");
        // An edit replaces it where its data is.
        let edited =
            given.clone().then_container("db-1").spec(|spec| spec.labels = [("a".into(), "b".into())].into());
        let then = edited.when(Command::RollApplication(application("db")));
        let then = then.then_kinds(["RolloutStarted", "ContainerMigrationCommanded"]);
        assert_eq!(placed_on(&then, "db-1"), node("b"), "{what}");
        // Another client removes it.
        let then =
            given.clone().when(Command::RecordMissing(placement_id("db-1", 1))).and_when(place("db-1"));
        assert_eq!(placed_on(&then, "db-1"), node("b"), "{what}");
        // Its node is unmounted by force: it comes up nowhere else.
        let gone = given.clone().node_down("b").when(unmount("b", true)).and_given();
        let then = gone.when(place("db-1")).then_kinds(["ContainerUnschedulable"]);
        assert_eq!(then.container("db-1").phase.kind(), PhaseKind::Waiting, "{what}");
    }
}

#[test]
fn application_may_discard_its_data() {
    let given =
        || with(&["data:/data"]).spec(|spec| spec.data = DataPolicy::Discard).container("db-1").up_on("b");
    given().draining("b").when(evacuate("b")).then_kinds(["ContainerMigrationCommanded"]);
    given().node_down("b").when(evacuate("b")).then_kinds(["ContainerMigrationCommanded"]);
    let gone = given().node_down("b").when(unmount("b", true)).and_given();
    gone.when(place("db-1")).then_kinds(["ContainerPlaced"]);
    // As long as its node works, the data counts.
    let full = given().application("web").running(["w1", "w2", "w3"], "b");
    assert!(full.when(Command::Rebalance).container("db-1").migrating.is_none());
}

#[test]
fn paths_that_are_shared_or_of_every_machine_bind_nothing() {
    for mount in [
        "/mnt/nfs/db:/data",
        "/mnt/nfs:/data",
        "/var/run/docker.sock:/d",
        "/etc/localtime:/l:ro",
        "/proc:/host/proc:ro",
    ] {
        let given = with(&[mount])
            .spec(|spec| spec.shared_paths = vec!["/mnt/nfs/".into()])
            .container("db-1")
            .up_on("b");
        given.node_down("b").when(evacuate("b")).then_kinds(["ContainerMigrationCommanded"]);
    }
    // A path whose name begins like a shared one is another path.
    let given = with(&["/mnt/nfs2:/data"]).spec(|spec| spec.shared_paths = vec!["/mnt/nfs".into()]);
    given
        .container("db-1")
        .up_on("b")
        .node_down("b")
        .when(evacuate("b"))
        .then_kinds(["ContainerUnschedulable"]);
}

#[test]
fn volume_outlives_its_container_and_its_application() {
    let given = with(&["data:/data"]).container("db-1").up_on("b");
    let given =
        given.when(delete("db-1")).and_when(Command::RecordRemoved(placement_id("db-1", 1), node("b")));
    let given = given.and_when(Command::DeleteApplication(application("db"))).and_given();
    // Another application that uses the same volume follows it.
    let given = given.application("db2").spec(|spec| spec.volumes = volumes(&["data:/elsewhere"]));
    let then = given.clone().container("x").when(launch("x"));
    assert_eq!(placed_on(&then, "x"), node("b"));
    // Or waits for it.
    given.node_down("b").container("x").when(launch("x")).then_refused(
        "no node fits of 3: a volumes_elsewhere{node=b,volume=data}; b down; c volumes_elsewhere{node=b,volume=data}",
    );
}

#[test]
fn replicas_share_a_volume_and_so_its_node() {
    let given = with(&["data:/data"]);
    let then = given.when(scale("db", 3));
    let nodes: Vec<_> =
        then.decision().cluster.containers().filter_map(|c| Some(c.placement.as_ref()?.node_id)).collect();
    assert_eq!(nodes, [nodes[0]; 3], "they are placed together before the volume is made");
}

#[test]
fn with_anti_affinity_each_node_has_a_volume_of_its_own() {
    let given = with(&["data:/data"]).spec(|spec| spec.anti_affinity = true);
    let given = given.container("db-1").up_on("a").container("db-2").up_on("b").container("db-3").up_on("c");
    // One goes; the next one takes the place where the volume is not in use.
    let given =
        given.when(delete("db-2")).and_when(Command::RecordRemoved(placement_id("db-2", 1), node("b")));
    let then = given.and_given().container("db-4").when(launch("db-4"));
    assert_eq!(placed_on(&then, "db-4"), node("b"));
}

#[test]
fn volumes_on_different_nodes_are_nowhere_together() {
    let given = with(&["one:/1"]).container("x").up_on("a");
    let given =
        given.application("two").spec(|spec| spec.volumes = volumes(&["two:/2"])).container("y").up_on("b");
    let given =
        given.application("both").spec(|spec| spec.volumes = volumes(&["one:/1", "two:/2"])).container("z");
    given.when(launch("z")).then_refused(
        "no node fits of 3: a volumes_elsewhere{node=a,volume=one}; b volumes_elsewhere{node=a,volume=one}; \
         c volumes_elsewhere{node=a,volume=one}",
    );
}

#[test]
fn machine_that_is_mounted_again_is_recognized_with_its_data() {
    let given = with(&["data:/data"]).container("db-1").up_on("b");
    let then = given
        .node_down("b")
        .when(unmount("b", true))
        .then(["NodeUnmounted left=1 node=b volumes=[\"data\"]"]);
    let given = then.and_given().event(NodeMounted {
        node_id: node("b2"),
        name: "b2".into(),
        user_id: None,
        endpoint: endpoint("b2"),
        labels: Default::default(),
        capacity: None,
    });
    let then = given.when(probe_with_facts("b2", facts("b"))).and_when(place("db-1"));
    assert_eq!(placed_on(&then, "db-1"), node("b2"));
}

#[test]
fn stopped_container_is_started_again_where_it_is() {
    let given = Given::cluster()
        .nodes(["a", "b"])
        .application("web")
        .running(["w1", "w2"], "b")
        .container("c")
        .down_on("b");
    let then = given.clone().when(launch("c")).then(["ContainerLaunchRequested container=c generation=1"]);
    assert_eq!(then.container("c").phase.kind(), PhaseKind::Restarting);
    let due = due(&then.and_given());
    assert_eq!(due, [Task::Act(Act::Start, placement_id("c", 1), node("b"))]);
    // Not where it cannot run, and not with an old specification.
    let full = given.clone().event(ContainerStopRequested {
        container_id: container("w1"),
        then_delete: false,
        volumes: false,
    });
    let cordoned = kdaemon_events::node::NodeCordoned { node_id: node("b") };
    let then =
        full.event(cordoned).when(launch("c")).then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
    assert_eq!(placed_on(&then, "c"), node("a"));
    let edited = given.spec(|spec| spec.command = vec!["true".into()]);
    edited.when(launch("c")).then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
}

#[test]
fn anonymous_volumes_are_deleted_only_when_a_person_says_so() {
    let given = with_anonymous_volume();
    let removed = Command::RecordRemoved(placement_id("db-1", 1), node("b"));
    let then = given.clone().when(delete("db-1")).and_when(removed.clone());
    then.then_kinds(["ContainerRemoved", "ContainerDeleted"]);
    let with_volumes = Command::DeleteContainer { container_id: container("db-1"), volumes: true };
    let then = given.when(with_volumes).and_when(removed).then_kinds(["ContainerRemoved"]);
    let given = then.and_given();
    assert_eq!(due(&given), [Task::Act(Act::RemoveVolumes, placement_id("db-1", 1), node("b"))]);
    let done = Command::RecordVolumesRemoved(container("db-1"), node("b"));
    given.clone().when(done).then_kinds(["VolumesRemoved", "ContainerDeleted"]);
    // Of a node that fails meanwhile the volumes stay.
    let given = given.node_down("b");
    assert_eq!(due(&given), [Task::FinishDelete(container("db-1"))]);
    given.when(Command::FinishDelete(container("db-1"))).then_kinds(["ContainerDeleted"]);
}

#[test]
fn replaced_container_with_data_stops_first() {
    let given = with_anonymous_volume().spec(|spec| spec.command = vec!["true".into()]);
    let then = given.when(Command::RollApplication(application("db")));
    let then = then.then_kinds(["RolloutStarted", "ContainerMigrationCommanded"]);
    assert!(!then.container("db-1").is_served_by_predecessor(), "two containers would write to one volume");
    assert_eq!(then.container("db-1").migrating, Some(MigrationReason::Update));
}
