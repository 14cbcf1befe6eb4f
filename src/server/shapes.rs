//! The shapes that values may have in a request: those of kDaemon 0.0, and those that people write today.
//!
//! Each type reads all of its shapes, and its schema says so.

mod numbers;
mod past;
#[cfg(test)]
mod tests;
mod variables;
mod words;

pub(super) use numbers::{Balance, Count};
pub(super) use past::{Past, Tail};
pub(super) use variables::Variables;
pub(super) use words::Words;

use crate::config::parse_duration;
use chrono::{DateTime, Utc};
use kdaemon_events::{Constraint, HealthCheck, Kind, MilliCpus, PortSpec, Resources, Volume};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de::IntoDeserializer};
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Keeps `null` (reset) apart from an absent field (leave as it is).
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

fn any_of(types: &[Type]) -> RefOr<Schema> {
    let schema = types.iter().fold(AnyOfBuilder::new(), |schema, one| match one {
        Type::Array => schema
            .item(ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String).build()).build()),
        other => schema.item(ObjectBuilder::new().schema_type(other.clone()).build()),
    });
    RefOr::T(Schema::AnyOf(schema.build()))
}

macro_rules! schema {
    ($($name:ident $(<$generic:ident>)?: $($one:ident)|+;)+) => {$(
        impl $(<$generic>)? PartialSchema for $name $(<$generic>)? {
            fn schema() -> RefOr<Schema> {
                any_of(&[$(Type::$one),+])
            }
        }
        impl $(<$generic>)? ToSchema for $name $(<$generic>)? {}
    )+};
}

schema! {
    Text: String | Number;
    Flag: Boolean | String | Integer;
    Whole: Integer | String;
    Count: Integer | String;
    Balance: Boolean | Number | String;
    Span: String | Integer;
    Many<T>: String | Array;
    Variables: String | Array | Object;
    Words: String | Array;
    Bytes: Integer | String;
    Moment: String;
}

/// Text; a number is taken as its digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// An optional text: clients of 0.0 send an empty one for none.
pub(super) fn optional_text(text: Option<Option<Text>>) -> Option<Option<String>> {
    text.map(|text| text.map(|text| text.0).filter(|text| !text.is_empty()))
}

/// An optional text of which an empty one means that it is not there.
pub(super) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The edit of an optional text: clients of 0.0 send an empty one for what stays as it is; `null` resets.
pub(super) fn edited_text(text: Option<Option<Text>>) -> Option<Option<String>> {
    text.filter(|text| text.as_ref().is_none_or(|text| !text.0.is_empty()))
        .map(|text| text.map(|text| text.0))
}

/// Reads a value of which an empty text means that it is not there.
pub(super) fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    if value.as_str().is_some_and(str::is_empty) {
        return Ok(None);
    }
    Option::<T>::deserialize(value).map_err(de::Error::custom)
}

