//! How every command is answered: preconditions, dry runs, kept answers, and waiting until it is done.

use super::input::{Query, QueryFields};
use super::lenient::{LenientBool, LenientDuration};
use super::problem::{Problem, Sort};
use super::resource::{Resource, answer, etag, json};
use super::{Api, SEQ_HEADER, guard};
use crate::journal::{Keep, Submission, SubmitError};
use crate::says::{self, Names};
use crate::store::IdempotencyRecord;
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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use utoipa::IntoParams;
use uuid::Uuid;

/// The longest that a command waits until it is done.
pub(super) const WAIT_LIMIT: Duration = Duration::from_secs(600);

/// What every command takes.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CommandQuery {
    /// Answers the events that it would append, and changes nothing.
    #[param(value_type = Option<bool>)]
    dry_run: Option<LenientBool>,
    /// Waits so long (`30s`, at most 10m) until it is done (200) or has failed (409); 202 when the time is over.
    #[param(value_type = Option<String>)]
    wait: Option<LenientDuration>,
    /// Unmounts a node although it has containers: they migrate. Other commands have no use for it.
    #[param(value_type = Option<bool>)]
    force: Option<LenientBool>,
}

impl QueryFields for CommandQuery {}

impl CommandQuery {
    fn wait(&self) -> Result<Option<Duration>, Problem> {
        match self.wait.map(LenientDuration::or_seconds) {
            Some(wait) if wait > WAIT_LIMIT => {
                Err(Problem::invalid("wait", format!("at most {}s can be waited for", WAIT_LIMIT.as_secs())))
            }
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

/// How far what a command has set going has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is as was wanted.
    Done,
    /// Work goes on.
    Going,
    /// It will not be as was wanted; why, in words.
    Failed(String),
}

/// What there is to answer about a command, on one state.
pub(super) struct Shown {
    pub(super) progress: Progress,
    /// In JSON.
    pub(super) body: String,
    /// The last change of the thing that is shown.
    pub(super) tag: Option<Seq>,
}

/// Shows what became of a command. It is asked again and again while somebody waits, with newer states.
pub(super) trait Show: Clone + Send + 'static {
    /// The status when it is done.
    const DONE: StatusCode;
    /// What there is to answer on a state that includes these events.
    fn show(&mut self, cluster: &Cluster, events: &[Envelope]) -> Shown;
    /// The address of what was made.
    fn location(&self, _api: &Api, _body: &str) -> Option<HeaderValue> {
        None
    }
}

/// Looks at one thing and tells how far it has come.
type Judge = fn(&Cluster, Uuid) -> Progress;

/// Shows the row of one thing.
pub(super) struct Row<R: Resource> {
    id: Uuid,
    /// How it was last seen: what is gone is shown so.
    last: Option<R::Row>,
    judge: Judge,
}

impl<R: Resource> Row<R> {
    pub(super) fn new(cluster: &Cluster, id: Uuid, judge: Judge) -> Self {
        Self {
            id,
            last: R::by_id(cluster, id).map(|item| R::row(Names::of(&[cluster]), cluster, item)),
            judge,
        }
    }

    fn shown(&mut self, cluster: &Cluster) -> Shown {
        let item = R::by_id(cluster, self.id);
        match (item, &mut self.last) {
            (Some(item), last) => *last = Some(R::row(Names::of(&[cluster]), cluster, item)),
            (None, Some(last)) => R::mark_deleted(last),
            (None, None) => {}
        }
        Shown {
            progress: (self.judge)(cluster, self.id),
            body: self.last.as_ref().map(json).unwrap_or_default(),
            tag: item.map(|item| R::seq(item)),
        }
    }
}

impl<R: Resource> Clone for Row<R> {
    fn clone(&self) -> Self {
        Self { id: self.id, last: self.last.clone(), judge: self.judge }
    }
}

impl<R: Resource> Show for Row<R> {
    const DONE: StatusCode = StatusCode::OK;

    fn show(&mut self, cluster: &Cluster, _events: &[Envelope]) -> Shown {
        self.shown(cluster)
    }
}

/// Shows the row of what was made.
pub(super) struct Created<R> {
    /// What was made, once it is known.
    id: Option<Uuid>,
    resource: PhantomData<fn() -> R>,
}

impl<R> Created<R> {
    pub(super) fn new() -> Self {
        Self { id: None, resource: PhantomData }
    }
}

impl<R> Clone for Created<R> {
    fn clone(&self) -> Self {
        Self { id: self.id, resource: PhantomData }
    }
}

impl<R: Resource> Show for Created<R> {
    const DONE: StatusCode = StatusCode::CREATED;

