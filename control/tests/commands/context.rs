//! The context of a command: actor, time, term and precondition.

use crate::fixture::*;
use chrono::TimeDelta;
use kdaemon_control::commands::{Command, Precondition, decide};
use kdaemon_events::cluster::LeaderElected;
use kdaemon_events::{Actor, ClusterId, RequestId, Seq, Subject, Term};
use uuid::Uuid;

#[test]
fn cluster_is_created_once() {
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
fn terms_increase() {
    Given::cluster()
        .when(lead(1))
        .then(["LeaderElected daemon=one term=1"])
        .and_when(lead(3))
        .then(["LeaderElected daemon=one term=3"])
        .and_when(lead(3))
        .then_refused("stale leader term 3 (current: 3)");
}

#[test]
fn deposed_leader_cannot_write() {
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
fn modified_resource_fails_its_precondition() {
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
fn missing_resource_is_reported_before_its_precondition() {
    let gone = Precondition { subject: Subject::Container(container("c")), seq: Seq(1) };
    Given::cluster()
        .context(|context| context.precondition = Some(gone))
        .when(delete("c"))
        .then_refused("there is no container `63000000-0000-0000-0000-000000000003`");
}

#[test]
fn every_event_has_actor_request_and_cause() {
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
fn event_times_never_go_back() {
    let given = Given::cluster();
    let last = given.cluster.at().unwrap();
    let given = given.context(|context| context.now -= TimeDelta::seconds(60));
    let then = given.when(Command::MountNode(mount("a"))).then_kinds(["NodeMounted"]);
    assert_eq!(then.decision().events[0].at, last);
}

#[test]
fn times_have_microseconds_and_ids_contain_their_time() {
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
fn ids_sort_by_time_within_a_millisecond() {
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
fn decisions_are_deterministic() {
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

/// RFC 9562, 6.2, method 3: ids of two decisions within one millisecond sort by their time.
#[test]
fn ids_carry_the_fraction_of_their_millisecond() {
    for micros in [0_u16, 1, 250, 999] {
        let given = Given::cluster()
            .context(|context| context.now += TimeDelta::microseconds(i64::from(micros) + 3_000));
        let decision = decide(&given.cluster, Command::MountNode(mount("a")), &given.context).unwrap();
        // The twelve bits after the version.
        let fraction = (decision.events[0].id.0.as_u128() >> 64) & 0xfff;
        assert_eq!(fraction, u128::from(micros) * 4_096 / 1_000, "{micros} µs");
    }
}
