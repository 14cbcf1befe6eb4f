//! YAML documents as trees in which every value has its line number.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// A value with its position.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct YamlNode {
    /// Line number from 1; 0 if unknown.
    pub(super) line: u64,
    pub(super) value: YamlValue,
}

/// A value. Scalars stay text: the consumer decides on their type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum YamlValue {
    Null,
    Scalar(String),
    List(Vec<YamlNode>),
    Map(Vec<(String, YamlNode)>),
}

impl YamlNode {
    /// Parses a document.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
    }

    /// The kind of value, for error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            YamlValue::Null => "nothing",
            YamlValue::Scalar(_) => "a single value",
            YamlValue::List(_) => "a list",
            YamlValue::Map(_) => "a map",
        }
    }

    /// An entry of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            YamlValue::Map(entries) => entries.iter().find(|(known, _)| known == key).map(|(_, node)| node),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<YamlValue>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

/// A key of a map. YAML allows numbers, which are read as text.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match YamlValue::deserialize(deserializer)? {
            YamlValue::Scalar(text) => Ok(Self(text)),
            _ => Err(de::Error::custom("expected a single value as key")),
        }
    }
}

impl<'de> Deserialize<'de> for YamlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct YamlVisitor;
        impl<'de> Visitor<'de> for YamlVisitor {
            type Value = YamlValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }
            fn visit_unit<E: de::Error>(self) -> Result<YamlValue, E> {
                Ok(YamlValue::Null)
            }
            fn visit_none<E: de::Error>(self) -> Result<YamlValue, E> {
                Ok(YamlValue::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<YamlValue, D::Error> {
                YamlValue::deserialize(deserializer)
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<YamlValue, E> {
                Ok(YamlValue::Scalar(flag.to_string()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<YamlValue, E> {
                Ok(YamlValue::Scalar(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<YamlValue, E> {
                Ok(YamlValue::Scalar(number.to_string()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<YamlValue, E> {
                Ok(YamlValue::Scalar(number.to_string()))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<YamlValue, E> {
                Ok(YamlValue::Scalar(text.to_owned()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<YamlValue, E> {
                Ok(YamlValue::Scalar(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<YamlValue, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(YamlValue::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<YamlValue, A::Error> {
                let mut entries: Vec<(String, YamlNode)> = Vec::new();
                while let Some((Key(key), node)) = map.next_entry()? {
                    entries.push((key, node));
                }
                Ok(YamlValue::Map(entries))
            }
        }
        deserializer.deserialize_any(YamlVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn scalar<'a>(node: &'a YamlNode, path: &[&str]) -> (&'a str, u64) {
        let node = path.iter().fold(node, |node, key| node.get(key).unwrap_or_else(|| panic!("no {key}")));
        match &node.value {
            YamlValue::Scalar(text) => (text, node.line),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_stay_text_and_have_lines() {
        let text = "a: 1\nb:\n  - x\n  - {c: yes, d: 0.50}\ne:\nf: \"22:22\"\n7: true\n";
        let node = YamlNode::parse(text).unwrap();
        assert_eq!(scalar(&node, &["a"]), ("1", 1));
        assert_eq!(scalar(&node, &["f"]), ("22:22", 6));
        assert_eq!(scalar(&node, &["7"]), ("true", 7));
        assert_eq!(node.get("e").unwrap().value, YamlValue::Null);
        let YamlValue::List(items) = &node.get("b").unwrap().value else { panic!() };
        assert_eq!(scalar(&items[1], &["c"]), ("yes", 4));
        assert_eq!(items[0].line, 3);
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let text = "x-base: &base\n  image: a\n  user: b\nservices:\n  web:\n    <<: *base\n    image: c\n";
        let node = YamlNode::parse(text).unwrap();
        assert_eq!(scalar(&node, &["services", "web", "image"]).0, "c");
        assert_eq!(scalar(&node, &["services", "web", "user"]).0, "b");
    }

    #[test]
    fn invalid_yaml_is_refused_with_its_line() {
        for wrong in ["a: [1", "a: 1\na: 2\n", "a: *nothing\n"] {
            let error = YamlNode::parse(wrong).unwrap_err();
            assert!(error.contains("line"), "{error}");
        }
    }
}
