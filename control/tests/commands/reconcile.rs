//! Due tasks: properties over random histories, and cases with a rule of their own.

use crate::arbitrary;
use crate::fixture::{Given, container, node, placement_id};
use crate::properties::cases;
use crate::world::{Op, PACING, World, op};
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_control::commands::UNMOUNT_PATIENCE;
use kdaemon_control::reconcile::{Act, Due, Pacing, Task, due};
use kdaemon_events::container::{ContainerExited, ContainerUnhealthy, MigrationReason};
use kdaemon_events::node::Availability;
use kdaemon_events::{Event, Generation};
use kdaemon_projections::{Cluster, Desired, Health};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// Lets things happen one after another, and checks what is due after each.
fn after_each(ops: &[Op], mut check: impl FnMut(&Cluster, DateTime<Utc>, &Due)) {
    let mut world = World::new();
    for op in ops {
        world.act(op);
        check(&world.cluster, world.now, &due(&world.cluster, world.now, &PACING));
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_state_read_from_a_snapshot_asks_for_the_same_tasks(ops in vec(op(false), 1..50)) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.act(op));
        let kept = Cluster::from_bytes(&world.cluster.to_bytes().unwrap()).unwrap();
        prop_assert_eq!(due(&kept, world.now, &PACING), due(&world.cluster, world.now, &PACING));
    }

    #[test]
    fn engines_of_nodes_that_are_not_up_get_no_task(ops in vec(op(false), 1..50)) {
        after_each(&ops, |cluster, _, due| for task in &due.tasks {
            if let Task::Act(_, _, node) = task {
                assert_eq!(cluster.node(*node).unwrap().health, Health::Up, "{task:?}");
            }
        });
    }

    #[test]
    fn only_nodes_that_are_down_or_draining_are_evacuated(ops in vec(op(false), 1..50)) {
        after_each(&ops, |cluster, _, due| for task in &due.tasks {
            if let Task::Evacuate(id) | Task::FinishDrain(id) = task {
                let node = cluster.node(*id).unwrap();
                let is_draining = node.availability == Availability::Draining;
                assert!(is_draining || (node.health == Health::Down && cluster.paused().is_none()), "{task:?}");
                assert!(is_draining || matches!(task, Task::Evacuate(_)), "{task:?}");
            }
        });
    }

    #[test]
    fn a_launch_waits_until_a_predecessor_that_must_go_first_is_removed(ops in vec(op(false), 1..50)) {
        after_each(&ops, |_, _, due| {
            let removed: BTreeSet<_> = due.tasks.iter().filter_map(|task| match task {
                Task::Act(Act::Remove, own, node) => Some((own.container_id, *node)),
                _ => None,
            }).collect();
            for task in &due.tasks {
                if let Task::Act(Act::Launch, own, node) = task {
                    assert!(!removed.contains(&(own.container_id, *node)), "{task:?} next to its predecessor");
                }
            }
        });
    }

    #[test]
    fn every_task_is_due_once_and_no_two_exclude_each_other(ops in vec(op(false), 1..50)) {
        after_each(&ops, |_, _, due| {
            let keys: BTreeSet<_> = due.tasks.iter().map(|task| task.key()).collect();
            assert_eq!(keys.len(), due.tasks.len(), "{:?}", due.tasks);
        });
    }

    #[test]
    fn tasks_change_by_time_alone_at_the_next_time_and_not_before(ops in vec(op(false), 1..50)) {
        after_each(&ops, |cluster, now, present| {
            let millisecond = TimeDelta::milliseconds(1);
            match present.next {
                Some(next) => {
                    assert!(next > now, "{next} has passed at {now}");
                    assert_eq!(&due(cluster, next - millisecond, &PACING), present);
                    assert_ne!(due(cluster, next, &PACING).tasks, present.tasks);
                }
                None => assert_eq!(&due(cluster, now + TimeDelta::days(365), &PACING), present),
            }
        });
    }

    #[test]
    fn in_a_settled_cluster_no_task_has_an_effect(ops in vec(op(false), 1..50)) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.act(op));
        world.settle();
        for task in world.tasks() {
            let before = world.log.len();
            world.perform(task);
            prop_assert_eq!(world.log.len(), before, "{:?} had an effect", task);
        }
    }

    #[test]
    fn a_cluster_that_is_as_wanted_asks_for_nothing(ops in vec(op(true), 1..50)) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.act(op));
        world.act(&Op::RepairAll);
        world.settle();
        let is_as_wanted = world.cluster.unsettled().next().is_none()
            && world.cluster.unsettled_nodes().next().is_none()
            && world.spread().1 - world.spread().0 <= 1;
        if is_as_wanted {
            prop_assert_eq!(world.tasks(), []);
        }
    }

    #[test]
    fn every_log_has_due_tasks(log in arbitrary::log(0..80)) {
        let cluster = Cluster::default().fold(&log);
        for now in [DateTime::<Utc>::MIN_UTC, cluster.at().unwrap_or_default(), DateTime::<Utc>::MAX_UTC] {
            for after in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
                let due = due(&cluster, now, &Pacing { rebalance_after: after });
                prop_assert!(due.next.is_none_or(|next| next > now));
            }
        }
    }
}

