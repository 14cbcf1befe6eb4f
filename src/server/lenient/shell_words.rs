//! Command lines in the forms in which people write them.

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use std::fmt;

/// A command line: a list of words, or one string that is split into words as a shell does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::server) struct ShellWords(pub(in crate::server) Vec<String>);

impl<'de> Deserialize<'de> for ShellWords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = CommandLine::deserialize(deserializer)?;
        Ok(Self(match words {
            CommandLine::List(words) => words,
            CommandLine::Text(line) => split_words(&line).map_err(de::Error::custom)?,
        }))
    }
}

/// A command line before it is split.
pub(super) enum CommandLine {
    List(Vec<String>),
    Text(String),
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommandLineVisitor;
        impl<'de> Visitor<'de> for CommandLineVisitor {
            type Value = CommandLine;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command: a list of words, or one string")
            }
            fn visit_str<E: de::Error>(self, line: &str) -> Result<CommandLine, E> {
                Ok(CommandLine::Text(line.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CommandLine, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(CommandLine::List(words))
            }
        }
        deserializer.deserialize_any(CommandLineVisitor)
    }
}

/// Splits a line into words as a POSIX shell does, without expansions: white space separates words, `'…'` is literal, a
/// backslash escapes `"` and `\` inside of `"…"`, and any character elsewhere.
///
/// # Errors
/// When a quote is not closed, or the line ends with a backslash.
pub(super) fn split_words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let (quoted, after) = rest.as_str().split_once('\'').ok_or("unclosed '")?;
                word.get_or_insert_default().push_str(quoted);
                rest = after.chars();
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("unclosed \"")? {
                        '"' => break,
                        '\\' if rest.as_str().starts_with(['"', '\\']) => word.extend(rest.next()),
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(rest.next().ok_or("trailing \\")?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}
