//! Request parsing: bodies and query strings become typed values, or a problem that names the field.
//!
//! Both work alike: names are compared with the ones that the type's schema declares (so `/openapi.json` describes exactly
//! what is accepted), then serde deserializes the values. [`super::lenient`] has the forms that values may take.

use super::Api;
use super::problem::{Problem, Sort};
use super::value::{ValueDeserializer, ValueError};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mediatype::names::{APPLICATION, CHARSET, JSON, TEXT, x_};
use mediatype::{MediaType, ReadParams as _};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema};

/// The field names that a request may use.
pub(super) struct Known {
    settable: Vec<String>,
    /// Read-only names, set by the daemon: ignored, so that a client can send back a row that it has read.
    ignored: Vec<String>,
}

impl Known {
    /// The fields of the body `B`; further fields of its row `R` are ignored.
    pub(super) fn of<B: PartialSchema, R: PartialSchema>() -> Self {
        let settable = properties(B::schema());
        let ignored = properties(R::schema()).into_iter().filter(|name| !settable.contains(name)).collect();
        Self { settable, ignored }
    }

    /// The fields of a body that has no row.
    pub(super) fn of_body<B: PartialSchema>() -> Self {
        Self { settable: properties(B::schema()), ignored: Vec::new() }
    }

    fn of_query<Q: IntoParams>() -> Self {
        let parameters = Q::into_params(|| Some(ParameterIn::Query));
        Self {
            settable: parameters.into_iter().map(|parameter| parameter.name).collect(),
            ignored: Vec::new(),
        }
    }

    fn check(&self, name: &str, noun: &str) -> Result<(), Problem> {
        if self.settable.iter().chain(&self.ignored).any(|known| known == name) {
            return Ok(());
        }
        Err(unknown(name, noun, self.settable.iter().chain(&self.ignored).map(String::as_str)))
    }
}

pub(super) fn properties(schema: RefOr<Schema>) -> Vec<String> {
    match schema {
        RefOr::T(Schema::Object(object)) => object.properties.into_keys().collect(),
        _ => Vec::new(),
    }
}

/// Creates the problem of an unknown name; it suggests the most similar known one.
pub(super) fn unknown<'a>(name: &str, noun: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let likeness = |candidate: &str| strsim::normalized_damerau_levenshtein(name, candidate);
    let nearest = known.fold(None, |best: Option<&str>, candidate| match best {
        Some(best) if likeness(best) >= likeness(candidate) => Some(best),
        _ => Some(candidate),
    });
    let hint = nearest.map(|nearest| format!("; the nearest known one is `{nearest}`")).unwrap_or_default();
    Problem::invalid(name, format!("unknown {noun} `{name}`{hint}"))
}

/// Deserializes a value; an error names the path to the field.
fn read<T: DeserializeOwned>(value: Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(ValueDeserializer(Value::Object(value))).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        let detail = error.to_string();
        match (path.as_str(), error) {
            (".", ValueError::Missing(field)) => Problem::invalid(field, detail),
            (path, ValueError::Missing(field)) => Problem::invalid(format!("{path}.{field}"), detail),
            (".", ValueError::Invalid(_)) => Problem::new(Sort::Invalid, detail),
            (path, ValueError::Invalid(_)) => Problem::invalid(path, detail),
        }
    })
}

/// A request body with a known set of fields.
pub(super) trait Fields: DeserializeOwned + 'static {
    fn known() -> &'static Known;
}

/// A parsed request body.
pub(super) struct Input<T> {
    pub(super) value: T,
    /// Digest of the body's bytes, part of what an `Idempotency-Key` stands for.
    pub(super) digest: blake3::Hash,
}

impl<T: Fields> FromRequest<Api> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let limit = api.config.max_body_bytes.bytes();
        let media = Media::of(&parts.headers)?;
        let bytes = bounded(&parts.headers, body, limit).await?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| match media {
            // `curl -d` labels its body as a form; users of 0.0 send JSON with it.
            Media::Form => Problem::new(
                Sort::UnsupportedMediaType,
                "the body is not JSON; send JSON with Content-Type: application/json",
            ),
            Media::Json if bytes.is_empty() => {
                Problem::new(Sort::Malformed, "expected a JSON object, got an empty body")
            }
            Media::Json => Problem::new(Sort::Malformed, format!("the body is not JSON: {error}")),
        })?;
        let Value::Object(map) = value else {
            return Err(Problem::new(Sort::Invalid, "the body must be a JSON object"));
        };
        for name in map.keys() {
            T::known().check(name, "field")?;
        }
        Ok(Self { value: read(map)?, digest: blake3::hash(&bytes) })
    }
}

