//! The execution of commands: preconditions, dry runs, idempotency, and waiting for the effect.

use super::input::{Query, QueryFields};
use super::lenient::{LenientBool, LenientDuration};
use super::problem::{Problem, Sort};
use super::resource::{Resource, answer, etag, json, resolve};
use super::{Api, SEQ_HEADER, request_id};
use crate::journal::{IdempotencyKey, Outcome, Submission, SubmitError};
use crate::says::{self, Names};
use crate::store::{IdempotencyRecord, StoreError};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use kdaemon_api::DryRun;
use kdaemon_control::commands::{Command, Decision, Precondition};
use kdaemon_events::{Actor, Envelope, RequestId, Seq, Subject};
use kdaemon_projections::Cluster;
use serde::Deserialize;
use std::marker::PhantomData;
use std::time::Duration;
use utoipa::IntoParams;
use uuid::Uuid;

/// Maximum of `?wait=`.
pub(super) const WAIT_LIMIT: Duration = Duration::from_secs(600);

/// Parameters of every command.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CommandQuery {
    /// `true` to answer the events that the command would append, without changing anything.
    #[param(value_type = Option<bool>)]
    dry_run: Option<LenientBool>,
    /// Time to wait for the effect of the command, such as `30s`, at most 10m. Answers 200 once it is complete, 409 if it failed
    /// and 202 if the time is over.
    #[param(value_type = Option<String>)]
    wait: Option<LenientDuration>,
    /// `true` to unmount a node that has containers: they migrate to other nodes. Other commands ignore it.
    #[param(value_type = Option<bool>)]
    force: Option<LenientBool>,
    /// `true` to delete a container's anonymous volumes with it. Other commands ignore it.
    #[param(value_type = Option<bool>)]
    volumes: Option<LenientBool>,
}

impl QueryFields for CommandQuery {}

impl CommandQuery {
    fn wait(&self) -> Result<Option<Duration>, Problem> {
        match self.wait.map(LenientDuration::or_seconds) {
            Some(wait) if wait > WAIT_LIMIT => Err(Problem::invalid(
                "wait",
                format!("the wait exceeds the limit of {}s", WAIT_LIMIT.as_secs()),
            )),
            wait => Ok(wait),
        }
    }
}

/// An event that a command would append, with its sentence.
#[derive(serde::Serialize)]
struct EventWithSentence {
    #[serde(flatten)]
    envelope: Envelope,
    says: String,
}

/// The progress of a command's effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// The effect is complete.
    Done,
    /// The reactors are at work.
    Pending,
    /// The effect will not occur, for this reason.
    Failed(String),
}

/// The effect of a command on one state, as a response shows it.
pub(super) struct Effect {
    pub(super) progress: Progress,
    /// JSON text.
    pub(super) body: String,
    /// Seq of the last change of the resource in the body, if it exists.
    pub(super) tag: Option<Seq>,
}

/// Shows the effect of a command.
pub(super) trait Show: Clone + Send + 'static {
    /// The status of an answer when the effect is complete.
    const DONE: StatusCode;
    /// Takes note of the state before the command.
    fn before(&mut self, _cluster: &Cluster) {}
    /// The effect on a state that includes the command's events. Called with newer states while the caller waits.
    fn show(&self, cluster: &Cluster, events: &[Envelope]) -> Effect;
    /// The path of the created resource, without the API's version.
    fn location(&self, _events: &[Envelope]) -> Option<String> {
        None
    }
}

/// Determines the progress of a command from the state of its resource.
type Judge = fn(&Cluster, Uuid) -> Progress;

/// Shows the row of one resource.
pub(super) struct ShowRow<R: Resource> {
    id: Uuid,
    /// The row before the command: a deleted resource is shown as it was.
    before: Option<R::Row>,
    judge: Judge,
}

impl<R: Resource> ShowRow<R> {
    pub(super) fn new(id: Uuid, judge: Judge) -> Self {
        Self { id, before: None, judge }
    }
}

