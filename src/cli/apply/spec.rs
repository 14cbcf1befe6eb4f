//! Comparing the specifications of applications field by field.

use crate::cli::json::Json;
use crate::cli::table::plain;
use indexmap::IndexMap;
use kdaemon_events::Spec;
use std::collections::{BTreeMap, BTreeSet};

/// The changes between two specifications, for people, in the order of the fields.
pub(super) fn spec_changes(before: &Spec, after: &Spec) -> Vec<String> {
    let (before, after) = (fields(before), fields(after));
    // Both orders are that of the type, in which fields without a value are left out.
    let added = after.keys().filter(|field| !before.contains_key(*field));
    let mut lines = Vec::new();
    for field in before.keys().chain(added) {
        let value = |side: &IndexMap<String, Json>| side.get(field).cloned().unwrap_or(Json::Null);
        let (before, after) = (value(&before), value(&after));
        if before != after {
            lines.extend(differences(field, &before, &after));
        }
    }
    lines
}

fn fields(spec: &Spec) -> IndexMap<String, Json> {
    match Json::of(spec) {
        Json::Object(fields) => fields,
        _ => IndexMap::new(),
    }
}

/// The changes of a field, for people. Values of environment variables are not shown, because they may be secrets.
fn differences(field: &str, before: &Json, after: &Json) -> Vec<String> {
    let entries = |value: &Json| match value {
        Json::Object(fields) => Some(fields.clone().into_iter().collect::<BTreeMap<_, _>>()),
        Json::Null => Some(BTreeMap::new()),
        _ => None,
    };
    let (Some(old), Some(new)) = (entries(before), entries(after)) else {
        return vec![format!("{field}: {} -> {}", before.plain(), after.plain())];
    };
    let is_secret = field == "env_variables";
    let mut lines = Vec::new();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let shown = plain(name);
        lines.push(match (old.get(name), new.get(name)) {
            (before, after) if before == after => continue,
            (None, Some(_)) if is_secret => format!("{field}: + {shown}"),
            (Some(_), Some(_)) if is_secret => format!("{field}: {shown} changes"),
            (None, Some(after)) => format!("{field}: + {shown}={}", after.plain()),
            (Some(_), None) => format!("{field}: - {shown}"),
            (before, after) => {
                let text = |value: Option<&Json>| value.map(Json::plain).unwrap_or_default();
                format!("{field}: {shown} {} -> {}", text(before), text(after))
            }
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn spec(fields: serde_json::Value) -> Spec {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn changes_are_listed_by_field_without_the_values_of_variables() {
        let before = spec(json!({"docker_image": "a", "exposed_ports": ["80"],
            "env_variables": {"GONE": "1", "KEPT": "1", "SECRET": "old"}, "labels": {"tier": "web"}}));
        let after = spec(json!({"docker_image": "b", "exposed_ports": ["80", "81"],
            "env_variables": {"KEPT": "1", "SECRET": "new"}, "labels": {"tier": "db"}, "anti_affinity": true}));
        assert_eq!(
            spec_changes(&before, &after),
            [
                "docker_image: a -> b",
                "exposed_ports: 80 -> 80, 81",
                "env_variables: - GONE",
                "env_variables: SECRET changes",
                "labels: tier web -> db",
                "anti_affinity: - -> true",
            ]
        );
        assert_eq!(spec_changes(&after, &after), Vec::<String>::new());
    }
}
