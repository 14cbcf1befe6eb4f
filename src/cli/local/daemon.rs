//! A running daemon, asked over its API.

use super::CliError;
use crate::cli::failure::Failure;
use crate::http_client::{HttpClient, HttpError, body_at_most};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use kdaemon_api::RebuiltTables;
use serde::Deserialize;

/// The longest error that is read.
const PROBLEM_LIMIT: usize = 64 * 1024;
/// Below what the API is found when the address does not say.
const BASE_PATH: &str = "/0.0";

/// A daemon at an address.
pub(super) struct Daemon {
    base: String,
    client: HttpClient,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Daemon {
    /// The daemon at `http://HOST:PORT`, with the first part of its API's paths behind it if that is not `/0.0`.
    pub(super) fn at(server: &str) -> Result<Self, CliError> {
        let bad = |why: &str| {
            CliError::of(Failure::Usage, format!("--server `{server}`: {why}, as in http://127.0.0.1:1337"))
        };
        let uri: Uri = server.parse().map_err(|_| bad("this is no URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
            return Err(bad("a URL with http:// or https:// is expected"));
        }
        if uri.query().is_some() {
            return Err(bad("a URL without a query is expected"));
        }
        let path = if uri.path() == "/" { BASE_PATH } else { "" };
        let base = format!("{}{path}", server.trim_end_matches('/'));
        let client = HttpClient::new().map_err(|error| CliError::new(error.to_string()))?;
        Ok(Self { base, client })
    }

    /// Asks for something and waits for the head of the answer.
    pub(super) async fn get(&self, path: &str, accept: &str) -> Result<Response<Incoming>, CliError> {
        let uri = self.uri(path)?;
        self.answered(&uri, self.client.get(&uri, accept).await).await
    }

    /// Has the tables made anew.
    pub(super) async fn rebuild(&self) -> Result<RebuiltTables, CliError> {
        let uri = self.uri("/rebuild")?;
        let request = Request::post(&uri).body(Full::default());
        let request = request.map_err(|error| CliError::new(error.to_string()))?;
        let response = self.answered(&uri, self.client.send(request).await).await?;
        let body = body_at_most(response, PROBLEM_LIMIT).await.unwrap_or_default();
        serde_json::from_slice(&body).map_err(|_| CliError::new("this is no answer of kDaemon"))
    }

    fn uri(&self, path: &str) -> Result<Uri, CliError> {
        let uri = format!("{}{path}", self.base);
        uri.parse().map_err(|error| CliError::new(format!("`{uri}` is no URL: {error}")))
    }

    async fn answered(
        &self,
        uri: &Uri,
        response: Result<Response<Incoming>, HttpError>,
    ) -> Result<Response<Incoming>, CliError> {
        let response = response.map_err(|error| {
            CliError::of(
                Failure::Unreachable,
                format!("the daemon at {} does not answer: {error}", self.base),
            )
        })?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = body_at_most(response, PROBLEM_LIMIT).await.unwrap_or_default();
        let detail = serde_json::from_slice::<Problem>(&body).map(|problem| problem.detail);
        let detail = detail.unwrap_or_else(|_| "this is no answer of kDaemon".to_owned());
        let sort = match status {
            StatusCode::NOT_FOUND => Failure::NotFound,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Failure::Unreachable,
            _ if status.is_client_error() => Failure::Invalid,
            _ => Failure::Other,
        };
        Err(CliError::of(sort, format!("{uri}: {status}: {detail}")))
    }
}
