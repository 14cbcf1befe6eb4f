//! Times, durations, and the number of lines of a log, in the forms in which people write them.

use super::numbers::digits;
use crate::config::parse_duration;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde::de::{self, Deserializer, IntoDeserializer, Visitor, value::StringDeserializer};
use std::fmt;
use std::time::Duration;

/// A time: RFC 3339, a Unix time in seconds, or a duration before now (`10m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum TimeRef {
    At(DateTime<Utc>),
    Ago(TimeDelta),
}

/// Numbers from here on are Unix times (2001 or later), as in Docker's API; smaller ones are seconds before now.
const FIRST_UNIX_TIME: i64 = 1_000_000_000;

impl TimeRef {
    /// Resolves the time against the clock.
    pub(in crate::server) fn moment(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(moment) => moment,
            Self::Ago(ago) => now.checked_sub_signed(ago).unwrap_or(DateTime::<Utc>::MIN_UTC),
        }
    }

    fn read(text: &str) -> Option<Self> {
        if let Some(number) = digits(text).and_then(|number| i64::try_from(number).ok())
            && number >= FIRST_UNIX_TIME
        {
            return DateTime::from_timestamp(number, 0).map(Self::At);
        }
        let text: StringDeserializer<de::value::Error> = text.to_owned().into_deserializer();
        if let Ok(Timestamp(moment)) = Timestamp::deserialize(text.clone()) {
            return Some(Self::At(moment));
        }
        let ago = LenientDuration::deserialize(text).ok()?.or_seconds();
        TimeDelta::from_std(ago).ok().map(Self::Ago)
    }
}

impl<'de> Deserialize<'de> for TimeRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "expected a time (2026-01-31T12:00:00Z, a Unix time in seconds, or a duration before now such as 10m), got \
                 `{text}`"
            ))
        })
    }
}

/// The number of last lines of a log to read, or `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum LenientTail {
    All,
    Last(u32),
}

impl<'de> Deserialize<'de> for LenientTail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match digits(&text) {
            _ if text.eq_ignore_ascii_case("all") => Ok(Self::All),
            Some(lines) => Ok(Self::Last(u32::try_from(lines).unwrap_or(u32::MAX))),
            None => Err(de::Error::custom(format!("expected a number of lines or `all`, got `{text}`"))),
        }
    }
}

/// A duration: `"30s"`, `"500ms"`; a plain number is in the unit of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum LenientDuration {
    Plain(u64),
    Given(Duration),
}

impl LenientDuration {
    pub(in crate::server) fn or_seconds(self) -> Duration {
        match self {
            Self::Plain(seconds) => Duration::from_secs(seconds),
            Self::Given(duration) => duration,
        }
    }

    pub(super) fn or_millis(self) -> u64 {
        match self {
            Self::Plain(millis) => millis,
            Self::Given(duration) => u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl<'de> Deserialize<'de> for LenientDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;
        impl Visitor<'_> for DurationVisitor {
            type Value = LenientDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"30s\"")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<LenientDuration, E> {
                Ok(LenientDuration::Plain(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LenientDuration, E> {
                match text.parse() {
                    Ok(number) => Ok(LenientDuration::Plain(number)),
                    Err(_) => parse_duration(text).map(LenientDuration::Given).map_err(E::custom),
                }
            }
        }
        deserializer.deserialize_any(DurationVisitor)
    }
}

/// An RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Timestamp(DateTime<Utc>);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // In a query string an unencoded `+` (of `+02:00`) reads as a space.
        DateTime::parse_from_rfc3339(&text.replace(' ', "+")).map(|moment| Self(moment.to_utc())).map_err(
            |_| {
                de::Error::custom(format!(
                    "expected a time (RFC 3339) such as 2026-01-31T12:00:00Z, got `{text}`"
                ))
            },
        )
    }
}