    fn show(&mut self, cluster: &Cluster, events: &[Envelope]) -> Shown {
        let id = events.first().and_then(|envelope| envelope.event.subjects().first().copied());
        self.id = id.map(Subject::uuid);
        Row::<R> { id: self.id.unwrap_or_default(), last: None, judge: settled }.shown(cluster)
    }

    fn location(&self, api: &Api, body: &str) -> Option<HeaderValue> {
        #[derive(Deserialize)]
        struct Identified {
            id: Uuid,
        }
        // When an answer is repeated, its text is all there is of it.
        let told = || serde_json::from_str(body).ok().map(|Identified { id }| id);
        let id = self.id.or_else(told)?;
        HeaderValue::try_from(format!("/{}/{}/{id}", api.config.api_version, R::PLURAL)).ok()
    }
}

/// What sets nothing going is done at once.
pub(super) fn settled(_cluster: &Cluster, _id: Uuid) -> Progress {
    Progress::Done
}

/// A command on its way in: who sent it, and how it is to be carried out.
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
            request_id: guard::request_id(&parts.extensions),
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

    /// Carries out a command that is about one thing.
    pub(super) async fn run_on<R: Resource>(
        self,
        id: Uuid,
        command: Command,
        judge: Judge,
        body: Option<blake3::Hash>,
    ) -> Result<Response, Problem> {
        let cluster = self.api.journal.cluster();
        let precondition = self.precondition::<R>(&cluster, id)?;
        let show = Row::<R>::new(&cluster, id, judge);
        self.run(command, precondition, show, body).await
    }

    /// Carries out a command and answers what became of it.
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
        // The answer that is kept is the answer that is given, whatever else is in the commit.
        let (keep, kept) = self.keep(&show, body);
        submission.keep = keep;
        let outcome = match self.api.journal.submit(submission).await {
            Ok(outcome) => outcome,
            Err(SubmitError::Repeated(earlier)) => return Ok(self.repeat(&show, *earlier)),
            Err(error) => return Err(Problem::not_submitted(error, &self.api.journal.cluster())),
        };
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let shown = kept.unwrap_or_else(|| show.show(&outcome.cluster, &outcome.events));
        match self.query.wait()? {
            Some(wait) if shown.progress != Progress::Done => {
                let waited = self.wait(wait, outcome.seq, show.clone(), &outcome.events).await;
                if let Some(key) = self.key.clone() {
                    let (status, body) = (waited.status::<S>().as_u16(), waited.body().to_owned());
                    self.api.journal.amend_answer(key, status, waited.seq, body).await;
                }
                Ok(waited.answer(|shown, seq| self.answer(&show, shown, seq)))
            }
            _ => Ok(self.answer(&show, shown, outcome.seq)),
        }
    }

    fn keep<S: Show>(
        &self,
        show: &S,
        body: Option<blake3::Hash>,
    ) -> (Option<Keep>, Arc<Mutex<Option<Shown>>>) {
        let kept = Arc::new(Mutex::new(None));
        let keep = self.key.clone().map(|key| {
            let mut fingerprint = blake3::Hasher::new();
            fingerprint.update(self.target.as_bytes());
            fingerprint.update(body.as_ref().map_or(&[][..], |digest| digest.as_bytes()));
            let mut show = show.clone();
            let tell = Arc::clone(&kept);
            Keep {
                key,
                fingerprint: fingerprint.finalize().to_hex().to_string(),
                answer: Box::new(move |decision: &Decision| {
                    let shown = show.show(&decision.cluster, &decision.events);
                    let answer = (status::<S>(&shown).as_u16(), shown.body.clone());
                    *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
                    answer
                }),
            }
        });
        (keep, kept)
    }

    fn answer<S: Show>(&self, show: &S, shown: Shown, seq: Seq) -> Response {
        let status = status::<S>(&shown);
        let location =
            (status == StatusCode::CREATED).then(|| show.location(&self.api, &shown.body)).flatten();
        let mut response = answer(status, seq, shown.body);
        let headers = response.headers_mut();
        headers.extend(shown.tag.and_then(etag).map(|tag| (header::ETAG, tag)));
        headers.extend(location.map(|location| (header::LOCATION, location)));
        response
    }

    fn repeat<S: Show>(&self, show: &S, earlier: IdempotencyRecord) -> Response {
        let status = StatusCode::from_u16(earlier.status).unwrap_or(StatusCode::OK);
        if status == StatusCode::CONFLICT {
            return failed(earlier.body, earlier.seq);
        }
        let location =
            (status == StatusCode::CREATED).then(|| show.location(&self.api, &earlier.body)).flatten();
        // What is gone has no version any more.
        let is_gone = self.target.starts_with("DELETE ") && status == StatusCode::OK;
        let tag = seq_of(&earlier.body).filter(|_| !is_gone).and_then(etag);
        let mut response = answer(status, earlier.seq, earlier.body);
        let headers = response.headers_mut();
        headers.extend(tag.map(|tag| (header::ETAG, tag)));
        headers.extend(location.map(|location| (header::LOCATION, location)));
        response
    }

    /// Waits until it is done, has failed, or the time is over.
    async fn wait<S: Show>(&self, wait: Duration, since: Seq, mut show: S, events: &[Envelope]) -> Waited {
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        let mut states = self.api.journal.watch();
        loop {
            let cluster = states.borrow_and_update().clone();
            let seq = cluster.seq().max(since);
            let shown = show.show(&cluster, events);
            if shown.progress != Progress::Going {
                return Waited { shown, seq };
            }
            let is_over = tokio::select! {
                changed = states.changed() => changed.is_err(),
                () = &mut deadline => true,
                () = self.api.shutdown.cancelled() => true,
            };
            if is_over {
                return Waited { shown, seq };
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
            // Only tags that no version of it ever had.
            None => Err(Problem::new(Sort::Changed, format!("its entity tag is \"{actual}\""))),
        }
    }
}

