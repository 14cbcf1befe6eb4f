//! What is written: data on stdout in the form that was asked for, messages on stderr.

use super::failure::Failure;
use super::json::Json;
use clap::ValueEnum;
use serde::Serialize;
use std::io::Write as _;

/// The form of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for people.
    Table,
    /// The same with more columns.
    Wide,
    /// JSON, as the API answers it.
    Json,
    /// The same as YAML.
    Yaml,
    /// Names alone, one per line.
    Name,
}

/// Writes to stdout. A reader that has gone away ends the command, silently.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes to stdout without caring whether it is text.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

/// Says something on stderr. When nobody hears it, that changes nothing.
pub(super) fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A value as indented JSON, with a line's end behind it.
pub(super) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Failure::Other(error.to_string()))?;
    text.push('\n');
    Ok(text)
}

/// A value as YAML.
pub(super) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|error| Failure::Other(error.to_string()))
}

/// Prints one thing; `table` makes the form for people (`true`: the wide one).
pub(super) fn thing(value: &Json, format: Format, table: impl FnOnce(bool) -> String) -> Result<(), Failure> {
    match format {
        Format::Json => print(&json(value)?),
        Format::Yaml => print(&yaml(value)?),
        Format::Name => print(&format!("{}\n", value.text("name").unwrap_or_default())),
        Format::Table | Format::Wide => print(&table(format == Format::Wide)),
    }
}
