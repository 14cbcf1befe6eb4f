//! The client of the public API, the only source of what the command line shows of a cluster.

use super::error::{CliError, of_response};
use super::json::Json;
use super::when::{EventOrTime, PointText, TimeText, note_clock};
use crate::http_client::{HttpClient, HttpError, next_piece};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, IF_MATCH};
use http::{HeaderMap, Method, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::CertificateError;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::time::Duration;

/// The address a daemon listens on by default.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:1337";
/// Timeout for establishing a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Timeout until a response begins, not counting the duration of `wait`.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);
/// Timeout between two pieces of a response.
const PAUSE_LIMIT: Duration = Duration::from_secs(60);
/// The largest response, in bytes, that is read into memory at once.
const BODY_LIMIT: usize = 256 * 1024 * 1024;

/// A connection to one daemon.
#[derive(Debug, Clone)]
pub(super) struct ApiClient {
    http: HttpClient,
    /// Scheme, host and port.
    origin: String,
    /// The API's base path, without a slash at its end.
    base: String,
    /// The point in history that reads refer to; `None`: now.
    at: Option<EventOrTime>,
}

/// A request to a route of the API.
#[derive(Debug, Clone)]
pub(super) struct ApiRequest {
    pub(super) method: Method,
    path: String,
    query: Vec<(String, String)>,
    pub(super) body: Option<serde_json::Value>,
    pub(super) if_match: Option<u64>,
    /// The accepted media type; `None` leaves the choice to the daemon, which is JSON.
    accept: Option<&'static str>,
    /// How much longer than usual the response may take to begin.
    wait: Duration,
}

impl ApiRequest {
    /// A request to the route with these path segments, which are percent-encoded.
    ///
    /// Fails for segments that no server would receive: an empty one, `.` and `..`.
    pub(super) fn new(method: Method, path: &[&str]) -> Result<Self, CliError> {
        let mut written = String::new();
        for part in path {
            if matches!(*part, "" | "." | "..") {
                return Err(CliError::Usage(format!(
                    "a path cannot contain the name `{part}`; use the id instead"
                )));
            }
            written.push('/');
            let _ = write!(written, "{}", encode(part)); // writing into a string cannot fail
        }
        Ok(Self {
            method,
            path: written,
            query: Vec::new(),
            body: None,
            if_match: None,
            accept: None,
            wait: Duration::ZERO,
        })
    }

    pub(super) fn get(path: &[&str]) -> Result<Self, CliError> {
        Self::new(Method::GET, path)
    }

    pub(super) fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn maybe(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(super) fn body(mut self, body: serde_json::Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn accept(mut self, media_type: &'static str) -> Self {
        self.accept = Some(media_type);
        self
    }

    /// Allows the response `limit` more time than usual to begin.
    pub(super) fn patience(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// Has the daemon respond when the command took effect, after `wait` at the latest.
    pub(super) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self.query("wait", format!("{}ms", wait.as_millis()))
    }
}

/// A successful response, read completely.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: u16,
    /// The seq of the state that it shows.
    pub(super) seq: Option<u64>,
    /// The text of the response, which is JSON.
    body: Vec<u8>,
}

impl ApiResponse {
    /// The response as it was sent, with its fields in order.
    pub(super) fn json(&self) -> Result<Json, CliError> {
        self.typed()
    }

    /// The response as a type of the API.
    pub(super) fn typed<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        serde_json::from_slice(&self.body).map_err(CliError::unexpected)
    }
}

impl ApiClient {
    /// A client of the daemon at `server`: `http://HOST:PORT` or `https://HOST:PORT`, followed by `/VERSION` of the API
    /// unless it is 0.0.
    pub(super) fn new(server: &str) -> Result<Self, CliError> {
        let refuse = |why: &str| {
            CliError::Usage(format!(
                "`{server}` is not the address of a daemon ({why}); use the form {DEFAULT_SERVER}"
            ))
        };
        let uri: Uri = server.parse().map_err(|_| refuse("not a URL"))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refuse("expected http:// or https:// and a host"));
        };
        if uri.query().is_some() || server.contains('#') || authority.as_str().contains('@') {
            return Err(refuse("expected only a host, a port and a version"));
        }
        let path = uri.path().trim_end_matches('/');
        let base = if path.is_empty() { "/0.0".to_owned() } else { path.to_owned() };
        let http = HttpClient::new(CONNECT_LIMIT).map_err(|error| CliError::Other(error.to_string()))?;
        let origin = format!("{scheme}://{authority}");
        Ok(Self { http, origin, base, at: None })
    }

    /// A client whose reads refer to this point in history.
    pub(super) fn at(self, point: EventOrTime) -> Self {
        Self { at: Some(point), ..self }
    }

    /// The point in history that reads refer to; `None`: now.
    pub(super) fn point(&self) -> Option<EventOrTime> {
        self.at
    }

    /// The point in history that a text on the command line means.
    pub(super) async fn resolve(&self, text: &PointText) -> Result<EventOrTime, CliError> {
        if text.is_relative() {
            // Its response says how far the log's clock is ahead; the request that follows reports a failure.
            let _ = self.ask(ApiRequest::get(&["readyz"])?).await;
        }
        text.resolve().map_err(CliError::Usage)
    }

    /// The time that a text on the command line means, as the API accepts it; `None` without a text.
    pub(super) async fn resolve_time(&self, text: Option<&TimeText>) -> Result<Option<String>, CliError> {
        match text {
            Some(text) => self.resolve(text.point()).await.map(|point| Some(point.written())),
            None => Ok(None),
        }
    }

    /// Scheme, host and port of the daemon.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Reads a resource at the point in history of this client.
    pub(super) async fn read(&self, request: ApiRequest) -> Result<ApiResponse, CliError> {
        let request = match self.at {
            Some(point) => {
                let (name, value) = point.parameter();
                request.query(name, value)
            }
            None => request,
        };
        self.ask(request).await
    }

    /// Sends a request and reads the whole response.
    pub(super) async fn ask(&self, request: ApiRequest) -> Result<ApiResponse, CliError> {
        let response = self.open(request, None).await?;
        let (status, seq) = (response.status().as_u16(), seq(response.headers()));
        let body = self.whole(response).await?;
        Ok(ApiResponse { status, seq, body })
    }

    /// Sends a request and reads the response as a type of the API.
    pub(super) async fn typed<T: DeserializeOwned>(&self, request: ApiRequest) -> Result<T, CliError> {
        let response = self.open(request, None).await?;
        let body = self.whole(response).await?;
        serde_json::from_slice(&body).map_err(|_| self.unreadable())
    }

    /// The failure for a response that is not one of kDaemon.
    pub(super) fn unreadable(&self) -> CliError {
        CliError::Other(format!("unexpected response from {}; is it a kDaemon of this version?", self.origin))
    }

    /// Reads the items of a list one by one, at the point in history of this client. `take` receives each item with its
    /// text; the seq of the state is returned.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        request: ApiRequest,
        mut take: impl FnMut(T, &[u8]) -> Result<(), CliError>,
    ) -> Result<Option<u64>, CliError> {
        let request = match self.at {
            Some(point) => {
                let (name, value) = point.parameter();
                request.query(name, value)
            }
            None => request,
        };
        let mut response = self.open(request, None).await?;
        let seq = seq(response.headers());
        let mut items = super::items::Items::default();
        while let Some(piece) = self.piece(&mut response, Some(PAUSE_LIMIT)).await? {
            items.push(&piece);
            while let Some(item) = items.next() {
                let value = serde_json::from_slice(item).map_err(|_| self.unreadable())?;
                take(value, item)?;
            }
        }
        if !items.is_complete() {
            return Err(CliError::Unreachable(format!(
                "{} closed the connection in the middle of the response",
                self.origin
            )));
        }
        Ok(seq)
    }

    /// Sends a request and returns the response with its body unread. A problem in the response is a failure.
    pub(super) async fn open(
        &self,
        request: ApiRequest,
        last_event: Option<u64>,
    ) -> Result<Response<Incoming>, CliError> {
        // The health routes have no version in their path.
        let base = if request.path == "/readyz" { "" } else { &self.base };
        let mut address = format!("{}{base}{}", self.origin, request.path);
        for (number, (name, value)) in request.query.iter().enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            let _ = write!(address, "{mark}{}={}", encode(name), encode(value));
        }
        let mut sent = http::Request::builder().method(request.method).uri(address);
        if let Some(accept) = request.accept {
            sent = sent.header(ACCEPT, accept);
        }
        let body = match &request.body {
            Some(body) => {
                sent = sent.header(CONTENT_TYPE, "application/json");
                Full::from(body.to_string())
            }
            None => Full::default(),
        };
        if let Some(seq) = request.if_match {
            sent = sent.header(IF_MATCH, format!("\"{seq}\""));
        }
        if let Some(seq) = last_event {
            sent = sent.header("Last-Event-ID", seq.to_string());
        }
        let sent = sent.body(body).map_err(|error| CliError::Other(error.to_string()))?;
        let limit = ANSWER_LIMIT + request.wait;
        let response = match tokio::time::timeout(limit, self.http.send(sent)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => {
                let seconds = limit.as_secs();
                return Err(CliError::Unreachable(format!(
                    "{} did not answer within {seconds}s",
                    self.origin
                )));
            }
        };
        note_clock(response.headers());
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        let body = self.whole(response).await?;
        Err(of_response(status, &body))
    }

    async fn whole(&self, mut response: Response<Incoming>) -> Result<Vec<u8>, CliError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut response, Some(PAUSE_LIMIT)).await? {
            body.extend_from_slice(&piece);
            if body.len() > BODY_LIMIT {
                return Err(CliError::Other(format!(
                    "the response of {} is larger than 256 MiB",
                    self.origin
                )));
            }
        }
        Ok(body)
    }

    /// The next piece of a response, which has to arrive within `pause`; `None` at the end.
    pub(super) async fn piece(
        &self,
        response: &mut Response<Incoming>,
        pause: Option<Duration>,
    ) -> Result<Option<Bytes>, CliError> {
        let piece = match pause {
            None => next_piece(response).await,
            Some(pause) => match tokio::time::timeout(pause, next_piece(response)).await {
                Ok(piece) => piece,
                Err(_) => {
                    let seconds = pause.as_secs();
                    return Err(CliError::Unreachable(format!(
                        "{} sent nothing for {seconds}s",
                        self.origin
                    )));
                }
            },
        };
        piece.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &HttpError) -> CliError {
        let hint = match error.certificate_error() {
            Some(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
                "; use a name in the certificate as the host of --server"
            }
            Some(CertificateError::UnknownIssuer) => {
                "; to trust the server's certificate, set SSL_CERT_FILE to the file of its certificate authority (PEM)"
            }
            Some(_) => "",
            None if error.is_connect => "; is a daemon running there? (set --server or KDAEMON_SERVER)",
            None => "",
        };
        CliError::Unreachable(format!("no answer from {}: {}{hint}", self.origin, error.root_cause()))
    }
}

