//! The HTTP client: all that the command line knows of a cluster it asks here, of the public API.

use super::failure::{Failure, of_response};
use super::json::Json;
use super::when::Point;
use crate::http_client::{HttpClient, HttpError, next_piece};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, IF_MATCH};
use http::{HeaderMap, Method, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::time::Duration;

/// Where a daemon listens when nobody says otherwise.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:1337";
/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the daemon may take to begin an answer; what a `wait` asks for comes on top.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);
/// How long an answer may pause.
const PAUSE_LIMIT: Duration = Duration::from_secs(60);
/// The largest answer that is taken into memory whole.
const BODY_LIMIT: usize = 256 * 1024 * 1024;

/// A daemon, spoken to over HTTP.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: HttpClient,
    /// Scheme, host and port.
    origin: String,
    /// The API's base path, without a slash at its end.
    base: String,
    /// The point that reads are about; `None`: now.
    at: Option<Point>,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    path: String,
    query: Vec<(String, String)>,
    pub(super) body: Option<serde_json::Value>,
    pub(super) if_match: Option<u64>,
    /// The media type that is asked for; `None`: JSON, as the daemon prefers.
    accept: Option<&'static str>,
    /// What the daemon was asked to wait.
    wait: Duration,
}

impl Request {
    /// A request to a route of the API; each part of its path may hold any text.
    pub(super) fn new(method: Method, path: &[&str]) -> Result<Self, Failure> {
        let mut written = String::new();
        for part in path {
            if matches!(*part, "" | "." | "..") {
                return Err(Failure::Usage(format!("`{part}` cannot stand in a path: use the id instead")));
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

    pub(super) fn get(path: &[&str]) -> Result<Self, Failure> {
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

    /// Allows the daemon `limit` more time than usual to begin its answer.
    pub(super) fn patience(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// Asks the daemon to answer when it is done.
    pub(super) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self.query("wait", format!("{}ms", wait.as_millis()))
    }
}

/// An answer that says that it was done.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The seq of the state that it shows.
    pub(super) seq: Option<u64>,
    pub(super) json: Json,
    /// The text of the answer.
    body: Vec<u8>,
}

impl Answer {
    /// The answer as a type of the API.
    pub(super) fn typed<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::Other(format!("unexpected answer of the daemon: {error}")))
    }
}

impl Client {
    /// A client of the daemon at `server`: `http://HOST:PORT` or `https://HOST:PORT`, followed by the API's version if it
    /// is not 0.0.
    pub(super) fn new(server: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            Failure::Usage(format!(
                "`{server}` is not the address of a daemon ({why}); write {DEFAULT_SERVER}"
            ))
        };
        let uri: Uri = server.parse().map_err(|_| refuse("it is not a URL"))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refuse("expected http:// or https:// and a host"));
        };
        if uri.query().is_some() || server.contains('#') || authority.as_str().contains('@') {
            return Err(refuse("expected only a host, a port and a version"));
        }
        let path = uri.path().trim_end_matches('/');
        let base = if path.is_empty() { "/0.0".to_owned() } else { path.to_owned() };
        let http = HttpClient::new(CONNECT_LIMIT).map_err(|error| Failure::Other(error.to_string()))?;
        let origin = format!("{scheme}://{authority}");
        Ok(Self { http, origin, base, at: None })
    }

    /// A client whose reads are about another time.
    pub(super) fn at(self, point: Point) -> Self {
        Self { at: Some(point), ..self }
    }

    /// The point that reads are about, if it is not now.
    pub(super) fn point(&self) -> Option<Point> {
        self.at
    }

    /// The address of the daemon.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Reads something of the moment that this client is about.
    pub(super) async fn read(&self, request: Request) -> Result<Answer, Failure> {
        let request = match self.at {
            Some(point) => {
                let (name, value) = point.parameter();
                request.query(name, value)
            }
            None => request,
        };
        self.ask(request).await
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn ask(&self, request: Request) -> Result<Answer, Failure> {
        let response = self.open(request, None).await?;
        let (status, seq) = (response.status().as_u16(), seq(response.headers()));
        let body = self.whole(response).await?;
        let json = serde_json::from_slice(&body)
            .map_err(|error| Failure::Other(format!("the answer of {} is not JSON: {error}", self.origin)))?;
        Ok(Answer { status, seq, json, body })
    }

    /// Sends a request and reads its answer as a type of the API.
    pub(super) async fn typed<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        let response = self.open(request, None).await?;
        let body = self.whole(response).await?;
        serde_json::from_slice(&body).map_err(|_| self.unreadable())
    }

    /// The failure of an answer that is not one of kDaemon.
    pub(super) fn unreadable(&self) -> Failure {
        Failure::Other(format!("unexpected answer from {}; is it a kDaemon of this version?", self.origin))
    }

    /// Reads the items of a list, of the moment that this client is about, one by one.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        request: Request,
        mut take: impl FnMut(T, &[u8]) -> Result<(), Failure>,
    ) -> Result<Option<u64>, Failure> {
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
            return Err(Failure::Unreachable(format!(
                "{} ended its answer in the middle of it",
                self.origin
            )));
        }
        Ok(seq)
    }

    /// Sends a request; its answer is still to be read. An answer that is a problem is a failure.
    pub(super) async fn open(
        &self,
        request: Request,
        last_event: Option<u64>,
    ) -> Result<Response<Incoming>, Failure> {
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
        let sent = sent.body(body).map_err(|error| Failure::Other(error.to_string()))?;
        let limit = ANSWER_LIMIT + request.wait;
        let response = match tokio::time::timeout(limit, self.http.send(sent)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => {
                let seconds = limit.as_secs();
                return Err(Failure::Unreachable(format!(
                    "{} did not answer within {seconds}s",
                    self.origin
                )));
            }
        };
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        let body = self.whole(response).await?;
        Err(of_response(status, &body))
    }

    async fn whole(&self, mut response: Response<Incoming>) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut response, Some(PAUSE_LIMIT)).await? {
            body.extend_from_slice(&piece);
            if body.len() > BODY_LIMIT {
                return Err(Failure::Other(format!("the answer of {} is too large", self.origin)));
            }
        }
        Ok(body)
    }

    /// The next piece of an answer, which may take as long as `pause`; `None` at its end.
    pub(super) async fn piece(
        &self,
        response: &mut Response<Incoming>,
        pause: Option<Duration>,
    ) -> Result<Option<Bytes>, Failure> {
        let piece = match pause {
            None => next_piece(response).await,
            Some(pause) => match tokio::time::timeout(pause, next_piece(response)).await {
                Ok(piece) => piece,
                Err(_) => {
                    return Err(Failure::Unreachable(format!("{} fell silent", self.origin)));
                }
            },
        };
        piece.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &HttpError) -> Failure {
        let hint = if error.is_connect {
            "; is a daemon running there? (set --server or KDAEMON_SERVER)"
        } else {
            ""
        };
        Failure::Unreachable(format!("no answer from {}: {}{hint}", self.origin, error.root_cause()))
    }
}

/// The seq of the state that an answer shows.
fn seq(headers: &HeaderMap) -> Option<u64> {
    headers.get("x-kdaemon-seq")?.to_str().ok()?.parse().ok()
}

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes everything but unreserved characters.
fn encode(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn any_name_can_stand_in_a_path() {
        let request = Request::get(&["nodes", "a/b c?ü%2F"]).unwrap();
        assert_eq!(request.path, "/nodes/a%2Fb%20c%3F%C3%BC%252F");
        for dots in [".", "..", ""] {
            assert_eq!(Request::get(&["nodes", dots]).unwrap_err().code(), 2);
        }
    }

    #[test]
    fn the_address_of_a_daemon_is_checked() {
        let client = Client::new("http://[::1]:1337/").unwrap();
        assert_eq!((client.origin(), client.base.as_str()), ("http://[::1]:1337", "/0.0"));
        assert_eq!(Client::new("http://h:1/2.1/").unwrap().base, "/2.1");
        assert_eq!(Client::new("https://h/").unwrap().origin(), "https://h");
        for wrong in ["h:1337", "ftp://h", "http://h/?x=1", "", "http://u@h"] {
            assert_eq!(Client::new(wrong).unwrap_err().code(), 2, "{wrong}");
        }
    }
}
