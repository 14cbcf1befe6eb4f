//! The page at `/`: where to go from here. (The web UI takes its place.)

use super::Api;
use super::resource::answer;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(home))
}

/// Where to go from here
#[utoipa::path(get, path = "/", tag = "daemon",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
async fn home(State(api): State<Api>) -> Response {
    let version = &api.config.api_version;
    let addresses = [
        (format!("/{version}/nodes"), "the nodes"),
        (format!("/{version}/applications"), "the application library"),
        (format!("/{version}/containers"), "the containers"),
        (format!("/{version}/events"), "the log"),
        ("/openapi.json".to_owned(), "the description of the API"),
        ("/metrics".to_owned(), "numbers for Prometheus"),
        ("/readyz".to_owned(), "whether the daemon is ready"),
    ];
    let items: String = addresses
        .iter()
        .map(|(address, what)| format!("<li><a href=\"{address}\">{address}</a>: {what}</li>\n"))
        .collect();
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>kDaemon</title>\n<h1>kDaemon</h1>\n\
         <ul>\n{items}</ul>\n</html>\n"
    );
    let mut response = answer(StatusCode::OK, api.journal.cluster().seq(), page);
    let media = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}
