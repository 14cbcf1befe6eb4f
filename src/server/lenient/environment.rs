//! Environment variables in the forms in which people write them.

use kdaemon_events::Environment;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Environment variables: `"A=1,B=2"`, `["A=1"]` or `{"A":"1"}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::server) struct LenientEnvironment(pub(in crate::server) Environment);

impl<'de> Deserialize<'de> for LenientEnvironment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvironmentVisitor;
        impl<'de> Visitor<'de> for EnvironmentVisitor {
            type Value = LenientEnvironment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("environment variables: \"A=1,B=2\", [\"A=1\"] or {\"A\":\"1\"}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LenientEnvironment, E> {
                split_variables(text)
                    .into_iter()
                    .map(|pair| variable(&pair))
                    .collect::<Result<_, _>>()
                    .map(LenientEnvironment)
                    .map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<LenientEnvironment, A::Error> {
                let mut variables = Environment::new();
                while let Some(Pair(name, value)) = list.next_element()? {
                    variables.insert(name, value);
                }
                Ok(LenientEnvironment(variables))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LenientEnvironment, A::Error> {
                let mut variables = Environment::new();
                while let Some((name, Scalar(value))) = map.next_entry()? {
                    variables.insert(name, value);
                }
                Ok(LenientEnvironment(variables))
            }
        }
        deserializer.deserialize_any(EnvironmentVisitor)
    }
}

struct Pair(String, String);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        variable(&text).map(|(name, value)| Self(name, value)).map_err(de::Error::custom)
    }
}

/// The value of a variable: a string, a number, `true` or `false`.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Bool(flag) => Ok(Self(flag.to_string())),
            _ => Err(de::Error::custom(
                "expected a string, a number, true or false as the value of a variable",
            )),
        }
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.to_owned())),
        None => Err(format!("expected a variable as NAME=value, got `{text}`")),
    }
}

/// Splits `A=1,B=2` at every comma that is followed by a name and a `=`; all other commas are part of a value. A backslash
/// escapes a comma and a backslash.
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

/// `true` if the text is empty or begins with a name and a `=`.
fn begins_with_name(text: &str) -> bool {
    let text = text.trim_start();
    let name = text.split(['=', ',', '\\']).next().unwrap_or_default();
    text.is_empty()
        || (!name.is_empty() && !name.contains(char::is_whitespace) && text[name.len()..].starts_with('='))
}
