//! How requests get to an engine: connections of our own under bollard's client.
//!
//! Bollard's own transports know no limit below a second, no keep-alive, and do not tell when a stream was
//! answered; and it writes the registry's credentials in an alphabet that the engine does not read. So this
//! brings a transport of ours, which it allows for.

use super::Limits;
use super::names::Names;
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

/// Bollard's own limit, in seconds: so long that it never counts. Ours are around each call.
const NO_LIMIT_S: u64 = 7 * 24 * 3600;
/// How long a connection may be silent before the kernel asks the other side whether it is there …
const KEEPALIVE: Duration = Duration::from_secs(15);
/// … how long it waits for the answer before it asks again …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// … and how often, before it gives the connection up.
const KEEPALIVE_RETRIES: u32 = 3;

/// Whether an engine has begun to answer: its answer's headers are there.
pub(super) type Answered = Arc<AtomicBool>;

/// A client for the engine at `endpoint`; `answered` is set as soon as an answer to any request begins.
pub(super) fn client(endpoint: &Endpoint, limits: &Limits, answered: Answered) -> Result<Docker, Error> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let mut connector = HttpConnector::new_with_resolver(Names);
            connector.set_connect_timeout(Some(limits.connect));
            connector.set_nodelay(true);
            // Without these a stream of events over a cut link would be silent for ever.
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

fn over<C>(connector: C, address: &str, answered: Answered) -> Result<Docker, Error>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    // A connection per request, as bollard's own transports do: a connection that was kept may lead to a
    // machine that has died and come back since, and would cost one request its whole time limit.
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

/// The engine reads `X-Registry-Auth` in the URL-safe alphabet of base64 (RFC 4648, section 5) and takes what
/// it cannot read for no credentials; bollard 0.21 writes the standard one.
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
