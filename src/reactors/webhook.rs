//! The webhook: every event that is wanted is sent to somebody else's server, one by one and in order.
//!
//! It follows the log by sequence, and what it has done is a cursor in the store: an event is passed only when the
//! receiver answered 2xx. So none is missed, whoever is restarted; after a crash the last ones come again, with the same
//! `X-KDaemon-Delivery` as before. A receiver that is slow, fails or hangs holds up nothing but its own deliveries.

use super::ReactorContext;
use crate::http_client::{HttpClient, body_at_most, chain};
use crate::says::{self, Names};
use crate::store::{EventQuery, EventStore, EventText, StoreError};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use kdaemon_control::backoff::Backoff;
use kdaemon_events::{EventId, Kind, Seq};
use ring::hmac;
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of its answer is read, to be able to use the connection again.
const ANSWER_LIMIT: usize = 64 * 1024;
/// The pauses between attempts to deliver an event.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(300));
/// How many events are read at a time.
const PAGE: usize = 100;
/// Changes are gathered so long before the log is read.
const GATHER: Duration = Duration::from_millis(50);
/// The cursor is kept at least so often: what was sent since comes again after a crash.
const KEEP: Duration = Duration::from_secs(1);
/// As long as nothing is sent, it is kept so often: it only saves reading.
const KEEP_IDLE: Duration = Duration::from_secs(60);
/// The shortest secret, in bytes: a shorter one could be guessed.
const SECRET_LEAST: usize = 16;

/// Where events are sent, and which.
#[derive(Debug, Clone)]
pub struct Webhook {
    url: Uri,
    kinds: Vec<Kind>,
    secret_file: Option<PathBuf>,
    /// What became of them.
    pub deliveries: Arc<Deliveries>,
}

/// What became of the events that were to be sent.
#[derive(Debug, Default)]
pub struct Deliveries {
    position: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl Deliveries {
    /// Up to where all was delivered that is wanted.
    #[must_use]
    pub fn position(&self) -> Seq {
        Seq(self.position.load(Ordering::Relaxed))
    }

    /// How many events were delivered since the daemon started.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// How many attempts failed since the daemon started.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Webhook {
    /// A webhook; no kinds: all but raw observations. With a secret the bodies are signed.
    ///
    /// # Errors
    /// In words, when the URL is none or the secret cannot be used.
    pub fn new(url: &str, kinds: &[Kind], secret_file: Option<PathBuf>) -> Result<Self, String> {
        let url = url.parse().map_err(|error| format!("webhook_url: {error}"))?;
        let all = Kind::ALL.iter().copied().filter(|kind| !kind.is_observation());
        let kinds = if kinds.is_empty() { all.collect() } else { kinds.to_vec() };
        let webhook = Self { url, kinds, secret_file, deliveries: Arc::default() };
        webhook.key().map(|_| webhook)
    }

    /// Sees to it that it begins somewhere: a receiver that there was none of before gets what happens after `head`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin(&self, store: &dyn EventStore, head: Seq) -> Result<Seq, StoreError> {
        let name = self.cursor();
        if let Some(position) = store.cursor(&name).await? {
            return Ok(position);
        }
        store.set_cursor(&name, head).await?;
        Ok(head)
    }

    /// The key of the signatures. Read each time: it may have been changed.
    fn key(&self) -> Result<Option<hmac::Key>, String> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        let file = path.display();
        let secret = std::fs::read(path)
            .map_err(|error| format!("webhook_secret_file {file} cannot be read: {error}"))?;
        let secret = secret.trim_ascii();
        if secret.len() < SECRET_LEAST {
            return Err(format!(
                "webhook_secret_file {file}: a secret has at least {SECRET_LEAST} characters"
            ));
        }
        Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The name of its cursor: another receiver begins anew. (A digest, for somebody's URL may hold what others are not
    /// to know.)
    fn cursor(&self) -> String {
        format!("webhook {}", &blake3::hash(self.url.to_string().as_bytes()).to_hex()[..16])
    }

    /// The receiver without what others are not to know: of many a receiver the path is the secret.
    fn shown(&self) -> String {
        let (scheme, host) = (self.url.scheme_str().unwrap_or_default(), self.url.host().unwrap_or_default());
        let port = self.url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}")
    }
}

pub(super) async fn run(context: ReactorContext, webhook: Webhook) {
    let client = match HttpClient::new() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "no events are sent");
            return;
        }
    };
    let cancel = context.cancel.clone();
    let mut sender = Sender { context, webhook, client, position: Seq(0), kept: None };
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = sender.follow() => {}
    }
    sender.keep().await;
}

struct Sender {
    context: ReactorContext,
    webhook: Webhook,
    client: HttpClient,
    /// All up to here was delivered, or is not wanted.
    position: Seq,
    /// What the store has as the position, and since when; `None` before it was read.
    kept: Option<(Seq, Instant)>,
}

/// What is said of an event outside of its body.
#[derive(Deserialize)]
struct Gist {
    id: EventId,
    kind: String,
}

