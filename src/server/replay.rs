//! What-if: what recorded history would have been under another policy.

use super::input::{Fields, Input, Known, unknown};
use super::lenient::LenientText;
use super::problem::{Problem, Sort};
use super::resource::{answer, json, state};
use super::state::moment;
use super::when::stretch;
use super::{Answered, Api, Routes};
use crate::config::{Config, SETTINGS};
use crate::journal::{follower, off_thread, walk_page};
use crate::reactors::Settings;
use crate::says::{self, Names};
use crate::store::{EventLog, EventQuery, StoreError};
use axum::extract::State;
use axum::http::StatusCode;
use kdaemon_api::{
    Moment, PolicyRow, ReplayDifference, ReplayFigures, ReplayPeak, ReplayReport, ReplaySpread,
};
use kdaemon_control::commands::Policy;
use kdaemon_control::history::{Difference, Figures, Peak, Replay, Replayed, Spread};
use kdaemon_events::{Envelope, Event, Kind, Seq};
use kdaemon_projections::Cluster;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// How many replays run at one time.
pub(super) const TOGETHER: usize = 2;
/// The settings that are the policy.
const POLICY: [&str; 6] = [
    "strategy",
    "unhealthy_after",
    "healthy_after",
    "launch_attempts",
    "restart_pause_max",
    "max_migrations",
];
/// How many notes of pruning are read at a time.
const PAGE: usize = 1_000;

pub(super) fn routes() -> Routes {
    vec![routes!(replay)]
}

/// Which stretch is replayed, and under which policy.
#[derive(Debug, Deserialize, ToSchema)]
struct ReplayRequest {
    /// Where it begins: the seq of an event, or a time (RFC 3339, with its zone); as early as can be without it.
    #[schema(value_type = Option<LenientText>)]
    from: Option<LenientText>,
    /// Where it ends, written as `from`; now without it.
    #[schema(value_type = Option<LenientText>)]
    to: Option<LenientText>,
    /// Settings as in `config/app.conf`, any of `strategy`, `unhealthy_after`, `healthy_after`, `launch_attempts`,
    /// `restart_pause_max`, `max_migrations`; the others are as the daemon has them now.
    #[schema(value_type = Option<Object>)]
    policy: Option<Map<String, Value>>,
}

impl Fields for ReplayRequest {
    fn known() -> &'static Known {
        static KNOWN: LazyLock<Known> = LazyLock::new(Known::of_body::<ReplayRequest>);
        &KNOWN
    }
}

/// What recorded history would have been under another policy
///
/// What people and machines did in that stretch is taken as it was recorded: nodes that came, failed and returned,
/// containers that were launched, stopped and ended. What the daemon decided is decided anew, in virtual time, on
/// simulated engines where nothing is recorded. Nothing is changed. The policy that the stretch was recorded under is not
/// in the log: `recorded` is what happened under whichever it was.
#[utoipa::path(post, path = "/replay", tag = "history", request_body = ReplayRequest,
    responses((status = 200, description = "What happened, what would have, and how they differ", body = ReplayReport),
        (status = 429, description = "Two replays run already")))]
async fn replay(State(api): State<Api>, input: Input<ReplayRequest>) -> Answered {
    let ReplayRequest { from, to, policy } = input.value;
    let policy = policy_of(api.journal.policy(), &policy.unwrap_or_default())?;
    let present = state(&api, None).await?;
    let store = api.journal.store().as_ref();
    let pruned = pruned_up_to(store).await?;
    let text = |point: &Option<LenientText>| point.as_ref().map(|point| point.0.clone());
    let from = text(&from).unwrap_or_else(|| pruned.max(Seq(1)).to_string());
    let (from, to) = stretch(&api, &present, &from, text(&to).as_deref()).await?;
    if store.pruned(from.next(), to).await? > 0 {
        let detail = format!(
            "probes up to event {pruned} were pruned, from which it would be decided what follows; a replay can begin with event {pruned} or later"
        );
        return Err(Problem::invalid("from", detail));
    }
    let permit = Arc::clone(&api.replays).try_acquire_owned().map_err(|_| {
        let detail =
            format!("{TOGETHER} replays run already, and no more at one time; try again when one is done");
        Problem::new(Sort::Overloaded, detail)
    })?;
    let before = api.past.state(from).await?;
    let settings = Settings::default();
    let row = policy_row(&policy);
    let pacing = settings.pacing();
    let gone = Gone::default();
    let mut run =
        Run { replay: Replay::new(&before, policy, pacing), gone: Arc::clone(&gone.0), _permit: permit };
    let first = moment(&before);
    drop(before);
    let mut reached = run.replay.recorded().seq();
    while reached < to {
        (run, reached) = walk_page(store, reached, to, run, Run::go_on).await?;
        tokio::task::yield_now().await; // a store in memory and a runtime of one thread leave no other time to others
    }
    let last = moment(run.replay.recorded());
    let text = off_thread(move || {
        let (recorded, replayed) = (run.replay.recorded().clone(), run.replay.replayed().clone());
        Ok(json(&report(first, last, row, [&replayed, &recorded], run.replay.finish())))
    });
    Ok(answer(StatusCode::OK, to, text.await?))
}

