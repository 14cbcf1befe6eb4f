//! A time in the past, and how much of what was written since then.

use super::numbers::digits;
use super::{Moment, Span};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde::de::{self, Deserializer, IntoDeserializer, value::StringDeserializer};

/// A time: a moment (RFC 3339), a Unix time in seconds, or how long ago, as in `10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Past {
    At(DateTime<Utc>),
    Ago(TimeDelta),
}

/// A number from here on is a Unix time (of 2001 or later), as Docker takes it; a smaller one is seconds ago.
const FIRST_UNIX_TIME: i64 = 1_000_000_000;

impl Past {
    /// The moment that it is.
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
        if let Ok(Moment(moment)) = Moment::deserialize(text.clone()) {
            return Some(Self::At(moment));
        }
        let ago = Span::deserialize(text).ok()?.or_seconds();
        TimeDelta::from_std(ago).ok().map(Self::Ago)
    }
}

impl<'de> Deserialize<'de> for Past {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is no time; write a moment (2026-01-31T12:00:00Z), a Unix time in seconds, or how long \
                 ago (10m)"
            ))
        })
    }
}

/// The last lines: so many, or `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Tail {
    All,
    Last(u32),
}

impl<'de> Deserialize<'de> for Tail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match digits(&text) {
            _ if text.eq_ignore_ascii_case("all") => Ok(Self::All),
            Some(lines) => Ok(Self::Last(u32::try_from(lines).unwrap_or(u32::MAX))),
            None => Err(de::Error::custom(format!("`{text}` is neither a number of lines nor `all`"))),
        }
    }
}