impl<R: Resource> Clone for ShowRow<R> {
    fn clone(&self) -> Self {
        Self { id: self.id, before: self.before.clone(), judge: self.judge }
    }
}

impl<R: Resource> Show for ShowRow<R> {
    const DONE: StatusCode = StatusCode::OK;

    fn before(&mut self, cluster: &Cluster) {
        self.before = R::by_id(cluster, self.id).map(|item| R::row(Names::of(&[cluster]), cluster, item));
    }

    fn show(&self, cluster: &Cluster, _events: &[Envelope]) -> Effect {
        let item = R::by_id(cluster, self.id);
        let row = match item {
            Some(item) => Some(R::row(Names::of(&[cluster]), cluster, item)),
            None => self.before.clone().map(|mut row| {
                R::mark_deleted(&mut row);
                row
            }),
        };
        Effect {
            progress: (self.judge)(cluster, self.id),
            body: row.as_ref().map(json).unwrap_or_default(),
            tag: item.map(|item| R::seq(item)),
        }
    }
}

/// Shows the row of a created resource.
pub(super) struct Created<R>(PhantomData<fn() -> R>);

impl<R> Created<R> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R> Clone for Created<R> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<R: Resource> Show for Created<R> {
    const DONE: StatusCode = StatusCode::CREATED;

    fn show(&self, cluster: &Cluster, events: &[Envelope]) -> Effect {
        ShowRow::<R>::new(created(events).unwrap_or_default(), settled).show(cluster, events)
    }

    fn location(&self, events: &[Envelope]) -> Option<String> {
        created(events).map(|id| format!("{}/{id}", R::PLURAL))
    }
}

/// The resource that a command's first event is about.
fn created(events: &[Envelope]) -> Option<Uuid> {
    events.first()?.event.subjects().first().copied().map(Subject::uuid)
}

/// The progress of a command that takes effect at once.
pub(super) fn settled(_cluster: &Cluster, _id: Uuid) -> Progress {
    Progress::Done
}

/// A request that runs a command: its parameters and headers.
pub(super) struct Call {
    pub(super) api: Api,
    query: CommandQuery,
    request_id: RequestId,
    /// Method and path: part of what an `Idempotency-Key` stands for.
    target: String,
    if_match: Option<Vec<Seq>>,
    key: Option<String>,
}

impl FromRequestParts<Api> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Query(query) = Query::<CommandQuery>::from_request_parts(parts, api).await?;
        query.wait()?;
        Ok(Self {
            api: api.clone(),
            query,
            request_id: request_id::request_id(&parts.extensions),
            target: format!("{} {}", parts.method, parts.uri.path()),
            if_match: if_match(&parts.headers)?,
            key: idempotency_key(&parts.headers)?,
        })
    }
}

impl Call {
    pub(super) fn force(&self) -> bool {
        self.query.force == Some(LenientBool(true))
    }

    /// Whether the client waits for the effect.
    pub(super) fn waits(&self) -> bool {
        self.query.wait.is_some()
    }

    pub(super) fn deletes_volumes(&self) -> bool {
        self.query.volumes == Some(LenientBool(true))
    }

    /// Runs a command on the resource with this id or name, and answers with its row. `body` is the digest of the request's
    /// body.
    pub(super) async fn run_on<R: Resource>(
        self,
        which: &str,
        command: impl FnOnce(R::Id) -> Command,
        judge: Judge,
        body: Option<blake3::Hash>,
    ) -> Result<Response, Problem> {
        let cluster = self.api.journal.cluster();
        let id = resolve::<R>(&cluster, which)?;
        let precondition = self.precondition::<R>(&cluster, id)?;
        let mut show = ShowRow::<R>::new(id, judge);
        show.before(&cluster);
        self.run(command(R::typed(id)), precondition, show, body).await
    }