impl Sender {
    /// Sends what is wanted, for ever.
    async fn follow(&mut self) {
        let mut failures = 0;
        while let Err(error) = self.begin().await {
            tracing::warn!(%error, "webhook cursor not read, retrying");
            failures += 1;
            sleep(BACKOFF.pause(failures)).await;
        }
        tracing::info!(to = self.webhook.shown(), after = %self.position, "events are sent");
        let mut states = self.context.journal.watch();
        loop {
            let known = self.context.journal.cluster().seq();
            match self.page(known).await {
                Ok(events) => {
                    for event in events {
                        self.deliver(&event).await;
                        self.set_position(event.seq);
                        self.keep_after(KEEP).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the webhook cannot read the log yet");
                    sleep(BACKOFF.first).await;
                    continue;
                }
            }
            if self.position < known {
                continue;
            }
            self.keep_after(KEEP_IDLE).await;
            let position = self.position;
            let news = async { states.wait_for(|cluster| cluster.seq() > position).await.is_ok() };
            // What was sent is kept even if nothing else ever happens.
            match timeout(KEEP, news).await {
                Ok(false) => return, // the journal was closed
                Ok(true) => sleep(GATHER).await,
                Err(_) => self.keep_after(KEEP).await,
            }
        }
    }

    /// Finds out where it was.
    async fn begin(&mut self) -> Result<(), StoreError> {
        let journal = &self.context.journal;
        let position = self.webhook.begin(journal.store().as_ref(), journal.cluster().seq()).await?;
        self.kept = Some((position, Instant::now()));
        self.set_position(position);
        Ok(())
    }

    fn set_position(&mut self, seq: Seq) {
        self.position = seq;
        self.webhook.deliveries.position.store(seq.0, Ordering::Relaxed);
    }

    /// The next events that are wanted, of a log that goes at least up to `known`.
    async fn page(&mut self, known: Seq) -> Result<Vec<EventText>, StoreError> {
        let query = EventQuery {
            after: self.position,
            limit: PAGE,
            kinds: self.webhook.kinds.clone(),
            ..EventQuery::default()
        };
        let events = self.context.journal.store().query(query).await?;
        if events.is_empty() {
            self.set_position(self.position.max(known));
        }
        Ok(events)
    }

    async fn keep_after(&mut self, age: Duration) {
        if self.kept.is_some_and(|(seq, since)| seq != self.position && since.elapsed() >= age) {
            self.keep().await;
        }
    }

    async fn keep(&mut self) {
        let Some((kept, _)) = self.kept.filter(|(seq, _)| *seq != self.position) else { return };
        match self.context.journal.store().set_cursor(&self.webhook.cursor(), self.position).await {
            Ok(()) => self.kept = Some((self.position, Instant::now())),
            Err(error) => {
                tracing::warn!(%error, "the webhook's cursor cannot be kept: what was sent may be sent again");
                self.kept = Some((kept, Instant::now())); // not again at once
            }
        }
    }

    /// Sends an event until the receiver has it.
    async fn deliver(&mut self, event: &EventText) {
        let mut failures = 0;
        loop {
            failures += 1;
            let pause = BACKOFF.pause(failures);
            match self.attempt(event).await {
                Ok(()) => {
                    self.webhook.deliveries.delivered.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error) => {
                    self.webhook.deliveries.failed.fetch_add(1, Ordering::Relaxed);
                    let (to, seq) = (self.webhook.shown(), event.seq);
                    tracing::warn!(to, %seq, error, again_in = ?pause, "an event was not delivered");
                }
            }
            // What was sent before it is kept while it waits.
            self.keep().await;
            sleep(pause).await;
        }
    }

    async fn attempt(&self, event: &EventText) -> Result<(), String> {
        let request = self.request(event)?;
        let exchange = async {
            let response = self.client.send(request).await?;
            let status = response.status();
            // Read, so that the connection can be used again; what it says does not matter.
            let _ = body_at_most(response, ANSWER_LIMIT).await;
            Ok::<_, crate::http_client::HttpError>(status)
        };
        match timeout(TIMEOUT, exchange).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) if status.is_redirection() => {
                Err(format!("it was answered {status}: redirects are not followed"))
            }
            Ok(Ok(status)) => Err(format!("it was answered {status}")),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("there was no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    fn request(&self, event: &EventText) -> Result<Request<Full<Bytes>>, String> {
        let gist: Gist = serde_json::from_str(&event.json).map_err(|error| format!("the event: {error}"))?;
        let cluster = self.context.journal.cluster();
        let body = says::beside(Names::of(&[&cluster]), &event.json)
            .map_err(|error| format!("the event: {error}"))?;
        let now = self.context.journal.now().timestamp().to_string();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.webhook.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("kdaemon/", env!("CARGO_PKG_VERSION")))
            .header("x-kdaemon-event", gist.kind)
            .header("x-kdaemon-delivery", gist.id.to_string())
            .header("x-kdaemon-seq", event.seq.0)
            .header("x-kdaemon-timestamp", &now);
        if let Some(key) = self.webhook.key()? {
            let signed = |parts: &[&[u8]]| {
                let mut context = hmac::Context::with_key(&key);
                parts.iter().for_each(|part| context.update(part));
                HeaderValue::try_from(format!("sha256={}", hex(context.sign().as_ref())))
            };
            let signature = signed(&[body.as_bytes()]).map_err(|error| error.to_string())?;
            let with_time =
                signed(&[now.as_bytes(), b".", body.as_bytes()]).map_err(|error| error.to_string())?;
            request = request
                .header("x-kdaemon-signature", signature)
                .header("x-kdaemon-timestamp-signature", with_time);
        }
        request.body(Full::from(body)).map_err(|error| error.to_string())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // into memory: cannot fail
        text
    })
}