/// The seq of the state that a response shows.
fn seq(headers: &HeaderMap) -> Option<u64> {
    headers.get("x-kdaemon-seq")?.to_str().ok()?.parse().ok()
}

/// Every character but the unreserved ones of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes everything but unreserved characters.
fn encode(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::exit::ExitStatus;
    use super::*;

    #[test]
    fn path_segments_are_percent_encoded() {
        let request = ApiRequest::get(&["nodes", "a/b c?ü%2F"]).unwrap();
        assert_eq!(request.path, "/nodes/a%2Fb%20c%3F%C3%BC%252F");
        for dots in [".", "..", ""] {
            assert_eq!(ApiRequest::get(&["nodes", dots]).unwrap_err().exit(), ExitStatus::Usage);
        }
    }

    #[test]
    fn server_addresses_are_validated() {
        let client = ApiClient::new("http://[::1]:1337/").unwrap();
        assert_eq!((client.origin(), client.base.as_str()), ("http://[::1]:1337", "/0.0"));
        assert_eq!(ApiClient::new("http://h:1/2.1/").unwrap().base, "/2.1");
        assert_eq!(ApiClient::new("https://h/").unwrap().origin(), "https://h");
        for wrong in ["h:1337", "ftp://h", "http://h/?x=1", "", "http://u@h"] {
            assert_eq!(ApiClient::new(wrong).unwrap_err().exit(), ExitStatus::Usage, "{wrong}");
        }
    }
}
