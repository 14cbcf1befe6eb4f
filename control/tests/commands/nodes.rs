//! Nodes: mounting, editing, cordons, drains, unmounting.

use crate::fixture::*;
use kdaemon_control::commands::{Command, MountNode, UpdateNode};
use kdaemon_events::container::ContainerRemoved;
use kdaemon_events::node::{Availability, NodeUpdated};
use kdaemon_events::{Endpoint, Generation};
use kdaemon_projections::Cluster;

fn cordon(name: &str) -> Command {
    Command::CordonNode(node(name))
}
fn uncordon(name: &str) -> Command {
    Command::UncordonNode(node(name))
}
fn drain(name: &str) -> Command {
    Command::DrainNode(node(name))
}
fn finish_drain(name: &str) -> Command {
    Command::FinishDrain(node(name))
}
const NAME_RULE: &str =
    "name: a name is printable text of 1 to 128 characters that neither begins nor ends with a space";

#[test]
fn node_is_mounted() {
    let mount = MountNode {
        availability: Availability::Active,
        user_id: Some("u1".into()),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        capacity: Some(3),
        ..mount("n1")
    };
    Given::cluster().when(Command::MountNode(mount)).then([
        r#"NodeMounted capacity=3 endpoint=tcp://n1:2375 labels={"zone":"a"} name=n1 node=n1 user=u1"#,
    ]);
}

#[test]
fn nameless_node_is_named_after_its_host_or_local() {
    let by_host = MountNode { name: None, endpoint: endpoint("10.0.0.7"), ..mount("x") };
    Given::cluster()
        .when(Command::MountNode(by_host))
        .then([r"NodeMounted endpoint=tcp://10.0.0.7:2375 labels={} name=10.0.0.7 node=10.0.0.7"]);
    let socket: Endpoint = "unix:///run/docker.sock".parse().unwrap();
    let by_socket = MountNode { name: None, endpoint: socket, ..mount("x") };
    Given::cluster()
        .when(Command::MountNode(by_socket))
        .then([r"NodeMounted endpoint=unix:///run/docker.sock labels={} name=local node=local"]);
}

#[test]
fn names_have_limits() {
    let named = |name: &str| {
        let mount = MountNode { name: Some(name.into()), ..mount("x") };
        Given::cluster().when(Command::MountNode(mount))
    };
    for bad in ["", " a", "a ", "\t", "a\nb", "a\0b", &"x".repeat(129)] {
        named(bad).then_refused(NAME_RULE);
    }
    for good in ["a", "ä ö", &"x".repeat(128), &"ü".repeat(128), "a/b", "héllo wörld"] {
        named(good).then_kinds(["NodeMounted"]);
    }
}

#[test]
fn name_that_looks_like_an_id_is_refused() {
    let an_id = "018f6b1e-7a3c-7000-8000-000000000001";
    for name in
        [an_id.to_owned(), an_id.replace('-', ""), format!("{{{an_id}}}"), format!("urn:uuid:{an_id}")]
    {
        let mount = MountNode { name: Some(name), ..mount("x") };
        Given::cluster()
            .when(Command::MountNode(mount))
            .then_refused("name: a name must not look like an id");
    }
}

#[test]
fn node_names_are_unique() {
    let given = || Given::cluster().node("a");
    let same_name = MountNode { endpoint: endpoint("b"), ..mount("a") };
    given().when(Command::MountNode(same_name)).then_refused("there is a node `a` already");
}

