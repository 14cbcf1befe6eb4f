//! The transport to an engine: our own connections below bollard's client.
//!
//! bollard's own transports support no timeout below a second and no keep-alive, and do not report when a
//! stream was answered; and bollard encodes the registry's credentials in an alphabet that the engine does
//! not read. So we pass it a transport of our own, which it allows for.

use super::EngineLimits;
use super::names::NameResolver;
use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kdaemon_events::Endpoint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::UnixStream;

/// bollard's own timeout, in seconds: long enough never to apply. Ours are around each call.
const NO_LIMIT_S: u64 = 7 * 24 * 3600;
/// How long a connection may be silent before the kernel probes the peer …
const KEEPALIVE: Duration = Duration::from_secs(15);
/// … the interval between two probes …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// … and how many unanswered ones close the connection.
const KEEPALIVE_RETRIES: u32 = 3;

/// Set once an engine has begun to answer: the headers have arrived.
pub(super) type AnswerBegun = Arc<AtomicBool>;

/// A client for the engine at `endpoint`; `answered` is set as soon as the answer to any request begins.
pub(super) fn client(
    endpoint: &Endpoint,
    limits: &EngineLimits,
    answered: AnswerBegun,
) -> Result<Docker, Error> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let mut connector = HttpConnector::new_with_resolver(NameResolver);
            connector.set_connect_timeout(Some(limits.connect));
            connector.set_nodelay(true);
            // Without these a stream of events over a cut link would be silent indefinitely.
            connector.set_keepalive(Some(KEEPALIVE));
            connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
            connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
            let address =
                if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            over(connector, &address, answered)
        }
        Endpoint::Unix { path } => {
            let path: Arc<str> = path.as_str().into();
            let connector = tower::service_fn(move |_: Uri| {
                let path = Arc::clone(&path);
                Box::pin(async move { UnixStream::connect(&*path).await.map(TokioIo::new) })
            });
            over(connector, "localhost", answered)
        }
    }
}

fn over<C>(connector: C, address: &str, answered: AnswerBegun) -> Result<Docker, Error>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    // One connection per request, as with bollard's own transports: a kept connection may lead to a machine
    // that has crashed and rebooted since, and would cost one request its whole timeout.
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let transport = move |mut request: BollardRequest| {
        url_safe_credentials(&mut request);
        let response = client.request(request);
        let answered = Arc::clone(&answered);
        async move {
            let response = response.await?;
            answered.store(true, Ordering::Relaxed);
            Ok(response)
        }
    };
    Docker::connect_with_custom_transport(
        transport,
        Some(format!("http://{address}")),
        NO_LIMIT_S,
        API_DEFAULT_VERSION,
    )
}

/// The engine reads `X-Registry-Auth` in the URL-safe alphabet of base64 (RFC 4648, section 5) and treats
/// unreadable values as no credentials; bollard 0.21 writes the standard alphabet.
fn url_safe_credentials(request: &mut BollardRequest) {
    const HEADER: &str = "x-registry-auth";
    let Some(header) = request.headers().get(HEADER) else { return };
    let safe: Vec<u8> = header
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        })
        .collect();
    if let Ok(mut value) = HeaderValue::from_bytes(&safe) {
        value.set_sensitive(true);
        request.headers_mut().insert(HEADER, value);
    }
}