/// Tells the work beside the handler that nobody waits for it any more.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A replay on its way. It counts as one until its work has really ended, also when its client is gone.
struct Run {
    replay: Replay,
    gone: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

impl Run {
    fn go_on(&mut self, seq: Seq, json: &str) -> Result<(), StoreError> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("nobody waits for this replay any more".to_owned()));
        }
        let envelope = follower(self.replay.recorded(), seq, json)?;
        self.replay.step(&envelope);
        Ok(())
    }
}

/// Up to which event probes were pruned; 0: none were.
async fn pruned_up_to(store: &dyn EventLog) -> Result<Seq, StoreError> {
    let kinds = vec![Kind::ObservationsPruned];
    let (mut after, mut pruned) = (Seq(0), Seq(0));
    loop {
        let page =
            store.query(EventQuery { after, limit: PAGE, kinds: kinds.clone(), ..EventQuery::default() });
        let page = page.await?;
        for text in &page {
            let note = Envelope::decode(&text.json);
            if let Event::ObservationsPruned(note) =
                note.map_err(|error| StoreError::Damaged(error.to_string()))?.event
            {
                pruned = pruned.max(note.up_to);
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.seq,
            _ => return Ok(pruned),
        }
    }
}

/// The present policy with what is asked to be otherwise, read as the daemon's configuration is.
fn policy_of(present: &Policy, asked: &Map<String, Value>) -> Result<Policy, Problem> {
    let mut config = Config {
        strategy: present.strategy,
        unhealthy_after: present.unhealthy_after,
        healthy_after: present.healthy_after,
        launch_attempts: present.launch_attempts,
        restart_pause_max: present.restart_pause_max,
        max_migrations: present.max_migrations,
        ..Config::default()
    };
    for (name, value) in asked {
        let field = format!("policy.{name}");
        let setting = SETTINGS.iter().find(|setting| setting.name == name && POLICY.contains(&setting.name));
        let Some(setting) = setting else {
            let known = POLICY.map(|name| format!("policy.{name}"));
            return Err(unknown(&field, "setting", known.iter().map(String::as_str)));
        };
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(Problem::invalid(field, "write it as in config/app.conf: as text or a number")),
        };
        (setting.set)(&mut config, &text).map_err(|problem| Problem::invalid(field, problem.to_string()))?;
    }
    Ok(Policy {
        strategy: config.strategy,
        unhealthy_after: config.unhealthy_after,
        healthy_after: config.healthy_after,
        launch_attempts: config.launch_attempts,
        restart_pause_max: config.restart_pause_max,
        max_migrations: config.max_migrations,
        launch_pause: present.launch_pause,
    })
}

fn policy_row(policy: &Policy) -> PolicyRow {
    let shown = Config { restart_pause_max: policy.restart_pause_max, ..Config::default() };
    let pause = SETTINGS.iter().find(|setting| setting.name == "restart_pause_max");
    PolicyRow {
        strategy: policy.strategy.to_string(),
        unhealthy_after: policy.unhealthy_after,
        healthy_after: policy.healthy_after,
        launch_attempts: policy.launch_attempts,
        restart_pause_max: pause.map(|setting| (setting.get)(&shown)).unwrap_or_default(),
        max_migrations: policy.max_migrations,
    }
}

fn report(
    from: Moment,
    to: Moment,
    policy: PolicyRow,
    states: [&Cluster; 2],
    replayed: Replayed,
) -> ReplayReport {
    let names = Names::of(&states);
    let difference = |one: Difference| ReplayDifference {
        at: one.at,
        seq: one.seq.map(|seq| seq.0),
        says: says::difference(names, &one),
    };
    ReplayReport {
        from,
        to,
        policy,
        recorded: figures(replayed.recorded),
        replayed: figures(replayed.replayed),
        differences: replayed.differences.into_iter().map(difference).collect(),
        differences_count: replayed.differences_count,
    }
}

fn figures(figures: Figures) -> ReplayFigures {
    let peak = |Peak { node, containers }: Peak| ReplayPeak { node, containers };
    let spread = |Spread { at, spread }: Spread| ReplaySpread { at, spread };
    ReplayFigures {
        migrations: figures.migrations,
        down_seconds: figures.down_seconds,
        launches: figures.launches,
        failed: figures.failed,
        peak: figures.peak.into_iter().map(peak).collect(),
        imbalance: figures.imbalance.into_iter().map(spread).collect(),
    }
}
