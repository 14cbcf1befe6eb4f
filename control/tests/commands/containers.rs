//! Container records: creating, editing, launching, stopping, deleting.

use crate::fixture::*;
use kdaemon_control::commands::{Command, CreateContainer, UpdateContainer};
use kdaemon_control::observed::Exit;
use kdaemon_events::container::{ContainerExited, MigrationReason};
use kdaemon_events::{Environment, Generation};

fn create(container: CreateContainer) -> Command {
    Command::CreateContainer(container)
}
fn update(container: UpdateContainer) -> Command {
    Command::UpdateContainer(container)
}
fn stopped(name: &str, generation: u32) -> Command {
    Command::RecordStopped(placement_id(name, generation), Some(Exit { code: 143, out_of_memory: false }))
}
fn removed(name: &str, generation: u32, from: &str) -> Command {
    Command::RecordRemoved(placement_id(name, generation), node(from))
}
fn web() -> Given {
    Given::cluster().nodes(["a", "b"]).application("web")
}
fn variables(name: &str, value: &str) -> Environment {
    [(name.to_owned(), value.to_owned())].into()
}

#[test]
fn container_is_created() {
    let c = CreateContainer {
        user_id: Some("u".into()),
        env_variables: variables("A", "1"),
        balance: false,
        ..create_container("c", "web")
    };
    web().when(create(c)).then([
        r#"ContainerCreated application=web balance=false container=c env_variables={"A":"1"} name=c user=u"#,
    ]);
    let by_id =
        CreateContainer { application: Some(application("web").to_string()), ..create_container("c", "") };
    web().when(create(by_id)).then(["ContainerCreated application=web balance=true container=c name=c"]);
}

#[test]
fn nameless_container_is_named_after_its_application() {
    let nameless = CreateContainer { name: None, ..create_container("", "web") };
    web()
        .container("web-1")
        .when(create(nameless))
        .then(["ContainerCreated application=web balance=true container=web-2 name=web-2"]);
    let without_both = CreateContainer { name: None, application: None, ..create_container("", "") };
    web().when(create(without_both)).then_refused("name: a container without an application needs a name");
    let without_application = CreateContainer { application: None, ..create_container("c", "") };
    web().when(create(without_application)).then(["ContainerCreated balance=true container=c name=c"]);
}

#[test]
fn invalid_container_creation_is_refused() {
    web()
        .container("c")
        .when(create(create_container("c", "web")))
        .then_refused("there is a container `c` already");
    web()
        .when(create(create_container("c", "x")))
        .then_refused("application_id: there is no application `x`");
    web().when(create(create_container("", "web"))).then_refused(
        "name: a name is printable text of 1 to 128 characters that neither begins nor ends with a space",
    );
    let c = CreateContainer { env_variables: variables("A=", ""), ..create_container("c", "web") };
    web().when(create(c)).then_refused("env_variables: `A=` is not the name of a variable; write NAME=value");
}

