//! The shapes that values may have in a request: those of kDaemon 0.0, and those that people write today.
//!
//! Each type reads all of its shapes, and its schema says so.

use crate::config::parse_duration;
use chrono::{DateTime, Utc};
use kdaemon_events::{Constraint, Environment, HealthCheck, Kind, MilliCpus, PortSpec, Resources, Volume};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
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
                    "true" | "1" | "yes" | "on" => Ok(Flag(true)),
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

/// Environment variables: `"A=1,B=2"`, `["A=1"]` or `{"A":"1"}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Variables(pub(super) Environment);

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Variables;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("environment variables: \"A=1,B=2\", [\"A=1\"] or {\"A\":\"1\"}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Variables, E> {
                split_variables(text)
                    .into_iter()
                    .map(|pair| variable(&pair))
                    .collect::<Result<_, _>>()
                    .map(Variables)
                    .map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Variables, A::Error> {
                let mut variables = Environment::new();
                while let Some(Pair(name, value)) = list.next_element()? {
                    variables.insert(name, value);
                }
                Ok(Variables(variables))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variables, A::Error> {
                let mut variables = Environment::new();
                while let Some((name, Scalar(value))) = map.next_entry()? {
                    variables.insert(name, value);
                }
                Ok(Variables(variables))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

struct Pair(String, String);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        variable(&text).map(|(name, value)| Self(name, value)).map_err(de::Error::custom)
    }
}

/// The value of a variable: text, a number, `true` or `false`.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Bool(flag) => Ok(Self(flag.to_string())),
            _ => Err(de::Error::custom("the value of a variable is text, a number, true or false")),
        }
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.to_owned())),
        None => Err(format!("`{text}` is not a variable; write NAME=value")),
    }
}

/// Splits `A=1,B=2` at the commas behind which a name and a `=` follow; all other commas belong to the value
/// that they stand in. Behind a backslash a comma and a backslash are only themselves.
fn split_variables(text: &str) -> Vec<String> {
    let mut pairs = Vec::new();
    let mut pair = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let follows = rest.as_str();
        match c {
            '\\' if follows.starts_with([',', '\\']) => pair.extend(rest.next()),
            ',' if begins_with_name(follows) => pairs.push(std::mem::take(&mut pair)),
            c => pair.push(c),
        }
    }
    pairs.push(pair);
    pairs.retain(|pair| !pair.trim().is_empty());
    pairs
}

/// Whether a name and a `=` come next, or nothing at all.
fn begins_with_name(text: &str) -> bool {
    let text = text.trim_start();
    let name = text.split(['=', ',', '\\']).next().unwrap_or_default();
    text.is_empty()
        || (!name.is_empty() && !name.contains(char::is_whitespace) && text[name.len()..].starts_with('='))
}

/// A command: a list of words, or one text that is split into words as a shell does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Words(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Command::deserialize(deserializer)?;
        Ok(Self(match words {
            Command::List(words) => words,
            Command::Line(line) => split_words(&line).map_err(de::Error::custom)?,
        }))
    }
}