#[test]
fn update_event_has_changed_fields_only() {
    let given = || Given::cluster().node("a").capacity(3).node("b");
    let update = UpdateNode {
        name: Some("z".into()),
        user_id: Some(Some("u".into())),
        endpoint: Some(endpoint("z")),
        labels: Some([("gpu".to_owned(), String::new())].into()),
        capacity: Some(None),
        ..update_node("a")
    };
    given()
        .when(Command::UpdateNode(update))
        .then([r#"NodeUpdated capacity=null endpoint=tcp://z:2375 labels={"gpu":""} name=z node=a user=u"#]);
    let as_it_is = UpdateNode {
        name: Some("a".into()),
        user_id: Some(None),
        endpoint: Some(endpoint("a")),
        labels: Some([].into()),
        capacity: Some(Some(3)),
        ..update_node("a")
    };
    given().when(Command::UpdateNode(as_it_is)).then_nothing();
    let of_use = UpdateNode { availability: Some(Availability::Active), ..update_node("a") };
    given().when(Command::UpdateNode(of_use.clone())).then_nothing();
    let cordoned =
        UpdateNode { name: Some("z".into()), availability: Some(Availability::Cordoned), ..update_node("a") };
    given().when(Command::UpdateNode(cordoned)).then(["NodeUpdated name=z node=a", "NodeCordoned node=a"]);
    let draining = UpdateNode { availability: Some(Availability::Draining), ..update_node("a") };
    given()
        .when(Command::UpdateNode(draining))
        .then(["NodeDrainStarted node=a then_unmount=false", "NodeDrained node=a"]);
    given().when(Command::UpdateNode(update_node("a"))).then_nothing();
}

#[test]
fn update_keeps_names_unique() {
    let given = || Given::cluster().node("a").node("b");
    let update = UpdateNode { name: Some("b".into()), ..update_node("a") };
    given().when(Command::UpdateNode(update)).then_refused("there is a node `b` already");
    let update = UpdateNode { name: Some(String::new()), ..update_node("a") };
    given().when(Command::UpdateNode(update)).then_refused(NAME_RULE);
}

#[test]
fn name_of_an_unmounted_or_renamed_node_is_free() {
    let again = MountNode { endpoint: endpoint("other"), ..mount("a") };
    Given::cluster()
        .node("a")
        .when(unmount("a", false))
        .and_when(Command::MountNode(again.clone()))
        .then_kinds(["NodeMounted"]);
    let rename = UpdateNode { name: Some("z".into()), ..update_node("a") };
    Given::cluster()
        .node("a")
        .when(Command::UpdateNode(rename))
        .and_when(Command::MountNode(again))
        .then_kinds(["NodeMounted"]);
}

#[test]
fn commands_about_an_unknown_node_are_refused() {
    let unknown = "there is no node `78000000-0000-0000-0000-000000000001`";
    for command in [
        cordon("x"),
        uncordon("x"),
        drain("x"),
        finish_drain("x"),
        evacuate("x"),
        unmount("x", true),
        Command::UpdateNode(update_node("x")),
    ] {
        Given::cluster().node("a").when(command).then_refused(unknown);
    }
}

#[test]
fn cordon_and_uncordon_are_idempotent() {
    Given::cluster()
        .nodes(["a"])
        .when(cordon("a"))
        .then(["NodeCordoned node=a"])
        .and_when(cordon("a"))
        .then_nothing()
        .and_when(uncordon("a"))
        .then(["NodeUncordoned node=a"])
        .and_when(uncordon("a"))
        .then_nothing();
}

#[test]
fn cordon_stops_a_drain() {
    let then = Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a").draining("a");
    let then = then.when(cordon("a")).then(["NodeCordoned node=a"]);
    then.and_when(evacuate("a")).then_nothing();
}

#[test]
fn unmounting_node_can_be_uncordoned_but_not_cordoned() {
    let given = || Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a").unmounting("a");
    given().when(cordon("a")).then_refused("node `a` is being unmounted; uncordon it first to keep it");
    given().when(uncordon("a")).then(["NodeUncordoned node=a"]).and_when(finish_drain("a")).then_nothing();
}

#[test]
fn empty_node_is_drained_at_once() {
    Given::cluster()
        .nodes(["a"])
        .when(drain("a"))
        .then(["NodeDrainStarted node=a then_unmount=false", "NodeDrained node=a"])
        .because(["nothing", "NodeDrainStarted a"])
        .and_when(drain("a"))
        .then_nothing()
        .and_when(finish_drain("a"))
        .then_nothing();
}

#[test]
fn node_is_drained_once_nothing_of_ours_is_left() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a");
    let drained = given
        .when(drain("a"))
        .then(["NodeDrainStarted node=a then_unmount=false"])
        .and_when(finish_drain("a"))
        .then_nothing()
        .and_when(evacuate("a"))
        .then(["ContainerMigrationCommanded container=c from_generation=1 from_node=a generation=2 node=b \
             reason=drain start_first=true (0; a draining)"])
        .because(["NodeDrainStarted a"])
        .and_when(finish_drain("a"))
        .then_nothing()
        .and_it_serves("c", 2)
        .then_kinds(["ContainerReady", "ContainerMigrated"])
        .and_when(finish_drain("a"))
        .then_nothing()
        .and_when(Command::RecordRemoved(placement_id("c", 1), node("a")))
        .then(["ContainerRemoved container=c generation=1 node=a"])
        .and_when(finish_drain("a"))
        .then(["NodeDrained node=a"]);
    drained.because(["NodeDrainStarted a"]);
}

#[test]
fn later_moves_of_a_drain_have_it_as_their_cause() {
    let given = Given::cluster()
        .nodes(["a", "b"])
        .application("web")
        .running(["c1", "c2"], "a")
        .policy(|policy| policy.max_migrations = 1);
    given
        .when(drain("a"))
        .and_when(evacuate("a"))
        .then_kinds(["ContainerMigrationCommanded"])
        .and_it_serves("c1", 2)
        .and_when(evacuate("a"))
        .then_kinds(["ContainerMigrationCommanded"])
        .because(["NodeDrainStarted a"]);
}

#[test]
fn empty_node_is_unmounted_at_once() {
    Given::cluster().nodes(["a"]).when(unmount("a", false)).then(["NodeUnmounted node=a"]);
    Given::cluster().node("a").when(unmount("a", false)).then(["NodeUnmounted node=a"]);
}

#[test]
fn unmounting_a_node_with_containers_needs_force() {
    let given = || Given::cluster().nodes(["a"]).application("web");
    given().running(["c1", "c2"], "a").when(unmount("a", false)).then_refused(
        "node `a` has containers (c1, c2); drain it first, or unmount it with ?force=true so that they migrate",
    );
    given().running(["c1", "c2", "c3", "c4", "c5", "c6", "c7"], "a").when(unmount("a", false)).then_refused(
        "node `a` has containers (c1, c2, c3, c4, c5, 2 more); drain it first, or unmount it with ?force=true \
         so that they migrate",
    );
}

#[test]
fn forced_unmount_drains_a_working_node_first() {
    Given::cluster()
        .nodes(["a", "b"])
        .application("web")
        .running(["c"], "a")
        .when(unmount("a", true))
        .then(["NodeDrainStarted node=a then_unmount=true"])
        .and_when(unmount("a", true))
        .then_nothing()
        .and_when(evacuate("a"))
        .and_when(launched("c", 2))
        .and_when(Command::RecordRemoved(placement_id("c", 1), node("a")))
        .and_when(finish_drain("a"))
        .then(["NodeDrained node=a", "NodeUnmounted node=a"])
        .because(["NodeDrainStarted a", "NodeDrained a"]);
}

#[test]
fn forced_unmount_removes_containers_that_fit_nowhere_else() {
    let given = Given::cluster().nodes(["a"]).application("web").running(["c"], "a");
    given
        .when(unmount("a", true))
        .and_when(evacuate("a"))
        .then([
            "ContainerLaunchRequested container=c",
            "ContainerUnschedulable container=c reason=no node fits of 1: a draining",
        ])
        .because(["NodeDrainStarted a", "NodeDrainStarted a"])
        .and_when(finish_drain("a"))
        .then_nothing()
        .and_when(Command::RecordRemoved(placement_id("c", 1), node("a")))
        .and_when(finish_drain("a"))
        .then(["NodeDrained node=a", "NodeUnmounted node=a"]);
}

#[test]
fn forced_unmount_ends_when_its_node_fails_and_no_other_fits() {
    let given = Given::cluster().nodes(["a"]).application("web").running(["c"], "a").unmounting("a");
    given
        .node_down("a")
        .when(evacuate("a"))
        .then_kinds(["ContainerLaunchRequested", "ContainerUnschedulable"])
        .and_when(finish_drain("a"))
        .then(["NodeDrained node=a", "NodeUnmounted left=1 node=a"]);
}

#[test]
fn drained_node_keeps_containers_that_fit_nowhere_else() {
    let given = Given::cluster().nodes(["a"]).application("web").running(["c"], "a").draining("a");
    given.when(evacuate("a")).then_kinds(["ContainerUnschedulable"]);
}

#[test]
fn forced_unmount_waits_for_a_node_that_is_yet_to_be_probed() {
    let given =
        Given::cluster().nodes(["a"]).application("web").running(["c"], "a").unmounting("a").node("b");
    given.when(evacuate("a")).then_kinds(["ContainerUnschedulable"]);
}

#[test]
fn forced_unmount_gives_up_when_no_container_leaves_for_ten_minutes() {
    let given =
        || Given::cluster().nodes(["a", "b"]).application("web").running(["c1", "c2"], "a").unmounting("a");
    given().seconds_later(599).when(finish_drain("a")).then_nothing();
    let gave_up = given().seconds_later(600).when(finish_drain("a")).then(["NodeUnmounted left=2 node=a"]);
    assert_eq!(gave_up.container("c1").status().as_str(), "LAUNCHING");
    gave_up.because(["NodeDrainStarted a"]);
    // Each container that leaves starts the time over.
    let removed =
        ContainerRemoved { container_id: container("c1"), generation: Generation(1), node_id: node("a") };
    let given = given().seconds_later(599).event(removed).seconds_later(599);
    given.clone().when(finish_drain("a")).then_nothing();
    given.seconds_later(1).when(finish_drain("a")).then(["NodeUnmounted left=1 node=a"]);
    // A drain without an unmount has no such limit.
    let drained = Given::cluster().nodes(["a"]).application("web").running(["c"], "a").draining("a");
    drained.seconds_later(86_400).when(finish_drain("a")).then_nothing();
}

#[test]
fn drain_becomes_an_unmount_on_request() {
    let then = Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a").draining("a");
    let then = then.when(unmount("a", true)).then(["NodeDrainStarted node=a then_unmount=true"]);
    assert!(then.node("a").then_unmount);
}

#[test]
fn stopped_containers_are_removed_before_an_unmount() {
    Given::cluster()
        .nodes(["a"])
        .application("web")
        .container("c")
        .down_on("a")
        .when(unmount("a", false))
        .then(["NodeDrainStarted node=a then_unmount=true"])
        .and_when(Command::RecordRemoved(placement_id("c", 1), node("a")))
        .and_when(finish_drain("a"))
        .then(["NodeDrained node=a", "NodeUnmounted node=a"]);
}

#[test]
fn forced_unmount_of_a_down_node_moves_its_containers_at_once() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a");
    let unmounted = given.node_down("a").when(unmount("a", true)).then(["NodeUnmounted left=1 node=a"]);
    assert_eq!(unmounted.container("c").status().as_str(), "LAUNCHING");
    unmounted
        .and_when(place("c"))
        .then(["ContainerPlaced container=c generation=2 node=b (0)"])
        .because(["NodeUnmounted a"]);
}

