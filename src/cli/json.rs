//! JSON values that keep the order of fields in which the daemon wrote them.

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A JSON value with ordered fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Self>),
    Object(IndexMap<String, Self>),
}

impl Json {
    /// The JSON form of a value; null if it has none.
    pub(super) fn of(value: &impl Serialize) -> Self {
        // Through text, because `serde_json::Value` sorts the fields.
        serde_json::to_string(value)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or(Self::Null)
    }

    /// The value as a type of the API; `None` if it has another form.
    pub(super) fn typed<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&serde_json::to_string(self).ok()?).ok()
    }

    /// A field that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self {
            Self::Object(fields) => match fields.get(name)? {
                Self::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value in one line, for people.
    pub(super) fn plain(&self) -> String {
        match self {
            Self::Null => "-".to_owned(),
            Self::Bool(flag) => flag.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) if text.is_empty() => "\"\"".to_owned(),
            Self::Text(text) => super::table::plain(text),
            Self::List(items) => items.iter().map(Self::plain).collect::<Vec<_>>().join(", "),
            Self::Object(fields) => fields
                .iter()
                .map(|(name, value)| format!("{}={}", super::table::plain(name), value.plain()))
                .collect::<Vec<_>>()
                .join(", "),
        }
    }

    /// `true` if this is null or an empty text, list or object.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Object(fields) => fields.is_empty(),
            Self::Bool(_) | Self::Number(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn order_of_fields_survives_a_round_trip() {
        let text = r#"{"z":1,"a":[-1,2.5,10.0,18446744073709551615,null,true],"m":{"y":"","b":"x"}}"#;
        let json: Json = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&json).unwrap(), text);
        assert_eq!(json.plain(), "z=1, a=-1, 2.5, 10.0, 18446744073709551615, -, true, m=y=\"\", b=x");
        assert_eq!(json.text("z"), None);
    }
}
