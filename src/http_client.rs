//! The program's HTTP client: webhooks and the command line share it.
//!
//! It speaks HTTP/1.1 over TCP or TLS (rustls, the system's trusted roots), follows no redirects, uses no proxy, and sends
//! nothing but what it is given and its User-Agent. Deadlines are up to the callers.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::CertificateError;
use std::error::Error;
use std::time::Duration;

/// How long an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);
/// What every request says that it comes from.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("kdaemon/", env!("CARGO_PKG_VERSION")));

/// A client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why there is no response, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{}", chain(&**.source))]
pub struct HttpError {
    source: Box<dyn Error + Send + Sync>,
    /// Whether no connection was established.
    pub is_connect: bool,
}

impl HttpError {
    /// The innermost cause, such as `Connection refused (os error 111)`.
    #[must_use]
    pub fn root_cause(&self) -> String {
        let mut cause: &dyn Error = &*self.source;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        cause.to_string()
    }
}

impl HttpError {
    /// Why the server's certificate was refused, if that is the cause.
    #[must_use]
    pub fn certificate_error(&self) -> Option<&CertificateError> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&*self.source);
        while let Some(error) = cause {
            if let Some(rustls::Error::InvalidCertificate(error)) = error.downcast_ref() {
                return Some(error);
            }
            // `source` of an I/O error skips the error that it wraps.
            let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            cause = wrapped.map(|error| error as _).or_else(|| error.source());
        }
        None
    }
}

impl From<hyper::Error> for HttpError {
    fn from(error: hyper::Error) -> Self {
        Self { source: error.into(), is_connect: false }
    }
}

impl HttpClient {
    /// A client that trusts the system's roots. `connect_timeout` bounds the time until a connection is established.
    ///
    /// # Errors
    /// When TLS cannot be set up at all.
    pub fn new(connect_timeout: Duration) -> Result<Self, HttpError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(connect_timeout));
        let provider = rustls::crypto::ring::default_provider;
        let builder = HttpsConnectorBuilder::new();
        let builder = match builder.with_provider_and_native_roots(provider()) {
            Ok(builder) => builder,
            Err(error) => {
                // Plain HTTP still works; over TLS every certificate is refused, and the error will say so.
                tracing::debug!(%error, "the system has no trusted roots");
                let config = rustls::ClientConfig::builder_with_provider(provider().into())
                    .with_safe_default_protocol_versions()
                    .map_err(|error| HttpError { source: error.into(), is_connect: false })?;
                let no_roots = config.with_root_certificates(rustls::RootCertStore::empty());
                HttpsConnectorBuilder::new().with_tls_config(no_roots.with_no_client_auth())
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

    /// Sends a request and waits for the head of the response.
    ///
    /// # Errors
    /// When there is no connection, or it ends before the response begins.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        request.headers_mut().entry(http::header::USER_AGENT).or_insert(USER_AGENT);
        let response = self.client.request(request).await;
        response.map_err(|error| HttpError { is_connect: error.is_connect(), source: error.into() })
    }
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// When the connection ends before the body does.
pub async fn next_piece(response: &mut Response<Incoming>) -> Result<Option<Bytes>, HttpError> {
    while let Some(frame) = response.body_mut().frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// At most `limit` bytes of a body; the rest is not read.
///
/// # Errors
/// When the connection ends before the body does.
pub async fn body_at_most(mut response: Response<Incoming>, limit: usize) -> Result<Bytes, HttpError> {
    let mut read = BytesMut::new();
    while read.len() < limit
        && let Some(piece) = next_piece(&mut response).await?
    {
        read.extend_from_slice(&piece[..piece.len().min(limit - read.len())]);
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
