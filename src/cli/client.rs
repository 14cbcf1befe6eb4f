//! The HTTP client: all that the command line knows of a cluster it asks here, of the public API.

use super::failure::{Failure, Problem};
use super::json::Json;
use super::when::Point;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, Url};
use serde::de::DeserializeOwned;
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
    http: reqwest::Client,
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
            written.push_str(&encode(part));
        }
        Ok(Self {
            method,
            path: written,
            query: Vec::new(),
            body: None,
            if_match: None,
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
}

impl Client {
    /// A client of the daemon at `server`: `http://HOST:PORT`, with the API's version behind it when it is not 0.0.
    pub(super) fn new(server: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            Failure::Usage(format!(
                "`{server}` is not the address of a daemon ({why}); write {DEFAULT_SERVER}"
            ))
        };
        let url = Url::parse(server).map_err(|error| refuse(&error.to_string()))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(refuse("https is not spoken yet: let a tunnel, as of ssh -L, carry http://"));
            }
            other => return Err(refuse(&format!("{other} is not http"))),
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(refuse("nothing may stand beside host, port and version"));
        }
        let path = url.path().trim_end_matches('/');
        let base = if path.is_empty() { "/0.0".to_owned() } else { path.to_owned() };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("kdaemon/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::Other(error.to_string()))?;
        Ok(Self { http, origin: url.origin().ascii_serialization(), base, at: None })
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
        Ok(Answer { status, seq, json })
    }

    /// Reads a typed value of the moment that this client is about.
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
                let value = serde_json::from_slice(item).map_err(|error| {
                    Failure::Other(format!("{} answered what cannot be read: {error}", self.origin))
                })?;
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
    pub(super) async fn open(&self, request: Request, last_event: Option<u64>) -> Result<Response, Failure> {
        // The health routes have no version in their path.
        let base = if request.path == "/readyz" { "" } else { &self.base };
        let mut address = format!("{}{base}{}", self.origin, request.path);
        for (number, (name, value)) in request.query.iter().enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            address.push_str(&format!("{mark}{}={}", encode(name), encode(value)));
        }
        let mut sent = self.http.request(request.method, address);
        if let Some(body) = &request.body {
            sent = sent.json(body);
        }
        if let Some(seq) = request.if_match {
            sent = sent.header("If-Match", format!("\"{seq}\""));
        }
        if let Some(seq) = last_event {
            sent = sent.header("Last-Event-ID", seq.to_string());
        }
        let limit = ANSWER_LIMIT + request.wait;
        let response = match tokio::time::timeout(limit, sent.send()).await {
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
        Err(Problem::failure(status, &body))
    }

    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
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
        response: &mut Response,
        pause: Option<Duration>,
    ) -> Result<Option<bytes::Bytes>, Failure> {
        let piece = match pause {
            None => response.chunk().await,
            Some(pause) => match tokio::time::timeout(pause, response.chunk()).await {
                Ok(piece) => piece,
                Err(_) => {
                    return Err(Failure::Unreachable(format!("{} fell silent", self.origin)));
                }
            },
        };
        piece.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let hint = if error.is_connect() {
            "; is a daemon running there? (--server or KDAEMON_SERVER says where)"
        } else {
            ""
        };
        Failure::Unreachable(format!("no answer from {}: {cause}{hint}", self.origin))
    }
}

/// The seq of the state that an answer shows.
fn seq(headers: &HeaderMap) -> Option<u64> {
    headers.get("x-kdaemon-seq")?.to_str().ok()?.parse().ok()
}

/// Percent-encodes all but what RFC 3986 leaves alone everywhere.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
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
        for wrong in ["https://h:1", "h:1337", "ftp://h", "http://h/?x=1", "", "http://u@h"] {
            assert_eq!(Client::new(wrong).unwrap_err().code(), 2, "{wrong}");
        }
        assert!(Client::new("https://h").unwrap_err().to_string().contains("https is not spoken yet"));
    }
}