#[test]
fn unmount_does_not_wait_for_an_unreachable_node() {
    Given::cluster()
        .nodes(["a"])
        .application("web")
        .container("c")
        .down_on("a")
        .unmounting("a")
        .node_down("a")
        .when(finish_drain("a"))
        .then(["NodeDrained node=a", "NodeUnmounted left=1 node=a"]);
}

#[test]
fn migrations_resume_when_the_failed_nodes_are_unmounted() {
    let given = Given::cluster().nodes(["a", "b", "c"]).application("web").running(["x"], "b");
    let given = given.node_down("a").node_down("b").paused();
    given
        .when(unmount("a", false))
        .then(["NodeUnmounted node=a", "MigrationsResumed nodes=2 unhealthy=1"])
        .because(["nothing", "NodeUnmounted a"])
        .and_when(evacuate("b"))
        .then_kinds(["ContainerMigrationCommanded"]);
}

#[test]
fn stopped_container_forgets_an_unmounted_node() {
    let given = Given::cluster().nodes(["a"]).application("web").container("c").down_on("a").node_down("a");
    let then = given.when(unmount("a", false)).then(["NodeUnmounted left=1 node=a"]);
    assert_eq!(then.container("c").status().as_str(), "DOWN");
    assert_eq!(then.container("c").placement, None);
}

