//! The section `healthcheck` of a service.

use super::reader::ComposeReader;
use super::values::duration_ms;
use super::yaml::{YamlNode, YamlValue};
use kdaemon_events::HealthCommand;
use serde_json::{Map, Value, json};

impl ComposeReader<'_> {
    /// Reads `healthcheck`: a field of an application, null if the section is empty.
    pub(super) fn health_check(&mut self, path: &str, node: &YamlNode) -> Value {
        let mut check = Map::new();
        let mut is_disabled = false;
        for (field, node) in self.map(path, node) {
            let path = format!("{path}.{field}");
            let path = path.as_str();
            match field.as_str() {
                "test" => {
                    check.insert("command".to_owned(), self.health_command(path, node));
                }
                "interval" | "timeout" | "start_period" | "start_interval" => {
                    let Some(text) = self.text(path, node) else { continue };
                    match duration_ms(&text) {
                        Some(ms) => {
                            check.insert(format!("{field}_ms"), json!(ms));
                        }
                        None => self.error(
                            node,
                            path,
                            &format!("expected a duration such as 1m30s, got `{text}`"),
                        ),
                    }
                }
                "retries" => {
                    let retries: Option<u32> = self.parsed(path, node, "a number of retries");
                    check.insert("retries".to_owned(), json!(retries));
                }
                "disable" => is_disabled = self.parsed(path, node, "true or false").unwrap_or(false),
                field if field.starts_with("x-") => {}
                _ => self.leave_out(node, path, ""),
            }
        }
        // As in Compose, it overrides the other fields.
        if is_disabled {
            return json!({"disable": true});
        }
        if check.is_empty() { Value::Null } else { Value::Object(check) }
    }

    /// Reads `test`: a line for the shell, or a list in the form of Docker's API.
    fn health_command(&mut self, path: &str, node: &YamlNode) -> Value {
        match &node.value {
            YamlValue::Null => Value::Null,
            YamlValue::Scalar(line) => json!(line),
            YamlValue::List(_) | YamlValue::Map(_) => {
                match HealthCommand::from_docker(self.texts(path, node)) {
                    Ok(command) => json!(command.to_docker()),
                    Err(why) => {
                        self.error(node, path, &why.to_string());
                        Value::Null
                    }
                }
            }
        }
    }
}