#[test]
fn container_update_has_changed_fields_only() {
    let change = UpdateContainer {
        name: Some("new".into()),
        user_id: Some(Some("u".into())),
        env_variables: Some(variables("A", "1")),
        balance: Some(false),
        ..update_container("c")
    };
    web()
        .container("c")
        .when(update(change))
        .then([r#"ContainerUpdated balance=false container=c env_variables={"A":"1"} name=new user=u"#]);
    let as_it_is = UpdateContainer {
        name: Some("c".into()),
        user_id: Some(None),
        application: Some(Some("web".into())),
        env_variables: Some(Environment::new()),
        balance: Some(true),
        ..update_container("c")
    };
    web().container("c").when(update(as_it_is)).then_nothing();
}

#[test]
fn invalid_container_update_is_refused() {
    let given = || web().application("other").application("web").running(["c"], "a").container("d");
    let refused = |change: UpdateContainer, text: &str| given().when(update(change)).then_refused(text);
    refused(
        UpdateContainer { name: Some("d".into()), ..update_container("c") },
        "there is a container `d` already",
    );
    refused(
        UpdateContainer { env_variables: Some(variables("", "")), ..update_container("c") },
        "env_variables: `` is not the name of a variable; write NAME=value",
    );
    refused(
        UpdateContainer { application: Some(Some("x".into())), ..update_container("c") },
        "application_id: there is no application `x`",
    );
    refused(
        UpdateContainer { application: Some(Some("other".into())), ..update_container("c") },
        "container `c` is scheduled to run; stop it before you change its application",
    );
    let other = UpdateContainer { application: Some(Some("other".into())), ..update_container("d") };
    given().when(update(other)).then(["ContainerUpdated application=other container=d"]);
    let none = UpdateContainer { application: Some(None), ..update_container("d") };
    given().when(update(none)).then(["ContainerUpdated application=null container=d"]);
}

#[test]
fn commands_about_an_unknown_container_are_refused() {
    let unknown = "there is no container `78000000-0000-0000-0000-000000000003`";
    for command in [
        launch("x"),
        stop("x"),
        delete("x"),
        place("x"),
        update(update_container("x")),
        Command::FinishDelete(container("x")),
    ] {
        web().when(command).then_refused(unknown);
    }
}

#[test]
fn container_is_launched_on_the_emptiest_node() {
    web()
        .running(["other"], "a")
        .container("c")
        .when(launch("c"))
        .then([
            "ContainerLaunchRequested container=c",
            "ContainerPlaced container=c generation=1 node=b (0; a 1)",
        ])
        .because(["nothing", "ContainerLaunchRequested c"])
        .and_when(launched("c", 1))
        .then(["ContainerLaunched container=c engine=e-1 generation=1 image=sha256:1 node=b"])
        .because(["ContainerPlaced c"]);
}

#[test]
fn launching_a_running_container_does_nothing() {
    web().running(["c"], "a").when(launch("c")).then_nothing();
    web().container("c").waiting().when(launch("c")).then_nothing();
    web().container("c").placed_on("a").when(launch("c")).then_nothing();
}

#[test]
fn container_without_an_application_is_not_launched() {
    web()
        .bare("c")
        .when(launch("c"))
        .then_refused("container `c` has no application; give it one with an update of its application_id");
}

#[test]
fn unschedulable_launch_is_refused_with_a_reason_per_node() {
    let given = Given::cluster()
        .nodes(["down"])
        .node_down("down")
        .node("resting")
        .up()
        .cordoned()
        .nodes(["leaving"])
        .draining("leaving")
        .application("web")
        .container("c");
    given.when(launch("c")).then_refused("no node fits of 3: down down; leaving draining; resting cordoned");
    Given::cluster().application("web").container("c").when(launch("c")).then_refused("no node fits of 0: ");
}

#[test]
fn launch_waits_for_the_first_probe_of_a_node_that_may_fit() {
    let given =
        Given::cluster().nodes(["down"]).node_down("down").node("new").application("web").container("c");
    let waiting = given.when(launch("c")).then([
        "ContainerLaunchRequested container=c",
        "ContainerUnschedulable container=c reason=no node fits of 2: down down; new not_probed",
    ]);
    assert_eq!(waiting.container("c").status().as_str(), "LAUNCHING");
    waiting
        .and_when(probe_with_facts("new", facts("new")))
        .and_when(place("c"))
        .then(["ContainerPlaced container=c generation=1 node=new (0; down down)"]);
}

#[test]
fn launch_does_not_wait_for_a_node_that_cannot_fit_after_its_first_probe() {
    let given = || Given::cluster().node("new");
    let launching = |given: Given| given.application("web").container("c").when(launch("c"));
    launching(given().cordoned()).then_refused("no node fits of 1: new cordoned");
    launching(given().capacity(0)).then_refused("no node fits of 1: new full{capacity=0}");
    let constraint = "gpu".parse().unwrap();
    let given = given().application("web").spec(|spec| spec.constraints = vec![constraint]);
    given.container("c").when(launch("c")).then_refused("no node fits of 1: new constraint{constraint=gpu}");
}

#[test]
fn launch_waits_for_dependencies() {
    let given = || {
        let given = Given::cluster().nodes(["a", "b"]).application("db").container("db-1");
        given.application("web").needs("db").container("c")
    };
    let waits = given().when(launch("c")).then([
        "ContainerLaunchRequested container=c",
        "ContainerUnschedulable container=c reason=dependency{application=db}",
    ]);
    waits
        .and_when(place("c"))
        .then_nothing()
        .and_when(launch("db-1"))
        .then_kinds(["ContainerLaunchRequested", "ContainerPlaced"])
        .and_when(place("c"))
        .then_nothing()
        .and_when(launched("db-1", 1))
        .and_when(place("c"))
        .then_nothing() // it does not serve yet
        .and_given()
        .seconds_later(5)
        .when(confirm("db-1"))
        .and_when(place("c"))
        .then(["ContainerPlaced container=c generation=1 node=b (0; a 1)"]);
}

#[test]
fn relaunch_of_a_failed_or_stopped_container_retires_its_placement() {
    let then = web().container("c").placed_on("a").failed().when(launch("c"));
    let then = then.then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
    assert_eq!(then.container("c").failed_attempts(), 0);
    let then = web().container("c").down_on("a").when(launch("c"));
    // A stopped one is started again where it is.
    let then = then.then(["ContainerLaunchRequested container=c generation=1"]);
    assert_eq!(then.container("c").retired.len(), 0);
    let then = web().container("c").up_on("a").stopping().when(launch("c"));
    then.then_kinds(["ContainerLaunchRequested", "ContainerPlaced"]);
}

#[test]
fn container_can_be_stopped_in_every_phase() {
    let requested = "ContainerStopRequested container=c";
    // Nothing runs, so there is nothing to wait for.
    let at_once = [requested, "ContainerStopped container=c"];
    web()
        .container("c")
        .waiting()
        .when(stop("c"))
        .then(at_once)
        .because(["nothing", "ContainerStopRequested c"]);
    web().container("c").placed_on("a").failed().when(stop("c")).then(at_once);
    // Its node has to stop it.
    web().container("c").placed_on("a").when(stop("c")).then([requested]);
    web().container("c").up_on("a").node_down("a").when(stop("c")).then([requested]);
    let exited = ContainerExited {
        container_id: container("c"),
        generation: Generation(1),
        node_id: node("a"),
        exit_code: Some(1),
        out_of_memory: false,
        restart_at: Some(chrono::DateTime::UNIX_EPOCH),
    };
    web().container("c").up_on("a").event(exited).when(stop("c")).then([requested]);
    web()
        .container("c")
        .up_on("a")
        .when(stop("c"))
        .then([requested])
        .and_when(stopped("c", 1))
        .then(["ContainerStopped container=c exit_code=143 generation=1"])
        .because(["ContainerStopRequested c"]);
    // It does not run and is not scheduled to.
    web().container("c").when(stop("c")).then_nothing();
    web().container("c").up_on("a").stopping().when(stop("c")).then_nothing();
    web().container("c").down_on("a").when(stop("c")).then_nothing();
}

#[test]
fn stopping_a_moving_container_ends_the_move() {
    let given = web().container("c").up_on("a").moving_to("b", MigrationReason::Balance, true);
    let then = given.when(stop("c")).then(["ContainerStopRequested container=c"]);
    let c = then.container("c");
    assert_eq!(c.migrating, None);
    assert!(!c.is_served_by_predecessor(), "its predecessor is removed");
}

#[test]
fn stop_report_counts_only_while_a_stop_is_wanted() {
    web().running(["c"], "a").when(stopped("c", 1)).then_nothing();
    web().container("c").up_on("a").stopping().when(stopped("c", 7)).then_nothing();
    web().when(stopped("x", 1)).then_nothing();
    web().container("c").down_on("a").when(stopped("c", 1)).then_nothing();
}

#[test]
fn unplaced_container_is_deleted_at_once() {
    web()
        .container("c")
        .when(delete("c"))
        .then(["ContainerStopRequested container=c then_delete=true", "ContainerDeleted container=c"])
        .because(["nothing", "ContainerStopRequested c"]);
}

#[test]
fn container_on_a_reachable_node_is_deleted_after_its_removal() {
    let asked = web().running(["c"], "a").when(delete("c"));
    let asked = asked.then(["ContainerStopRequested container=c then_delete=true"]);
    assert_eq!(asked.container("c").status().as_str(), "STOPPING");
    let given = asked.and_given();
    given.clone().when(delete("c")).then_nothing();
    let being_deleted = "container `c` is being deleted";
    given.clone().when(launch("c")).then_refused(being_deleted);
    given.clone().when(stop("c")).then_refused(being_deleted);
    given.clone().when(update(update_container("c"))).then_refused(being_deleted);
    given.clone().when(Command::FinishDelete(container("c"))).then_nothing();
    given
        .when(removed("c", 1, "a"))
        .then(["ContainerRemoved container=c generation=1 node=a", "ContainerDeleted container=c"])
        .because(["ContainerStopRequested c", "ContainerStopRequested c"]);
}

#[test]
fn container_on_an_unreachable_node_is_deleted_at_once_and_orphaned() {
    use kdaemon_control::observed::ContainerState;
    web()
        .running(["c"], "a")
        .node_down("a")
        .when(delete("c"))
        .then(["ContainerStopRequested container=c then_delete=true", "ContainerDeleted container=c"])
        .and_when(probe("a"))
        .and_when(probe_finding("a", [("c", 1, ContainerState::Running)]))
        .then([
            "NodeObserved latency_ms=2 node=a orphans=[{\"container_id\":\"c\",\
             \"generation\":1}] outcome={\"foreign\":0,\"result\":\"answered\",\"running\":1}",
            "NodeHealthy node=a successes=2",
        ])
        .and_when(removed("c", 1, "a"))
        .then(["ContainerRemoved container=c generation=1 node=a"])
        .and_when(removed("c", 1, "a"))
        .then_nothing();
}

#[test]
fn deletion_waits_for_reachable_nodes_only() {
    let given = web().container("c").up_on("a").moving_to("b", MigrationReason::Balance, true).launched();
    let then = given.when(delete("c")).then_kinds(["ContainerStopRequested"]);
    then.and_when(removed("c", 2, "b"))
        .then(["ContainerRemoved container=c generation=2 node=b"])
        .and_given()
        .node_down("a")
        .when(Command::FinishDelete(container("c")))
        .then(["ContainerDeleted container=c"]);
}

#[test]
fn finishing_a_deletion_needs_a_requested_one() {
    web().container("c").when(Command::FinishDelete(container("c"))).then_nothing();
}

#[test]
fn name_of_a_deleted_container_is_free() {
    web()
        .container("c")
        .when(delete("c"))
        .and_when(create(create_container("c", "web")))
        .then_kinds(["ContainerCreated"]);
}