#[test]
fn removal_is_recorded_once() {
    let then = Given::cluster().nodes(["a"]).application("web").container("c").down_on("a").event(
        ContainerRemoved { container_id: container("c"), generation: Generation(1), node_id: node("a") },
    );
    then.when(Command::RecordRemoved(placement_id("c", 1), node("a"))).then_nothing();
}

#[test]
fn unmounted_node_leaves_the_eligible_index() {
    use kdaemon_events::node::NodeUnmounted;
    let given = Given::cluster().nodes(["a", "b"]).application("web").running(["c"], "a");
    let given = given.event(NodeUnmounted { node_id: node("a"), left: 1, volumes: Vec::new() });
    let eligible: Vec<_> = given.cluster.eligible().by_count().map(|(_, id)| id).collect();
    assert_eq!(eligible, [node("b")]);
}

#[test]
fn engines_of_the_own_machine_are_remembered_after_their_unmount() {
    let socket: Endpoint = "unix:///run/docker.sock".parse().unwrap();
    let at_another_address = |endpoint| NodeUpdated {
        node_id: node("a"),
        name: None,
        user_id: None,
        endpoint: Some(endpoint),
        labels: None,
        capacity: None,
    };
    let then = Given::cluster()
        .node("a")
        .event(at_another_address(socket.clone()))
        .event(at_another_address(endpoint("c")))
        .when(unmount("a", false))
        .then(["NodeUnmounted node=a"]);
    let after = Cluster::from_bytes(&then.decision().cluster.to_bytes().unwrap()).unwrap();
    assert!(after.had_own_engine(&socket));
    assert!(!after.had_own_engine(&endpoint("a")), "the engine of another machine");

    let mounted =
        Given::cluster().node("local").when(unmount("local", false)).then(["NodeUnmounted node=local"]);
    assert!(mounted.decision().cluster.had_own_engine(&endpoint("local")));
}