/// What was seen last by who waited.
struct Waited {
    shown: Shown,
    seq: Seq,
}

impl Waited {
    fn status<S: Show>(&self) -> StatusCode {
        match self.shown.progress {
            Progress::Failed(_) => StatusCode::CONFLICT,
            _ => status::<S>(&self.shown),
        }
    }

    /// The body; of a failure the reason alone, for a problem also tells the request that it answers.
    fn body(&self) -> &str {
        match &self.shown.progress {
            Progress::Failed(reason) => reason,
            _ => &self.shown.body,
        }
    }

    fn answer(self, otherwise: impl FnOnce(Shown, Seq) -> Response) -> Response {
        match self.shown.progress {
            Progress::Failed(reason) => failed(reason, self.seq),
            _ => otherwise(self.shown, self.seq),
        }
    }
}

/// The answer about what did not become as was wanted.
fn failed(reason: String, seq: Seq) -> Response {
    let mut response = Problem::conflict(reason).into_response();
    response.headers_mut().insert(SEQ_HEADER, HeaderValue::from(seq.0));
    response
}

/// The last change of the thing whose row this is.
fn seq_of(row: &str) -> Option<Seq> {
    #[derive(Deserialize)]
    struct Versioned {
        seq: u64,
    }
    serde_json::from_str::<Versioned>(row).ok().map(|row| Seq(row.seq))
}

fn status<S: Show>(shown: &Shown) -> StatusCode {
    match shown.progress {
        Progress::Done => S::DONE,
        Progress::Going | Progress::Failed(_) => StatusCode::ACCEPTED,
    }
}

/// The versions that `If-Match` names. `None` when any will do; weak tags match nothing (RFC 9110, 13.1.1).
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
                let detail =
                    format!("If-Match: `{text}` is not an entity tag; send back an ETag, as in \"7\"");
                return Err(Problem::new(Sort::Malformed, detail));
            }
            is_there = true;
            seqs.extend(tag.trim_matches('"').parse().ok().map(Seq));
        }
    }
    Ok(is_there.then_some(seqs))
}

/// The longest `Idempotency-Key`, in characters.
const KEY_LIMIT: usize = 255;

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_LIMIT).contains(&key.trim().len()) => Ok(Some(key.trim().to_owned())),
        _ => Err(Problem::invalid(
            "Idempotency-Key",
            format!("a key is printable ASCII text of 1 to {KEY_LIMIT} characters"),
        )),
    }
}
