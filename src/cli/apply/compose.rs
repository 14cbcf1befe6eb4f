//! Reading of Compose files: services become applications, and parts without a counterpart are reported.

use super::reader::{ComposeReader, Declared};
use super::service::Service;
use super::yaml::{YamlNode, YamlValue};
use std::collections::BTreeSet;
use std::path::Path;

/// The contents of a Compose file.
#[derive(Debug)]
pub(super) struct Stack {
    /// The file's `name`.
    pub(super) name: Option<String>,
    /// Services after those they depend on.
    pub(super) services: Vec<Service>,
    /// Services of profiles that are not active.
    pub(super) inactive: BTreeSet<String>,
    /// Parts that kDaemon does not support, with lines.
    pub(super) left_out: Vec<String>,
}

/// Reads a file whose variables are resolved. Returns all errors found, with lines.
pub(super) fn read(root: &YamlNode, folder: &Path, profiles: &[String]) -> Result<Stack, Vec<String>> {
    let YamlValue::Map(entries) = &root.value else {
        return Err(vec![format!("expected a map with `services`, got {}", root.kind())]);
    };
    let mut reader = ComposeReader::new(folder);
    let mut name = None;
    let mut services = None;
    // Volumes and networks come first, because services refer to them.
    for (key, node) in entries {
        match key.as_str() {
            "volumes" => reader.volumes = declared(&mut reader, "volumes", node),
            "networks" => reader.networks = declared(&mut reader, "networks", node),
            "name" => name = reader.text("name", node),
            "services" => services = Some(node),
            "version" => {}
            key if key.starts_with("x-") => {}
            "include" => {
                reader.error(node, "include", "include is not supported; copy the services into this file");
            }
            key => reader.leave_out(node, key, ""),
        }
    }
    let Some(services) = services else {
        reader.errors.push("the file has no `services`".to_owned());
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
fn declared(reader: &mut ComposeReader<'_>, section: &str, node: &YamlNode) -> Declared {
    let mut declared = Declared::new();
    for (key, node) in reader.map(section, node) {
        let path = format!("{section}.{key}");
        let mut name = key.clone();
        for (field, node) in reader.map(&path, node) {
            let path = format!("{path}.{field}");
            match field.as_str() {
                "name" => name = reader.text(&path, node).unwrap_or(name),
                // The volume or network of this name is used, no matter who creates it.
                "external" => {}
                field if field.starts_with("x-") => {}
                _ => reader.leave_out(node, &path, ""),
            }
        }
        declared.insert(key.clone(), name);
    }
    declared
}

/// The services in topological order of `depends_on`, otherwise in the order of the file.
fn ordered(services: Vec<Service>, inactive: &BTreeSet<String>) -> Result<Vec<Service>, String> {
    let names: BTreeSet<String> = services.iter().map(|service| service.name.clone()).collect();
    for service in &services {
        for (other, line) in &service.depends_on {
            if inactive.contains(other) {
                return Err(format!(
                    "line {line}: services.{}.depends_on: the profile of `{other}` is not active (see --profile)",
                    service.name
                ));
            }
            if !names.contains(other) {
                return Err(format!(
                    "line {line}: services.{}.depends_on: no service `{other}`",
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
            let cycle: Vec<_> = left.iter().map(|service| service.name.as_str()).collect();
            return Err(format!("depends_on has a cycle among {}", cycle.join(", ")));
        };
        let service = left.remove(at);
        placed.insert(service.name.clone());
        ordered.push(service);
    }
    Ok(ordered)
}
