//! The section `deploy` of a service: replicas, limits and reservations, placement and restart policy.

use super::reader::ComposeReader;
use super::service::ServiceSpec;
use super::yaml::YamlNode;

impl ComposeReader<'_> {
    /// Reads `deploy`.
    pub(super) fn deploy(&mut self, path: &str, node: &YamlNode, spec: &mut ServiceSpec, replicas: &mut u32) {
        for (field, node) in self.map(path, node) {
            let path = format!("{path}.{field}");
            let path = path.as_str();
            match field.as_str() {
                "replicas" => {
                    if let Some(number) = self.parsed(path, node, "a number of containers") {
                        *replicas = number;
                    }
                }
                "mode" => match self.text(path, node).as_deref() {
                    Some("replicated") | None => {}
                    Some(other) => {
                        self.error(node, path, &format!("mode {other} is not supported; use replicated"));
                    }
                },
                "resources" => self.resources(path, node, spec),
                "placement" => self.placement(path, node, spec),
                "restart_policy" => self.restart_policy(path, node, spec),
                field if field.starts_with("x-") => {}
                _ => self.leave_out(node, path, ""),
            }
        }
    }

    fn resources(&mut self, path: &str, node: &YamlNode, spec: &mut ServiceSpec) {
        for (side, node) in self.map(path, node) {
            for (field, node) in self.map(&format!("{path}.{side}"), node) {
                let path = format!("{path}.{side}.{field}");
                match (side.as_str(), field.as_str()) {
                    ("limits", "cpus") => spec.cpus = self.parsed(&path, node, "a number of processors"),
                    ("limits", "memory") => spec.memory = self.text(&path, node),
                    ("reservations", "cpus") => {
                        spec.reserved_cpus = self.parsed(&path, node, "a number of processors");
                    }
                    ("reservations", "memory") => spec.reserved_memory = self.text(&path, node),
                    _ => self.leave_out(node, &path, ""),
                }
            }
        }
    }

    fn placement(&mut self, path: &str, node: &YamlNode, spec: &mut ServiceSpec) {
        for (field, node) in self.map(path, node) {
            let path = format!("{path}.{field}");
            let path = path.as_str();
            match field.as_str() {
                "constraints" => {
                    for item in self.items(path, node) {
                        let Some(text) = self.text(path, item) else { continue };
                        match super::values::constraint(&text) {
                            Some(constraint) => spec.constraints.push(constraint),
                            None => {
                                let why = format!(
                                    "`{text}` is not a condition on a node label, such as node.labels.zone==a"
                                );
                                self.error(item, path, &why);
                            }
                        }
                    }
                }
                "preferences" => {
                    for (number, item) in self.items(path, node).iter().enumerate() {
                        let label = item.get("spread").and_then(|spread| self.text(path, spread));
                        match label.as_deref().and_then(|label| label.strip_prefix("node.labels.")) {
                            Some(label) if number == 0 => spec.spread_over = Some(label.to_owned()),
                            _ => self.leave_out(
                                item,
                                path,
                                "only one `spread` over node.labels.… is supported",
                            ),
                        }
                    }
                }
                "max_replicas_per_node" => match self.text(path, node).as_deref() {
                    Some("1") => spec.anti_affinity = true,
                    _ => self.leave_out(node, path, "only 1 is supported"),
                },
                _ => self.leave_out(node, path, ""),
            }
        }
    }

    fn restart_policy(&mut self, path: &str, node: &YamlNode, spec: &mut ServiceSpec) {
        let mut condition = "any".to_owned();
        let mut attempts = None;
        for (field, node) in self.map(path, node) {
            let path = format!("{path}.{field}");
            match field.as_str() {
                "condition" => condition = self.text(&path, node).unwrap_or(condition),
                "max_attempts" => {
                    attempts = self.parsed::<u32>(&path, node, "a number").map(|n| (n, node, path));
                }
                _ => self.leave_out(node, &path, ""),
            }
        }
        spec.restart = Some(match (condition.as_str(), attempts) {
            ("none", _) => "no".to_owned(),
            ("on-failure", Some((attempts, ..))) => format!("on-failure:{attempts}"),
            ("on-failure", None) => "on-failure".to_owned(),
            ("any", None) => "always".to_owned(),
            ("any", Some((_, node, path))) => {
                self.leave_out(node, &path, "only supported with the condition on-failure");
                "always".to_owned()
            }
            (other, _) => {
                self.error(node, path, &format!("expected none, on-failure or any, got `{other}`"));
                return;
            }
        });
    }
}
