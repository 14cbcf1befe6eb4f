//! Points in time in requests: the seq of an event, or a time.

use super::Api;
use super::lenient::LenientInteger;
use super::problem::{Problem, Sort};
use chrono::{DateTime, Utc};
use kdaemon_events::Seq;
use kdaemon_projections::Cluster;
use std::sync::Arc;
use std::time::Duration;

/// Maximum distance of a `min_seq` from the end of the log, in events. A greater one is a mistake of the client, not a race.
const MIN_SEQ_AHEAD: u64 = 100_000;

/// The current state; waits until it includes `min_seq`.
///
/// # Errors
/// 422 when `min_seq` is far beyond the end of the log, 503 when the wait times out.
pub(super) async fn state(api: &Api, min_seq: Option<LenientInteger>) -> Result<Arc<Cluster>, Problem> {
    state_at(api, min_seq, "min_seq").await
}

/// Like [`state`], for an event in the parameter `field`.
pub(super) async fn state_at(
    api: &Api,
    seq: Option<LenientInteger>,
    field: &str,
) -> Result<Arc<Cluster>, Problem> {
    let cluster = api.journal.cluster();
    let Some(LenientInteger(wanted)) = seq.filter(|wanted| wanted.0 > cluster.seq().0) else {
        return Ok(cluster);
    };
    if wanted > cluster.seq().0.saturating_add(MIN_SEQ_AHEAD) {
        let detail = format!("event {wanted} is far beyond the end of the log (event {})", cluster.seq());
        return Err(Problem::invalid(field, detail));
    }
    // Shorter than the request's own timeout, so that this error is the one that is reported.
    let patience = api.config.request_timeout.mul_f64(0.9).min(Duration::from_secs(30));
    match tokio::time::timeout(patience, api.journal.reached(Seq(wanted))).await {
        Ok(cluster) if cluster.seq().0 >= wanted => Ok(cluster),
        _ => Err(Problem::new(
            Sort::Timeout,
            format!(
                "timed out waiting for event {wanted}; the log ends at event {}",
                api.journal.cluster().seq()
            ),
        )),
    }
}

/// A point in the history of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PointInTime {
    /// After an event.
    Seq(Seq),
    /// After the last event recorded at or before a time.
    At(DateTime<Utc>),
}

impl PointInTime {
    /// Parses a seq: 400 if it is no number, 422 if it is out of range.
    fn seq(field: &str, text: &str) -> Result<Self, Problem> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Problem::malformed(
                field,
                format!("expected the seq of an event as a number, got `{text}`"),
            ));
        }
        match text.parse::<u64>() {
            Ok(0) => Err(Problem::invalid(field, "no event 0: the log begins with event 1")),
            Ok(seq) => Ok(Self::Seq(Seq(seq))),
            Err(_) if digits == text => {
                Err(Problem::invalid(field, format!("event {text} is far beyond the end of the log")))
            }
            Err(_) => Err(Problem::invalid(field, format!("no event {text}: the log begins with event 1"))),
        }
    }

    /// Parses a time: 400 if it is none.
    fn at(field: &str, text: &str) -> Result<Self, Problem> {
        // In a query string an unencoded `+` (of `+02:00`) reads as a space.
        match DateTime::parse_from_rfc3339(&text.replace(' ', "+")) {
            Ok(at) => Ok(Self::At(at.to_utc())),
            Err(_) => Err(Problem::malformed(
                field,
                format!(
                    "expected a time with a time zone (RFC 3339) such as 2026-01-31T12:00:00Z, got `{text}`"
                ),
            )),
        }
    }

    /// Parses a seq or a time.
    fn either(field: &str, text: &str) -> Result<Self, Problem> {
        let is_number = text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
        if is_number && !text.is_empty() {
            return Self::seq(field, text);
        }
        Self::at(field, text).map_err(|_| {
            let wanted = "the seq of an event, or a time with a time zone such as 2026-01-31T12:00:00Z";
            Problem::malformed(field, format!("expected {wanted}, got `{text}`"))
        })
    }

    /// The seq of the last event at this point, in a log that ends at `present`.
    async fn resolve(self, api: &Api, present: &Cluster, field: &str) -> Result<Seq, Problem> {
        match self {
            Self::Seq(seq) if seq > present.seq() => Err(Problem::invalid(
                field,
                format!("no event {seq} yet: the log ends at event {}", present.seq()),
            )),
            Self::Seq(seq) => Ok(seq),
            // The time of the last event counts too, because the clock may have been set back.
            Self::At(at) if Some(at) > present.at() && at > api.journal.now() => {
                Err(Problem::invalid(field, format!("{} is in the future", at.to_rfc3339())))
            }
            Self::At(at) => match api.journal.store().seq_at(at).await? {
                Seq(0) => Err(Problem::invalid(
                    field,
                    format!("{} is before the first event of the log", at.to_rfc3339()),
                )),
                // An event that is durable but not published yet is not visible to clients.
                seq => Ok(seq.min(present.seq())),
            },
        }
    }
}

