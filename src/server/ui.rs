//! The web UI: the page at `/`, and the files of `src/ui` that it loads.
//!
//! The files are embedded in the program; a debug build reads them from disk, so that a reload shows a change. Their
//! addresses contain a digest over all of them (`/ui/DIGEST/main.js`), so that browsers can cache them indefinitely: a
//! program with other files has other addresses.
//!
//! Architecture Invariant: the web UI is a client of the public API and of nothing else. Its only routes are these
//! two, which serve files.

use super::problem::Problem;
use super::{Api, HandlerResult, SEQ_HEADER};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    // The files are not part of the API, so they are not in its description.
    OpenApiRouter::new().routes(routes!(page)).route("/ui/{digest}/{*path}", get(file))
}

/// The content security policy: the page may load its own files, call the API, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
/// `Cache-Control` of files whose address contains the digest.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// `Cache-Control` of all other responses.
const REVALIDATE: &str = "no-cache";
/// The file of the page.
const PAGE: &str = "index.html";
/// The one script that is not a module.
const CLASSIC_SCRIPT: &str = "again.js";

/// The files of `src/ui`. Those without a [`media_type`], such as licences, are embedded but not served: to select files
/// by pattern, rust-embed would compile a regex engine into the program.
#[derive(RustEmbed)]
#[folder = "src/ui"]
struct Embedded;

/// The media type of a file that the UI loads, by its extension.
fn media_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit('.').next()? {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

/// A file with its media type.
struct File {
    media: &'static str,
    plain: Bytes,
    /// Compressed at the first request that accepts gzip.
    gzip: OnceLock<Bytes>,
}

impl File {
    fn new(media: &'static str, plain: Vec<u8>) -> Self {
        Self { media, plain: plain.into(), gzip: OnceLock::new() }
    }

    fn gzip(&self) -> &Bytes {
        self.gzip.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            let gzip = encoder.write_all(&self.plain).and_then(|()| encoder.finish());
            // Writing to memory does not fail; if it did, the plain form would be sent instead.
            gzip.unwrap_or_default().into()
        })
    }
}

struct Site {
    /// The digest over all files, in hex.
    digest: String,
    files: BTreeMap<String, File>,
}

impl Site {
    fn read() -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut files = BTreeMap::new();
        let mut names: Vec<_> = Embedded::iter().collect();
        names.sort();
        for name in names {
            let (Some(media), Some(content)) = (media_type(&name), Embedded::get(&name)) else { continue };
            // With lengths, so that no two sets of files hash the same bytes.
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            hasher.update(&(content.data.len() as u64).to_le_bytes()).update(&content.data);
            files.insert(name.to_string(), File::new(media, content.data.into_owned()));
        }
        let digest = hasher.finalize().to_hex().as_str()[..16].to_owned();
        Self { digest, files }
    }

    /// The embedded files; in a debug build, the files on disk, at most a second old.
    fn now() -> Arc<Self> {
        static READ: Mutex<Option<(Instant, Arc<Site>)>> = Mutex::new(None);
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((at, site)) if !cfg!(debug_assertions) || at.elapsed() < Duration::from_secs(1) => {
                Arc::clone(site)
            }
            _ => Arc::clone(&read.insert((Instant::now(), Arc::new(Self::read()))).1),
        }
    }

    /// The page, with the addresses of the files and of the API. It preloads all modules, which otherwise would be
    /// fetched one after another as they import each other.
    fn page(&self, api_version: &str) -> Option<File> {
        let page = self.files.get(PAGE)?;
        let template = String::from_utf8_lossy(&page.plain).into_owned();
        let root = format!("/ui/{}", self.digest);
        let modules = self.files.keys().filter(|name| name.ends_with(".js") && *name != CLASSIC_SCRIPT);
        let preloads: String =
            modules.map(|name| format!("<link rel=\"modulepreload\" href=\"{root}/{name}\">\n")).collect();
        let text = template
            .replace("<!-- preloads -->\n", &preloads)
            .replace("{files}", &root)
            .replace("{api}", &format!("/{api_version}"));
        Some(File::new(page.media, text.into_bytes()))
    }
}

/// Get the web UI
///
/// A page to watch and operate the cluster in a browser.
#[utoipa::path(get, path = "/", tag = "daemon",
    responses((status = 200, description = "Page", body = String, content_type = "text/html")))]
async fn page(State(api): State<Api>, headers: HeaderMap) -> HandlerResult {
    let file = Site::now().page(&api.config.api_version);
    let file = file.ok_or_else(|| Problem::not_found("file", PAGE))?;
    Ok(send(&api, &file, &headers, REVALIDATE))
}

async fn file(
    State(api): State<Api>,
    Path((digest, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> HandlerResult {
    let site = Site::now();
    let file = site.files.get(&path).filter(|_| path != PAGE);
    let file = file.ok_or_else(|| Problem::not_found("file of the web UI", &path))?;
    // A page of another version gets the current file, and must not cache it under the old address.
    let caching = if digest == site.digest { IMMUTABLE } else { REVALIDATE };
    Ok(send(&api, file, &headers, caching))
}

/// Sends a file: compressed for clients that accept it, and 304 for clients that have it.
fn send(api: &Api, file: &File, asked: &HeaderMap, caching: &'static str) -> Response {
    let has_gzip = accepts_gzip(asked) && !file.gzip().is_empty();
    let body = if has_gzip { file.gzip() } else { &file.plain };
    let tag = format!("\"{}\"", &blake3::hash(body).to_hex().as_str()[..32]);
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_known =
        known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag || one.trim() == "*");
    let mut response = if is_known {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(body.clone().into())
    };
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_TYPE, file.media),
        (header::CACHE_CONTROL, caching),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::VARY, "accept-encoding"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if has_gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
    headers.insert(SEQ_HEADER, HeaderValue::from(api.journal.cluster().seq().0));
    response
}

/// `true` if `accept-encoding` lists gzip with a weight above 0.
fn accepts_gzip(asked: &HeaderMap) -> bool {
    let values = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, "q=1"));
        let refused = matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        matches!(name.trim(), "gzip" | "*") && !refused
    })
}
