//! Webhooks: an independent receiver that fails, hangs and restarts, and a daemon that is killed meanwhile.

use crate::program::{create_container, signal, stderr};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use reqwest::Method;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const SECRET: &str = "a secret of more than 16 characters";

/// How a receiver answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(u16),
    /// To itself: a client that follows redirects would be seen.
    Redirect,
    Never,
    /// A body without an end.
    Endless,
}

#[derive(Clone, Debug)]
struct Received {
    headers: HeaderMap,
    body: Bytes,
    accepted: bool,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn seq(&self) -> u64 {
        self.event()["seq"].as_u64().unwrap()
    }
}

/// A receiver of events. It answers 204 by default.
#[derive(Clone, Default)]
struct Receiver {
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Receiver {
    fn router(&self) -> axum::Router {
        axum::Router::new().fallback(receive).with_state(self.clone())
    }

    async fn listen(&self, listener: TcpListener) -> JoinHandle<()> {
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
    }

    /// The first accepted delivery of each event, in order.
    fn accepted(&self) -> Vec<u64> {
        let mut seqs: Vec<u64> = Vec::new();
        for received in self.received.lock().unwrap().iter().filter(|received| received.accepted) {
            let seq = received.seq();
            if !seqs.contains(&seq) {
                seqs.push(seq);
            }
        }
        seqs
    }

    fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = receiver.answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(204));
    let accepted = matches!(answer, Answer::Status(200..=299));
    receiver.received.lock().unwrap().push(Received { headers, body, accepted });
    match answer {
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Redirect => {
            let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
            response.headers_mut().insert("location", HeaderValue::from_static("/elsewhere"));
            response
        }
        Answer::Never => std::future::pending().await,
        Answer::Endless => {
            let pieces = futures_util::stream::repeat(Ok::<_, std::convert::Infallible>(Bytes::from_static(
                &[b'x'; 4096],
            )));
            Response::new(axum::body::Body::from_stream(pieces))
        }
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn daemon_that_tells(url: &str, more: &[(&str, &str)]) -> Daemon {
    Daemon::start_with(&["--no-local"], &[&[("KDAEMON_WEBHOOK_URL", url)], more].concat()).await
}

/// The seqs of the events to be delivered, from an event on.
async fn wanted(daemon: &Daemon, after: u64) -> Vec<u64> {
    let page = daemon.get(&format!("/events?limit=10000&after={after}")).await;
    let events = page["events"].as_array().unwrap().clone();
    events.iter().filter(|e| e["kind"] != "NodeObserved").map(|e| e["seq"].as_u64().unwrap()).collect()
}

async fn figure(daemon: &Daemon, name: &str) -> u64 {
    let text = reqwest::get(daemon.url("//metrics")).await.unwrap().text().await.unwrap();
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}:\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn is_signed(signature: &str, parts: &[&[u8]]) -> bool {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag: String =
        ring::hmac::sign(&key, &parts.concat()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    signature == format!("sha256={tag}")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_delivered_once_in_order_and_signed() {
    let receiver = Receiver::default();
    let listener = listener().await;
    let url = format!("http://{}/hook?team=a", listener.local_addr().unwrap());
    receiver.listen(listener).await;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let daemon = daemon_that_tells(&url, &[("KDAEMON_WEBHOOK_SECRET_FILE", secret.to_str().unwrap())]).await;
    for number in 0..150 {
        assert!(create_container(&daemon, &format!("c-{number}")).await);
    }
    // From the election on, which comes after the webhook's position was set.
    let created = daemon.get("/events?kind=LeaderElected,ContainerCreated&limit=10000").await;
    let created = created["events"].as_array().unwrap().clone();
    eventually("all were received", async || (receiver.count() >= created.len()).then_some(())).await;
    let received = receiver.received.lock().unwrap().clone();
    assert_eq!(received.iter().map(Received::event).collect::<Vec<_>>(), created, "as they stand in the log");
    for received in &received {
        let event = received.event();
        assert_eq!(received.header("content-type"), "application/json");
        assert_eq!(received.header("x-kdaemon-event"), event["kind"]);
        assert_eq!(received.header("x-kdaemon-delivery"), event["id"]);
        assert_eq!(received.header("x-kdaemon-seq"), event["seq"].to_string());
        assert!(is_signed(received.header("x-kdaemon-signature"), &[&received.body]));
        let time = received.header("x-kdaemon-timestamp");
        let age = chrono::Utc::now().timestamp() - time.parse::<i64>().unwrap();
        assert!((0..60).contains(&age), "{age}");
        let with_time = received.header("x-kdaemon-timestamp-signature");
        assert!(is_signed(with_time, &[time.as_bytes(), b".", &received.body]));
        assert!(!is_signed(with_time, &[b"1.", &received.body]));
    }
    eventually("nothing is left", async || {
        (figure(&daemon, "kdaemon_webhook_lag_events").await == 0).then_some(())
    })
    .await;
    assert_eq!(figure(&daemon, "kdaemon_webhook_deliveries_total{outcome=\"delivered\"}").await, 151);
    let log = daemon.log.lock().unwrap().clone();
    assert!(!log.contains("team=a") && !log.contains(SECRET), "what may be secret is not logged: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_requested_kinds_are_delivered() {
    let receiver = Receiver::default();
    let listener = listener().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    receiver.listen(listener).await;
    let kinds = "ContainerDeleted, ContainerUpdated";
    let daemon = daemon_that_tells(&url, &[("KDAEMON_WEBHOOK_EVENTS", kinds)]).await;
    for name in ["a", "b"] {
        assert!(create_container(&daemon, name).await);
        daemon.ask(Method::DELETE, &format!("/containers/delete/{name}"), None).await;
    }
    eventually("both were delivered", async || (receiver.count() >= 2).then_some(())).await;
    let received = receiver.received.lock().unwrap().clone();
    let kinds: Vec<_> =
        received.iter().map(|received| received.header("x-kdaemon-event").to_owned()).collect();
    assert_eq!(kinds, ["ContainerDeleted", "ContainerDeleted"]);
    assert!(!received[0].headers.contains_key("x-kdaemon-signature"), "there is no secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_receiver_gets_the_event_again_and_delays_nothing_else() {
    let receiver = Receiver::default();
    let answers = [
        Answer::Status(500),
        Answer::Redirect,
        Answer::Status(404),
        Answer::Never,
        Answer::Status(200),
        Answer::Endless,
        Answer::Status(201),
        Answer::Status(429),
    ];
    let listener = listener().await;
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    receiver.listen(listener).await;
    let daemon = daemon_that_tells(&url, &[("KDAEMON_WEBHOOK_EVENTS", "ContainerCreated")]).await;
    receiver.answers.lock().unwrap().extend(answers);
    assert!(create_container(&daemon, "first").await);
    eventually("the receiver hangs", async || (receiver.count() >= 4).then_some(())).await;
    // Meanwhile everything else keeps working, and the metrics show it.
    let before = std::time::Instant::now();
    for number in 0..20 {
        assert!(create_container(&daemon, &format!("c-{number}")).await);
    }
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    assert!(figure(&daemon, "kdaemon_webhook_lag_events").await >= 21);
    assert_eq!(figure(&daemon, "kdaemon_webhook_deliveries_total{outcome=\"failed\"}").await, 3);
    let told = eventually("all were accepted", async || {
        let told = receiver.received.lock().unwrap().clone();
        (told.iter().filter(|one| one.header("x-kdaemon-seq") == told[0].header("x-kdaemon-seq")).count()
            == 5
            && figure(&daemon, "kdaemon_webhook_lag_events").await == 0)
            .then_some(told)
    })
    .await;
    let deliveries: BTreeMap<_, _> = told
        .iter()
        .map(|one| (one.header("x-kdaemon-seq").to_owned(), one.header("x-kdaemon-delivery").to_owned()))
        .collect();
    assert_eq!(deliveries.len(), 21);
    for one in &told {
        assert_eq!(
            deliveries[one.header("x-kdaemon-seq")],
            one.header("x-kdaemon-delivery"),
            "the same id each time"
        );
    }
    let seqs: Vec<_> = told.iter().map(Received::seq).collect();
    assert!(seqs.is_sorted(), "in order: {seqs:?}");
    let log = daemon.log.lock().unwrap().clone();
    for words in ["redirects are not followed", "500", "no answer within 10 s"] {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_missed_across_kills_and_outages() {
    let receiver = Receiver::default();
    let first = listener().await;
    let address = first.local_addr().unwrap();
    let mut daemon = daemon_that_tells(&format!("http://{address}/"), &[]).await;
    drop(first); // no server listens there
    let after = 1; // the position is after the first event, and before the election
    let mut made = 0;
    let mut make = async |daemon: &Daemon| {
        for _ in 0..30 {
            made += 1;
            assert!(create_container(daemon, &format!("c-{made}")).await);
        }
    };
    make(&daemon).await;
    daemon.kill();
    daemon.begin().await;
    for life in 0..4 {
        let listening = receiver.listen(TcpListener::bind(address).await.unwrap()).await;
        let had = receiver.accepted().len();
        make(&daemon).await;
        eventually("more were delivered", async || (receiver.accepted().len() > had).then_some(())).await;
        match life {
            // In the middle of it: the daemon, the receiver, both.
            0 => daemon.kill(),
            1 => listening.abort(),
            2 => {
                daemon.kill();
                listening.abort();
            }
            _ => {
                signal(daemon.pid(), "TERM");
                assert_eq!(daemon.ended().await, Some(0));
            }
        }
        if life != 1 {
            daemon.begin().await;
        }
        listening.abort();
        let _ = listening.await;
    }
    let listening = receiver.listen(TcpListener::bind(address).await.unwrap()).await;
    make(&daemon).await;
    let wanted = wanted(&daemon, after).await;
    assert!(wanted.len() >= 180);
    eventually("all were delivered", async || (receiver.accepted().len() >= wanted.len()).then_some(()))
        .await;
    assert_eq!(receiver.accepted(), wanted, "none is missing, and all came in order");
    eventually("nothing is left", async || {
        (figure(&daemon, "kdaemon_webhook_lag_events").await == 0).then_some(())
    })
    .await;
    // After a clean stop nothing is delivered again.
    signal(daemon.pid(), "TERM");
    daemon.ended().await;
    let before = receiver.count();
    daemon.begin().await;
    assert!(create_container(&daemon, "last").await);
    let last = *self::wanted(&daemon, after).await.last().unwrap();
    eventually("the last one was delivered", async || receiver.accepted().contains(&last).then_some(()))
        .await;
    let new: Vec<_> = receiver.received.lock().unwrap()[before..].iter().map(Received::seq).collect();
    assert!(new.iter().all(|seq| !wanted.contains(seq)), "{new:?}");
    listening.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_receivers_must_be_trusted_by_the_system() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let trusted = dir.path().join("trusted.pem");
    std::fs::write(&trusted, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let receiver = Receiver::default();
    let listener = listener().await;
    let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
    let router = receiver.router();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper_util::service::TowerToHyperService::new(router);
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
            });
        }
    });
    let stranger = daemon_that_tells(&url, &[]).await;
    assert!(create_container(&stranger, "a").await);
    eventually("it is not trusted", async || {
        stranger.log.lock().unwrap().contains("invalid peer certificate").then_some(())
    })
    .await;
    assert_eq!(receiver.count(), 0);
    let daemon = daemon_that_tells(&url, &[("SSL_CERT_FILE", trusted.to_str().unwrap())]).await;
    assert!(create_container(&daemon, "a").await);
    eventually("the event was delivered", async || (receiver.count() > 0).then_some(())).await;
}

#[test]
fn impossible_webhook_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let short = dir.path().join("short");
    std::fs::write(&short, "12345").unwrap();
    let url = ("KDAEMON_WEBHOOK_URL", "http://127.0.0.1:9/");
    for (settings, words) in [
        (vec![("KDAEMON_WEBHOOK_URL", "ftp://example.org")], "is not a URL that events can be sent to"),
        (vec![("KDAEMON_WEBHOOK_URL", "http://me:pass@example.org/")], "without a user or password"),
        (vec![url, ("KDAEMON_WEBHOOK_EVENTS", "NodeUnhealty")], "the nearest one is NodeUnhealthy"),
        (vec![url, ("KDAEMON_WEBHOOK_SECRET_FILE", "/no/such/file")], "/no/such/file cannot be read"),
        (vec![url, ("KDAEMON_WEBHOOK_SECRET_FILE", short.to_str().unwrap())], "at least 16 characters"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_kdaemon"))
            .args(["serve", "--no-local", "--bind", "127.0.0.1:0", "--data-dir"])
            .arg(dir.path().join("state"))
            .envs(settings)
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert_eq!(stderr(&output).trim().lines().filter(|line| line.starts_with("kdaemon:")).count(), 1);
    }
}
