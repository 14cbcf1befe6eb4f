//! A Compose file as kDaemon understands it: services become applications, and what has no counterpart is named.

use super::service::{Reader, Service};
use super::yaml::{Node, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a file says.
#[derive(Debug)]
pub(super) struct Stack {
    /// Its own name, if it has one.
    pub(super) name: Option<String>,
    /// In the order in which they depend on each other.
    pub(super) services: Vec<Service>,
    /// Services of profiles that were not asked for.
    pub(super) inactive: BTreeSet<String>,
    /// What it says and kDaemon does not do, with lines.
    pub(super) left_out: Vec<String>,
}

/// A name that the file declares, and what it is called on the engines.
pub(super) type Declared = BTreeMap<String, String>;

/// Reads a file whose variables are resolved. Errors are all that are found, with lines.
pub(super) fn read(root: &Node, folder: &Path, profiles: &[String]) -> Result<Stack, Vec<String>> {
    let Value::Map(entries) = &root.value else {
        return Err(vec![format!("a Compose file is a map with `services`; this one is {}", root.kind())]);
    };
    let mut reader = Reader::new(folder);
    let mut name = None;
    let mut services = None;
    // Volumes and networks first: services refer to them.
    for (key, node) in entries {
        match key.as_str() {
            "volumes" => reader.volumes = declared(&mut reader, "volumes", node),
            "networks" => reader.networks = declared(&mut reader, "networks", node),
            "name" => name = reader.text("name", node),
            "services" => services = Some(node),
            "version" => {}
            key if key.starts_with("x-") => {}
            "include" => reader.error(node, "include", "other files are not read: write their services here"),
            key => reader.leave_out(node, key, ""),
        }
    }
    let Some(services) = services else {
        reader.errors.push("it has no `services`".to_owned());
        return Err(reader.errors);
    };
    let mut found = Vec::new();
    for (name, node) in reader.map("services", services) {
        found.extend(reader.service(name, node));
    }
    let (active, inactive): (Vec<_>, Vec<_>) = found.into_iter().partition(|service| {
        service.profiles.is_empty() || service.profiles.iter().any(|profile| profiles.contains(profile))
    });
    let inactive: BTreeSet<String> = inactive.into_iter().map(|service| service.name).collect();
    let services = match ordered(active, &inactive) {
        Ok(services) => services,
        Err(error) => {
            reader.errors.push(error);
            Vec::new()
        }
    };
    if reader.errors.is_empty() {
        Ok(Stack { name, services, inactive, left_out: reader.left_out })
    } else {
        Err(reader.errors)
    }
}

/// The volumes or networks that a file declares.
fn declared(reader: &mut Reader<'_>, section: &str, node: &Node) -> Declared {
    let mut declared = Declared::new();
    for (key, node) in reader.map(section, node) {
        let path = format!("{section}.{key}");
        let mut name = key.clone();
        for (field, node) in reader.map(&path, node) {
            let path = format!("{path}.{field}");
            match field.as_str() {
                "name" => name = reader.text(&path, node).unwrap_or(name),
                // Whoever makes it, it is the one of this name.
                "external" => {}
                field if field.starts_with("x-") => {}
                _ => reader.leave_out(node, &path, ""),
            }
        }
        declared.insert(key.clone(), name);
    }
    declared
}

/// The services so that each stands behind those that it depends on; among those that are free, as in the file.
fn ordered(services: Vec<Service>, inactive: &BTreeSet<String>) -> Result<Vec<Service>, String> {
    let names: BTreeSet<String> = services.iter().map(|service| service.name.clone()).collect();
    for service in &services {
        for (other, line) in &service.depends_on {
            if inactive.contains(other) {
                return Err(format!(
                    "line {line}: services.{}.depends_on: `{other}` is of a profile that is not active (--profile)",
                    service.name
                ));
            }
            if !names.contains(other) {
                return Err(format!(
                    "line {line}: services.{}.depends_on: there is no service `{other}`",
                    service.name
                ));
            }
        }
    }
    let mut left = services;
    let mut placed: BTreeSet<String> = BTreeSet::new();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let is_free = |service: &Service| service.depends_on.keys().all(|other| placed.contains(other));
        let Some(at) = left.iter().position(is_free) else {
            let circle: Vec<_> = left.iter().map(|service| service.name.as_str()).collect();
            return Err(format!("depends_on goes in a circle among {}", circle.join(", ")));
        };
        let service = left.remove(at);
        placed.insert(service.name.clone());
        ordered.push(service);
    }
    Ok(ordered)
}
