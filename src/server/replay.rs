//! The route that replays recorded history under another policy.

use super::input::{Fields, Input, Known, unknown};
use super::lenient::LenientText;
use super::problem::{Problem, Sort};
use super::resource::{answer, json};
use super::state::moment;
use super::when::{range, state};
use super::{Api, HandlerResult, Routes};
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
use kdaemon_control::history::{DecisionDifference, Figures, Peak, Replay, Replayed, Spread};
use kdaemon_events::{Envelope, Event, Kind, Seq};
use kdaemon_projections::Cluster;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::{Arc, LazyLock};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// Maximum number of concurrent replays.
pub(super) const AT_ONCE: usize = 2;
/// The settings that make up the policy.
const POLICY: [&str; 6] = [
    "strategy",
    "unhealthy_after",
    "healthy_after",
    "launch_attempts",
    "restart_pause_max",
    "max_migrations",
];
/// Number of `ObservationsPruned` events read from the store at once.
const PAGE: usize = 1_000;

pub(super) fn routes() -> Routes {
    vec![routes!(replay)]
}

/// The range to replay, and the policy.
#[derive(Debug, Deserialize, ToSchema)]
struct ReplayInput {
    /// Start of the range: the seq of an event, or a time (RFC 3339 with a time zone); by default as early as possible.
    #[schema(value_type = Option<LenientText>)]
    from: Option<LenientText>,
    /// End of the range, in the form of `from`; now by default.
    #[schema(value_type = Option<LenientText>)]
    to: Option<LenientText>,
    /// Settings to change, in the form of `config/app.conf`: `strategy`, `unhealthy_after`, `healthy_after`,
    /// `launch_attempts`, `restart_pause_max`, `max_migrations`; the daemon's current values by default.
    #[schema(value_type = Option<Object>)]
    policy: Option<Map<String, Value>>,
}

impl Fields for ReplayInput {
    fn known() -> &'static Known {
        static KNOWN: LazyLock<Known> = LazyLock::new(Known::of_body::<ReplayInput>);
        &KNOWN
    }
}

/// Replay history under another policy
///
/// Actions of people and machines are taken from the log: nodes that were mounted, failed and recovered, containers that were
/// launched, stopped and exited. Decisions of the daemon are made again, in virtual time, on simulated engines where nothing
/// is recorded. The cluster is not changed. The log does not contain the policy of that time: `recorded` is the result of the
/// policy that was in effect.
#[utoipa::path(post, path = "/replay", tag = "history", request_body = ReplayInput,
    responses((status = 200, description = "Recorded and replayed figures, and the decisions that differ", body = ReplayReport),
        (status = 429, description = "Two replays are running")))]
async fn replay(State(api): State<Api>, input: Input<ReplayInput>) -> HandlerResult {
    let ReplayInput { from, to, policy } = input.value;
    let policy = policy_of(api.journal.policy(), &policy.unwrap_or_default())?;
    let present = state(&api, None).await?;
    let store = api.journal.store().as_ref();
    let pruned = pruned_up_to(store).await?;
    let text = |point: &Option<LenientText>| point.as_ref().map(|point| point.0.clone());
    let from = text(&from).unwrap_or_else(|| pruned.max(Seq(1)).to_string());
    let (from, to) = range(&api, &present, &from, text(&to).as_deref()).await?;
    if store.pruned(from.next(), to).await? > 0 {
        let detail = format!(
            "probes up to event {pruned} are needed for the replay and were pruned; start at event {pruned} or later"
        );
        return Err(Problem::invalid("from", detail));
    }
    let permit = Arc::clone(&api.replays).try_acquire_owned().map_err(|_| {
        let detail = format!("{AT_ONCE} replays are running, which is the limit; try again later");
        Problem::new(Sort::Overloaded, detail)
    })?;
    let before = api.past.state(from).await?;
    let settings = Settings::default();
    let row = policy_row(&policy);
    let pacing = settings.pacing();
    let cancelled = CancellationToken::new();
    let replay = Replay::new(&before, policy, pacing);
    let mut run = Run { replay, cancelled: cancelled.clone(), _permit: permit };
    let _guard = cancelled.drop_guard(); // cancels the work when the client disconnects
    let first = moment(&before);
    drop(before);
    let mut reached = run.replay.recorded().seq();
    while reached < to {
        (run, reached) = walk_page(store, reached, to, run, Run::step).await?;
        tokio::task::yield_now().await; // for other requests, on a runtime of one thread with a store in memory
    }
    let last = moment(run.replay.recorded());
    let text = off_thread(move || {
        let (recorded, replayed) = (run.replay.recorded().clone(), run.replay.replayed().clone());
        Ok(json(&report(first, last, row, [&replayed, &recorded], run.replay.finish())))
    });
    Ok(answer(StatusCode::OK, to, text.await?))
}

/// A running replay. It holds its permit until the work has ended, even if its client has disconnected.
struct Run {
    replay: Replay,
    /// Cancelled when the client disconnects.
    cancelled: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Run {
    fn step(&mut self, seq: Seq, json: &str) -> Result<(), StoreError> {
        if self.cancelled.is_cancelled() {
            return Err(StoreError::Unavailable("the client of the replay has disconnected".to_owned()));
        }
        let envelope = follower(self.replay.recorded(), seq, json)?;
        self.replay.step(&envelope);
        Ok(())
    }
}

/// Seq of the last pruned probe; 0 if none was pruned.
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

/// The current policy with changed settings, which are parsed as in the configuration file.
fn policy_of(present: &Policy, changed: &Map<String, Value>) -> Result<Policy, Problem> {
    let mut config = Config {
        strategy: present.strategy,
        unhealthy_after: present.unhealthy_after,
        healthy_after: present.healthy_after,
        launch_attempts: present.launch_attempts,
        restart_pause_max: present.restart_pause_max,
        max_migrations: present.max_migrations,
        ..Config::default()
    };
    for (name, value) in changed {
        let field = format!("policy.{name}");
        let setting = SETTINGS.iter().find(|setting| setting.name == name && POLICY.contains(&setting.name));
        let Some(setting) = setting else {
            let known = POLICY.map(|name| format!("policy.{name}"));
            return Err(unknown(&field, "setting", known.iter().map(String::as_str)));
        };
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(Problem::invalid(field, "expected a string or a number, as in config/app.conf")),
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
    let difference = |one: DecisionDifference| ReplayDifference {
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
