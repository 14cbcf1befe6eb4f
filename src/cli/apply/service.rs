//! Conversion of one service of a Compose file to the request body of an application.

use super::reader::ComposeReader;
use super::values::{port, ports_of_text};
use super::yaml::{YamlNode, YamlValue};
use crate::cli::fields::put;
use crate::cli::variables::{read_file, variable};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A service as an application.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    /// All fields of the application that a file can set; the ones it does not set have their default.
    pub(super) body: Map<String, Value>,
    /// Dependencies, with their lines.
    pub(super) depends_on: BTreeMap<String, u64>,
    pub(super) profiles: Vec<String>,
    pub(super) replicas: u32,
}

impl ComposeReader<'_> {
    /// Reads one service.
    pub(super) fn service(&mut self, name: &str, node: &YamlNode) -> Option<Service> {
        let root = format!("services.{name}");
        let mut service = Service {
            name: name.to_owned(),
            body: Map::new(),
            depends_on: BTreeMap::new(),
            profiles: Vec::new(),
            replicas: 1,
        };
        let mut spec = ServiceSpec::default();
        // `deploy` takes precedence over the older keys with the same meaning.
        let (deploy, others): (Vec<_>, Vec<_>) =
            self.map(&root, node).iter().partition(|(key, _)| key == "deploy");
        for (key, node) in others.into_iter().chain(deploy) {
            let path = format!("{root}.{key}");
            let path = path.as_str();
            match key.as_str() {
                "image" => spec.image = self.text(path, node),
                "ports" => {
                    for item in self.items(path, node) {
                        self.ports(path, item, &mut spec.ports);
                    }
                }
                "environment" => spec.environment = self.environment(path, node),
                "env_file" => self.env_files(path, node, &mut spec.file_variables),
                "volumes" => {
                    for item in self.items(path, node) {
                        spec.volumes.extend(self.volume(path, item));
                    }
                }
                "command" => spec.command = self.command(path, node),
                "entrypoint" => spec.entrypoint = self.command(path, node),
                "labels" => spec.labels = self.pairs(path, node),
                "restart" => spec.restart = self.text(path, node),
                "depends_on" => service.depends_on = self.depends_on(path, node),
                "healthcheck" => spec.health_check = self.health_check(path, node),
                "networks" => spec.networks = self.service_networks(path, node),
                "deploy" => self.deploy(path, node, &mut spec, &mut service.replicas),
                "scale" => {
                    if let Some(scale) = self.parsed(path, node, "a number of containers") {
                        service.replicas = scale;
                    }
                }
                "cpus" => spec.cpus = self.parsed(path, node, "a number of processors"),
                "mem_limit" => spec.memory = self.text(path, node),
                "mem_reservation" => spec.reserved_memory = self.text(path, node),
                "profiles" => service.profiles = self.texts(path, node),
                "build" => self.leave_out(node, path, "kDaemon does not build images"),
                "extends" => {
                    self.error(node, path, "extends is not supported; copy the fields into this service");
                }
                key if key.starts_with("x-") => {}
                _ => self.leave_out(node, path, ""),
            }
        }
        if spec.image.is_none() {
            self.error(node, &root, "the service has no image");
            return None;
        }
        service.body = spec.body(&service);
        Some(service)
    }

    fn ports(&mut self, path: &str, node: &YamlNode, ports: &mut Vec<String>) {
        let result = match &node.value {
            YamlValue::Scalar(text) => ports_of_text(text),
            YamlValue::Map(fields) => {
                let mut parts = BTreeMap::new();
                for (field, node) in fields {
                    let path = format!("{path}.{field}");
                    match field.as_str() {
                        "target" | "published" | "protocol" => {
                            parts.insert(field.as_str(), self.text(&path, node).unwrap_or_default());
                        }
                        "mode" if self.text(&path, node).as_deref() == Some("host") => {}
                        "name" => {}
                        field if field.starts_with("x-") => {}
                        "host_ip" => {
                            self.error(node, &path, "ports are always published on all addresses of a node");
                        }
                        _ => self.leave_out(node, &path, ""),
                    }
                }
                let get = |part| parts.get(part).map(String::as_str);
                port(get("published"), get("target").unwrap_or_default(), get("protocol"))
                    .map(|port| vec![port])
            }
            _ => Err(format!("expected a port, got {}", node.kind())),
        };
        match result {
            Ok(read) => ports.extend(read),
            Err(why) => self.error(node, path, &why),
        }
    }

    /// Environment variables: a map, or a list of `NAME=VALUE`. A name alone takes the value of this process; if it is not
    /// set there, the variable is skipped.
    fn environment(&mut self, path: &str, node: &YamlNode) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        let mut take = |name: &str, value: Option<String>| {
            if let Some(value) = value.or_else(|| std::env::var(name).ok()) {
                variables.insert(name.to_owned(), value);
            }
        };
        match &node.value {
            YamlValue::Map(entries) => {
                for (name, node) in entries {
                    take(name, self.text(&format!("{path}.{name}"), node));
                }
            }
            _ => {
                for item in self.items(path, node) {
                    let Some(text) = self.text(path, item) else { continue };
                    match variable(&text) {
                        Ok((name, value)) => take(&name, value),
                        Err(why) => self.error(item, path, &why),
                    }
                }
            }
        }
        variables
    }

    fn env_files(&mut self, path: &str, node: &YamlNode, variables: &mut BTreeMap<String, String>) {
        let items = match &node.value {
            YamlValue::Map(_) => std::slice::from_ref(node),
            _ => self.items(path, node),
        };
        for item in items {
            let mut file = None;
            let mut is_required = true;
            match &item.value {
                YamlValue::Map(fields) => {
                    for (field, node) in fields {
                        let path = format!("{path}.{field}");
                        match field.as_str() {
                            "path" => file = self.text(&path, node),
                            "required" => is_required = self.text(&path, node).as_deref() != Some("false"),
                            _ => self.leave_out(node, &path, ""),
                        }
                    }
                }
                _ => file = self.text(path, item),
            }
            let Some(file) = file else { continue };
            let file = self.folder.join(file);
            if !is_required && !file.exists() {
                continue;
            }
            match read_file(&file) {
                Ok(read) => variables.extend(read),
                Err(failure) => self.error(item, path, &failure.to_string()),
            }
        }
    }

    fn volume(&mut self, path: &str, node: &YamlNode) -> Option<String> {
        let (source, target, mode) = match &node.value {
            YamlValue::Scalar(text) => {
                let mut parts = text.splitn(3, ':');
                let (first, second, mode) = (parts.next()?.to_owned(), parts.next(), parts.next());
                let Some(target) = second else {
                    self.error(
                        node,
                        path,
                        &format!("`{text}` has no source; put the name of a volume in front of it"),
                    );
                    return None;
                };
                (first, target.to_owned(), mode.map(str::to_owned))
            }
            YamlValue::Map(fields) => {
                let mut parts: BTreeMap<&str, String> = BTreeMap::new();
                for (field, node) in fields {
                    let path = format!("{path}.{field}");
                    match field.as_str() {
                        "type" | "source" | "target" | "read_only" => {
                            parts.insert(field, self.text(&path, node).unwrap_or_default());
                        }
                        field if field.starts_with("x-") => {}
                        _ => self.leave_out(node, &path, ""),
                    }
                }
                let kind = parts.get("type").map_or("volume", String::as_str);
                if kind != "volume" && kind != "bind" {
                    self.error(
                        node,
                        path,
                        &format!("mounts of type {kind} are not supported; use volume or bind"),
                    );
                    return None;
                }
                let (Some(source), Some(target)) = (parts.get("source"), parts.get("target")) else {
                    self.error(node, path, "a mount needs a source and a target");
                    return None;
                };
                let mode = parts.get("read_only").filter(|flag| *flag == "true").map(|_| "ro".to_owned());
                (source.clone(), target.clone(), mode)
            }
            _ => {
                self.error(node, path, &format!("expected a mount, got {}", node.kind()));
                return None;
            }
        };
        let source = if source.starts_with('/') {
            source
        } else if source.starts_with(['.', '~']) || source.contains('/') {
            let why = format!(
                "`{source}` is a path on this machine; use an absolute path on the nodes, or a volume"
            );
            self.error(node, path, &why);
            return None;
        } else if let Some(name) = self.volumes.get(&source) {
            name.clone()
        } else {
            self.error(node, path, &format!("`{source}` is not declared in `volumes`"));
            return None;
        };
        let mut read_only = false;
        for word in mode.iter().flat_map(|mode| mode.split(',')) {
            match word {
                "ro" => read_only = true,
                "rw" | "" => {}
                // SELinux labels, among others.
                other => self.leave_out(node, &format!("{path} ({source}:{target}:{other})"), ""),
            }
        }
        Some(format!("{source}:{target}{}", if read_only { ":ro" } else { "" }))
    }

    fn command(&mut self, path: &str, node: &YamlNode) -> Value {
        match &node.value {
            YamlValue::Null => Value::Null,
            // The daemon splits a text into words like a shell does.
            YamlValue::Scalar(line) => json!(line),
            _ => json!(self.texts(path, node)),
        }
    }

    /// Labels: a map, or a list of `NAME=VALUE`.
    fn pairs(&mut self, path: &str, node: &YamlNode) -> BTreeMap<String, String> {
        match &node.value {
            YamlValue::Map(entries) => entries
                .iter()
                .map(|(name, node)| {
                    (name.clone(), self.text(&format!("{path}.{name}"), node).unwrap_or_default())
                })
                .collect(),
            _ => self
                .texts(path, node)
                .into_iter()
                .map(|text| match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), value.to_owned()),
                    None => (text, String::new()),
                })
                .collect(),
        }
    }

    fn depends_on(&mut self, path: &str, node: &YamlNode) -> BTreeMap<String, u64> {
        let YamlValue::Map(entries) = &node.value else {
            return self
                .items(path, node)
                .iter()
                .filter_map(|item| Some((self.text(path, item)?, item.line)))
                .collect();
        };
        let mut depends_on = BTreeMap::new();
        for (name, node) in entries {
            for (field, value) in self.map(&format!("{path}.{name}"), node) {
                let path = format!("{path}.{name}.{field}");
                match (field.as_str(), self.text(&path, value).as_deref()) {
                    ("condition", Some("service_started")) | ("required", Some("true")) => {}
                    ("condition", Some("service_healthy")) => {
                        self.leave_out(value, &path, "kDaemon waits until a container of it is UP");
                    }
                    ("condition", Some(other)) => {
                        let why = format!("condition `{other}` is not supported; use service_started");
                        self.error(value, &path, &why);
                    }
                    _ => self.leave_out(value, &path, ""),
                }
            }
            depends_on.insert(name.clone(), node.line);
        }
        depends_on
    }

    fn service_networks(&mut self, path: &str, node: &YamlNode) -> Vec<String> {
        let mut names = Vec::new();
        match &node.value {
            YamlValue::Map(entries) => {
                for (name, node) in entries {
                    for (field, node) in self.map(&format!("{path}.{name}"), node) {
                        self.leave_out(node, &format!("{path}.{name}.{field}"), "");
                    }
                    names.push((name.clone(), node));
                }
            }
            _ => {
                for item in self.items(path, node) {
                    names.extend(self.text(path, item).map(|name| (name, item)));
                }
            }
        }
        let mut networks = Vec::new();
        for (name, node) in names {
            match self.networks.get(&name) {
                Some(network) => networks.push(network.clone()),
                None if name == "default" => {}
                None => {
                    self.error(node, path, &format!("`{name}` is not declared in `networks`"));
                }
            }
        }
        networks
    }
}