/// The state that a request refers to: the current one, or the one at `seq` or `at`. Waits until the log includes `min_seq`.
pub(super) async fn state_of(
    api: &Api,
    min_seq: Option<LenientInteger>,
    seq: Option<&str>,
    at: Option<&str>,
) -> Result<Arc<Cluster>, Problem> {
    let (point, field) = match (seq, at) {
        (Some(_), Some(_)) => {
            return Err(Problem::malformed("at", "`seq` and `at` are mutually exclusive; set one of them"));
        }
        (Some(seq), None) => (PointInTime::seq("seq", seq)?, "seq"),
        (None, Some(at)) => (PointInTime::at("at", at)?, "at"),
        (None, None) => return state(api, min_seq).await,
    };
    let present = state(api, min_seq).await?;
    let seq = point.resolve(api, &present, field).await?;
    let state = api.past.state(seq).await?;
    if state.seq() < seq {
        // The state is correct for that moment, but a client that names a pruned event has to know that it is gone.
        return Err(Problem::new(
            Sort::Gone,
            format!(
                "event {seq} was an observation and has been pruned (observation_retention); the last event before it is {}: \
                 use that seq, or a time with ?at=",
                state.seq()
            ),
        ));
    }
    Ok(state)
}

/// The seqs of a range of points in time. `to` is now by default.
pub(super) async fn range(
    api: &Api,
    present: &Cluster,
    from: &str,
    to: Option<&str>,
) -> Result<(Seq, Seq), Problem> {
    let first = PointInTime::either("from", from)?;
    let last = to.map(|to| PointInTime::either("to", to)).transpose()?;
    let from = first.resolve(api, present, "from").await?;
    let to = match last {
        Some(last) => last.resolve(api, present, "to").await?,
        None => present.seq(),
    };
    if from > to {
        let detail = format!("`from` (event {from}) must not be after `to` (event {to})");
        return Err(Problem::invalid("from", detail));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn point_in_time_is_a_seq_or_a_time_with_a_zone() {
        assert_eq!(PointInTime::either("from", "7").unwrap(), PointInTime::Seq(Seq(7)));
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        for text in ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "2023-11-14T23:13:20 01:00"] {
            assert_eq!(PointInTime::either("from", text).unwrap(), PointInTime::At(at), "{text}");
        }
        for (text, status) in [
            ("", 400),
            ("-", 400),
            ("x", 400),
            ("1.5", 400),
            ("+1", 400),
            ("2023-11-14T22:13:20", 400),
            ("2023-11-14", 400),
            ("99999-01-01T00:00:00Z", 400),
            ("0", 422),
            ("00", 422),
            ("-1", 422),
            ("18446744073709551616", 422),
        ] {
            assert_eq!(PointInTime::either("from", text).unwrap_err().status().as_u16(), status, "{text}");
        }
    }
}
