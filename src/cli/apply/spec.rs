//! Specifications of applications: reading them from rows, and comparing them field by field.

use crate::cli::error::CliError;
use crate::cli::json::Json;
use crate::cli::table::plain;
use crate::cli::variables::of_row;
use indexmap::IndexMap;
use kdaemon_api::ApplicationRow;
use kdaemon_events::{ApplicationId, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

/// The specification that a row shows. A row has the names of other applications and a specification their ids, so
/// `affinity` is given: a Compose file cannot set it.
pub(super) fn spec_of_row(row: &ApplicationRow, affinity: Vec<ApplicationId>) -> Result<Spec, CliError> {
    let ports: Vec<String> =
        row.exposed_ports.split(',').filter(|port| !port.is_empty()).map(str::to_owned).collect();
    Ok(Spec {
        docker_image: row.docker_image.clone(),
        exposed_ports: all_parsed(&ports)?,
        env_variables: of_row(&row.env_variables),
        command: row.command.clone(),
        entrypoint: row.entrypoint.clone(),
        volumes: all_parsed(&row.volumes)?,
        networks: row.networks.clone(),
        labels: row.labels.clone(),
        restart_policy: parsed(&row.restart_policy)?,
        resources: row.resources,
        constraints: all_parsed(&row.constraints)?,
        health_check: row.health_check.clone(),
        registry_auth: row.registry_auth.clone(),
        strategy: row.strategy,
        preferences: all_parsed(&row.preferences)?,
        spread_over: row.spread_over.clone(),
        anti_affinity: row.anti_affinity,
        affinity,
        disruption_limit: row.disruption_limit,
    })
}

fn all_parsed<T: FromStr<Err: Display>>(texts: &[String]) -> Result<Vec<T>, CliError> {
    texts.iter().map(|text| parsed(text)).collect()
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, CliError> {
    text.parse().map_err(|error| CliError::Other(format!("unexpected response of the daemon: {error}")))
}

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

    #[test]
    fn row_has_all_fields_of_its_specification() {
        let row: ApplicationRow = serde_json::from_value(json!({"id": uuid::Uuid::nil(), "name": "web",
            "docker_image": "a", "exposed_ports": "80,8080:81/udp", "env_variables": "A=1\\,2,B=3", "command": ["x"],
            "entrypoint": ["y"], "volumes": ["data:/data:ro"], "networks": ["n"], "labels": {"l": "v"},
            "restart_policy": "on-failure:3", "resources": {"cpus": 0.5, "memory_bytes": 1024},
            "constraints": ["zone==a"], "registry_auth": "r", "health_check": {"command": ["true"],
                "interval_ms": 1000, "timeout_ms": 500, "retries": 2, "start_period_ms": 0},
            "strategy": "binpack", "preferences": ["!gpu"], "spread_over": "rack", "anti_affinity": true,
            "affinity": ["db"], "disruption_limit": 2, "dependencies": ["db"], "is_enabled": true, "replicas": 3,
            "update_policy": "rolling", "seq": 7}))
        .unwrap();
        let expected = spec(json!({"docker_image": "a", "exposed_ports": ["80", "8080:81/udp"],
            "env_variables": {"A": "1,2", "B": "3"}, "command": ["x"], "entrypoint": ["y"],
            "volumes": ["data:/data:ro"], "networks": ["n"], "labels": {"l": "v"}, "restart_policy": "on-failure:3",
            "resources": {"cpus": 0.5, "memory_bytes": 1024}, "constraints": ["zone==a"], "registry_auth": "r",
            "health_check": {"command": ["true"], "interval_ms": 1000, "timeout_ms": 500, "retries": 2,
                "start_period_ms": 0},
            "strategy": "binpack", "preferences": ["!gpu"], "spread_over": "rack", "anti_affinity": true,
            "disruption_limit": 2}));
        assert_eq!(spec_of_row(&row, Vec::new()).unwrap(), expected);
    }
}
