//! The webhook: delivers selected events to a receiver, one by one and in order.
//!
//! The webhook follows the log by sequence, and its position is a cursor in the store, which passes an event
//! only when the receiver answered 2xx. So no event is missed across restarts of either side; after a crash
//! the last ones are delivered again, with the same `X-KDaemon-Delivery`. A receiver that is slow, fails or
//! hangs delays nothing but its own deliveries.

use super::ReactorContext;
use crate::http_client::{HttpClient, HttpError, body_at_most};
use crate::says::{self, Names};
use crate::store::{CursorStore, EventQuery, EventText, StoreError};
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

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a delivery.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer that are read, so that the connection can be reused.
const ANSWER_LIMIT: usize = 64 * 1024;
/// Backoff between attempts to deliver an event.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(300));
/// Events read at a time.
const PAGE: usize = 100;
/// How long changes are collected before the log is read.
const GATHER: Duration = Duration::from_millis(50);
/// Interval of storing the cursor: later deliveries are repeated after a crash.
const KEEP: Duration = Duration::from_secs(1);
/// Interval of storing the cursor while nothing is sent: it only saves reading.
const KEEP_IDLE: Duration = Duration::from_secs(60);
/// The shortest secret, in bytes: a shorter one could be guessed.
const SECRET_LEAST: usize = 16;

/// The receiver, and the kinds of event it gets.
#[derive(Debug, Clone)]
pub struct Webhook {
    url: Uri,
    kinds: Vec<Kind>,
    secret_file: Option<PathBuf>,
    /// Outcomes of its deliveries.
    pub deliveries: Arc<Deliveries>,
}

/// Outcomes of deliveries.
#[derive(Debug, Default)]
pub struct Deliveries {
    position: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl Deliveries {
    /// The event up to which all selected ones were delivered.
    #[must_use]
    pub fn position(&self) -> Seq {
        Seq(self.position.load(Ordering::Relaxed))
    }

    /// Events delivered since the daemon started.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Failed attempts since the daemon started.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Webhook {
    /// A webhook for these kinds; none means all but raw observations. With a secret the bodies are signed.
    ///
    /// # Errors
    /// A message, when the URL is invalid or the secret cannot be used.
    pub fn new(url: &str, kinds: &[Kind], secret_file: Option<PathBuf>) -> Result<Self, String> {
        let url = url.parse().map_err(|error| format!("webhook_url: {error}"))?;
        let all = Kind::ALL.iter().copied().filter(|kind| !kind.is_observation());
        let kinds = if kinds.is_empty() { all.collect() } else { kinds.to_vec() };
        let webhook = Self { url, kinds, secret_file, deliveries: Arc::default() };
        webhook.key().map(|_| webhook)
    }

    /// Ensures that a position exists: a new receiver gets the events after `head`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin(&self, store: &dyn CursorStore, head: Seq) -> Result<Seq, StoreError> {
        let name = self.cursor();
        if let Some(position) = store.cursor(&name).await? {
            return Ok(position);
        }
        store.set_cursor(&name, head).await?;
        Ok(head)
    }

    /// The key of the signatures. Read each time, because the file may have changed.
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

    /// The name of the cursor: a new URL gets a new cursor. (A digest, because a URL may contain a secret.)
    fn cursor(&self) -> String {
        format!("webhook {}", &blake3::hash(self.url.to_string().as_bytes()).to_hex()[..16])
    }

    /// The receiver without its path, which is a secret for many receivers.
    fn shown(&self) -> String {
        let (scheme, host) = (self.url.scheme_str().unwrap_or_default(), self.url.host().unwrap_or_default());
        let port = self.url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}")
    }
}

pub(super) async fn run(context: ReactorContext, webhook: Webhook) {
    let client = match HttpClient::new(CONNECT_TIMEOUT) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "webhook disabled");
            return;
        }
    };
    let cancel = context.cancel.clone();
    let mut sender = DeliverySender { context, webhook, client, position: Seq(0), kept: None };
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = sender.follow() => {}
    }
    sender.keep().await;
}

struct DeliverySender {
    context: ReactorContext,
    webhook: Webhook,
    client: HttpClient,
    /// Everything up to here was delivered, or not selected.
    position: Seq,
    /// The stored position, and when it was stored; `None` before it was read.
    kept: Option<(Seq, Instant)>,
}

/// The parts of an event that become headers.
#[derive(Deserialize)]
struct DeliveryHeaders {
    id: EventId,
    kind: String,
}

impl DeliverySender {
    /// Delivers selected events, indefinitely.
    async fn follow(&mut self) {
        let mut failures = 0;
        while let Err(error) = self.begin().await {
            tracing::warn!(%error, "webhook cursor not read, retrying");
            failures += 1;
            sleep(BACKOFF.pause(failures)).await;
        }
        tracing::info!(to = self.webhook.shown(), after = %self.position, "webhook started");
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
                    tracing::warn!(%error, "webhook cannot read the log yet");
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
            // The position is stored even if nothing else ever happens.
            match timeout(KEEP, news).await {
                Ok(false) => return, // the journal was closed
                Ok(true) => sleep(GATHER).await,
                Err(_) => self.keep_after(KEEP).await,
            }
        }
    }

    /// Reads the position.
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

    /// The next selected events of a log that extends at least to `known`.
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
                tracing::warn!(%error, "cannot store the webhook's cursor; deliveries may be repeated");
                self.kept = Some((kept, Instant::now())); // do not retry at once
            }
        }
    }

    /// Delivers an event, retrying until the receiver has it.
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
                    tracing::warn!(to, %seq, error, again_in = ?pause, "webhook delivery failed");
                }
            }
            // The position of earlier deliveries is stored while this one waits.
            self.keep().await;
            sleep(pause).await;
        }
    }

    async fn attempt(&self, event: &EventText) -> Result<(), String> {
        let request = self.request(event)?;
        let exchange = async {
            let response = self.client.send(request).await?;
            let status = response.status();
            // Read so that the connection can be reused; the content does not matter.
            let _ = body_at_most(response, ANSWER_LIMIT).await;
            Ok::<_, HttpError>(status)
        };
        match timeout(TIMEOUT, exchange).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) if status.is_redirection() => {
                Err(format!("it was answered {status}: redirects are not followed"))
            }
            Ok(Ok(status)) => Err(format!("it was answered {status}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("there was no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    fn request(&self, event: &EventText) -> Result<Request<Full<Bytes>>, String> {
        let gist: DeliveryHeaders =
            serde_json::from_str(&event.json).map_err(|error| format!("the event: {error}"))?;
        let cluster = self.context.journal.cluster();
        let body = says::with_sentence(Names::of(&[&cluster]), &event.json)
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