fn due_now(given: &Given) -> Vec<Task> {
    due(&given.cluster, given.context.now, &PACING).tasks
}

#[test]
fn a_container_that_fails_its_health_check_is_stopped_before_it_is_started() {
    let given = Given::cluster().node("a").up().application("web").container("c").up_on("a");
    let restart_at = given.context.now;
    let (container_id, generation) = (container("c"), Generation(1));
    let given = given.event(ContainerUnhealthy { container_id, generation, restart_at: Some(restart_at) });
    assert_eq!(due_now(&given), [Task::Act(Act::Restart, placement_id("c", 1), node("a"))]);
}

#[test]
fn a_container_that_ended_is_started_when_its_pause_is_over() {
    let given = Given::cluster().node("a").up().application("web").container("c").up_on("a");
    let restart_at = given.context.now + TimeDelta::seconds(4);
    let given = given.event(Event::from(ContainerExited {
        container_id: container("c"),
        generation: Generation(1),
        node_id: node("a"),
        exit_code: Some(1),
        out_of_memory: false,
        restart_at: Some(restart_at),
    }));
    let early = due(&given.cluster, given.context.now, &PACING);
    assert_eq!(early, Due { tasks: vec![], next: Some(restart_at) });
    let late = due(&given.cluster, restart_at, &PACING);
    let start = Task::Act(Act::Start, placement_id("c", 1), node("a"));
    assert_eq!(late, Due { tasks: vec![start], next: None });
    assert_eq!(start.key(), Task::Act(Act::Restart, placement_id("c", 1), node("a")).key());
}

#[test]
fn serving_predecessor_stays_while_its_successor_is_launched() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").container("c").up_on("a");
    let given = given.moving_to("b", MigrationReason::Balance, true);
    assert_eq!(due_now(&given), [Task::Act(Act::Launch, placement_id("c", 2), node("b"))]);
}

#[test]
fn a_predecessor_that_must_not_serve_is_removed_before_its_successor_is_launched() {
    let given = Given::cluster().nodes(["a", "b"]).application("web").container("c").up_on("a");
    let given = given.moving_to("b", MigrationReason::Balance, false);
    assert_eq!(due_now(&given), [Task::Act(Act::Remove, placement_id("c", 1), node("a"))]);
}

#[test]
fn counts_are_evened_when_they_were_uneven_for_long_enough_and_not_while_migrations_are_paused() {
    let given = Given::cluster().nodes(["a", "b"]).application("web");
    let given = given.running(["1", "2", "3"], "a").seconds_later(1);
    let since = given.cluster.counts_since();
    assert_eq!(due_now(&given), [Task::Rebalance(since)]);
    let early =
        due(&given.cluster, given.context.now, &Pacing { rebalance_after: Some(Duration::from_secs(60)) });
    assert_eq!(early, Due { tasks: vec![], next: since.map(|since| since + TimeDelta::seconds(60)) });
    let never = due(&given.cluster, given.context.now, &Pacing { rebalance_after: None });
    assert_eq!(never, Due { tasks: vec![], next: None });
    assert_eq!(due_now(&given.paused().seconds_later(60)), []);
}

#[test]
fn only_a_stopped_container_is_deleted_and_only_when_nothing_of_it_is_left_to_remove() {
    let given = Given::cluster().node("a").up().application("web").container("c").up_on("a").deleting();
    assert_eq!(given.cluster.container(container("c")).unwrap().desired, Desired::Deleted);
    assert_eq!(due_now(&given), [Task::Act(Act::Remove, placement_id("c", 1), node("a"))]);
    let given = given.node_down("a");
    assert_eq!(due_now(&given), [Task::FinishDelete(container("c"))]);
}

#[test]
fn node_that_is_being_unmounted_is_given_up_after_ten_minutes_without_progress() {
    let given = Given::cluster().nodes(["a"]).application("web").container("c").up_on("a").unmounting("a");
    let gives_up = given.context.now + UNMOUNT_PATIENCE;
    let evacuate = Task::Evacuate(node("a"));
    let early = due(&given.cluster, given.context.now, &PACING);
    assert_eq!(early, Due { tasks: vec![evacuate], next: Some(gives_up) });
    let late = due(&given.cluster, gives_up, &PACING);
    assert_eq!(late, Due { tasks: vec![evacuate, Task::FinishDrain(node("a"))], next: None });
}
