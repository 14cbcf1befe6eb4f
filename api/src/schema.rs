//! Schemas of enumerated strings, for fields whose types belong to crates without utoipa.

use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

/// The schema of a string that is one of these values.
pub(crate) fn one_of(values: &[impl Serialize]) -> utoipa::openapi::Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names(values))).build()
}

/// The schema of a string that is one of these values, or null.
pub(crate) fn one_of_or_null(values: &[impl Serialize]) -> utoipa::openapi::Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(names(values).into_iter().chain([serde_json::Value::Null])))
        .build()
}

fn names(values: &[impl Serialize]) -> Vec<serde_json::Value> {
    values.iter().filter_map(|value| serde_json::to_value(value).ok()).collect()
}