    /// Runs a command and answers with its effect. `body` is the digest of the request's body.
    pub(super) async fn run<S: Show>(
        self,
        command: Command,
        precondition: Option<Precondition>,
        mut show: S,
        body: Option<blake3::Hash>,
    ) -> Result<Response, Problem> {
        let mut submission = Submission::new(command, Actor::Anonymous);
        submission.request_id = Some(self.request_id.clone());
        submission.precondition = precondition;
        if self.query.dry_run == Some(LenientBool(true)) {
            let present = self.api.journal.cluster();
            let decided = self.api.journal.dry_run(submission);
            let Decision { events, cluster, .. } =
                decided.map_err(|refusal| Problem::refused(refusal, &present))?;
            let row = |envelope: &Envelope| {
                let says = says::event(Names::of(&[&cluster]), envelope);
                EventWithSentence { envelope: envelope.clone(), says }
            };
            let events = events.iter().map(row).collect();
            return Ok(answer(StatusCode::OK, present.seq(), json(&DryRun { events })));
        }
        submission.idempotency = self.idempotency(body);
        let Outcome { events, cluster, seq, around } = match self.api.journal.submit(submission).await {
            Ok(outcome) => outcome,
            Err(SubmitError::Repeated(record)) => return self.repeat(show, *record).await,
            Err(error) => return Err(Problem::not_submitted(error, &self.api.journal.cluster())),
        };
        let shown = match around {
            Some(around) => {
                show.before(&around.before);
                show.show(&around.after, &events)
            }
            None => show.show(&cluster, &events),
        };
        match self.query.wait()? {
            Some(wait) if shown.progress != Progress::Done => {
                let (shown, until) = self.wait(wait, seq, &show, &events).await;
                if let Some(key) = self.key.clone() {
                    self.api.journal.waited_until(key, until).await;
                }
                Ok(self.waited(&show, shown, &events, until))
            }
            _ => Ok(self.answer(&show, shown, &events, seq)),
        }
    }

    /// The key of the request; the same key with another method, path or body is another request.
    fn idempotency(&self, body: Option<blake3::Hash>) -> Option<IdempotencyKey> {
        let key = self.key.clone()?;
        let mut fingerprint = blake3::Hasher::new();
        fingerprint.update(self.target.as_bytes());
        fingerprint.update(body.as_ref().map_or(&[][..], |digest| digest.as_bytes()));
        Some(IdempotencyKey { key, fingerprint: fingerprint.finalize().to_hex().to_string() })
    }

    fn answer<S: Show>(&self, show: &S, shown: Effect, events: &[Envelope], seq: Seq) -> Response {
        let status = match shown.progress {
            Progress::Done => S::DONE,
            Progress::Pending | Progress::Failed(_) => StatusCode::ACCEPTED,
        };
        let path = show.location(events).filter(|_| status == StatusCode::CREATED);
        let location = path.map(|path| format!("/{}/{path}", self.api.config.api_version));
        let location = location.and_then(|location| HeaderValue::try_from(location).ok());
        let mut response = answer(status, seq, shown.body);
        let headers = response.headers_mut();
        headers.extend(shown.tag.and_then(etag).map(|tag| (header::ETAG, tag)));
        headers.extend(location.map(|location| (header::LOCATION, location)));
        response
    }

    /// The answer to a caller who waited: a failed effect is a conflict.
    fn waited<S: Show>(&self, show: &S, shown: Effect, events: &[Envelope], seq: Seq) -> Response {
        let Progress::Failed(reason) = shown.progress else {
            return self.answer(show, shown, events, seq);
        };
        let mut response = Problem::conflict(reason).into_response();
        response.headers_mut().insert(SEQ_HEADER, HeaderValue::from(seq.0));
        response
    }

