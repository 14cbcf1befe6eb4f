//! The choice of nodes, and the rejections of the others.

use crate::fixture::*;
use kdaemon_events::container::MigrationReason;
use kdaemon_events::node::NodeUpdated;
use kdaemon_events::{MilliCpus, Resources};

fn refused_for(given: Given, reason: &str) {
    given.container("c").when(launch("c")).then_refused(&format!("no node fits of {reason}"));
}

#[test]
fn ties_go_to_the_lowest_node_id() {
    let placed = Given::cluster().nodes(["b", "a", "c"]).application("web").container("x").when(launch("x"));
    placed.then([
        "ContainerLaunchRequested container=x",
        "ContainerPlaced container=x generation=1 node=a (0; b 0; c 0)",
    ]);
}

#[test]
fn node_takes_no_more_than_its_capacity() {
    let given = Given::cluster().node("a").up().capacity(1).application("web").running(["c1"], "a");
    refused_for(given, "1: a full{capacity=1}");
    // A stopped container does not count.
    let given = Given::cluster().node("a").up().capacity(1).application("web").container("c1").down_on("a");
    given.container("c").when(launch("c")).then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
}

#[test]
fn constraints_must_be_satisfied() {
    let given = |constraint: &str| {
        let given = Given::cluster().node("a").up().labelled("zone", "x").application("web");
        let constraint = constraint.parse().unwrap();
        given.spec(|spec| spec.constraints = vec![constraint])
    };
    for constraint in ["zone==y", "zone!=x", "gpu", "!zone"] {
        refused_for(given(constraint), &format!("1: a constraint{{constraint={constraint}}}"));
    }
    for constraint in ["zone==x", "zone!=y", "zone", "!gpu", "gpu!=1"] {
        let then = given(constraint).container("c").when(launch("c"));
        then.then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
    }
}

#[test]
fn fixed_port_is_assigned_once() {
    let given = || Given::cluster().nodes(["a"]).application("web").ports("8080:80").running(["c1"], "a");
    refused_for(given(), "1: a port_taken{container=c1,port=8080,protocol=tcp}");
    // A different protocol, a different port, and a port of the engine's choice do not clash.
    for text in ["8080:80/udp", "8081:80", "80"] {
        let given = given().application("other").ports(text).container("c");
        given.when(launch("c")).then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
    }
    // A stopped container does not hold its port.
    let given = given().then_container("c1").stopping().event(kdaemon_events::container::ContainerStopped {
        container_id: container("c1"),
        generation: None,
        exit_code: None,
    });
    given.container("c").when(launch("c")).then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
}

#[test]
fn port_is_taken_until_its_replaced_placement_is_removed() {
    use kdaemon_control::commands::Command;
    let given = Given::cluster().nodes(["a", "b"]).application("web").ports("8080:80").running(["c1"], "a");
    let given = given.moving_to("b", MigrationReason::Balance, true).launched();
    let given = given.container("c");
    given.clone().when(launch("c")).then_refused(
        "no node fits of 2: a port_taken{container=c1,port=8080,protocol=tcp}; \
         b port_taken{container=c1,port=8080,protocol=tcp}",
    );
    given
        .when(Command::RecordRemoved(placement_id("c1", 1), node("a")))
        .and_when(launch("c"))
        .then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
}

#[test]
fn reassigned_port_stays_when_a_stopped_container_returns() {
    use kdaemon_control::commands::Command;
    // c1 is stopped and c2 takes its port; c1 is launched elsewhere and its old placement removed.
    let given = Given::cluster().nodes(["a", "b"]).application("web").ports("8080:80");
    let given = given.container("c1").down_on("a").container("c2").up_on("a");
    let then = given.when(launch("c1")).then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
    assert_eq!(then.container("c1").placement.as_ref().unwrap().node_id, node("b"));
    let given = then.and_when(Command::RecordRemoved(placement_id("c1", 1), node("a"))).and_given();
    refused_for(
        given,
        "2: a port_taken{container=c2,port=8080,protocol=tcp}; b port_taken{container=c1,port=8080,protocol=tcp}",
    );
}

