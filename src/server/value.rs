//! A deserializer of JSON values of requests, with errors that a person can act on: `expected a string, got 5`.
//!
//! serde_json's errors are written for programmers. This deserializer knows the expected type (`deserialize_u32`) and the
//! actual value, so it reports both without parsing a message.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, Deserializer, EnumAccess, Expected, IntoDeserializer, Unexpected, VariantAccess, Visitor,
};
use serde_json::Value;
use std::fmt::Display;

/// Why a value was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ValueError {
    /// A required field is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The value is invalid.
    #[error("{0}")]
    Invalid(String),
}

impl ValueError {
    fn expected(wanted: impl Display, given: &Value) -> Self {
        let given = match given {
            Value::Null => "null".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => quoted(text),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        Self::Invalid(format!("expected {wanted}, got {given}"))
    }

    fn unexpected(given: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        let given = match given {
            Unexpected::Str(text) => quoted(text),
            Unexpected::Bool(flag) => flag.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Float(number) => number.to_string(),
            Unexpected::Unit | Unexpected::Option => "null".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "an object".to_owned(),
            other => other.to_string(),
        };
        Self::Invalid(format!("expected {wanted}, got {given}"))
    }
}

/// Quotes a text for an error.
fn quoted(text: &str) -> String {
    if text.is_empty() { "an empty string".to_owned() } else { format!("`{text}`") }
}

impl de::Error for ValueError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Invalid(message.to_string())
    }

    fn invalid_type(given: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::unexpected(given, wanted)
    }

    fn invalid_value(given: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::unexpected(given, wanted)
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let known = known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
        Self::Invalid(format!("unknown value {}; expected one of {known}", quoted(variant)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// A JSON value as a deserializer.
pub(super) struct ValueDeserializer(pub(super) Value);

impl IntoDeserializer<'_, ValueError> for ValueDeserializer {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty, $visit:ident, $as:ident;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            match self.0.$as().and_then(|number| <$type>::try_from(number).ok()) {
                Some(number) => visitor.$visit(number),
                None => {
                    let wanted = format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
                    Err(ValueError::expected(wanted, &self.0))
                }
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for ValueDeserializer {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(ValueDeserializer)))
            }
            Value::Object(fields) => visitor.visit_map(MapDeserializer::new(
                fields.into_iter().map(|(name, value)| (name, ValueDeserializer(value))),
            )),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Bool(flag) => visitor.visit_bool(flag),
            other => Err(ValueError::expected("true or false", &other)),
        }
    }

    integers! {
        deserialize_u8: u8, visit_u8, as_u64;
        deserialize_u16: u16, visit_u16, as_u64;
        deserialize_u32: u32, visit_u32, as_u64;
        deserialize_u64: u64, visit_u64, as_u64;
        deserialize_i8: i8, visit_i8, as_i64;
        deserialize_i16: i16, visit_i16, as_i64;
        deserialize_i32: i32, visit_i32, as_i64;
        deserialize_i64: i64, visit_i64, as_i64;
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.as_f64() {
            Some(number) => visitor.visit_f64(number),
            None => Err(ValueError::expected("a number", &self.0)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            other => Err(ValueError::expected("a string", &other)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Array(_) => self.deserialize_any(visitor),
            other => Err(ValueError::expected("a list", &other)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            other => Err(ValueError::expected("an object", &other)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(Variant(text)),
            other => Err(ValueError::expected("a string", &other)),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The name of a unit variant, the only kind of variant in requests.
struct Variant(String);

impl<'de> EnumAccess<'de> for Variant {
    type Error = ValueError;
    type Variant = Self;

    fn variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ValueError> {
        let name = self.0.clone();
        seed.deserialize(IntoDeserializer::<ValueError>::into_deserializer(name)).map(|value| (value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        Ok(())
    }

    fn newtype_variant_seed<S: de::DeserializeSeed<'de>>(self, _seed: S) -> Result<S::Value, ValueError> {
        Err(self.holds_nothing())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, ValueError> {
        Err(self.holds_nothing())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, ValueError> {
        Err(self.holds_nothing())
    }
}

impl Variant {
    fn holds_nothing(&self) -> ValueError {
        ValueError::Invalid(format!("`{}` takes no value", self.0))
    }
}