/// Yes or no: `true`, `"true"`, `1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Flag;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Flag, E> {
                match text.to_ascii_lowercase().as_str() {
                    // Without a value, as in `?follow`, it is named to be set.
                    "true" | "1" | "yes" | "on" | "" => Ok(Flag(true)),
                    "false" | "0" | "no" | "off" => Ok(Flag(false)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Flag, E> {
                match number {
                    0 => Ok(Flag(false)),
                    1 => Ok(Flag(true)),
                    other => Err(E::invalid_value(de::Unexpected::Unsigned(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A whole number: `3` or `"3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Whole(pub(super) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Whole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Whole, E> {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                match text.parse() {
                    Ok(number) if digits => Ok(Whole(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A stretch of time: `"30s"`, `"500ms"`; a plain number counts in the unit that the field's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Plain(u64),
    Given(Duration),
}

impl Span {
    pub(super) fn or_seconds(self) -> Duration {
        match self {
            Self::Plain(seconds) => Duration::from_secs(seconds),
            Self::Given(duration) => duration,
        }
    }

    fn or_millis(self) -> u64 {
        match self {
            Self::Plain(millis) => millis,
            Self::Given(duration) => u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"30s\"")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Span, E> {
                Ok(Span::Plain(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                match text.parse() {
                    Ok(number) => Ok(Span::Plain(number)),
                    Err(_) => parse_duration(text).map(Span::Given).map_err(E::custom),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A moment (RFC 3339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) DateTime<Utc>);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // In a query string an unencoded `+` (of `+02:00`) reads as a space.
        DateTime::parse_from_rfc3339(&text.replace(' ', "+")).map(|moment| Self(moment.to_utc())).map_err(
            |_| {
                de::Error::custom(format!(
                    "`{text}` is not a moment; write it as in 2026-01-31T12:00:00Z (RFC 3339)"
                ))
            },
        )
    }
}

/// What can stand in a [`Many`].
pub(super) trait Element: FromStr<Err: Display> {
    /// In words.
    const EXPECTED: &'static str;
    /// Whether a number is taken as its digits.
    const NUMBERS: bool = false;
}

impl Element for String {
    const EXPECTED: &'static str = "a list of texts, or one text with commas between them";
}
impl Element for PortSpec {
    const EXPECTED: &'static str = "ports, as in \"2368,53/udp,8080:80\", or a list of them";
    const NUMBERS: bool = true;
}
impl Element for Volume {
    const EXPECTED: &'static str = "volumes, as in \"data:/var/lib/data\", or a list of them";
}
impl Element for Constraint {
    const EXPECTED: &'static str = "constraints, as in \"zone==a\", or a list of them";
}
impl Element for Kind {
    const EXPECTED: &'static str = "kinds of event, with commas between them";
}

/// Several: a list, or a text with commas between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

struct One<T>(T);

impl<'de, T: Element> Deserialize<'de> for One<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<T: Element> Visitor<'_> for Reader<T> {
            type Value = One<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<One<T>, E> {
                text.trim().parse().map(One).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<One<T>, E> {
                if !T::NUMBERS {
                    return Err(E::invalid_type(de::Unexpected::Unsigned(number), &self));
                }
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<'de, T: Element> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Element> Visitor<'de> for Reader<T> {
            type Value = Many<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Many<T>, E> {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(|item| item.parse().map_err(E::custom)).collect::<Result<_, _>>().map(Many)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Many<T>, E> {
                One::deserialize(number.into_deserializer()).map(|one: One<T>| Many(vec![one.0]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Many<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(One(item)) = list.next_element()? {
                    items.push(item);
                }
                Ok(Many(items))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// A number of bytes: `67108864` or `"64MiB"`. Units are powers of 1024, as Docker's `-m` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes(u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let shift = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => Some(0),
            "k" | "kb" | "kib" => Some(10),
            "m" | "mb" | "mib" => Some(20),
            "g" | "gb" | "gib" => Some(30),
            "t" | "tb" | "tib" => Some(40),
            _ => None,
        };
        let bytes = shift.and_then(|shift| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
        bytes.map(Self).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a number of bytes; write 67108864 or 64MiB"))
        })
    }
}

/// Limits of a container.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Processors: 0.5 is half of one.
    #[schema(value_type = Option<f64>)]
    cpus: Option<MilliCpus>,
    /// Memory, in bytes.
    memory_bytes: Option<Bytes>,
    /// Memory, as in `64MiB`, instead of `memory_bytes`.
    memory: Option<Bytes>,
}

impl From<Limits> for Resources {
    fn from(limits: Limits) -> Self {
        let memory_bytes = limits.memory_bytes.or(limits.memory).map(|bytes| bytes.0);
        Self { cpus: limits.cpus, memory_bytes }
    }
}

/// How an engine finds out whether a container works.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    /// The command: a list of words, or one text for the container's shell.
    #[serde(deserialize_with = "words::shell_command")]
    #[schema(value_type = Words)]
    command: Vec<String>,
    /// Time between two checks, in milliseconds, or as in `30s`.
    #[serde(alias = "interval")]
    interval_ms: Option<Span>,
    /// How long one check may take, in milliseconds, or as in `5s`.
    #[serde(alias = "timeout")]
    timeout_ms: Option<Span>,
    /// Failed checks in a row that make the container unhealthy.
    retries: Option<u32>,
    /// Time after the start in which failed checks do not count, in milliseconds, or as in `1m`.
    #[serde(alias = "start_period")]
    start_period_ms: Option<Span>,
}

impl From<Check> for HealthCheck {
    fn from(check: Check) -> Self {
        Self {
            command: check.command,
            interval_ms: check.interval_ms.map_or(30_000, Span::or_millis),
            timeout_ms: check.timeout_ms.map_or(30_000, Span::or_millis),
            retries: check.retries.unwrap_or(3),
            start_period_ms: check.start_period_ms.map_or(0, Span::or_millis),
        }
    }
}
