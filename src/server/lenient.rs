//! Lenient input types: each accepts a value in the forms that clients of kDaemon 0.0 send, and in the forms that people
//! write today. Its schema lists them, with a hint (`x-kdaemon-input`) for the forms of the web UI.

mod environment;
mod health_check;
mod numbers;
mod shell_words;
#[cfg(test)]
mod tests;
mod time;

pub(super) use environment::LenientEnvironment;
pub(super) use health_check::{HealthCheckInput, LenientHealthCheck};
pub(super) use numbers::{LenientBalance, LenientCount, LenientCpus};
pub(super) use shell_words::ShellWords;
pub(super) use time::{LenientDuration, LenientTail, TimeRef};

use super::value::ValueDeserializer;
use kdaemon_events::{Constraint, Kind, PortSpec, Resources, Volume};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de::IntoDeserializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Distinguishes `null` (reset the field) from an absent field (keep its value).
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// The control with which a form should edit a value: the extension `x-kdaemon-input` of its schema.
#[derive(Clone, Copy)]
enum InputHint {
    /// One line of text.
    Text,
    /// A switch.
    Boolean,
    /// Words separated by spaces, quoted as in a shell; or a JSON list.
    ShellWords,
    /// A line for a shell; or a JSON list in the form of Docker's health checks.
    HealthCommand,
    /// Items separated by commas; or a JSON list.
    CommaSeparated,
    /// Names and values.
    Map,
}

impl InputHint {
    const KEY: &'static str = "x-kdaemon-input";

    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::ShellWords => "shell-words",
            Self::HealthCommand => "health-command",
            Self::CommaSeparated => "comma-separated",
            Self::Map => "map",
        }
    }
}

fn any_of(types: &[Type], hint: InputHint) -> RefOr<Schema> {
    let schema = types.iter().fold(AnyOfBuilder::new(), |schema, one| match one {
        Type::Array => schema
            .item(ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String).build()).build()),
        other => schema.item(ObjectBuilder::new().schema_type(other.clone()).build()),
    });
    let extensions = Extensions::from_iter([(InputHint::KEY, hint.as_str())]);
    RefOr::T(Schema::AnyOf(schema.extensions(Some(extensions)).build()))
}

macro_rules! schema {
    ($($type:ident $(<$generic:ident>)?: $($one:ident)|+, $hint:ident;)+) => {$(
        impl $(<$generic>)? PartialSchema for $type $(<$generic>)? {
            fn schema() -> RefOr<Schema> {
                any_of(&[$(Type::$one),+], InputHint::$hint)
            }
        }
        impl $(<$generic>)? ToSchema for $type $(<$generic>)? {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($type))
            }
        }
    )+};
}

schema! {
    LenientText: String | Number, Text;
    LenientBool: Boolean | String | Integer, Boolean;
    LenientInteger: Integer | String, Text;
    LenientCount: Integer | String, Text;
    LenientBalance: Boolean | Number | String, Boolean;
    LenientDuration: String | Integer, Text;
    CommaSeparated<T>: String | Array, CommaSeparated;
    LenientEnvironment: String | Array | Object, Map;
    ShellWords: String | Array, ShellWords;
    LenientBytes: Integer | String, Text;
    LenientCpus: Number | String, Text;
}

/// A string, or a number, which is read as its digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LenientText(pub(super) String);