fn resources(given: Given, cpus: u64, memory_bytes: u64) -> Given {
    let (cpus, memory_bytes) = (Some(MilliCpus(cpus)), Some(memory_bytes));
    let resources = Resources { cpus, memory_bytes, ..Resources::default() };
    given.spec(|spec| spec.resources = resources)
}

/// Replaces what is reserved of the resources.
fn reserving(given: Given, cpus: u64, memory_bytes: u64) -> Given {
    given.spec(|spec| {
        spec.resources.reserved_cpus = Some(MilliCpus(cpus));
        spec.resources.reserved_memory_bytes = Some(memory_bytes);
    })
}

#[test]
fn reservations_fit_the_node() {
    let given = || Given::cluster().nodes(["a"]).application("web");
    let half = |given| resources(given, 2_500, 1_000_000_000).running(["c1"], "a");
    refused_for(half(given()), "1: a cpus{free_millicpus=1500,wanted_millicpus=2500}");
    let big = |given| resources(given, 100, 5_000_000_000).running(["c1"], "a");
    refused_for(big(given()), "1: a memory{free_bytes=3000000000,wanted_bytes=5000000000}");
    let all = resources(given(), 4_000, 8_000_000_000).container("c").when(launch("c"));
    all.then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
    refused_for(resources(given(), 4_001, 1), "1: a cpus{free_millicpus=4000,wanted_millicpus=4001}");
}

#[test]
fn reservation_counts_in_place_of_the_limit() {
    let given = || {
        let given = Given::cluster().nodes(["a"]).application("web");
        reserving(resources(given, 3_000, 6_000_000_000), 1_500, 3_000_000_000)
    };
    let two = given().running(["c1"], "a").container("c").when(launch("c"));
    two.then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
    refused_for(given().running(["c1", "c2"], "a"), "1: a cpus{free_millicpus=1000,wanted_millicpus=1500}");
    let little = |given| reserving(given, 1, 3_000_000_000);
    refused_for(
        little(given()).running(["c1", "c2"], "a"),
        "1: a memory{free_bytes=2000000000,wanted_bytes=3000000000}",
    );
    let nothing = reserving(given().running(["c1", "c2"], "a"), 0, 0).container("c").when(launch("c"));
    nothing.then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
    // An engine refuses a limit of more processors than it has, but not of more memory.
    refused_for(
        reserving(resources(given(), 4_001, 1), 1, 1),
        "1: a cpu_limit{engine_millicpus=4000,limit_millicpus=4001}",
    );
    let large = reserving(resources(given(), 4_000, 9_000_000_000), 1, 1).container("c").when(launch("c"));
    large.then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
}

#[test]
fn reservations_fit_after_an_update_in_place() {
    use kdaemon_control::commands::Command;
    let given = resources(Given::cluster().nodes(["a"]).application("web"), 1_000, 10_000_000);
    let given = given.running(["c1", "c2"], "a");
    // The other container has 1 of 4 processors, so this one can have 3 in place of its 1.
    let to = |cpus| {
        let given = resources(given.clone(), cpus, 10_000_000);
        given.when(Command::RollApplication(application("web")))
    };
    to(3_000).then_kinds(["RolloutStarted", "ContainerMigrationCommanded"]);
    to(3_001).then([
        "RolloutStarted application=web outdated=2",
        "ContainerUnschedulable container=c1 moving=update reason=no node fits of 1: a cpus{free_millicpus=3000,wanted_millicpus=3001}",
    ]);
}

