//! Interpolation of variables in a Compose file, such as `${NAME:-default}`, following the Compose specification.

use super::yaml::{YamlNode, YamlValue};
use std::collections::BTreeMap;

/// Maximum nesting of variables in defaults.
const DEPTH: usize = 16;

/// Values of variables, and the names that were found unset.
pub(super) struct Variables {
    values: BTreeMap<String, String>,
    /// Names without a value or a default, with the line of their first use.
    pub(super) unset: BTreeMap<String, u64>,
}

impl Variables {
    pub(super) fn new(values: BTreeMap<String, String>) -> Self {
        Self { values, unset: BTreeMap::new() }
    }

    /// Replaces the variables in all values of a tree, but not in keys. Errors have a line number.
    pub(super) fn resolve(&mut self, node: &mut YamlNode) -> Result<(), String> {
        match &mut node.value {
            YamlValue::Null => {}
            YamlValue::Scalar(text) => {
                if text.contains('$') {
                    *text = self
                        .text(text, node.line, DEPTH)
                        .map_err(|why| format!("line {}: `{text}`: {why}", node.line))?;
                }
            }
            YamlValue::List(items) => {
                for item in items {
                    self.resolve(item)?;
                }
            }
            YamlValue::Map(entries) => {
                for (_, entry) in entries {
                    self.resolve(entry)?;
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str, line: u64, depth: usize) -> Result<String, String> {
        let depth = depth.checked_sub(1).ok_or("defaults are nested more than 16 levels deep")?;
        let mut resolved = String::new();
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once('$') {
            resolved.push_str(before);
            if let Some(after) = tail.strip_prefix('$') {
                resolved.push('$');
                rest = after;
            } else if let Some(inside) = tail.strip_prefix('{') {
                let end = closing(inside).ok_or("`${` without a closing brace")?;
                resolved.push_str(&self.braced(&inside[..end], line, depth)?);
                rest = &inside[end + 1..];
            } else {
                let end = name_length(tail);
                if end == 0 {
                    return Err(
                        "`$` without the name of a variable; use $$ for a literal dollar sign".to_owned()
                    );
                }
                resolved.push_str(&self.value(&tail[..end], line));
                rest = &tail[end..];
            }
        }
        resolved.push_str(rest);
        Ok(resolved)
    }

    /// Resolves the text between braces: a name, optionally followed by an operator and a word.
    fn braced(&mut self, inside: &str, line: u64, depth: usize) -> Result<String, String> {
        let end = name_length(inside);
        let (name, operation) = inside.split_at(end);
        if name.is_empty() {
            return Err(format!("`${{{inside}}}` has no variable name"));
        }
        if operation.is_empty() {
            return Ok(self.value(name, line));
        }
        // With a colon an empty value counts as none.
        let (colon, operation) = match operation.strip_prefix(':') {
            Some(operation) => (true, operation),
            None => (false, operation),
        };
        let value = self.values.get(name).filter(|value| !(colon && value.is_empty())).cloned();
        let mut operator = operation.chars();
        let (operator, word) = (operator.next(), operator.as_str());
        match (operator, value) {
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => self.text(word, line, depth),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                let message = self.text(word, line, depth)?;
                let message = if message.is_empty() { "not set".to_owned() } else { message };
                Err(format!("required variable {name}: {message}"))
            }
            _ => Err(format!("`${{{inside}}}` has an unknown operator; use one of :- - :? ? :+ +")),
        }
    }

    fn value(&mut self, name: &str, line: u64) -> String {
        match self.values.get(name) {
            Some(value) => value.clone(),
            None => {
                self.unset.entry(name.to_owned()).or_insert(line);
                String::new()
            }
        }
    }
}

fn name_length(text: &str) -> usize {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !text.starts_with(is_first) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Offset of the brace that closes the one opened right before this text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn resolved(text: &str) -> Result<String, String> {
        let values =
            [("SET", "value"), ("EMPTY", ""), ("_a1", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Variables::new(values.into()).text(text, 1, DEPTH)
    }

    #[test]
    fn variables_are_interpolated_as_in_compose() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$SET", "value"),
            ("${SET}", "value"),
            ("a$SET-b", "avalue-b"),
            ("$$SET", "$SET"),
            ("$${SET}", "${SET}"),
            ("${NOT}", ""),
            ("$_a1.", "x."),
            ("${SET:-y}", "value"),
            ("${EMPTY:-y}", "y"),
            ("${EMPTY-y}", ""),
            ("${NOT-y}", "y"),
            ("${NOT:-}", ""),
            ("${NOT:-${SET}}", "value"),
            ("${NOT:-a${NOT:-{b}}c}", "a{bc}"),
            ("${SET:+yes}", "yes"),
            ("${EMPTY:+yes}", ""),
            ("${EMPTY+yes}", "yes"),
            ("${NOT+yes}", ""),
            ("${SET?needed}", "value"),
        ] {
            assert_eq!(resolved(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn invalid_interpolations_are_refused() {
        for (text, why) in [
            ("${NOT:?give one}", "required variable NOT: give one"),
            ("${EMPTY:?}", "not set"),
            ("${SET", "closing brace"),
            ("${}", "no variable name"),
            ("$1", "use $$"),
            ("cost: $", "use $$"),
            ("${SET!x}", "unknown operator"),
        ] {
            let error = resolved(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let deep = format!("{}x{}", "${A:-".repeat(20), "}".repeat(20));
        assert!(resolved(&deep).unwrap_err().contains("16 levels"));
    }

    #[test]
    fn unset_variables_are_reported_with_their_line() {
        let mut node = YamlNode::parse("a: x\nb: [ $NOT, \"${SET:-}\" ]\nc: ${NOT}\n").unwrap();
        let mut variables = Variables::new(BTreeMap::new());
        variables.resolve(&mut node).unwrap();
        assert_eq!(variables.unset, [("NOT".to_owned(), 2)].into());
    }
}
