//! The file's lines: the INI that kDaemon 0.0 had.
//!
//! Read line by line, so that each error knows its line, and a line that is no `key = value` cannot swallow the one
//! after it, as it does with the general INI readers.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest configuration file that is read, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// The whole file's text, without a byte order mark.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// What a line of the file says.
pub(super) enum Line<'a> {
    /// Nothing, or a comment.
    Blank,
    /// The name in brackets.
    Section(&'a str),
    /// Key and value.
    Entry(&'a str, &'a str),
}

/// Reads one line: a comment behind `#` or `;`, `[section]`, or `key = value` (`key: value` as well). Behind a value a
/// comment begins with a space, so that `a#b` is a value; in double quotes everything is the value.
pub(super) fn parse_line(line: &str) -> Result<Line<'_>, &'static str> {
    let line = line.trim();
    if is_comment(line) {
        return Ok(Line::Blank);
    }
    if let Some(section) = line.strip_prefix('[') {
        let (name, rest) = section.split_once(']').ok_or("the section's ] is missing")?;
        return if is_comment(rest) {
            Ok(Line::Section(name.trim()))
        } else {
            Err("only a comment may follow a section")
        };
    }
    let (key, value) =
        line.split_once(['=', ':']).ok_or("expected key = value, [default], or a comment behind #")?;
    let (key, value) = (key.trim_end(), value.trim_start());
    if key.is_empty() {
        return Err("expected a key before the = or :");
    }
    if let Some(quoted) = value.strip_prefix('"') {
        let (value, rest) = quoted.split_once('"').ok_or("the closing \" is missing")?;
        return if is_comment(rest) {
            Ok(Line::Entry(key, value))
        } else {
            Err("only a comment may follow a \"value\"")
        };
    }
    let begins_comment = |at: usize| value[..at].is_empty() || value[..at].ends_with(char::is_whitespace);
    let comment = value.match_indices(['#', ';']).map(|(at, _)| at).find(|at| begins_comment(*at));
    Ok(Line::Entry(key, value[..comment.unwrap_or(value.len())].trim_end()))
}

/// Whether nothing, or nothing but a comment, is left.
fn is_comment(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with(['#', ';'])
}