impl<'de> Deserialize<'de> for LenientText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = LenientText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LenientText, E> {
                Ok(LenientText(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<LenientText, E> {
                Ok(LenientText(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<LenientText, E> {
                Ok(LenientText(number.to_string()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<LenientText, E> {
                Ok(LenientText(number.to_string()))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// Reads an optional string, where clients of 0.0 send an empty one for null.
pub(super) fn optional_text(text: Option<Option<LenientText>>) -> Option<Option<String>> {
    text.map(|text| text.map(|text| text.0).filter(|text| !text.is_empty()))
}

/// Treats an empty string as absent.
pub(super) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Reads an update of an optional string: clients of 0.0 send an empty one to keep the value; `null` resets it.
pub(super) fn edited_text(text: Option<Option<LenientText>>) -> Option<Option<String>> {
    text.filter(|text| text.as_ref().is_none_or(|text| !text.0.is_empty()))
        .map(|text| text.map(|text| text.0))
}

/// Deserializes a value, treating an empty string as absent.
pub(super) fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    if value.as_str().is_some_and(str::is_empty) {
        return Ok(None);
    }
    Option::<T>::deserialize(ValueDeserializer(value)).map_err(de::Error::custom)
}

/// A boolean: `true`, `"true"`, `1`; also `yes`, `no`, `on` and `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LenientBool(pub(super) bool);

impl<'de> Deserialize<'de> for LenientBool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoolVisitor;
        impl Visitor<'_> for BoolVisitor {
            type Value = LenientBool;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<LenientBool, E> {
                Ok(LenientBool(flag))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LenientBool, E> {
                match text.to_ascii_lowercase().as_str() {
                    // A parameter without a value, as in `?follow`, is set.
                    "true" | "1" | "yes" | "on" | "" => Ok(LenientBool(true)),
                    "false" | "0" | "no" | "off" => Ok(LenientBool(false)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<LenientBool, E> {
                match number {
                    0 => Ok(LenientBool(false)),
                    1 => Ok(LenientBool(true)),
                    other => Err(E::invalid_value(de::Unexpected::Unsigned(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(BoolVisitor)
    }
}

/// A whole number from 0 to 2^64 - 1: `3` or `"3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LenientInteger(pub(super) u64);

impl<'de> Deserialize<'de> for LenientInteger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;
        impl Visitor<'_> for IntegerVisitor {
            type Value = LenientInteger;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<LenientInteger, E> {
                Ok(LenientInteger(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LenientInteger, E> {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                match text.parse() {
                    Ok(number) if digits => Ok(LenientInteger(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(IntegerVisitor)
    }
}

/// The type of an item of a [`CommaSeparated`].
pub(super) trait Element: FromStr<Err: Display> {
    /// The expected value, as errors name it.
    const EXPECTED: &'static str;
    /// `true` if a number is read as its digits.
    const NUMBERS: bool = false;
}

impl Element for String {
    const EXPECTED: &'static str = "a list of strings, or one comma-separated string";
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
    const EXPECTED: &'static str = "event kinds, comma separated";
}

/// Several values: a list, or a comma-separated string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommaSeparated<T>(pub(super) Vec<T>);

/// The type that schemas refer to for lists of any item type.
pub(super) type List = CommaSeparated<String>;

impl<T> Default for CommaSeparated<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

struct One<T>(T);

impl<'de, T: Element> Deserialize<'de> for One<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor<T>(PhantomData<T>);
        impl<T: Element> Visitor<'_> for ItemVisitor<T> {
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
        deserializer.deserialize_any(ItemVisitor(PhantomData))
    }
}

impl<'de, T: Element> Deserialize<'de> for CommaSeparated<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommaSeparatedVisitor<T>(PhantomData<T>);
        impl<'de, T: Element> Visitor<'de> for CommaSeparatedVisitor<T> {
            type Value = CommaSeparated<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<CommaSeparated<T>, E> {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items
                    .map(|item| item.parse().map_err(E::custom))
                    .collect::<Result<_, _>>()
                    .map(CommaSeparated)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<CommaSeparated<T>, E> {
                One::deserialize(number.into_deserializer()).map(|one: One<T>| CommaSeparated(vec![one.0]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CommaSeparated<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(One(item)) = list.next_element()? {
                    items.push(item);
                }
                Ok(CommaSeparated(items))
            }
        }
        deserializer.deserialize_any(CommaSeparatedVisitor(PhantomData))
    }
}

/// A number of bytes: `67108864` or `"64MiB"`. Units are powers of 1024, as in `docker run -m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LenientBytes(u64);

impl<'de> Deserialize<'de> for LenientBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let LenientText(text) = LenientText::deserialize(deserializer)?;
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
            de::Error::custom(format!("expected a number of bytes such as 67108864 or 64MiB, got `{text}`"))
        })
    }
}

/// Limits of a container, and what the scheduler reserves for it.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourcesInput {
    /// Limit of processors, such as 0.5.
    cpus: Option<LenientCpus>,
    /// Limit of memory in bytes, or with a unit (`64MiB`).
    #[serde(alias = "memory")]
    memory_bytes: Option<LenientBytes>,
    /// Processors that the scheduler reserves, at most the limit; the limit by default.
    reserved_cpus: Option<LenientCpus>,
    /// Memory that the scheduler reserves, in bytes or with a unit (`64MiB`), at most the limit; the limit by default.
    #[serde(alias = "reserved_memory")]
    reserved_memory_bytes: Option<LenientBytes>,
}

impl From<ResourcesInput> for Resources {
    fn from(input: ResourcesInput) -> Self {
        Self {
            cpus: input.cpus.map(|cpus| cpus.0),
            memory_bytes: input.memory_bytes.map(|bytes| bytes.0),
            reserved_cpus: input.reserved_cpus.map(|cpus| cpus.0),
            reserved_memory_bytes: input.reserved_memory_bytes.map(|bytes| bytes.0),
        }
    }
}