/// The media type of a body, by its `Content-Type`.
enum Media {
    Json,
    Form,
}

impl Media {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get(CONTENT_TYPE).filter(|value| !value.is_empty()) else {
            return Ok(Self::Json);
        };
        let text = value.to_str().unwrap_or_default();
        let unsupported = || {
            let advice = "send JSON in UTF-8 with Content-Type: application/json";
            Problem::new(Sort::UnsupportedMediaType, format!("unsupported media type `{text}`; {advice}"))
        };
        let media = MediaType::parse(text).map_err(|_| unsupported())?;
        let charset = media.get_param(CHARSET);
        let is_utf8 = charset.is_none_or(|charset| {
            let charset = charset.unquoted_str();
            ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
        });
        let is_application = media.ty == APPLICATION;
        match media.suffix {
            _ if !is_utf8 => Err(unsupported()),
            None if is_application && media.subty == x_::WWW_FORM_URLENCODED => Ok(Self::Form),
            None if (is_application || media.ty == TEXT) && media.subty == JSON => Ok(Self::Json),
            Some(suffix) if is_application && suffix == JSON => Ok(Self::Json),
            _ => Err(unsupported()),
        }
    }
}

async fn bounded(headers: &HeaderMap, body: Body, limit: usize) -> Result<bytes::Bytes, Problem> {
    let too_large = || {
        Problem::new(Sort::TooLarge, format!("the body exceeds the limit of {limit} bytes (max_body_bytes)"))
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Problem::new(Sort::Malformed, format!("reading the body failed: {error}"))),
    }
}

/// The name-value pairs of a query string, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl Pairs {
    pub(super) fn of(parts: &Parts) -> Result<Self, Problem> {
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|error| Problem::new(Sort::Malformed, format!("malformed query string: {error}")))
    }

    /// Parses the parameters of `Q` and returns all other pairs unparsed.
    pub(super) fn read<Q: QueryFields>(self) -> Result<(Q, Vec<(String, String)>), Problem> {
        let mut values = Map::new();
        let mut rest = Vec::new();
        if self.0.is_empty() {
            return Ok((read(values)?, rest)); // the common case, without building a schema
        }
        let known = Known::of_query::<Q>();
        for (name, value) in self.0 {
            if !known.settable.contains(&name) {
                rest.push((name, value));
                continue;
            }
            match values.get_mut(&name) {
                None => {
                    values.insert(name, Value::String(value));
                }
                Some(Value::String(earlier)) if Q::REPEATABLE.contains(&name.as_str()) => {
                    earlier.push(',');
                    earlier.push_str(&value);
                }
                Some(_) => return Err(Problem::invalid(&name, format!("`{name}` is given more than once"))),
            }
        }
        Ok((read(values)?, rest))
    }
}

/// The parameters of a query string.
pub(super) trait QueryFields: DeserializeOwned + IntoParams {
    /// Parameters that may be repeated: `a=1&a=2` is read as `a=1,2`.
    const REPEATABLE: &'static [&'static str] = &[];
}

/// A parsed query string. Unknown parameters are rejected, because a misspelt `dry_run` must not run the command.
pub(super) struct Query<Q>(pub(super) Q);

impl<Q: QueryFields> FromRequestParts<Api> for Query<Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _api: &Api) -> Result<Self, Problem> {
        let (query, rest) = Pairs::of(parts)?.read::<Q>()?;
        match rest.first() {
            None => Ok(Self(query)),
            Some((name, _)) => Err(unknown_parameter(name, &Known::of_query::<Q>().settable)),
        }
    }
}

/// Creates the problem of an unknown query parameter.
pub(super) fn unknown_parameter(name: &str, known: &[String]) -> Problem {
    if (name == "seq" || name == "at") && !known.iter().any(|known| known == name) {
        let detail = format!(
            "this route has no past: `{name}` is a parameter of reads of nodes, applications and containers"
        );
        return Problem::invalid(name, detail);
    }
    unknown(name, "parameter", known.iter().map(String::as_str))
}

pub(super) fn parameter_names<Q: IntoParams>() -> Vec<String> {
    Known::of_query::<Q>().settable
}

/// The id or name of a resource from the path, percent-decoded.
pub(super) struct Which(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Which {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::<String>::from_request_parts(parts, state)
            .await
            .map(|path| Self(path.0))
            .map_err(|error| Problem::from_plain(StatusCode::BAD_REQUEST, error.body_text()))
    }
}
