//! Content negotiation by the `Accept` header (RFC 9110, section 12.5.1).

use super::problem::{Problem, Sort};
use axum::http::{HeaderMap, HeaderValue, header};
use mediatype::names::{_STAR, Q};
use mediatype::{MediaType, MediaTypeList, ReadParams as _};

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
    fn weight<'a>(self, ranges: impl Iterator<Item = &'a MediaType<'a>>) -> f32 {
        let (ty, subty) = self.media_type().split_once('/').unwrap_or_default();
        let specificity = |range: &MediaType<'_>| match range {
            _ if range.suffix.is_some() => 0,
            _ if range.ty == _STAR && range.subty == _STAR => 1,
            _ if range.ty != ty => 0,
            _ if range.subty == _STAR => 2,
            _ if range.subty == subty => 3,
            // Unregistered names that some clients send.
            _ if self == Self::Ndjson && (range.subty == "ndjson" || range.subty == "jsonl") => 3,
            _ => 0,
        };
        let matching = ranges.filter(|range| specificity(range) > 0);
        let range = matching.max_by_key(|range| specificity(range));
        let weight = |range: &MediaType<'_>| match range.get_param(Q) {
            Some(weight) => weight.as_str().parse().unwrap_or(0.0),
            None => 1.0,
        };
        range.map_or(0.0, weight)
    }
}

/// Selects the form with the highest weight, the first one of equal weights. Without an `Accept` header it is the first form.
pub(super) fn negotiate(headers: &HeaderMap, forms: &[Form]) -> Result<Form, Problem> {
    let accepted = headers.get_all(header::ACCEPT);
    let texts: Vec<_> = accepted.iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let ranges: Vec<_> = texts.iter().flat_map(|text| MediaTypeList::new(text)).collect();
    let mut best: Option<(Form, f32)> = None;
    for form in forms {
        let weight = if ranges.is_empty() { 1.0 } else { form.weight(ranges.iter().flatten()) };
        if weight > best.map_or(0.0, |(_, weight)| weight) {
            best = Some((*form, weight));
        }
    }
    best.map(|(form, _)| form).ok_or_else(|| {
        let known: Vec<_> = forms.iter().map(|form| form.media_type()).collect();
        let detail = format!("not available in an accepted form; available: {}", known.join(", "));
        Problem::new(Sort::NotAcceptable, detail)
    })
}
