//! Fields of request bodies: setting, clearing, and merging with the fields of a row.

use super::error::CliError;
use super::variables::EnvArgs;
use kdaemon_api::environment_of;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Parses `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err(format!("expected NAME=VALUE, got `{text}`")),
    }
}

/// Inserts a field if it has a value.
pub(super) fn put(body: &mut Map<String, Value>, field: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(field.to_owned(), value.into());
    }
}

/// Inserts null for each field to reset.
pub(super) fn clear(body: &mut Map<String, Value>, fields: &[String]) -> Result<(), CliError> {
    for field in fields {
        let field = field.replace('-', "_");
        if body.insert(field.clone(), Value::Null).is_some() {
            return Err(CliError::Usage(format!("cannot set and clear {field} at the same time")));
        }
    }
    Ok(())
}

/// Refuses an edit without any field.
pub(super) fn nonempty(body: &Map<String, Value>) -> Result<(), CliError> {
    if body.is_empty() {
        return Err(CliError::Usage("no field to change; see --help for the fields".to_owned()));
    }
    Ok(())
}

/// The labels of a row, with `set` added and `removed` removed.
pub(super) fn merged_labels(
    mut labels: BTreeMap<String, String>,
    set: &[(String, String)],
    removed: &[String],
) -> Result<Value, CliError> {
    for label in removed {
        if labels.remove(label).is_none() {
            return Err(CliError::Invalid(format!("cannot remove label `{label}`: it is not set")));
        }
    }
    labels.extend(set.iter().cloned());
    Ok(json!(labels))
}

/// The environment variables of a row, with `set` added and `removed` removed.
pub(super) fn merged_env(row: &str, set: &EnvArgs, removed: &[String]) -> Result<Value, CliError> {
    let mut variables = environment_of(row);
    for name in removed {
        if variables.remove(name).is_none() {
            return Err(CliError::Invalid(format!(
                "cannot remove environment variable `{name}`: it is not set"
            )));
        }
    }
    variables.extend(set.read()?);
    Ok(json!(variables))
}
