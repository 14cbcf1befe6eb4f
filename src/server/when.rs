//! Points in time, as requests name them: by the seq of an event, or by a time.

use super::Api;
use super::lenient::LenientInteger;
use super::problem::{Problem, Sort};
use super::resource::state;
use chrono::{DateTime, Utc};
use kdaemon_events::Seq;
use kdaemon_projections::Cluster;
use std::sync::Arc;

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// After an event.
    Seq(Seq),
    /// After the last event recorded at or before a time.
    At(DateTime<Utc>),
}

impl Point {
    /// Reads a seq.
    fn seq(field: &str, text: &str) -> Result<Self, Problem> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Problem::malformed(field, format!("`{text}` is not the seq of an event: a number")));
        }
        match text.parse::<u64>() {
            Ok(0) => Err(Problem::invalid(field, "there is no event 0: the log begins with event 1")),
            Ok(seq) => Ok(Self::Seq(Seq(seq))),
            Err(_) if digits == text => {
                Err(Problem::invalid(field, format!("{text} is far beyond the end of the log")))
            }
            Err(_) => Err(Problem::invalid(field, format!("{text} is before the first event, which is 1"))),
        }
    }

    /// Reads a time.
    fn at(field: &str, text: &str) -> Result<Self, Problem> {
        // In a query string an unencoded `+` (of `+02:00`) reads as a space.
        match DateTime::parse_from_rfc3339(&text.replace(' ', "+")) {
            Ok(at) => Ok(Self::At(at.to_utc())),
            Err(_) => Err(Problem::malformed(
                field,
                format!(
                    "`{text}` is not a time; write it with its zone, as in 2026-01-31T12:00:00Z (RFC 3339)"
                ),
            )),
        }
    }

    /// Reads a seq or a time.
    fn either(field: &str, text: &str) -> Result<Self, Problem> {
        let is_number = text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
        if is_number && !text.is_empty() {
            return Self::seq(field, text);
        }
        Self::at(field, text).map_err(|_| {
            let wanted = "write the seq of an event, or a time with its zone, as in 2026-01-31T12:00:00Z";
            Problem::malformed(field, format!("`{text}` is neither a number nor a time; {wanted}"))
        })
    }

    /// The event that it is after, in the log that `present` ends.
    async fn resolve(self, api: &Api, present: &Cluster, field: &str) -> Result<Seq, Problem> {
        match self {
            Self::Seq(seq) if seq > present.seq() => Err(Problem::invalid(
                field,
                format!("event {seq} is not there yet: the log ends at {}", present.seq()),
            )),
            Self::Seq(seq) => Ok(seq),
            // The log's own time counts too: the clock may have been set back since.
            Self::At(at) if Some(at) > present.at() && at > api.journal.now() => {
                Err(Problem::invalid(field, format!("{} is in the future", at.to_rfc3339())))
            }
            Self::At(at) => match api.journal.store().seq_at(at).await? {
                Seq(0) => Err(Problem::invalid(
                    field,
                    format!("{} is before the first event of the log", at.to_rfc3339()),
                )),
                // What is durable and not yet published is not there for anybody.
                seq => Ok(seq.min(present.seq())),
            },
        }
    }
}

/// The state that a request asks for: the present one, or that of `seq` or `at`; as soon as there is one that includes
/// `min_seq`.
pub(super) async fn state_of(
    api: &Api,
    min_seq: Option<LenientInteger>,
    seq: Option<&str>,
    at: Option<&str>,
) -> Result<Arc<Cluster>, Problem> {
    let (point, field) = match (seq, at) {
        (Some(_), Some(_)) => {
            return Err(Problem::malformed("at", "`seq` and `at` name two points in time; give one of them"));
        }
        (Some(seq), None) => (Point::seq("seq", seq)?, "seq"),
        (None, Some(at)) => (Point::at("at", at)?, "at"),
        (None, None) => return state(api, min_seq).await,
    };
    let present = state(api, min_seq).await?;
    let seq = point.resolve(api, &present, field).await?;
    let state = api.past.state(seq).await?;
    if state.seq() < seq {
        // It is what the log says of that moment all the same; but whoever names an event is to know that it is gone.
        return Err(Problem::new(
            Sort::Gone,
            format!(
                "event {seq} was the raw observation of a probe and is pruned (observation_retention); the last event \
                 before it that is kept is {}: ask for that, or for a time with ?at=",
                state.seq()
            ),
        ));
    }
    Ok(state)
}

/// The seqs of two points in time, the second of which is now when it is not given.
pub(super) async fn stretch(
    api: &Api,
    present: &Cluster,
    from: &str,
    to: Option<&str>,
) -> Result<(Seq, Seq), Problem> {
    let first = Point::either("from", from)?;
    let last = to.map(|to| Point::either("to", to)).transpose()?;
    let from = first.resolve(api, present, "from").await?;
    let to = match last {
        Some(last) => last.resolve(api, present, "to").await?,
        None => present.seq(),
    };
    if from > to {
        let detail = format!("`from` (event {from}) is after `to` (event {to}); give the earlier one first");
        return Err(Problem::invalid("from", detail));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn point_is_a_seq_or_a_time_with_its_zone() {
        assert_eq!(Point::either("from", "7").unwrap(), Point::Seq(Seq(7)));
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        for text in ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "2023-11-14T23:13:20 01:00"] {
            assert_eq!(Point::either("from", text).unwrap(), Point::At(at), "{text}");
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
            assert_eq!(Point::either("from", text).unwrap_err().status().as_u16(), status, "{text}");
        }
    }
}