    /// Answers a repeated request as the first one, from the same states.
    async fn repeat<S: Show>(&self, mut show: S, record: IdempotencyRecord) -> Result<Response, Problem> {
        let before = self.api.past.state(record.before).await?;
        let events = self.events_of(&record).await?;
        show.before(&before);
        if let Some(until) = record.waited_until {
            let cluster = self.api.past.state(until).await?;
            return Ok(self.waited(&show, show.show(&cluster, &events), &events, until));
        }
        let after = Cluster::clone(&before).fold(&events);
        Ok(self.answer(&show, show.show(&after, &events), &events, record.seq))
    }

    /// The events of a recorded request.
    async fn events_of(&self, record: &IdempotencyRecord) -> Result<Vec<Envelope>, StoreError> {
        let count = usize::try_from(record.seq.0.saturating_sub(record.before.0)).unwrap_or(usize::MAX);
        let texts = match count {
            0 => Vec::new(),
            _ => self.api.journal.store().read(record.before, count).await?,
        };
        let events = texts.iter().map(|text| Envelope::decode(&text.json));
        events.collect::<Result<_, _>>().map_err(|error| StoreError::Damaged(error.to_string()))
    }

    /// Waits until the effect is complete, has failed, or the time limit. Returns it with the last event of the state that
    /// it was seen on.
    async fn wait<S: Show>(
        &self,
        wait: Duration,
        since: Seq,
        show: &S,
        events: &[Envelope],
    ) -> (Effect, Seq) {
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        let mut states = self.api.journal.watch();
        loop {
            let cluster = states.borrow_and_update().clone();
            let seq = cluster.seq().max(since);
            let shown = show.show(&cluster, events);
            if shown.progress != Progress::Pending {
                return (shown, seq);
            }
            let is_over = tokio::select! {
                changed = states.changed() => changed.is_err(),
                () = &mut deadline => true,
                () = self.api.shutdown.cancelled() => true,
            };
            if is_over {
                return (shown, seq);
            }
        }
    }

    fn precondition<R: Resource>(
        &self,
        cluster: &Cluster,
        id: Uuid,
    ) -> Result<Option<Precondition>, Problem> {
        let Some(expected) = &self.if_match else { return Ok(None) };
        let Some(actual) = R::by_id(cluster, id).map(|item| R::seq(item)) else { return Ok(None) };
        match expected.iter().find(|seq| **seq == actual).or(expected.first()) {
            Some(seq) => Ok(Some(Precondition { subject: R::subject(id), seq: *seq })),
            // None of the tags has the form of a version.
            None => {
                let detail = format!("the current entity tag is \"{actual}\"; reload and retry");
                Err(Problem::new(Sort::Changed, detail))
            }
        }
    }
}

/// The versions in `If-Match`; `None` if any version matches. Weak tags match nothing (RFC 9110, section 13.1.1).
fn if_match(headers: &HeaderMap) -> Result<Option<Vec<Seq>>, Problem> {
    let mut seqs = Vec::new();
    let mut is_there = false;
    for value in headers.get_all(header::IF_MATCH) {
        let text = value.to_str().unwrap_or_default();
        for tag in text.split(',').map(str::trim) {
            if tag == "*" {
                return Ok(None);
            }
            let strong = tag.strip_prefix("W/").unwrap_or(tag);
            if strong.len() < 2 || !strong.starts_with('"') || !strong.ends_with('"') {
                let detail = format!("If-Match: expected an entity tag such as \"7\", got `{text}`");
                return Err(Problem::new(Sort::Malformed, detail));
            }
            is_there = true;
            seqs.extend(tag.trim_matches('"').parse().ok().map(Seq));
        }
    }
    Ok(is_there.then_some(seqs))
}

/// Maximum length of an `Idempotency-Key`, in characters.
const KEY_LIMIT: usize = 255;

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_LIMIT).contains(&key.trim().len()) => Ok(Some(key.trim().to_owned())),
        _ => Err(Problem::invalid(
            "Idempotency-Key",
            format!("a key must have 1 to {KEY_LIMIT} printable ASCII characters"),
        )),
    }
}
