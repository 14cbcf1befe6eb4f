//! Environment variables from command lines and files.

use super::error::CliError;
use std::collections::BTreeMap;
use std::path::Path;

/// The largest accepted file of variables, in bytes.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Options that set environment variables.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct EnvArgs {
    /// Environment variable; NAME alone takes the value from this shell
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// File of environment variables, one NAME=VALUE per line
    #[arg(long = "env-file", value_name = "FILE")]
    files: Vec<std::path::PathBuf>,
}

impl EnvArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.env.is_empty() && self.files.is_empty()
    }

    /// Reads all variables; `--env` overrides `--env-file`.
    pub(super) fn read(&self) -> Result<BTreeMap<String, String>, CliError> {
        let mut variables = BTreeMap::new();
        for file in &self.files {
            variables.extend(read_file(file)?);
        }
        for text in &self.env {
            let (name, value) = variable(text).map_err(CliError::Usage)?;
            match value {
                Some(value) => {
                    variables.insert(name, value);
                }
                None => {
                    return Err(CliError::Usage(format!(
                        "{name} is not set in this shell; use {name}=VALUE"
                    )));
                }
            }
        }
        Ok(variables)
    }
}

/// Parses `NAME=VALUE`, or `NAME`, whose value is that of this process, if it is set.
pub(super) fn variable(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("`{text}` is not a variable; use the form NAME=VALUE"));
    }
    Ok((name.to_owned(), value))
}

/// Reads a file of variables. A name without a value that is not set in this process is skipped, as Docker does.
pub(super) fn read_file(path: &Path) -> Result<BTreeMap<String, String>, CliError> {
    let failure = |error: std::io::Error| CliError::Invalid(format!("{}: {error}", path.display()));
    if std::fs::metadata(path).map_err(failure)?.len() > FILE_LIMIT {
        return Err(CliError::Invalid(format!("{}: larger than the limit of 1 MiB", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(failure)?;
    parse(&text).map_err(|(line, why)| CliError::Invalid(format!("{}:{line}: {why}", path.display())))
}

/// Parses the lines of such a file; an error has the line number.
fn parse(text: &str) -> Result<BTreeMap<String, String>, (usize, String)> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = variable(line).map_err(|why| (number + 1, why))?;
        if let Some(value) = value {
            variables.insert(name, unquoted(&value).to_owned());
        }
    }
    Ok(variables)
}

/// A value without surrounding quotes.
fn unquoted(value: &str) -> &str {
    let trimmed = value.trim_end();
    ['"', '\''].iter().find_map(|quote| trimmed.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(trimmed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn env_files_allow_comments_and_quotes_and_errors_have_line_numbers() {
        let text = "# comment\n\nA=1\nexport B=\"two words\"\nC='x' \nD=a=b#c\nNOT_SET_HERE_AT_ALL\n";
        let read = parse(text).unwrap();
        let pairs: Vec<_> = read.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(pairs, ["A:1", "B:two words", "C:x", "D:a=b#c"]);
        assert_eq!(parse("A=1\nno name=2").unwrap_err().0, 2);
    }
}
