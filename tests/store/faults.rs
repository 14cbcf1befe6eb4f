//! The RethinkDB store when connections or servers fail: no acknowledged commit is lost or duplicated.

use crate::store::events::*;
use crate::support::proxy::{Link, Proxy};
use crate::support::rethinkdb::{Rethinkdb, Server, forget, settings};
use crate::support::rethinkdb_double::{Double, Fault, Login};
use kdaemon::store::prelude::*;
use kdaemon::store::{Commit, Head, RethinkdbSettings, RethinkdbStore, StoreError};
use kdaemon::verify::VerifyLog as _;
use kdaemon_events::{CommitId, Seq};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use uuid::Uuid;

const SHORT: Duration = Duration::from_millis(300);
/// How long servers may take to elect a new primary, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Timeouts short enough for a test.
fn impatient(double: &Double) -> RethinkdbSettings {
    RethinkdbSettings {
        dbname: "kdaemon".into(),
        query_timeout: SHORT,
        settle_timeout: 4 * SHORT,
        ..settings(double.address)
    }
}

async fn open(double: &Double) -> RethinkdbStore {
    RethinkdbStore::open(impatient(double)).await.unwrap()
}

fn ids(commits: &[Commit]) -> Vec<String> {
    commits.iter().map(|commit| commit.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn login_in_single_bytes_succeeds() {
    let double = Double::start(Login::SingleBytes).await;
    let patient = RethinkdbSettings { query_timeout: Duration::from_secs(20), ..impatient(&double) };
    let store =
        RethinkdbStore::open(RethinkdbSettings { connect_timeout: Duration::from_secs(10), ..patient })
            .await
            .unwrap();
    let head = fill(&store, 3).await;
    assert_eq!(store.head().await.unwrap(), head);
    assert_eq!(double.commits().len(), 3);
}

/// The outcome of an append is reported correctly after any fault, and the insert happens once.
#[tokio::test(flavor = "multi_thread")]
async fn append_of_unknown_outcome_is_settled() {
    use Fault::*;
    let faults: [&[Fault]; 14] = [
        &[LateAnswer(SHORT / 3)],
        &[LateAnswer(SHORT * 2)],
        &[NoAnswer],
        &[NoAnswer, NoAnswer],
        &[CutAnswer(0)],
        &[CutAnswer(5)],
        &[CutAnswer(12)],
        &[CutAnswer(30)],
        &[CutRequest],
        &[IndeterminateDone],
        &[IndeterminateNotDone],
        &[Failed, Failed],
        &[IndeterminateNotDone, CutRequest, Failed, CutAnswer(13)],
        &[DoneLater(SHORT * 3 / 2)],
    ];
    let double = Double::start(Login::Whole).await;
    let store = open(&double).await;
    let mut head = Head::default();
    let mut appended = Vec::new();
    for faults in faults {
        double.fail_next(faults.iter().copied());
        let next = commit(&head, vec![token("a")]);
        head = store.append(&head, next.clone()).await.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        appended.push(next);
        assert_eq!(double.commits(), ids(&appended), "{faults:?}");
        assert_eq!(store.head().await.unwrap(), head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsettled_append_is_reported_and_read_back_later() {
    let double = Double::start(Login::Whole).await;
    let store = open(&double).await;
    let head = fill(&store, 1).await;
    double.fail_next([Fault::NoAnswer]);
    double.fail_next((0..100).map(|_| Fault::CutRequest));
    let lost = commit(&head, vec![token("lost")]);
    let begun = Instant::now();
    let outcome = store.append(&head, lost.clone()).await;
    assert!(matches!(outcome, Err(StoreError::Unsettled(_))), "{outcome:?}");
    assert!(begun.elapsed() < 10 * SHORT, "{:?}", begun.elapsed());
    assert_eq!(store.commit_at(2).await.unwrap().and_then(|head| head.commit_id), Some(lost.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_commit_and_its_successor_have_one_winner() {
    let double = Double::start(Login::Whole).await;
    let store = open(&double).await;
    let head = fill(&store, 1).await;
    // The late commit arrives after the next one: it finds its number taken.
    double.fail_next([Fault::DoneLater(10 * SHORT)]);
    double.fail_next((0..100).map(|_| Fault::CutRequest));
    let late = commit(&head, vec![token("late")]);
    let outcome = store.append(&head, late.clone()).await;
    assert!(matches!(outcome, Err(StoreError::Unsettled(_))), "{outcome:?}");
    assert_eq!(store.commit_at(2).await.unwrap(), None, "not yet");
    double.forget_faults();
    let next = commit(&head, vec![token("next")]);
    let head = store.append(&head, next.clone()).await.unwrap();
    // The late commit arrives before the next one: that one finds its number taken.
    double.fail_next([Fault::DoneLater(6 * SHORT)]);
    double.fail_next((0..100).map(|_| Fault::CutRequest));
    let sooner = commit(&head, vec![token("sooner")]);
    let outcome = store.append(&head, sooner.clone()).await;
    assert!(matches!(outcome, Err(StoreError::Unsettled(_))), "{outcome:?}");
    double.forget_faults();
    crate::support::eventually("the late commit is written", async || {
        (double.commits().len() == 3).then_some(())
    })
    .await;
    let conflict = store.append(&head, commit(&head, vec![token("too late")])).await;
    let actual = store.head().await.unwrap();
    assert_eq!(conflict, Err(StoreError::Conflict { actual }));
    assert_eq!(actual.commit_id, Some(sooner.id));
    crate::support::eventually("all delayed inserts are answered", async || {
        (double.later() == 0).then_some(())
    })
    .await;
    let log = double.commits();
    assert_eq!(log[1..], [next.id.to_string(), sooner.id.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_call_leaves_no_answer_for_the_next_one() {
    let double = Double::start(Login::Whole).await;
    let store = open(&double).await;
    fill(&store, 20).await;
    for round in 0..10 {
        double.delay_next([Duration::from_millis(40)]);
        let given_up = tokio::time::timeout(Duration::from_millis(10), store.read(Seq(round), 3)).await;
        assert!(given_up.is_err());
        let read = store.read(Seq(round + 5), 2).await.unwrap();
        assert_eq!(read.iter().map(|text| text.seq.0).collect::<Vec<_>>(), [round + 6, round + 7]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_server_is_reported_soon_and_reused_when_back() {
    let double = Double::start(Login::Whole).await;
    let store = open(&double).await;
    let head = fill(&store, 2).await;
    double.set_down(true);
    let begun = Instant::now();
    assert!(matches!(store.head().await, Err(StoreError::Unavailable(_))));
    let lost = commit(&head, vec![token("x")]);
    assert!(store.append(&head, lost).await.is_err());
    assert!(begun.elapsed() < 10 * SHORT, "{:?}", begun.elapsed());
    assert_eq!(double.inserts(), 2, "the append did not reach the server");
    double.set_down(false);
    let head = store.append(&head, commit(&head, vec![token("y")])).await.unwrap();
    assert_eq!(store.head().await.unwrap(), head);
    assert_eq!(double.commits().len(), 3);
}

/// A writer's knowledge of its appends.
#[derive(Default)]
struct Record {
    acknowledged: Vec<CommitId>,
    /// Appends whose outcome was reported as unknown.
    perhaps: BTreeSet<Uuid>,
    /// Appends that were reported as failed.
    refused: BTreeSet<Uuid>,
}

/// A writer's progress.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    tried: usize,
    acknowledged: usize,
}

impl Record {
    /// Appends until `stop` is set, and records the answers.
    async fn write(&mut self, store: &RethinkdbStore, stop: &AtomicBool, progress: &watch::Sender<Progress>) {
        while !stop.load(Ordering::SeqCst) {
            progress.send_modify(|progress| progress.tried += 1);
            let Ok(head) = store.head().await else { continue };
            let next = commit(&head, vec![token(&Uuid::new_v4().to_string()); 3]);
            let id = next.id;
            match store.append(&head, next).await {
                Ok(_) => {
                    self.acknowledged.push(id);
                    progress.send_modify(|progress| progress.acknowledged += 1);
                }
                Err(StoreError::Unsettled(_)) => drop(self.perhaps.insert(id.0)),
                Err(_) => drop(self.refused.insert(id.0)),
            }
        }
    }

    /// Compares the records with the log.
    async fn check(records: &[Self], store: &RethinkdbStore) {
        let head = store.verify().await.unwrap();
        let mut log = Vec::new();
        for number in 1..=head.commits {
            log.push(store.commit_at(number).await.unwrap().and_then(|head| head.commit_id).unwrap());
        }
        let ids: BTreeSet<_> = log.iter().map(|id| id.0).collect();
        assert_eq!(ids.len(), log.len(), "no commit is duplicated");
        let mut known = BTreeSet::new();
        for record in records {
            for id in &record.acknowledged {
                assert!(ids.contains(&id.0), "{id} was acknowledged and is lost");
            }
            assert!(ids.is_disjoint(&record.refused), "refused appends are not in the log");
            known.extend(record.acknowledged.iter().map(|id| id.0));
            known.extend(&record.perhaps);
        }
        assert!(ids.is_subset(&known), "the log has events that no writer wrote");
    }
}

/// The progress of all writers, for the code that injects faults.
struct Writers(Vec<watch::Receiver<Progress>>);

impl Writers {
    /// Waits until a writer has made `more` further attempts, with any outcome.
    async fn tried(&self, writer: usize, more: usize) {
        let goal = self.0[writer].borrow().tried + more;
        self.until(writer, |progress| progress.tried >= goal).await;
    }

    /// Waits until a writer has got `more` further appends acknowledged.
    async fn acknowledged(&self, writer: usize, more: usize) {
        let goal = self.0[writer].borrow().acknowledged + more;
        self.until(writer, |progress| progress.acknowledged >= goal).await;
    }

    async fn until(&self, writer: usize, condition: impl Fn(&Progress) -> bool) {
        let mut progress = self.0[writer].clone();
        let reached = progress.wait_for(|progress| condition(progress));
        let reached = tokio::time::timeout(PATIENCE, reached).await.map(drop);
        assert!(reached.is_ok(), "writer {writer} is stuck: {:?}", *self.0[writer].borrow());
    }
}

/// Two daemons' stores write while `trouble` happens; then their records are compared with the log.
async fn write_during(settings: [RethinkdbSettings; 2], trouble: impl AsyncFnOnce(&Writers)) {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut writing, mut writers) = (Vec::new(), Vec::new());
    for settings in settings.clone() {
        let store = RethinkdbStore::open(settings).await.unwrap();
        let stop = Arc::clone(&stop);
        let (progress, writer) = watch::channel(Progress::default());
        writers.push(writer);
        writing.push(tokio::spawn(async move {
            let mut record = Record::default();
            record.write(&store, &stop, &progress).await;
            record
        }));
    }
    trouble(&Writers(writers)).await;
    stop.store(true, Ordering::SeqCst);
    let mut records = Vec::new();
    for record in writing {
        records.push(record.await.unwrap());
    }
    let [_, settings] = settings;
    let patient = RethinkdbSettings { query_timeout: Duration::from_secs(30), ..settings };
    let store = RethinkdbStore::open(patient).await.unwrap();
    Record::check(&records, &store).await;
}

mod on_rethinkdb {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a RethinkDB server: scripts/test"]
    async fn faulty_connection_loses_nothing() {
        let server = Rethinkdb::get();
        let proxy = Proxy::to(server.address()).await;
        let direct = settings(server.address());
        let bad = RethinkdbSettings {
            hosts: vec![(proxy.address.ip().to_string(), proxy.address.port())],
            query_timeout: Duration::from_millis(700),
            settle_timeout: Duration::from_secs(3),
            ..direct.clone()
        };
        drop(RethinkdbStore::open(direct.clone()).await.unwrap());
        write_during([bad, direct.clone()], async |writers| {
            let links = [
                Link::Slow(Duration::from_millis(20)),
                Link::SwallowAnswers,
                Link::Cut,
                Link::Swallow,
                Link::Slow(Duration::from_millis(500)),
            ];
            for link in links.into_iter().cycle().take(15) {
                proxy.set(link);
                writers.tried(0, 2).await;
                proxy.cut_once();
                proxy.set(Link::Open);
                writers.acknowledged(0, 2).await;
                writers.acknowledged(1, 2).await;
            }
        })
        .await;
        forget(&direct).await;
    }
}

mod on_own_rethinkdb {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs the program `rethinkdb`: scripts/test"]
    async fn killed_server_keeps_everything_acknowledged() {
        let mut server = Server::start();
        let settings = settings(server.address);
        write_during([settings.clone(), settings], async |writers| {
            for _ in 0..5 {
                writers.acknowledged(0, 10).await;
                writers.acknowledged(1, 10).await;
                tokio::task::block_in_place(|| server.restart());
            }
            writers.acknowledged(0, 10).await;
        })
        .await;
    }

    /// Three servers with three replicas: one is killed and comes back, one is frozen (it receives and sends nothing)
    /// and wakes, while two daemons write.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs the program `rethinkdb`: scripts/test"]
    async fn one_of_three_servers_may_be_killed_or_cut_off() {
        let mut servers = tokio::task::block_in_place(|| Server::cluster(3));
        let hosts: Vec<_> =
            servers.iter().map(|server| (server.address.ip().to_string(), server.address.port())).collect();
        let first = RethinkdbSettings {
            hosts: hosts.clone(),
            replicas: 3,
            query_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            ..settings(servers[0].address)
        };
        let second = RethinkdbSettings { hosts: hosts.into_iter().rev().collect(), ..first.clone() };
        write_during([first, second], async |writers| {
            for round in 0..3 {
                writers.acknowledged(0, 10).await;
                servers[round].kill();
                // The two others take over: they miss its heartbeat after 10 s at the latest.
                writers.acknowledged(0, 10).await;
                writers.acknowledged(1, 10).await;
                tokio::task::block_in_place(|| servers[round].restart());
                let other = (round + 1) % 3;
                servers[other].freeze();
                writers.acknowledged(0, 10).await;
                writers.acknowledged(1, 10).await;
                servers[other].thaw();
            }
            writers.acknowledged(0, 10).await;
            writers.acknowledged(1, 10).await;
        })
        .await;
    }
}
