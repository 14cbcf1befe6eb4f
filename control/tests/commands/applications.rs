//! The application library: adding, editing, scaling, deleting.

use crate::fixture::*;
use kdaemon_control::commands::{Command, CreateApplication, UpdateApplication};
use kdaemon_events::{HealthCheck, HealthCommand, MilliCpus, Resources, SpecChanges, UpdatePolicy};

fn create(application: CreateApplication) -> Command {
    Command::CreateApplication(application)
}
fn update(application: UpdateApplication) -> Command {
    Command::UpdateApplication(Box::new(application))
}
fn delete_application(name: &str) -> Command {
    Command::DeleteApplication(application(name))
}

#[test]
fn application_is_created() {
    let web = CreateApplication {
        user_id: Some("u".into()),
        dependencies: vec!["db".into(), application("db").to_string()],
        update_policy: UpdatePolicy::Rolling,
        ..create_application("web")
    };
    Given::cluster().application("db").when(create(web)).then([
        r#"ApplicationCreated application=web dependencies=["db"] is_enabled=true name=web spec={"docker_image":"image:1","restart_policy":"always"} update_policy=rolling user=u"#,
    ]);
}

#[test]
fn application_names_are_checked_and_unique() {
    let given = || Given::cluster().application("web").application("db");
    given().when(create(create_application("web"))).then_refused("there is an application `web` already");
    given().when(create(create_application(" x"))).then_refused(
        "name: a name is printable text of 1 to 128 characters that neither begins nor ends with a space",
    );
    let rename = UpdateApplication { name: Some("db".into()), ..update_application("web") };
    given().when(update(rename)).then_refused("there is an application `db` already");
    // An application and a container may have the same name.
    given().container("x").when(create(create_application("x"))).then_kinds(["ApplicationCreated"]);
}

#[test]
fn specifications_are_checked() {
    let with = |change: fn(&mut SpecChanges)| {
        let mut web = create_application("web");
        change(&mut web.spec);
        Given::cluster().when(create(web))
    };
    let map = |key: &str| [(key.to_owned(), String::new())].into();
    let _: fn(&str) -> std::collections::BTreeMap<String, String> = map;

    with(|s| s.docker_image = None)
        .then_refused("docker_image: an application needs an image, as in nginx:1.27");
    with(|s| s.docker_image = Some("a b".into()))
        .then_refused("docker_image: `a b` is not the reference of an image");
    with(|s| s.docker_image = Some("x".repeat(513)))
        .then_refused(&format!("docker_image: `{}` is not the reference of an image", "x".repeat(513)));
    for bad in ["", "A=B", "A B", "A\0"] {
        let mut web = create_application("web");
        web.spec.env_variables = Some(map(bad));
        Given::cluster()
            .when(create(web))
            .then_refused(&format!("env_variables: `{bad}` is not the name of a variable; write NAME=value"));
    }
    with(|s| s.exposed_ports = Some(ports("80,80"))).then_refused("exposed_ports: 80 is there twice");
    with(|s| s.exposed_ports = Some(ports("8080:80,8080:81")))
        .then_refused("exposed_ports: 8080:81 is there twice");
    with(|s| s.exposed_ports = Some(ports("8080:80,8080:80/udp"))).then_kinds(["ApplicationCreated"]);
    with(|s| s.volumes = Some(vec!["v1:/data".parse().unwrap(), "/x:/data".parse().unwrap()]))
        .then_refused("volumes: two volumes are mounted at /data");
    with(|s| s.networks = Some(vec!["a b".into()]))
        .then_refused("networks: `a b` is not the name of a network");
    for network in ["host", "none"] {
        let mut web = create_application("web");
        web.spec.networks = Some(vec![network.into()]);
        Given::cluster().when(create(web)).then_refused(&format!(
            "networks: `{network}` is not available: containers have a network of their own"
        ));
    }
    for label in ["io.kdaemon.cluster", ""] {
        let mut web = create_application("web");
        web.spec.labels = Some(map(label));
        Given::cluster()
            .when(create(web))
            .then_refused(&format!("labels: `{label}` is reserved for kDaemon"));
    }
    for command in [
        HealthCommand::Shell(String::new()),
        HealthCommand::Exec { program: String::new(), arguments: vec!["a".into()] },
    ] {
        let mut web = create_application("web");
        web.spec.health_check = Some(HealthCheck { command, ..HealthCheck::default() });
        Given::cluster()
            .when(create(web))
            .then_refused("health_check.command: expected a command, got an empty string");
    }
    for bad in ["", "../x", "a/b", "a b"] {
        let mut web = create_application("web");
        web.spec.registry_auth = Some(Some(bad.into()));
        Given::cluster()
            .when(create(web))
            .then_refused("registry_auth: a name of letters, digits, - and _ is expected");
    }
}

