//! The daemon's own HTTP client: for webhooks, and for the command line where it asks a running daemon.
//!
//! It speaks HTTP/1.1 over TCP or TLS (rustls, the system's trusted roots), follows no redirects and sends nothing that it
//! was not given. Time limits are for callers to set: what is a long time differs.

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::time::Duration;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// A client. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HttpError(String);

impl HttpClient {
    /// A client that trusts what the system trusts.
    ///
    /// # Errors
    /// When there can be no TLS at all.
    pub fn new() -> Result<Self, HttpError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let provider = rustls::crypto::ring::default_provider;
        let builder = HttpsConnectorBuilder::new();
        let builder = match builder.with_provider_and_native_roots(provider()) {
            Ok(builder) => builder,
            Err(error) => {
                // Plain HTTP works all the same; over TLS nobody is trusted then, and the error will say so.
                tracing::debug!(%error, "this system has no trusted roots");
                let config = rustls::ClientConfig::builder_with_provider(provider().into())
                    .with_safe_default_protocol_versions()
                    .map_err(|error| HttpError(error.to_string()))?;
                let nobody = config.with_root_certificates(rustls::RootCertStore::empty());
                HttpsConnectorBuilder::new().with_tls_config(nobody.with_no_client_auth())
            }
        };
        let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self { client })
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// When there is no connection, or it ends before the answer comes.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        self.client.request(request).await.map_err(|error| HttpError(chain(&error)))
    }

    /// Asks for something.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&self, uri: &Uri, accept: &str) -> Result<Response<Incoming>, HttpError> {
        let request = Request::get(uri).header(http::header::ACCEPT, accept);
        let agent = concat!("kdaemon/", env!("CARGO_PKG_VERSION"));
        let request = request.header(http::header::USER_AGENT, agent).body(Full::default());
        self.send(request.map_err(|error| HttpError(error.to_string()))?).await
    }
}

/// At most so many bytes of a body; the rest is not read.
///
/// # Errors
/// When the connection ends before.
pub async fn body_at_most(response: Response<Incoming>, limit: usize) -> Result<Bytes, HttpError> {
    let mut body = response.into_body();
    let mut read = BytesMut::new();
    while read.len() < limit
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| HttpError(chain(&error)))?;
        let Some(data) = frame.data_ref() else { continue };
        read.extend_from_slice(&data[..data.len().min(limit - read.len())]);
    }
    Ok(read.freeze())
}

/// An error with its causes, each once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
