//! Commands as people write them.

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use std::fmt;

/// A command: a list of words, or one text that is split into words as a shell does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::server) struct ShellWords(pub(in crate::server) Vec<String>);

impl<'de> Deserialize<'de> for ShellWords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Command::deserialize(deserializer)?;
        Ok(Self(match words {
            Command::List(words) => words,
            Command::Line(line) => split_words(&line).map_err(de::Error::custom)?,
        }))
    }
}

/// A command as it was written.
enum Command {
    List(Vec<String>),
    Line(String),
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Command;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command: a list of words, or one text")
            }
            fn visit_str<E: de::Error>(self, line: &str) -> Result<Command, E> {
                Ok(Command::Line(line.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Command, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Command::List(words))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Splits a line into words as a POSIX shell does, without its expansions: blanks separate, `'…'` is taken as
/// it stands, in `"…"` a backslash quotes `"` and `\`, elsewhere any character.
pub(super) fn split_words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let (quoted, after) = rest.as_str().split_once('\'').ok_or("a ' is not closed")?;
                word.get_or_insert_default().push_str(quoted);
                rest = after.chars();
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("a \" is not closed")? {
                        '"' => break,
                        '\\' if rest.as_str().starts_with(['"', '\\']) => word.extend(rest.next()),
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(rest.next().ok_or("a \\ stands at the end")?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// One text runs in the shell; Docker's own `["CMD", …]` and `["CMD-SHELL", …]` are understood.
pub(super) fn shell_command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Command::deserialize(deserializer)? {
        Command::Line(line) => vec![line],
        Command::List(mut words) => {
            if words.len() > 1 && matches!(words[0].as_str(), "CMD" | "CMD-SHELL") {
                words.remove(0);
            }
            words
        }
    })
}
