//! Several daemons on one log: one leads, another takes over at once or after the lease, and two never lead
//! together.

use kdaemon::journal::{Journal, Submission, SystemRuntime};
use kdaemon::latest;
use kdaemon::leader::{Candidate, Role};
use kdaemon::leadership::Leadership;
use kdaemon::reactors::{Reactors, Settings};
use kdaemon::store::prelude::*;
use kdaemon::verify::VerifyLog as _;
use kdaemon_control::commands::{Command, Policy};
use kdaemon_events::{Actor, ClusterId, Term};
use kdaemon_testing::MemoryStore;
use kdaemon_testing::engines::SimulatedEngines;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LEASE: Duration = Duration::from_millis(2_500);

struct Daemon {
    journal: Journal,
    role: latest::Receiver<Role>,
    /// Each leadership that it had.
    led: Arc<Mutex<Vec<Leadership>>>,
    shutdown: CancellationToken,
    candidate: JoinHandle<()>,
}

impl Daemon {
    async fn start(store: &Arc<MemoryStore>, name: &str) -> Self {
        let policy = Arc::new(Policy::default());
        let journal = Journal::open(Arc::clone(store) as _, Arc::new(SystemRuntime), policy).await.unwrap();
        let create = Command::CreateCluster(ClusterId(Uuid::new_v4()));
        let _ = journal.submit(Submission::new(create, Actor::Anonymous)).await; // one of them succeeds
        let follower = journal.clone();
        tokio::spawn(async move { follower.follow().await });
        let (candidate, role) = Candidate::new(journal.clone(), Uuid::new_v4(), name.to_owned(), LEASE);
        let (led, shutdown) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let start = {
            let (journal, led) = (journal.clone(), Arc::clone(&led));
            move |leadership: Leadership| {
                led.lock().unwrap().push(leadership.clone());
                let engines = Arc::new(SimulatedEngines::new(1));
                Reactors::start(journal.clone(), engines, Settings::default(), leadership)
            }
        };
        let candidate = tokio::spawn(candidate.run(start, shutdown.clone()));
        Self { journal, role, led, shutdown, candidate }
    }

    async fn leads(&mut self) {
        let leads = self.role.wait_for(|role| role.leads);
        assert!(timeout(Duration::from_secs(60), leads).await.is_ok(), "it does not lead");
    }

    fn last(&self) -> Leadership {
        self.led.lock().unwrap().last().unwrap().clone()
    }

    fn is_leading(&self) -> bool {
        self.role.borrow().leads
    }
}

#[tokio::test(start_paused = true)]
async fn dead_leader_is_replaced_within_five_seconds() {
    let store = Arc::new(MemoryStore::new());
    let mut first = Daemon::start(&store, "first").await;
    first.leads().await;
    let mut second = Daemon::start(&store, "second").await;
    sleep(LEASE * 10).await;
    assert!(first.is_leading() && !second.is_leading());
    assert_eq!(second.role.borrow().leader.as_deref(), Some("first"));
    assert_eq!(first.led.lock().unwrap().len(), 1, "renewed, not elected again");

    let died = Instant::now();
    first.candidate.abort(); // its reactors keep running, as do a daemon's that only seems dead
    second.leads().await;
    assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
    assert!(!first.last().holds() && second.last().holds());
    assert!(second.last().term > first.last().term);
    assert_eq!(second.journal.cluster().term(), second.last().term);
}

#[tokio::test(start_paused = true)]
async fn leader_that_cannot_renew_stops_before_the_next_starts() {
    let store = Arc::new(MemoryStore::new());
    let mut first = Daemon::start(&store, "first").await;
    first.leads().await;
    let second = Daemon::start(&store, "second").await;
    sleep(LEASE).await;
    first.candidate.abort();
    let lapsed = loop {
        sleep(Duration::from_millis(1)).await;
        if !first.last().holds() {
            break Instant::now();
        }
        assert!(second.led.lock().unwrap().is_empty(), "two lead");
    };
    assert!(second.led.lock().unwrap().is_empty());
    while second.led.lock().unwrap().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(lapsed.elapsed() >= LEASE / 10, "there is room for what is under way");
}