/// The fields of a service as read so far.
#[derive(Debug, Default)]
pub(super) struct ServiceSpec {
    pub(super) image: Option<String>,
    pub(super) ports: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) file_variables: BTreeMap<String, String>,
    pub(super) volumes: Vec<String>,
    pub(super) command: Value,
    pub(super) entrypoint: Value,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) restart: Option<String>,
    pub(super) health_check: Value,
    pub(super) networks: Vec<String>,
    pub(super) cpus: Option<f64>,
    pub(super) memory: Option<String>,
    pub(super) reserved_cpus: Option<f64>,
    pub(super) reserved_memory: Option<String>,
    pub(super) constraints: Vec<String>,
    pub(super) spread_over: Option<String>,
    pub(super) anti_affinity: bool,
}

impl ServiceSpec {
    /// The request body of the application.
    fn body(self, service: &Service) -> Map<String, Value> {
        let mut variables = self.file_variables;
        variables.extend(self.environment);
        let mut resources = Map::new();
        put(&mut resources, "cpus", self.cpus);
        put(&mut resources, "memory", self.memory);
        put(&mut resources, "reserved_cpus", self.reserved_cpus);
        put(&mut resources, "reserved_memory", self.reserved_memory);
        let dependencies: Vec<_> = service.depends_on.keys().collect();
        let fields = [
            ("docker_image", json!(self.image)),
            ("exposed_ports", json!(self.ports)),
            ("env_variables", json!(variables)),
            ("volumes", json!(self.volumes)),
            ("command", self.command),
            ("entrypoint", self.entrypoint),
            ("labels", json!(self.labels)),
            // The default of Compose: a container that exits is not restarted.
            ("restart_policy", json!(self.restart.unwrap_or_else(|| "no".to_owned()))),
            ("health_check", self.health_check),
            ("networks", json!(self.networks)),
            ("resources", Value::Object(resources)),
            ("constraints", json!(self.constraints)),
            ("spread_over", json!(self.spread_over)),
            ("anti_affinity", json!(self.anti_affinity)),
            ("dependencies", json!(dependencies)),
            ("replicas", json!(service.replicas)),
            // Applying a file replaces outdated containers, one at a time.
            ("update_policy", json!("rolling")),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