#[test]
fn resources_are_what_an_engine_takes_and_reservations_within_limits() {
    let with = |resources| {
        let mut web = create_application("web");
        web.spec.resources = Some(resources);
        Given::cluster().when(create(web))
    };
    let none = Resources::default();
    let (half, more) = (Some(MilliCpus(500)), Some(MilliCpus(1_250)));
    let least = "6291456 (6 MiB) is the least that an engine takes";
    for (resources, refusal) in [
        (Resources { memory_bytes: Some(6_291_455), ..none }, format!("resources.memory_bytes: {least}")),
        (
            Resources { reserved_memory_bytes: Some(6_291_455), ..none },
            format!("resources.reserved_memory_bytes: {least}; 0 reserves nothing"),
        ),
        (Resources { cpus: Some(MilliCpus(0)), ..none }, "resources.cpus: 0.001 is the least".into()),
        (
            Resources { cpus: half, reserved_cpus: more, ..none },
            "resources.reserved_cpus: the reservation of 1.25 exceeds the limit of 0.5; lower it or raise the limit"
                .into(),
        ),
        (
            Resources { memory_bytes: Some(10_000_000), reserved_memory_bytes: Some(10_000_001), ..none },
            "resources.reserved_memory_bytes: the reservation of 10000001 exceeds the limit of 10000000; lower it or \
             raise the limit"
                .into(),
        ),
    ] {
        with(resources).then_refused(&refusal);
    }
    for resources in [
        Resources { cpus: half, reserved_cpus: half, ..none },
        Resources { reserved_cpus: more, reserved_memory_bytes: Some(6_291_456), ..none },
        Resources { memory_bytes: Some(6_291_456), reserved_memory_bytes: Some(0), ..none },
    ] {
        with(resources).then_kinds(["ApplicationCreated"]);
    }
}