/// The lease is in the store when the write begins to take effect, which is when the others begin to count.
#[tokio::test(start_paused = true)]
async fn lease_counts_from_before_its_write_however_late_the_store_answers() {
    let answer_after = LEASE * 14 / 25;
    for renewals in 0..4 {
        let store = Arc::new(MemoryStore::new());
        store.delay_lease_answers(answer_after);
        let mut first = Daemon::start(&store, "first").await;
        first.leads().await;
        let second = Daemon::start(&store, "second").await;
        let version = async || store.lease().await.unwrap().unwrap().version;
        let elected = version().await;
        while version().await < elected + renewals {
            sleep(Duration::from_millis(1)).await;
        }
        if renewals > 0 {
            sleep(answer_after + Duration::from_millis(5)).await; // it hears of its last renewal, and dies
        }
        first.candidate.abort();
        assert!(first.last().holds(), "after {renewals} renewals");
        while second.led.lock().unwrap().is_empty() {
            let holder = store.lease().await.unwrap().unwrap().name;
            assert!(
                !first.last().holds() || holder == "first",
                "{holder} has its lease after {renewals} renewals"
            );
            sleep(Duration::from_millis(1)).await;
        }
        assert!(!first.last().holds() && second.last().holds());
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_leader_hands_over_at_once() {
    let store = Arc::new(MemoryStore::new());
    let mut first = Daemon::start(&store, "first").await;
    first.leads().await;
    let mut second = Daemon::start(&store, "second").await;
    sleep(LEASE * 2).await;
    let stopped = Instant::now();
    first.shutdown.cancel();
    first.candidate.await.unwrap();
    second.leads().await;
    assert!(stopped.elapsed() < LEASE, "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_daemon_leads_while_the_store_is_away() {
    let store = Arc::new(MemoryStore::new());
    let mut first = Daemon::start(&store, "first").await;
    first.leads().await;
    let mut second = Daemon::start(&store, "second").await;
    sleep(LEASE).await;
    store.set_unavailable(Some("the cable was pulled"));
    sleep(LEASE * 2).await;
    assert!(!first.is_leading() && !second.is_leading());
    assert!(first.journal.trouble().is_some() && second.journal.trouble().is_some(), "both say so");
    store.set_unavailable(None);
    sleep(LEASE * 3).await;
    assert!(first.is_leading() != second.is_leading());
    assert!(first.journal.trouble().is_none() && second.journal.trouble().is_none());
    let leader = if first.is_leading() { &mut first } else { &mut second };
    assert!(leader.last().term > Term(1));
    assert_eq!(leader.last().term, leader.journal.cluster().term());
}

#[tokio::test(start_paused = true)]
async fn deposed_leader_stops_and_can_be_elected_again() {
    let store = Arc::new(MemoryStore::new());
    let mut first = Daemon::start(&store, "first").await;
    first.leads().await;
    let before = first.last();
    // A daemon whose lease this one does not know of.
    let term = before.term.next();
    let lead = Command::BecomeLeader { term, daemon: "another".into() };
    first.journal.submit(Submission::new(lead, Actor::reactor("daemon"))).await.unwrap();
    let mount = kdaemon_control::commands::MountNode {
        availability: kdaemon_events::node::Availability::Active,
        name: Some("node-1".into()),
        user_id: None,
        endpoint: "tcp://node-1:2375".parse().unwrap(),
        labels: std::collections::BTreeMap::new(),
        capacity: None,
    };
    first.journal.submit(Submission::new(Command::MountNode(mount), Actor::Anonymous)).await.unwrap();
    // The next report is refused, and it notices.
    let again = async {
        while first.led.lock().unwrap().len() < 2 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), again).await.unwrap();
    assert!(!before.holds());
    assert!(first.last().term > term);
}

#[tokio::test(start_paused = true)]
async fn followers_see_the_commits_of_others() {
    let store = Arc::new(MemoryStore::new());
    let first = Daemon::start(&store, "first").await;
    let second = Daemon::start(&store, "second").await;
    for (number, journal) in [&first.journal, &second.journal, &first.journal].into_iter().enumerate() {
        // Far apart: a daemon deposed by it may lead again, under the next term.
        let term = Term(100 * (1 + number as u64));
        let token = Command::BecomeLeader { term, daemon: "test".into() };
        let seq = journal.submit(Submission::new(token, Actor::Anonymous)).await.unwrap().seq;
        for follower in [&first, &second] {
            let reached = follower.journal.reached(seq);
            let cluster = timeout(Duration::from_secs(2), reached).await.expect("it follows");
            assert!(cluster.seq() >= seq);
        }
    }
    assert!(store.verify().await.is_ok());
}
