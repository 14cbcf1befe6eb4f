//! Output: data on stdout in the requested format, messages on stderr.

use super::CliContext;
use super::client::ApiResponse;
use super::error::CliError;
use super::json::Json;
use super::names::NamedRow;
use clap::ValueEnum;
use serde::Serialize;
use std::io::Write as _;

/// Format of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Table for people
    Table,
    /// Table with more columns
    Wide,
    /// JSON as the API sends it
    Json,
    /// The same as YAML
    Yaml,
    /// Only names, one per line
    Name,
}

/// Writes to stdout. When the reader has closed it, the command ends silently.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes bytes to stdout, which need not be text.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

/// Writes a message to stderr. A closed stderr is not an error.
pub(super) fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A value as indented JSON with a final newline.
pub(super) fn json(value: &impl Serialize) -> Result<String, CliError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| CliError::Other(error.to_string()))?;
    text.push('\n');
    Ok(text)
}

/// A value as YAML.
pub(super) fn yaml(value: &impl Serialize) -> Result<String, CliError> {
    serde_saphyr::to_string(value).map_err(|error| CliError::Other(error.to_string()))
}

/// Prints one row; `table` renders it for people (`true`: with more columns).
pub(super) fn row(
    reply: &ApiResponse,
    format: Format,
    table: impl FnOnce(&Json, bool) -> String,
) -> Result<(), CliError> {
    match format {
        Format::Json => print(&json(&reply.json()?)?),
        Format::Yaml => print(&yaml(&reply.json()?)?),
        Format::Name => print(&format!("{}\n", reply.typed::<NamedRow>()?.name)),
        Format::Table | Format::Wide => print(&table(&reply.json()?, format == Format::Wide)),
    }
}

/// Prints a response that is not a row as JSON or YAML, or rendered for people by `table` (`true`: with more columns).
pub(super) fn document(
    cx: &CliContext,
    reply: &ApiResponse,
    table: impl FnOnce(bool) -> String,
) -> Result<(), CliError> {
    match cx.output.unwrap_or(Format::Table) {
        Format::Json => print(&json(&reply.json()?)?),
        Format::Yaml => print(&yaml(&reply.json()?)?),
        Format::Name => Err(no_names()),
        format => print(&table(format == Format::Wide)),
    }
}

/// The failure of `-o name` for output without rows.
pub(super) fn no_names() -> CliError {
    CliError::Usage("-o name applies to rows only; use json, yaml or table".to_owned())
}
