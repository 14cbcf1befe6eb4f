//! The reader of Compose files, which collects errors and unsupported parts with their lines.

use super::yaml::{YamlNode, YamlValue};
use std::collections::BTreeMap;
use std::path::Path;

/// Names of volumes or networks in the file, with their names on the engines.
pub(super) type Declared = BTreeMap<String, String>;

/// Reads a file and collects its errors and unsupported parts.
pub(super) struct ComposeReader<'a> {
    /// The folder that paths in the file are relative to.
    pub(super) folder: &'a Path,
    pub(super) volumes: Declared,
    pub(super) networks: Declared,
    pub(super) errors: Vec<String>,
    pub(super) left_out: Vec<String>,
}

fn at(node: &YamlNode, path: &str) -> String {
    match node.line {
        0 => path.to_owned(),
        line => format!("line {line}: {path}"),
    }
}

impl<'a> ComposeReader<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        let (volumes, networks) = (Declared::new(), Declared::new());
        Self { folder, volumes, networks, errors: Vec::new(), left_out: Vec::new() }
    }

    /// Records an error.
    pub(super) fn error(&mut self, node: &YamlNode, path: &str, why: &str) {
        self.errors.push(format!("{}: {why}", at(node, path)));
    }

    /// Records an unsupported part; the rest of the file is applied.
    pub(super) fn leave_out(&mut self, node: &YamlNode, path: &str, why: &str) {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        self.left_out.push(format!("{}{why}", at(node, path)));
    }

    /// The entries of a map; records an error if the node is not a map.
    pub(super) fn map<'n>(&mut self, path: &str, node: &'n YamlNode) -> &'n [(String, YamlNode)] {
        match &node.value {
            YamlValue::Map(entries) => entries,
            YamlValue::Null => &[],
            _ => {
                self.error(node, path, &format!("expected a map, got {}", node.kind()));
                &[]
            }
        }
    }

    /// A scalar as text; records an error if the node is not a scalar.
    pub(super) fn text(&mut self, path: &str, node: &YamlNode) -> Option<String> {
        match &node.value {
            YamlValue::Scalar(text) => Some(text.clone()),
            YamlValue::Null => None,
            _ => {
                self.error(node, path, &format!("expected a single value, got {}", node.kind()));
                None
            }
        }
    }

    /// The items of a list; a scalar counts as a list of one.
    pub(super) fn items<'n>(&mut self, path: &str, node: &'n YamlNode) -> &'n [YamlNode] {
        match &node.value {
            YamlValue::List(items) => items,
            YamlValue::Scalar(_) => std::slice::from_ref(node),
            YamlValue::Null => &[],
            YamlValue::Map(_) => {
                self.error(node, path, "expected a list, got a map");
                &[]
            }
        }
    }

    pub(super) fn texts(&mut self, path: &str, node: &YamlNode) -> Vec<String> {
        self.items(path, node).iter().filter_map(|item| self.text(path, item)).collect()
    }

    /// A scalar of type `T`; `expected` names the type in the error.
    pub(super) fn parsed<T: std::str::FromStr>(
        &mut self,
        path: &str,
        node: &YamlNode,
        expected: &str,
    ) -> Option<T> {
        let text = self.text(path, node)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.error(node, path, &format!("expected {expected}, got `{text}`"));
        }
        parsed
    }
}
