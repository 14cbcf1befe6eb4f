//! What comes in with a command: who, when, under which term, and what must not have changed.

use crate::fixture::*;
use chrono::TimeDelta;
use kdaemon_control::commands::{Command, Precondition};
use kdaemon_events::cluster::LeaderElected;
use kdaemon_events::{Actor, ClusterId, RequestId, Seq, Subject, Term};
use uuid::Uuid;

#[test]
fn a_cluster_is_created_once() {
    let create = Command::CreateCluster(ClusterId(Uuid::from_u128(7)));
    Given::nothing()
        .when(create.clone())
        .then(["ClusterCreated cluster=00000000-0000-0000-0000-000000000007"])
        .and_when(create)
        .then_refused("the log already belongs to cluster 00000000-0000-0000-0000-000000000007");
}

fn lead(term: u64) -> Command {
    Command::BecomeLeader { term: Term(term), daemon: "one".into() }
}

#[test]
fn each_leader_has_a_higher_term_than_the_one_before() {
    Given::cluster()
        .when(lead(1))
        .then(["LeaderElected daemon=one term=1"])
        .and_when(lead(3))
        .then(["LeaderElected daemon=one term=3"])
        .and_when(lead(3))
        .then_refused("stale leader term 3 (current: 3)");
}

#[test]
fn a_deposed_leader_cannot_write() {
    let given = |term| {
        let elected = LeaderElected { term: Term(2), daemon: "two".into() };
        let given = Given::cluster().nodes(["a"]).event(elected);
        given.context(|context| context.term = Some(Term(term)))
    };
    given(1).when(probe("a")).then_refused("stale leader term 1 (current: 2)");
    given(2).when(probe("a")).then_kinds(["NodeObserved"]);
    // People have no term.
    given(2).context(|context| context.term = None).when(probe("a")).then_kinds(["NodeObserved"]);
}

#[test]
fn what_has_changed_since_it_was_read_is_left_alone() {
    let given = |subject, seq| {
        let given = Given::cluster().nodes(["a"]).application("web").container("c");
        given.context(|context| context.precondition = Some(Precondition { subject, seq: Seq(seq) }))
    };
    let cordon = || Command::CordonNode(node("a"));
    let a = Subject::Node(node("a"));
    let seq = Given::cluster().nodes(["a"]).cluster.node(node("a")).unwrap().seq.0;
    given(a, seq).when(cordon()).then(["NodeCordoned node=a"]);
    given(a, seq - 1).when(cordon()).then_refused(&format!(
        "resource was modified (expected seq {}, found {seq}); reload and retry",
        seq - 1
    ));
    let web = Subject::Application(application("web"));
    let changed = |seq: u64| format!("resource was modified (expected seq 1, found {seq}); reload and retry");
    given(web, 1).when(scale("web", 0)).then_refused(&changed(5));
    let c = Subject::Container(container("c"));
    given(c, 1).when(delete("c")).then_refused(&changed(6));
    given(c, 6).when(delete("c")).then_kinds(["ContainerStopRequested", "ContainerDeleted"]);
}

#[test]
fn of_what_is_gone_it_is_said_that_it_is_gone() {
    let gone = Precondition { subject: Subject::Container(container("c")), seq: Seq(1) };
    Given::cluster()
        .context(|context| context.precondition = Some(gone))
        .when(delete("c"))
        .then_refused("there is no container `63000000-0000-0000-0000-000000000003`");
}

#[test]
fn every_event_says_who_did_it_in_which_request_and_in_answer_to_what() {
    let then = Given::cluster()
        .nodes(["a"])
        .application("web")
        .container("c")
        .context(|context| {
            context.actor = Actor::reactor("tester");
            context.request_id = Some(RequestId("r-1".into()));
            context.cause = Some(Seq(3));
        })
        .when(launch("c"))
        .then_kinds(["ContainerLaunchRequested", "ContainerPlaced"])
        .because(["NodeObserved a", "ContainerLaunchRequested c"]);
    for envelope in &then.decision().events {
        assert_eq!(envelope.actor, Actor::reactor("tester"));
        assert_eq!(envelope.request_id, Some(RequestId("r-1".into())));
    }
}

#[test]
fn the_time_of_an_event_is_never_earlier_than_of_the_one_before() {
    let given = Given::cluster();
    let last = given.cluster.at().unwrap();
    let given = given.context(|context| context.now -= TimeDelta::seconds(60));
    let then = given.when(Command::MountNode(mount("a"))).then_kinds(["NodeMounted"]);
    assert_eq!(then.decision().events[0].at, last);
}

#[test]
fn times_are_kept_to_the_microsecond_and_ids_are_of_their_time() {
    let given = Given::cluster().context(|context| context.now += TimeDelta::nanoseconds(1_500_001_999));
    let now = given.context.now;
    let then = given.when(Command::MountNode(mount("a"))).then_kinds(["NodeMounted"]);
    let event = &then.decision().events[0];
    assert_eq!(event.at, now - TimeDelta::nanoseconds(999));
    assert_eq!(event.id.0.get_version_num(), 7);
    let (seconds, nanos) = event.id.0.get_timestamp().unwrap().to_unix();
    assert_eq!((seconds, nanos), (1_700_000_001, 500_000_000));
}

#[test]
fn ids_sort_by_their_time_within_a_millisecond_too() {
    let ids: Vec<_> = (0..2_000)
        .map(|micros| {
            let given = Given::cluster().context(|context| {
                context.now += TimeDelta::microseconds(micros);
                context.seed = uuid::Uuid::from_u128(u128::from(micros.unsigned_abs()));
            });
            given.when(Command::MountNode(mount("a"))).then_kinds(["NodeMounted"]).decision().events[0].id
        })
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn the_same_command_with_the_same_context_is_decided_the_same() {
    let decide = || {
        let then = Given::cluster().nodes(["a", "b"]).application("web").when(scale("web", 5));
        then.decision().events.clone()
    };
    assert_eq!(decide(), decide());
    let mut ids: Vec<_> = decide().iter().map(|event| event.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), decide().len(), "ids are unique");
}
