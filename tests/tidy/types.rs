//! One meaning per type name: no name is declared twice in the sources of the workspace.

use super::{SOURCES, none, sources};
use std::collections::BTreeMap;

/// Names of private helpers that mean the same wherever they are declared, with the reason.
const GENERIC: &[(&str, &str)] = &[("Inner", "the shared state of a handle, private to its file")];

/// The names of the types that a line declares: of a struct, an enum, a union, a trait or an alias.
///
/// Indented `type` items are associated types of traits and implementations, not declarations.
fn declared(line: &str) -> Option<&str> {
    let is_nested = line.starts_with(char::is_whitespace);
    let mut words = line.split_whitespace().filter(|word| !word.starts_with("pub") && *word != "unsafe");
    // The path of `pub(in a::b)`.
    let keyword = words.find(|word| !word.ends_with(')'))?;
    let declares = match keyword {
        "struct" | "enum" | "union" | "trait" => true,
        "type" => !is_nested,
        _ => false,
    };
    let name = words.next().filter(|_| declares)?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(&name[..end]).filter(|name| name.starts_with(char::is_uppercase))
}

#[test]
fn type_names_have_one_meaning() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in SOURCES.into_iter().flat_map(sources).filter(|source| !source.is_test()) {
        for (number, line) in source.code() {
            if let Some(name) = declared(line) {
                places.entry(name.to_owned()).or_default().push(format!("{}:{number}", source.path));
            }
        }
    }
    places.retain(|_, places| places.len() > 1);
    let is_listed = |name: &str| GENERIC.iter().any(|(generic, _)| *generic == name);
    let found = places.iter().filter(|(name, _)| !is_listed(name));
    let found: Vec<_> = found.map(|(name, places)| format!("{name}: {}", places.join(", "))).collect();
    none("name each type by what it means, in the field's word", &found);
    let listed = GENERIC.iter().map(|(name, _)| name);
    let unneeded: Vec<_> =
        listed.filter(|name| !places.contains_key(**name)).map(|name| (*name).to_owned()).collect();
    none("take a name off the list when it is declared once", &unneeded);
}

#[test]
fn declarations_are_recognized() {
    for (line, name) in [
        ("struct Plan {", Some("Plan")),
        ("pub(super) struct Plan<'a>(", Some("Plan")),
        ("pub(in crate::server) enum LenientTail {", Some("LenientTail")),
        ("        struct Reader;", Some("Reader")),
        ("pub trait Store: Send {", Some("Store")),
        ("type Reply = Sender<()>;", Some("Reply")),
        ("    type Item = Node;", None),
        ("let struct_name = 1;", None),
        ("impl Trait for Plan {", None),
    ] {
        assert_eq!(declared(line), name, "{line}");
    }
}
