//! Networks on engines that nothing needs any more.

use crate::fixture::*;
use kdaemon_control::networks::{named_networks, unused_networks};
use kdaemon_events::application::ApplicationDeleted;
use kdaemon_events::container::MigrationReason;

fn web() -> Given {
    Given::cluster().nodes(["a", "b"]).application("web").spec(|spec| spec.networks = vec!["front".into()])
}

fn unused(given: &Given, name: &str) -> Vec<String> {
    let listed = ["back", "front"].map(str::to_owned);
    unused_networks(&given.cluster, node(name), &listed).into_iter().cloned().collect()
}

#[test]
fn network_that_an_application_names_is_kept_on_every_node() {
    let given = web();
    assert_eq!(named_networks(&given.cluster), ["front".to_owned()].into());
    assert_eq!(unused(&given, "a"), ["back"]);
    let given = given.event(ApplicationDeleted { application_id: application("web") });
    assert_eq!(unused(&given, "a"), ["back", "front"]);
}

#[test]
fn network_of_a_placement_is_kept_on_its_node_after_its_application_was_edited() {
    let edited = |given: Given| given.spec(|spec| spec.networks = vec!["back".into()]);
    let running = edited(web().container("c").up_on("a"));
    assert_eq!((unused(&running, "a"), unused(&running, "b")), (vec![], vec!["front".to_owned()]));
    let stopped = edited(web().container("c").down_on("a"));
    assert_eq!(unused(&stopped, "a"), [""; 0], "it is started with its networks again");
    // A predecessor that serves until its successor is up.
    let moving = edited(web().container("c").up_on("a")).moving_to("b", MigrationReason::Balance, true);
    assert_eq!((unused(&moving, "a"), unused(&moving, "b")), (vec![], vec!["front".to_owned()]));
}