/// A command as it was written.
enum Command {
    List(Vec<String>),
    Line(String),
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Command;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command: a list of words, or one text")
            }
            fn visit_str<E: de::Error>(self, line: &str) -> Result<Command, E> {
                Ok(Command::Line(line.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Command, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Command::List(words))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Splits a line into words as a POSIX shell does, without its expansions: blanks separate, `'…'` is taken as
/// it stands, in `"…"` a backslash quotes `"` and `\`, elsewhere any character.
fn split_words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let (quoted, after) = rest.as_str().split_once('\'').ok_or("a ' is not closed")?;
                word.get_or_insert_default().push_str(quoted);
                rest = after.chars();
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("a \" is not closed")? {
                        '"' => break,
                        '\\' if rest.as_str().starts_with(['"', '\\']) => word.extend(rest.next()),
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(rest.next().ok_or("a \\ stands at the end")?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
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
    #[serde(deserialize_with = "shell_command")]
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

/// One text runs in the shell; Docker's own `["CMD", …]` and `["CMD-SHELL", …]` are understood.
fn shell_command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Command::deserialize(deserializer)? {
        Command::Line(line) => vec![line],
        Command::List(mut words) => {
            if words.len() > 1 && matches!(words[0].as_str(), "CMD" | "CMD-SHELL") {
                words.remove(0);
            }
            words
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use kdaemon_projections::environment_text;
    use serde_json::{Value, from_value, json};

    fn variables(text: &str) -> Vec<(String, String)> {
        let Variables(variables) = from_value(Value::String(text.to_owned())).unwrap();
        variables.into_iter().collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn variables_are_split_at_commas_before_a_name() {
        assert_eq!(variables("A=1,B=2"), pairs(&[("A", "1"), ("B", "2")]));
        assert_eq!(variables("A=1, B=2,"), pairs(&[("A", "1"), ("B", "2")]));
        assert_eq!(variables("HOSTS=a,b,c,X=1"), pairs(&[("HOSTS", "a,b,c"), ("X", "1")]));
        assert_eq!(variables(r"A=1\,B=2"), pairs(&[("A", "1,B=2")]));
        assert_eq!(variables(r"P=C:\dir,B=2"), pairs(&[("B", "2"), ("P", r"C:\dir")]));
        assert_eq!(variables("URL=http://h?a=b&c=d"), pairs(&[("URL", "http://h?a=b&c=d")]));
        assert_eq!(variables(""), pairs(&[]));
        assert!(from_value::<Variables>(json!("A")).is_err());
    }

    #[test]
    fn the_text_of_variables_reads_back_as_the_same() {
        for value in ["", ",", "\\", "a,B=2", "\\,", "a\\", "x\\\\,y=", " , =", "é,ü=1", ",,,"] {
            let environment = Environment::from([
                ("A".to_owned(), value.to_owned()),
                ("B".to_owned(), value.to_owned()),
                ("_c.d-e".to_owned(), value.to_owned()),
            ]);
            let Variables(read) = from_value(Value::String(environment_text(&environment))).unwrap();
            assert_eq!(read, environment, "{value:?}");
        }
    }

    #[test]
    fn variables_are_lists_and_objects_too() {
        let Variables(list) = from_value(json!(["A=1", "B=x,y=z"])).unwrap();
        assert_eq!(list.into_iter().collect::<Vec<_>>(), pairs(&[("A", "1"), ("B", "x,y=z")]));
        let Variables(object) = from_value(json!({"A": 1, "B": true, "C": "x"})).unwrap();
        assert_eq!(object.into_iter().collect::<Vec<_>>(), pairs(&[("A", "1"), ("B", "true"), ("C", "x")]));
        assert!(from_value::<Variables>(json!({"A": null})).is_err());
        assert!(from_value::<Variables>(json!(["A"])).is_err());
        assert!(from_value::<Variables>(json!(7)).is_err());
    }

    #[test]
    fn a_line_is_split_into_words_as_a_shell_does() {
        let words = |line: &str| split_words(line);
        assert_eq!(words("sleep  100").unwrap(), ["sleep", "100"]);
        assert_eq!(words(r#"sh -c 'echo "a b"' """#).unwrap(), ["sh", "-c", r#"echo "a b""#, ""]);
        assert_eq!(words(r#"a\ b "c\"d" e"f g"h"#).unwrap(), ["a b", "c\"d", "ef gh"]);
        assert_eq!(words("").unwrap(), Vec::<String>::new());
        assert!(words("a 'b").is_err());
        assert!(words("a \"b").is_err());
        assert!(words("a\\").is_err());
    }

    #[test]
    fn bytes_have_units() {
        let bytes = |value: Value| from_value::<Bytes>(value).map(|bytes| bytes.0).ok();
        assert_eq!(bytes(json!(7)), Some(7));
        assert_eq!(bytes(json!("64MiB")), Some(64 << 20));
        assert_eq!(bytes(json!("64m")), Some(64 << 20));
        assert_eq!(bytes(json!("1 GB")), Some(1 << 30));
        assert_eq!(bytes(json!("x")), None);
        assert_eq!(bytes(json!(-1)), None);
        assert_eq!(bytes(json!("99999999999999999999")), None);
    }

    #[test]
    fn many_are_a_list_or_a_text_with_commas() {
        let ports = |value: Value| {
            from_value::<Many<PortSpec>>(value).map(|many| many.0.iter().map(ToString::to_string).collect())
        };
        let expected: Vec<String> = vec!["2368".into(), "53/udp".into(), "8080:80".into()];
        assert_eq!(ports(json!("2368,53/udp, 8080:80")).unwrap(), expected);
        assert_eq!(ports(json!([2368, "53/udp", "8080:80"])).unwrap(), expected);
        assert_eq!(ports(json!(80)).unwrap(), vec!["80".to_owned()]);
        assert!(ports(json!(0)).is_err());
        assert!(ports(json!(["80", true])).is_err());
        assert!(from_value::<Many<String>>(json!(7)).is_err());
        assert_eq!(from_value::<Many<String>>(json!("")).unwrap().0, Vec::<String>::new());
    }
}
