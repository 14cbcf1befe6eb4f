//! Environment variables as one text: `A=1,B=2`. A comma or a backslash in a value is escaped with a backslash.

use kdaemon_events::Environment;
use std::fmt::Write as _;

/// The text of environment variables, from which [`environment_of`] reads the same ones.
#[must_use]
pub fn environment_text(environment: &Environment) -> String {
    let mut text = String::new();
    for (name, value) in environment {
        if !text.is_empty() {
            text.push(',');
        }
        let value = value.replace('\\', "\\\\").replace(',', "\\,");
        let _ = write!(text, "{name}={value}"); // writing into a string cannot fail
    }
    text
}

/// The environment variables of a text. Parts without `=` are ignored.
#[must_use]
pub fn environment_of(text: &str) -> Environment {
    let mut variables = Environment::new();
    let mut pair = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next() {
            Some('\\') => pair.extend(rest.next()),
            Some(c) if c != ',' => pair.push(c),
            end => {
                if let Some((name, value)) = pair.split_once('=') {
                    variables.insert(name.to_owned(), value.to_owned());
                }
                pair.clear();
                if end.is_none() {
                    return variables;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn variables_survive_a_round_trip() {
        let variables: Environment = [("A", "1,2"), ("B", "back\\slash,"), ("C", ""), ("D", "x=y")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        assert_eq!(environment_of(&environment_text(&variables)), variables);
        assert_eq!(environment_of(""), Environment::new());
    }
}