#[test]
fn named_volumes_bind_a_container_to_its_node() {
    let given = || {
        let given = Given::cluster().nodes(["a", "b"]).application("web");
        let given = given.spec(|spec| spec.volumes = vec!["data:/data".parse().unwrap()]);
        given.container("c").down_on("b")
    };
    given().when(launch("c")).then(["ContainerLaunchRequested container=c generation=1"]);
    let edited = given().spec(|spec| spec.command = vec!["true".into()]);
    edited.when(launch("c")).then([
        "ContainerLaunchRequested container=c",
        "ContainerPlaced container=c generation=2 node=b (volumes)",
    ]);
    given()
        .node_down("b")
        .when(launch("c"))
        .then_refused("no node fits of 2: a volumes_elsewhere{node=b,volume=data}; b down");
}

#[test]
fn many_rejected_nodes_are_counted() {
    let mut given = Given::cluster().application("web").ports("8080:80");
    for (index, name) in ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"].into_iter().enumerate() {
        given = given.node(name);
        given = match index {
            0 | 1 => given.up().node_down(name),
            2 => given.up().cordoned(),
            3 => given.up().capacity(0),
            4 => given.up().container("c5").up_on(name),
            _ => given.capacity(0),
        };
    }
    refused_for(
        given,
        "9: n1 down; n2 down; n3 cordoned; n4 full{capacity=0}; \
         n5 port_taken{container=c5,port=8080,protocol=tcp}; n6 full{capacity=0}; n7 full{capacity=0}; \
         n8 full{capacity=0}; n9 full{capacity=0}",
    );
}

#[test]
fn node_with_recent_launch_failures_is_the_last_choice() {
    let faulty = || {
        let given = Given::cluster().nodes(["a", "b"]).application("web").running(["x1", "x2"], "b");
        given.container("bad").placed_on("a").launch_failed(1, true).container("c")
    };
    faulty().when(launch("c")).then([
        "ContainerLaunchRequested container=c",
        "ContainerPlaced container=c generation=1 node=b (2; a 0 launch_failed)",
    ]);
    faulty().node_down("b").when(launch("c")).then([
        "ContainerLaunchRequested container=c",
        "ContainerPlaced container=c generation=1 node=a (0 launch_failed; b down)",
    ]);
    // Other applications are not affected, and a returning node starts afresh.
    let then = faulty().application("other").container("o").when(launch("o"));
    assert_eq!(then.container("o").placement.as_ref().unwrap().node_id, node("a"));
    // The failure is forgotten after five minutes, or when a launch succeeds there.
    let later = faulty().seconds_later(301).event(NodeUpdated {
        node_id: node("b"),
        name: None,
        user_id: None,
        endpoint: None,
        labels: Some([].into()),
        capacity: None,
    });
    let then = later.when(launch("c"));
    assert_eq!(then.container("c").placement.as_ref().unwrap().node_id, node("a"));
}

#[test]
fn waiting_reason_is_recorded_once() {
    let waits = Given::cluster().nodes(["a"]).node_down("a").application("web").container("c").waiting();
    waits
        .when(place("c"))
        .then(["ContainerUnschedulable container=c reason=no node fits of 1: a down"])
        .because(["ContainerLaunchRequested c"])
        .and_when(place("c"))
        .then_nothing()
        .and_when(probe("a"))
        .and_when(probe("a"))
        .then_kinds(["NodeObserved", "NodeHealthy"])
        .and_when(place("c"))
        .then_kinds(["ContainerPlaced"]);
}

#[test]
fn only_due_waiting_containers_are_placed() {
    let given = || Given::cluster().nodes(["a"]).application("web");
    given().container("c").when(place("c")).then_nothing();
    given().running(["c"], "a").when(place("c")).then_nothing();
    given().container("c").waiting().when(stop("c")).and_when(place("c")).then_nothing();
    // The backoff after its failed launch is not over.
    let given = given().container("c").placed_on("a");
    let failed = given.when(launch_failed("c", 1, true));
    failed
        .and_when(place("c"))
        .then_nothing()
        .and_given()
        .seconds_later(1)
        .when(place("c"))
        .then_kinds(["ContainerPlaced"]);
}