#[test]
fn dependencies_exist_and_have_no_cycle() {
    let given =
        || Given::cluster().application("db").application("web").needs("db").application("top").needs("web");
    let on = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
    let refusals = [
        ("db", on(&["db"]), "dependencies: an application cannot depend on itself"),
        ("db", on(&["x"]), "dependencies: there is no application `x`"),
        ("db", on(&["web"]), "dependencies: they would go in a circle: db -> web -> db"),
        ("db", on(&["top"]), "dependencies: they would go in a circle: db -> top -> web -> db"),
    ];
    for (name, dependencies, refusal) in refusals {
        let change = UpdateApplication { dependencies, ..update_application(name) };
        given().when(update(change)).then_refused(refusal);
    }
    let by_id =
        UpdateApplication { dependencies: on(&[&application("db").to_string()]), ..update_application("db") };
    given().when(update(by_id)).then_refused("dependencies: an application cannot depend on itself");
    let own_name = CreateApplication { dependencies: vec!["new".into()], ..create_application("new") };
    given().when(create(own_name)).then_refused("dependencies: an application cannot depend on itself");
    let none = UpdateApplication { dependencies: on(&[]), ..update_application("web") };
    given().when(update(none)).then([r#"ApplicationUpdated application=web dependencies=[]"#]);
}

#[test]
fn application_update_has_changed_fields_only() {
    let given = || Given::cluster().application("web");
    given().when(update(update_application("web"))).then_nothing();
    let change = UpdateApplication {
        name: Some("new".into()),
        user_id: Some(Some("u".into())),
        is_enabled: Some(false),
        update_policy: Some(UpdatePolicy::Rolling),
        spec: SpecChanges { command: Some(vec!["run".into()]), ..SpecChanges::default() },
        ..update_application("web")
    };
    given().when(update(change)).then([
        r#"ApplicationUpdated application=web is_enabled=false name=new spec={"command":["run"],"docker_image":"image:1","restart_policy":"always"} update_policy=rolling user=u"#,
    ]);
    let to_what_it_is = UpdateApplication {
        name: Some("web".into()),
        user_id: Some(None),
        is_enabled: Some(true),
        dependencies: Some(Vec::new()),
        replicas: Some(None),
        update_policy: Some(UpdatePolicy::Manual),
        spec: SpecChanges { docker_image: Some("image:1".into()), ..SpecChanges::default() },
        ..update_application("web")
    };
    given().when(update(to_what_it_is)).then_nothing();
    let broken = SpecChanges { docker_image: Some(String::new()), ..SpecChanges::default() };
    let change = UpdateApplication { spec: broken, ..update_application("web") };
    given()
        .when(update(change))
        .then_refused("docker_image: an application needs an image, as in nginx:1.27");
}

#[test]
fn application_with_containers_or_dependents_is_not_deleted() {
    let given = || Given::cluster().nodes(["a"]).application("db").application("web").needs("db");
    given()
        .when(delete_application("db"))
        .then_refused("application `web` depends on `db`; take it out of its dependencies first");
    given()
        .running(["c1", "c2"], "a")
        .when(delete_application("web"))
        .then_refused("application `web` has 2 containers; delete them first");
    given().when(delete_application("web")).then(["ApplicationDeleted application=web"]);
    // A container that is being deleted does not keep its application.
    given()
        .container("c")
        .up_on("a")
        .deleting()
        .when(delete_application("web"))
        .then(["ApplicationDeleted application=web"])
        .and_when(Command::RecordRemoved(placement_id("c", 1), node("a")))
        .then_kinds(["ContainerRemoved", "ContainerDeleted"]);
}

#[test]
fn commands_about_an_unknown_application_are_refused() {
    let unknown = "there is no application `78000000-0000-0000-0000-000000000002`";
    for command in [
        delete_application("x"),
        scale("x", 1),
        update(update_application("x")),
        Command::RollApplication(application("x")),
    ] {
        Given::cluster().when(command).then_refused(unknown);
    }
}

#[test]
fn scaling_up_creates_and_places_replicas() {
    Given::cluster()
        .nodes(["a", "b"])
        .application("web")
        .when(scale("web", 2))
        .then([
            "ApplicationScaled application=web replicas=2",
            "ContainerCreated application=web balance=true container=web-1 name=web-1 replica=true",
            "ContainerLaunchRequested container=web-1",
            "ContainerPlaced container=web-1 generation=1 node=a (0; b 0)",
            "ContainerCreated application=web balance=true container=web-2 name=web-2 replica=true",
            "ContainerLaunchRequested container=web-2",
            "ContainerPlaced container=web-2 generation=1 node=b (0; a 1)",
        ])
        .and_when(scale("web", 2))
        .then_nothing();
}

#[test]
fn replicas_wait_when_no_node_fits() {
    Given::cluster().application("web").when(scale("web", 1)).then([
        "ApplicationScaled application=web replicas=1",
        "ContainerCreated application=web balance=true container=web-1 name=web-1 replica=true",
        "ContainerLaunchRequested container=web-1",
        "ContainerUnschedulable container=web-1 reason=no node fits of 0: ",
    ]);
}

#[test]
fn replicas_count_every_wanted_container() {
    let given =
        || Given::cluster().nodes(["a"]).application("web").container("mine").up_on("a").container("idle");
    given().when(scale("web", 1)).then(["ApplicationScaled application=web replicas=1"]);
    let then = given().when(scale("web", 2)).then_kinds([
        "ApplicationScaled",
        "ContainerCreated",
        "ContainerLaunchRequested",
        "ContainerPlaced",
    ]);
    assert_eq!(
        then.container("idle").status().as_str(),
        "CREATED",
        "what people made and did not launch is theirs"
    );
    given().when(scale("web", 0)).then([
        "ApplicationScaled application=web replicas=0",
        "ContainerStopRequested container=mine then_delete=true",
    ]);
}

#[test]
fn stopped_replica_is_reused_first_and_removed_first() {
    let given = || Given::cluster().nodes(["a"]).application("web").replica("r1").up_on("a").replica("r2");
    given().when(scale("web", 2)).then_kinds([
        "ApplicationScaled",
        "ContainerLaunchRequested",
        "ContainerPlaced",
    ]);
    given().when(scale("web", 1)).then([
        "ApplicationScaled application=web replicas=1",
        "ContainerStopRequested container=r2 then_delete=true",
        "ContainerDeleted container=r2",
    ]);
}

#[test]
fn deleting_one_container_deletes_no_other() {
    let given = Given::cluster()
        .nodes(["a"])
        .application("web")
        .container("h1")
        .up_on("a")
        .container("h2")
        .up_on("a");
    let then = given.when(scale("web", 2)).and_when(scale("web", 3)).then_kinds([
        "ApplicationScaled",
        "ContainerCreated",
        "ContainerLaunchRequested",
        "ContainerPlaced",
    ]);
    let given = then.and_given().container("h3").up_on("a");
    given.when(delete("h3")).then(["ContainerStopRequested container=h3 then_delete=true"]);
}

#[test]
fn scaling_down_removes_stopped_then_fullest_node_then_youngest() {
    let given = || {
        let given = Given::cluster().nodes(["a", "b"]).application("web");
        let given = given.replica("r1").up_on("a").replica("r2").up_on("b").replica("r3").up_on("b");
        given.replica("r4").waiting()
    };
    given().when(scale("web", 3)).then_kinds([
        "ApplicationScaled",
        "ContainerStopRequested",
        "ContainerDeleted",
    ]);
    let then = given().when(scale("web", 2)).then([
        "ApplicationScaled application=web replicas=2",
        "ContainerStopRequested container=r4 then_delete=true",
        "ContainerDeleted container=r4",
        "ContainerStopRequested container=r3 then_delete=true",
    ]);
    assert_eq!(then.container("r3").status().as_str(), "STOPPING");
}

#[test]
fn waiting_replicas_can_be_scaled_down() {
    Given::cluster().application("web").when(scale("web", 3)).and_when(scale("web", 0)).then_kinds([
        "ApplicationScaled",
        "ContainerStopRequested",
        "ContainerDeleted",
        "ContainerStopRequested",
        "ContainerDeleted",
        "ContainerStopRequested",
        "ContainerDeleted",
    ]);
}

#[test]
fn deleted_replica_is_created_again() {
    let given = Given::cluster().nodes(["a"]).application("web").replicas(1).replica("web-1").up_on("a");
    given.when(delete("web-1")).then([
        "ContainerStopRequested container=web-1 then_delete=true",
        "ContainerCreated application=web balance=true container=web-2 name=web-2 replica=true",
        "ContainerLaunchRequested container=web-2",
        "ContainerPlaced container=web-2 generation=1 node=a (0)",
    ]);
}

#[test]
fn application_has_at_most_300_replicas() {
    let refusal = "replicas: 301 is more than the 300 containers that one application can have";
    Given::cluster().application("web").when(scale("web", 301)).then_refused(refusal);
    let web = CreateApplication { replicas: Some(301), ..create_application("web") };
    Given::cluster().when(create(web)).then_refused(refusal);
    let change = UpdateApplication { replicas: Some(Some(301)), ..update_application("web") };
    Given::cluster().application("web").when(update(change)).then_refused(refusal);
    // The most replicas fit into one commit, scaling up and down.
    let up = Given::cluster().nodes(["a"]).application("web").when(scale("web", 300));
    assert!(up.decision().events.len() <= kdaemon_events::COMMIT_EVENTS_LIMIT);
    let down = up.and_when(scale("web", 0));
    assert!(down.decision().events.len() <= kdaemon_events::COMMIT_EVENTS_LIMIT);
}

#[test]
fn disabled_application_launches_nothing() {
    let given = || Given::cluster().nodes(["a"]).application("web").disabled();
    let refusal = "application `web` is disabled and launches nothing; enable it first (is_enabled = true)";
    given().when(scale("web", 1)).then_refused(refusal);
    given().when(scale("web", 0)).then(["ApplicationScaled application=web replicas=0"]);
    given().container("c").when(launch("c")).then_refused(refusal);
    let then = given().container("c").waiting().when(place("c"));
    then.then(["ContainerUnschedulable container=c reason=application_disabled"]);
    // Enabling the application creates its replicas.
    let enable = UpdateApplication { is_enabled: Some(true), ..update_application("web") };
    given().replicas(1).when(update(enable)).then_kinds([
        "ApplicationUpdated",
        "ContainerCreated",
        "ContainerLaunchRequested",
        "ContainerPlaced",
    ]);
}

#[test]
fn editing_replicas_scales_and_null_returns_control() {
    let web = CreateApplication { replicas: Some(1), ..create_application("web") };
    let then = Given::cluster().nodes(["a"]).when(create(web)).then_kinds([
        "ApplicationCreated",
        "ContainerCreated",
        "ContainerLaunchRequested",
        "ContainerPlaced",
    ]);
    drop(then);
    let given = || Given::cluster().nodes(["a"]).application("web").replicas(1).replica("web-1").up_on("a");
    let to = |replicas| update(UpdateApplication { replicas: Some(replicas), ..update_application("web") });
    given().when(to(None)).then(["ApplicationScaled application=web replicas=null"]);
    given().when(to(Some(2))).then_kinds([
        "ApplicationScaled",
        "ContainerCreated",
        "ContainerLaunchRequested",
        "ContainerPlaced",
    ]);
    given().when(to(Some(0))).then_kinds(["ApplicationScaled", "ContainerStopRequested"]);
}

#[test]
fn replicas_take_the_first_free_names() {
    let given =
        Given::cluster().nodes(["a"]).application("web").bare("web-1").bare("web-3").application("other");
    let then = given.when(scale("web", 3)).decision().cluster.clone();
    let names: Vec<_> = then.containers().map(|c| c.name.clone()).collect();
    for name in ["web-1", "web-2", "web-3", "web-4", "web-5"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    let long = "x".repeat(128);
    let web = CreateApplication { name: long, replicas: Some(2), ..create_application("web") };
    let then = Given::cluster().when(create(web));
    assert!(then.decision().cluster.containers().all(|c| c.name.chars().count() <= 128));
}
