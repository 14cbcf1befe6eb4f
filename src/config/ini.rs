//! The lines of the configuration file, in the INI form of kDaemon 0.0.
//!
//! The file is read line by line, so that each error knows its line, and a malformed line cannot swallow the
//! next one, as it does with general INI readers.

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
        return Err(io::Error::other("larger than 1 MiB"));
    }
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// One line of the file.
pub(super) enum IniLine<'a> {
    /// Empty, or a comment.
    Blank,
    /// `[name]`.
    Section(&'a str),
    /// `key = value`.
    Entry(&'a str, &'a str),
}

/// Reads one line: a comment after `#` or `;`, `[section]`, or `key = value` (also `key: value`). After a
/// value a comment begins with a space, so that `a#b` is a value; double quotes enclose a value verbatim.
pub(super) fn parse_line(line: &str) -> Result<IniLine<'_>, &'static str> {
    let line = line.trim();
    if is_comment(line) {
        return Ok(IniLine::Blank);
    }
    if let Some(section) = line.strip_prefix('[') {
        let (name, rest) = section.split_once(']').ok_or("the section's ] is missing")?;
        return if is_comment(rest) {
            Ok(IniLine::Section(name.trim()))
        } else {
            Err("only a comment may follow a section")
        };
    }
    let (key, value) =
        line.split_once(['=', ':']).ok_or("expected key = value, [default], or a comment after #")?;
    let (key, value) = (key.trim_end(), value.trim_start());
    if key.is_empty() {
        return Err("expected a key before the = or :");
    }
    if let Some(quoted) = value.strip_prefix('"') {
        let (value, rest) = quoted.split_once('"').ok_or("the closing \" is missing")?;
        return if is_comment(rest) {
            Ok(IniLine::Entry(key, value))
        } else {
            Err("only a comment may follow a \"value\"")
        };
    }
    let begins_comment = |at: usize| value[..at].is_empty() || value[..at].ends_with(char::is_whitespace);
    let comment = value.match_indices(['#', ';']).map(|(at, _)| at).find(|at| begins_comment(*at));
    Ok(IniLine::Entry(key, value[..comment.unwrap_or(value.len())].trim_end()))
}

/// Whether `rest` is empty or a comment.
fn is_comment(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with(['#', ';'])
}
