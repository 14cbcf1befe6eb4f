//! Content negotiation by the `Accept` header (RFC 9110, section 12.5.1).

use super::problem::{Problem, Sort};
use axum::http::{HeaderMap, HeaderValue, header};

/// A form of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Ndjson,
    Csv,
}

impl Form {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }

    /// The `Content-Type` header.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            other => other.media_type(),
        })
    }

    /// The client's weight (0 to 1) of this form, by the most specific of its media ranges.
    fn wanted(self, ranges: &[(String, f32)]) -> f32 {
        let (group, _) = self.media_type().split_once('/').unwrap_or_default();
        let exactness = |range: &str| match range {
            range if range == self.media_type() => 3,
            // Unregistered names that some clients send.
            "application/ndjson" | "application/jsonl" if self == Self::Ndjson => 3,
            range if range.strip_suffix("/*") == Some(group) => 2,
            "*/*" => 1,
            _ => 0,
        };
        let fitting = ranges.iter().filter(|(range, _)| exactness(range) > 0);
        fitting.max_by_key(|(range, _)| exactness(range)).map_or(0.0, |(_, weight)| *weight)
    }
}

/// The form with the highest weight, the first one of equal weights.
pub(super) fn negotiate(headers: &HeaderMap, forms: &[Form]) -> Result<Form, Problem> {
    let accepted = headers.get_all(header::ACCEPT);
    let texts: Vec<_> = accepted.iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let ranges: Vec<_> = texts.iter().flat_map(|text| text.split(',')).filter_map(range).collect();
    let mut best: Option<(Form, f32)> = None;
    for form in forms {
        let wanted = if ranges.is_empty() { 1.0 } else { form.wanted(&ranges) };
        if wanted > best.map_or(0.0, |(_, wanted)| wanted) {
            best = Some((*form, wanted));
        }
    }
    best.map(|(form, _)| form).ok_or_else(|| {
        let known: Vec<_> = forms.iter().map(|form| form.media_type()).collect();
        Problem::new(
            Sort::NotAcceptable,
            format!("not available in an accepted form; available: {}", known.join(", ")),
        )
    })
}

/// Parses a media range and its weight.
fn range(text: &str) -> Option<(String, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty())?.to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    Some((range, weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0))))
}
